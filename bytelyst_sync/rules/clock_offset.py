"""Estimates how far the server's clock is ahead of this machine's, from ``Date`` headers.

Each answer gives a lower and an upper bound; the bounds of several answers are intersected. A
``Date`` header has whole seconds, and may be late if a server or proxy caches it.
"""

from __future__ import annotations

import math

import attrs

__all__ = ["ClockOffset", "corrected_time"]


_WHOLE_S = 1.0
_LATE_S = 2.0
"""A header that is late by no more than this does not shift the offset."""


@attrs.frozen
class ClockOffset:
    """An interval, in seconds, that holds the true offset."""

    low: float = -math.inf
    high: float = math.inf

    def observed(self, date: float, sent: float, received: float) -> ClockOffset:
        """The interval after one more answer. Times are seconds since the epoch: ``date`` is the
        ``Date`` header; ``sent`` and ``received`` are by this machine's clock.
        """
        return self.narrowed(date - received, date + _WHOLE_S + _LATE_S - sent)

    def narrowed(self, low: float, high: float) -> ClockOffset:
        """The interval after one more pair of bounds. If they contradict the earlier ones, a clock
        was set, and only the new bounds are kept.
        """
        both = ClockOffset(max(self.low, low), min(self.high, high))
        return both if both.low <= both.high else ClockOffset(low, high)

    @property
    def seconds(self) -> float:
        """The smallest offset that agrees with all answers: 0 if the clocks may be equal."""
        if self.low <= 0.0 <= self.high:
            return 0.0
        return self.low if self.low > 0.0 else self.high


_SET_S = 1.0
"""A smaller difference is drift: the clock was not set."""
_FUTURE_S = 2.0


def corrected_time(
    time: float, now: float, *, booted: float | None, booted_now: float | None
) -> float | None:
    """The time of a push by this machine's clock as it is ``now``; ``None`` if it is unknown.

    ``booted`` is when the system was started by the clock at the push, ``booted_now`` the same by
    the clock now: their difference is by how much the clock was set in between. They are ``None``
    if the push was before the last boot; then only a time in the future is known to be wrong.
    """
    if booted is not None and booted_now is not None:
        jump = booted_now - booted
        return time + jump if abs(jump) > _SET_S else time
    return time if time <= now + _FUTURE_S else None
