"""Locks between processes: the write guard, and the right to deliver.

SQLite before 3.51.3 (3.50.7, 3.44.6) can corrupt a WAL database when two connections write or
checkpoint at the same instant. So every write transaction, every checkpoint, every close of a
connection that may checkpoint, and the setting aside of a damaged file is done under the *write
guard*, one lock file beside the database. It is taken on every version of SQLite: a process cannot
know which one the others run, and uncontended it costs a few microseconds.

Who owns what: a ``LockFile`` is an open descriptor on which the system's lock is taken
(``flock``: it belongs to the descriptor, not to the process, and falls when the last copy of the
descriptor is closed, so a killed process frees it). A forked child has a copy of its parent's
descriptor: it may close it, which changes nothing for the parent, but must never unlock it
(``forget``). A ``LockFile`` is used by one thread at a time: the guard has a mutex for that, which
also makes its holder the only user of the writer connection; a ``DeliveryRight`` has another.
The guard is not re-entrant, and nothing of the user's but ``work`` runs while it is held.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import StorageError

if sys.platform == "win32":
    from filelock import FileLock, Timeout
else:
    import fcntl

__all__ = ["FileDeliveryRight", "LockFile", "WriteGuard", "is_affected"]

_CLOCK = SystemClock()
_FIRST_PAUSE_S = 0.0002
_LONGEST_PAUSE_S = 0.005


def is_affected(version: tuple[int, ...]) -> bool:
    """Whether this SQLite can corrupt a WAL database that two connections write to at once.

    Corrected in 3.51.3, and in 3.50.7 and 3.44.6 of the older lines (https://sqlite.org/wal.html).
    """
    if version[:2] == (3, 44):
        return version < (3, 44, 6)
    if version[:2] == (3, 50):
        return version < (3, 50, 7)
    return version < (3, 51, 3)


if sys.platform == "win32":

    class LockFile:
        """An exclusive lock of the system's on a file of its own."""

        def __init__(self, path: Path) -> None:
            self.path = path
            self._lock = FileLock(path, thread_local=False)

        def try_acquire(self) -> bool:
            """Tries once; true if it is locked now."""
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                return False
            except OSError as error:
                raise _unusable(self.path, error) from error
            return True

        def release(self) -> None:
            """Unlocks it."""
            self._lock.release()

        def sign(self) -> None:
            """Nothing: a locked file cannot be read by others here."""

        def forget(self) -> None:
            """Nothing: there is no fork here."""

        def close(self) -> None:
            """Unlocks it and lets go of the file."""
            self._lock.release(force=True)

else:

    class LockFile:
        """An exclusive lock of the system's on a file of its own, which stays open between uses."""

        def __init__(self, path: Path) -> None:
            self.path = path
            self._name = os.fspath(path)
            self._descriptor: int | None = None
            self._identity: tuple[int, int] | None = None

        def try_acquire(self) -> bool:
            """Tries once; true if it is locked now. ``StorageError`` if it cannot be used."""
            try:
                while True:
                    descriptor = self._open() if self._descriptor is None else self._descriptor
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        if self._is_current():
                            return False
                    else:
                        if self._is_current():
                            return True
                    # somebody deleted it: what others lock now is another file
                    self.forget()
            except OSError as error:
                raise _unusable(self.path, error) from error

        def release(self) -> None:
            """Unlocks it."""
            if self._descriptor is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

        def sign(self) -> None:
            """Writes this process's id into it, for whoever wonders who holds it."""
            if self._descriptor is not None:
                with suppress(OSError):  # a full disk takes no id, and locks all the same
                    os.ftruncate(self._descriptor, 0)
                    os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

        def forget(self) -> None:
            """Closes the descriptor without unlocking: another copy of it keeps the lock."""
            # interrupted in between, it is left open; closed twice, it may be another file by then
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

        def close(self) -> None:
            """Unlocks it and lets go of the file."""
            self.release()
            self.forget()

        def _open(self) -> int:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o600)
            status = os.fstat(self._descriptor)
            self._identity = (status.st_dev, status.st_ino)
            if status.st_uid == 0:
                self._leave_to_owner(self._descriptor)
            return self._descriptor

        def _leave_to_owner(self, descriptor: int) -> None:
            """What root makes beside another user's store is that user's, as SQLite does it."""
            with suppress(OSError):
                owner = Path(os.fspath(self.path).rpartition(".")[0]).stat()
                if owner.st_uid != 0:
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)

        def _is_current(self) -> bool:
            try:
                status = os.stat(self._name)  # noqa: PTH116  half the time of Path.stat
            except FileNotFoundError:
                return False
            return self._identity == (status.st_dev, status.st_ino)


def _unusable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be locked ({error.strerror or error}): check that its directory exists and"
        " is writable, and that its file system supports locks"
    )


class WriteGuard:
    """Serialises writers and checkpoints across threads and processes. A context manager.

    ``with guard:`` waits for at most ``timeout_s`` seconds, then raises ``StorageError``.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._file = LockFile(path)
        self._mutex = threading.RLock()
        """It knows whose it is, so that a thread can give back what it does not know it has."""

    def acquire(self, timeout_s: float | None = None) -> None:
        """Waits for at most ``timeout_s`` seconds (the guard's own, if that is ``None``), then
        raises ``StorageError``.
        """
        if timeout_s is None:
            timeout_s = self.timeout_s
        if not self._mutex.acquire(blocking=False) and not self._mutex.acquire(timeout=timeout_s):
            raise StorageError(
                f"{self._file.path} has been held by another thread of this program for"
                f" {timeout_s:g} s: look for a transaction that takes too long"
            )
        try:
            if not self._file.try_acquire():
                self._wait_for_file(timeout_s)
        except BaseException:
            self._mutex.release()
            raise

    def release(self, *_: object) -> None:
        """Gives it back."""
        try:
            self._file.release()
        finally:
            self._mutex.release()

    __enter__, __exit__ = acquire, release

    def relinquish(self) -> None:
        """After an interrupt, which comes after any step: gives back what this thread holds."""
        while True:
            with suppress(KeyboardInterrupt):
                if self._mutex.acquire(blocking=False):  # this thread's, or nobody's
                    with suppress(OSError):
                        self._file.release()
                    with suppress(RuntimeError):
                        while True:
                            self._mutex.release()
                return

    def _wait_for_file(self, timeout_s: float) -> None:
        deadline = _CLOCK.monotonic() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while not self._file.try_acquire():
            if _CLOCK.monotonic() >= deadline:
                raise StorageError(
                    f"{self._file.path} has been held by another program for"
                    f" {timeout_s:g} s: look for the one that holds it (lsof or fuser tells)"
                )
            # uneven pauses, or two that poll in step would let a third starve
            time.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)

    def forget(self) -> None:
        """In a forked child: closes its copy of the lock file without unlocking it."""
        self._file.forget()

    def close(self) -> None:
        """Lets go of the lock file; a later use opens it again."""
        with self._mutex:
            self._file.close()


class FileDeliveryRight:
    """The right to deliver, as a lock file beside the store; any thread may use it."""

    exclusive = True

    def __init__(self, path: Path) -> None:
        self._file = LockFile(path)
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._held = False

    @property
    def held(self) -> bool:
        """Whether this object, in this process, holds it."""
        return self._held and self._pid == os.getpid()

    def acquire(self) -> bool:
        """Tries once, without waiting; ``StorageError`` if the lock file cannot be used."""
        self._disown_after_fork()
        with self._mutex:
            if not self._held:
                self._held = self._file.try_acquire()
                if self._held:
                    self._file.sign()
                else:
                    self._file.forget()
            return self._held

    def release(self) -> None:
        """Gives it back, if it is held."""
        self._disown_after_fork()
        with self._mutex:
            if self._held:
                self._held = False
                self._file.close()

    def forget(self) -> None:
        """In a forked child: lets go of the parent's right without taking it from the parent."""
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._held = False
        self._file.forget()

    def _disown_after_fork(self) -> None:
        if self._pid != os.getpid():
            self.forget()
