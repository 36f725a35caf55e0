"""The texts that indexed values are stored under; they sort as ``rules.ordering`` sorts values.

Different values may share a key: texts are cut, large numbers are rounded, lists and objects have
no key of their own. So an index gives candidates, and each is compared with the filter.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

__all__ = ["NUMBERS", "TEXTS", "index_key", "is_exact"]

NUMBERS, TEXTS = "n", "t"
"""What the keys of numbers and of texts begin with."""
_NULL, _TRUTH, _OTHER = "", "b", "x"
_LONGEST = 100
_REPLACED = "\ufffd"
_ROUNDED_FROM = 2.0**53


def index_key(value: Any, *, ids: bool = False) -> str:
    """The key of a value; with ``ids`` 7 and "7" have the same one. Null and missing share one."""
    if isinstance(value, str):
        return TEXTS + _storable(value[:_LONGEST])
    if isinstance(value, bool):
        return f"{_TRUTH}{value:d}"
    if isinstance(value, int) and ids:
        return TEXTS + str(value)[:_LONGEST]
    if isinstance(value, (int, float, Decimal)):
        return NUMBERS + _sortable(value)
    return _OTHER if isinstance(value, (list, dict)) else _NULL


def is_exact(key: str) -> bool:
    """Whether all values with this key are equal."""
    if key.startswith(TEXTS):
        return len(key) <= _LONGEST and _REPLACED not in key
    if key.startswith(NUMBERS):
        return abs(_number_of(key)) < _ROUNDED_FROM
    return key != _OTHER


def _storable(text: str) -> str:
    """Lone surrogates, which no store takes, replaced."""
    if text.isascii():
        return text
    return "".join(_REPLACED if "\ud800" <= each <= "\udfff" else each for each in text)


def _sortable(value: float | Decimal) -> str:
    """A number as text that sorts as the number does."""
    try:
        number = float(value) + 0.0  # -0.0 becomes 0.0
    except OverflowError:
        number = float("inf") if value > 0 else float("-inf")
    (bits,) = struct.unpack(">Q", struct.pack(">d", number))
    sortable = bits ^ (_ALL if bits >> 63 else _SIGN)
    return f"{sortable:016x}"


def _number_of(key: str) -> float:
    sortable = int(key[1:], 16)
    bits = sortable ^ (_SIGN if sortable >> 63 else _ALL)
    (number,) = struct.unpack(">d", struct.pack(">Q", bits))
    return float(number)


_SIGN, _ALL = 1 << 63, (1 << 64) - 1
