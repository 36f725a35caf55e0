"""Reads the heartbeats of a fleet from wherever a store holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.rules.device_keys import device_key, parse_key
from bytelyst_sync.rules.heartbeat import (
    Device,
    is_heartbeat,
    is_signed_heartbeat,
    read_device,
)
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["MOST_DEVICES", "heartbeat_entities", "read_devices"]

MOST_DEVICES = 20_000
"""How many heartbeats are looked at."""
_LOOKED_AT = 3
"""How many records of an entity show whether it is one of heartbeats."""


def heartbeat_entities(tx: Reader, entities: Iterable[Entity]) -> list[Entity]:
    """The entities whose records are heartbeats."""
    return [each for each in entities if _holds_heartbeats(tx, each)]


def _holds_heartbeats(tx: Reader, entity: Entity) -> bool:
    rows = tx.scan(RECORDS, None, (entity.name,), limit=_LOOKED_AT)
    states = [loads(row.state) for row in rows if row.state is not None]
    return any(isinstance(state, Mapping) and is_heartbeat(state) for state in states)


def read_devices(tx: Reader, entity: Entity, master: bytes | None) -> tuple[list[Device], int]:
    """The devices that reported, and how many records are no heartbeats.

    With the fleet's ``master`` key each signature is checked.
    """
    devices, others, id_field = [], 0, entity.config.id_field
    for row in tx.scan(RECORDS, None, (entity.name,), limit=MOST_DEVICES):
        state = None if row.state is None else loads(row.state)
        if state is None:
            continue
        device = _device(state, id_field, master)
        if device is None:
            others += 1
        else:
            devices.append(device)
    return devices, others


def _device(state: Mapping[str, Any], id_field: str, master: bytes | None) -> Device | None:
    device = read_device(state, id_field)
    if device is None or master is None:
        return device
    key = parse_key(device_key(master, device.id))
    authentic = key is not None and is_signed_heartbeat(key, state, id_field)
    return device._replace(authentic=authentic)
