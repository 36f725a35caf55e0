"""Offline-first sync: pushes are durable at once, delivered in order, once, when the network is
there.

The heavy parts (``requests``, ``sqlite3``) are loaded with the first engine, not with the import.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bytelyst_sync.batch import BatchFormat
from bytelyst_sync.config import EntityConfig, SyncConfig
from bytelyst_sync.dialect import Dialect
from bytelyst_sync.errors import (
    AuthError,
    ConfigError,
    EngineClosedError,
    InvalidDataError,
    OfflineError,
    QueueFullError,
    RecordDeletedError,
    RejectedError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageVersionError,
    SyncError,
    TransportError,
    UnknownEntityError,
)
from bytelyst_sync.model import (
    Conflict,
    ConflictStrategy,
    ItemState,
    RecordChange,
    SyncItem,
    SyncOperation,
    SyncResult,
    SyncStatus,
    SyncStatusInfo,
)
from bytelyst_sync.storage.base import Storage

if TYPE_CHECKING:
    from bytelyst_sync.engine import SyncEngine, create_sync_engine
    from bytelyst_sync.probes import HttpProbe, TcpProbe
    from bytelyst_sync.storage.encrypted import EncryptedStorage
    from bytelyst_sync.storage.memory import MemoryStorage
    from bytelyst_sync.storage.sqlite import SQLiteStorage
    from bytelyst_sync.telemetry import SyncStats, TelemetryEvent

__version__ = "0.1.0"

__all__ = [
    "AuthError",
    "BatchFormat",
    "ConfigError",
    "Conflict",
    "ConflictStrategy",
    "Dialect",
    "EncryptedStorage",
    "EngineClosedError",
    "EntityConfig",
    "HttpProbe",
    "InvalidDataError",
    "ItemState",
    "MemoryStorage",
    "OfflineError",
    "QueueFullError",
    "RecordChange",
    "RecordDeletedError",
    "RejectedError",
    "SQLiteStorage",
    "Storage",
    "StorageCorruptError",
    "StorageError",
    "StorageFullError",
    "StorageVersionError",
    "SyncConfig",
    "SyncEngine",
    "SyncError",
    "SyncItem",
    "SyncOperation",
    "SyncResult",
    "SyncStats",
    "SyncStatus",
    "SyncStatusInfo",
    "TcpProbe",
    "TelemetryEvent",
    "TransportError",
    "UnknownEntityError",
    "create_sync_engine",
]

_LAZY = {
    "SyncEngine": "bytelyst_sync.engine",
    "create_sync_engine": "bytelyst_sync.engine",
    "MemoryStorage": "bytelyst_sync.storage.memory",
    "SQLiteStorage": "bytelyst_sync.storage.sqlite",
    "EncryptedStorage": "bytelyst_sync.storage.encrypted",
    "HttpProbe": "bytelyst_sync.probes",
    "SyncStats": "bytelyst_sync.telemetry",
    "TelemetryEvent": "bytelyst_sync.telemetry",
    "TcpProbe": "bytelyst_sync.probes",
}

logging.getLogger("bytelyst_sync").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Loads what is heavy when it is first asked for (PEP 562)."""
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
