"""The devices of a fleet by their heartbeats, the worst first."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from bytelyst_sync.agent.rows import HEARTBEAT, known_device, read_value
from bytelyst_sync.clock import as_datetime
from bytelyst_sync.config.entity import Entity
from bytelyst_sync.dashboard.components.parts import Badge, Column, Table, Tone
from bytelyst_sync.dashboard.components.text import count_of, moment, value
from bytelyst_sync.dashboard.http import Response
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.fleet.reports import heartbeat_entities, read_devices
from bytelyst_sync.rules.device_keys import DEVICE_ID
from bytelyst_sync.rules.heartbeat import STATES, Device, DeviceState, states_of, worst_first
from bytelyst_sync.storage.base import Reader

__all__ = ["TONES", "Fleet", "explanation", "read_fleets", "show"]

_PAGE = 100
TONES: Mapping[DeviceState, Tone] = {
    "forged": "bad",
    "stuck": "bad",
    "silent": "warn",
    "outdated": "info",
    "well": "good",
}
_MEANING: Mapping[DeviceState, str] = {
    "forged": "not signed with the device's key",
    "stuck": "failed changes, conflicts, or changes that wait for an hour",
    "silent": "no report for three of its intervals",
    "outdated": "an older version than another device has",
    "well": "nothing to do",
}
_COLUMNS = (
    Column("Device"),
    Column("State"),
    Column("Why"),
    Column("Last report"),
    Column("Waiting", number=True, wide=True),
    Column("Failed", number=True),
    Column("Conflicts", number=True, wide=True),
    Column("Version", wide=True),
)


class Fleet(NamedTuple):
    """The devices that report to an entity, the worst first."""

    entity: str
    devices: list[tuple[Device, DeviceState]]
    unreadable: int
    """How many records of the entity are no heartbeats."""

    def counts(self) -> Counter[DeviceState]:
        """How many devices are in each state."""
        return Counter(state for _, state in self.devices)


def read_fleets(context: Context) -> list[Fleet]:
    """The fleets whose heartbeats are in this store."""
    site, source = context.site, context.source
    now = source.core.clock.wall()

    def read(tx: Reader) -> list[Fleet]:
        found = heartbeat_entities(tx, source.entities.values())
        return [_fleet(tx, each, site.fleet_master, now) for each in found]

    return source.read(read)


def _fleet(tx: Reader, entity: Entity, master: bytes | None, now: float) -> Fleet:
    devices, unreadable = read_devices(tx, entity, master)
    return Fleet(entity.name, worst_first(states_of(devices, now)), unreadable)


def show(context: Context) -> Response:
    """Each device with its state; a state can be chosen."""
    query = context.query
    chosen = query.get("state") if query.get("state") in STATES else ""
    start = query.number("after") or 0
    fleets = read_fleets(context)
    found = [
        (fleet, device, state)
        for fleet in fleets
        for device, state in fleet.devices
        if chosen in ("", state)
    ]
    page = found[start : start + _PAGE]
    counts: Counter[DeviceState] = sum((fleet.counts() for fleet in fleets), Counter())
    return context.page(
        "fleet.html",
        "Fleet",
        live=True,
        fleets=[fleet.entity for fleet in fleets],
        unreadable=sum(fleet.unreadable for fleet in fleets),
        verified=context.site.fleet_master is not None,
        tiles=[(state, counts[state], TONES[state], _MEANING[state]) for state in STATES
               if state != "forged" or counts[state]],
        chosen=chosen,
        states=[(each, f"{each} ({counts[each]:,})") for each in STATES],
        table=Table("Devices", _COLUMNS, [_row(context, *each) for each in page], row_heading=0),
        shown=len(page),
        number=len(found),
        next_url=context.request.here(after=start + _PAGE) if start + _PAGE < len(found) else None,
        first_url=context.request.here("after") if start else None,
        own=_own_device(context),
    )  # fmt: skip


def _row(
    context: Context, fleet: Fleet, device: Device, state: DeviceState
) -> tuple[str, list[object]]:
    name = hashlib.sha256(f"{fleet.entity}/{device.id}".encode()).hexdigest()[:16]
    return f"device-{name}", [
        Markup('<span class="bs-device">{}</span>').format(_link(context, device)),
        Badge(state, TONES[state]),
        Markup('<span class="bs-why">{}</span>').format(value(explanation(device, state))),
        moment(as_datetime(device.sent_at)),
        f"{device.queued:,}",
        f"{device.failed:,}",
        f"{device.conflicts:,}",
        value(f"{device.package}, data {device.schema_version}"),
    ]


def _link(context: Context, device: Device) -> Markup:
    """The id of the device, with a link to its page if it can have one."""
    shown = value(device.id, code=True)
    if re.fullmatch(DEVICE_ID, device.id) is None:
        return shown
    url = context.request.url(f"fleet/{device.id}")
    return Markup('<a href="{}">{}</a>').format(url, shown)


def explanation(device: Device, state: DeviceState) -> str:
    """What is wrong, in words."""
    if state == "forged":
        return "the signature is not the device's"
    parts = []
    if device.failed:
        parts.append(f"{count_of(device.failed, 'change')} failed")
    if device.conflicts:
        parts.append(f"{device.conflicts:,} in conflict")
    if device.reason is not None:
        parts.append(device.reason)
    elif device.status == "error":
        parts.append("the status is error")
    if state == "stuck" and device.oldest_s >= 3600:
        parts.append(f"the oldest change waits for {_duration(device.oldest_s)}")
    if state == "silent":
        parts.append(f"reports every {_duration(device.interval)}")
    if state == "outdated":
        parts.append("another device has a newer version")
    if device.paused:
        parts.append("paused")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    """About how long that is."""
    for length, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * length or (unit == "hour" and seconds >= length):
            return count_of(int(seconds // length), unit)
    return count_of(max(1, int(seconds)), "second")


def _own_device(context: Context) -> dict[str, Any] | None:
    """This store as a device, if it reports."""
    config = context.source.settings.config
    if config.heartbeat is None:
        return None
    device, row = context.source.read(
        lambda tx: (known_device(tx, config.account or ""), read_value(tx, HEARTBEAT))
    )
    sent = row.get("sent")
    return {
        "id": device,
        "entity": config.heartbeat,
        "sent": None if sent is None else as_datetime(sent),
        "waits": "record" in row,
    }
