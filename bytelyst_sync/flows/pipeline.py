"""Claims on their way to the server: on the worker's own thread, or on several where that pays.

``submit`` takes claims, ``collect`` brings back some that have an answer, ``abandon`` hands back
those not begun, and ``room`` says how many more are welcome.

Who owns what: the worker's thread alone calls these methods. It sends by itself while one request
at a time is all that pays, and no other thread is at it: handing over costs more than a request to
a fast server. Else sender threads send, and the worker's thread only settles and claims. What both
touch is guarded by ``_lock``, held for a few assignments. A sender that has its answer takes its
next parcel in the same breath, and wakes the worker only when there is something to see to.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import attrs

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.flows.parcels import Outcome, Packer, Parcel, Sent
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.rules.concurrency import Concurrency
from bytelyst_sync.state.claims import Claim

__all__ = ["Pipeline"]

Send = Callable[[Parcel], Outcome]
_IDLE_THREAD_S = 10.0
_LONGEST_AWAY_S = 0.5
_NO_USE = (Meaning.BUSY, Meaning.OFFLINE, Meaning.CREDENTIALS)
"""After an answer of these, the worker decides whether any more is sent."""
_clock = SystemClock()
"""Not the engine's: this measures the machine, whatever time its program is told."""


@attrs.frozen
class _Done:
    """A parcel's end, as the thread that sent it saw it."""

    outcome: Outcome
    took_s: float
    cpu_s: float


class Pipeline:
    """Sends with up to ``workers`` requests at once, as many as the server and the interpreter
    bear. Answers are gathered for about ``slice_s`` seconds, or until there are ``slice_items``,
    before they are settled together.
    """

    def __init__(
        self,
        send: Send,
        packer: Packer,
        *,
        workers: int,
        batch_size: int,
        slice_s: float,
        slice_items: int,
    ) -> None:
        self._send = send
        self._packer = packer
        self._batch_size = batch_size
        self._slice_s = slice_s
        self._slice_items = slice_items
        self._lock = threading.Lock()
        self._todo = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)
        self._waiting: deque[Parcel] = deque()
        self._answered: list[Sent] = []
        self._open = 0
        """Claims that are neither answered nor handed back."""
        self._sending = 0
        """Requests that are under way on sender threads."""
        self._held = False
        """Nothing more is begun before the worker has seen what was answered."""
        self._urgent = False
        self._closing = False
        self._threads: set[threading.Thread] = set()
        self._concurrency = Concurrency(workers)
        self._left_at = _clock.monotonic()
        self._away_s = 0.0
        """How long the worker usually settles and claims between two calls of ``collect``."""

    @property
    def in_flight(self) -> int:
        """Claims taken and not yet collected."""
        with self._lock:
            return self._open + len(self._answered)

    def room(self) -> int:
        """How many more claims to submit now: as many as a slice will take, so that nobody runs
        dry before the next commit; at least what fills each request.
        """
        with self._lock:
            if self._alone and self._waiting:
                return 0
            limit, typical_s = self._concurrency.limit, self._typical_s
            capacity = self._packer.capacity
            slice_s = min(self._slice_s, self._slice_items / capacity * typical_s / limit)
            if self._alone:
                requests = max(1.0, slice_s / typical_s)
            else:
                requests = limit * (1.0 + (slice_s + self._away_s) / typical_s)
            most = max(self._batch_size, capacity * limit)
            room = max(0, min(int(requests) * capacity - self._open, most))
            # what does not fill a request waits for what will
            return room - room % capacity if room > capacity else room

    def submit(self, claims: list[Claim]) -> None:
        """Takes claims, to be sent in this order."""
        parcels = self._packer.pack(claims)
        with self._lock:
            self._open += len(claims)
            self._waiting.extend(parcels)
            self._see_to_threads()

    def collect(self, stopped: Callable[[], bool]) -> list[Sent]:
        """Sends or waits, at most about a slice beyond one answer; what has been answered."""
        with self._lock:
            self._held = False
            if self._open:
                away_s = min(_clock.monotonic() - self._left_at, _LONGEST_AWAY_S)
                self._away_s += (away_s - self._away_s) * 0.2
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
        """Hands back what has not been begun."""
        with self._lock:
            left = [claim for parcel in self._waiting for claim in parcel]
            self._waiting.clear()
            self._open -= len(left)
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

    # --- with the lock

    @property
    def _alone(self) -> bool:
        """Whether the worker's own thread is to send."""
        return self._concurrency.limit == 1 and not self._sending

    @property
    def _is_full(self) -> bool:
        """Whether there are answers enough for a commit."""
        return len(self._answered) >= self._slice_items

    @property
    def _typical_s(self) -> float:
        return max(self._concurrency.typical_s, 1e-4)

    def _may_begin(self) -> bool:
        limit = self._concurrency.limit
        return bool(self._waiting) and not self._held and self._sending < limit and limit > 1

    def _see_to_threads(self) -> None:
        """Has threads begin what may be begun: those there are, and new ones."""
        limit = self._concurrency.limit
        idle = len(self._threads) - self._sending
        wanted = min(len(self._waiting), limit - self._sending) if limit > 1 else 0
        if wanted > 0 and idle > 0:
            self._todo.notify(wanted)
        for _ in range(min(wanted - idle, limit - len(self._threads))):
            thread = threading.Thread(target=self._run, name="bytelyst-sync-send", daemon=True)
            # there may be too many, and while the interpreter ends Python 3.12 begins none
            with suppress(RuntimeError):
                thread.start()
                self._threads.add(thread)

    def _runs_low(self) -> bool:
        """Whether the worker should claim more now, for what is left to last meanwhile."""
        limit, waiting = self._concurrency.limit, len(self._waiting)
        meanwhile = limit * self._away_s / self._typical_s
        return waiting < meanwhile or (not waiting and self._sending < limit)

    def _take_in(self, done: _Done, under_way: int) -> None:
        sent = done.outcome.sent
        self._open -= len(sent)
        self._answered += sent
        self._waiting.extendleft(reversed(done.outcome.instead))
        meanings = {answer.meaning for _, answer in sent}
        if Meaning.BUSY in meanings:
            self._concurrency.refused(under_way, _clock.monotonic())
        else:
            self._concurrency.answered(done.took_s, done.cpu_s, _clock.monotonic())
        self._held = self._held or not meanings.isdisjoint(_NO_USE)
        self._urgent = self._urgent or bool(meanings - {Meaning.DELIVERED})

    # --- the worker's thread

    def _send_here(self, stopped: Callable[[], bool]) -> None:
        began = _clock.monotonic()
        while not stopped():
            with self._lock:
                if not self._waiting:
                    return
                parcel = self._waiting.popleft()
            done = self._timed(parcel)
            with self._lock:
                self._take_in(done, 1)
                if self._urgent or not self._alone or self._is_full:
                    return
            if _clock.monotonic() - began >= self._slice_s:
                return

    def _watch(self, stopped: Callable[[], bool]) -> None:
        """Waits for answers, a slice of time, or until there is something to see to."""
        deadline = _clock.monotonic() + self._slice_s
        with self._lock:
            while self._open and not self._urgent and not stopped():
                left = deadline - _clock.monotonic()
                if left <= 0 or self._alone or self._is_full:
                    return
                if self._answered and self._runs_low():
                    return
                self._news.wait(left)

    # --- sender threads

    def _run(self) -> None:
        done: _Done | None = None
        parcel: Parcel | None = None
        try:
            while (parcel := self._next(done)) is not None:
                done = self._timed(parcel)
        except BaseException:
            # the thread ends; what it was sending is taken over as after a crash
            self._lose(parcel or ())
            raise

    def _next(self, done: _Done | None) -> Parcel | None:
        """Hands in what was sent, and waits for what to send; ``None`` if there is no need."""
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

    def _lose(self, parcel: Parcel) -> None:
        with self._lock:
            self._sending -= 1
            self._open -= len(parcel)
            self._threads.discard(threading.current_thread())
            self._news.notify()

    def _timed(self, parcel: Parcel) -> _Done:
        began, cpu = _clock.monotonic(), time.thread_time()
        outcome = self._send(parcel)
        return _Done(outcome, _clock.monotonic() - began, time.thread_time() - cpu)
