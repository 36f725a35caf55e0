"""Group commit: writers that meet share one transaction, and so one fsync.

Who owns what: there is no thread of its own. The first writer to come becomes the *leader*: it
runs every job that waits in one transaction, and wakes their owners. Whoever came meanwhile is led
by the first of them. One plain lock guards the queue of jobs and who leads; it is held for a few
list operations and never while a job runs. A follower sleeps on a lock of its own that the leader
releases, in waits of bounded length, so that a signal reaches it. At most one thread leads at any
time, which makes the leader the only user of whatever the jobs run on.

A job stays in the queue until its group is finished or its owner leaves. A signal may interrupt its
owner after every single step: so what is left behind is judged from the state it is in (``_end``),
as often as it takes. Whether a group was committed is for ``run`` to say, by ``final``.

Those who shared a commit come back with their next job at about the same time. So a leader waits
for as many as were in the group before, but no longer than that group took: else it would be alone
in every second commit, and they would wait for a sync that was not theirs. Who was alone before
waits for nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, TypeVar

from bytelyst_sync.clock import SystemClock

__all__ = ["Group", "GroupCommit", "Job"]

J = TypeVar("J")

_WAIT_S = 1.0
_LONGEST_GATHERING_S = 0.002
_INTERRUPTS = 1000
_CLOCK = SystemClock()


class Job(Generic[J]):
    """One writer's work and what became of it: ``result``, or ``error`` if that is set."""

    __slots__ = ("error", "group", "result", "wake", "work")

    def __init__(self, work: Callable[[Any], J]) -> None:
        self.work = work
        self.result: J
        self.error: BaseException | None = None
        self.group: Group | None = None
        self.wake: threading.Lock | None = None

    @property
    def finished(self) -> bool:
        """Whether its result, or its error, is there."""
        return self.group is not None and self.group.finished


class Group(list[Job[Any]]):
    """Jobs that are run together, oldest first.

    ``final``: what became of them is not to be undone, and none of them is to be run again.
    ``finished``: their owners may have it.
    """

    final = False
    finished = False


class GroupCommit:
    """Runs jobs in groups of at most ``size``, one group at a time.

    ``run`` is given a group. It sets ``result`` or ``error`` of each job; what it raises itself is
    the leader's alone, and the others of its group are run again, unless it has made it ``final``.
    """

    def __init__(self, run: Callable[[Group], None], size: int = 256) -> None:
        self._run = run
        self._size = size
        self._lock = threading.Lock()
        self._waiting: deque[Job[Any]] = deque()
        self._leader: Job[Any] | None = None
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
            self._see_through(job)
        except BaseException:
            self._surely_end(job)
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
            if self._leader is not None:
                job.wake = threading.Lock()
                job.wake.acquire()
            self._waiting.append(job)
            if self._leader is None:
                self._leader = job
            elif self._gathered is not None and len(self._waiting) >= self._before[0]:
                gathered, self._gathered = self._gathered, None
                gathered.release()

    def _see_through(self, job: Job[Any]) -> None:
        # no loop of ``submit``'s own, see below
        while True:
            if self._leader is job:
                self._lead(job)
            elif job.wake is not None:
                job.wake.acquire(timeout=_WAIT_S)
            if job.finished:
                return

    def _gather(self) -> None:
        """Waits until as many jobs wait as the last group had, for as long as that ran."""
        size, spent_s = self._before
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

    def _lead(self, own: Job[Any]) -> None:
        if self._before[0] > 1:
            self._gather()
        with self._lock:
            group = self._next_group()
        if len(group) == 1:
            self._run(group)
            spent_s = 0.0
        else:
            began = _CLOCK.monotonic()
            self._run(group)
            spent_s = _CLOCK.monotonic() - began
        group.final = True
        self._before = len(group), spent_s
        self._end(own)
        group.clear()  # or it and its jobs would keep each other alive

    def _end(self, own: Job[Any]) -> None:
        """Hands on what its owner held, and takes its job from the queue."""
        with self._lock:
            heir = self._hand_on(own)
        for job in own.group or ():
            if job is not own and job.finished:
                _wake(job)
        if heir is not None:
            _wake(heir)

    # --- with the lock; loops are here, for where a loop turns right inside of a ``try`` or a
    # --- ``with``, Python (3.12, 3.13) forgets these two if it is interrupted just then

    def _next_group(self) -> Group:
        group = Group(islice(self._waiting, self._size))
        for job in group:
            job.group = group
        return group

    def _hand_on(self, own: Job[Any]) -> Job[Any] | None:
        """Finishes the group that was led, and says who leads from now on."""
        if self._leader is own and own.group is not None and own.group.final:
            own.group.finished = True
        while self._waiting and self._waiting[0].finished:
            self._waiting.popleft()
        if own in self._waiting:
            self._waiting.remove(own)
        if self._leader is own:
            self._leader = self._waiting[0] if self._waiting else None
        return self._leader

    # --- after an interrupt

    def _surely_end(self, own: Job[Any]) -> None:
        """The same, however often it is interrupted."""
        for _ in range(_INTERRUPTS):
            with suppress(BaseException):
                self._end(own)
                return


def _wake(job: Job[Any]) -> None:
    if job.wake is not None:
        with suppress(RuntimeError):  # it is awake
            job.wake.release()
