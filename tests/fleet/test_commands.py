"""Commands that an operator's engine issues, and what it says became of each."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

import pytest

from bytelyst_sync import (
    ConfigError,
    EntityConfig,
    InvalidDataError,
    RemoteCommands,
    SyncEngine,
    create_sync_engine,
)
from bytelyst_sync.config.remote_commands import CommandName
from bytelyst_sync.fleet import (
    FleetCommands,
    device_id,
    device_id_of,
    device_key,
    sign_command,
)
from bytelyst_sync.model import Json
from bytelyst_sync.testing import ManualClock, Reply, SyncServer
from tests.fleet.office import open_office
from tests.typed import Eventually, present

MASTER = b"the master key that stays at the server"
DEVICE = device_id_of("eve", "a laptop")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock) -> Iterator[SyncServer]:
    with SyncServer(clock=clock.wall) as running:
        yield running


@pytest.fixture
def office(server: SyncServer, clock: ManualClock) -> Iterator[SyncEngine]:
    """The engine of an operator."""
    with open_office(server, clock) as engine:
        yield engine


@pytest.fixture
def commands() -> FleetCommands:
    return FleetCommands("commands", MASTER)


def states(commands: FleetCommands, office: SyncEngine, device: str = DEVICE) -> list[str]:
    return [each.state for each in commands.issued(office, device)]


def test_a_command_is_a_signed_record_that_the_queue_delivers(
    server: SyncServer, office: SyncEngine, commands: FleetCommands
) -> None:
    made = commands.issue(office, DEVICE, "retry", {"ids": ["i1"]}, valid_for=timedelta(hours=2))
    assert office.queue_length == 1
    assert server.records("commands") == {}
    assert states(commands, office) == ["queued"]
    assert office.flush(20).pushed == 1
    stored = server.records("commands")[made]
    assert (
        stored.items() >= {"device": DEVICE, "name": "retry", "arguments": {"ids": ["i1"]}}.items()
    )
    assert stored["expires"] - stored["issued"] == 7200
    assert states(commands, office) == ["sent"]


def test_the_newest_comes_first_and_each_device_has_its_own(
    office: SyncEngine, commands: FleetCommands, clock: ManualClock
) -> None:
    other = device_id_of("bob", "a till")
    wanted: list[tuple[CommandName, str]] = [
        ("flush", DEVICE),
        ("retry", other),
        ("retry", DEVICE),
    ]
    for name, device in wanted:
        commands.issue(office, device, name)
        clock.advance(1)
    assert [each.name for each in commands.issued(office, DEVICE)] == ["retry", "flush"]
    assert [each.name for each in commands.issued(office, other)] == ["retry"]
    assert commands.issued(office, "no device") == []


def test_no_more_than_the_latest_are_shown(office: SyncEngine, commands: FleetCommands) -> None:
    for _ in range(25):
        commands.issue(office, DEVICE, "flush")
    assert len(commands.issued(office, DEVICE)) == 20


def test_an_id_is_issued_once(
    server: SyncServer, office: SyncEngine, commands: FleetCommands
) -> None:
    for _ in range(2):
        assert commands.issue(office, DEVICE, "flush", command_id="c1") == "c1"
    assert office.queue_length == 1
    office.flush(20)
    before = server.records("commands")["c1"]
    commands.issue(office, DEVICE, "flush", command_id="c1")
    with pytest.raises(InvalidDataError, match="the id of another record of 'commands'"):
        commands.issue(office, DEVICE, "retry", command_id="c1")
    assert office.queue_length == 0
    assert server.records("commands")["c1"] == before


@pytest.mark.parametrize("other", ["flush", "retry"])
def test_an_id_that_is_issued_by_another_thread_meanwhile_is_issued_once(
    other: Literal["flush", "retry"],
    office: SyncEngine,
    commands: FleetCommands,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get(entity: str, record: str) -> None:
        monkeypatch.undo()
        clock.advance(1)
        commands.issue(office, DEVICE, "flush", command_id=record)

    monkeypatch.setattr(office, "get", get)
    if other == "flush":
        assert commands.issue(office, DEVICE, "flush", command_id="c1") == "c1"
    else:
        with pytest.raises(InvalidDataError, match="the id of another record of 'commands'"):
            commands.issue(office, DEVICE, other, command_id="c1")
    assert [each.record_id for each in office.queue()] == ["c1"]
    assert states(commands, office) == ["queued"]


def test_a_command_is_carried_out_and_its_answer_is_shown(
    server: SyncServer,
    clock: ManualClock,
    office: SyncEngine,
    commands: FleetCommands,
    eventually: Eventually,
) -> None:
    """From the office through the server to a device and back; another device does nothing."""
    keys = lambda each: device_key(MASTER, each)  # noqa: E731 - one setting of two devices
    devices = [
        create_sync_engine(
            base_url=server.url,
            entities={"notes": "/notes", "commands": "/commands"},
            storage=":memory:",
            account=name,
            remote_commands=RemoteCommands("commands", keys),
            clock=clock,
            probe=None,
        )
        for name in ("eve", "bob")
    ]
    try:
        for engine in devices:
            server.script(Reply(422, {"error": "no"}), match="POST /notes")
            engine.push("notes", {"id": engine.config.account})
            assert engine.flush(20).failed == 1
        eve = device_id(devices[0])
        commands.issue(office, eve, "retry")
        office.flush(20)
        devices[0].pull()
        devices[1].pull()
        eventually(lambda: "eve" in server.records("notes"))

        def answered() -> bool:
            office.pull()
            return states(commands, office, eve) == ["done"]

        eventually(answered)
        assert commands.issued(office, eve)[0].changes == 1
        assert "bob" not in server.records("notes")
    finally:
        for engine in devices:
            engine.close()


def test_what_the_server_does_not_take_is_said(
    server: SyncServer, office: SyncEngine, commands: FleetCommands
) -> None:
    server.script(Reply(403, {"error": "no"}), match="POST /commands")
    commands.issue(office, DEVICE, "flush")
    office.flush(20)
    assert states(commands, office) == ["failed"]


def test_a_command_without_an_answer_expires(
    office: SyncEngine, commands: FleetCommands, clock: ManualClock
) -> None:
    commands.issue(office, DEVICE, "flush", valid_for=timedelta(minutes=1))
    office.flush(20)
    clock.advance(59)
    assert states(commands, office) == ["sent"]
    clock.advance(2)
    assert states(commands, office) == ["expired"]


@pytest.mark.parametrize(
    "altered",
    [
        {"name": "flush"},
        {"signature": "0" * 64},
        {"acknowledged": {"outcome": "done", "count": 3, "signature": "0" * 64}},
        {"acknowledged": "done"},
    ],
)
def test_what_is_not_signed_is_called_forged(
    altered: Json,
    server: SyncServer,
    office: SyncEngine,
    commands: FleetCommands,
    clock: ManualClock,
) -> None:
    record = sign_command(MASTER, DEVICE, "retry", now=clock.now)
    server.put("commands", {**record, **altered})
    office.pull()
    (found,) = commands.issued(office, DEVICE)
    assert (found.state, found.changes, found.reason) == ("forged", None, None)


def test_records_that_are_no_commands_are_passed_over(
    server: SyncServer, office: SyncEngine, commands: FleetCommands
) -> None:
    for number, record in enumerate(({}, {"device": DEVICE}, {"device": DEVICE, "issued": "x"})):
        server.put("commands", {"id": f"c{number}", **record})
    office.pull()
    assert commands.issued(office, DEVICE) == []


def test_the_api_may_want_more_fields(server: SyncServer, office: SyncEngine) -> None:
    commands = FleetCommands("commands", MASTER, lambda device: {"owner": f"owner of {device}"})
    made = commands.issue(office, DEVICE, "flush")
    office.flush(20)
    assert server.records("commands")[made]["owner"] == f"owner of {DEVICE}"
    assert states(commands, office) == ["sent"]
    clash = FleetCommands("commands", MASTER, lambda _: {"id": "x", "expires": 0})
    with pytest.raises(InvalidDataError, match="gives expires, id, which the command has itself"):
        clash.issue(office, DEVICE, "flush")
    assert office.queue_length == 0


def test_the_time_is_that_of_the_server(clock: ManualClock) -> None:
    """The operator's clock is a day ahead: a device would take the present for long past."""
    with (
        SyncServer(clock=lambda: clock.wall() - 86_400) as server,
        create_sync_engine(
            base_url=server.url,
            entities={"commands": "/commands"},
            storage=":memory:",
            auto_flush=False,
            probe=None,
            clock=clock,
        ) as engine,
    ):
        engine.pull()
        made = FleetCommands("commands", MASTER).issue(engine, DEVICE, "flush")
        issued = present(engine.get("commands", made))["issued"]
        assert issued == pytest.approx(clock.wall() - 86_400, abs=60)


@pytest.mark.parametrize(
    ("entity", "problem"),
    [
        ("orders", "which is no entity of this engine"),
        ("given", "are given by the server"),
        ("unread", "is not pulled"),
    ],
)
def test_an_entity_that_cannot_hold_commands(entity: str, problem: str, server: SyncServer) -> None:
    entities = {
        "given": EntityConfig("/given", id_source="server"),
        "unread": EntityConfig("/unread", replica=False),
    }
    with create_sync_engine(
        base_url=server.url, entities=entities, storage=":memory:", probe=None
    ) as engine:
        commands = FleetCommands(entity, MASTER)
        for call in (lambda: commands.issue(engine, DEVICE, "flush"),
                     lambda: commands.issued(engine, DEVICE)):  # fmt: skip
            with pytest.raises(ConfigError, match=problem):
                call()
        assert engine.queue_length == 0


@pytest.mark.parametrize("master", [b"short", "text" * 20, None])
def test_a_master_key_is_a_secret_of_32_bytes(master: Any) -> None:
    with pytest.raises(ConfigError, match="no secret of at least 32 bytes"):
        FleetCommands("commands", master)


@pytest.mark.parametrize("entity", ["", None, 3])
def test_the_entity_is_named(entity: Any) -> None:
    with pytest.raises(ConfigError, match="the name of an entity"):
        FleetCommands(entity, MASTER)


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(FleetCommands("commands", b"secret" * 10))


@pytest.mark.parametrize(
    ("device", "name", "arguments"),
    [
        ("no device", "flush", None),
        (DEVICE, "wipe", None),
        (DEVICE, "flush", {"now": True}),
        (DEVICE, "retry", {"ids": []}),
    ],
)
def test_a_wrong_command_is_not_issued(
    device: str,
    name: Literal["flush", "retry"],
    arguments: Json | None,
    office: SyncEngine,
    commands: FleetCommands,
) -> None:
    with pytest.raises(InvalidDataError):
        commands.issue(office, device, name, arguments)
    assert office.queue_length == 0
