"""One LMDB file as one store uses it.

A ``MappedFile`` belongs to one file, not to a path. If the path names another file, or LMDB's lock
file beside it is another one, it is closed and another one opened.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bytelyst_sync.storage.current_file import FileReplaced, Settings
from bytelyst_sync.storage.files import (
    DirectoryWatch,
    Identity,
    identity_of,
    sibling,
)
from bytelyst_sync.storage.lmdb.binding import load_lmdb
from bytelyst_sync.storage.lmdb.counters import KnownCounters
from bytelyst_sync.storage.lmdb.environment import SharedEnvironment
from bytelyst_sync.storage.lmdb.format import UNSYNCED

if TYPE_CHECKING:
    import lmdb

__all__ = ["LOCK_SUFFIX", "MappedFile"]

LOCK_SUFFIX = "-lock"
"""LMDB's own file beside the store: its table of readers."""


class MappedFile:
    """A store's use of the environment of one file. Opened and closed under the write lock."""

    def __init__(self, settings: Settings, identity: Identity, map_bytes: int | None) -> None:
        self.identity = identity
        self.finalizer: weakref.finalize[..., object] | None = None
        self.known = KnownCounters()
        self.has_unsynced = False
        """Whether commits of this store may not be synced."""
        self._timeout_s = settings.busy_timeout_s
        self._path = os.fspath(settings.path)
        self._lock_path = os.fspath(sibling(settings.path, LOCK_SUFFIX))
        self._directory = DirectoryWatch(os.fspath(settings.path.parent))
        self._closed = False
        self._environment = SharedEnvironment.of(
            settings.path, identity, synced=settings.full, map_bytes=map_bytes
        )
        self._lock_identity = identity_of(self._lock_path)

    def is_current(self) -> bool:
        """Whether the path still names this file, and LMDB's lock file beside it is still there."""
        return self.is_in_place() and self._has_lock_file()

    def is_in_place(self) -> bool:
        """Whether the path still names this file."""
        return identity_of(self._path) == self.identity

    def maintain(self) -> bool:
        """After a commit: false if this file must be closed, because LMDB's lock file is gone.

        ``FileReplaced`` if the path names another file.
        """
        if self._directory.is_quiet_after_commit():
            return True
        if not self.is_in_place():
            raise FileReplaced
        is_sound = self._has_lock_file()
        self._directory.examined(sound=is_sound)
        return is_sound

    def _has_lock_file(self) -> bool:
        return identity_of(self._lock_path) == self._lock_identity

    def require_current(self) -> None:
        """Raises ``FileReplaced`` if the path names another file."""
        if not self.is_current():
            raise FileReplaced

    @property
    def is_closed(self) -> bool:
        """Whether no transaction can begin any longer."""
        return self._closed or self._environment.is_closed

    def begin(self, *, write: bool = False) -> lmdb.Transaction[bytes]:
        """A transaction of this thread; ``finish`` must follow.

        ``FileReplaced`` if the file is closed.
        """
        if self._closed:
            raise FileReplaced
        return self._environment.begin(write=write, timeout_s=self._timeout_s)

    def begin_within(self, parent: lmdb.Transaction[bytes]) -> lmdb.Transaction[bytes]:
        """A transaction within a write transaction."""
        return self._environment.begin_within(parent)

    def finish(self, transaction: lmdb.Transaction[bytes]) -> None:
        """Aborts the transaction, unless it was committed. Called once after ``begin``."""
        self._environment.finish(transaction)

    def make_room(self) -> None:
        """After an error about a full map: see ``SharedEnvironment``."""
        self._environment.make_room(self._timeout_s)

    def preallocate(self) -> None:
        """Before a synced commit: see ``SharedEnvironment``."""
        self._environment.preallocate()

    def check_readers(self) -> None:
        """Removes dead processes from LMDB's table of readers."""
        self._environment.check_readers()

    def last_commit(self) -> int:
        """The number of the last commit, of any process."""
        return self._environment.last_commit()

    def sync(self) -> None:
        """Makes all commits durable; the caller holds the write lock."""
        self._environment.sync()

    def copy_compactly(self, path: Path) -> None:
        """Copies what is in use to a new file; the caller holds the write lock."""
        self._environment.copy_compactly(path)

    def drain(self, timeout_s: float) -> bool:
        """Refuses new transactions and waits for the running ones; true if all ended in time."""
        return self._environment.drain(timeout_s)

    def close(self) -> None:
        """Ends this use of the environment, and syncs commits that are not."""
        if self.finalizer is not None:
            self.finalizer.detach()
        if self._closed:
            return
        if self.has_unsynced and self.is_current():
            with suppress(FileReplaced, load_lmdb().Error):
                self._sync_and_unmark()
        self._closed = True
        self._environment.release()

    def _sync_and_unmark(self) -> None:
        """Syncs all commits, and says so in the file. Other stores mark it again."""
        self.sync()
        transaction = self.begin(write=True)
        try:
            transaction.delete(UNSYNCED)
            transaction.commit()
        finally:
            self.finish(transaction)
        self.sync()
