"""Times as records and cursors say them: ISO 8601, or epoch seconds or milliseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

__all__ = ["instant", "record_time"]

_MILLISECONDS_FROM = 1e11
"""Seconds reach this in the year 5138; milliseconds had it in 1973."""
_LATEST = 253_402_300_799.0
"""The end of the year 9999, where the calendar of ``datetime`` ends."""
_EARLIEST = -62_135_596_800.0
# written out, because what datetime.fromisoformat reads differs between Pythons
_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?\s*(?:(Z)|([+-])(\d\d):?(\d\d)?)?)?",
    re.IGNORECASE | re.ASCII,
)


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
        # compared before it is converted: an int may be too large for a float
        if not -_LATEST * 1000 <= value <= _LATEST * 1000:
            return None
        return _on_the_calendar(value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value))
    return _parse_iso(value) if isinstance(value, str) else None


def _parse_iso(text: str) -> float | None:
    found = instant(text)
    if found is None:
        return None
    seconds, fraction = found
    return _on_the_calendar(seconds + (float(f"0.{fraction}") if fraction else 0.0))


def instant(text: str) -> tuple[int, str] | None:
    """An ISO time as whole seconds since the epoch and the digits of its fraction, however many:
    these order times exactly, as their texts do not (``10:00:00Z`` is before ``10:00:00.5Z``).
    """
    found = _ISO.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, off_hours, off_minutes = (
        found.groups()
    )
    try:
        at = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            tzinfo=timezone.utc,
        )
        offset = timedelta(hours=int(off_hours or 0), minutes=int(off_minutes or 0))
    except ValueError:
        return None
    since_epoch = at - datetime(1970, 1, 1, tzinfo=timezone.utc)
    exact = since_epoch - offset * (-1 if sign == "-" else 1)
    return exact // timedelta(seconds=1), (fraction or "").rstrip("0")


def _on_the_calendar(seconds: float) -> float | None:
    return seconds if _EARLIEST <= seconds <= _LATEST else None
