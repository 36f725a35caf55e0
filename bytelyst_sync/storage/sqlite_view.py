"""A reader over one SQLite connection, used by the thread that runs its ``work``.

Counts and the sequence are kept in one small table, to which most transactions write nothing: they
only append, and a row that is appended tells by its key how far the sequence has come. The rows
beyond the *mark*, which is the sequence as it was written last, are the *tail*, and are counted
when somebody asks.
"""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache, partial
from typing import Any, NoReturn, TypeVar

from bytelyst_sync.storage.base import Table, Value
from bytelyst_sync.storage.schema import TABLES
from bytelyst_sync.storage.sqlite_sql import Shape, statements, whereabouts

__all__ = ["NUMBERED", "Counts", "ReadView", "add_up", "counter_name", "maker", "portions"]

R = TypeVar("R", bound=Any)
V = TypeVar("V", bound=int | str)
Counts = dict[tuple[Value, ...], int]

NUMBERED = tuple(table for table in TABLES if table.numbered)
_WHEREABOUTS = whereabouts(NUMBERED)
_GET_COUNTERS = "SELECT name, value FROM counters WHERE name>=? AND name<?"
_AT_ONCE = 16
_ASKED_AT_ONCE = 512


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
        self._running: weakref.WeakSet[sqlite3.Cursor] | None = None
        self._mark = self._last = self._standing = -1
        """The mark, the number last given out, and the largest that a row tells of (or the mark),
        once they have been asked for.
        """
        self._tails: dict[str, Counts] = {}
        """What is beyond the mark, by table, once it has been counted."""

    def end(self) -> None:
        """Stops every scan that is still running; the view is of no use any more."""
        self._execute = _ended
        if self._running:
            self.stop_scans()

    def stop_scans(self) -> None:
        """Stops every scan that is still running."""
        if self._running:
            for cursor in list(self._running):
                cursor.close()
            self._running = None

    def get(self, table: Table[R], *key: Value) -> R | None:
        """The row with this key, or ``None``."""
        row = self._execute(statements(table).get, key).fetchone()
        return None if row is None else maker(table)(row)

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
        make = maker(table)
        if limit is None:
            cursor = self._execute(text, values)
        elif limit <= 0:
            return iter(())
        else:
            cursor = self._execute(text, (*values, limit))
            if limit <= _AT_ONCE:
                return map(make, cursor.fetchall())
        if self._running is None:
            self._running = weakref.WeakSet()
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

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        """The rows whose key is the prefix and one of these values, by that value."""
        place, make = statements(table).key[-1], maker(table)
        found: dict[V, R] = {}
        for some in portions(values):
            text = statements(table).fetch(len(some))
            for row in self._execute(text, (*prefix, *some)):
                found[row[place]] = make(row)
        return found

    def pick(
        self, table: Table[R], columns: tuple[str, ...], keys: Iterable[V]
    ) -> dict[V, tuple[Value, ...]]:
        """Some columns of the rows that have one of these keys, by key."""
        found: dict[V, tuple[Value, ...]] = {}
        for some in portions(keys):
            rows = self._execute(statements(table).pick(columns, len(some)), some)
            found.update([(row[0], row[1:]) for row in rows])
        return found

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        """Which of these values some row has in the column that follows the prefix."""
        found: set[V] = set()
        for some in portions(values):
            text = statements(table).present(index, len(prefix), len(some))
            found.update([value for (value,) in self._execute(text, (*prefix, *some))])
        return found

    def count(self, table: Table[R], *prefix: Value) -> int:
        """How many rows have these leading counted columns."""
        width = len(prefix)
        return sum(n for values, n in self.counts(table).items() if values[:width] == prefix)

    def counts(self, table: Table[R]) -> Counts:
        """The rows per combination of the counted columns that has any."""
        kept = self._kept(table)
        if table.numbered:
            add_up(kept, self._tail(table))
        return {values: number for values, number in kept.items() if number}

    def _kept(self, table: Table[R]) -> Counts:
        start = counter_name(table.name, ())[:-1]
        rows = self._execute(_GET_COUNTERS, (start, start + "~")).fetchall()
        return {tuple(json.loads(name)[1:]): value for name, value in rows}

    def _tail(self, table: Table[Any]) -> Counts:
        found = self._tails.get(table.name)
        if found is None:
            if self._last < 0:
                self._look()
            rows = self._execute(statements(table).tail, (self._mark,)).fetchall()
            found = self._tails[table.name] = {tuple(values): number for *values, number in rows}
        return found

    def last_number(self) -> int:
        """The number last given out."""
        if self._last < 0:
            self._look()
        return self._last

    def _look(self) -> None:
        self._mark, self._last = self._execute(_WHEREABOUTS).fetchone()
        self._standing = self._last


@cache
def maker(table: Table[R]) -> Callable[[Iterable[Value]], R]:
    """``_make`` without a frame of its own and without counting the columns again."""
    return partial(tuple.__new__, table.row)


def add_up(counts: Counts, others: Counts, by: int = 1) -> None:
    """Adds the others to these counts, so many times."""
    for values, number in others.items():
        counts[values] = counts.get(values, 0) + by * number


def portions(values: Iterable[V]) -> list[list[V]]:
    """As many at a time as one statement takes; the last one again and again, up to the next
    power of two, so that there are few different statements.
    """
    asked = list(values)
    if len(asked) == 1:
        return [asked]
    found = []
    for start in range(0, len(asked), _ASKED_AT_ONCE):
        some = asked[start : start + _ASKED_AT_ONCE]
        width = 1 << (len(some) - 1).bit_length()
        found.append(some + some[-1:] * (width - len(some)))
    return found
