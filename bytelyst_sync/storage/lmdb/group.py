"""Runs a group of jobs in one transaction of LMDB; each job can fail without the others.

Each job of several runs in a transaction within that of the group, which is undone if the job
fails. A single job needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bytelyst_sync.storage.commit import Group, Job
from bytelyst_sync.storage.lmdb.mapped_file import MappedFile
from bytelyst_sync.storage.lmdb.rows import LmdbRows
from bytelyst_sync.storage.lmdb.view import LmdbView

if TYPE_CHECKING:
    import lmdb

__all__ = ["run_group"]

_Errors = tuple[type[Exception], ...]


def run_group(
    file: MappedFile, transaction: lmdb.Transaction[bytes], jobs: Group, errors: _Errors
) -> tuple[bool, int]:
    """Runs the jobs; each gets its result or its own exception.

    Returns whether there is something to commit, and the last number of the sequence (``-1``:
    unknown). Failures of the store, which are ``errors``, are raised.
    """
    rows = LmdbRows(transaction, file.known)
    view = LmdbView(rows)
    try:
        if len(jobs) == 1:
            done = _run(view, jobs[0], errors)
        else:
            done = _run_each(file, transaction, rows, jobs, errors)
        return done, rows.settle() if done else -1
    finally:
        view.end()


def _run_each(
    file: MappedFile,
    transaction: lmdb.Transaction[bytes],
    rows: LmdbRows,
    jobs: Group,
    errors: _Errors,
) -> bool:
    any_done = False
    for job in jobs:
        mark = rows.mark()
        inner = file.begin_within(transaction)
        rows.use(inner)
        view = LmdbView(rows)
        try:
            if _run(view, job, errors):
                inner.commit()
                any_done = True
            else:
                rows.reset(mark)
        finally:
            view.end()
            inner.abort()
            rows.use(transaction)
    return any_done


def _run(view: LmdbView, job: Job[Any], errors: _Errors) -> bool:
    """Runs one job; false if it failed."""
    try:
        job.result = job.work(view)
    except errors:
        raise
    except Exception as error:  # noqa: BLE001  raised in the job's own thread
        job.error = error
        return False
    job.error = None
    return True
