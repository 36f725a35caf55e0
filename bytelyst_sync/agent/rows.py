"""The rows of a store that describe this device: named values, kept as JSON in ``meta``.

They are not items of the queue: they are not counted, not flushed, and not part of a strict order.
Each name is one row, however often it changes; each remote command has a row of its own.
"""

from __future__ import annotations

import json
import os
from typing import Any

from bytelyst_sync.rules.device_keys import device_id_of
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import META, Meta

__all__ = ["HEARTBEAT", "device_of", "known_device", "read_value", "write_value"]

Json = dict[str, Any]
HEARTBEAT = "device/heartbeat"
"""The heartbeat that is to be sent, and what is known of the last one."""
_INSTALL = "device/install"


def read_value(tx: Reader, name: str) -> Json:
    """The value of this name; empty if there is none."""
    row = tx.get(META, name)
    found: Json = {} if row is None else json.loads(row.value)
    return found


def write_value(work: UnitOfWork, name: str, value: Json) -> None:
    """Sets the value of this name."""
    old, new = work.tx.get(META, name), Meta(name, json.dumps(value))
    if old is None:
        work.tx.insert(META, new)
    else:
        work.tx.replace(META, old, new)


def known_device(tx: Reader, principal: str) -> str | None:
    """The id of the device that this store is; ``None`` if it has none yet."""
    install = read_value(tx, _INSTALL).get("install")
    return None if install is None else device_id_of(principal, str(install))


def device_of(state: StateStore, principal: str) -> tuple[str, str]:
    """The id of the device that this store is, and its random part, made at the first call."""

    def install(work: UnitOfWork) -> str:
        known = read_value(work.tx, _INSTALL)
        if not known:
            known = {"install": os.urandom(16).hex()}
            write_value(work, _INSTALL, known)
        return str(known["install"])

    found = state.read(lambda tx: read_value(tx, _INSTALL)).get("install")
    made = str(found) if found else state.write(install)
    return device_id_of(principal, made), made
