"""The SQL of a declared table: how it is made, and one text per kind and shape of statement.

Texts are built once and kept, so that the connection's own cache of prepared statements is hit.
Columns have no declared type (values come back as they were given). A table whose key is one whole
number is keyed by the rowid; every other is ``WITHOUT ROWID``, one b-tree in the order of its key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from bytelyst_sync.storage.base import Table

__all__ = ["COUNTERS", "SEQUENCE", "Shape", "Statements", "statements", "whereabouts"]

Row = tuple[Any, ...]

COUNTERS = "CREATE TABLE counters (name TEXT PRIMARY KEY NOT NULL, value NOT NULL) WITHOUT ROWID"
"""Numbers kept under a name: the sequence, and the rows per combination of counted columns."""

SEQUENCE = "sequence"
"""The name of the sequence in it."""


class Shape(NamedTuple):
    """What a scan's text depends on: whose order, and the lengths of its tuples (``-1``: none)."""

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
        self._updates: dict[tuple[tuple[int, ...], int], str] = {}
        self._deletes: dict[int, str] = {}
        self._scans: dict[Shape, str] = {}
        self._presents: dict[tuple[str | None, int, int], str] = {}
        self._match = " AND ".join(f"{column}=?" for column in key)
        self.has_one_key = len(key) == 1
        """Whether the key is one column: then one statement can name many rows."""
        defaults = table.row._field_defaults
        rare = (place for place, each in enumerate(columns) if _is_rare(defaults, each))
        self._given = next(rare, len(columns))
        self._rest = tuple(defaults[each] for each in columns[self._given :])
        self.key = tuple(columns.index(column) for column in key)
        self.counted = tuple(columns.index(column) for column in table.counted)
        self.counts_by = self.counted + (self.key if table.numbered else ())
        """The places of what decides where a row is counted."""
        self.get = f"SELECT {','.join(columns)} FROM {name} WHERE {self._match}"  # noqa: S608
        self._insert = self._inserting(len(columns))
        self._insert_usual = self._inserting(self._given)
        self.numbered = table.numbered
        by = ",".join(table.counted)
        self.tail = (
            f"SELECT {by}, count(*) FROM {name} NOT INDEXED"  # noqa: S608
            f" WHERE {key[0]}>? GROUP BY {by}"
        )
        """Counts the rows beyond a number."""

    def insert(self, rows: Sequence[Row]) -> tuple[str, Sequence[Row]]:
        """Adds rows: the text, and the values for each.

        The columns from the first on that is mostly ``None`` have their defaults in nearly every
        new row, and are written out; to bind each of them would take as long as all the rest.
        """
        given, rest = self._given, self._rest
        if [None for row in rows if row[given:] != rest]:
            return self._insert, rows
        return self._insert_usual, [row[:given] for row in rows]

    def _inserting(self, given: int) -> str:
        """Binds so many columns and writes out the defaults of the others."""
        defaults = self._table.row._field_defaults
        rest = {each: defaults[each] for each in self._table.columns[given:]}
        others = [each for each, default in rest.items() if default is not None]
        names = ",".join([*self._table.columns[:given], *others])
        values = ",".join(["?"] * given + [f"{rest[each]:d}" for each in others])
        return f"INSERT INTO {self._table.name} ({names}) VALUES ({values})"  # noqa: S608

    def update(self, changed: tuple[int, ...], rows: int = 1) -> str:
        """Sets the columns at these places; then come the keys of the rows, as they were."""
        text = self._updates.get((changed, rows))
        if text is None:
            sets = ",".join(f"{self._table.columns[place]}=?" for place in changed)
            text = f"UPDATE {self._table.name} SET {sets} WHERE {self._keys(rows)}"  # noqa: S608
            self._updates[changed, rows] = text
        return text

    def delete(self, rows: int = 1) -> str:
        """Removes rows by their keys."""
        text = self._deletes.get(rows)
        if text is None:
            text = f"DELETE FROM {self._table.name} WHERE {self._keys(rows)}"  # noqa: S608
            self._deletes[rows] = text
        return text

    def _keys(self, rows: int) -> str:
        if rows == 1:
            return self._match
        return f"{self._table.key[0]} IN ({','.join('?' * rows)})"

    def fetch(self, width: int) -> str:
        """The rows of ``width`` values of the key's last column; its others come before them."""
        *before, last = self._table.key
        where = [*(f"{column}=?" for column in before), f"{last} IN ({','.join('?' * width)})"]
        columns = ",".join(self._table.columns)
        return f"SELECT {columns} FROM {self._table.name} WHERE " + " AND ".join(where)  # noqa: S608

    def pick(self, columns: tuple[str, ...], rows: int) -> str:
        """The key and some columns of the rows with these keys."""
        if not self.has_one_key:
            raise ValueError(f"the key of {self._table.name} is {self._table.key}: not one column")
        names = ",".join((*self._table.key, *columns))
        return f"SELECT {names} FROM {self._table.name} WHERE {self._keys(rows)}"  # noqa: S608

    def present(self, index: str | None, prefix: int, width: int) -> str:
        """The values among ``width`` ones that occur in the column behind the prefix."""
        text = self._presents.get((index, prefix, width))
        if text is None:
            order = self._table.order(index)
            where = [f"{column}=?" for column in order[:prefix]]
            where.append(f"{order[prefix]} IN ({','.join('?' * width)})")
            text = f"SELECT DISTINCT {order[prefix]} FROM {self._source(index)} WHERE "  # noqa: S608
            text = self._presents[index, prefix, width] = text + " AND ".join(where)
        return text

    def scan(self, shape: Shape) -> str:
        """A scan; its values are those of the tuples in turn, then the limit."""
        text = self._scans.get(shape)
        if text is None:
            text = self._scans[shape] = self._build_scan(shape)
        return text

    def _build_scan(self, shape: Shape) -> str:
        index, prefix, after, upto, limited, reverse = shape
        table = self._table
        order = table.order(index)
        if prefix + max(after, upto, 0) > len(order):
            raise ValueError(f"a scan of {table.name} by {index or 'key'} is ordered by {order}")
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
        """The statements that make the table and its indexes."""
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
        made = [
            f"CREATE TABLE {table.name} ({', '.join(columns)})"
            + ("" if self._by_rowid else " WITHOUT ROWID")
        ]
        for index, listed in table.indexes.items():
            # SQLite appends the key to every entry of its own accord
            kept = listed[: -len(table.key)] if listed[-len(table.key) :] == table.key else listed
            sparse = " AND ".join(f"{column} IS NOT NULL" for column in self._sparse(index))
            made.append(
                f"CREATE INDEX {table.name}_{index} ON {table.name} ({','.join(kept or listed)})"
                + (f" WHERE {sparse}" if sparse else "")
            )
        return made


def _is_rare(defaults: Mapping[str, Any], column: str) -> bool:
    return column in defaults and defaults[column] is None


def _bound(columns: tuple[str, ...], comparison: str, empty: str) -> str:
    if not columns:
        return empty
    if len(columns) == 1:
        return f"{columns[0]}{comparison}?"
    return f"({','.join(columns)}){comparison}({','.join('?' * len(columns))})"


@cache
def whereabouts(tables: tuple[Table[Any], ...]) -> str:
    """The sequence as it was written last, and how far these numbered tables have brought it."""
    largest = ", ".join(
        f"ifnull((SELECT max({each.key[0]}) FROM {each.name}), 0)"  # noqa: S608
        for each in tables
    )
    mark = f"ifnull((SELECT value FROM counters WHERE name='{SEQUENCE}'), 0)"  # noqa: S608
    return f"SELECT mark, max(mark, {largest}) FROM (SELECT {mark} AS mark)"  # noqa: S608


@cache
def statements(table: Table[Any]) -> Statements:
    """The statements of this table, made once."""
    return Statements(table)
