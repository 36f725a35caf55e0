"""Locks between processes: the write lock and the delivery lock.

SQLite before 3.51.3 (3.50.7, 3.44.6) can corrupt a WAL database when two connections write or
checkpoint at the same time. So a process holds the *write lock*, a lock file beside the database,
while it writes, checkpoints, closes a connection that may checkpoint, or sets a damaged file aside.
It does so with every version of SQLite: it cannot know which one other processes use. Without
contention the lock takes a few microseconds.

Who owns what: a ``LockFile`` is an open descriptor with the system's lock (``flock``). That lock
belongs to the descriptor, not to the process. The system frees it when the last copy of the
descriptor is closed, so also when the process is killed. A forked child has a copy of its parent's
descriptor: it may close the copy, but must never unlock it (``forget``). One thread at a time uses
a ``LockFile``. The write lock has a mutex for that, which also makes its holder the only user of
the writer connection; the delivery lock has another one. The write lock is not re-entrant, and the
only user code that runs while it is held is ``work``.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.file_checks import check_mode, check_status
from bytelyst_sync.storage.files import sync_file

if sys.platform == "win32":
    from filelock import FileLock, Timeout
else:
    import fcntl

__all__ = ["FileDeliveryLock", "LockFile", "WriteLock", "is_affected", "is_marked"]

_CLOCK = SystemClock()
_MARK = b"bytelyst-sync\n"
_LINE_BYTES = 64
_FIRST_PAUSE_S = 0.0002
_LONGEST_PAUSE_S = 0.005


def is_marked(path: Path) -> bool:
    """Whether a lock file marks the file beside it as a store."""
    try:
        return path.read_bytes()[: len(_MARK)] == _MARK
    except OSError:
        return False


def _lock_holder(path: Path) -> str:
    """Names the process that holds the lock on a file, if the system shows it."""
    host = socket.gethostname()
    with suppress(OSError, ValueError, IndexError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text("utf-8").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
                return f"process {fields[4]} on {host}{_state_of(fields[4])}"
    return f"another program on {host} (lsof or fuser shows which)"


def _state_of(pid: str) -> str:
    """The name of a process, and that it is stopped, if the system shows it."""
    with suppress(OSError):
        name, _, rest = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")
        stopped = rest.split()[0] in ("T", "t")
        return f" ({name.partition('(')[2]}{', stopped' if stopped else ''})"
    return ""


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
        """An exclusive system lock on a file of its own."""

        def __init__(self, path: Path) -> None:
            self.path = path
            self._lock = FileLock(path, mode=0o600, thread_local=False)

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

        def mark(self) -> None:
            """Does nothing: the lock deletes its file."""

        def forget(self) -> None:
            """Does nothing: there is no fork on Windows."""

        def close(self) -> None:
            """Unlocks and closes the file."""
            self._lock.release(force=True)

else:

    class LockFile:
        """An exclusive system lock on a file of its own, which stays open between uses."""

        def __init__(self, path: Path) -> None:
            self.path = path
            self._name = os.fspath(path)
            self._descriptor: int | None = None
            self._identity: tuple[int, int] | None = None

        def try_acquire(self) -> bool:
            """Tries once; true if it is locked now. ``StorageError`` if the file cannot be used."""
            try:
                while True:
                    descriptor = self._open() if self._descriptor is None else self._descriptor
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        locked = True
                    except BlockingIOError:
                        locked = False
                    try:
                        status = os.stat(self._name)  # noqa: PTH116  twice as fast as Path.stat
                    except FileNotFoundError:
                        status = None
                    if status and self._identity == (status.st_dev, status.st_ino):
                        return locked
                    # the file was deleted: other processes lock a new one
                    self.forget()
            except OSError as error:
                raise _unusable(self.path, error) from error

        def release(self) -> None:
            """Unlocks it."""
            if self._descriptor is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

        def write_line(self, text: str) -> None:
            """Writes a short text. The file keeps its length, so this works on a full disk."""
            descriptor = self._open() if self._descriptor is None else self._descriptor
            os.pwrite(descriptor, text.encode("ascii").ljust(_LINE_BYTES - 1) + b"\n", 0)

        def forget(self) -> None:
            """Closes the descriptor without unlocking: another copy of it keeps the lock."""
            # an interrupt here leaves it open; closing it twice could close another file
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

        def close(self) -> None:
            """Unlocks and closes the file."""
            self.release()
            self.forget()

        def mark(self) -> None:
            """Marks the file beside it as a store, once and durably.

            After a loss of power the mark can be all that tells a damaged store from another
            program's file.
            """
            if self._descriptor is not None and not os.fstat(self._descriptor).st_size:
                with suppress(OSError):  # on a full disk the lock works without the mark
                    os.pwrite(self._descriptor, _MARK, 0)
                    os.fsync(self._descriptor)
                    sync_file(self.path.parent)

        def _open(self) -> int:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self.path, flags, 0o600)
            try:
                status = os.fstat(descriptor)
                check_status(self.path, status)
                check_mode(self.path, status)
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
            self._identity = (status.st_dev, status.st_ino)
            return descriptor


def _unusable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be locked ({error.strerror or error}): check that its directory exists and"
        " is writable, and that the file system supports locks"
    )


class WriteLock:
    """Serialises writers and checkpoints across threads and processes. A context manager.

    ``with lock:`` waits for up to ``timeout_s`` seconds, then raises ``StorageError``.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._file = LockFile(path)
        self._mutex = threading.RLock()
        """An ``RLock`` knows its owner, so ``release_all`` can release it after an interrupt."""

    def acquire(self, timeout_s: float | None = None) -> None:
        """Waits for up to ``timeout_s`` seconds (``None``: the lock's own timeout), then raises
        ``StorageError``.
        """
        if timeout_s is None:
            timeout_s = self.timeout_s
        if not self._mutex.acquire(blocking=False) and not self._mutex.acquire(timeout=timeout_s):
            raise StorageError(
                f"{self._file.path} has been held by another thread of this program for"
                f" {timeout_s:g} s: find the transaction that takes too long"
            )
        try:
            if not self._file.try_acquire():
                self._wait_for_file(timeout_s)
        except BaseException:
            self._mutex.release()
            raise

    def release(self, *_: object) -> None:
        """Releases the lock."""
        try:
            self._file.release()
        finally:
            self._mutex.release()

    __enter__, __exit__ = acquire, release

    def release_all(self) -> None:
        """Releases whatever this thread holds, after an interrupt at an unknown step."""
        while True:
            with suppress(KeyboardInterrupt):
                if self._mutex.acquire(blocking=False):  # held by this thread, or free
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
                    f"{self._file.path} has been locked for {timeout_s:g} s by"
                    f" {_lock_holder(self._file.path)}: it may be stopped, frozen or hung within a"
                    " write. Continue it (kill -CONT) or end it, then try again"
                )
            # random pauses: two processes that poll in step could keep a third one from the lock
            time.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)

    def mark(self) -> None:
        """While it is held: marks the file beside it as a store."""
        self._file.mark()

    def forget(self) -> None:
        """In a forked child: closes its copy of the lock file without unlocking it."""
        self._file.forget()

    def close(self) -> None:
        """Closes the lock file; a later use opens it again."""
        with self._mutex:
            self._file.close()


class FileDeliveryLock:
    """The delivery lock: a lock file beside the store. Any thread may use it."""

    exclusive = True

    def __init__(self, path: Path) -> None:
        self._file = LockFile(path)
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._held = False

    @property
    def held(self) -> bool:
        """Whether this object holds the lock in this process."""
        return self._held and self._pid == os.getpid()

    def acquire(self) -> bool:
        """Tries once, without waiting; ``StorageError`` if the lock file cannot be used."""
        self._disown_after_fork()
        with self._mutex:
            if not self._held:
                self._held = self._file.try_acquire()
                if not self._held:
                    self._file.forget()
            return self._held

    if sys.platform != "win32":  # where other processes cannot read a locked file

        def touch(self, text: str) -> None:
            """Writes a heartbeat, which shows other processes that the holder is not frozen."""
            self._disown_after_fork()
            with self._mutex:
                self._file.write_line(text)

        def last_touch(self) -> str | None:
            """The last heartbeat of the holder."""
            try:
                return self._file.path.read_text("utf-8").strip()
            except (OSError, ValueError):
                return None

    def release(self) -> None:
        """Releases the lock, if this object holds it."""
        self._disown_after_fork()
        with self._mutex:
            self._held = False
            self._file.close()

    def forget(self) -> None:
        """In a forked child: closes the copy of the lock file; the parent keeps its lock."""
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._held = False
        self._file.forget()

    def _disown_after_fork(self) -> None:
        if self._pid != os.getpid():
            self.forget()
