"""The default store: one SQLite file in WAL mode.

Who owns what, and in which order locks are taken:

- ``_opening`` guards which ``Database`` is in use, and the notices. Whoever opens, retires or
  closes one holds it, and takes the write guard inside of it; never the other way round.
- The write guard (``guard.py``) makes its holder the only user of the writer connection, in this
  process and among all. The leader of a group commit holds it for one transaction.
- Right before a fork, the forking thread takes both, closes the file, and holds the first until
  the fork is done (``forking.py``).
- Readers take neither: they borrow a read connection. Only a first use, or one that finds the
  path to be another file, opens.

``work`` runs inside of the transaction: on the leader's thread under the guard, or on the
reader's own. ``then`` runs on the caller's thread when every lock is free. A ``write`` from within
either ``work`` would wait for itself, and is refused.

A commit is acknowledged only if the path still is the file that was written. If another process
has set the file aside meanwhile, or somebody deleted it, the group is run again on the new one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from bytelyst_sync.errors import (
    ConfigError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
)
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.commit import Group, GroupCommit
from bytelyst_sync.storage.files import beside
from bytelyst_sync.storage.forking import bury, watch
from bytelyst_sync.storage.guard import FileDeliveryRight, WriteGuard
from bytelyst_sync.storage.salvage import (
    GAP,
    has_damage,
    interrupted,
    recent_notice,
    resume,
    set_aside,
)
from bytelyst_sync.storage.sqlite_errors import is_damage, is_doubtful, is_trouble, told
from bytelyst_sync.storage.sqlite_file import (
    Database,
    Moved,
    Settings,
    close_at_exit,
    open_database,
    telling,
)
from bytelyst_sync.storage.sqlite_group import is_rolled_back, run_group
from bytelyst_sync.storage.sqlite_view import ReadView

__all__ = ["SQLiteStorage"]

T = TypeVar("T")
P = ParamSpec("P")

_TRIALS: Final = 6
_REPAIRS: Final = 3
_NOTICES: Final = 3
_FORK_WAIT_S: Final = 2.0


class _Local(threading.local):
    """Where one thread is."""

    inside = False


class SQLiteStorage:
    """A queue and a local view in one SQLite file, shared by any number of threads and processes.

    ``durability="full"`` syncs every commit: what was written survives power loss. ``"normal"``
    survives a crash of the program. ``busy_timeout_s`` bounds, in seconds, how long a write waits
    for others. A symbolic link is resolved when the object is made. The file, and what lies
    beside it (``-wal``, ``-shm``, ``.lock``, ``.deliver``), is readable by its owner only.

    Nothing is opened before the first use. Every method may be called from any thread.
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
        self.path = Path(path).resolve()
        self._settings = Settings(self.path, durability == "full", busy_timeout_s)
        self._rights: weakref.WeakSet[FileDeliveryRight] = weakref.WeakSet()
        self._notices: list[str] = []
        self._used = self._replaced = False
        self._last = 0
        self._start()
        watch(self)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._opening = threading.Lock()
        self._guard = WriteGuard(beside(self.path, ".lock"), self._settings.busy_timeout_s)
        self._group = GroupCommit(self._run)
        self._local = _Local()
        self._database: Database | None = None
        self._paused = False
        self._severed = False

    def __repr__(self) -> str:
        return f"SQLiteStorage({str(self.path)!r})"

    # -- the port --------------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """Runs ``work`` in a transaction, together with those of other threads that wait.

        Returns when it is durable (see ``durability``); ``then`` is called before that, after the
        commit. Raises what ``work`` raises, with its changes undone, or a ``StorageError``.
        ``RuntimeError`` from within a ``work`` of the same store.
        """
        self._refuse_nesting("write")
        result = self._group.submit(work)
        if then is not None:
            then(result)
        return result

    def read(self, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on one committed state of the store, without waiting for writers.

        It is run again from the start if the file turns out to be damaged. Raises what ``work``
        raises, or a ``StorageError``.
        """
        self._refuse_nesting("read")
        return self._attempt(self._read, work)

    def changes(self) -> object:
        """A token that differs from an earlier one if anything was committed since, by anyone."""
        self.after_fork()
        return self._attempt(_token)

    def delivery_right(self) -> FileDeliveryRight:
        """A new handle on the right to deliver: a lock file that the system frees."""
        self.after_fork()
        right = FileDeliveryRight(beside(self.path, ".deliver"))
        self._rights.add(right)
        return right

    @property
    def notice(self) -> str | None:
        """That the file was set aside or made anew since this object was made, or ``None``."""
        return "; ".join(self._notices) or None

    def after_fork(self) -> None:
        """In a forked child: lets go of what is the parent's, without closing or unlocking it.

        Python calls it after ``os.fork``; calling it again does nothing.
        """
        if self._pid == os.getpid():
            return
        severed = self._severed
        if self._database is not None:
            severed = True
            if self._database.finalizer is not None:
                self._database.finalizer.detach()
            bury(self._database)
        self._guard.forget()
        for right in list(self._rights):
            right.forget()
        self._used = self._replaced = False
        self._start()
        self._severed = severed

    def before_fork(self) -> None:
        """In the parent: waits for what is running, two seconds at most, and closes the file."""
        if self._local.inside or not self._opening.acquire(timeout=_FORK_WAIT_S):
            return
        self._paused = True
        database, self._database = self._database, None
        if database is None:
            return
        try:
            self._severed = not database.drain(_FORK_WAIT_S)
            self._guard.acquire(_FORK_WAIT_S)
        except StorageError:
            self._severed = True
            return
        try:
            database.close()
        finally:
            self._guard.release()

    def after_fork_in_parent(self) -> None:
        """In the parent: goes on; the file is opened at the next use."""
        self._severed = False
        if self._paused:
            self._paused = False
            self._opening.release()

    def close(self) -> None:
        """Closes the file; idempotent. Waits for a running write; a later use opens it again."""
        self.after_fork()
        with self._opening:
            database, self._database, self._used = self._database, None, False
            if database is not None:
                with self._guard:
                    database.close()
            self._guard.close()

    # -- transactions ----------------------------------------------------------------------------

    def _read(self, database: Database, work: Callable[[Reader], T]) -> T:
        if not database.is_current():
            raise Moved
        connection = database.borrow()
        view = ReadView(connection)
        sound = False
        self._local.inside = True
        try:
            connection.execute("BEGIN")
            result = work(view)
            view.end()
            connection.execute("COMMIT")
            sound = True
        finally:
            self._local.inside = False
            if not sound:
                view.end()
                sound = is_rolled_back(connection)
            database.give_back(connection, sound)
        return result

    def _run(self, group: Group) -> None:
        """Runs a group of jobs, as the leader; every job gets its result or its error."""
        self._local.inside = True
        try:
            self._attempt(self._commit, group)
        except StorageError as error:
            group[0].error = error
            for job in group[1:]:
                job.error = type(error)(*error.args)
                job.error.__cause__ = error.__cause__
        except BaseException as error:
            if not group.final:
                raise
            group[0].error = error  # the leader's own; what the others asked for is done
        finally:
            self._local.inside = False

    def _commit(self, database: Database, group: Group) -> None:
        with self._guard:
            writer = database.writer
            if writer is None:
                raise Moved
            try:
                end, last = run_group(writer, group)
                group.final = end == "COMMIT"
                writer.execute(end)
            except BaseException as error:
                if isinstance(error, sqlite3.Error) or writer.in_transaction:
                    group.final = False
                if not is_rolled_back(writer):
                    database.distrust()
                raise
            self._last = max(self._last, last)
            try:
                sound = database.tend()
            except Moved:
                group.final = False
                raise
        if not sound:
            with suppress(StorageError):  # the commit stands
                self._retire(database)

    # -- which file ------------------------------------------------------------------------------

    def _attempt(
        self, action: Callable[Concatenate[Database, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Runs the action on the file that the path names; again, if that file gave way."""
        damaged = 0
        for _ in range(_TRIALS):
            database = None
            try:
                database = self._database or self._opened()
                return action(database, *args, **options)
            except Moved:
                self._retire(database)
            except sqlite3.Error as error:
                if not is_trouble(error):
                    raise
                if database is not None and not database.is_current():
                    self._retire(database)
                elif is_damage(error) and damaged < _REPAIRS:
                    damaged += 1
                    self._repair(database, certain=damaged > 1)
                else:
                    trouble = told(error, self.path, self._settings.busy_timeout_s)
                    # on a full disk what is open can be read, and could not be opened again
                    if is_doubtful(error) and not isinstance(trouble, StorageFullError):
                        self._retire(database)
                    raise trouble from error
            except BaseException as error:
                if not isinstance(error, Exception):
                    self._guard.relinquish()
                raise
        raise StorageCorruptError(
            f"{self.path} was replaced {_TRIALS} times while it was being used; look for what"
            " moves or deletes it"
        )

    def _opened(self) -> Database:
        if self._severed:
            raise StorageError(
                f"{self.path} was in use when this process was forked, and is not safe to use here:"
                " fork while no thread is in a transaction, by os.fork or multiprocessing"
            )
        with self._opening:
            if self._database is None:
                with self._guard, telling(self._settings):
                    self._database = self._open()
            return self._database

    def _open(self) -> Database:
        """Under ``_opening`` and the guard."""
        unfinished = interrupted(self.path)
        if unfinished is not None:
            self._notice(resume(self._settings, unfinished))
        try:
            database, made, said = self._looked_at()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._notice(set_aside(self._settings))
            database, made, said = self._looked_at()
        if self._used and made:
            said = f"{self.path} was deleted while it was in use, and made anew"
            database.start_after(self._last + GAP)
        elif self._used and self._replaced:
            said = said or f"{self.path} was replaced by another file while it was in use"
        self._notice(said)
        self._used, self._replaced = True, False
        database.finalizer = weakref.finalize(self, close_at_exit, database, self._guard, self._pid)
        return database

    def _looked_at(self) -> tuple[Database, bool, str | None]:
        """The file opened, whether it was made anew, and what there is to say about it."""
        database, made = open_database(self._settings)
        try:
            return database, made, database.notice or recent_notice(database)
        except BaseException:
            database.close()
            raise

    def _retire(self, database: Database | None) -> None:
        """Lets go of a file, so that the next use opens whatever the path names then."""
        if database is None:
            return
        with self._opening:
            if self._database is database:
                self._database = None
                self._replaced = not database.is_current()
            with self._guard, telling(self._settings):
                database.close()

    def _repair(self, database: Database | None, *, certain: bool) -> None:
        """Sets the damaged file aside, unless somebody did it before, or it was a false alarm."""
        if database is None:
            return  # found in opening it, and set aside there
        with self._opening, self._guard, telling(self._settings):
            if self._database is not database:
                return
            self._database = None
            try:
                if database.is_current() and (certain or has_damage(self._settings)):
                    self._notice(set_aside(self._settings))
            finally:
                database.close()

    def _notice(self, text: str | None) -> None:
        if text is not None and text not in self._notices:
            self._notices = [*self._notices, text][-_NOTICES:]

    # -- threads and processes -------------------------------------------------------------------

    def _refuse_nesting(self, call: str) -> None:
        self.after_fork()
        if self._local.inside:
            raise RuntimeError(
                f"{call}() was called from within a transaction of the same store: use the"
                " transaction that was passed in, or call it afterwards"
            )


def _token(database: Database) -> object:
    if not database.is_current():
        raise Moved
    return database.identity, database.data_version()
