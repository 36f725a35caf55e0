"""The id of a device, and the check of a heartbeat where it is received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bytelyst_sync.agent.rows import device_of
from bytelyst_sync.engine import SyncEngine, core_of
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.rules.device_keys import device_id_of, device_key, parse_key
from bytelyst_sync.rules.heartbeat import is_signed_heartbeat, read_device

__all__ = ["check_heartbeat", "device_id"]


def device_id(engine: SyncEngine) -> str:
    """The id of the device that this engine's store is. It stays as long as the store."""
    core = core_of(engine)
    core.check_open()
    return device_of(core.running().state, engine.config.account or "")[0]


def check_heartbeat(
    record: Mapping[str, Any],
    *,
    principal: str | None = None,
    master: bytes | None = None,
    previous: Mapping[str, Any] | None = None,
    id_field: str = "id",
) -> None:
    """Raises ``InvalidDataError`` for a heartbeat that its sender may not send.

    A server calls it before it stores a heartbeat. ``principal``: the name that the request was
    authenticated as, which is the ``account`` of the device's engine; the device id must be derived
    from it. ``master``: the heartbeat must be signed with the device's key. ``previous``: the
    heartbeat that is stored now; an older one than that is a replay.
    """
    device = read_device(record, id_field)
    if device is None:
        raise InvalidDataError("the record is no heartbeat", path="$.format")
    install = record.get("install")
    if principal is not None and (
        not isinstance(install, str) or device_id_of(principal, install) != device.id
    ):
        raise InvalidDataError(
            f"the device {device.id} is not one of {principal!r}", path=f"$.{id_field}"
        )
    if master is not None:
        key = parse_key(device_key(master, device.id))
        if key is None or not is_signed_heartbeat(key, record, id_field):
            raise InvalidDataError(
                f"the heartbeat of {device.id} was not signed with its key", path="$.signature"
            )
    before = None if previous is None else read_device(previous, id_field)
    if before is not None and before.id == device.id and device.beat <= before.beat:
        raise InvalidDataError(
            f"the heartbeat {device.beat} of {device.id} is not newer than {before.beat}, which is"
            " stored",
            path="$.beat",
        )
