"""Group commit: writers that meet share one transaction, and so one fsync.

Who owns what: there is no thread of its own. The first writer to come becomes the *leader*: it
takes every job that waits, runs them all in one transaction, and wakes their owners. Whoever came
meanwhile is led by the first of them, who is promoted as the leader leaves. One plain lock guards
the queue of jobs and who leads; it is held for a few list operations and never while a job runs.
A job belongs to its owner until it is queued, to the leader from then until ``finished`` is set,
and to its owner again from there on. A follower sleeps on a lock of its own that the leader
releases, in waits of bounded length, so that a signal reaches it. At most one thread leads at any
time, which makes the leader the only user of whatever the jobs run on.

Those who shared a commit come back with their next job at about the same time. So a leader waits
for as many as were in the group before, but no longer than that group took: else it would be alone
in every second commit, and they would wait for a sync that was not theirs. Who was alone before
waits for nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from bytelyst_sync.clock import SystemClock

__all__ = ["GroupCommit", "Job"]

J = TypeVar("J")

_WAIT_S = 1.0
_LONGEST_GATHERING_S = 0.002
_CLOCK = SystemClock()


class Job(Generic[J]):
    """One writer's work and what became of it: ``result``, or ``error`` if that is set."""

    __slots__ = ("error", "finished", "leads", "result", "wake", "work")

    def __init__(self, work: Callable[[Any], J]) -> None:
        self.work = work
        self.result: J
        self.error: BaseException | None = None
        self.finished = False
        self.leads = False
        self.wake: threading.Lock | None = None


class GroupCommit:
    """Runs jobs in groups of at most ``size``, one group at a time.

    ``run`` is given a group, oldest first. It sets ``result`` or ``error`` of each job; what it
    raises itself is the leader's alone, and the others of its group are run again.
    """

    def __init__(self, run: Callable[[list[Job[Any]]], None], size: int = 256) -> None:
        self._run = run
        self._size = size
        self._lock = threading.Lock()
        self._waiting: deque[Job[Any]] = deque()
        self._led = False
        self._before = 0, 0.0
        """How many jobs the last group had, and for how many seconds it ran."""
        self._gathered: threading.Lock | None = None
        """What a leader sleeps on until as many have come."""
        self._gatherer = 0
        """Its thread."""

    def submit(self, work: Callable[[Any], J]) -> J:
        """Runs the work in a group; returns its result, or raises its error, once that is final.

        From any thread. It waits for as long as the groups before it and its own take.
        """
        job = Job(work)
        try:
            self._queue(job)
            if job.wake is not None:
                while not (job.finished or job.leads):
                    job.wake.acquire(timeout=_WAIT_S)
            if job.leads:
                self._lead(job)
        except BaseException:
            self._withdraw(job)
            raise
        if job.error is not None:
            try:
                raise job.error
            finally:
                job.error = None  # or the traceback and the job would keep each other alive
        return job.result

    def _queue(self, job: Job[Any]) -> None:
        with self._lock:
            if self._gathered is not None and self._gatherer == threading.get_ident():
                raise RuntimeError(
                    "a signal handler (or a finalizer) wrote to the store while its own thread was"
                    " about to: have it set a flag, and write afterwards"
                )
            if self._led:
                job.wake = threading.Lock()
                job.wake.acquire()
            else:
                job.leads = self._led = True
            self._waiting.append(job)
            if self._gathered is not None and len(self._waiting) >= self._before[0]:
                gathered, self._gathered = self._gathered, None
                gathered.release()

    def _gather(self) -> None:
        """Waits until as many jobs wait as the last group had, for as long as that ran."""
        size, spent_s = self._before
        if size < 2:
            return
        gathered = threading.Lock()
        gathered.acquire()
        try:
            with self._lock:
                if len(self._waiting) >= size:
                    return
                self._gathered, self._gatherer = gathered, threading.get_ident()
            gathered.acquire(timeout=min(spent_s, _LONGEST_GATHERING_S))
        finally:
            with self._lock:
                self._gathered = None

    def _withdraw(self, job: Job[Any]) -> None:
        """Takes back what an interrupted owner still has here: its place, and its lead."""
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
            if job.leads:
                self._hand_on(job)

    def _lead(self, own: Job[Any]) -> None:
        group: list[Job[Any]] = []
        try:
            self._gather()
            with self._lock:
                waiting = self._waiting
                while waiting and len(group) < self._size:
                    group.append(waiting.popleft())
            if len(group) == 1:
                self._run(group)
                self._before = 1, 0.0
            else:
                began = _CLOCK.monotonic()
                self._run(group)
                self._before = len(group), _CLOCK.monotonic() - began
        except BaseException:
            with self._lock:
                self._waiting.extendleft(job for job in reversed(group) if job is not own)
            group.clear()
            raise
        finally:
            with self._lock:
                for job in group:
                    job.finished = True
                self._hand_on(own)
            for job in group:
                if job.wake is not None and job is not own:
                    job.wake.release()

    def _hand_on(self, leader: Job[Any]) -> None:
        """Under the lock: the oldest waiting job leads next, or nobody does."""
        leader.leads = False
        if self._waiting and self._waiting[0] is leader:
            self._waiting.popleft()  # it was interrupted while it gathered
        self._led = bool(self._waiting)
        if self._led:
            heir = self._waiting[0]
            heir.leads = True
            if heir.wake is not None:
                heir.wake.release()
