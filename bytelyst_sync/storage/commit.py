"""Group commit: concurrent writers share one transaction, and so one fsync.

Who owns what: there is no separate thread. The first waiting writer is the *leader*. It runs all
waiting jobs in one transaction and wakes their owners, the followers. The first job that arrived
meanwhile leads the next group. One plain lock guards the queue of jobs and the leader; it is held
for a few list operations and never while a job runs. A follower waits for a lock of its own that
the leader releases; each wait is bounded, so that signals are handled. There is one leader at most,
and it is the only user of the connection that the jobs run on.

A job stays in the queue until its group is finished or its owner leaves. A signal may interrupt the
owner at any step. So ``_end`` decides by the current state what is left to do, and is repeated if
it is interrupted too. ``run`` sets ``final`` on a group that was committed.

Writers that shared a commit arrive with their next jobs at about the same time. So a leader waits
for as many jobs as the last group had, but no longer than that group took. Otherwise every second
group would have one job, and the others would wait for its sync too. After a group of one job, the
leader does not wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, TypeVar

import attrs

from bytelyst_sync.clock import SystemClock

__all__ = ["Group", "GroupCommit", "Job"]

J = TypeVar("J")

_WAIT_S = 1.0
_LONGEST_WAIT_FOR_OTHERS_S = 0.002
_INTERRUPTS = 1000
_CLOCK = SystemClock()


@attrs.define(eq=False)
class Job(Generic[J]):
    """One writer's work and its outcome: ``result``, or ``error`` if that is set."""

    work: Callable[[Any], J]
    result: J = attrs.field(init=False)
    error: BaseException | None = None
    group: Group | None = None
    wake: threading.Lock | None = None


class Group(list[Job[Any]]):
    """Jobs that run together, oldest first.

    ``final``: the outcome cannot be undone, and no job may run again. ``finished``: the owners may
    read the outcome.
    """

    final = False
    finished = False


class GroupCommit:
    """Runs jobs in groups of at most ``size``, one group at a time.

    ``run`` gets a group and sets ``result`` or ``error`` of each job. An exception of ``run`` is
    raised in the leader's thread only; the other jobs run again, unless the group is ``final``.
    """

    def __init__(self, run: Callable[[Group], None], size: int = 256) -> None:
        self._run = run
        self._size = size
        self._lock = threading.Lock()
        self._waiting: deque[Job[Any]] = deque()
        self._leader: Job[Any] | None = None
        self._last_group = 0, 0.0
        """How many jobs the last group had, and for how many seconds it ran."""
        self._others_arrived: threading.Lock | None = None
        """The lock on which a leader waits for more jobs."""
        self._waiting_thread = 0
        """The identifier of that leader's thread; 0: none waits."""

    def submit(self, work: Callable[[Any], J]) -> J:
        """Runs the work in a group; returns its result or raises its error once that is final.

        Any thread may call it. It waits for the groups before it and for its own.
        """
        if self._waiting_thread == threading.get_ident():
            raise RuntimeError(
                "a signal handler or a finalizer interrupted a write to the store, and writes to it"
                " itself: set a flag there, and write afterwards"
            )
        job = Job(work)
        try:
            with self._lock:
                if self._leader is None:
                    self._leader = job
                else:
                    job.wake = threading.Lock()
                    job.wake.acquire()
                self._waiting.append(job)
                if self._others_arrived is not None and len(self._waiting) >= self._last_group[0]:
                    gathered, self._others_arrived = self._others_arrived, None
                    gathered.release()
            if self._leader is job:
                self._lead(job)
            else:
                self._wait_until_finished(job)
        except BaseException:
            self._end_after_interrupt(job)
            raise
        if job.error is not None:
            try:
                raise job.error
            finally:
                job.error = None  # breaks the cycle of the traceback and the job
        return job.result

    def _wait_until_finished(self, job: Job[Any]) -> None:
        """Waits for the leader, or leads a later group."""
        # the loop is not in ``submit``: see ``_choose_leader``
        while True:
            if self._leader is job:
                self._lead(job)
            elif job.wake is not None:
                job.wake.acquire(timeout=_WAIT_S)
            if job.group is not None and job.group.finished:
                return

    def _wait_for_others(self) -> None:
        """Waits for as many jobs as the last group had, no longer than that group ran."""
        size, spent_s = self._last_group
        gathered = threading.Lock()
        gathered.acquire()
        try:
            with self._lock:
                if len(self._waiting) >= size:
                    return
                self._others_arrived, self._waiting_thread = gathered, threading.get_ident()
            gathered.acquire(timeout=min(spent_s, _LONGEST_WAIT_FOR_OTHERS_S))
        finally:
            with self._lock:
                self._others_arrived, self._waiting_thread = None, 0

    def _lead(self, own: Job[Any]) -> None:
        if self._last_group[0] > 1:
            self._wait_for_others()
        with self._lock:
            group = Group(islice(self._waiting, self._size))
        for job in group:
            job.group = group
        if len(group) == 1:
            self._run(group)
            spent_s = 0.0
        else:
            began = _CLOCK.monotonic()
            self._run(group)
            spent_s = _CLOCK.monotonic() - began
        group.final = True
        self._last_group = len(group), spent_s
        self._end(own)
        group.clear()  # breaks the cycle of the group and its jobs

    def _end(self, own: Job[Any]) -> None:
        """Removes a job from the queue, and wakes the next leader and the finished followers."""
        with self._lock:
            successor = self._choose_leader(own)
        group = own.group
        if group is not None and group.finished:
            for job in group:
                if job is not own:
                    _wake(job)
        if successor is not None:
            _wake(successor)

    # --- called with the lock held. Its loop is in a function of its own: Python 3.12 and 3.13 skip
    # --- ``finally`` and ``__exit__`` if a loop directly in a ``try`` or ``with`` is interrupted

    def _choose_leader(self, own: Job[Any]) -> Job[Any] | None:
        """Finishes the leader's group and returns the next leader."""
        if self._leader is own and own.group is not None and own.group.final:
            own.group.finished = True
        while self._waiting:
            group = self._waiting[0].group
            if group is None or not group.finished:
                break
            self._waiting.popleft()
        if own in self._waiting:
            self._waiting.remove(own)
        if self._leader is own:
            self._leader = self._waiting[0] if self._waiting else None
        return self._leader

    # --- after an interrupt

    def _end_after_interrupt(self, own: Job[Any]) -> None:
        """Calls ``_end`` until it is not interrupted, for a thread that waits for nobody now."""
        for _ in range(_INTERRUPTS):
            with suppress(BaseException):
                with self._lock:
                    if self._waiting_thread == threading.get_ident():
                        self._others_arrived, self._waiting_thread = None, 0
                self._end(own)
                return


def _wake(job: Job[Any]) -> None:
    if job.wake is not None:
        with suppress(RuntimeError):  # it is awake already
            job.wake.release()
