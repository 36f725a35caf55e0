"""How many requests to have under way at once: as many as waiting pays for, below a ceiling.

On a fast server a second thread only makes the first wait for the interpreter; on a slow one
nearly all of a request is waiting. So the number follows the share of a request's time in which
this process had nothing to compute. A server that says it is busy bears one less than it was
given; whether it bears more by now is tried ever more rarely the more often it does not.
(Additive increase and a memory of what was too much: Chiu and Jain 1989, and TCP's ssthresh.)
"""

from __future__ import annotations

__all__ = ["Concurrency"]

_DOWN, _UP = 0.2, 0.02
"""How fast the typical time of a request follows shorter ones, and longer ones. Where threads
hinder each other, or other processes this one, some take longer; that is no waiting to be used.
"""
_WORTH = 0.7
_LEAST_WAIT_S = 0.0005
"""A shorter wait is hardly longer than one for the interpreter, which more threads make longer."""
_TRIAL_S, _LONGEST_TRIAL_S = 10.0, 600.0


class Concurrency:
    """The current limit. Not thread-safe: its owner guards it. Times are monotonic seconds."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._exact = 1.0
        self._bearable = ceiling
        self._trial_s = _TRIAL_S / 2
        self._next_trial = 0.0
        self._refused_at = -_LONGEST_TRIAL_S
        self._typical_cpu_s: float | None = None
        self.typical_s = 0.05
        """What a request usually takes, on the side of the quick ones."""

    @property
    def limit(self) -> int:
        """Requests that may be under way, from 1 to the ceiling."""
        return max(1, min(self._ceiling, self._bearable, int(self._exact)))

    def answered(self, took_s: float, cpu_s: float, now: float) -> None:
        """One request took this long, of which so much was computing."""
        cpu_s = max(cpu_s, 1e-5)
        if self._typical_cpu_s is None:
            self.typical_s, self._typical_cpu_s = took_s, cpu_s
        self.typical_s = _followed(self.typical_s, took_s)
        self._typical_cpu_s = _followed(self._typical_cpu_s, cpu_s)
        useful = 1.0
        if self.typical_s - self._typical_cpu_s > _LEAST_WAIT_S:
            # a thread that computes a share s of its time leaves room for about 1/s of them
            useful = min(self._ceiling, _WORTH * self.typical_s / self._typical_cpu_s)
        if self._exact < useful:
            self._exact = min(useful, self._exact + 1.0)
        else:
            self._exact += (useful - self._exact) * 0.1
        if self._bearable < self._ceiling and now >= self._next_trial:
            self._bearable += 1
            self._next_trial = now + self._trial_s

    def refused(self, under_way: int, now: float) -> None:
        """The server was too busy for one of so many requests, itself among them."""
        if under_way > self._bearable:
            return  # of a burst whose first refusals have been heard
        self._bearable = max(1, under_way - 1)
        if now - self._refused_at >= _TRIAL_S / 2:  # else it is of the same burst
            self._trial_s = min(_LONGEST_TRIAL_S, self._trial_s * 2)
        self._refused_at = now
        self._next_trial = now + self._trial_s


def _followed(typical: float, newest: float) -> float:
    return typical + (newest - typical) * (_DOWN if newest < typical else _UP)
