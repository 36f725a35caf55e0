"""The ``Reader`` of the port, in SQL, on a connection of Django's in an open transaction.

Owned by the thread that runs the transaction. Scans read a page at a time, so that one that is not
read to its end costs little.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from bytelyst_sync.contrib.django.row_codec import codec_of
from bytelyst_sync.storage.base import Table, Value
from bytelyst_sync.storage.derived import DerivedReader
from bytelyst_sync.storage.schema import ALIASES, LINKS

__all__ = ["Counts", "DjangoReader", "QueueState", "batches", "load_queue", "table_sql"]

R = TypeVar("R", bound=NamedTuple)
V = TypeVar("V", bound=int | str)
Counts = dict[str, dict[tuple[Value, ...], int]]
"""By table: the number of rows for each combination of its counted columns."""

_OFTEN_EMPTY = frozenset({LINKS.name, ALIASES.name})
"""Tables that most queues have no row of, and that rules look into for each item."""
_FIRST_PAGE, _LAST_PAGE = 32, 1000
_MOST_PARAMETERS = 500


class QueueState(NamedTuple):
    """The row of the queue: see ``models.Queue``."""

    version: int = 0
    number: int = 0
    counts: str = "{}"


def load_queue(text: str) -> Counts:
    """The counts of a queue's row."""
    stored: dict[str, list[list[Any]]] = json.loads(text)
    return {name: {tuple(key): number for *key, number in rows} for name, rows in stored.items()}


def batches(values: Iterable[V]) -> Iterator[list[V]]:
    """The distinct values, in lists for one statement each."""
    rest = iter(dict.fromkeys(values))
    while some := list(islice(rest, _MOST_PARAMETERS)):
        yield some


class TableSql(NamedTuple):
    """The parts of a table's statements, quoted."""

    name: str
    columns: str
    quoted: dict[str, str]
    where_queue: str


@lru_cache(maxsize=64)
def table_sql(table: Table[Any], quote: str) -> TableSql:
    """The parts of a table's statements; ``quote`` is the database's quotation mark."""
    quoted = {column: f"{quote}{column}{quote}" for column in table.columns}
    name = f"{quote}bytelyst_sync_{table.name}{quote}"
    return TableSql(name, ", ".join(quoted.values()), quoted, f"{quote}queue{quote} = %s")


class DjangoReader(DerivedReader):
    """One view of a queue. ``end`` makes it unusable."""

    def __init__(self, connection: Any, queue: str) -> None:
        self._connection = connection
        self._queue = queue
        self._quote = connection.ops.quote_name("x")[0]
        self._state: QueueState | None = None
        self._counts: Counts | None = None
        self._empty: dict[str, bool] = {}
        """By table: whether the queue has no row of it, as far as that was asked."""
        self._ended = False

    def end(self) -> None:
        """Each later call raises ``RuntimeError``."""
        self._ended = True

    def execute(self, text: str, values: Iterable[Value] = ()) -> list[tuple[Any, ...]]:
        """Runs a query, and returns its rows."""
        with self.cursor() as cursor:
            cursor.execute(text, list(values))
            return list(cursor.fetchall())

    def cursor(self) -> Any:
        """A cursor of the connection, which the caller closes."""
        if self._ended:
            raise RuntimeError(
                "the transaction has ended: use its reader and its rows inside of work only"
            )
        return self._connection.cursor()

    def _sql(self, table: Table[Any]) -> TableSql:
        return table_sql(table, self._quote)

    def _is_empty(self, table: Table[Any]) -> bool:
        """Whether the queue has no row of a table of ``_OFTEN_EMPTY``: asked once in a view."""
        if table.name not in _OFTEN_EMPTY:
            return False
        empty = self._empty.get(table.name)
        if empty is None:
            sql = self._sql(table)
            text = f"SELECT 1 FROM {sql.name} WHERE {sql.where_queue} LIMIT 1"  # noqa: S608
            empty = self._empty[table.name] = not self.execute(text, [self._queue])
        elif self._ended:
            self.cursor()
        return empty

    def get(self, table: Table[R], *key: Value) -> R | None:
        """The row with this key, or ``None``."""
        if None in key or self._is_empty(table):
            return None
        sql, codec = self._sql(table), codec_of(table)
        where = "".join(f" AND {sql.quoted[column]} = %s" for column in table.key)
        text = f"SELECT {sql.columns} FROM {sql.name} WHERE {sql.where_queue}{where}"  # noqa: S608
        rows = self.execute(text, [self._queue, *codec.values(table.key, key)])
        row: R | None = codec.row(rows[0]) if rows else None
        return row

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
        width = len(prefix) + max(len(after or ()), len(upto or ()))
        order = table.scan_order(index, width)
        if None in prefix or (limit is not None and limit <= 0) or self._is_empty(table):
            return iter(())
        scan = _Scan(table, index, order, tuple(prefix), upto, reverse)
        return self._pages(scan, after, limit)

    def _pages(
        self, scan: _Scan, after: tuple[Value, ...] | None, limit: int | None
    ) -> Iterator[Any]:
        row_of, rest = codec_of(scan.table).row, scan.order[len(scan.prefix) :]
        places = [scan.table.columns.index(column) for column in rest]
        size = _FIRST_PAGE if limit is None else min(limit, _LAST_PAGE)
        while True:
            text, values = scan.statement(self._sql(scan.table), after)
            rows = self.execute(f"{text} LIMIT {size:d}", [self._queue, *values])
            for each in rows:
                if self._ended:
                    self.cursor()
                row = row_of(each)
                after = tuple([row[place] for place in places])
                yield row
            if limit is not None:
                limit -= len(rows)
            if len(rows) < size or limit == 0:
                return
            size = min(_LAST_PAGE, size * 4) if limit is None else min(limit, _LAST_PAGE)

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        """The rows whose key is the prefix and one of these values, by that value."""
        *before, last = table.key
        place, row_of = table.columns.index(last), codec_of(table).row
        found: dict[V, R] = {}
        for each in self._matching(table, self._sql(table).columns, prefix, before, last, values):
            row = row_of(each)
            found[row[place]] = row
        return found

    def select(
        self, table: Table[R], columns: tuple[str, ...], keys: Iterable[V]
    ) -> dict[V, tuple[Value, ...]]:
        """Some columns of the rows that have one of these keys, by key."""
        (key,) = table.key
        codec, sql = codec_of(table), self._sql(table)
        names = ", ".join(sql.quoted[column] for column in (key, *columns))
        found: dict[V, tuple[Value, ...]] = {}
        for first, *others in self._matching(table, names, (), [], key, keys):
            values = [codec.read(*pair) for pair in zip(columns, others, strict=True)]
            found[codec.read(key, first)] = tuple(values)
        return found

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        """Which of these values some row has in the column that follows the prefix."""
        order = table.order(index)
        column, codec = order[len(prefix)], codec_of(table)
        names = f"DISTINCT {self._sql(table).quoted[column]}"
        before = list(order[: len(prefix)])
        sparse = () if index is None else table.indexes[index]
        rows = self._matching(table, names, prefix, before, column, values, sparse)
        return {codec.read(column, value) for (value,) in rows}

    def matching(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> list[R]:
        """All rows that have one of these values in the column that follows the prefix."""
        order, sql, row_of = table.order(index), self._sql(table), codec_of(table).row
        width = len(prefix)
        by = f" ORDER BY {', '.join(sql.quoted[column] for column in order[width:])}"
        sparse = () if index is None else table.indexes[index]
        given = prefix, list(order[:width]), order[width], values, sparse, by
        return [row_of(row) for row in self._matching(table, sql.columns, *given)]

    def first_of_each(
        self,
        table: Table[R],
        index: str,
        prefix: tuple[Value, ...],
        values: Iterable[V],
        *,
        reverse: bool = False,
    ) -> dict[V, R]:
        """The first or last row with each of these values in the column that follows the prefix.

        Each is found in the index, so that it does not matter how many rows have the value.
        """
        (key,) = table.key
        order, sql, codec = table.order(index), self._sql(table), codec_of(table)
        before, column, rest = order[: len(prefix)], order[len(prefix)], order[len(prefix) + 1 :]
        where = "".join(f" AND {sql.quoted[each]} = %s" for each in before)
        where += "".join(f" AND {sql.quoted[each]} IS NOT NULL" for each in table.indexes[index])
        by = ", ".join(f"{sql.quoted[each]}{' DESC' if reverse else ''}" for each in rest)
        inner = (
            f"SELECT {sql.quoted[key]} FROM {sql.name} WHERE {sql.where_queue}{where}"  # noqa: S608
            f" AND {sql.quoted[column]} = given.wanted ORDER BY {by} LIMIT 1"
        )
        place = table.columns.index(column)
        found: dict[V, R] = {}
        for some in batches(values):
            listed = " UNION ALL SELECT ".join(["%s AS wanted", *["%s"] * (len(some) - 1)])
            text = (
                f"SELECT {sql.columns} FROM {sql.name} WHERE {sql.where_queue}"  # noqa: S608
                f" AND {sql.quoted[key]} IN (SELECT ({inner}) FROM (SELECT {listed}) AS given)"
            )
            first = [self._queue, self._queue, *codec.values(before, prefix)]
            for row in self.execute(text, first + [codec.value(column, each) for each in some]):
                read = codec.row(row)
                found[read[place]] = read
        return found

    def _matching(
        self,
        table: Table[Any],
        names: str,
        prefix: tuple[Value, ...],
        before: list[str],
        column: str,
        values: Iterable[V],
        sparse: Iterable[str] = (),
        end: str = "",
    ) -> Iterator[tuple[Any, ...]]:
        """Columns of the rows with this prefix in ``before``, and one of the values in ``column``.

        ``sparse``: columns that must not be NULL.
        """
        if self._is_empty(table):
            return
        sql, codec = self._sql(table), codec_of(table)
        where = "".join(f" AND {sql.quoted[each]} = %s" for each in before)
        where += "".join(f" AND {sql.quoted[each]} IS NOT NULL" for each in sparse)
        start = f"SELECT {names} FROM {sql.name} WHERE {sql.where_queue}{where}"  # noqa: S608
        for some in batches(values):
            text = f"{start} AND {sql.quoted[column]} IN ({', '.join(['%s'] * len(some))}){end}"
            given = codec.values(before, prefix) + [codec.value(column, each) for each in some]
            yield from self.execute(text, [self._queue, *given])

    def state(self) -> QueueState:
        """The queue's row, as this transaction sees it."""
        if self._state is None:
            quote = self._quote
            rows = self.execute(
                f"SELECT version, number, counts FROM {quote}bytelyst_sync_queues{quote}"  # noqa: S608
                " WHERE name = %s",
                [self._queue],
            )
            self._state = QueueState(*rows[0]) if rows else QueueState()
        return self._state

    def _kept(self) -> Counts:
        if self._counts is None:
            self._counts = load_queue(self.state().counts)
        return self._counts

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        """The rows per combination of the counted columns that has any."""
        return dict(self._kept().get(table.name, {}))

    def last_number(self) -> int:
        """The number last given out."""
        return self.state().number


class _Scan(NamedTuple):
    """A scan without its start."""

    table: Table[Any]
    by: str | None
    order: tuple[str, ...]
    prefix: tuple[Value, ...]
    upto: tuple[Value, ...] | None
    reverse: bool

    def statement(self, sql: TableSql, after: tuple[Value, ...] | None) -> tuple[str, list[Value]]:
        """The query without its limit, and its values but for the queue's name."""
        codec, width = codec_of(self.table), len(self.prefix)
        rest = self.order[width:]
        where = [sql.where_queue, *[f"{sql.quoted[each]} = %s" for each in self.order[:width]]]
        values = codec.values(self.order, self.prefix)
        if self.by is not None:
            sparse = self.table.indexes[self.by]
            where += [f"{sql.quoted[column]} IS NOT NULL" for column in sparse]
        for bound, strict in ((after, True), (self.upto, False)):
            if bound is not None:
                down = self.reverse is strict
                columns = [sql.quoted[column] for column in rest[: len(bound)]]
                text, places = _bound(columns, "<" if down else ">", strict=strict)
                given = codec.values(rest, bound)
                where.append(text)
                values += [given[place] for place in places]
        way = " DESC" if self.reverse else ""
        by = ", ".join(f"{sql.quoted[column]}{way}" for column in rest)
        text = f"SELECT {sql.columns} FROM {sql.name} WHERE {' AND '.join(where)}"  # noqa: S608
        return (f"{text} ORDER BY {by}" if rest else text), values


def _bound(columns: list[str], comparison: str, *, strict: bool) -> tuple[str, list[int]]:
    """The condition that some columns, compared as a tuple, are beyond a bound, or at it unless
    ``strict``; and the places of the bound's values in it.

    Not as a comparison of rows: MariaDB uses no index for that.
    """
    if not columns:
        return ("1 = 0" if strict else "1 = 1"), []
    first, *others = columns
    if not others:
        return f"{first} {comparison}{'' if strict else '='} %s", [0]
    inner, places = _bound(others, comparison, strict=strict)
    text = f"{first} {comparison}= %s AND ({first} {comparison} %s OR {inner})"
    return f"({text})", [0, 0, *[place + 1 for place in places]]
