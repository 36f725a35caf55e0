"""A transaction over one SQLite connection, used by the thread that runs its ``work``.

A transaction that changes what was counted, or lets go of a number, gathers its changes of the
counts and writes them once, with all that is in the tail; so does one that makes the tail long.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import compress, count
from operator import is_not, itemgetter
from typing import Any, TypeVar

from bytelyst_sync.storage.base import Table, Value
from bytelyst_sync.storage.sqlite_sql import SEQUENCE, Statements, statements
from bytelyst_sync.storage.sqlite_view import (
    NUMBERED,
    Counts,
    ReadView,
    add_up,
    counter_name,
    maker,
    portions,
)

__all__ = ["WriteView"]

R = TypeVar("R", bound=Any)
Mark = tuple[dict[str, Counts], dict[str, Counts], int, int, bool]

_ADD_TO_COUNTER = (
    "INSERT INTO counters VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value=value+excluded.value"
)
_LONGEST_TAIL = 64
_TOLD = 3


class WriteView(ReadView):
    """The ``Transaction`` of the port; ``mark`` and ``reset`` undo one of several jobs in it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._executemany = connection.executemany
        self._deltas: dict[str, Counts] = {}
        """What changed in the counts up to the mark, by table."""
        self._let_go = False
        """Whether a number of the tail may be no row's any more."""

    def insert(self, table: Table[R], *rows: R) -> None:
        """Adds rows; ``ValueError`` if a key is there already."""
        if not rows:
            return
        known = statements(table)
        if known.numbered and len(rows) > _LONGEST_TAIL:
            self._tail(table)  # it is shorter now
        try:
            text, values = known.insert(rows)
            if len(rows) == 1:
                self._execute(text, values[0])
            else:
                self._executemany(text, values)
        except sqlite3.IntegrityError as error:
            raise ValueError(f"{table.name} already has one of {_told(known, rows)}") from error
        self._add(table, known, rows, 1)

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """Changes a row; ``LookupError`` if it is not there, ``ValueError`` if its new key is."""
        self.replace_all(table, ((old, new),))

    def replace_all(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        """Changes rows; those that change in the same columns do so together."""
        alike: dict[tuple[int, ...], list[tuple[R, R]]] = {}
        for old, new in pairs:
            alike.setdefault(_differing(old, new), []).append((old, new))
        for changed, some in alike.items():
            if changed:
                self._change(table, changed, some)

    def _change(
        self, table: Table[R], changed: tuple[int, ...], pairs: Sequence[tuple[R, R]]
    ) -> None:
        known = statements(table)
        values = [
            (*[new[place] for place in changed], *[old[place] for place in known.key])
            for old, new in pairs
        ]
        self._look_before_change(known)
        try:
            done = self._each(known.update(changed), values)
        except sqlite3.IntegrityError as error:
            raise ValueError(
                f"{table.name} already has one of {_told(known, [new for _, new in pairs])}"
            ) from error
        if done != len(pairs):
            raise LookupError(f"{table.name} has no {_told(known, [old for old, _ in pairs])}")
        self._recount(table, changed, [old for old, _ in pairs], [new for _, new in pairs])

    def amend(self, table: Table[R], rows: Sequence[R], **values: Value) -> list[R]:
        """Sets the same columns in all of these rows, and returns them as they are then."""
        if not rows:
            return []
        known, make = statements(table), maker(table)
        changed = tuple(table.columns.index(name) for name in values)
        self._look_before_change(known)
        update = partial(known.update, changed)
        if self._at(known, update, tuple(values.values()), rows) != len(rows):
            raise LookupError(f"{table.name} has no {_told(known, rows)}")
        new = list(rows)
        for place, value in zip(changed, values.values(), strict=True):
            new = [make((*row[:place], value, *row[place + 1 :])) for row in new]
        self._recount(table, changed, rows, new)
        return new

    def _recount(
        self, table: Table[R], changed: tuple[int, ...], old: Sequence[R], new: Sequence[R]
    ) -> None:
        known = statements(table)
        if any(place in changed for place in known.counts_by):
            self._add(table, known, old, -1)
            self._add(table, known, new, 1)
            self._let_go |= known.key[0] in changed

    def delete(self, table: Table[R], *rows: R) -> None:
        """Removes rows; ``LookupError`` if one is not there."""
        if not rows:
            return
        known = statements(table)
        self._look_before_change(known)
        if self._at(known, known.delete, (), rows) != len(rows):
            raise LookupError(f"{table.name} has no {_told(known, rows)}")
        self._add(table, known, rows, -1)
        self._let_go |= known.numbered

    def _at(
        self,
        known: Statements,
        text: Callable[[int], str],
        values: Sequence[Value],
        rows: Sequence[tuple[Value, ...]],
    ) -> int:
        """Runs a statement with these values for the keys of the rows; how many it concerned."""
        if not known.has_one_key:
            return self._each(text(1), [(*values, *_key(known, row)) for row in rows])
        keys = [row[known.key[0]] for row in rows]
        done = [self._execute(text(len(s)), (*values, *s)).rowcount for s in portions(keys)]
        return sum(done)

    def _each(self, text: str, values: Sequence[tuple[Value, ...]]) -> int:
        """Runs a statement once for each of these; how many rows it concerned."""
        if len(values) == 1:
            return self._execute(text, values[0]).rowcount
        return self._executemany(text, values).rowcount

    def next_number(self) -> int:
        """The next number of the sequence."""
        if self._last < 0:
            self._look()
        self._last += 1
        return self._last

    def counts(self, table: Table[R]) -> Counts:
        """The rows per combination of the counted columns that has any, as changed here."""
        kept = super().counts(table)
        add_up(kept, self._deltas.get(table.name, {}))
        return {values: number for values, number in kept.items() if number}

    def mark(self) -> Mark:
        """Where a job starts, for ``reset``."""
        return (
            {name: counts.copy() for name, counts in self._deltas.items()},
            {name: counts.copy() for name, counts in self._tails.items()},
            self._last,
            self._standing,
            self._let_go,
        )

    def reset(self, mark: Mark) -> None:
        """Forgets what was gathered since."""
        self._deltas, self._tails, self._last, self._standing, self._let_go = mark

    def settle(self) -> int:
        """Writes what was gathered: once, right before the commit.

        Returns the number last given out, as far as this transaction knows; ``-1``: it never asked.
        """
        if self._last < 0 and not self._deltas:
            return -1
        if self._last < 0:
            self._look()
        if (
            self._deltas
            or self._let_go
            or self._last > self._standing
            or self._last - self._mark > _LONGEST_TAIL
        ):
            self._write_counters()
        return self._last

    def _write_counters(self) -> None:
        for table in NUMBERED:
            add_up(self._deltas.setdefault(table.name, {}), self._tail(table))
        added = [(SEQUENCE, self._last - self._mark)]
        for name, counts in self._deltas.items():
            added += [(counter_name(name, each), delta) for each, delta in counts.items()]
        self._executemany(_ADD_TO_COUNTER, [each for each in added if each[1]])

    def _look_before_change(self, known: Statements) -> None:
        if known.numbered and self._last < 0:
            self._look()

    def _add(
        self, table: Table[Any], known: Statements, rows: Sequence[tuple[Value, ...]], by: int
    ) -> None:
        """Counts rows that come (``by`` is 1) or go (-1); of those beyond the mark it is noted how
        far they go.
        """
        counted = rows
        if known.numbered:
            if self._last < 0:
                self._look()
            mark, place = self._mark, known.key[0]
            beyond = [row for row in rows if row[place] > mark]
            if beyond and by > 0:
                self._standing = max(self._standing, *[row[place] for row in beyond])
                self._last = max(self._last, self._standing)
            if beyond and table.name in self._tails:
                add_up(self._tails[table.name], _counted(known, beyond), by)
            counted = [row for row in rows if row[place] <= mark] if beyond else rows
        if counted and known.counted:
            add_up(self._deltas.setdefault(table.name, {}), _counted(known, counted), by)


def _counted(known: Statements, rows: Sequence[tuple[Value, ...]]) -> Counts:
    """How many of these rows each combination of the counted columns has."""
    return Counter(zip(*[map(itemgetter(place), rows) for place in known.counted], strict=True))


def _differing(old: tuple[Value, ...], new: tuple[Value, ...]) -> tuple[int, ...]:
    """The places where two rows differ."""
    others = compress(count(), map(is_not, old, new))
    return tuple(
        [
            place
            for place in others
            if old[place] != new[place] or type(old[place]) is not type(new[place])
        ]
    )


def _key(known: Statements, row: tuple[Value, ...]) -> tuple[Value, ...]:
    return tuple([row[place] for place in known.key])


def _told(known: Statements, rows: Sequence[tuple[Value, ...]]) -> str:
    """The keys of the first few."""
    return ", ".join(str(_key(known, row)) for row in rows[:_TOLD])
