"""The file of the write-ahead log (WAL): its length, and whether it still exists.

The caller holds the write lock, and has just committed.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from bytelyst_sync.storage.files import identity_of, length_of, sibling

__all__ = ["WAL_BYTES", "WAL_PAGES", "WalFile"]

WAL_PAGES = 2000
"""With so many pages in the WAL, SQLite checkpoints it. A push waits for that now and then; with
SQLite's default of 1000, too many pushes wait while a queue is flushed.
"""
WAL_BYTES = 16 * 1024 * 1024
"""A longer WAL could not be checkpointed, because a reader was active."""
_LEAST_PREALLOCATED_BYTES, _MOST_PREALLOCATED_BYTES = 256 * 1024, 8 * 1024 * 1024
_CHECK_EVERY = 256
_PREALLOCATE_EVERY = 3
_RETRY_CHECKPOINT_EVERY = 16
_CHECKPOINT_MS = 100


class WalFile:
    """The ``-wal`` of one database."""

    def __init__(self, path: Path, *, synced: bool, busy_timeout_s: float) -> None:
        self._path = str(sibling(path, "-wal"))
        self._synced = synced
        self._busy_timeout_ms = int(busy_timeout_s * 1000)
        self._identity = identity_of(self._path)
        self._length = 0
        """In bytes, at the last check."""
        self.examine_at = 0
        """The number of the commit after which the file is to be examined."""

    def is_there(self) -> bool:
        """Whether the path still names this file, or there is and was none."""
        return identity_of(self._path) == self._identity

    def identify(self) -> None:
        """Takes the identity of the file, if there was none when the database was opened."""
        if self._identity is None:
            self._identity = identity_of(self._path)

    def maintain(self, writer: sqlite3.Connection, commits: int, *, is_there: bool) -> bool:
        """Checkpoints a WAL that is too long; false if the database must be closed and reopened.

        That is the case if somebody deleted the WAL. Its commits are then checkpointed, because
        other processes cannot see a file without a name. ``commits``: the number of this commit.
        """
        length = length_of(self._path)
        if is_there and self._synced and length != self._length:
            length = self._preallocate(length)
        overdue = is_there and length > WAL_BYTES
        try:
            if overdue or not is_there:
                overdue = not self._checkpoint(writer)
                length = length_of(self._path)
        except sqlite3.Error:
            return False  # the commit is done; the next one will report the error
        self._length = length
        if self._synced and length < _MOST_PREALLOCATED_BYTES:
            every = _PREALLOCATE_EVERY
        else:
            every = _RETRY_CHECKPOINT_EVERY if overdue else _CHECK_EVERY
        self.examine_at = commits + every
        return is_there

    def _preallocate(self, length: int) -> int:
        """Doubles the length of the WAL with zeros; returns the new length in bytes.

        ``fsync`` takes half the time if the file's length does not change. SQLite takes zeros for
        the end of a WAL. They are appended, so that nothing is overwritten if another process
        writes. On a full disk the WAL stays as it is.
        """
        ahead = min(max(length, _LEAST_PREALLOCATED_BYTES), _MOST_PREALLOCATED_BYTES - length)
        if ahead > 0:
            with suppress(OSError):
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
                try:
                    length += os.write(descriptor, bytes(ahead))
                finally:
                    os.close(descriptor)
        return length

    def _checkpoint(self, writer: sqlite3.Connection) -> bool:
        """Checkpoints and empties the WAL; true if that succeeded.

        It waits shortly for active readers: with overlapping readers, the WAL would grow for
        ever otherwise. New readers do not wait.
        """
        writer.execute(f"PRAGMA busy_timeout={_CHECKPOINT_MS}")
        try:
            return bool(writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
        finally:
            writer.execute(f"PRAGMA busy_timeout={self._busy_timeout_ms}")
