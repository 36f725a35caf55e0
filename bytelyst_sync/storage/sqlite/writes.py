"""A transaction over one SQLite connection, used by the thread that runs its ``work``.

A transaction that changes counted rows or deletes numbered ones collects the changes of the counts
and writes them once, before the commit, together with the counts of the tail. So does a transaction
that makes the tail long. See ``reads.py``.
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
from bytelyst_sync.storage.row_checks import row_maker, row_reader
from bytelyst_sync.storage.schema import META, OWNER, TABLES
from bytelyst_sync.storage.sqlite.reads import (
    NUMBERED,
    Counts,
    ReadView,
    add_counts,
    batches,
    counter_name,
)
from bytelyst_sync.storage.sqlite.statements import SEQUENCE, Statements, statements

__all__ = ["WriteView", "recount"]

R = TypeVar("R", bound=Any)
Mark = tuple[dict[str, Counts], dict[str, Counts], int, int, bool]

_ADD_TO_COUNTER = (
    "INSERT INTO counters VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value=value+excluded.value"
)
_LONGEST_TAIL = 64
_OWNER_KEY = (OWNER,)
_KEYS_SHOWN = 3


class WriteView(ReadView):
    """The ``Transaction`` of the port; ``mark`` and ``reset`` undo one of several jobs in it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._executemany = connection.executemany
        self._deltas: dict[str, Counts] = {}
        """Changes of the counts of rows up to the mark, by table."""
        self._number_freed = False
        """Whether a row of the tail may have been deleted or got another key."""
        self._owner_changed = False
        """Whether a row of ``META`` was changed here."""

    def get(self, table: Table[R], *key: Value) -> R | None:
        """The row with this key, or ``None``."""
        if table is META and key == _OWNER_KEY and not self._owner_changed:
            # every transaction of an engine reads this row, and most of them read the sequence
            if self._last < 0:
                self._read_sequence()
            return None if self._owner is None else row_reader(table)((OWNER, self._owner))
        return super().get(table, *key)

    def insert(self, table: Table[R], *rows: R) -> None:
        """Adds rows; ``ValueError`` if a key is there already."""
        if not rows:
            return
        known = statements(table)
        if known.numbered and len(rows) > _LONGEST_TAIL:
            self._tail(table)  # before the insert makes it long
        try:
            text, values = known.insert(rows)
            if len(rows) == 1:
                self._execute(text, values[0])
            else:
                self._executemany(text, values)
        except sqlite3.IntegrityError as error:
            raise ValueError(
                f"{table.name} already has one of {_first_keys(known, rows)}"
            ) from error
        self._add(table, known, rows, 1)

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """Changes a row; ``LookupError`` if it is not there, ``ValueError`` if its new key is."""
        self.replace_all(table, ((old, new),))

    def replace_all(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        """Changes rows; one statement for all that change in the same columns."""
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
        self._read_sequence_first(known)
        try:
            done = self._each(known.update(changed), values)
        except sqlite3.IntegrityError as error:
            shown = _first_keys(known, [new for _, new in pairs])
            raise ValueError(f"{table.name} already has one of {shown}") from error
        if done != len(pairs):
            raise LookupError(
                f"{table.name} has no {_first_keys(known, [old for old, _ in pairs])}"
            )
        self._recount(table, changed, [old for old, _ in pairs], [new for _, new in pairs])

    def update_many(self, table: Table[R], rows: Sequence[R], **values: Value) -> list[R]:
        """Sets the same columns in all of these rows, and returns the new rows."""
        if not rows:
            return []
        known, make = statements(table), row_maker(table)
        changed = tuple(table.columns.index(name) for name in values)
        self._read_sequence_first(known)
        update = partial(known.update, changed)
        if self._at(known, update, tuple(values.values()), rows) != len(rows):
            raise LookupError(f"{table.name} has no {_first_keys(known, rows)}")
        new = list(rows)
        for place, value in zip(changed, values.values(), strict=True):
            new = [make((*row[:place], value, *row[place + 1 :])) for row in new]
        self._recount(table, changed, rows, new)
        return new

    def _recount(
        self, table: Table[R], changed: tuple[int, ...], old: Sequence[R], new: Sequence[R]
    ) -> None:
        known = statements(table)
        self._owner_changed |= table is META
        if any(place in changed for place in known.counts_by):
            self._add(table, known, old, -1)
            self._add(table, known, new, 1)
            self._number_freed |= known.key[0] in changed

    def delete(self, table: Table[R], *rows: R) -> None:
        """Removes rows; ``LookupError`` if one is not there."""
        if not rows:
            return
        known = statements(table)
        self._read_sequence_first(known)
        if self._at(known, known.delete, (), rows) != len(rows):
            raise LookupError(f"{table.name} has no {_first_keys(known, rows)}")
        self._add(table, known, rows, -1)
        self._number_freed |= known.numbered

    def _at(
        self,
        known: Statements,
        text: Callable[[int], str],
        values: Sequence[Value],
        rows: Sequence[tuple[Value, ...]],
    ) -> int:
        """Runs a statement with these values for the keys of the rows; returns the rows changed."""
        if not known.has_one_key:
            return self._each(text(1), [(*values, *_key(known, row)) for row in rows])
        keys = [row[known.key[0]] for row in rows]
        done = [self._execute(text(len(s)), (*values, *s)).rowcount for s in batches(keys)]
        return sum(done)

    def _each(self, text: str, values: Sequence[tuple[Value, ...]]) -> int:
        """Runs a statement once for each tuple of values; returns the number of rows changed."""
        if len(values) == 1:
            return self._execute(text, values[0]).rowcount
        return self._executemany(text, values).rowcount

    def next_number(self) -> int:
        """The next number of the sequence."""
        if self._last < 0:
            self._read_sequence()
        self._last += 1
        return self._last

    def counts(self, table: Table[R]) -> Counts:
        """The number of rows for each combination of counted columns, as changed here."""
        counts = super().counts(table)
        add_counts(counts, self._deltas.get(table.name, {}))
        return {values: number for values, number in counts.items() if number}

    def mark(self) -> Mark:
        """The state before a job, for ``reset``."""
        return (
            {name: counts.copy() for name, counts in self._deltas.items()},
            {name: counts.copy() for name, counts in self._tails.items()},
            self._last,
            self._largest_key,
            self._number_freed,
        )

    def reset(self, mark: Mark) -> None:
        """Restores the state of a ``mark``."""
        self._deltas, self._tails, self._last, self._largest_key, self._number_freed = mark

    def settle(self) -> int:
        """Writes the changed counters, right before the commit.

        Returns the last number of the sequence; ``-1`` if this transaction did not read it.
        """
        if self._last < 0 and not self._deltas:
            return -1
        if self._last < 0:
            self._read_sequence()
        if (
            self._deltas
            or self._number_freed
            or self._last > self._largest_key
            or self._last - self._mark > _LONGEST_TAIL
        ):
            self._write_counters()
        return self._last

    def _write_counters(self) -> None:
        for table in NUMBERED:
            add_counts(self._deltas.setdefault(table.name, {}), self._tail(table))
        added = [(SEQUENCE, self._last - self._mark)]
        for name, counts in self._deltas.items():
            added += [(counter_name(name, each), delta) for each, delta in counts.items()]
        self._executemany(_ADD_TO_COUNTER, [each for each in added if each[1]])

    def recount(self) -> None:
        """Counts all rows again, after a row with wrong counted columns was removed."""
        last = self.last_number()
        recount(self._execute, last)
        self._deltas, self._tails, self._number_freed = {}, {}, False
        self._mark = self._largest_key = last

    def _read_sequence_first(self, known: Statements) -> None:
        if known.numbered and self._last < 0:
            self._read_sequence()

    def _add(
        self, table: Table[Any], known: Statements, rows: Sequence[tuple[Value, ...]], by: int
    ) -> None:
        """Counts inserted rows (``by`` is 1) or deleted ones (-1). For rows of the tail it notes
        the largest key.
        """
        counted = rows
        self._owner_changed |= table is META
        if known.numbered:
            if self._last < 0:
                self._read_sequence()
            mark, place = self._mark, known.key[0]
            beyond = [row for row in rows if row[place] > mark]
            if beyond and by > 0:
                self._largest_key = max(self._largest_key, *[row[place] for row in beyond])
                self._last = max(self._last, self._largest_key)
            if beyond and table.name in self._tails:
                add_counts(self._tails[table.name], _counted(known, beyond), by)
            counted = [row for row in rows if row[place] <= mark] if beyond else rows
        if counted and known.counted:
            add_counts(self._deltas.setdefault(table.name, {}), _counted(known, counted), by)


def recount(execute: Callable[..., sqlite3.Cursor], number: int) -> None:
    """Replaces all counters: the sequence, and the rows per combination of counted columns."""
    execute("DELETE FROM counters")
    execute("INSERT INTO counters VALUES (?,?)", (SEQUENCE, number))
    for table in TABLES:
        if table.counted:
            by = ",".join(table.counted)
            text = f"SELECT {by}, count(*) FROM {table.name} GROUP BY {by}"  # noqa: S608
            for *values, rows in execute(text).fetchall():
                name = counter_name(table.name, tuple(values))
                execute("INSERT INTO counters VALUES (?,?)", (name, rows))


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


def _first_keys(known: Statements, rows: Sequence[tuple[Value, ...]]) -> str:
    """The keys of the first rows, for an error."""
    return ", ".join(str(_key(known, row)) for row in rows[:_KEYS_SHOWN])
