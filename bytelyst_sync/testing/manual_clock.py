"""`ManualClock`: time that passes when a test says so.

One lock guards the two readings and the list of those to be woken; they are called outside of it.
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
    """A clock that stands still until it is moved; give it to an engine as ``clock=``.

    Whatever an engine waits for by itself goes by it: delays of retries, ``Retry-After``, probes,
    regular pulls. It is woken when the clock is moved, and does what is due by then, once. What a
    caller waits for, ``flush(timeout=5)``, is real time, and so are the network's timeouts. Give
    a server ``clock=clock.wall`` to have both sides go by the same time.

    `start` is an aware datetime or epoch seconds. Every method may be called from any thread.
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
        """Let so many seconds pass at once, and wake those who wait.

        It does not wait for what they do: wait for that as if it came by itself, with a bound
        (``engine.wait``, ``engine.flush``, `Events.wait_for`). ``ValueError`` for less than none.
        """
        if not (seconds >= 0 and math.isfinite(seconds)):
            raise ValueError(f"seconds={seconds!r}: time goes on by 0 or more seconds")
        with self._lock:
            self._wall += seconds
            self._monotonic += seconds
        self._wake()

    def advance_to(self, when: datetime) -> None:
        """Let time pass until `when`, such as an item's ``next_attempt``, and a microsecond more.

        A datetime is rounded to microseconds; what is due at it is due then. ``ValueError`` for a
        time that is over.
        """
        seconds = _epoch(when) - self._wall
        if seconds < 0:
            raise ValueError(f"it is past {when.isoformat()} already: it is {self.now.isoformat()}")
        self.advance(seconds + 1e-6)

    def set(self, when: datetime | float) -> None:
        """Set the time of day, forwards or back, as a user may; no time passes by it."""
        wall = _epoch(when)
        with self._lock:
            self._wall = wall
        self._wake()

    def subscribe(self, wake: Wake) -> None:
        """Have `wake` called, in the thread that moves the clock, each time it is moved.

        A bound method is forgotten with its object.
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
