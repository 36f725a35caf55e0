"""Calls that a timer interrupts again and again, as Ctrl-C would; for the programs beside it."""

import random
import signal
import time
from collections.abc import Callable

__all__ = ["call_interrupted"]


class _Interruption:
    """Raises KeyboardInterrupt within a call, at most once; between two calls it does nothing.

    CPython runs a signal's handler some steps after the signal, so a timer that is stopped at a
    call's end may still be told of behind it.
    """

    def __init__(self) -> None:
        self.is_due = False

    def __call__(self, *_: object) -> None:
        if self.is_due:
            self.is_due = False
            raise KeyboardInterrupt


def call_interrupted(
    call: Callable[[int], object],
    *,
    seconds: float,
    least_s: float,
    longest_s: float,
    rest_s: float = 0.0,
) -> int:
    """Calls with 1, 2 and so on, by the main thread, each of them interrupted after a random time
    if it takes as long; returns how often that was.
    """
    interruption = _Interruption()
    signal.signal(signal.SIGALRM, interruption)
    interrupts = number = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        number += 1
        try:
            interruption.is_due = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(least_s, longest_s))
            call(number)
            interruption.is_due = False
        except KeyboardInterrupt:
            interrupts += 1
        time.sleep(rest_s)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return interrupts
