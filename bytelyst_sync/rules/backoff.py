"""How long to wait before the next try (SPEC §4): pure, with the randomness passed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

__all__ = ["MAX_RETRY_AFTER_S", "backoff", "parse_date", "parse_retry_after"]

MAX_RETRY_AFTER_S = 86_400.0
"""A server may ask for one day at the most."""


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
    """Seconds of a ``Retry-After`` (RFC 9110 §10.2.3) or ``Backoff`` header; garbage is ignored.

    ``now`` is the wall clock, by which a date is taken.
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
        try:
            seconds = at.timestamp() - now
        except (OverflowError, ValueError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


@lru_cache(maxsize=4)
def parse_date(value: str | None) -> float | None:
    """The wall clock of a ``Date`` header, or ``None``."""
    if not value:
        return None
    try:
        at: datetime = parsedate_to_datetime(value)
        return at.replace(tzinfo=at.tzinfo or timezone.utc).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
