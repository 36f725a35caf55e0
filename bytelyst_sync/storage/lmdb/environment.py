"""The environment of one LMDB file in this process: its transactions, and the size of its map.

LMDB allows one environment per file and process, so the stores of a process share it. The first one
opens it, the last one closes it, both under the write lock.

Who owns what: an environment belongs to one file (by device and inode). Any thread may begin a
transaction; at most one of them writes, the holder of the write lock. ``_lock`` guards the number
of users and of running transactions, and two flags; ``_gate`` waits for a change of them. The map
is changed only while no transaction of this process runs, because a transaction reads from the
memory that a change unmaps: the thread that changes it sets ``_changing``, waits until the running
ones have ended, and lets new ones wait. All waits are bounded. Other processes have maps of their
own. They adopt a new size when they meet a page beyond theirs, in the same way. ``_registry_lock``
guards which environments are open.

A large map costs address space, but neither memory nor disk: the file grows as it is written.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bytelyst_sync.errors import StorageError, StorageFullError
from bytelyst_sync.storage.current_file import FileReplaced
from bytelyst_sync.storage.files import Identity, extend_file
from bytelyst_sync.storage.lmdb.binding import load_lmdb

if TYPE_CHECKING:
    import lmdb

__all__ = ["SharedEnvironment", "open_environment"]

FIRST_MAP_BYTES = 16 * 2**30 if sys.maxsize > 2**32 else 64 * 2**20
_LEAST_MAP_BYTES = 2**20
_MOST_READERS = 510
_ROOM_BYTES, _MOST_AT_ONCE_BYTES = 256 * 1024, 4 * 2**20
_CLOSE_WAIT_S = 5.0
_LIB_VERSION = 0

_registry_lock = threading.Lock()
_registry: dict[Identity, SharedEnvironment] = {}


def open_environment(path: Path, *, synced: bool, map_bytes: int | None = None) -> lmdb.Environment:
    """Opens or creates the file. Raises the errors of LMDB.

    The map has ``map_bytes``, or as much of the default as there is address space for.
    """
    binding = load_lmdb()
    size = map_bytes or FIRST_MAP_BYTES
    while True:
        try:
            environment: lmdb.Environment = binding.open(
                os.fspath(path),
                map_size=size,
                subdir=False,
                sync=synced,
                metasync=synced,
                mode=0o600,
                max_readers=_MOST_READERS,
                max_spare_txns=0,
                lib_version=_LIB_VERSION,
            )
        except binding.MemoryError:  # noqa: PERF203  a few passes
            size //= 2
            if size < _LEAST_MAP_BYTES:
                raise
        else:
            return environment


class SharedEnvironment:
    """The environment of one file, and the transactions in it."""

    def __init__(self, path: Path, identity: Identity, *, synced: bool, map_bytes: int | None):
        self._path = path
        self._identity = identity
        self._lmdb = load_lmdb()
        self._synced = synced
        self._lock = threading.Lock()
        self._gate = threading.Condition(self._lock)
        self._users = self._running = 0
        self._closed = self._changing = False
        self._known_length = 0
        """The file has at least so many bytes."""
        self._environment = open_environment(path, synced=synced, map_bytes=map_bytes)

    @classmethod
    def of(
        cls, path: Path, identity: Identity, *, synced: bool, map_bytes: int | None
    ) -> SharedEnvironment:
        """The environment of the file, for one more user; ``release`` must follow.

        The caller holds the write lock. If one user syncs its commits, all commits are synced.
        """
        with _registry_lock:
            shared = _registry.get(identity)
        if shared is None or not shared.join():
            shared = cls(path, identity, synced=synced, map_bytes=map_bytes)
            shared.join()
            with _registry_lock:
                _registry[identity] = shared
        elif synced and not shared._synced:
            shared._make_synced()
        return shared

    def join(self) -> bool:
        """One user more; false if it is closed, and another environment must be opened.

        The caller holds the write lock. An environment that was closed for a fork may have users
        that could not get that lock, and so did not release it.
        """
        with self._gate:
            if not self._closed:
                self._users += 1
                return True
        self._shut()
        return False

    def release(self) -> None:
        """One user less; the last one closes it. The caller holds the write lock.

        It waits for running reads, but not for ever: a read that takes longer is started again.
        """
        with self._gate:
            if self._users != 1:
                self._users = max(0, self._users - 1)
                return
        self._shut()

    def _shut(self) -> None:
        self.drain(_CLOSE_WAIT_S)
        with suppress(self._lmdb.Error):
            self._environment.close()
        with _registry_lock:
            if _registry.get(self._identity) is self:
                del _registry[self._identity]
        with self._gate:
            self._users = 0
            self._gate.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether no transaction can begin any longer."""
        return self._closed

    # -- transactions ----------------------------------------------------------------------------

    def begin(self, *, write: bool, timeout_s: float) -> lmdb.Transaction[bytes]:
        """A transaction of this thread; ``finish`` must follow. ``FileReplaced`` if it is closed.

        It waits for ``timeout_s`` at most while the map changes.
        """
        self._enter(timeout_s)
        try:
            while True:
                try:
                    return self._environment.begin(write=write)
                except self._lmdb.MapResizedError:  # noqa: PERF203  rarely a second pass
                    self._leave()
                    self._remap(0, timeout_s)
                    self._enter(timeout_s)
                except self._lmdb.ReadersFullError:
                    if not self._environment.reader_check():
                        raise
                except self._lmdb.PanicError as error:
                    raise FileReplaced from error
        except BaseException:
            self._leave()
            raise

    def preallocate(self) -> None:
        """Writes zeros behind the last page, if commits are synced and the file is about to grow: a
        sync is cheaper when the file's size does not change. The caller holds the write lock.
        ``FileReplaced`` if the environment is closed, as before a fork.
        """
        if not self._synced:
            return
        if self._closed:
            raise FileReplaced
        environment = self._environment
        used = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if self._known_length - used < _ROOM_BYTES:
            wanted = used + _ROOM_BYTES + min(max(used // 8, _ROOM_BYTES), _MOST_AT_ONCE_BYTES)
            with suppress(OSError):  # on a full disk a commit that needs the space says so
                self._known_length = extend_file(self._path, self._identity, wanted)

    def begin_within(self, parent: lmdb.Transaction[bytes]) -> lmdb.Transaction[bytes]:
        """A transaction within a write transaction."""
        return self._environment.begin(parent=parent, write=True)

    def finish(self, transaction: lmdb.Transaction[bytes]) -> None:
        """Aborts the transaction, unless it was committed. Called once after ``begin``."""
        try:
            transaction.abort()
        finally:
            self._leave()

    def _enter(self, timeout_s: float) -> None:
        with self._lock:
            if self._changing:
                self._wait(lambda: not self._changing, timeout_s)
            if self._closed:
                raise FileReplaced
            self._running += 1

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            if not self._running and (self._changing or self._closed):
                self._gate.notify_all()

    def _wait(self, condition: Callable[[], bool], timeout_s: float = _CLOSE_WAIT_S) -> None:
        if not self._gate.wait_for(condition, timeout_s):
            raise StorageError(
                f"{self._path} has been read by another thread of this program for {timeout_s:g} s,"
                " and cannot grow meanwhile: find the read that takes too long"
            )

    # -- the map ---------------------------------------------------------------------------------

    def make_room(self, timeout_s: float) -> None:
        """After an error about a full map: frees what dead readers kept, or doubles the map.

        The caller holds the write lock, and its transaction has ended.
        """
        if not self._environment.reader_check():
            self._remap(2 * self._environment.info()["map_size"], timeout_s)

    def _remap(self, size: int, timeout_s: float) -> None:
        """Sets the size of the map, in bytes; 0: the size that another process has set."""
        try:
            self._change(lambda: self._environment.set_mapsize(size), timeout_s)
        except self._lmdb.MemoryError as error:
            raise StorageFullError(
                f"{self._path} cannot grow to {size} bytes: there is no more address space"
                " (look at ulimit -v). Nothing was changed"
            ) from error

    def _make_synced(self) -> None:
        """From now on every commit is synced. The caller holds the write lock."""

        def reopen() -> None:
            size = self._environment.info()["map_size"]
            self._environment.sync(force=True)
            self._environment.close()
            self._environment = open_environment(self._path, synced=True, map_bytes=size)
            self._synced = True

        self._change(reopen, _CLOSE_WAIT_S)

    def _change(self, action: Callable[[], None], timeout_s: float) -> None:
        """Runs the action while no transaction of this process runs."""
        with self._gate:
            self._wait(lambda: not self._changing, timeout_s)
            self._changing = True
            try:
                self._wait(lambda: not self._running, timeout_s)
                if self._closed:
                    raise FileReplaced
                action()
            finally:
                self._changing = False
                self._gate.notify_all()

    # -- the file --------------------------------------------------------------------------------

    def check_readers(self) -> None:
        """Removes dead processes from LMDB's table of readers."""
        self._environment.reader_check()

    def last_commit(self) -> int:
        """The number of the last commit, of any process."""
        with self._gate:
            if self._closed:
                raise FileReplaced
            return self._environment.info()["last_txnid"]

    def sync(self) -> None:
        """Makes all commits durable; the caller holds the write lock."""
        self._environment.sync(force=True)

    def copy_compactly(self, path: Path) -> None:
        """Copies what is in use to a new file; the caller holds the write lock."""
        self._environment.copy(os.fspath(path), compact=True)

    def drain(self, timeout_s: float) -> bool:
        """Refuses new transactions and waits for the running ones; true if all ended in time."""
        with self._gate:
            self._closed = True
            return self._gate.wait_for(lambda: not self._running, timeout_s)


def _forget_parent() -> None:
    """In a forked child: the environments are the parent's."""
    global _registry_lock  # noqa: PLW0603  another thread of the parent may have held it
    _registry_lock = threading.Lock()
    _registry.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
