"""Calls that a timer interrupts again and again, as Ctrl-C would; for the programs beside it."""

import random
import signal
import time

__all__ = ["call_interrupted"]


def _interrupt(*_):
    raise KeyboardInterrupt


def call_interrupted(call, *, seconds, least_s, longest_s, rest_s=0.0):
    """Calls with 1, 2 and so on, by the main thread, each of them interrupted after a random time
    if it takes as long; returns how often that was.
    """
    signal.signal(signal.SIGALRM, _interrupt)
    interrupts = number = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        number += 1
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(least_s, longest_s))
                call(number)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupts += 1
        time.sleep(rest_s)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return interrupts
