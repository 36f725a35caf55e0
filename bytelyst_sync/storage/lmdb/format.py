"""What the file says about itself: the package, the schema, and whether commits may be unsynced.

Both keys are smaller than those of all rows, so that they are found without LMDB; see ``pages.py``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from bytelyst_sync.clock import BOOT
from bytelyst_sync.storage.files import Identity
from bytelyst_sync.storage.lmdb.keys import FORMAT, decode_values, encode_values, space_of
from bytelyst_sync.storage.schema import SCHEMA_VERSION, TABLES

if TYPE_CHECKING:
    import lmdb

__all__ = [
    "UNSYNCED",
    "Layouts",
    "current_format",
    "is_former",
    "is_unsynced",
    "mark_unsynced",
    "read_format",
    "write_format",
    "write_former",
]

UNSYNCED = b"\x00unsynced"
"""The key of the mark: commits of this boot may not be on the disk. A loss of power could damage
the file then, so that it is verified after the next boot.
"""
FORMER = b"\x00former"
"""The key of the identity of the file that this one was copied from, without deleted data."""
_PACKAGE = "bytelyst-sync"

Layouts = dict[str, Any]
"""By table: the space of its rows, and its columns in the order of a stored row."""


@cache
def _current() -> Layouts:
    return {
        table.name: {
            "space": space_of(table, None)[0],
            "columns": list(table.columns),
            "indexes": {name: list(columns) for name, columns in table.indexes.items()},
        }
        for table in TABLES
    }


def current_format() -> dict[str, Any]:
    """The format that this release writes."""
    return {"package": _PACKAGE, "schema": SCHEMA_VERSION, "tables": _current()}


def read_format(raw: bytes) -> dict[str, Any] | None:
    """The format in a file, or ``None`` if it is damaged or another package's."""
    value = decode_values(FORMAT, raw)
    if not isinstance(value, dict) or value.get("package") != _PACKAGE:
        return None
    whole = type(value.get("schema")) is int and isinstance(value.get("tables"), dict)
    return value if whole else None


def write_format(transaction: lmdb.Transaction[bytes]) -> None:
    """Writes the format of this release."""
    transaction.put(FORMAT, encode_values(FORMAT, current_format()))


def write_former(transaction: lmdb.Transaction[bytes], identity: Identity) -> None:
    """Says which file this one continues."""
    transaction.put(FORMER, encode_values(FORMER, identity))


def is_former(transaction: lmdb.Transaction[bytes], identity: Identity) -> bool:
    """Whether this file continues the one with that identity."""
    return transaction.get(FORMER) == encode_values(FORMER, identity)


def is_unsynced(raw: bytes | None) -> bool:
    """Whether the mark is of this boot."""
    return raw == _mark()


@cache
def _mark() -> bytes:
    return encode_values(UNSYNCED, {"boot": BOOT})


def mark_unsynced(transaction: lmdb.Transaction[bytes]) -> None:
    """Writes the mark. It must be synced before the first commit that is not."""
    transaction.put(UNSYNCED, _mark())
