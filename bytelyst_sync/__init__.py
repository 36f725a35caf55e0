"""Offline-first sync: a durable queue of changes, delivered to a REST API in order.

Settings are loaded at the first use of one of their classes, ``requests`` and ``sqlite3`` with the
first engine, not with the import.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bytelyst_sync.errors import (
    AccountMismatchError,
    AuthError,
    ConfigError,
    EngineClosedError,
    InvalidDataError,
    OfflineError,
    QueueFullError,
    RecordDeletedError,
    RecordExistsError,
    RejectedError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageVersionError,
    SyncError,
    TransportError,
    UnknownEntityError,
    UnsentChangesError,
)
from bytelyst_sync.http.transport import Request, Response, Transport
from bytelyst_sync.model import (
    Conflict,
    ConflictStrategy,
    ItemState,
    Problem,
    RecordChange,
    RecordView,
    SyncItem,
    SyncOperation,
    SyncResult,
    SyncStatus,
    SyncStatusInfo,
    ViewState,
)
from bytelyst_sync.storage.base import Storage
from bytelyst_sync.version import __version__ as __version__

if TYPE_CHECKING:
    from bytelyst_sync.config import (
        BatchFormat,
        Dialect,
        EngineSettings,
        EntityConfig,
        RemoteCommands,
        SyncConfig,
    )
    from bytelyst_sync.on_demand import (
        EncryptedStorage,
        HttpProbe,
        LmdbStorage,
        MemoryStorage,
        SQLiteStorage,
        SyncEngine,
        SyncStats,
        TcpProbe,
        TelemetryEvent,
        Urllib3Transport,
        create_sync_engine,
    )

__all__ = [
    "AccountMismatchError",
    "AuthError",
    "BatchFormat",
    "ConfigError",
    "Conflict",
    "ConflictStrategy",
    "Dialect",
    "EncryptedStorage",
    "EngineClosedError",
    "EngineSettings",
    "EntityConfig",
    "HttpProbe",
    "InvalidDataError",
    "ItemState",
    "LmdbStorage",
    "MemoryStorage",
    "OfflineError",
    "Problem",
    "QueueFullError",
    "RecordChange",
    "RecordDeletedError",
    "RecordExistsError",
    "RecordView",
    "RejectedError",
    "RemoteCommands",
    "Request",
    "Response",
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
    "Transport",
    "TransportError",
    "UnknownEntityError",
    "UnsentChangesError",
    "Urllib3Transport",
    "ViewState",
    "create_sync_engine",
]

logging.getLogger("bytelyst_sync").addHandler(logging.NullHandler())

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Loads settings, and what needs ``requests`` or ``sqlite3``, at first use (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from bytelyst_sync import config  # noqa: PLC0415 - it makes the import slow

        if name in config.__all__:
            value = getattr(config, name)
        else:
            from bytelyst_sync import on_demand  # noqa: PLC0415 - it makes the import slow

            value = getattr(on_demand, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
