"""Times in records and cursors: ISO 8601, RFC 1123, or epoch seconds or milliseconds.

One without a zone is in the zone that the dialect names (``time_zone``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Any

from bytelyst_sync.rules.paths import at

__all__ = [
    "UTC",
    "earlier_by",
    "epoch_seconds",
    "following",
    "instant",
    "record_time",
    "same_instant",
    "zone_named",
]

UTC = timezone.utc


@lru_cache
def zone_named(name: str) -> tzinfo:
    """The zone of ``Dialect.time_zone``: a name of the IANA database, or an offset from UTC."""
    offset = re.fullmatch(r"([+-])(\d\d):(\d\d)", name)
    if offset is not None:
        difference = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-difference if offset[1] == "-" else difference)
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - slow to import, and seldom needed

    return ZoneInfo(name)


_MILLISECONDS_FROM = 1e11
"""Seconds reach this in the year 5138; milliseconds had it in 1973."""
_LATEST = 253_402_300_799.0
"""The end of the year 9999, where the calendar of ``datetime`` ends."""
_EARLIEST = -62_135_596_800.0
_LONGEST_FRACTION = 30
# written out, because what datetime.fromisoformat reads differs between Pythons
_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?\s*(?:(Z)|([+-])(\d\d):?(\d\d)?)?)?",
    re.IGNORECASE | re.ASCII,
)
_RFC_1123 = re.compile(r"\s*(?:[A-Za-z]{3,9},?\s+)?\d{1,2}[ -][A-Za-z]{3}[ -]\d{2,4}\s+\d\d:\d\d")
"""As in ``Sun, 06 Nov 1994 08:49:37 GMT``."""


def record_time(
    record: Mapping[str, Any] | None, fields: Sequence[str], zone: tzinfo = UTC
) -> float | None:
    """Seconds since the epoch from the first field (or path) that holds a time, or ``None``."""
    if record is None:
        return None
    times = (_parse(at(record, name), zone) for name in fields)
    return next((each for each in times if each is not None), None)


def _parse(value: Any, zone: tzinfo) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return epoch_seconds(value)
    if not isinstance(value, str):
        return None
    moment = instant(value, zone)
    if moment is None:
        return None
    seconds, fraction = moment
    return _on_the_calendar(seconds + (float(f"0.{fraction}") if fraction else 0.0))


def epoch_seconds(value: float) -> float | None:
    """Epoch seconds of a number of seconds or milliseconds, or ``None``."""
    # compared before it is converted: an int may be too large for a float
    if not -_LATEST * 1000 <= value <= _LATEST * 1000:
        return None
    return _on_the_calendar(value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value))


def instant(text: str, zone: tzinfo = UTC) -> tuple[int, str] | None:
    """A time as whole seconds since the epoch and the digits of its fraction, however many: these
    order times exactly, as their texts do not (``10:00:00Z`` is before ``10:00:00.5Z``).
    """
    match = _ISO.fullmatch(text.strip())
    try:
        if match is not None:
            moment, fraction = _iso_moment(match, zone), match[7] or ""
        elif _RFC_1123.match(text):
            moment, fraction = parsedate_to_datetime(text), ""
            moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        else:
            return None
        since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return since_epoch // timedelta(seconds=1), fraction.rstrip("0")


def earlier_by(text: str, seconds: float, zone: tzinfo = UTC) -> str:
    """The time so many seconds earlier, in the same notation; any other text stays as it is."""
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        scale = 1000 if float(text) >= _MILLISECONDS_FROM else 1
        number = float(text) - seconds * scale
        return f"{number:.0f}" if "." not in text else repr(number)
    match = _ISO.fullmatch(text.strip())
    step = timedelta(seconds=seconds)
    try:
        if match is not None and match[4]:
            return _iso_text(match, _iso_moment(match, zone) - step)
        if match is None and _RFC_1123.match(text):
            moment = parsedate_to_datetime(text) - step
            return format_datetime(moment, usegmt=text.rstrip().endswith("GMT"))
    except (ValueError, OverflowError):
        pass
    return text


def following(text: str, zone: tzinfo = UTC) -> str | None:
    """The next number or time that has the same notation; ``None`` for any other text."""
    if re.fullmatch(r"\d{1,400}(\.\d{1,400})?", text, re.ASCII):
        step = Decimal(1).scaleb(-len(text.partition(".")[2]))
        with localcontext() as context:
            context.prec = len(text) + 1
            return f"{Decimal(text) + step:f}"
    match = _ISO.fullmatch(text.strip())
    fraction = "" if match is None else match[7] or ""
    if match is None or not fraction:
        later = earlier_by(text, -1.0, zone)
        return None if later == text else later
    if len(fraction) > _LONGEST_FRACTION:
        return None
    if not fraction.strip("9"):
        match = _ISO.fullmatch(earlier_by(match.string, -1.0, zone))
        if match is None or match.string == text.strip():
            return None
    digits = f"{(int(fraction) + 1) % 10 ** len(fraction):0{len(fraction)}}"
    return match.string[: match.start(7)] + digits + match.string[match.end(7) :]


def _iso_text(like: re.Match[str], moment: datetime) -> str:
    """The time with the separators, the fraction and the zone of another one."""
    separator = like.string[like.start(4) - 1]
    fraction = f".{like[7]}" if like[7] else ""
    zone = like[8] or (like.string[like.start(9) :] if like[9] else "")
    return f"{moment:%Y-%m-%d}{separator}{moment:%H:%M:%S}{fraction}{zone}"


def _iso_moment(match: re.Match[str], zone: tzinfo) -> datetime:
    year, month, day, hour, minute, second, _, utc, sign, off_hours, off_minutes = match.groups()
    if utc or sign:
        offset = timedelta(hours=int(off_hours or 0), minutes=int(off_minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
    return datetime(
        int(year),
        int(month),
        int(day),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        tzinfo=zone,
    )


def _on_the_calendar(seconds: float) -> float | None:
    return seconds if _EARLIEST <= seconds <= _LATEST else None


_ELSEWHERE = timezone(timedelta(hours=1))


def same_instant(one: str, other: str) -> bool:
    """Whether two texts are one instant in two notations. Both or neither must name a zone; a date
    is no instant.
    """
    if not (_may_be_instant(one) and _may_be_instant(other)):
        return False
    first, second = instant(one), instant(other)
    if first is None or first != second:
        return False
    return (instant(one, _ELSEWHERE) == first) is (instant(other, _ELSEWHERE) == second)


def _may_be_instant(text: str) -> bool:
    match = _ISO.fullmatch(text.strip())
    return bool(_RFC_1123.match(text)) if match is None else match[4] is not None
