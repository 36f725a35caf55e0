"""The ``Reader`` of one SQLite connection, used by the thread that runs its ``work``.

The table ``counters`` holds the counts and the sequence. Most transactions only append rows and do
not write to it: the key of an appended row shows how far the sequence has grown. The *mark* is the
value of the sequence in ``counters``. The rows with larger keys are the *tail*; they are counted
when a count is needed. Triggers would keep the counts too, but they would write a counter in every
push.
"""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from bytelyst_sync.storage.base import Table, Value
from bytelyst_sync.storage.derived import DerivedReader
from bytelyst_sync.storage.row_checks import LARGEST_NUMBER, row_reader, sound_rows
from bytelyst_sync.storage.schema import META, OWNER, TABLES
from bytelyst_sync.storage.sqlite.statements import Shape, sequence_query, statements

__all__ = ["NUMBERED", "Counts", "ReadView", "add_counts", "batches", "counter_name"]

R = TypeVar("R", bound=Any)
V = TypeVar("V", bound=int | str)
Counts = dict[tuple[Value, ...], int]

NUMBERED = tuple(table for table in TABLES if table.numbered)
_GET_SEQUENCE = sequence_query(
    NUMBERED,
    f"(SELECT value FROM {META.name} WHERE name='{OWNER}')",  # noqa: S608
)
_GET_COUNTERS = "SELECT name, value FROM counters WHERE name>=? AND name<?"
_FETCHED_AT_ONCE = 16
_MOST_PARAMETERS = 512


@lru_cache(maxsize=4096)
def counter_name(table: str, values: tuple[Value, ...]) -> str:
    """The name of the counter for the rows of a table with these values."""
    return json.dumps([table, *values], separators=(",", ":"), default=str)


def _ended(*_: Any) -> NoReturn:
    raise RuntimeError("the transaction has ended: use its reader and its rows inside of work only")


class ReadView(DerivedReader):
    """One consistent view: the ``Reader`` of the port."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute: Callable[..., sqlite3.Cursor] = connection.execute
        self._running: weakref.WeakSet[sqlite3.Cursor] | None = None
        self._mark = self._last = self._largest_key = -1
        """The mark, the last number of the sequence, and the largest key of a row (at least the
        mark); -1 before they are read.
        """
        self._owner: Value = None
        """The value of the meta row ``OWNER``, read in the same statement."""
        self._tails: dict[str, Counts] = {}
        """The counts of the tail, by table, once they have been read."""

    def end(self) -> None:
        """Stops running scans; each later call raises ``RuntimeError``."""
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
        if row is None:
            return None
        checked: R = row_reader(table)(row)
        return checked

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
        """Rows in the order of an index or of the key, read while they are iterated."""
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
        make = row_reader(table)
        if limit is None:
            cursor = self._execute(text, values)
        elif limit <= 0:
            return iter(())
        else:
            cursor = self._execute(text, (*values, limit))
            if limit <= _FETCHED_AT_ONCE:
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
        """``scan``, since there is one writer at a time. Also parses JSON, which is to be sent."""
        return sound_rows(table, self.scan(table, index, prefix, upto=upto, limit=limit))

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        """The rows whose key is the prefix and one of these values, by that value."""
        place, make = statements(table).key[-1], row_reader(table)
        by_value: dict[V, R] = {}
        for some in batches(values):
            text = statements(table).fetch(len(some))
            for row in self._execute(text, (*prefix, *some)):
                by_value[row[place]] = make(row)
        return by_value

    def select(
        self, table: Table[R], columns: tuple[str, ...], keys: Iterable[V]
    ) -> dict[V, tuple[Value, ...]]:
        """Some columns of the rows that have one of these keys, by key."""
        by_key: dict[V, tuple[Value, ...]] = {}
        for some in batches(keys):
            rows = self._execute(statements(table).select(columns, len(some)), some)
            by_key.update([(row[0], row[1:]) for row in rows])
        return by_key

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        """Which of these values some row has in the column that follows the prefix."""
        present: set[V] = set()
        for some in batches(values):
            text = statements(table).present(index, len(prefix), len(some))
            present.update([value for (value,) in self._execute(text, (*prefix, *some))])
        return present

    def counts(self, table: Table[R]) -> Counts:
        """The rows per combination of the counted columns that has any."""
        counts = self._stored_counts(table)
        if table.numbered:
            add_counts(counts, self._tail(table))
        return {values: number for values, number in counts.items() if number}

    def _stored_counts(self, table: Table[R]) -> Counts:
        start = counter_name(table.name, ())[:-1]
        rows = self._execute(_GET_COUNTERS, (start, start + "~")).fetchall()
        try:
            return {tuple(json.loads(name)[1:]): value + 0 for name, value in rows}
        except (TypeError, ValueError) as error:
            raise _malformed() from error

    def _tail(self, table: Table[Any]) -> Counts:
        counts = self._tails.get(table.name)
        if counts is None:
            if self._last < 0:
                self._read_sequence()
            rows = self._execute(statements(table).tail, (self._mark,)).fetchall()
            counts = self._tails[table.name] = {tuple(values): number for *values, number in rows}
        return counts

    def last_number(self) -> int:
        """The number that ``next_number`` returned last."""
        if self._last < 0:
            self._read_sequence()
        return self._last

    def _read_sequence(self) -> None:
        self._mark, last, self._owner = self._execute(_GET_SEQUENCE).fetchone()
        if not (type(self._mark) is type(last) is int and 0 <= self._mark <= last < LARGEST_NUMBER):
            raise _malformed()
        self._last = self._largest_key = last


def _malformed() -> sqlite3.DatabaseError:
    return sqlite3.DatabaseError("database disk image is malformed: counters")


def add_counts(counts: Counts, others: Counts, by: int = 1) -> None:
    """Adds the others, times ``by``, to the counts."""
    for values, number in others.items():
        counts[values] = counts.get(values, 0) + by * number


def batches(values: Iterable[V]) -> list[list[V]]:
    """The values in lists for one statement each. The last value is repeated up to the next power
    of two, so that few different statements are prepared.
    """
    parameters = list(values)
    if len(parameters) == 1:
        return [parameters]
    lists = []
    for start in range(0, len(parameters), _MOST_PARAMETERS):
        some = parameters[start : start + _MOST_PARAMETERS]
        width = 1 << (len(some) - 1).bit_length()
        lists.append(some + some[-1:] * (width - len(some)))
    return lists
