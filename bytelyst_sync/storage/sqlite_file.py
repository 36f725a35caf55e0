"""One opened database file: its connections, and how they are opened and checked.

Who owns what: a ``Database`` stands for one file (by device and inode), not for a path; when the
path turns out to be another file, it is retired and another ``Database`` opened. The writer
connection belongs to whoever holds the write guard; a closed one is ``None``. Read connections are
lent to one thread at a time; one plain lock guards the list of idle ones, and another the
connection that ``PRAGMA data_version`` is asked on. Read connections are opened read-only, so that
closing one never checkpoints; the writer is closed last, under the guard. SQLite itself neither
checkpoints nor deletes the WAL when a connection to a file is closed that was moved away.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import StorageError, StorageFullError
from bytelyst_sync.storage import schema
from bytelyst_sync.storage.files import (
    Identity,
    Renaming,
    beside,
    identity_of,
    is_past,
    last_renaming,
)
from bytelyst_sync.storage.forking import bury
from bytelyst_sync.storage.guard import WriteGuard
from bytelyst_sync.storage.log import LOG_BYTES, LOG_PAGES, Log
from bytelyst_sync.storage.migrations import APPLICATION_ID, bring_up_to_date
from bytelyst_sync.storage.sqlite_errors import newer
from bytelyst_sync.storage.sqlite_sql import SEQUENCE
from bytelyst_sync.storage.wal import keep_hidden_commits, remember

__all__ = [
    "PAGE_BYTES",
    "Database",
    "Moved",
    "Settings",
    "close_at_exit",
    "connect",
    "open_database",
    "telling",
]

PAGE_BYTES = 4096
_CLOCK = SystemClock()
_SMALLEST = 512
_EXIT_WAIT_S = 1.0
_IDLE_READERS = 8
_DRAIN_PAUSE_S = 0.0005
_ASKED_EVERY = 64
_CACHED_STATEMENTS = 256


class Moved(Exception):  # noqa: N818  a turn of events, handled inside
    """The path names another file, or none, by now."""


@attrs.frozen
class Settings:
    """How a database is opened."""

    path: Path
    full: bool
    busy_timeout_s: float


class Database:
    """The connections to one file."""

    def __init__(self, settings: Settings, identity: Identity, writer: sqlite3.Connection) -> None:
        self.path = settings.path
        self._path, self._folder = str(settings.path), str(settings.path.parent)
        self._seen_after: Renaming | None = None
        """After which renaming in its directory the path and its log were seen to be there."""
        self._commits = 0
        self.identity = identity
        self.writer: sqlite3.Connection | None = writer
        self.finalizer: weakref.finalize[..., object] | None = None
        self.notice: str | None = None
        """What its owner should know of how it was found."""
        self._settings = settings
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._lent = 0
        self._retired = False
        self._watcher: sqlite3.Connection | None = None
        self._watcher_lock = threading.Lock()
        self._log = Log(settings.path, synced=settings.full, busy_timeout_s=settings.busy_timeout_s)

    def is_current(self) -> bool:
        """Whether the path still is this file."""
        return identity_of(self._path) == self.identity

    def borrow(self) -> sqlite3.Connection:
        """A read connection for this thread; ``Moved`` if this file is not to be used any more."""
        with self._idle_lock:
            if self._retired:
                raise Moved
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
        """Takes back a lent connection, in no transaction; closes it if it is of no more use."""
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
        """Lends nothing any more, and waits; true if everything was given back in time."""
        deadline = _CLOCK.monotonic() + timeout_s
        with self._idle_lock:
            self._retired = True
        while self._lent:
            if _CLOCK.monotonic() >= deadline:
                return False
            time.sleep(_DRAIN_PAUSE_S)
        return True

    def data_version(self) -> int:
        """Differs from before if another connection has committed since."""
        with self._watcher_lock:
            if self._retired:
                raise Moved
            if self._watcher is None:
                self._watcher = self._open_reader()
            return int(self._watcher.execute("PRAGMA data_version").fetchone()[0])

    def tend(self) -> bool:
        """After a commit, under the guard: ``Moved`` if the path is not this file any more.

        Keeps the log short; false if this is to be retired. The files are not asked themselves as
        long as nothing happened to any name beside them: Linux, from 6.13 on, notes a finer time in
        its journal for a file that somebody has asked, and the log's next sync takes a third more.
        """
        self._commits += 1
        renaming = last_renaming(self._folder)
        is_quiet = renaming is not None and renaming == self._seen_after
        # there may be file systems that keep no such times
        log_is_there = is_quiet and bool(self._commits % _ASKED_EVERY)
        if not log_is_there:
            # judged before the files are asked, so that whatever happens from then on shows
            lasts = renaming is not None and is_past(renaming)
            if not self.is_current():
                raise Moved
            self._log.find()
            log_is_there = self._log.is_there()
            self._seen_after = renaming if lasts and log_is_there else None
        return self.writer is None or self._log.tend(self.writer, is_there=log_is_there)

    def close(self) -> None:
        """Closes what is not lent; the rest closes as it is given back. Under the write guard."""
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
            _remove_wal(self.path)

    def _has_left_wal(self) -> bool:
        """Whether another file was put in its place, beside this one's WAL.

        SQLite would take it for the other's.
        """
        return identity_of(self.path) not in (None, self.identity) and self._log.is_there()

    def start_after(self, number: int) -> None:
        """Sets the sequence of a new file. Under the write guard."""
        if self.writer is not None:
            self.writer.execute("INSERT OR REPLACE INTO counters VALUES (?,?)", (SEQUENCE, number))

    def distrust(self) -> None:
        """Closes a writer whose transaction could not be ended. Under the write guard."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()

    def _open_reader(self) -> sqlite3.Connection:
        connection = connect(self.path, "ro", self._settings.busy_timeout_s)
        try:
            # reads once, so that the WAL is opened while the path is known to be this file
            connection.execute("SELECT value FROM counters LIMIT 1").fetchone()
            _require(self.path, self.identity)
        except BaseException:
            connection.close()
            raise
        return connection


def open_database(settings: Settings) -> tuple[Database, bool]:
    """Opens the file, made anew if it is missing or empty; the second value says so.

    Under the write guard. Raises ``StorageVersionError`` for a newer file and ``StorageError`` for
    another program's, both left untouched, and ``sqlite3.Error`` for everything of SQLite's.
    """
    path = settings.path
    try:
        if not path.exists():
            _remove_wal(path)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StorageError(
            f"{path} cannot be made ({error.strerror or error}): check that its directory exists"
            " and is writable"
        ) from error
    if path.is_dir():
        raise StorageError(f"{path} is a directory: name a file in it")
    identity = identity_of(path)
    if identity is None:
        raise Moved
    size = path.stat().st_size
    if not size:
        path.chmod(0o600)
    elif size < _SMALLEST:
        raise sqlite3.DatabaseError("file is not a database")  # SQLite would overwrite it
    else:
        _check_owner(settings)
    writer = connect(path, "rw", settings.busy_timeout_s)
    try:
        _set_up(writer, settings)
        hidden = keep_hidden_commits(path, writer) if size else None
        made = bring_up_to_date(writer)
        if hidden is not None:
            remember(writer, hidden)
        _require(path, identity)
    except BaseException:
        writer.close()
        raise
    database = Database(settings, identity, writer)
    database.notice = hidden
    return database, made


def _set_up(writer: sqlite3.Connection, settings: Settings) -> None:
    writer.execute(f"PRAGMA page_size={PAGE_BYTES}")
    if writer.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise StorageError(
            f"{settings.path} cannot have a write-ahead log there: name a file on a local disk"
        )
    writer.execute(f"PRAGMA synchronous={'FULL' if settings.full else 'NORMAL'}")
    if settings.full:
        writer.execute("PRAGMA fullfsync=1")
    writer.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
    writer.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")


def _check_owner(settings: Settings) -> None:
    """Looks at the file without changing anything in it or beside it.

    Without a WAL nobody writes, for this is done under the guard: then it is opened as immutable,
    so that SQLite makes no files beside it.
    """
    wal = beside(settings.path, "-wal")
    mode = "ro" if wal.exists() and wal.stat().st_size else "ro&immutable=1"
    connection = connect(settings.path, mode, settings.busy_timeout_s)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    finally:
        connection.close()
    if application != APPLICATION_ID and (tables or application):
        raise StorageError(
            f"{settings.path} is another program's SQLite database and is untouched: name a file"
            " of its own for the queue"
        )
    if application == APPLICATION_ID and tables and version < 1:
        raise sqlite3.DatabaseError("file is not a database")  # its header is damaged
    if application == APPLICATION_ID and version > schema.SCHEMA_VERSION:
        raise newer(settings.path, version, schema.SCHEMA_VERSION)


@contextmanager
def telling(settings: Settings) -> Iterator[None]:
    """Raises what goes wrong with the file itself as a ``StorageError``."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        kind = StorageFullError if full else StorageError
        raise kind(
            f"{error.filename or settings.path} cannot be used ({error.strerror or error}):"
            + (" free some space" if full else " check who owns it and its directory")
            + "; nothing was lost, and the next call tries again"
        ) from error


def _remove_wal(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        beside(path, suffix).unlink(missing_ok=True)


def _require(path: Path, identity: Identity) -> None:
    if identity_of(path) != identity:
        raise Moved


def connect(path: Path, mode: str, busy_timeout_s: float) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread; ``mode`` is ``ro`` or ``rw``."""
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        timeout=busy_timeout_s,
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )


def close_at_exit(database: Database, guard: WriteGuard, pid: int) -> None:
    """For a store that nobody closed: closing the last connection checkpoints, so it is guarded."""
    if pid != os.getpid():
        return
    try:
        guard.acquire(_EXIT_WAIT_S)
    except StorageError:
        bury(database)  # somebody is writing: what is committed lies in the WAL
        return
    try:
        database.close()
    finally:
        guard.release()
