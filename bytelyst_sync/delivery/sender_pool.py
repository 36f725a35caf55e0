"""Sends claims on the worker's own thread, or on several threads where that is faster.

``submit`` adds claims, ``collect`` returns those that were answered, ``abandon`` and ``surplus``
return those not begun, and ``room`` says how many more to submit.

Who owns what: only the worker's thread calls these methods. It sends requests itself as long as
several at a time would not be faster: to hand a request to another thread costs more than a request
to a fast server. Otherwise sender threads send, and the worker's thread settles and claims. Where
many processes share the queue, a commit may wait for those of others; so with a slow server even a
single request is sent by a sender thread, and its next claim is made before its answer is there.
``_lock`` guards what both use, and is held for a few assignments. A sender that has its answer
takes the next group at once, and wakes the worker only if the worker has something to do.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import attrs

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.delivery.batching import Batcher
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.queue.outcome import ClaimGroup, Outcome, Sent
from bytelyst_sync.rules.classify import NO_ANSWER, Verdict
from bytelyst_sync.rules.concurrency import Concurrency

__all__ = ["Room", "SenderPool", "Slices"]

Send = Callable[[ClaimGroup], Outcome]
_IDLE_THREAD_S = 10.0
_LONGEST_AWAY_S, _LONGEST_SHARED_S = 0.5, 2.0
"""Longer commits count as so long; the second where other processes may hold them up."""
_WORTH = 0.02
"""The share of a request's time that a commit must take before it pays to send meanwhile."""
_SURPLUS = 4
"""Claims are given back if they are so many times as many as would be made now."""
_clock = SystemClock()
"""The machine's clock, not the engine's, which a test may move by hand."""


@attrs.frozen
class _Done:
    """The outcome of a group, and what it cost."""

    outcome: Outcome
    took_s: float
    cpu_s: float


@attrs.frozen(kw_only=True)
class Slices:
    """Answers are collected for about ``length_s`` seconds, or until there are ``items``, and are
    then settled together.
    """

    length_s: float
    items: int
    shared: bool = False
    """Whether other processes deliver the same queue at the same time."""


class Room(NamedTuple):
    """How many more claims to submit. ``ahead`` are those that no sender would begin at once, so
    others may have them.
    """

    now: int
    ahead: int = 0


class SenderPool:
    """Sends up to ``workers`` requests at once, as many as are useful."""

    def __init__(
        self,
        send: Send,
        batcher: Batcher,
        *,
        workers: int,
        batch_size: int,
        slices: Slices,
    ) -> None:
        self._send = send
        self._batcher = batcher
        self._batch_size = batch_size
        self._slice_s = slices.length_s
        self._slice_items = slices.items
        self._shared = slices.shared
        self._lock = threading.Lock()
        self._todo = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)
        self._waiting: deque[ClaimGroup] = deque()
        self._answered: list[Sent] = []
        self._open = 0
        """The number of claims that are neither answered nor abandoned."""
        self._sending = 0
        """The number of requests under way on sender threads."""
        self._held = False
        """Whether no request may begin before the worker has seen the answers."""
        self._urgent = False
        self._closing = False
        self._threads: set[threading.Thread] = set()
        self._concurrency = Concurrency(workers)
        self._left_at = _clock.monotonic()
        self._away_s = 0.0
        """How long the worker usually settles and claims, between two calls of ``collect``."""
        self._overlaps = False
        """Whether a request is sent while the worker settles, also where one at a time is best."""

    @property
    def in_flight(self) -> int:
        """The number of claims submitted and not yet collected."""
        with self._lock:
            return self._open + len(self._answered)

    def room(self) -> Room:
        """How many more claims to submit now: enough for one slice, so that no thread is idle
        before the next commit, and at least enough to fill each request.
        """
        with self._lock:
            if self._alone and self._waiting:
                return Room(0)
            capacity = self._batcher.capacity
            most = max(self._batch_size, capacity * self._concurrency.limit)
            wanted = self._requests() * capacity
            room = max(0, min(wanted - self._open, most))
            # claims that do not fill a request wait for more
            room = room - room % capacity if room > capacity else room
            if not self._overlaps:
                return Room(room)
            now = max(0, min(room, self._concurrency.limit * capacity - self._open))
            return Room(now, room - now)

    def submit(self, claims: list[Claim]) -> None:
        """Adds claims, to be sent in this order."""
        groups = self._batcher.pack(claims)
        with self._lock:
            self._open += len(claims)
            self._waiting.extend(groups)
            self._see_to_threads()

    def collect(self, stopped: Callable[[], bool]) -> list[Sent]:
        """Sends, or waits for senders, for about a slice of time; returns what was answered."""
        with self._lock:
            self._held = False
            if self._open:
                longest_s = _LONGEST_SHARED_S if self._shared else _LONGEST_AWAY_S
                away_s = min(_clock.monotonic() - self._left_at, longest_s)
                self._away_s += (away_s - self._away_s) * 0.2
            self._overlaps = (
                self._shared
                and self._concurrency.is_measured
                and self._typical_s >= self._slice_s
                and self._away_s >= _WORTH * self._typical_s
            )
            self._see_to_threads()
            alone = self._alone or not self._threads
        if alone:
            self._send_here(stopped)
        else:
            self._watch(stopped)
        with self._lock:
            self._left_at = _clock.monotonic()
            sent, self._answered, self._urgent = self._answered, [], False
            return sent

    def abandon(self) -> list[Claim]:
        """Takes back the claims that were not begun."""
        with self._lock:
            left = [claim for group in self._waiting for claim in group]
            self._waiting.clear()
            self._open -= len(left)
            return left

    def surplus(self) -> list[Claim]:
        """Takes back the last claims if others could send them earlier: those that were made while
        the server was faster than it is now.
        """
        with self._lock:
            wanted = self._requests() * self._batcher.capacity
            if not self._shared or self._open <= _SURPLUS * wanted:
                return []
            left: list[Claim] = []
            while self._waiting and self._open - len(self._waiting[-1]) >= wanted:
                group = self._waiting.pop()
                self._open -= len(group)
                left += group
            return left

    def close(self, timeout: float) -> bool:
        """Ends the threads once they have their answers; true if all ended in time."""
        deadline = _clock.monotonic() + timeout
        with self._lock:
            self._closing = True
            self._todo.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - _clock.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    # --- called with the lock held

    @property
    def _alone(self) -> bool:
        """Whether the worker's own thread sends: ``_limit`` is 0. Asked after each answer."""
        return not (self._overlaps or self._sending or self._concurrency.limit > 1)

    @property
    def _limit(self) -> int:
        """How many requests sender threads may send at the same time."""
        limit = self._concurrency.limit
        return limit if limit > 1 or self._overlaps else 0

    def _requests(self) -> int:
        """How many requests may be begun before the next commit, with those under way."""
        limit, typical_s = self._concurrency.limit, self._typical_s
        items = self._slice_items / self._batcher.capacity
        slice_s = min(self._slice_s, items * typical_s / limit)
        if self._alone:
            return int(max(1.0, slice_s / typical_s))
        requests = limit * (1.0 + (slice_s + self._away_s) / typical_s)
        return math.ceil(requests) if self._overlaps else int(requests)

    @property
    def _is_full(self) -> bool:
        """Whether there are enough answers for a commit."""
        return len(self._answered) >= self._slice_items

    @property
    def _typical_s(self) -> float:
        return max(self._concurrency.typical_s, 1e-4)

    def _may_begin(self) -> bool:
        return bool(self._waiting) and not self._held and self._sending < self._limit

    def _see_to_threads(self) -> None:
        """Wakes idle threads for waiting groups, and starts new ones."""
        limit = self._limit
        idle = len(self._threads) - self._sending
        wanted = min(len(self._waiting), limit - self._sending)
        if wanted > 0 and idle > 0:
            self._todo.notify(wanted)
        for _ in range(min(wanted - idle, limit - len(self._threads))):
            thread = threading.Thread(target=self._run, name="bytelyst-sync-send", daemon=True)
            # the system has no more threads, or the interpreter is about to exit
            with suppress(RuntimeError):
                thread.start()
                self._threads.add(thread)

    def _runs_low(self) -> bool:
        """Whether the worker should claim more now, so that the senders stay busy meanwhile."""
        limit, waiting = self._concurrency.limit, len(self._waiting)
        meanwhile = limit * self._away_s / self._typical_s
        return waiting < meanwhile or (not waiting and self._sending < limit)

    def _take_in(self, done: _Done, under_way: int) -> None:
        sent = done.outcome.sent
        self._open -= len(sent)
        self._answered += sent
        self._waiting.extendleft(reversed(done.outcome.instead))
        meanings = {answer.meaning for _, answer in sent}
        if Verdict.BUSY in meanings:
            self._concurrency.refused(under_way, _clock.monotonic())
        else:
            self._concurrency.answered(done.took_s, done.cpu_s, _clock.monotonic())
        # after a failure or refused credentials, the worker decides whether more is sent
        self._held = (
            self._held or Verdict.CREDENTIALS in meanings or not NO_ANSWER.isdisjoint(meanings)
        )
        self._urgent = self._urgent or bool(meanings - {Verdict.DELIVERED})

    # --- the worker's thread

    def _send_here(self, stopped: Callable[[], bool]) -> None:
        began = _clock.monotonic()
        while not stopped():
            with self._lock:
                if not self._waiting:
                    return
                group = self._waiting.popleft()
            done = self._timed(group)
            with self._lock:
                self._take_in(done, 1)
                full = len(self._answered) >= self._slice_items
                if full or self._urgent or not self._alone:
                    return
            if _clock.monotonic() - began >= self._slice_s:
                return

    def _watch(self, stopped: Callable[[], bool]) -> None:
        """Waits for answers, at most a slice of time, or until the worker has something to do: if
        it shall stop, that is to take back what was not begun.
        """
        deadline = _clock.monotonic() + self._slice_s
        with self._lock:
            while self._open and not self._urgent and not (self._waiting and stopped()):
                left = deadline - _clock.monotonic()
                if left <= 0 or self._alone or self._is_full:
                    return
                if self._answered and self._runs_low():
                    return
                self._news.wait(left)

    # --- sender threads

    def _run(self) -> None:
        done: _Done | None = None
        group: ClaimGroup | None = None
        try:
            while (group := self._next(done)) is not None:
                done = self._timed(group)
        except BaseException:
            # the thread ends; the items that it was sending are recovered as after a crash
            self._lose(group or ())
            raise

    def _next(self, done: _Done | None) -> ClaimGroup | None:
        """Reports what was sent, and waits for the next group; ``None`` if the thread shall end."""
        with self._lock:
            if done is not None:
                self._take_in(done, self._sending)
                self._sending -= 1
                if self._urgent or self._is_full or self._runs_low() or not self._sending:
                    self._news.notify()
                self._see_to_threads()
            ready = self._todo.wait_for(lambda: self._closing or self._may_begin(), _IDLE_THREAD_S)
            if not ready or (self._closing and not self._may_begin()):
                self._threads.discard(threading.current_thread())
                return None
            self._sending += 1
            return self._waiting.popleft()

    def _lose(self, group: ClaimGroup) -> None:
        with self._lock:
            self._sending -= 1
            self._open -= len(group)
            self._threads.discard(threading.current_thread())
            self._news.notify()

    def _timed(self, group: ClaimGroup) -> _Done:
        began, cpu = _clock.monotonic(), time.thread_time()
        outcome = self._send(group)
        return _Done(outcome, _clock.monotonic() - began, time.thread_time() - cpu)
