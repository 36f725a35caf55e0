"""Where the queue lives: the port, and the stores that come with the package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bytelyst_sync.storage.base import DeliveryRight, Reader, Storage, Table, Transaction

if TYPE_CHECKING:
    from bytelyst_sync.storage.encrypted import EncryptedStorage
    from bytelyst_sync.storage.memory import MemoryStorage
    from bytelyst_sync.storage.seal import generate_key
    from bytelyst_sync.storage.sqlite import SQLiteStorage

__all__ = [
    "DeliveryRight",
    "EncryptedStorage",
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
    "MemoryStorage": "bytelyst_sync.storage.memory",
    "SQLiteStorage": "bytelyst_sync.storage.sqlite",
    "generate_key": "bytelyst_sync.storage.seal",
}


def __getattr__(name: str) -> Any:
    """Loads a store, and what it needs, when it is first asked for (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
