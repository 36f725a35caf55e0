"""The public names whose modules load ``requests`` or ``sqlite3``.

``import bytelyst_sync`` does not import this module; the first use of one of the names does. The
imports are plain statements, so that tools that freeze programs (PyInstaller, Nuitka) see them.
"""

from __future__ import annotations

from bytelyst_sync.delivery.probes import HttpProbe, TcpProbe
from bytelyst_sync.engine import SyncEngine, create_sync_engine
from bytelyst_sync.events.telemetry import SyncStats, TelemetryEvent
from bytelyst_sync.http.urllib3_transport import Urllib3Transport
from bytelyst_sync.storage.encrypted import EncryptedStorage
from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.sqlite.store import SQLiteStorage

__all__ = [
    "EncryptedStorage",
    "HttpProbe",
    "LmdbStorage",
    "MemoryStorage",
    "SQLiteStorage",
    "SyncEngine",
    "SyncStats",
    "TcpProbe",
    "TelemetryEvent",
    "Urllib3Transport",
    "create_sync_engine",
]
