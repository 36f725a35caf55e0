"""What the server's clock is ahead of this machine's, from ``Date`` headers (SPEC §5).

Each answer bounds it from both sides; bounds of several answers are intersected, so the second's
width of a header narrows to the width of a fast round trip.
"""

from __future__ import annotations

import math

import attrs

__all__ = ["ClockOffset"]


@attrs.frozen
class ClockOffset:
    """An interval, in seconds, that holds the true offset."""

    low: float = -math.inf
    high: float = math.inf

    def narrowed(self, low: float, high: float) -> ClockOffset:
        """With one more answer taken in; one that contradicts the others means that a clock was
        set, and starts anew.
        """
        both = ClockOffset(max(self.low, low), min(self.high, high))
        return both if both.low <= both.high else ClockOffset(low, high)

    @property
    def seconds(self) -> float:
        """The smallest offset that agrees with all answers: 0 where the clocks may be equal."""
        if self.low <= 0.0 <= self.high:
            return 0.0
        return self.low if self.low > 0.0 else self.high
