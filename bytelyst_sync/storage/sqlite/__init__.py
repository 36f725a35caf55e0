"""The default store: one SQLite file."""

from __future__ import annotations

from bytelyst_sync.storage.sqlite.store import SQLiteStorage

__all__ = ["SQLiteStorage"]
