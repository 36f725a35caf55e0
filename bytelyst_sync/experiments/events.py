"""The records that experiments queue: exposures, conversions, and reports of devices.

All are creates of one entity, ``experiment_events``. An id is calculated from what the record is
about, so a second record of the same thing has the same id, whichever process, device or
installation made it.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from hashlib import sha1
from typing import Any

from bytelyst_sync.clock import as_datetime

__all__ = [
    "CONVERSION",
    "EXPOSURE",
    "REPORT",
    "conversion_id",
    "day_after",
    "day_of",
    "exposure_id",
    "is_number",
    "report_id",
    "time_of",
    "time_text",
]

EXPOSURE, CONVERSION, REPORT = "exposure", "conversion", "report"
_LARGEST = 1e100
_DAY_S = 86_400.0
_NAMESPACE = uuid.UUID("5a2e6a3c-6f5e-5d0c-9a55-2f7f0a4b1c10").bytes


def _named(*parts: str) -> str:
    """A UUIDv5 (RFC 9562, section 5.5). ``uuid.uuid5`` takes three times as long."""
    text = "\x1f".join([f"{len(part)}:{part}" for part in parts])
    digits = sha1(_NAMESPACE + text.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def exposure_id(experiment: str, phase: str, unit: str) -> str:
    """The id of the exposure of a unit: one in each phase of an experiment."""
    return _named(EXPOSURE, experiment, phase, unit)


def conversion_id(event: str, event_id: str) -> str:
    """The id of a conversion, calculated from the caller's own id."""
    return _named(CONVERSION, event, event_id)


def report_id(device: str, number: int) -> str:
    """The id of a device's report."""
    return _named(REPORT, device, str(number))


def is_number(value: Any) -> bool:
    """Whether it is a number from -1e100 to 1e100, so that sums of its squares are finite."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and -_LARGEST <= value <= _LARGEST


def time_text(moment: float) -> str:
    """A time as text, as it is sent."""
    return as_datetime(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(text: Any) -> float:
    """The time in such a text, in seconds since the epoch; ``ValueError`` for anything else."""
    moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def day_of(moment: float) -> str:
    """The day in UTC, as ``2026-11-30``."""
    return _day(moment // _DAY_S)


@lru_cache(maxsize=64)
def _day(number: float) -> str:
    return as_datetime(number * _DAY_S).date().isoformat()


def day_after(day: str, days: int) -> str:
    """The day so many days later."""
    return (datetime.fromisoformat(day) + timedelta(days=days)).date().isoformat()
