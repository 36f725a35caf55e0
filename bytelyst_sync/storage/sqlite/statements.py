"""The SQL of a declared table: CREATE statements, and one text for each kind of statement.

Each text is built once, so that the connection finds it in its cache of prepared statements.
Columns have no declared type: SQLite returns values as they were stored. A table whose key is one
integer uses the rowid as its key; each other table is ``WITHOUT ROWID``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from bytelyst_sync.storage.base import Table

__all__ = ["COUNTERS", "SEQUENCE", "Shape", "Statements", "sequence_query", "statements"]

Row = tuple[Any, ...]

COUNTERS = "CREATE TABLE counters (name TEXT PRIMARY KEY NOT NULL, value NOT NULL) WITHOUT ROWID"
"""The table of counters: the sequence, and the rows per combination of counted columns."""

SEQUENCE = "sequence"
"""The name of the sequence in ``counters``."""


class Shape(NamedTuple):
    """The arguments of a scan that determine its text: the index, and the lengths of its tuples
    (``-1``: none).
    """

    order: str | None
    prefix: int
    after: int
    upto: int
    limited: bool
    reverse: bool


class Statements:
    """The statements of one table. Safe to share: a text built twice is the same text."""

    def __init__(self, table: Table[Any]) -> None:
        name, columns, key = table.name, table.columns, table.key
        hints = get_type_hints(table.row)
        self._table = table
        self._nullable = {column for column in columns if NoneType in get_args(hints[column])}
        self._by_rowid = len(key) == 1 and hints[key[0]] is int
        self._match = " AND ".join(f"{column}=?" for column in key)
        self.has_one_key = len(key) == 1
        """Whether the key is one column, so that one statement can name many rows."""
        defaults = table.row._field_defaults
        rare = (place for place, each in enumerate(columns) if _is_rare(defaults, each))
        self._bound = next(rare, len(columns))
        self._usual = tuple(defaults[each] for each in columns[self._bound :])
        self.key = tuple(columns.index(column) for column in key)
        self.counted = tuple(columns.index(column) for column in table.counted)
        self.counts_by = self.counted + (self.key if table.numbered else ())
        """The positions of the columns that determine how a row is counted."""
        self.get = f"SELECT {','.join(columns)} FROM {name} WHERE {self._match}"  # noqa: S608
        self._insert = self._inserting(len(columns))
        self._insert_usual = self._inserting(self._bound)
        self.numbered = table.numbered
        by = ",".join(table.counted)
        self.tail = (
            f"SELECT {by}, count(*) FROM {name} NOT INDEXED"  # noqa: S608
            f" WHERE {key[0]}>? GROUP BY {by}"
        )
        """Counts the rows beyond a number."""

    def insert(self, rows: Sequence[Row]) -> tuple[str, Sequence[Row]]:
        """Inserts rows: the text, and the values for each.

        Nearly every new row has the defaults in the columns from the first that is ``None`` by
        default. The text contains these defaults, because binding them takes as long as binding
        all other columns.
        """
        bound, rest = self._bound, self._usual
        if [None for row in rows if row[bound:] != rest]:
            return self._insert, rows
        return self._insert_usual, [row[:bound] for row in rows]

    def _inserting(self, bound: int) -> str:
        """The text that binds the first ``given`` columns and contains the other defaults."""
        defaults = self._table.row._field_defaults
        rest = {each: defaults[each] for each in self._table.columns[bound:]}
        others = [each for each, default in rest.items() if default is not None]
        names = ",".join([*self._table.columns[:bound], *others])
        values = ",".join(["?"] * bound + [f"{rest[each]:d}" for each in others])
        return f"INSERT INTO {self._table.name} ({names}) VALUES ({values})"  # noqa: S608

    @cache  # noqa: B019  one object for each table, as long as the program runs
    def update(self, changed: tuple[int, ...], rows: int = 1) -> str:
        """Sets the columns at these positions; its last values are the old keys of the rows."""
        sets = ",".join(f"{self._table.columns[place]}=?" for place in changed)
        return f"UPDATE {self._table.name} SET {sets} WHERE {self._keys(rows)}"  # noqa: S608

    @cache  # noqa: B019  one object for each table, as long as the program runs
    def delete(self, rows: int = 1) -> str:
        """Removes rows by their keys."""
        return f"DELETE FROM {self._table.name} WHERE {self._keys(rows)}"  # noqa: S608

    def _keys(self, rows: int) -> str:
        if rows == 1:
            return self._match
        return f"{self._table.key[0]} IN ({','.join('?' * rows)})"

    @cache  # noqa: B019  one object for each table, as long as the program runs
    def fetch(self, width: int) -> str:
        """Rows with one of ``width`` values in the last column of the key, and the given others."""
        *before, last = self._table.key
        where = [*(f"{column}=?" for column in before), f"{last} IN ({','.join('?' * width)})"]
        columns = ",".join(self._table.columns)
        return f"SELECT {columns} FROM {self._table.name} WHERE {' AND '.join(where)}"  # noqa: S608

    def select(self, columns: tuple[str, ...], rows: int) -> str:
        """The key and some columns of the rows with these keys."""
        if not self.has_one_key:
            raise ValueError(f"the key of {self._table.name} is {self._table.key}: not one column")
        names = ",".join((*self._table.key, *columns))
        return f"SELECT {names} FROM {self._table.name} WHERE {self._keys(rows)}"  # noqa: S608

    @cache  # noqa: B019  one object for each table, as long as the program runs
    def present(self, index: str | None, prefix: int, width: int) -> str:
        """Those of ``width`` values that occur in the column after the prefix."""
        order = self._table.order(index)
        where = [f"{column}=?" for column in order[:prefix]]
        where.append(f"{order[prefix]} IN ({','.join('?' * width)})")
        text = f"SELECT DISTINCT {order[prefix]} FROM {self._source(index)} WHERE "  # noqa: S608
        return text + " AND ".join(where)

    @cache  # noqa: B019  one object for each table, as long as the program runs
    def scan(self, shape: Shape) -> str:
        """A scan; its values are those of the tuples in order, then the limit."""
        index, prefix, after, upto, limited, reverse = shape
        table = self._table
        order = table.scan_order(index, prefix + max(after, upto, 0))
        source = self._source(index)
        where = [f"{column}=?" for column in order[:prefix]]
        rest = order[prefix:]
        if after >= 0:
            where.append(_bound(rest[:after], "<" if reverse else ">", "FALSE"))
        if upto >= 0:
            where.append(_bound(rest[:upto], ">=" if reverse else "<=", "TRUE"))
        if index is not None:
            where.extend(f"{column} IS NOT NULL" for column in self._sparse(index))
        text = f"SELECT {','.join(table.columns)} FROM {source}"  # noqa: S608
        if where:
            text += " WHERE " + " AND ".join(where)
        down = " DESC" if reverse else ""
        if rest:
            text += " ORDER BY " + ",".join(f"{column}{down}" for column in rest)
        return text + " LIMIT ?" if limited else text

    def _source(self, index: str | None) -> str:
        name = self._table.name
        return name if index is None else f"{name} INDEXED BY {name}_{index}"

    def _sparse(self, index: str) -> list[str]:
        return [column for column in self._table.indexes[index] if column in self._nullable]

    def create(self) -> list[str]:
        """The CREATE statements of the table and its indexes."""
        table = self._table
        required = "" if self._by_rowid else " NOT NULL"
        columns = [
            f"{column} INTEGER PRIMARY KEY NOT NULL"
            if self._by_rowid and column in table.key
            else column + (required if column in table.key else "")
            for column in table.columns
        ]
        if not self._by_rowid:
            columns.append(f"PRIMARY KEY ({','.join(table.key)})")
        texts = [
            f"CREATE TABLE {table.name} ({', '.join(columns)})"
            + ("" if self._by_rowid else " WITHOUT ROWID")
        ]
        for index, listed in table.indexes.items():
            # SQLite appends the key to every index entry itself
            before = listed[: -len(table.key)] if listed[-len(table.key) :] == table.key else listed
            sparse = " AND ".join(f"{column} IS NOT NULL" for column in self._sparse(index))
            texts.append(
                f"CREATE INDEX {table.name}_{index} ON {table.name} ({','.join(before or listed)})"
                + (f" WHERE {sparse}" if sparse else "")
            )
        return texts


def _is_rare(defaults: Mapping[str, Any], column: str) -> bool:
    return column in defaults and defaults[column] is None


def _bound(columns: tuple[str, ...], comparison: str, empty: str) -> str:
    if not columns:
        return empty
    if len(columns) == 1:
        return f"{columns[0]}{comparison}?"
    return f"({','.join(columns)}){comparison}({','.join('?' * len(columns))})"


@cache
def sequence_query(tables: tuple[Table[Any], ...], other: str) -> str:
    """Selects the mark, the last number of the sequence, and another expression."""
    largest = ", ".join(
        f"ifnull((SELECT max({each.key[0]}) FROM {each.name}), 0)"  # noqa: S608
        for each in tables
    )
    mark = f"ifnull((SELECT value FROM counters WHERE name='{SEQUENCE}'), 0)"  # noqa: S608
    return f"SELECT mark, max(mark, {largest}), {other} FROM (SELECT {mark} AS mark)"  # noqa: S608


@cache
def statements(table: Table[Any]) -> Statements:
    """The statements of this table, built once."""
    return Statements(table)
