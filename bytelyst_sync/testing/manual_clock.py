"""``ManualClock``: a clock that a test moves.

One lock guards the two readings and the list of callbacks, which are called outside of it.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from bytelyst_sync.clock import as_datetime

__all__ = ["ManualClock"]

_START = datetime(2030, 1, 1, tzinfo=timezone.utc)
_MONOTONIC_START_S = 1000.0

Wake = Callable[[], object]


class ManualClock:
    """A clock that stands still until it is moved; pass it to an engine as ``clock=``.

    An engine uses it for its own waits: delays of retries, ``Retry-After``, probes, regular pulls.
    When the clock is moved, the engine wakes up and does once what is due. Timeouts of a caller, as
    in ``flush(timeout=5)``, and of the network are real time. Pass ``clock=clock.wall`` to a
    server, so that both sides use the same time.

    ``start`` is an aware datetime or epoch seconds. Every method may be called from any thread.
    """

    def __init__(self, start: datetime | float = _START) -> None:
        self._lock = threading.Lock()
        self._wall = _epoch(start)
        self._monotonic = _MONOTONIC_START_S
        self._wakes: list[Callable[[], Wake | None]] = []

    def __repr__(self) -> str:
        return f"<ManualClock {self.now.isoformat()}>"

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._wall

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, that only go forwards."""
        return self._monotonic

    @property
    def now(self) -> datetime:
        """The time of day, as an aware UTC datetime."""
        return as_datetime(self._wall)

    def advance(self, seconds: float) -> None:
        """Move the clock by so many seconds, and wake the engines. It does not wait for their work:
        wait for that with a bound
        (``engine.wait``, ``engine.flush``, ``Events.wait_for``). ``ValueError`` for a negative
        number.
        """
        if not (seconds >= 0 and math.isfinite(seconds)):
            raise ValueError(f"seconds={seconds!r}: time goes on by 0 or more seconds")
        with self._lock:
            self._wall += seconds
            self._monotonic += seconds
        self._wake()

    def advance_to(self, when: datetime) -> None:
        """Move the clock to ``when``, such as an item's ``next_attempt``, and a microsecond more,
        because a datetime is rounded to microseconds. ``ValueError`` for a time in the past.
        """
        seconds = _epoch(when) - self._wall
        if seconds < 0:
            raise ValueError(f"it is past {when.isoformat()} already: it is {self.now.isoformat()}")
        self.advance(seconds + 1e-6)

    def set(self, when: datetime | float) -> None:
        """Set the wall clock, as a user may; the monotonic clock does not change."""
        wall = _epoch(when)
        with self._lock:
            self._wall = wall
        self._wake()

    def subscribe(self, wake: Wake) -> None:
        """Call ``wake`` each time the clock is moved, in the thread that moves it. A bound method
        is removed with its object.
        """
        owner: Any = getattr(wake, "__self__", None)
        reference: Callable[[], Wake | None] = (
            (lambda: wake) if owner is None else weakref.WeakMethod(wake)
        )
        with self._lock:
            self._wakes = [each for each in self._wakes if each() is not None]
            self._wakes.append(reference)

    def _wake(self) -> None:
        with self._lock:
            wakes = list(self._wakes)
        for each in wakes:
            wake = each()
            if wake is not None:
                wake()


def _epoch(when: datetime | float) -> float:
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ValueError(f"{when!r} has no timezone: give an aware datetime")
        return when.timestamp()
    if not math.isfinite(when):
        raise ValueError(f"{when!r} is no time: give an aware datetime or epoch seconds")
    return float(when)
