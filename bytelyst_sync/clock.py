"""Time: the wall clock for what is stored, a monotonic one for every wait.

Deadlines are monotonic, so that neither a clock that is set nor a frozen one can stretch a wait.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import zlib
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Protocol

__all__ = [
    "BOOT",
    "FOREVER_S",
    "Clock",
    "SystemClock",
    "as_datetime",
    "booted_at",
    "clamp_timeout",
    "let_others_run",
]

_SHORTEST_S = 1e-4
_REST_S_PER_CHAR = 3e-9
"""3 ms after a megabyte, which takes about 10 ms to read; a push takes 1 ms if it is alone."""
_sleep = time.sleep
FOREVER_S = min(1e8, threading.TIMEOUT_MAX)
"""Longer than any program runs, and still a bound that every platform's waits take."""


def _find_uptime() -> Callable[[], float]:
    """The clock that continues during sleep. On Windows this is the monotonic one."""
    name = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}.get(sys.platform, "")
    number = getattr(time, name, None)
    read = getattr(time, "clock_gettime", None)
    return time.monotonic if number is None or read is None else partial(read, number)


def _find_boot() -> int:
    """A number for this boot; for this process, if the system has no id of its boots."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        boot = os.urandom(16)
    return zlib.crc32(boot)


BOOT = _find_boot()
"""A number for this boot of the system."""
_uptime = _find_uptime()


class Clock(Protocol):
    """The source of the time for an engine."""

    def wall(self) -> float:
        """Seconds since the epoch, by the system's clock."""
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

    uptime = staticmethod(_uptime)
    """The same, also going on while the system sleeps, and from its start where that is known."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()


def let_others_run(chars: int = 0) -> None:
    """Called now and then by a thread that computes for long: it gives up the interpreter lock.

    Otherwise it keeps the lock for 5 ms each time another thread wants it, which a push does a
    dozen times. ``chars``: how many characters it has read or written since the last call. The more
    there were, the longer it rests, so that a push that waits goes on undisturbed.
    """
    _sleep(max(_SHORTEST_S, chars * _REST_S_PER_CHAR))


def booted_at(clock: Clock, now: float) -> float:
    """When the system was started, by its wall clock, which reads ``now``. Two readings in one boot
    differ by what the wall clock was set in between.
    """
    uptime: Callable[[], float] = getattr(clock, "uptime", clock.monotonic)
    return now - uptime()


def as_datetime(seconds: float) -> datetime:
    """An aware UTC datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def clamp_timeout(timeout: float | None) -> float:
    """A caller's timeout as seconds that may be waited for; ``None`` is for ever."""
    return FOREVER_S if timeout is None else min(max(0.0, timeout), FOREVER_S)
