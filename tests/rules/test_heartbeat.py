"""What the heartbeats of a fleet mean."""

from typing import Any

import pytest

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.model import Json
from bytelyst_sync.rules.device_keys import device_id_of, device_key, parse_key
from bytelyst_sync.rules.heartbeat import (
    FORMAT,
    STATES,
    Device,
    is_signed_heartbeat,
    read_device,
    states_of,
    with_signature,
    worst_first,
)
from tests.typed import present

NOW = 1_900_000_000.0
INTERVAL_S = 300.0


def heartbeat(name: str = "d", *, age: float = 0.0, **changes: Any) -> Json:
    return {
        "id": name, "format": FORMAT, "install": "ab", "beat": 7,
        "sent_at": as_datetime(NOW - age).isoformat(), "interval": INTERVAL_S,
        "package": "1.2.0", "schema_version": 2, "status": "idle", "reason": None, "queued": 0,
        "failed": 0, "conflicts": 0, "oldest": 0, "paused": False, "last_sync": None,
        "commands_done": 0, "commands_refused": 0, **changes,
    }  # fmt: skip


def read(record: Json, *, authentic: bool | None = None) -> Device:
    return present(read_device(record, "id", authentic=authentic))


def state(record: Json, authentic: bool | None = None) -> str:
    newest = read(heartbeat("newest"))
    device = read(record, authentic=authentic)
    return states_of([newest, device], NOW)[1][1]


TABLE = {
    "well": (heartbeat(), "well"),
    "queued is not stuck": (heartbeat(queued=10_000, oldest=3600), "well"),
    "offline is not stuck": (heartbeat(status="offline"), "well"),
    "failed": (heartbeat(failed=1), "stuck"),
    "conflict": (heartbeat(conflicts=1), "stuck"),
    "error": (heartbeat(status="error", reason="blocked"), "stuck"),
    "old change": (heartbeat(oldest=3601), "stuck"),
    "old change of a slow reporter": (heartbeat(oldest=3601, interval=3600), "well"),
    "just not silent": (heartbeat(age=900), "well"),
    "silent": (heartbeat(age=901), "silent"),
    "stuck and silent": (heartbeat(age=901, failed=1), "stuck"),
    "silent slow reporter": (heartbeat(age=10_801, interval=3600), "silent"),
    "older package": (heartbeat(package="1.1.9"), "outdated"),
    "not older by text": (heartbeat(package="1.10.0"), "well"),
    "older data": (heartbeat(schema_version=1), "outdated"),
    "silent and outdated": (heartbeat(age=901, package="1.0"), "silent"),
    "clock ahead": (heartbeat(age=-5000), "well"),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_state_of_a_device(case: str) -> None:
    record, expected = TABLE[case]
    assert state(record) == expected


def test_a_forged_heartbeat_is_worst_and_makes_nobody_outdated() -> None:
    forged = read(heartbeat("f", package="99.0", schema_version=9), authentic=False)
    honest = read(heartbeat("h"), authentic=True)
    assert [found for _, found in states_of([forged, honest], NOW)] == ["forged", "well"]


def test_the_worst_come_first() -> None:
    records = [
        heartbeat("well"), heartbeat("old", package="1.0"), heartbeat("silent", age=2000),
        heartbeat("longer", age=3000), heartbeat("one", failed=1), heartbeat("two", conflicts=2),
        heartbeat("waits", oldest=9000), heartbeat("waits more", oldest=9001),
    ]  # fmt: skip
    devices = [read(each) for each in records]
    devices.append(read(heartbeat("fake"), authentic=False))
    order = [device.id for device, _ in worst_first(states_of(devices, NOW))]
    assert order == [
        "fake", "two", "one", "waits more", "waits", "longer", "silent", "old", "well",
    ]  # fmt: skip
    assert set(STATES) == {"forged", "stuck", "silent", "outdated", "well"}


HOSTILE = [
    {"format": "x"}, {"sent_at": None}, {"sent_at": "yesterday"}, {"sent_at": 5}, {"interval": 0},
    {"interval": "5"}, {"interval": float("nan")}, {"interval": True}, {"interval": -1},
]  # fmt: skip


@pytest.mark.parametrize("changes", HOSTILE, ids=str)
def test_what_is_no_heartbeat(changes: Json) -> None:
    assert read_device(heartbeat(**changes), "id") is None


def test_texts_that_are_no_codes_are_not_taken() -> None:
    device = read(
        heartbeat(package="<b>", status="x" * 65, reason="a b", failed=-1, queued="7", oldest="x")
    )
    assert (device.package, device.status, device.reason) == ("unknown", "unknown", None)
    assert (device.failed, device.queued, device.oldest_s) == (0, 0, 0.0)


def test_a_signature_covers_every_field() -> None:
    name = device_id_of("sam", "ab")
    key = present(parse_key(device_key(bytes(32), name)))
    signed = with_signature(key, heartbeat(name), "id")
    assert is_signed_heartbeat(key, {**signed, "updatedAt": "of the server"})
    for field in heartbeat():
        assert not is_signed_heartbeat(key, {**signed, field: "other"}), field
    assert not is_signed_heartbeat(key, heartbeat(name))
