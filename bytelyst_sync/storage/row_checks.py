"""Checks rows against the declaration of their table. Pure functions.

``is_plausible`` is fast and checks each row that is read. ``is_sound`` also parses JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any, TypeVar, get_args, get_type_hints

from bytelyst_sync.storage.base import Table, Value
from bytelyst_sync.storage.schema import (
    ALIASES,
    CONFLICTS,
    CURSOR_PREFIX,
    ITEMS,
    META,
    RECORDS,
    SEALED_PREFIX,
    Lane,
)
from bytelyst_sync.storage.set_aside import UnsoundRowError

__all__ = [
    "LARGEST_INT",
    "LARGEST_NUMBER",
    "has_sound_values",
    "is_plausible",
    "is_sound",
    "row_maker",
    "row_reader",
    "sound_rows",
]

R = TypeVar("R", bound=Any)

_DECODER = json.JSONDecoder()
_SPACES = " \t\r\n"
_OBJECT_STARTS = ("{", SEALED_PREFIX)

LARGEST_INT = 2**53
LARGEST_NUMBER = 2**62
"""A larger sequence is treated as damaged: it could soon not grow any further."""
_OPERATIONS = ("create", "update", "delete")
_LANES = frozenset(map(int, Lane))
_OBJECTS: dict[str, tuple[str, ...]] = {
    ITEMS.name: ("data",),
    RECORDS.name: ("state",),
    CONFLICTS.name: ("local", "remote", "base"),
}
"""By table, the columns that hold a JSON object."""
_JSON: dict[str, tuple[str, ...]] = {
    RECORDS.name: ("deferred_state",),
    ALIASES.name: ("given",),
    CONFLICTS.name: ("fields",),
}
"""By table, the columns that hold other JSON."""


@cache
def is_plausible(table: Table[Any]) -> Callable[[tuple[Any, ...]], bool]:
    """A function that checks that each column has a type that its annotation allows, and that an
    item has a known lane and operation and a finite time.
    """
    kinds = _kinds(table)
    known: dict[tuple[type, ...], bool] = {}

    def check(values: tuple[Any, ...]) -> bool:
        types = tuple(map(type, values))
        good = known.get(types)
        if good is None:
            good = known[types] = len(types) == len(kinds) and all(
                issubclass(each, allowed) for each, allowed in zip(types, kinds, strict=True)
            )
        return good

    def check_record(values: tuple[Any, ...]) -> bool:
        text = values[state]
        return (known.get(tuple(map(type, values))) or check(values)) and (
            text is None or text.startswith(_OBJECT_STARTS)
        )

    def check_item(values: tuple[Any, ...]) -> bool:
        return (
            (known.get(tuple(map(type, values))) or check(values))
            and values[lane] in _LANES
            and values[operation] in _OPERATIONS
            and math.isfinite(values[at])
        )

    if table is RECORDS:
        state = table.columns.index("state")
        return check_record
    if table is ITEMS:
        lane, operation, at = map(table.columns.index, ("lane", "operation", "time"))
        return check_item
    return check


@cache
def row_maker(table: Table[R]) -> Callable[[Iterable[Value]], R]:
    """A faster ``_make``, which does not check the number of columns."""
    return partial(tuple.__new__, table.row)


@cache
def row_reader(table: Table[R]) -> Callable[[tuple[Value, ...]], R]:
    """A function that makes a row of the values that were read, and raises ``UnsoundRowError`` if a
    value has a wrong type.
    """
    make, is_good = row_maker(table), is_plausible(table)

    def read(values: tuple[Value, ...]) -> R:
        row: R = make(values)
        if not is_good(values):
            raise UnsoundRowError(table, row, "is of a wrong type or out of range")
        return row

    return read


@cache
def _kinds(table: Table[Any]) -> tuple[tuple[type, ...], ...]:
    """The types that each column may have. SQLite may return an ``int`` for a ``float``."""
    hints = get_type_hints(table.row)
    kinds = []
    for column in table.columns:
        allowed = set(get_args(hints[column]) or (hints[column],))
        kinds.append(tuple(allowed | {int} if float in allowed else allowed))
    return tuple(kinds)


def is_sound(table: Table[Any], row: Any) -> bool:
    """Whether each column has a type of its annotation, a number in range, and JSON where the
    column holds JSON.
    """
    return is_plausible(table)(row) and has_sound_values(table)(row)


@cache
def has_sound_values(table: Table[Any]) -> Callable[[Any], bool]:
    """The second half of ``is_sound``, for rows that ``is_plausible``."""
    numbers = [place for place, kinds in enumerate(_kinds(table)) if str not in kinds]
    objects = [table.columns.index(column) for column in _OBJECTS.get(table.name, ())]
    others = [table.columns.index(column) for column in _JSON.get(table.name, ())]

    def check(row: Any) -> bool:
        for place in numbers:
            value = row[place]
            if value is not None and not 0 <= value < LARGEST_INT:  # false for NaN too
                return False
        if table is META and row.name.startswith(CURSOR_PREFIX):
            return row.value is None or (
                row.value.startswith(_OBJECT_STARTS) and _is_json(row.value)
            )
        for place in objects:
            text = row[place]
            if text is not None and not (text.startswith(_OBJECT_STARTS) and _is_json(text)):
                return False
        for place in others:
            text = row[place]
            if text is not None and not _is_json(text):
                return False
        return True

    return check


def sound_rows(table: Table[R], rows: Iterable[R]) -> Iterator[R]:
    """These rows, lazily; raises ``UnsoundRowError`` at one that has no sound values."""
    is_good = has_sound_values(table)
    for row in rows:
        if not is_good(row):
            raise UnsoundRowError(table, row, "is malformed or out of range")
        yield row


def _is_json(text: str) -> bool:
    if text.startswith(SEALED_PREFIX):
        return True
    stripped = text.strip(_SPACES)
    try:
        return _DECODER.raw_decode(stripped)[1] == len(stripped)
    except (ValueError, RecursionError):
        return False
