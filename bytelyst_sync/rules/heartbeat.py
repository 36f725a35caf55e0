"""Heartbeats: what a device reports of itself, and what the reports of a fleet mean.

A heartbeat holds codes, counts and times only: nothing of any record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple

from bytelyst_sync.rules.device_keys import DeviceKey, is_signed, signature

__all__ = [
    "FORMAT",
    "LATE_INTERVALS",
    "STATES",
    "Device",
    "DeviceState",
    "heartbeat_of",
    "is_heartbeat",
    "is_signed_heartbeat",
    "read_device",
    "states_of",
    "with_signature",
    "worst_first",
]

Json = dict[str, Any]
DeviceState = Literal["forged", "stuck", "silent", "outdated", "well"]

FORMAT = "bytelyst-sync heartbeat 1"
STATES: tuple[DeviceState, ...] = ("forged", "stuck", "silent", "outdated", "well")
"""The worst first."""
LATE_INTERVALS = 3
"""A device that has not reported for this many of its intervals is silent."""
_STUCK_S = 3600.0
"""A change that has waited for so long, and for several intervals, is stuck."""
_PURPOSE = "heartbeat"
_SIGNED = (
    *("id", "format", "install", "beat", "sent_at", "interval", "package", "schema_version"),
    *("status", "reason", "queued", "failed", "conflicts", "oldest", "paused", "last_sync"),
    *("commands_done", "commands_refused"),
)
_CODE = re.compile(r"[A-Za-z0-9._+-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_MOST = 2**53


class Device(NamedTuple):
    """One device as its latest heartbeat says. Times are seconds since the epoch."""

    id: str
    sent_at: float
    interval: float
    beat: int
    package: str
    """The version of the package."""
    schema_version: int
    status: str
    reason: str | None
    queued: int
    failed: int
    conflicts: int
    oldest_s: float
    paused: bool
    commands_done: int
    commands_refused: int
    authentic: bool | None
    """Whether its signature is right; ``None``: not checked."""


def heartbeat_of(id_field: str, device: str, values: Json) -> Json:
    """The record of a heartbeat."""
    record = {id_field: device, "format": FORMAT}
    record.update((name, values[name]) for name in _SIGNED if name in values)
    return record


def _signed_values(record: Mapping[str, Any], id_field: str) -> list[object]:
    return [str(record.get(id_field)), *(record.get(name) for name in _SIGNED[1:])]


def with_signature(key: DeviceKey, record: Json, id_field: str) -> Json:
    """The heartbeat with a signature of its device's key."""
    return {**record, "signature": signature(key, _PURPOSE, _signed_values(record, id_field))}


def is_signed_heartbeat(key: DeviceKey, record: Mapping[str, Any], id_field: str = "id") -> bool:
    """Whether the heartbeat was signed with this key and not altered since."""
    return is_signed(key, _PURPOSE, _signed_values(record, id_field), record.get("signature"))


def is_heartbeat(record: Mapping[str, Any]) -> bool:
    """Whether the record says that it is one."""
    return record.get("format") == FORMAT


def read_device(
    record: Mapping[str, Any], id_field: str, *, authentic: bool | None = None
) -> Device | None:
    """The device of a heartbeat; ``None`` for a record that is none, or is malformed.

    Texts that are no codes are left out: whoever may write the records may write anything.
    """
    sent_at = _time(record.get("sent_at"))
    interval = _number(record.get("interval"))
    if not is_heartbeat(record) or sent_at is None or not interval:
        return None
    return Device(
        id=str(record.get(id_field)),
        sent_at=sent_at,
        interval=interval,
        beat=_count(record.get("beat")),
        package=_code(record.get("package")) or "unknown",
        schema_version=_count(record.get("schema_version")),
        status=_code(record.get("status")) or "unknown",
        reason=_code(record.get("reason")),
        queued=_count(record.get("queued")),
        failed=_count(record.get("failed")),
        conflicts=_count(record.get("conflicts")),
        oldest_s=_number(record.get("oldest")) or 0.0,
        paused=record.get("paused") is True,
        commands_done=_count(record.get("commands_done")),
        commands_refused=_count(record.get("commands_refused")),
        authentic=authentic,
    )


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < _MOST else 0


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and 0 <= value < _MOST else None


def _code(value: object) -> str | None:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else None


def _time(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return at.replace(tzinfo=at.tzinfo or timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return None


def _version_key(version: str) -> tuple[int, ...]:
    """Numbers of a version by which newer ones are larger: ``0.10.1`` is newer than ``0.9``."""
    return tuple(int(part) for part in _NUMBER.findall(version)[:4])


def states_of(devices: Iterable[Device], now: float) -> list[tuple[Device, DeviceState]]:
    """What each device's heartbeat means. A device is outdated if another one, whose heartbeat is
    not forged, runs a newer version of the package or of the program's data.
    """
    known = list(devices)
    trusted = [each for each in known if each.authentic is not False]
    newest = max((_version_key(each.package) for each in trusted), default=())
    schema = max((each.schema_version for each in trusted), default=0)

    def state(each: Device) -> DeviceState:
        waits_s = max(_STUCK_S, LATE_INTERVALS * each.interval)
        if each.authentic is False:
            return "forged"
        if each.failed or each.conflicts or each.status == "error" or each.oldest_s > waits_s:
            return "stuck"
        if now - each.sent_at > LATE_INTERVALS * each.interval:
            return "silent"
        old = _version_key(each.package) < newest or each.schema_version < schema
        return "outdated" if old else "well"

    return [(each, state(each)) for each in known]


def worst_first(found: Iterable[tuple[Device, DeviceState]]) -> list[tuple[Device, DeviceState]]:
    """The devices by their state, and within a state by how much waits for a decision, how long the
    oldest change waits, and how long ago the device reported.
    """

    def order(pair: tuple[Device, DeviceState]) -> tuple[object, ...]:
        device, state = pair
        decisions = device.failed + device.conflicts
        return STATES.index(state), -decisions, -device.oldest_s, device.sent_at, device.id

    return sorted(found, key=order)
