"""Time: the wall clock for what is stored, a monotonic one for every wait.

Deadlines are monotonic, so that neither a clock that is set nor a frozen one can stretch a wait.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone
from typing import Protocol

__all__ = ["FOREVER_S", "Clock", "SystemClock", "as_datetime", "patience"]

FOREVER_S = min(1e8, threading.TIMEOUT_MAX)
"""Longer than any program runs, and still a bound that every platform's waits take."""


class Clock(Protocol):
    """What the engine asks for the time."""

    def wall(self) -> float:
        """Seconds since the epoch, as the system believes."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forwards, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's clocks.

    Test tools that freeze time replace the functions of ``time`` wherever a module's globals
    name them. They may freeze the wall clock; they must not freeze waits, so the monotonic one
    is kept where they do not look.
    """

    monotonic = staticmethod(time.monotonic)
    """Seconds from an arbitrary start."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()


def as_datetime(seconds: float) -> datetime:
    """An aware UTC datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def patience(timeout: float | None) -> float:
    """A caller's timeout as seconds that may be waited for; ``None`` is for ever."""
    return FOREVER_S if timeout is None else min(max(0.0, timeout), FOREVER_S)
