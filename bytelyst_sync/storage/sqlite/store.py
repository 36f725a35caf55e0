"""The default store: one SQLite file in WAL mode.

``file_store.py`` says who owns what. The holder of the write lock is the only user of the writer
connection. Readers borrow a read connection each.

The jobs of a group run in one transaction; each can fail without the others. They run without
savepoints first, because they nearly always succeed. If one fails, the transaction is rolled back
and all of them run again, each after a savepoint. A single job needs no savepoint.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Any, TypeVar

from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.commit import Group, Job
from bytelyst_sync.storage.current_file import FileKind, FileReplaced
from bytelyst_sync.storage.file_store import FileStorage
from bytelyst_sync.storage.set_aside import UnsoundRowError
from bytelyst_sync.storage.sqlite.errors import is_trouble
from bytelyst_sync.storage.sqlite.file import Database
from bytelyst_sync.storage.sqlite.kind import DatabaseKind
from bytelyst_sync.storage.sqlite.reads import ReadView
from bytelyst_sync.storage.sqlite.unsound_rows import find_unsound_rows
from bytelyst_sync.storage.sqlite.writes import WriteView

__all__ = ["SQLiteStorage"]

T = TypeVar("T")


class SQLiteStorage(FileStorage[Database]):
    """A queue and a local view in one SQLite file, shared by any number of threads and processes.

    ``durability="full"`` syncs every commit: it survives a loss of power. With ``"normal"`` it
    survives a crash of the program. ``busy_timeout_s`` is how long a write waits for others, in
    seconds. The path is resolved when the object is created (``~``, relative paths, symbolic
    links). The file, and those beside it (``-wal``, ``-shm``, ``.lock``, ``.deliver``), are
    readable by their owner only. A file with another mode, or that is no store, is refused and not
    changed.

    No file is opened before the first use. Every method may be called from any thread.
    """

    kind = "sqlite"

    def _kind(self) -> FileKind[Database]:
        return DatabaseKind(self._settings)

    def _read(self, file: Database, work: Callable[[Reader], T]) -> T:
        connection = file.borrow()
        view = ReadView(connection)
        sound = False
        try:
            connection.execute("BEGIN")
            result = work(view)
            view.end()
            connection.execute("COMMIT")
            sound = True
        finally:
            if not sound:
                view.end()
                sound = _is_rolled_back(connection)
            file.give_back(connection, sound)
        return result

    def _commit(self, file: Database, group: Group) -> int:
        writer = file.writer
        if writer is None:
            raise FileReplaced
        view = WriteView(writer)
        try:
            writer.execute("BEGIN IMMEDIATE")
            done = len(list(takewhile(partial(_run_job, view), group)))
            if done < len(group) > 1:
                view.end()
                writer.execute("ROLLBACK")
                view = WriteView(writer)
                writer.execute("BEGIN IMMEDIATE")
                done = _run_each(view, group, writer)
            last = view.settle() if done else -1
            view.end()
            group.final = done > 0
            writer.execute("COMMIT" if done else "ROLLBACK")
        except BaseException as error:
            view.end()
            if isinstance(error, sqlite3.Error) or writer.in_transaction:
                group.final = False
            if not _is_rolled_back(writer):
                file.discard_writer()
            raise
        return last

    def _change_token(self, file: Database) -> object:
        if not file.is_current():
            raise FileReplaced
        return file.identity, file.data_version()

    def _unsound_rows(self, file: Database) -> list[UnsoundRowError]:
        return find_unsound_rows(file)

    def _remove_deleted_data(self, file: Database) -> None:
        if file.writer is None:
            raise FileReplaced
        file.writer.execute("VACUUM")
        file.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _is_rolled_back(connection: sqlite3.Connection) -> bool:
    """Rolls back a failed transaction; false if that fails and the connection must be closed."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return not connection.in_transaction


def _run_job(view: WriteView, job: Job[Any]) -> bool:
    """Sets the job's result or its own exception; false if it failed.

    Failures of the store are raised as ``sqlite3.Error``, with the transaction open.
    """
    try:
        job.result = job.work(view)
    except sqlite3.Error as error:
        if is_trouble(error):
            raise
        job.error = error
    except Exception as error:  # noqa: BLE001  raised in the job's own thread
        job.error = error
    else:
        job.error = None
        return True
    return False


def _run_each(view: WriteView, group: Group, writer: sqlite3.Connection) -> int:
    """Runs each job after a savepoint; returns how many did not fail."""
    done = 0
    for job in group:
        mark = view.mark()
        writer.execute("SAVEPOINT job")
        if _run_job(view, job):
            done += 1
        else:
            view.stop_scans()
            writer.execute("ROLLBACK TO job")
            view.reset(mark)
        writer.execute("RELEASE job")
    return done
