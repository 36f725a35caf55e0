"""Runs a group of jobs in one SQLite transaction, so that each can fail alone.

By whoever holds the write guard, and so owns the connection. Nearly always all of them succeed, so
they are run without savepoints first; if one fails, all are run anew, each behind a savepoint. One
that is alone needs none: undoing it is undoing the transaction.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from bytelyst_sync.storage.commit import Group, Job
from bytelyst_sync.storage.sqlite_errors import is_trouble
from bytelyst_sync.storage.sqlite_write import WriteView

__all__ = ["is_rolled_back", "run_group"]


def run_group(writer: sqlite3.Connection, jobs: Group) -> tuple[str, int]:
    """Runs the jobs in a new transaction; each gets its result or its own exception.

    Returns the statement that is to end it, and the last number given out (``-1``: none was).
    What the store has trouble with is raised as ``sqlite3.Error``; the transaction is open then.
    """
    view = WriteView(writer)
    writer.execute("BEGIN IMMEDIATE")
    try:
        if not all(_run_alone(view, job) for job in jobs):
            if len(jobs) == 1:
                return "ROLLBACK", -1
            view.end()
            writer.execute("ROLLBACK")
            view = WriteView(writer)
            writer.execute("BEGIN IMMEDIATE")
            if not _run_each(view, jobs, writer):
                return "ROLLBACK", -1
        return "COMMIT", view.settle()
    finally:
        view.end()


def is_rolled_back(connection: sqlite3.Connection) -> bool:
    """Ends a transaction that failed; false if the connection cannot be trusted any more."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return not connection.in_transaction


def _run_alone(view: WriteView, job: Job[Any]) -> bool:
    """Whether there is something to commit."""
    try:
        job.result = job.work(view)
    except sqlite3.Error as error:
        if is_trouble(error):
            raise
        job.error = error
    except Exception as error:  # noqa: BLE001  it is raised where the job came from
        job.error = error
    else:
        job.error = None
        return True
    return False


def _run_each(view: WriteView, jobs: Group, writer: sqlite3.Connection) -> bool:
    any_done = False
    for job in jobs:
        mark = view.mark()
        writer.execute("SAVEPOINT job")
        if _run_alone(view, job):
            any_done = True
        else:
            view.stop_scans()
            writer.execute("ROLLBACK TO job")
            view.reset(mark)
        writer.execute("RELEASE job")
    return any_done
