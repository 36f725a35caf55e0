"""A reader and a transaction over one SQLite connection.

Both live as long as one ``work`` and are used by the thread that runs it. Counts and the sequence
are kept in one small table; a transaction gathers what changes in them and writes it once.
"""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from bytelyst_sync.storage.base import Table, Value
from bytelyst_sync.storage.sqlite_sql import Shape, Statements, statements

__all__ = ["SEQUENCE", "ReadView", "WriteView", "counter_name"]

R = TypeVar("R", bound=Any)
Counted = tuple[str, tuple[Value, ...]]

SEQUENCE = "sequence"

_GET_COUNTER = "SELECT value FROM counters WHERE name=?"
_GET_COUNTERS = "SELECT name, value FROM counters WHERE name>=? AND name<?"
_ADD_TO_COUNTER = (
    "INSERT INTO counters VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value=value+excluded.value"
)
_AT_ONCE = 16


@lru_cache(maxsize=4096)
def counter_name(table: str, values: tuple[Value, ...]) -> str:
    """What the rows of a table with these counted values are counted under."""
    return json.dumps([table, *values], separators=(",", ":"))


def _ended(*_: Any) -> NoReturn:
    raise RuntimeError("this transaction has ended: use what it gives only inside of its work")


class ReadView:
    """One consistent view: the ``Reader`` of the port."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute: Callable[..., sqlite3.Cursor] = connection.execute
        self._running: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def end(self) -> None:
        """Stops every scan that is still running; the view is of no use any more."""
        self._execute = _ended
        self.stop_scans()

    def stop_scans(self) -> None:
        """Stops every scan that is still running."""
        if self._running:
            for cursor in list(self._running):
                cursor.close()
            self._running.clear()

    def get(self, table: Table[R], *key: Value) -> R | None:
        """The row with this key, or ``None``."""
        row = self._execute(statements(table).get, key).fetchone()
        return None if row is None else table.row._make(row)

    def scan(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        *,
        after: tuple[Value, ...] | None = None,
        upto: tuple[Value, ...] | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[R]:
        """Rows in the order of an index or of the key, read as they are asked for."""
        shape = Shape(
            index,
            len(prefix),
            -1 if after is None else len(after),
            -1 if upto is None else len(upto),
            limit is not None,
            reverse,
        )
        text = statements(table).scan(shape)
        values = (*prefix, *(after or ()), *(upto or ()))
        make = table.row._make
        if limit is None:
            cursor = self._execute(text, values)
        elif limit <= 0:
            return iter(())
        else:
            cursor = self._execute(text, (*values, limit))
            if limit <= _AT_ONCE:
                return map(make, cursor.fetchall())
        self._running.add(cursor)
        return map(make, cursor)

    def take(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        *,
        upto: tuple[Value, ...] | None = None,
        limit: int | None = None,
    ) -> Iterator[R]:
        """``scan``: there is one writer at a time."""
        return self.scan(table, index, prefix, upto=upto, limit=limit)

    def count(self, table: Table[R], *prefix: Value) -> int:
        """How many rows have these leading counted columns."""
        if len(prefix) == len(table.counted):
            return self._counter(counter_name(table.name, prefix))
        width = len(prefix)
        return sum(n for values, n in self.counts(table).items() if values[:width] == prefix)

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        """The rows per combination of the counted columns that has any."""
        start = counter_name(table.name, ())[:-1]
        rows = self._execute(_GET_COUNTERS, (start, start + "~")).fetchall()
        return {tuple(json.loads(name)[1:]): value for name, value in rows if value}

    def last_number(self) -> int:
        """The number last given out."""
        return self._counter(SEQUENCE)

    def _counter(self, name: str) -> int:
        row = self._execute(_GET_COUNTER, (name,)).fetchone()
        return 0 if row is None else int(row[0])


class WriteView(ReadView):
    """The ``Transaction`` of the port; ``mark`` and ``reset`` undo one of several jobs in it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._executemany = connection.executemany
        self._deltas: dict[Counted, int] = {}
        self._first = self._last = -1

    def insert(self, table: Table[R], row: R) -> None:
        """Adds a row; ``ValueError`` if its key is there already."""
        known = statements(table)
        try:
            self._execute(known.insert, row)
        except sqlite3.IntegrityError as error:
            raise ValueError(f"{table.name} already has {_key(known, row)}") from error
        self._add(table, known, row, 1)

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """Changes a row; ``LookupError`` if it is not there, ``ValueError`` if its new key is."""
        known = statements(table)
        changed = tuple(
            place
            for place, (was, now) in enumerate(zip(old, new, strict=True))
            if was is not now and (was != now or type(was) is not type(now))
        )
        if not changed:
            return
        key = _key(known, old)
        try:
            done = self._execute(known.update(changed), (*(new[i] for i in changed), *key))
        except sqlite3.IntegrityError as error:
            raise ValueError(f"{table.name} already has {_key(known, new)}") from error
        if done.rowcount != 1:
            raise LookupError(f"{table.name} has no {key}")
        if any(place in changed for place in known.counted):
            self._add(table, known, old, -1)
            self._add(table, known, new, 1)

    def delete(self, table: Table[R], row: R) -> None:
        """Removes a row; ``LookupError`` if it is not there."""
        known = statements(table)
        key = _key(known, row)
        if self._execute(known.delete, key).rowcount != 1:
            raise LookupError(f"{table.name} has no {key}")
        self._add(table, known, row, -1)

    def next_number(self) -> int:
        """The next number of the sequence."""
        if self._last < 0:
            self._first = self._last = super().last_number()
        self._last += 1
        return self._last

    @property
    def last_given(self) -> int:
        """The number last given out here, ``-1`` if none was."""
        return self._last

    def last_number(self) -> int:
        """The number last given out, here or before."""
        return super().last_number() if self._last < 0 else self._last

    def count(self, table: Table[R], *prefix: Value) -> int:
        """How many rows have these leading counted columns, as changed here."""
        if len(prefix) != len(table.counted):
            return super().count(table, *prefix)
        return super().count(table, *prefix) + self._deltas.get((table.name, prefix), 0)

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        """The rows per combination of the counted columns that has any, as changed here."""
        kept = super().counts(table)
        for (name, values), delta in self._deltas.items():
            if name == table.name:
                kept[values] = kept.get(values, 0) + delta
        return {values: number for values, number in kept.items() if number}

    def mark(self) -> tuple[dict[Counted, int], int, int]:
        """Where a job starts, for ``reset``."""
        return self._deltas.copy(), self._first, self._last

    def reset(self, mark: tuple[dict[Counted, int], int, int]) -> None:
        """Forgets what was gathered since."""
        self._deltas, self._first, self._last = mark

    def settle(self) -> None:
        """Writes what was gathered: once, right before the commit."""
        added = [
            (counter_name(*counted), delta) for counted, delta in self._deltas.items() if delta
        ]
        if self._last > self._first:
            added.append((SEQUENCE, self._last - self._first))
        if added:
            self._executemany(_ADD_TO_COUNTER, added)

    def _add(self, table: Table[Any], known: Statements, row: tuple[Value, ...], by: int) -> None:
        if known.counted:
            counted = (table.name, tuple(row[place] for place in known.counted))
            self._deltas[counted] = self._deltas.get(counted, 0) + by


def _key(known: Statements, row: Iterable[Value]) -> tuple[Value, ...]:
    values = tuple(row)
    return tuple(values[place] for place in known.key)
