"""The pages of a fleet and of workers."""

import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from bytelyst_sync import EntityConfig, RemoteCommands, create_sync_engine
from bytelyst_sync.dashboard import ops_app
from bytelyst_sync.dashboard.app import build_app
from bytelyst_sync.dashboard.source import Source
from bytelyst_sync.fleet import device_id, device_id_of, device_key
from bytelyst_sync.model import Json
from bytelyst_sync.rules.heartbeat import FORMAT
from bytelyst_sync.testing import ManualClock, SyncServer
from tests.dashboard.client import OPERATOR, Client
from tests.dashboard.conftest import Stage
from tests.dashboard.heartbeats import MASTER, heartbeat
from tests.typed import Eventually


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def watch(server: SyncServer, clock: ManualClock) -> Iterator[type[Any]]:
    """An engine that pulls heartbeats, its pages, and a way to have devices report."""
    made = []

    class Watch:
        def __init__(self, **options: Any) -> None:
            self.engine = create_sync_engine(
                base_url=server.url,
                entities={"orders": "/orders", "fleet": "/fleet"},
                storage=":memory:",
                auto_flush=False,
                probe=None,
                clock=clock,
            )
            made.append(self.engine)
            app = ops_app(self.engine, authorize=lambda environ: OPERATOR, **options)
            self.client = Client(app)

        def report(self, *records: Json) -> None:
            for record in records:
                server.put("fleet", record)
            self.engine.pull()

        def states(self, path: str = "/fleet") -> list[str]:
            """The states in the rows, from top to bottom."""
            table = self.client.get(path).text.partition("<tbody>")[2]
            return re.findall(r'bs-badge bs-\w+">(\w+)</span>', table)

    yield Watch
    for engine in made:
        engine.close()


def test_a_store_without_heartbeats_says_so(watch: type[Any]) -> None:
    page = watch().client.get("/fleet")
    assert page.status == 200
    assert "No heartbeats here" in page.words
    assert "Devices report with heartbeat=…" in page.words


def test_the_worst_come_first(watch: type[Any], clock: ManualClock) -> None:
    it = watch()
    it.report(
        heartbeat(clock, "well"),
        heartbeat(clock, "old", package="1.1.0"),
        heartbeat(clock, "silent", age=2000),
        heartbeat(clock, "one", failed=1),
        heartbeat(clock, "many", failed=12, conflicts=2, status="error", reason="blocked"),
    )
    assert it.states() == ["stuck", "stuck", "silent", "outdated", "well"]
    words = it.client.get("/fleet").words
    assert "Signatures are not checked" in words
    assert "12 changes failed, 2 in conflict, blocked" in words
    assert "reports every 5 minutes" in words
    assert "another device has a newer version" in words
    assert words.index(device_id_of("operator", "many")) < words.index(
        device_id_of("operator", "one")
    )
    assert "2 stuck" in words
    assert "1 silent" in words
    assert "1 outdated" in words


@pytest.mark.parametrize("state", ["stuck", "silent", "outdated", "well", "forged"])
def test_a_state_can_be_chosen(state: str, watch: type[Any], clock: ManualClock) -> None:
    it = watch(fleet_master=MASTER)
    it.report(
        heartbeat(clock, "well", key=MASTER),
        heartbeat(clock, "old", package="1.1.0", key=MASTER),
        heartbeat(clock, "silent", age=2000, key=MASTER),
        heartbeat(clock, "one", failed=1, key=MASTER),
        heartbeat(clock, "forged"),
    )
    assert it.states(f"/fleet?state={state}") == [state]


def test_nobody_is_in_that_state(watch: type[Any], clock: ManualClock) -> None:
    it = watch()
    it.report(heartbeat(clock, "well"))
    assert "No device is in this state" in it.client.get("/fleet?state=stuck").words
    assert it.states("/fleet?state=nonsense") == ["well"]


def test_a_forged_heartbeat_is_shown_as_forged(watch: type[Any], clock: ManualClock) -> None:
    it = watch(fleet_master=MASTER)
    good = heartbeat(clock, "good", key=MASTER)
    it.report(
        good,
        heartbeat(clock, "unsigned"),
        heartbeat(clock, "of another fleet", key=b"x" * 32),
        {**heartbeat(clock, "altered", key=MASTER, failed=3), "failed": 0},
        {**good, "id": device_id_of("operator", "copied")},
        {**good, "id": "no device id"},
    )
    assert it.states() == ["forged"] * 5 + ["well"]
    assert "the signature is not the device's" in it.client.get("/fleet").words


def test_a_device_falls_silent_while_nothing_else_changes(
    watch: type[Any], clock: ManualClock
) -> None:
    it = watch()
    it.report(heartbeat(clock, "well"))
    page = it.client.get("/fleet")
    assert it.client.get("/fleet", if_none_match=page.headers["etag"]).status == 304
    clock.advance(901)
    later = it.client.get("/fleet", if_none_match=page.headers["etag"])
    assert later.status == 200
    assert it.states() == ["silent"]


def test_many_devices_have_pages(watch: type[Any], clock: ManualClock) -> None:
    it = watch()
    it.report(*[heartbeat(clock, f"d{n}", failed=n) for n in range(150)])
    first = it.client.get("/fleet")
    assert "100 of 150 devices shown" in first.words
    assert len(it.states("/fleet?after=100")) == 50
    assert "149 changes failed" in first.words
    assert "50 of 150 devices shown" in it.client.get("/fleet?after=100").words


def test_what_is_no_heartbeat_is_counted(watch: type[Any], clock: ManualClock) -> None:
    it = watch()
    it.report(heartbeat(clock, "well"), {"id": "0"}, {"id": "1", "format": FORMAT})
    assert "2 records of fleet are no heartbeat that can be read" in it.client.get("/fleet").words


def test_hostile_heartbeats_do_nothing(watch: type[Any], clock: ManualClock) -> None:
    it = watch()
    text = "<script>alert(1)</script>"
    texts = dict.fromkeys(("package", "status", "reason", "install", "last_sync"), text)
    hostile = {**heartbeat(clock, "x"), **texts, "id": text, "failed": text, "oldest": text}
    it.report(hostile, heartbeat(clock, "well"))
    page = it.client.get("/fleet")
    assert page.status == 200
    assert "<script>alert" not in page.text
    assert it.client.get("/metrics").status == 200


def test_a_device_shows_itself(
    server: SyncServer, clock: ManualClock, eventually: Eventually
) -> None:
    engine = create_sync_engine(
        base_url=server.url,
        entities={"fleet": EntityConfig("/fleet", replica=False), "commands": "/commands"},
        storage=":memory:",
        heartbeat="fleet",
        remote_commands=RemoteCommands("commands", lambda each: device_key(MASTER, each)),
        clock=clock,
        probe=None,
    )
    client = Client(ops_app(engine, authorize=lambda environ: OPERATOR))
    try:
        assert "Last report none yet" in client.get("/fleet").words
        engine.start()
        eventually(lambda: server.records("fleet"))
        eventually(lambda: "2030-01-01 00:00:00 UTC" in client.get("/fleet").words)
        assert f"Device {device_id(engine)}" in client.get("/fleet").words
    finally:
        engine.close()


def test_the_command_shows_the_device_of_the_program(
    server: SyncServer, clock: ManualClock
) -> None:
    """It does not report in the program's place, so its own engine has no such setting."""
    engine = create_sync_engine(base_url=server.url, entities={"fleet": "/fleet"},
                                storage=":memory:", clock=clock)  # fmt: skip
    config = attrs.evolve(engine.config, heartbeat="fleet")
    settings = attrs.evolve(Source(engine).settings, config=config)
    app = build_app(Source(engine, beside=True, settings=settings), lambda _: OPERATOR)
    try:
        assert "Device none yet" in Client(app).get("/fleet").words
        name = device_id(engine)
        assert f"Device {name} Reports to fleet" in Client(app).get("/fleet").words
    finally:
        engine.close()


def test_what_a_device_reports_is_what_the_operator_sees(
    server: SyncServer, watch: type[Any], clock: ManualClock, eventually: Eventually
) -> None:
    """From a device to the page, signed."""
    engine = create_sync_engine(
        base_url=server.url,
        entities={"fleet": EntityConfig("/fleet", replica=False), "commands": "/commands"},
        storage=":memory:",
        heartbeat="fleet",
        remote_commands=RemoteCommands("commands", lambda each: device_key(MASTER, each)),
        clock=clock,
        probe=None,
    )
    with engine:
        eventually(lambda: server.records("fleet"))
        name = device_id(engine)
    it = watch(fleet_master=MASTER)
    it.engine.pull()
    assert it.states() == ["well"]
    assert name in it.client.get("/fleet").words


def test_numbers_of_the_fleet_for_prometheus(watch: type[Any], clock: ManualClock) -> None:
    it = watch()
    assert "fleet_devices" not in it.client.get("/metrics").text
    it.report(
        heartbeat(clock, "well"),
        heartbeat(clock, "one", failed=1, queued=10),
        heartbeat(clock, "two", failed=2, conflicts=4),
    )
    lines = it.client.get("/metrics").text.splitlines()
    assert 'bytelyst_sync_fleet_devices{entity="fleet",state="stuck"} 2' in lines
    assert 'bytelyst_sync_fleet_devices{entity="fleet",state="well"} 1' in lines
    assert 'bytelyst_sync_fleet_devices{entity="fleet",state="silent"} 0' in lines
    assert 'bytelyst_sync_fleet_queued{entity="fleet"} 16' in lines
    assert 'bytelyst_sync_fleet_failed{entity="fleet"} 3' in lines
    assert 'bytelyst_sync_fleet_conflicts{entity="fleet"} 4' in lines
    assert "bytelyst_sync_lag_seconds 0.000" in lines
    assert not [each for each in lines if each.startswith("bytelyst_sync_workers")]


# --- the workers of a store that one machine uses


def test_a_local_store_has_one_deliverer(stage: Stage, client: Client) -> None:
    page = client.get("/workers")
    assert "This store is used on one machine" in page.words
    assert "Delivered by this process" in page.words
    stage.engine.push("orders", {"id": "1"})
    assert "Waiting 1" in client.get("/workers").words


def test_the_lag_is_the_age_of_what_may_be_sent(watch: type[Any], clock: ManualClock) -> None:
    it = watch()
    it.engine.push("orders", {"id": "1"})
    clock.advance(90)
    assert "Lag 90 s" in it.client.get("/workers").words
    assert "bytelyst_sync_lag_seconds 90.000" in it.client.get("/metrics").text
