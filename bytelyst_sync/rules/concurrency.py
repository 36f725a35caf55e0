"""Decides how many requests to send at the same time, below a ceiling.

With a fast server, a second thread only competes for the interpreter. With a slow one, a request
consists mostly of waiting. So the limit follows the share of a request's time in which this process
only waits. If the server says that it is busy, the limit becomes one less than the number of
requests at that time. Later one more is tried again; the pause before that trial doubles each time.
(Additive increase and a memory of what was too much: Chiu and Jain 1989, and TCP's ssthresh.)
"""

from __future__ import annotations

__all__ = ["Concurrency"]

_DOWN, _UP = 0.2, 0.02
"""How fast the typical time follows shorter requests, and longer ones. Requests that take longer
because threads or processes compete for the CPU hardly change it.
"""
_WORTH = 0.7
_LEAST_WAIT_S = 0.0005
"""If a request waits less than this, more threads only add waiting for the interpreter."""
_TRIAL_S, _LONGEST_TRIAL_S = 10.0, 600.0


class Concurrency:
    """The current limit. Not thread-safe: its owner guards it. Times are monotonic seconds."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._useful = 1.0
        self._server_limit = ceiling
        self._trial_s = _TRIAL_S / 2
        self._next_trial = 0.0
        self._refused_at = -_LONGEST_TRIAL_S
        self._typical_cpu_s: float | None = None
        self.typical_s = 0.05
        """The typical time of a request; an estimate closer to the fast ones."""
        self.limit = 1
        """How many requests may be sent at the same time, from 1 to the ceiling."""

    @property
    def is_measured(self) -> bool:
        """Whether the typical time is that of requests."""
        return self._typical_cpu_s is not None

    def answered(self, took_s: float, cpu_s: float, now: float) -> None:
        """A request took ``took_s`` seconds, and ``cpu_s`` of them were computing."""
        cpu_s = max(cpu_s, 1e-5)
        if self._typical_cpu_s is None:
            self.typical_s, self._typical_cpu_s = took_s, cpu_s
        self.typical_s = _followed(self.typical_s, took_s)
        self._typical_cpu_s = _followed(self._typical_cpu_s, cpu_s)
        useful = 1.0
        if self.typical_s - self._typical_cpu_s > _LEAST_WAIT_S:
            # a thread that computes a share s of its time leaves room for about 1/s of them
            useful = min(self._ceiling, _WORTH * self.typical_s / self._typical_cpu_s)
        if self._useful < useful:
            self._useful = min(useful, self._useful + 1.0)
        else:
            self._useful += (useful - self._useful) * 0.1
        if self._server_limit < self._ceiling and now >= self._next_trial:
            self._server_limit += 1
            self._next_trial = now + self._trial_s
        self.limit = max(1, min(self._ceiling, self._server_limit, int(self._useful)))

    def refused(self, under_way: int, now: float) -> None:
        """The server refused one of ``under_way`` concurrent requests as too many."""
        if under_way > self._server_limit:
            return  # the limit was lowered already for this burst
        self._server_limit = max(1, under_way - 1)
        if now - self._refused_at >= _TRIAL_S / 2:  # otherwise it belongs to the same burst
            self._trial_s = min(_LONGEST_TRIAL_S, self._trial_s * 2)
        self._refused_at = now
        self._next_trial = now + self._trial_s
        self.limit = max(1, min(self._ceiling, self._server_limit, int(self._useful)))


def _followed(typical: float, newest: float) -> float:
    return typical + (newest - typical) * (_DOWN if newest < typical else _UP)
