"""What all stores in a file have in common: transactions in groups, repairs, forks, locks.

Who owns what: ``current_file.py`` opens and closes the file, and has the write lock, which the
leader of a group commit holds for one transaction. ``RowRepair`` has a lock of its own, which it
holds while it sets unsound rows aside. Readers take none of them.

``work`` runs in the transaction: in the leader's thread, which holds the write lock, or in the
reader's own thread. ``then`` runs in the caller's thread while no lock is held. A ``write`` from
``work`` would wait for itself, and is refused.

A commit is acknowledged only if the path still names the file that was written. If another process
has set the file aside, or the file was deleted, the group runs again on the new file.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from glob import escape
from typing import Generic, TypeVar

from bytelyst_sync.errors import ConfigError, StorageError
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.commit import Group, GroupCommit
from bytelyst_sync.storage.current_file import (
    CurrentFile,
    FileKind,
    FileReplaced,
    OpenFile,
    Settings,
)
from bytelyst_sync.storage.delivery_lock import FileDeliveryLock
from bytelyst_sync.storage.file_errors import storage_errors
from bytelyst_sync.storage.files import absolute_path, sibling
from bytelyst_sync.storage.forking import watch
from bytelyst_sync.storage.row_repair import REPAIRABLE, RowRepair
from bytelyst_sync.storage.set_aside import UnsoundRowError

__all__ = ["FileStorage"]

T = TypeVar("T")
F = TypeVar("F", bound=OpenFile)


class _Local(threading.local):
    """Whether this thread runs a transaction."""

    inside = False


class FileStorage(ABC, Generic[F]):
    """A store in one file, shared by any number of threads and processes.

    No file is opened before the first use. Every method may be called from any thread.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        durability: str = "full",
        busy_timeout_s: float = 30.0,
    ) -> None:
        if durability not in ("full", "normal"):
            raise ConfigError(
                f"durability={durability!r}: must be 'full' or 'normal'",
                field="durability",
                value=durability,
            )
        unresolved, self.path = absolute_path(path)
        self._settings = Settings(self.path, durability == "full", busy_timeout_s, unresolved)
        self._delivery_locks: weakref.WeakSet[FileDeliveryLock] = weakref.WeakSet()
        self._file: CurrentFile[F] = CurrentFile(self._settings, self._kind())
        self._start()
        watch(self)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._group = GroupCommit(self._run)
        self._rows = RowRepair(
            self.path,
            write=self._group.submit,
            find=lambda: self._file.attempt(self._unsound_rows),
            report=self._file.add_notice,
        )
        self._local = _Local()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    # -- what a store implements -----------------------------------------------------------------

    @abstractmethod
    def _kind(self) -> FileKind[F]:
        """How its files are opened; called once, with the settings."""

    @abstractmethod
    def _read(self, file: F, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on one view of the file; ``FileReplaced`` if it is closed."""

    @abstractmethod
    def _commit(self, file: F, group: Group) -> int:
        """Runs a group in one transaction; returns the last number of the sequence that it knows.

        The caller holds the write lock. Sets ``group.final`` once the outcome cannot be undone.
        """

    @abstractmethod
    def _change_token(self, file: F) -> object:
        """A token that changes with every commit; ``FileReplaced`` if the path names another
        file.
        """

    @abstractmethod
    def _unsound_rows(self, file: F) -> list[UnsoundRowError]:
        """Reads all rows; returns the unsound ones, up to a hundred of each table."""

    @abstractmethod
    def _remove_deleted_data(self, file: F) -> None:
        """Removes deleted data from the file. The caller holds the write lock."""

    # -- the port --------------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """Runs ``work`` in a transaction, which it may share with other waiting threads.

        Returns when the commit is durable (see ``durability``) and ``then`` has returned. Raises
        the exception of ``work``, with its changes undone, a ``StorageError``, or ``RuntimeError``
        if it is called from a ``work`` of the same store.
        """
        if self._local.inside or self._pid != os.getpid():
            self._refuse_nesting("write")
        rows_set_aside = self._rows.number_set_aside
        try:
            result = self._group.submit(work)
        except REPAIRABLE as error:
            self._rows.repair(error, rows_set_aside)
            result = self._rows.run(self._group.submit, work)
        if then is not None:
            then(result)
        return result

    def read(self, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on one committed state of the store, without waiting for writers.

        ``work`` runs again if the file is found to be damaged. Raises the exception of ``work``, or
        a ``StorageError``.
        """
        self._refuse_nesting("read")
        return self._rows.run(self._file.attempt, self._read_inside, work)

    def changes(self) -> object:
        """A token that changes with every commit, of this process or another one."""
        self.after_fork()
        return self._file.attempt(self._change_token)

    def delivery_right(self) -> FileDeliveryLock:
        """A new object for the delivery lock: a lock file, which the system frees at exit."""
        self.after_fork()
        right = FileDeliveryLock(sibling(self.path, ".deliver"))
        self._delivery_locks.add(right)
        return right

    @property
    def notice(self) -> str | None:
        """A report that the file was set aside or created again meanwhile, or ``None``."""
        return "; ".join(self._file.notices) or None

    def purge(self) -> None:
        """Removes deleted data from the file and its log, and deletes files that were set aside.

        Waits for transactions of other programs as long as a write does.
        """
        self._refuse_nesting("purge")
        self._file.attempt(self._purge)
        with storage_errors(self.path):
            for copy in self.path.parent.glob(f"{escape(self.path.name)}.damaged-*"):
                copy.unlink(missing_ok=True)

    def _purge(self, file: F) -> None:
        with self._file.write_lock:
            self._remove_deleted_data(file)

    # -- forks and the end ----------------------------------------------------------------------

    def before_fork(self) -> None:
        """In the parent: waits up to two seconds for running transactions, and closes the file."""
        if not self._local.inside:
            self._file.before_fork()

    def after_fork_in_parent(self) -> None:
        """In the parent: allows the next use to open the file."""
        self._file.after_fork_in_parent()

    def after_fork(self) -> None:
        """In a forked child: forgets the parent's connections and locks without closing them.

        Python calls it after ``os.fork``; a second call does nothing.
        """
        if self._pid == os.getpid():
            return
        self._file.after_fork()
        for lock in list(self._delivery_locks):
            lock.forget()
        self._start()

    def close(self) -> None:
        """Closes the file; idempotent. Waits for a running write; a later use opens it again."""
        self.after_fork()
        self._file.close()

    # -- transactions ----------------------------------------------------------------------------

    def _read_inside(self, file: F, work: Callable[[Reader], T]) -> T:
        if not file.is_current():
            raise FileReplaced
        self._local.inside = True
        try:
            return self._read(file, work)
        finally:
            self._local.inside = False

    def _run(self, group: Group) -> None:
        """Runs a group of jobs in the leader's thread; every job gets its result or its error."""
        self._local.inside = True
        try:
            self._file.attempt(self._commit_and_check, group)
        except StorageError as error:
            group[0].error = error
            for job in group[1:]:
                job.error = type(error)(*error.args)
                job.error.__cause__ = error.__cause__
        except BaseException as error:
            if not group.final:
                raise
            group[0].error = error  # of the leader alone: the others' jobs are committed
        finally:
            self._local.inside = False

    def _commit_and_check(self, file: F, group: Group) -> None:
        with self._file.write_lock:
            last = self._commit(file, group)
            self._file.last_number = max(self._file.last_number, last)
            try:
                sound = file.maintain()
            except FileReplaced:
                group.final = False
                raise
        if not sound:
            with suppress(StorageError):  # the commit is done
                self._file.retire(file)

    def _refuse_nesting(self, call: str) -> None:
        self.after_fork()
        if self._local.inside:
            raise RuntimeError(
                f"{call}() was called from within a transaction of the same store: use the"
                " transaction that was passed in, or call it afterwards"
            )
