"""One opened database file and its connections.

Who owns what: a ``Database`` belongs to one file (by device and inode), not to a path. If the path
names another file, the ``Database`` is closed and another one opened. The writer connection belongs
to the holder of the write lock; it is ``None`` after it was closed. Each read connection is used by
one thread at a time. One plain lock guards the list of idle read connections, another one the
connection for ``PRAGMA data_version``. Read connections are read-only, so that closing one never
checkpoints. The writer is closed last, under the write lock. SQLite neither checkpoints nor deletes
the WAL when it closes a connection to a file that was renamed.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from pathlib import Path

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.storage.current_file import FileReplaced, Settings
from bytelyst_sync.storage.files import (
    DirectoryWatch,
    Identity,
    identity_of,
    sibling,
)
from bytelyst_sync.storage.sqlite.connections import connect
from bytelyst_sync.storage.sqlite.statements import SEQUENCE
from bytelyst_sync.storage.sqlite.wal_file import WalFile

__all__ = ["Database", "remove_wal", "require_same_file"]

_CLOCK = SystemClock()
_IDLE_READERS = 8
_DRAIN_PAUSE_S = 0.0005


class Database:
    """The connections to one file."""

    def __init__(self, settings: Settings, identity: Identity, writer: sqlite3.Connection) -> None:
        self.path = settings.path
        self._path = str(settings.path)
        self._directory = DirectoryWatch(str(settings.path.parent))
        self.identity = identity
        self.writer: sqlite3.Connection | None = writer
        self.finalizer: weakref.finalize[..., object] | None = None
        self.notice: str | None = None
        """A report for the user about the state of the file when it was opened."""
        self._settings = settings
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._lent = 0
        self._retired = False
        self._opened = object()
        self._watcher: sqlite3.Connection | None = None
        self._watcher_lock = threading.Lock()
        self._wal = WalFile(
            settings.path, synced=settings.full, busy_timeout_s=settings.busy_timeout_s
        )

    def is_current(self) -> bool:
        """Whether the path still names this file."""
        return identity_of(self._path) == self.identity

    def borrow(self) -> sqlite3.Connection:
        """A read connection for this thread; ``FileReplaced`` if this database is closed."""
        with self._idle_lock:
            if self._retired:
                raise FileReplaced
            self._lent += 1
            if self._idle:
                return self._idle.pop()
        try:
            return self._open_reader()
        except BaseException:
            with self._idle_lock:
                self._lent -= 1
            raise

    def give_back(self, connection: sqlite3.Connection, sound: bool = True) -> None:
        """Takes back a connection outside of a transaction. Keeps it for reuse, or closes it."""
        keep = False
        try:
            with self._idle_lock:
                keep = sound and not self._retired and len(self._idle) < _IDLE_READERS
                if keep:
                    self._idle.append(connection)
        finally:
            if not keep:
                connection.close()
            with self._idle_lock:
                self._lent -= 1

    def drain(self, timeout_s: float) -> bool:
        """Refuses new readers and waits for the running ones; true if all ended in time."""
        deadline = _CLOCK.monotonic() + timeout_s
        with self._idle_lock:
            self._retired = True
        while self._lent:
            if _CLOCK.monotonic() >= deadline:
                return False
            time.sleep(_DRAIN_PAUSE_S)
        return True

    def data_version(self) -> object:
        """A value that changes when another connection commits. Those of two objects for one file
        differ: each connection begins its count anew.
        """
        with self._watcher_lock:
            if self._retired:
                raise FileReplaced
            if self._watcher is None:
                self._watcher = self._open_reader()
            number = self._watcher.execute("PRAGMA data_version").fetchone()[0]
            return self._opened, number

    def maintain(self) -> bool:
        """Checks the files after a commit, under the write lock.

        Raises ``FileReplaced`` if the path names another file. Keeps the WAL short; false if this
        database must be closed.
        """
        log_is_there = self._directory.is_quiet_after_commit()
        if not log_is_there:
            if not self.is_current():
                raise FileReplaced
            self._wal.identify()
            log_is_there = self._wal.is_there()
            self._directory.examined(sound=log_is_there)
        commits = self._directory.commits
        if self.writer is None or (log_is_there and commits < self._wal.examine_at):
            return True
        return self._wal.maintain(self.writer, commits, is_there=log_is_there)

    def close(self) -> None:
        """Closes idle connections now, the others when they are returned; under the write lock."""
        if self.finalizer is not None:
            self.finalizer.detach()
        left_wal = self._has_left_wal()
        writer, self.writer = self.writer, None
        with self._idle_lock:
            self._retired = True
            idle, self._idle = self._idle, []
        with self._watcher_lock:
            watcher, self._watcher = self._watcher, None
        for connection in (*idle, watcher, writer):
            if connection is not None:
                connection.close()
        if left_wal:
            remove_wal(self.path)

    def _has_left_wal(self) -> bool:
        """Whether another file took the path, and this one's WAL is still beside it.

        SQLite would apply that WAL to the other file.
        """
        return identity_of(self.path) not in (None, self.identity) and self._wal.is_there()

    def start_after(self, number: int) -> None:
        """Sets the sequence of a new file. Under the write lock."""
        if self.writer is not None:
            self.writer.execute("INSERT OR REPLACE INTO counters VALUES (?,?)", (SEQUENCE, number))

    def discard_writer(self) -> None:
        """Closes a writer whose transaction could not be rolled back. Under the write lock."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()

    def _open_reader(self) -> sqlite3.Connection:
        connection = connect(self.path, "ro", self._settings.busy_timeout_s)
        try:
            # this read opens the WAL; the check afterwards proves that it belongs to this file
            connection.execute("SELECT value FROM counters LIMIT 1").fetchone()
            require_same_file(self.path, self.identity)
        except BaseException:
            connection.close()
            raise
        return connection


def remove_wal(path: Path) -> None:
    """Deletes the WAL and its index beside a database that does not exist any longer."""
    for suffix in ("-wal", "-shm"):
        sibling(path, suffix).unlink(missing_ok=True)


def require_same_file(path: Path, identity: Identity) -> None:
    """Raises ``FileReplaced`` if the path names another file."""
    if identity_of(path) != identity:
        raise FileReplaced
