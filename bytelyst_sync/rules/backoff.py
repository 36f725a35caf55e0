"""Computes how long to wait before the next attempt; the randomness is passed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

import attrs

__all__ = ["MAX_RETRY_AFTER_S", "RetryPolicy", "backoff", "parse_date", "parse_retry_after"]

MAX_RETRY_AFTER_S = 86_400.0
"""Longer times in a ``Retry-After`` header are cut to one day."""


def backoff(
    retries: int,
    *,
    base: float,
    ceiling: float,
    random: Callable[[], float],
    floor: float | None = None,
) -> float:
    """Seconds to wait after ``retries`` spent: full jitter below ``base · 2ⁿ``, capped.

    ``random`` returns a number in [0, 1). ``floor`` is the server's ``Retry-After``.
    (Full jitter: M. Brooker, "Exponential Backoff And Jitter", AWS 2015.)
    """
    # the exponent is bounded so that a large count cannot overflow a float
    span = min(ceiling, base * 2.0 ** min(retries, 60))
    wait = span * random()
    return max(wait, floor) if floor is not None else wait


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a ``Retry-After`` (RFC 9110 §10.2.3) or ``Backoff`` header; ``None`` if malformed.

    ``now`` is the wall clock; the header may contain a date.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
    else:
        try:
            at = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=timezone.utc)
        seconds = at.timestamp() - now
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


@lru_cache(maxsize=4)
def parse_date(value: str | None) -> float | None:
    """The time of a ``Date`` header in seconds since the epoch, or ``None``."""
    if not value:
        return None
    try:
        at: datetime = parsedate_to_datetime(value)
        return at.replace(tzinfo=at.tzinfo or timezone.utc).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and how late a write is tried again. Times are in seconds.

    ``random`` returns a number in [0, 1).
    """

    max_retries: int
    retry_delay: float
    max_retry_delay: float
    give_up_after: float
    random: Callable[[], float]

    def delay_s(self, tries: int, floor: float | None = None) -> float:
        """Seconds to wait after ``tries`` attempts; ``floor`` is the server's ``Retry-After``."""
        return backoff(
            tries,
            base=self.retry_delay,
            ceiling=self.max_retry_delay,
            random=self.random,
            floor=floor,
        )
