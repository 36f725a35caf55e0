"""The faults of the test servers, and the script that assigns faults to requests.

``ScriptedFaults`` is the part that ``SyncServer``, ``FakeServer`` and ``FaultProxy`` have in
common.

Who owns what: the condition guards the scripted faults and the records of requests, and is notified
when a request arrives and when one was processed; predicates and waits run outside of it.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.testing.http_messages import Answer, Headers, RecordedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Match = str | Callable[[RecordedRequest], bool] | None

_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this answer without processing; bytes and texts unchanged, other bodies as JSON."""

    status: int
    body: Any = None
    headers: Headers = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop:
    """Reset the connection before processing."""


@dataclass(frozen=True, slots=True)
class DropAnswer:
    """Process, then close the connection without an answer."""


Lose = DropAnswer
"""The former name of ``DropAnswer``."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Process for so many seconds; meanwhile the request's Idempotency-Key is in progress."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Truncate:
    """Process, then send the answer's full Content-Length, half of its body, and close."""


Fault = Reply | Drop | DropAnswer | Stall | Truncate


class Exchange(NamedTuple):
    """The answer to send, and the fault that breaks it (``Drop``: no answer is sent)."""

    fault: Fault | None
    answer: Answer


class ScriptedFaults(ABC):
    """The faults of a server, and the requests that it received. Every method may be called from
    any thread. Do not change the values in snapshots.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._ticks = 0
        self._in_flight: dict[int, RecordedRequest] = {}
        self._requests: list[RecordedRequest] = []
        self._script: list[tuple[Fault | None, Match]] = []
        self._standing: list[tuple[Fault, Match]] = []

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request that was handled, in order: a snapshot."""
        with self._changed:
            return list(self._requests)

    @property
    def in_flight(self) -> list[RecordedRequest]:
        """The requests that are being handled now: a snapshot."""
        with self._changed:
            return list(self._in_flight.values())

    def script(self, *faults: Fault | None, match: Match = None) -> None:
        """Queue faults, each for the next request that matches; ``None``: no fault.

        ``match`` is a callable on the request, a method (``"POST"``), or a method and a path
        (``"GET /notes"``: that path and all below it). Without it any request fits, probes too.
        """
        with self._changed:
            self._script += [(fault, match) for fault in faults]

    def always(self, fault: Fault, match: Match = None) -> None:
        """Apply this fault to every matching request without a scripted one."""
        with self._changed:
            self._standing.append((fault, match))

    def clear_script(self) -> None:
        """Remove all faults, queued and permanent."""
        with self._changed:
            self._script.clear()
            self._standing.clear()

    def wait_for(self, predicate: Callable[[], object], timeout: float = 5.0) -> bool:
        """Wait until ``predicate`` holds; it is called after every request and change. ``False`` at
        the timeout.

        ``timeout`` is in seconds of real time.
        """
        deadline = _CLOCK.monotonic() + timeout
        while True:
            with self._changed:
                ticks = self._ticks
            if predicate():
                return True
            with self._changed:
                left_s = deadline - _CLOCK.monotonic()
                if not self._changed.wait_for(lambda: self._ticks != ticks, max(0.0, left_s)):  # noqa: B023 - called at once
                    return False

    def _tick(self) -> None:
        with self._changed:
            self._ticks += 1
            self._changed.notify_all()

    @contextmanager
    def _handling(self, request: RecordedRequest) -> Iterator[None]:
        """Counts the request as in flight inside of the block."""
        with self._changed:
            self._in_flight[id(request)] = request
        self._tick()
        try:
            yield
        finally:
            with self._changed:
                self._in_flight.pop(id(request), None)
            self._tick()

    def _exchange(self, request: RecordedRequest, wait: Callable[[float], None]) -> Exchange:
        """Process one request as the script says. ``wait`` waits, or raises to abort."""
        fault = self._next_fault(request)
        if isinstance(fault, Drop):
            self._record(request, 0)
            return Exchange(fault, Answer(0))
        answer = self._answer(request, fault, wait)
        self._record(request, answer.status)
        return Exchange(fault, answer)

    @abstractmethod
    def _answer(
        self, request: RecordedRequest, fault: Fault | None, wait: Callable[[float], None]
    ) -> Answer:
        """The answer to a request. The server class applies all faults except ``Reply`` and
        ``Stall``.
        """

    def _next_fault(self, request: RecordedRequest) -> Fault | None:
        with self._changed:
            scripted, standing = list(self._script), list(self._standing)
        for entry in scripted:
            if _fits(entry[1], request):
                with self._changed:
                    # another connection may have taken it meanwhile
                    if any(entry is queued for queued in self._script):
                        self._script = [queued for queued in self._script if queued is not entry]
                        return entry[0]
        return next((fault for fault, match in standing if _fits(match, request)), None)

    def _record(self, request: RecordedRequest, status: int) -> None:
        with self._changed:
            self._requests.append(replace(request, status=status, at=self._clock()))


def _fits(match: Match, request: RecordedRequest) -> bool:
    if match is None:
        return True
    if not isinstance(match, str):
        return match(request)
    method, _, path = match.partition(" ")
    below = f"{path.rstrip('/')}/"
    return method == request.method and (not path or f"{request.path}/".startswith(below))
