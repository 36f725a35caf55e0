"""Keys of bytes in the order of tuples, and rows as bytes.

Every key of the file begins with one byte, its *space*: the rows of a table, an index, or the
counters. The columns follow, each with one byte for its type. Bytes compare as the columns do:
``None`` before numbers before text, integers and floats by value, text by its code points.

LMDB's keys have 511 bytes at most. Of a longer key the first 479 bytes are stored and a hash of all
of it. The rows of such keys with the same beginning are sorted when they are read.

A row is JSON, after a checksum of its key and the JSON. So a row that was damaged, or that a
damaged page shows under another key, is recognised. JSON holds no code, whoever wrote the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import blake2b
from struct import Struct
from typing import Any
from zlib import crc32

from bytelyst_sync.rules.json_text import make_encode
from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.ordered import TOP
from bytelyst_sync.storage.schema import TABLES

__all__ = [
    "COUNTERS",
    "END",
    "FORMAT",
    "LONGEST_KEY",
    "SEQUENCE",
    "decode_values",
    "encode",
    "encode_row",
    "encode_values",
    "is_cut",
    "space_of",
    "stored_key",
]

LONGEST_KEY = 511
_DIGEST_BYTES = 32
_UNCUT = LONGEST_KEY - _DIGEST_BYTES

_NONE, _NEGATIVE, _POSITIVE, _TEXT = b"\x05", b"\x10", b"\x11", b"\x20"
END = b"\xff"
"""Greater than every column: what a key starts with, and this, is behind all keys with that start.
"""
_TEXT_END, _ESCAPED_NUL = b"\x00", b"\x00\xff"
_EXACT = 2.0**53
"""All smaller integers are floats too."""
_LARGEST = 2**63

_NUMBER = Struct(">cd")
_REST = Struct(">H")
_CHECKSUM = Struct(">I")

FORMAT = b"\x00format"
"""The smallest key of a store: names the package, the schema and its columns."""
COUNTERS = b"\x01"
"""The space of the counters: the sequence, and the rows per combination of counted columns."""
SEQUENCE = COUNTERS
"""The key of the sequence: the first one in its space."""
_FIRST_TABLE, _SPACES_PER_TABLE = 0x10, 0x10


@cache
def space_of(table: Table[Any], index: str | None) -> bytes:
    """The byte that the keys of a table's rows (``None``) or of an index start with."""
    place = 0 if index is None else 1 + list(table.indexes).index(index)
    return bytes([_FIRST_TABLE + TABLES.index(table) * _SPACES_PER_TABLE + place])


def encode(space: bytes, values: Iterable[Any]) -> bytes:
    """The whole key; ``TOP`` is greater than every other value."""
    parts = [space]
    for value in values:
        kind = type(value)
        if kind is str:
            text = value.encode()
            if b"\x00" in text:
                text = text.replace(b"\x00", _ESCAPED_NUL)
            parts += (_TEXT, text, _TEXT_END)
        elif kind is int and 0 <= value < _EXACT:
            parts.append(_NUMBER.pack(_POSITIVE, value))
        elif value is TOP:
            parts.append(END)
        elif value is None:
            parts.append(_NONE)
        elif isinstance(value, str):
            parts.append(encode(b"", (str(value),)))
        elif 0 <= value < _EXACT:
            parts.append(
                _NUMBER.pack(_POSITIVE, value + 0.0)
            )  # adding 0.0 removes the sign of -0.0
        else:
            parts.append(_encode_number(value))
    return b"".join(parts)


def _encode_number(value: float) -> bytes:
    """A negative number, a large one, or NaN, which comes last of all."""
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise OverflowError(f"{value} does not fit in 64 bits")
    nearest = float(value)
    if nearest > value:
        nearest = math.nextafter(nearest, -math.inf)
    if nearest < 0:
        packed = bytes(255 - byte for byte in _NUMBER.pack(_NEGATIVE, -nearest)[1:])
        tag = _NEGATIVE
    else:
        packed, tag = _NUMBER.pack(_POSITIVE, nearest)[1:], _POSITIVE
    if math.isfinite(nearest) and abs(nearest) >= _EXACT:
        packed += _REST.pack(int(value) - int(nearest))
    return tag + packed


def stored_key(key: bytes) -> bytes:
    """The key as it is stored: cut, with a hash, if it is long."""
    if len(key) <= _UNCUT:
        return key
    return key[:_UNCUT] + blake2b(key, digest_size=_DIGEST_BYTES).digest()


def is_cut(key: bytes) -> bool:
    """Whether a stored key is the beginning of a longer one, with its hash."""
    return len(key) == LONGEST_KEY


def lower_bound(key: bytes) -> bytes:
    """A stored key that is not greater than the stored keys of all keys from this one on."""
    return key[:_UNCUT]


def upper_bound(key: bytes) -> bytes:
    """A stored key that is greater than the stored keys of all keys below this one."""
    return key if len(key) <= _UNCUT else key[:_UNCUT] + END * _DIGEST_BYTES


def start_of(key: bytes) -> bytes:
    """What a cut key has in common with those that it is to be sorted with."""
    return key[:_UNCUT]


# -- values


_to_json = make_encode(allow_nan=True)
_from_json: Callable[[str], Any] = json.JSONDecoder().decode


def encode_values(stored: bytes, values: Any) -> bytes:
    """JSON for the value of this key, with a checksum of both."""
    text = _to_json(values).encode()
    return _CHECKSUM.pack(crc32(text, crc32(stored))) + text


def decode_values(stored: bytes, raw: bytes) -> Any:
    """The values, or ``None`` if they are damaged."""
    text = raw[4:]
    if raw[:4] != _CHECKSUM.pack(crc32(text, crc32(stored))):
        return None
    try:
        return _from_json(text.decode())
    except (ValueError, RecursionError):
        return None  # it was written by somebody who knew the checksum


@cache
def _usual_end(table: Table[Any]) -> tuple[int, tuple[Any, ...]]:
    """From which column on the default is ``None`` or 0 for most rows, and these defaults."""
    defaults = table.row._field_defaults
    columns = table.columns
    start = next((n for n, name in enumerate(columns) if defaults.get(name, 0) is None), None)
    if start is None or any(name not in defaults for name in columns[start:]):
        return len(columns), ()
    return start, tuple(defaults[name] for name in columns[start:])


def encode_row(table: Table[Any], stored: bytes, row: Any) -> bytes:
    """The value of a row. Defaults at its end are omitted."""
    start, usual = _usual_end(table)
    return encode_values(stored, row[:start] if row[start:] == usual else row)


def complete(table: Table[Any], values: Any) -> tuple[Any, ...] | None:
    """All columns of a row that was decoded, or ``None`` if it cannot be one."""
    if type(values) is not list:
        return None
    start, usual = _usual_end(table)
    if len(values) == start:
        return (*values, *usual)
    return tuple(values) if len(values) == len(table.columns) else None
