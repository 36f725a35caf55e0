"""The file that the path of a store names now: opened at the first use, opened again if the path
names another file, and set aside if it is damaged.

Who owns what, and the order of the locks: ``_opening`` guards which file is in use, and the
notices. A thread that opens, retires or closes one holds it, and takes the write lock while it
holds it; never in the other order. Right before a fork, the forking thread takes both, closes the
file, and holds ``_opening`` until the fork is done (``forking.py``).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar

import attrs

from bytelyst_sync.errors import StorageCorruptError, StorageError, StorageFullError
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.storage.damaged_files import GAP
from bytelyst_sync.storage.delivery_lock import WriteLock
from bytelyst_sync.storage.file_checks import remote_kind
from bytelyst_sync.storage.file_errors import storage_errors
from bytelyst_sync.storage.files import sibling
from bytelyst_sync.storage.forking import FORK_REMEDY, keep_alive_forever

__all__ = ["CurrentFile", "FileKind", "FileReplaced", "OpenFile", "Settings"]

logger = SafeLogger("bytelyst_sync.storage")
T = TypeVar("T")
P = ParamSpec("P")

_MOST_ATTEMPTS: Final = 6
_MOST_REPAIRS: Final = 3
_NOTICES: Final = 3
_FORK_WAIT_S: Final = 2.0
_EXIT_WAIT_S: Final = 1.0


class FileReplaced(Exception):  # noqa: N818  not raised to callers
    """The path no longer names the file that was opened."""


@attrs.frozen
class Settings:
    """How a file is opened."""

    path: Path
    full: bool
    busy_timeout_s: float
    unresolved_path: Path
    """The path before links in it were resolved."""


class OpenFile(Protocol):
    """One opened file. It belongs to a file (by device and inode), not to a path."""

    finalizer: weakref.finalize[..., object] | None

    def is_current(self) -> bool:
        """Whether the path still names this file."""
        ...

    def maintain(self) -> bool:
        """Checks the file after a commit, under the write lock; false if it must be closed.

        ``FileReplaced`` if the path names another file.
        """
        ...

    def drain(self, timeout_s: float) -> bool:
        """Refuses new readers and waits for the running ones; true if all ended in time."""
        ...

    def close(self) -> None:
        """Closes it; the caller holds the write lock."""
        ...


F = TypeVar("F", bound=OpenFile)


class FileKind(Protocol[F]):
    """How the files of one database are opened and repaired, and what its errors mean.

    The caller holds the write lock, except for ``check_before_locking`` and the questions about
    errors.
    """

    database: str
    """The name of the database, for messages."""
    errors: tuple[type[Exception], ...]
    """The exceptions of the database."""
    finds_all_damage: bool
    """Whether ``has_damage`` reads everything, so that what it does not find is no damage."""

    def check_before_locking(self) -> None:
        """Refuses a path that names no store, before a lock file is created beside it."""
        ...

    def open(self) -> tuple[F, bool, str | None]:
        """Returns the opened file, whether it was created, and a report or ``None``."""
        ...

    def continues(self, file: F, former: F) -> bool:
        """Whether a file that took the place of the former one has all that it had."""
        ...

    def start_after(self, file: F, number: int) -> None:
        """Sets the sequence of a new file."""
        ...

    def has_damage(self) -> bool:
        """Whether a new look at the file finds damage too."""
        ...

    def set_aside(self) -> str:
        """Replaces a damaged file by a new one with its readable rows; returns a report."""
        ...

    def finish_salvage(self) -> str | None:
        """Continues a salvage that was cut off, if there is one; returns a report, or ``None``."""
        ...

    def is_trouble(self, error: Exception) -> bool:
        """Whether the store or the file failed, and not one job's statement."""
        ...

    def is_damage(self, error: Exception) -> bool:
        """Whether the error says that the file is damaged."""
        ...

    def is_doubtful(self, error: Exception) -> bool:
        """Whether the file should be closed after this error."""
        ...

    def translate(self, error: Exception) -> StorageError:
        """A ``StorageError`` for the database's error; the caller sets ``__cause__``."""
        ...


class CurrentFile(Generic[F]):
    """Runs actions on the file that the path names. Any thread may use it.

    ``write_lock`` makes its holder the only writer, in this process and among all processes.
    """

    def __init__(self, settings: Settings, kind: FileKind[F]) -> None:
        self.path = settings.path
        self.database: F | None = None
        """The file in use; ``None`` if none is open."""
        self.notices: list[str] = []
        """What was reported of the file: recovered, replaced, or created again."""
        self.last_number = 0
        """The last number of the sequence that was committed here."""
        self._settings = settings
        self._kind = kind
        self._network_checked = False
        self._start()

    def _start(self) -> None:
        self.write_lock = WriteLock(sibling(self.path, ".lock"), self._settings.busy_timeout_s)
        self._pid = os.getpid()
        self._opening = threading.Lock()
        self._used = False
        """Whether a file was in use here before."""
        self._replaced: F | None = None
        """The file that was in use when another one took its path."""
        self._forking = False
        self._unusable_after_fork = False

    def attempt(
        self, action: Callable[Concatenate[F, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Runs the action on the file that the path names, and again if the file was replaced."""
        damaged = 0
        for _ in range(_MOST_ATTEMPTS):
            database = None
            try:
                database = self.database or self.open_current()
                return action(database, *args, **options)
            except FileReplaced:
                self.retire(database)
            except self._kind.errors as error:
                if not self._kind.is_trouble(error):
                    raise
                if database is not None and not database.is_current():
                    self.retire(database)
                elif self._kind.is_damage(error) and damaged < _MOST_REPAIRS:
                    damaged += 1
                    self._repair(database, certain=damaged > 1)
                else:
                    trouble = self._kind.translate(error)
                    # on a full disk an open file can be read, but not opened again
                    if self._kind.is_doubtful(error) and not isinstance(trouble, StorageFullError):
                        self.retire(database)
                    raise trouble from error
            except BaseException as error:
                if not isinstance(error, Exception):
                    self.write_lock.release_all()
                raise
        raise StorageCorruptError(
            f"{self.path} was replaced {_MOST_ATTEMPTS} times in one call: find the program that"
            " moves or deletes it"
        )

    def open_current(self) -> F:
        """Opens the file that the path names, unless it is open."""
        if self._unusable_after_fork:
            raise StorageError(
                f"{self.path} was in use when this process was forked, and cannot be used here:"
                f" {FORK_REMEDY}"
            )
        with self._opening:
            database = self.database
            if database is not None:
                return database
            with storage_errors(self.path):
                self._kind.check_before_locking()
                with self.write_lock:
                    database = self.database = self._open()
                    self.write_lock.mark()
        self._warn_of_network()
        return database

    def _warn_of_network(self) -> None:
        """Warns once if the file is on a network file system, where locks are unreliable."""
        remote = None if self._network_checked else remote_kind(self.path)
        self._network_checked = True
        if remote is not None:
            logger.warning(
                "%s is on a network file system (%s at %s), where %s's locks are unreliable:"
                " use a local disk",
                self.path,
                remote[1],
                remote[0],
                self._kind.database,
            )

    def _open(self) -> F:
        """Opens the file. The caller holds ``_opening`` and the write lock."""
        self.add_notice(self._kind.finish_salvage())
        try:
            database, created, notice = self._kind.open()
        except self._kind.errors as error:
            if not self._kind.is_damage(error):
                raise
            self.add_notice(self._kind.set_aside())
            database, created, notice = self._kind.open()
        if self._used and created:
            notice = f"{self.path} was deleted while it was in use, and created again"
            self._kind.start_after(database, self.last_number + GAP)
        elif self._replaced is not None and not self._kind.continues(database, self._replaced):
            notice = notice or f"{self.path} was replaced by another file while it was in use"
        self.add_notice(notice)
        self._used, self._replaced = True, None
        database.finalizer = weakref.finalize(
            self, close_unclosed, database, self.write_lock, self._pid
        )
        return database

    def retire(self, database: F | None) -> None:
        """Closes a file, so that the next use opens the file that the path names then."""
        if database is None:
            return
        with self._opening:
            if self.database is database:
                self.database = None
                self._replaced = None if database.is_current() else database
            with self.write_lock, storage_errors(self.path):
                database.close()

    def _repair(self, database: F | None, *, certain: bool) -> None:
        """Sets a damaged file aside, unless another process did or a new check finds no damage."""
        if database is None:
            return  # the damage was found at opening, and handled there
        with self._opening, self.write_lock, storage_errors(self.path):
            if self.database is not database:
                return
            self.database = None
            try:
                certain = certain and not self._kind.finds_all_damage
                if database.is_current() and (certain or self._kind.has_damage()):
                    self.add_notice(self._kind.set_aside())
            finally:
                database.close()

    def add_notice(self, text: str | None) -> None:
        """Adds a report for the user, once."""
        if text is not None and text not in self.notices:
            self.notices = [*self.notices, text][-_NOTICES:]

    def close(self) -> None:
        """Closes the file; idempotent. Waits for a running write; a later use opens it again."""
        with self._opening:
            database, self.database = self.database, None
            self._used, self._replaced = False, None
            if database is not None:
                with self.write_lock:
                    database.close()
            self.write_lock.close()

    # -- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """In the parent: waits up to two seconds for running transactions, and closes the file."""
        if not self._opening.acquire(timeout=_FORK_WAIT_S):
            return
        self._forking = True
        database, self.database = self.database, None
        if database is None:
            return
        try:
            self._unusable_after_fork = not database.drain(_FORK_WAIT_S)
            self.write_lock.acquire(_FORK_WAIT_S)
        except StorageError:
            self._unusable_after_fork = True
            return
        try:
            database.close()
        finally:
            self.write_lock.release()

    def after_fork_in_parent(self) -> None:
        """In the parent: allows the next use to open the file."""
        self._unusable_after_fork = False
        if self._forking:
            self._forking = False
            self._opening.release()

    def after_fork(self) -> None:
        """In a forked child: forgets the parent's connections and locks without closing them."""
        severed = self._unusable_after_fork
        database, self.database = self.database, None
        if database is not None:
            severed = True
            if database.finalizer is not None:
                database.finalizer.detach()
            keep_alive_forever(database)
        self.write_lock.forget()
        self._start()
        self._unusable_after_fork = severed


def close_unclosed(file: OpenFile, guard: WriteLock, pid: int) -> None:
    """Closes a store that the program did not close, under the write lock."""
    if pid != os.getpid():
        return
    try:
        guard.acquire(_EXIT_WAIT_S)
    except StorageError:
        keep_alive_forever(file)  # another process writes; the commits are in the file or its log
        return
    try:
        file.close()
    finally:
        guard.release()
