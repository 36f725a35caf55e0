"""When a record says that it changed: ISO 8601, or epoch seconds or milliseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

__all__ = ["record_time"]

_MILLISECONDS_FROM = 1e11
"""Seconds reach this in the year 5138; milliseconds had it in 1973."""
_FRACTION = re.compile(r"\.(\d+)")


def record_time(record: Mapping[str, Any] | None, fields: Sequence[str]) -> float | None:
    """Seconds since the epoch from the first field that holds a time, or ``None``."""
    if record is None:
        return None
    for name in fields:
        found = _parse(record.get(name))
        if found is not None:
            return found
    return None


def _parse(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value)
    if not isinstance(value, str):
        return None
    # Python 3.10 reads neither "Z" nor fractions of other than three or six digits
    text = _FRACTION.sub(lambda found: "." + found[1][:6].ljust(6, "0"), value.strip())
    if text[-1:] in ("Z", "z"):
        text = text[:-1] + "+00:00"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()
    except (OverflowError, ValueError):
        return None
