"""Reads the readable rows of a damaged table, and skips malformed ones.

A scan stops at a page that cannot be read. So a table is read from both ends. The range of keys
between the two stops is halved again and again. The number of attempts is bounded, and so is the
number of attempts in a row that find no row, because callers wait for the result. Then the keys
that an index contains are read one by one.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Generator, Iterator
from string import ascii_letters, digits, hexdigits
from typing import Any, get_type_hints

from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.row_checks import LARGEST_INT, is_sound
from bytelyst_sync.storage.schema import FORMER_COLUMNS

__all__ = ["TableRecovery", "between", "sound_text"]

Key = tuple[Any, ...]

_MOST_ATTEMPTS = 20_000
_MOST_FRUITLESS = 2_000
_LAST = "\U0010ffff"
_DEPTH = 6
_ALPHABETS = tuple(
    frozenset(characters) for characters in (digits, hexdigits.lower(), digits + ascii_letters)
)


def sound_text(raw: bytes) -> Any:
    """Decodes UTF-8; returns other text as bytes, which no sound row contains."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


class TableRecovery:
    """Reads one table of an open, damaged database; ``complete``: whether all rows were read.

    ``rows`` may return a row twice, if damaged pages refer to it twice.
    """

    def __init__(self, connection: sqlite3.Connection, table: Table[Any]) -> None:
        self.complete = True
        self._connection = connection
        self._table = table
        self._attempts = _MOST_ATTEMPTS
        self._fruitless = 0
        self._hints = [get_type_hints(table.row)[column] for column in table.key]
        self._columns: list[str] = []
        self._selected = ""
        """The names of these columns in the file, which an older release may have written."""
        self._gaps: list[tuple[Key | None, Key | None]] = []
        self._first: Key = tuple(0 if hint is int else "" for hint in self._hints)
        self._last: Key = tuple(LARGEST_INT if hint is int else _LAST for hint in self._hints)

    def rows(self) -> Iterator[Any]:
        """All rows that are readable and sound."""
        try:
            known = self._connection.execute(f"PRAGMA table_info({self._table.name})").fetchall()
        except sqlite3.Error:
            known = []
        named = {row[1] for row in known}
        former = {new: old for old, new in FORMER_COLUMNS.get(self._table.name, {}).items()}
        stored = [
            (each, each if each in named else former.get(each)) for each in self._table.columns
        ]
        self._columns = [column for column, name in stored if name in named]
        self._selected = ",".join(name for _, name in stored if name is not None and name in named)
        if not set(self._table.key) <= named:
            self.complete = False
            return
        for values in self._from_both_ends():
            row = self._row_from(values)
            if row is not None and is_sound(self._table, row):
                yield row
            else:
                self.complete = False
        if not self.complete:
            yield from self._by_index()

    def _row_from(self, values: tuple[Any, ...]) -> Any:
        try:
            return self._table.row(**dict(zip(self._columns, values, strict=True)))
        except TypeError:
            return None  # a row of an older release that lacks a required column

    def _from_both_ends(self) -> Iterator[tuple[Any, ...]]:
        gaps: deque[tuple[Key | None, Key | None]] = deque([(None, None)])
        while gaps:
            low, high = gaps.popleft()
            if self._attempts <= 0 or self._fruitless >= _MOST_FRUITLESS:
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
        """Reads rows between two keys until an error; returns the last key, and whether it got to
        the end.
        """
        self._attempts -= 1
        self._fruitless += 1
        keys = ",".join(self._table.key)
        marks = ",".join("?" * len(self._table.key))
        where = [f"({keys})>({marks})"] if low is not None else []
        where += [f"({keys})<({marks})"] if high is not None else []
        down = " DESC" if reverse else ""
        text = f"SELECT {self._selected} FROM {self._table.name} NOT INDEXED"  # noqa: S608
        text += f" WHERE {' AND '.join(where)}" if where else ""
        text += " ORDER BY " + ",".join(f"{column}{down}" for column in self._table.key)
        reached = high if reverse else low
        try:
            for values in self._connection.execute(text, (*(low or ()), *(high or ()))):
                key = self._key_of(values)
                if key is None or (reached is not None and (key < reached) is not reverse):
                    break  # malformed: out of order
                yield values
                reached = key
                self._fruitless = 0
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
        text = f"SELECT {self._selected} FROM {self._table.name} WHERE {match}"  # noqa: S608
        try:
            yield from self._connection.execute(text, key).fetchall()
        except sqlite3.Error:
            self.complete = False

    def _by_index(self) -> Iterator[Any]:
        """Rows whose keys an index contains, in ranges that a scan of the table could not read."""
        for index in self._table.indexes:
            name = f"{self._table.name}_{index}"
            text = f"SELECT {','.join(self._table.key)} FROM {self._table.name} INDEXED BY {name}"  # noqa: S608
            order = self._table.indexes[index]
            text += f" WHERE {order[0]} IS NOT NULL ORDER BY "
            for down in ("", " DESC"):
                ordered = text + ",".join(f"{column}{down}" for column in order)
                for key in filter(self._is_missed, self._keys(ordered)):
                    for values in self._fetch(key):
                        row = self._row_from(values)
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
    """A key about half-way between two keys, or ``None`` if there is none."""
    for place, (a, b) in enumerate(zip(low, high, strict=True)):
        if a == b:
            continue
        group = (*high[: place + 1], *first[place + 1 :])
        if b != last[place] and low < group < high:
            return group  # the first key with the beginning of ``high``: it may have most rows
        middle = (a + b) // 2 if isinstance(a, int) else _middle_text(a, b)
        if a < middle < b:
            return (*low[:place], middle, *first[place + 1 :])
        if place + 1 == len(low):
            return None
        return between(low, (*low[: place + 1], *last[place + 1 :]), first, last)
    return None


def _middle_text(a: str, b: str) -> str:
    """A text between two: where the texts begin that share one more character with ``b``, else the
    middle of the two as fractions after their common prefix.

    The digits of the fractions are the characters that such ids mostly have, so that few of the
    halves lie where no id can be.
    """
    shared = 0
    while shared < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 1
    rest = a[shared:], b[shared:]
    group = b[: shared + 1]
    if a < group < b and b != _LAST:
        return group
    for alphabet in _ALPHABETS:
        if alphabet.issuperset("".join(rest)):
            signs = sorted(alphabet)
            middle = a[:shared] + _half(*rest, signs).rstrip(signs[0])
            if a < middle < b:
                return middle
    total = sum(_fraction(text[:_DEPTH]) for text in rest) // 2
    points = []
    for _ in range(_DEPTH):
        total, point = divmod(total, 0x110000)
        points.append(0xE000 if 0xD800 <= point < 0xE000 else point)
    return a[:shared] + "".join(map(chr, reversed(points))).rstrip("\0")


def _half(a: str, b: str, signs: list[str]) -> str:
    """The middle of two fractions that are written with these digits."""
    base = len(signs)
    total = 0
    for text in (a, b):
        value = 0
        for sign in text[:_DEPTH].ljust(_DEPTH, signs[0]):
            value = value * base + signs.index(sign)
        total += value
    total //= 2
    rows = []
    for _ in range(_DEPTH):
        total, place = divmod(total, base)
        rows.append(signs[place])
    return "".join(reversed(rows))


def _fraction(text: str) -> int:
    value = 0
    for character in text.ljust(_DEPTH, "\0"):
        value = value * 0x110000 + ord(character)
    return value
