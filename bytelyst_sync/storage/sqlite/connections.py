"""Connections to a database file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bytelyst_sync.storage.files import sqlite_uri

__all__ = ["PAGE_BYTES", "connect"]

PAGE_BYTES = 4096
_CACHED_STATEMENTS = 256


def connect(path: Path, mode: str, busy_timeout_s: float) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread; ``mode`` is ``ro`` or ``rw``."""
    connection = sqlite3.connect(
        sqlite_uri(path, f"mode={mode}"),
        timeout=busy_timeout_s,
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection
