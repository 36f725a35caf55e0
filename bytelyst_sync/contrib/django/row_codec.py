"""Rows as the columns of a database hold them, and back.

No supported database distinguishes an int from a text in one column, and PostgreSQL's texts hold no
NUL. So a column of both types is stored as JSON, and NUL and U+0001 are escaped in a way that keeps
the order of texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from bytelyst_sync.contrib.django.models import LENGTHS, LONGEST, key_columns, kinds
from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.base import Table, Value

__all__ = ["RowCodec", "codec_of"]

Convert = Callable[[Any], Value]
_ESCAPED = (("\x01", "\x01\x02"), ("\x00", "\x01\x01"))


def _text(value: str) -> str:
    if "\x00" in value or "\x01" in value:
        for plain, escaped in _ESCAPED:
            value = value.replace(plain, escaped)
    return value


def _read_text(value: str) -> str:
    if "\x01" in value:
        for plain, escaped in reversed(_ESCAPED):
            value = value.replace(escaped, plain)
    return value


def _key_text(table: str, column: str) -> Convert:
    longest = LENGTHS.get(column, LONGEST)

    def convert(value: str) -> str:
        if len(value) > longest:
            raise StorageError(
                f"{table}.{column} of {value[:40]!r}… has {len(value)} characters; a queue in"
                f" Django's database takes {longest}: use shorter names and ids"
            )
        return _text(value)

    return convert


class RowCodec:
    """The conversions of one table's columns, which are built once."""

    def __init__(self, table: Table[Any]) -> None:
        self.table = table
        self._writers: dict[str, Convert] = {}
        self._readers: list[tuple[int, Convert]] = []
        """The columns that are not read as they are."""
        keys = key_columns(table)
        for place, (column, (kind, _)) in enumerate(kinds(table).items()):
            if kind in (int, float):
                self._writers[column] = kind
                if kind is float:
                    self._readers.append((place, float))
            elif kind is object:
                self._writers[column] = json.dumps
                self._readers.append((place, json.loads))
            else:
                self._writers[column] = _key_text(table.name, column) if column in keys else _text
                self._readers.append((place, _read_text))

    def value(self, column: str, value: Value) -> Value:
        """One value as its column holds it."""
        return None if value is None else self._writers[column](value)

    def values(self, columns: Sequence[str], values: Sequence[Value]) -> list[Value]:
        """The same for several columns."""
        writers = self._writers
        return [
            None if value is None else writers[column](value)
            for column, value in zip(columns, values, strict=False)
        ]

    def row(self, values: Sequence[Value]) -> Any:
        """A row of the table, from its columns in order."""
        found = list(values)
        for place, read in self._readers:
            if found[place] is not None:
                found[place] = read(found[place])
        return tuple.__new__(self.table.row, found)

    def read(self, column: str, value: Value) -> Value:
        """One value of a row."""
        place = self.table.columns.index(column)
        reader = dict(self._readers).get(place)
        return value if value is None or reader is None else reader(value)


@cache
def codec_of(table: Table[Any]) -> RowCodec:
    """The codec of this table."""
    return RowCodec(table)
