"""Heartbeats of devices, as a test has them."""

from typing import Any

from bytelyst_sync.clock import Clock, as_datetime
from bytelyst_sync.fleet import device_id_of, device_key
from bytelyst_sync.model import Json
from bytelyst_sync.rules.device_keys import parse_key
from bytelyst_sync.rules.heartbeat import FORMAT, with_signature
from tests.typed import present

MASTER = bytes(range(40))


def heartbeat(
    clock: Clock, name: str, *, age: float = 0.0, key: bytes | None = None, **changes: Any
) -> Json:
    """A heartbeat of the device of this name."""
    device = device_id_of("operator", name)
    record = {
        "id": device, "format": FORMAT, "install": name, "beat": 7,
        "sent_at": as_datetime(clock.wall() - age).isoformat(), "interval": 300.0,
        "package": "1.2.0", "schema_version": 2, "status": "idle", "reason": None, "queued": 3,
        "failed": 0, "conflicts": 0, "oldest": 0, "paused": False, "last_sync": None,
        "commands_done": 0, "commands_refused": 0, **changes,
    }  # fmt: skip
    if key is not None:
        record = with_signature(present(parse_key(device_key(key, device))), record, "id")
    return record


def every_state(clock: Clock, key: bytes | None = None) -> list[Json]:
    """A device in each state that is told without a key, the well one first."""
    return [
        heartbeat(clock, "well", key=key),
        heartbeat(clock, "old", key=key, package="1.1.0"),
        heartbeat(clock, "silent", key=key, age=2000, queued=40),
        heartbeat(
            clock, "stuck", key=key, failed=12, conflicts=2, status="error", reason="blocked"
        ),
        heartbeat(clock, "waits", key=key, oldest=90_000, paused=True),
    ]
