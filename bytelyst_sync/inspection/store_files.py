"""Inspects the file of a store without changing it: one class for each kind of store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage import schema
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.files import sqlite_uri
from bytelyst_sync.storage.lmdb.binding import load_lmdb
from bytelyst_sync.storage.lmdb.errors import DamagedError
from bytelyst_sync.storage.lmdb.opening import format_of
from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.lmdb.verification import find_damage
from bytelyst_sync.storage.location import LMDB, SQLITE
from bytelyst_sync.storage.sqlite.errors import is_damage
from bytelyst_sync.storage.sqlite.migrations import APPLICATION_ID
from bytelyst_sync.storage.sqlite.reads import ReadView

__all__ = ["BUSY", "INSPECTORS", "FileState", "Inspector"]

T = TypeVar("T")
BUSY = "locked"
"""The damage of a file that another program has locked."""
_TIMEOUT_S = 5.0


class FileState:
    """The schema of a file (``None``: it cannot be read), whether it is empty, and whether it
    belongs to another program.
    """

    def __init__(
        self, schema: int | None, *, is_empty: bool = False, is_foreign: bool = False
    ) -> None:
        self.schema = schema
        self.is_empty = is_empty
        self.is_foreign = is_foreign


class Inspector(Protocol):
    """The inspection of one kind of file."""

    @property
    def database_version(self) -> str:
        """The database that the file belongs to, and its version."""
        ...

    def state(self, path: Path) -> FileState:
        """The state of the file."""
        ...

    def damage(self, path: Path) -> list[str]:
        """The damages of the file; ``[BUSY]`` if another program has locked it."""
        ...

    def read(self, path: Path, work: Callable[[Reader], T]) -> T | None:
        """Runs ``work`` on the file; ``None`` if the file cannot be read."""
        ...


class _SQLiteInspector:
    @property
    def database_version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def state(self, path: Path) -> FileState:
        try:
            with closing(_open_for_reading(path)) as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                owner = connection.execute("PRAGMA application_id").fetchone()[0]
                tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.Error:
            return FileState(None)
        is_foreign = owner != APPLICATION_ID and bool(tables or owner)
        return FileState(version, is_empty=not tables, is_foreign=is_foreign)

    def damage(self, path: Path) -> list[str]:
        try:
            with closing(_open_for_reading(path)) as connection:
                rows = connection.execute("PRAGMA integrity_check(10)").fetchall()
        except sqlite3.Error as error:
            return [str(error)] if is_damage(error) else [BUSY]
        lines = [line for row in rows for line in str(row[0]).splitlines() if line.strip()]
        if lines == ["ok"]:
            return []
        return [each for each in lines if not each.startswith("***")] or lines

    def read(self, path: Path, work: Callable[[Reader], T]) -> T | None:
        try:
            with closing(_open_for_reading(path)) as connection:
                view = ReadView(connection)
                connection.execute("BEGIN")
                try:
                    return work(view)
                finally:
                    view.end()
                    connection.execute("ROLLBACK")
        except sqlite3.Error:
            return None


def _open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing and creates no other file.

    Without a WAL nobody is writing, but SQLite would create one even for reading.
    """
    wal = path.with_name(path.name + "-wal")
    mode = "ro" if wal.exists() else "ro&immutable=1"
    return sqlite3.connect(
        sqlite_uri(path, f"mode={mode}"), uri=True, timeout=_TIMEOUT_S, isolation_level=None
    )


class _LmdbInspector:
    @property
    def database_version(self) -> str:
        lmdb = load_lmdb()
        version = ".".join(map(str, lmdb.version()))
        return f"LMDB {version} (lmdb {lmdb.__version__})"

    def state(self, path: Path) -> FileState:
        try:
            stored = format_of(path)
        except DamagedError:
            return FileState(None)
        except StorageError:
            return FileState(0, is_foreign=True)
        return FileState(0, is_empty=True) if stored is None else FileState(stored["schema"])

    def damage(self, path: Path) -> list[str]:
        damage = find_damage(path)
        return [] if damage is None else [damage]

    def read(self, path: Path, work: Callable[[Reader], T]) -> T | None:
        state = self.state(path)
        if state.is_foreign or state.is_empty or (state.schema or 0) != schema.SCHEMA_VERSION:
            return None
        try:
            with closing(LmdbStorage(path, busy_timeout_s=_TIMEOUT_S)) as storage:
                return storage.read(work)
        except StorageError:
            return None


INSPECTORS: dict[str, Any] = {SQLITE: _SQLiteInspector(), LMDB: _LmdbInspector()}
"""By the kind of store."""
