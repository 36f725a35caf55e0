"""Storage of the queue and the local view: the port, and the stores of this package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bytelyst_sync.storage.base import DeliveryLock, Reader, Storage, Table, Transaction

if TYPE_CHECKING:
    from bytelyst_sync.storage.cipher import generate_key
    from bytelyst_sync.storage.encrypted import EncryptedStorage
    from bytelyst_sync.storage.lmdb.store import LmdbStorage
    from bytelyst_sync.storage.memory import MemoryStorage
    from bytelyst_sync.storage.sqlite.store import SQLiteStorage

DeliveryRight = DeliveryLock
"""The former name of ``DeliveryLock``."""

__all__ = [
    "DeliveryLock",
    "DeliveryRight",
    "EncryptedStorage",
    "LmdbStorage",
    "MemoryStorage",
    "Reader",
    "SQLiteStorage",
    "Storage",
    "Table",
    "Transaction",
    "generate_key",
]

_LAZY = {
    "EncryptedStorage": "bytelyst_sync.storage.encrypted",
    "LmdbStorage": "bytelyst_sync.storage.lmdb.store",
    "MemoryStorage": "bytelyst_sync.storage.memory",
    "SQLiteStorage": "bytelyst_sync.storage.sqlite.store",
    "generate_key": "bytelyst_sync.storage.cipher",
}


def __getattr__(name: str) -> Any:
    """Imports a store at its first use (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
