"""Claims on their way to the server: one request at a time, or several on threads.

Both kinds have the same four verbs, so that the worker has one loop. ``submit`` takes claims,
``collect`` brings back some that have an answer, ``abandon`` hands back those not begun, and
``room`` says how many more are welcome.

Who owns what: the worker's thread alone calls these methods. Sender threads touch only the two
queues, under ``_lock``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from bytelyst_sync.clock import Clock
from bytelyst_sync.flows.parcels import Outcome, Packer, Parcel, Sent
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.rules.concurrency import Concurrency
from bytelyst_sync.state.claims import Claim

__all__ = ["InlinePipeline", "Pipeline", "ThreadedPipeline"]

Send = Callable[[Parcel], Outcome]
_SLICE_S = 0.05
"""How long answers are gathered before they are settled in one commit."""
_IDLE_THREAD_S = 10.0


class Pipeline(Protocol):
    """What the worker's loop asks of a pipeline."""

    @property
    def in_flight(self) -> int:
        """Claims taken and not yet collected."""
        ...

    def room(self) -> int:
        """How many more claims to submit now."""
        ...

    def submit(self, claims: list[Claim]) -> None:
        """Takes claims, to be sent in this order."""
        ...

    def collect(self, stopped: Callable[[], bool]) -> list[Sent]:
        """Waits, at most about a slice beyond one answer, and returns what has been answered."""
        ...

    def abandon(self) -> list[Claim]:
        """Hands back what has not been begun."""
        ...

    def close(self, timeout: float) -> bool:
        """Ends the threads; true if they ended in time."""
        ...


class InlinePipeline:
    """Sends on the worker's own thread."""

    def __init__(self, send: Send, packer: Packer, clock: Clock, batch_size: int) -> None:
        self._send = send
        self._packer = packer
        self._clock = clock
        self._batch_size = batch_size
        self._waiting: deque[Parcel] = deque()
        self._typical_s = _SLICE_S

    @property
    def in_flight(self) -> int:
        """Claims not yet sent."""
        return sum(map(len, self._waiting))

    def room(self) -> int:
        """About a slice's worth, once all before it is sent; at least what fills a request."""
        if self._waiting:
            return 0
        per_slice = int(_SLICE_S / max(self._typical_s, 1e-5))
        return min(self._batch_size, max(self._packer.capacity, per_slice))

    def submit(self, claims: list[Claim]) -> None:
        """Takes claims."""
        self._waiting.extend(self._packer.pack(claims))

    def collect(self, stopped: Callable[[], bool]) -> list[Sent]:
        """Sends for a slice of time, or until an answer needs attention."""
        sent: list[Sent] = []
        monotonic = self._clock.monotonic
        began = now = monotonic()
        while self._waiting and not stopped():
            parcel = self._waiting.popleft()
            outcome = self._send(parcel)
            sent += outcome.sent
            self._waiting.extendleft(reversed(outcome.instead))
            before, now = now, monotonic()
            self._typical_s += ((now - before) / len(parcel) - self._typical_s) * 0.25
            if _is_urgent(outcome.sent) or now - began >= _SLICE_S:
                break
        return sent

    def abandon(self) -> list[Claim]:
        """Hands back what has not been sent."""
        left = [claim for parcel in self._waiting for claim in parcel]
        self._waiting.clear()
        return left

    def close(self, timeout: float) -> bool:  # noqa: ARG002 - there is nothing to end
        """Nothing to end."""
        return True


class ThreadedPipeline:
    """Sends on up to ``workers`` threads, as many as the server and the interpreter bear."""

    def __init__(
        self, send: Send, packer: Packer, clock: Clock, workers: int, batch_size: int
    ) -> None:
        self._send = send
        self._packer = packer
        self._clock = clock
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self._todo = threading.Condition(self._lock)
        self._done = threading.Condition(self._lock)
        self._waiting: deque[Parcel] = deque()
        self._answered: list[Sent] = []
        self._requests = 0
        self._open = 0
        """Claims that are neither answered nor handed back."""
        self._closing = False
        self._threads: set[threading.Thread] = set()
        self._concurrency = Concurrency(workers)

    @property
    def in_flight(self) -> int:
        """Claims taken and not collected."""
        with self._lock:
            return self._open + len(self._answered)

    def room(self) -> int:
        """Enough that no thread runs dry before the next commit."""
        with self._lock:
            typical = max(self._concurrency.typical_s, 1e-4)
            per_thread = (1 + int(_SLICE_S / typical)) * self._packer.capacity
            wanted = min(self._batch_size, self._concurrency.limit * per_thread)
            return max(0, wanted - self._open)

    def submit(self, claims: list[Claim]) -> None:
        """Takes claims and sees that there are threads for them."""
        parcels = self._packer.pack(claims)
        with self._lock:
            self._open += len(claims)
            self._waiting.extend(parcels)
            self._see_to_threads()
            self._todo.notify(len(parcels))

    def _see_to_threads(self) -> None:
        missing = min(len(self._waiting), self._concurrency.limit) - len(self._threads)
        for _ in range(missing):
            thread = threading.Thread(target=self._run, name="bytelyst-sync-send", daemon=True)
            self._threads.add(thread)
            thread.start()

    def collect(self, stopped: Callable[[], bool]) -> list[Sent]:
        """Waits for an answer, and a slice more for others to share its commit."""
        deadline = self._clock.monotonic() + _SLICE_S
        with self._lock:
            while True:
                left = deadline - self._clock.monotonic()
                enough = len(self._answered) * 2 > self._open
                if not self._open or _is_urgent(self._answered) or left <= 0 or stopped():
                    break
                if enough and self._answered and not self._waiting:
                    break
                self._done.wait(left)
            sent, self._answered = self._answered, []
            return sent

    def abandon(self) -> list[Claim]:
        """Hands back what no thread has begun."""
        with self._lock:
            left = [claim for parcel in self._waiting for claim in parcel]
            self._waiting.clear()
            self._open -= len(left)
            return left

    def close(self, timeout: float) -> bool:
        """Ends the threads once they have their answers; true if all ended in time."""
        deadline = self._clock.monotonic() + timeout
        with self._lock:
            self._closing = True
            self._todo.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _run(self) -> None:
        current = threading.current_thread()
        while True:
            with self._lock:
                ready = self._todo.wait_for(
                    lambda: self._closing or self._may_begin(), _IDLE_THREAD_S
                )
                if not ready or (self._closing and not self._waiting):
                    self._threads.discard(current)
                    return
                if not self._may_begin():
                    continue
                parcel = self._waiting.popleft()
                self._requests += 1
            began, cpu = self._clock.monotonic(), time.thread_time()
            try:
                outcome = self._send(parcel)
            except BaseException:
                # the thread ends; what it was sending is taken over as after a crash
                self._lose(current, parcel)
                raise
            took, cpu = self._clock.monotonic() - began, time.thread_time() - cpu
            busy = any(answer.meaning is Meaning.BUSY for _, answer in outcome.sent)
            with self._lock:
                self._requests -= 1
                self._open -= len(outcome.sent)
                self._answered += outcome.sent
                self._waiting.extendleft(reversed(outcome.instead))
                self._concurrency.learn(took, cpu, busy=busy)
                self._see_to_threads()
                self._done.notify()
                self._todo.notify(2)

    def _lose(self, thread: threading.Thread, parcel: Parcel) -> None:
        with self._lock:
            self._requests -= 1
            self._open -= len(parcel)
            self._threads.discard(thread)
            self._done.notify()

    def _may_begin(self) -> bool:
        return bool(self._waiting) and self._requests < self._concurrency.limit


def _is_urgent(sent: list[Sent]) -> bool:
    return any(answer.meaning is not Meaning.DELIVERED for _, answer in sent)
