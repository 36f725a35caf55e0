"""The write-ahead log's file while it is written to: its length, and whether it is still there.

All of it happens under the write guard, right after a commit.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from bytelyst_sync.storage.files import beside, identity_of, length_of

__all__ = ["LOG_BYTES", "LOG_PAGES", "Log"]

LOG_PAGES = 2000
"""So many in it, and SQLite brings them into the database and begins the log anew. A push waits for
that now and then; with a thousand, too many do while a queue is flushed.
"""
LOG_BYTES = 16 * 1024 * 1024
"""Longer than this, it has not got to it, because somebody was reading."""
_LEAST_ROOM_BYTES, _ROOM_BYTES = 256 * 1024, 8 * 1024 * 1024
_CHECK_EVERY = 256
_GROW_EVERY = 8
_TRY_AGAIN_EVERY = 16
_CHECKPOINT_MS = 100


class Log:
    """The ``-wal`` of one database."""

    def __init__(self, path: Path, *, synced: bool, busy_timeout_s: float) -> None:
        self._path = str(beside(path, "-wal"))
        self._synced = synced
        self._busy_timeout_ms = int(busy_timeout_s * 1000)
        self._identity = identity_of(self._path)
        self._length = 0
        """In bytes, as it was seen last."""
        self._commits = -1
        self._growing = synced
        """Whether it may have to be given room."""
        self._overdue = False
        """Whether it is too long, and readers were in the way of ending it."""

    def is_there(self) -> bool:
        """Whether the path still names it; also if there never was one."""
        return identity_of(self._path) == self._identity

    def find(self) -> None:
        """After a commit: if there was none when the database was opened, this is it."""
        if self._identity is None:
            self._identity = identity_of(self._path)

    def tend(self, writer: sqlite3.Connection, *, is_there: bool) -> bool:
        """After a commit: keeps it short; false if the database is to be retired.

        So it is if somebody deleted the log: what was committed is then brought into the database
        itself, for others do not see what is written to a file without a name.
        """
        self._commits += 1
        every = _TRY_AGAIN_EVERY if self._overdue else _CHECK_EVERY
        if is_there and self._commits % (_GROW_EVERY if self._growing else every):
            return True
        length = length_of(self._path)
        if is_there and self._synced and length != self._length:
            length = self._give_room(length)
        self._length = length
        self._growing = self._synced and length < _ROOM_BYTES
        try:
            self._overdue = is_there and length > LOG_BYTES
            if self._overdue or not is_there:
                self._overdue = not self._checkpoint(writer)
                self._length = length_of(self._path)
                self._growing = self._synced and self._length < _ROOM_BYTES
        except sqlite3.Error:
            return False  # the commit stands; whatever it is will be told of at the next one
        return is_there

    def _give_room(self, length: int) -> int:
        """Makes it as long again, ahead of what will be written; returns its length.

        To sync a file that keeps its length takes half the time: the file system has nothing to
        note in its journal. SQLite takes zeros for the end of a log; they are appended, so that
        nothing is overwritten, whoever else writes. On a full disk there is no room to give.
        """
        ahead = min(max(length, _LEAST_ROOM_BYTES), _ROOM_BYTES - length)
        if ahead > 0:
            with suppress(OSError):
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
                try:
                    length += os.write(descriptor, bytes(ahead))
                finally:
                    os.close(descriptor)
        return length

    def _checkpoint(self, writer: sqlite3.Connection) -> bool:
        """Waits a moment for who reads: where readers overlap there always is one, and a log that
        nobody ends grows for ever. New ones are not held up. True if the log is empty now.
        """
        writer.execute(f"PRAGMA busy_timeout={_CHECKPOINT_MS}")
        try:
            return bool(writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
        finally:
            writer.execute(f"PRAGMA busy_timeout={self._busy_timeout_ms}")
