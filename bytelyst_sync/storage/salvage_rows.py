"""Reads what can be read of a damaged table, and tells a sound row from a garbled one.

A page that cannot be read stops a scan. So a table is read from both ends, and what lies between
the places where the two stopped is halved again and again, within a budget of attempts, and until
many in a row have brought nothing: whoever needs the store waits. Keys that an index still names
are then asked for one by one.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.schema import ALIASES, CONFLICTS, ITEMS, RECORDS, Lane

__all__ = ["Excavation", "is_sound", "sound_text"]

Key = tuple[Any, ...]

_ATTEMPTS = 20_000
_BARREN = 2_000
_LARGEST = 2**53
_LAST = "\U0010ffff"
_DEPTH = 6

_JSON: dict[str, tuple[str, ...]] = {
    ITEMS.name: ("data",),
    RECORDS.name: ("state", "beside"),
    ALIASES.name: ("given",),
    CONFLICTS.name: ("local", "remote", "base", "fields"),
}
_OPERATIONS = ("create", "update", "delete")


def sound_text(raw: bytes) -> Any:
    """Text as text, and what is no UTF-8 as bytes, which no sound row holds."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


class Excavation:
    """Reads one table of an open, damaged database; ``complete`` says whether all was read.

    ``rows`` may give a row twice where the damage makes two paths lead to it.
    """

    def __init__(self, connection: sqlite3.Connection, table: Table[Any]) -> None:
        self.complete = True
        self._connection = connection
        self._table = table
        self._attempts = _ATTEMPTS
        self._barren = 0
        self._hints = [get_type_hints(table.row)[column] for column in table.key]
        self._columns: list[str] = []
        self._gaps: list[tuple[Key | None, Key | None]] = []
        self._first: Key = tuple(0 if hint is int else "" for hint in self._hints)
        self._last: Key = tuple(_LARGEST if hint is int else _LAST for hint in self._hints)

    def rows(self) -> Iterator[Any]:
        """Every row that can be read and is sound."""
        try:
            known = self._connection.execute(f"PRAGMA table_info({self._table.name})").fetchall()
        except sqlite3.Error:
            known = []
        named = {row[1] for row in known}
        self._columns = [column for column in self._table.columns if column in named]
        if not set(self._table.key) <= named:
            self.complete = False
            return
        for values in self._from_both_ends():
            row = self._made(values)
            if row is not None and is_sound(self._table, row):
                yield row
            else:
                self.complete = False
        if not self.complete:
            yield from self._by_index()

    def _made(self, values: tuple[Any, ...]) -> Any:
        try:
            return self._table.row(**dict(zip(self._columns, values, strict=True)))
        except TypeError:
            return None  # an older release's row, without a column that has no default

    def _from_both_ends(self) -> Iterator[tuple[Any, ...]]:
        gaps: deque[tuple[Key | None, Key | None]] = deque([(None, None)])
        while gaps:
            low, high = gaps.popleft()
            if self._attempts <= 0 or self._barren >= _BARREN:
                self._gaps.append((low, high))
                continue
            low, whole = yield from self._run(low, high, reverse=False)
            if whole:
                continue
            self.complete = False
            high, _ = yield from self._run(low, high, reverse=True)
            middle = self._between(low, high)
            if middle is None:
                self._gaps.append((low, high))
            else:
                yield from self._fetch(middle)
                gaps.extend([(low, middle), (middle, high)])

    def _run(
        self, low: Key | None, high: Key | None, *, reverse: bool
    ) -> Generator[tuple[Any, ...], None, tuple[Key | None, bool]]:
        """Reads between the two as far as it goes; gives where it stopped, and if that is all."""
        self._attempts -= 1
        self._barren += 1
        keys = ",".join(self._table.key)
        marks = ",".join("?" * len(self._table.key))
        where = [f"({keys})>({marks})"] if low is not None else []
        where += [f"({keys})<({marks})"] if high is not None else []
        down = " DESC" if reverse else ""
        text = f"SELECT {','.join(self._columns)} FROM {self._table.name} NOT INDEXED"  # noqa: S608
        text += f" WHERE {' AND '.join(where)}" if where else ""
        text += " ORDER BY " + ",".join(f"{column}{down}" for column in self._table.key)
        reached = high if reverse else low
        try:
            for values in self._connection.execute(text, (*(low or ()), *(high or ()))):
                key = self._key_of(values)
                if key is None or (reached is not None and (key < reached) is not reverse):
                    break  # garbled: out of order
                yield values
                reached = key
                self._barren = 0
            else:
                return reached, True
        except sqlite3.Error:
            pass
        return reached, False

    def _key_of(self, values: tuple[Any, ...]) -> Key | None:
        named = dict(zip(self._columns, values, strict=True))
        key = tuple(named[column] for column in self._table.key)
        fits = all(type(value) is hint for value, hint in zip(key, self._hints, strict=True))
        return key if fits else None

    def _fetch(self, key: Key) -> Iterator[tuple[Any, ...]]:
        match = " AND ".join(f"{column}=?" for column in self._table.key)
        text = f"SELECT {','.join(self._columns)} FROM {self._table.name} WHERE {match}"  # noqa: S608
        try:
            yield from self._connection.execute(text, key).fetchall()
        except sqlite3.Error:
            self.complete = False

    def _by_index(self) -> Iterator[Any]:
        """The rows whose keys an index names, where the table itself could not be read."""
        for index in self._table.indexes:
            name = f"{self._table.name}_{index}"
            text = f"SELECT {','.join(self._table.key)} FROM {self._table.name} INDEXED BY {name}"  # noqa: S608
            order = self._table.indexes[index]
            text += f" WHERE {order[0]} IS NOT NULL ORDER BY "
            for down in ("", " DESC"):
                ordered = text + ",".join(f"{column}{down}" for column in order)
                for key in filter(self._is_missed, self._keys(ordered)):
                    for values in self._fetch(key):
                        row = self._made(values)
                        if row is not None and is_sound(self._table, row):
                            yield row

    def _is_missed(self, key: Key) -> bool:
        first, last = self._first, self._last
        return any((low or first) <= key <= (high or last) for low, high in self._gaps)

    def _keys(self, text: str) -> Iterator[Key]:
        try:
            yield from self._connection.execute(text)
        except sqlite3.Error:
            return

    def _between(self, low: Key | None, high: Key | None) -> Key | None:
        first, last = self._first, self._last
        return between(low or first, high or last, first, last)


def between(low: Key, high: Key, first: Key, last: Key) -> Key | None:
    """A key about half-way between two, or ``None`` if there is none to be thought of."""
    for place, (a, b) in enumerate(zip(low, high, strict=True)):
        if a == b:
            continue
        middle = (a + b) // 2 if isinstance(a, int) else _middle_text(a, b)
        if a < middle < b:
            return (*low[:place], middle, *first[place + 1 :])
        if place + 1 == len(low):
            return None
        return between(low, (*low[: place + 1], *last[place + 1 :]), first, last)
    return None


def _middle_text(a: str, b: str) -> str:
    """Half-way, taking the texts after what they have in common as fractions of base 0x110000."""
    shared = 0
    while shared < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 1
    total = sum(_fraction(text[shared : shared + _DEPTH]) for text in (a, b)) // 2
    points = []
    for _ in range(_DEPTH):
        total, point = divmod(total, 0x110000)
        points.append(0xE000 if 0xD800 <= point < 0xE000 else point)
    return a[:shared] + "".join(map(chr, reversed(points))).rstrip("\0")


def _fraction(text: str) -> int:
    value = 0
    for character in text.ljust(_DEPTH, "\0"):
        value = value * 0x110000 + ord(character)
    return value


@cache
def _kinds(table: Table[Any]) -> tuple[tuple[Any, ...], ...]:
    """The types that each column may have."""
    hints = get_type_hints(table.row)
    return tuple(get_args(hints[column]) or (hints[column],) for column in table.columns)


def is_sound(table: Table[Any], row: Any) -> bool:
    """Whether each column holds what its annotation says, and what is due to be JSON is."""
    for kinds, value in zip(_kinds(table), row, strict=True):
        if value is None:
            if NoneType not in kinds:
                return False
        elif not any(_CHECKS[kind](value) for kind in kinds if kind is not NoneType):
            return False
    if not all(_is_json(getattr(row, column)) for column in _JSON.get(table.name, ())):
        return False
    if table is ITEMS:
        return row.lane in tuple(Lane) and row.operation in _OPERATIONS
    return True


_CHECKS: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: isinstance(value, int) and 0 <= value < _LARGEST,
    float: lambda value: type(value) in (int, float) and math.isfinite(value),
    str: lambda value: type(value) is str,
}


def _is_json(text: str | None) -> bool:
    try:
        return text is None or json.loads(text) is not Ellipsis
    except ValueError:
        return False
