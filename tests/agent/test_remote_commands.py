"""A device carries out commands that are signed for it: each once, acknowledged and logged."""

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from bytelyst_sync import (
    ConfigError,
    InvalidDataError,
    RemoteCommands,
    Request,
    Response,
    SyncConfig,
    SyncEngine,
)
from bytelyst_sync.agent.rows import read_value
from bytelyst_sync.delivery.flush_requests import FlushRequest
from bytelyst_sync.fleet import device_id, device_id_of, device_key, sign_command
from bytelyst_sync.model import Json
from bytelyst_sync.rules.device_keys import DeviceKey, parse_key
from bytelyst_sync.rules.remote_commands import Command, is_acknowledged, parse_command, signed
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import META
from bytelyst_sync.testing import ManualClock
from tests.agent.conftest import INTERVAL_S, MASTER, Server
from tests.conftest import PATIENCE_S
from tests.typed import Eventually, present

COMMANDS = "/commands"


@pytest.fixture
def device(new_device: Callable[..., SyncEngine], wire: Server) -> SyncEngine:
    """A device with a failed change."""
    engine = new_device(commands=True, heartbeat=None)
    fail(engine, wire)
    return engine


def fail(engine: SyncEngine, wire: Server, record: str = "1") -> None:
    wire.answers["notes"] = (422, {})
    engine.push("notes", {"id": record})
    engine.flush(PATIENCE_S)
    wire.answers.clear()
    assert len(list(engine.failed())) == 1


@pytest.fixture
def issue(wire: Server, clock: ManualClock) -> Callable[..., Json]:
    """Signs a command for an engine's device and stores it at the server."""

    def put(
        engine: SyncEngine,
        name: Literal["flush", "retry"] = "retry",
        arguments: Json | None = None,
        *,
        alter: Json | None = None,
        store: bool = True,
        **options: Any,
    ) -> Json:
        options.setdefault("now", clock.now)
        record = sign_command(MASTER, device_id(engine), name, arguments, **options)
        record = {**record, **(alter or {})}
        if store:
            wire.put("commands", record)
        return record

    return put


def ledger(engine: SyncEngine) -> Json:
    """What is kept of each command, by its id."""

    def rows(tx: Reader) -> Json:
        names = [row.name for row in tx.scan(META) if row.name.startswith("device/command/")]
        return {name.rpartition("/")[2]: read_value(tx, name) for name in names}

    return engine._core.running().storage.read(rows)


def counts(engine: SyncEngine) -> Json:
    return engine._core.running().storage.read(lambda tx: read_value(tx, "device/commands"))


@pytest.fixture
def looked(
    eventually: Eventually, issue: Callable[..., Json], wire: Server
) -> Callable[[SyncEngine], None]:
    """Waits until the device has looked at everything that was issued so far."""

    def look(engine: SyncEngine) -> None:
        mark = issue(engine, "retry", {"ids": ["nothing"]})
        engine.pull("commands")
        eventually(lambda: "acknowledged" in wire.store.records("commands")[mark["id"]])

    return look


def acknowledged(wire: Server, record: Json) -> Json | None:
    found: Json | None = wire.store.records("commands")[record["id"]].get("acknowledged")
    return found


# --- the commands


def test_retry_queues_failed_changes_again(
    device: SyncEngine,
    issue: Callable[..., Json],
    wire: Server,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "bytelyst_sync.agent")
    record = issue(device)
    device.pull()
    answer = eventually(lambda: acknowledged(wire, record))
    assert list(device.failed()) == []
    assert device.queue_length == 1
    assert (answer["outcome"], answer["count"]) == ("done", 1)
    assert is_acknowledged(
        present(parse_key(device_key(MASTER, device_id(device)))), record["id"], answer
    )
    (line,) = [each.getMessage() for each in caplog.records if record["id"] in each.getMessage()]
    assert line.endswith("was carried out: retry queued 1 failed change(s) again")


def test_retry_takes_ids(
    device: SyncEngine, issue: Callable[..., Json], wire: Server, eventually: Eventually
) -> None:
    (first,) = device.failed()
    wire.answers["notes"] = (422, {})
    device.push("notes", {"id": "2"})
    device.flush(PATIENCE_S)
    wire.answers.clear()
    record = issue(device, "retry", {"ids": [first.id, "unknown"]})
    device.pull()
    assert eventually(lambda: acknowledged(wire, record))["count"] == 1
    assert [item.record_id for item in device.failed()] == ["2"]
    assert [item.record_id for item in device.queue()] == ["1"]


def test_flush_delivers_what_is_queued(
    device: SyncEngine, issue: Callable[..., Json], wire: Server, eventually: Eventually
) -> None:
    device.push("notes", {"id": "2"})
    device.push("notes", {"id": "3"})
    record = issue(device, "flush")
    device.pull()
    answer = eventually(lambda: acknowledged(wire, record))
    assert (answer["outcome"], answer["count"]) == ("done", 2)
    assert set(wire.store.records("notes")) == {"2", "3"}


def test_a_flush_goes_on_after_the_program_ended(
    new_device: Callable[..., SyncEngine],
    issue: Callable[..., Json],
    wire: Server,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "app.db")
    engine = new_device(commands=True, storage=path)
    engine.push("notes", {"id": "2"})
    record = issue(engine, "flush")
    runner = present(present(engine._core.running().agent)._commands)

    def ends() -> FlushRequest:
        raise RuntimeError("the end")

    runner._queue = attrs.evolve(runner._queue, begin_flush=ends)
    engine.pull()
    eventually(lambda: ledger(engine).get(record["id"], {}).get("outcome") == "begun")
    engine.close()
    again = new_device(commands=True, storage=path)
    again.start()
    eventually(lambda: acknowledged(wire, record))
    assert set(wire.store.records("notes")) == {"2"}


def test_commands_are_pulled_without_being_asked_for(
    device: SyncEngine,
    issue: Callable[..., Json],
    wire: Server,
    clock: ManualClock,
    eventually: Eventually,
) -> None:
    device.start()
    eventually(lambda: [each for each in wire.seen if each.path == COMMANDS])
    record = issue(device)
    clock.advance(INTERVAL_S * 1.2)
    eventually(lambda: acknowledged(wire, record))


def test_a_flush_helps_a_device_that_delivers_only_when_asked(
    device: SyncEngine, issue: Callable[..., Json], wire: Server, eventually: Eventually
) -> None:
    record = issue(device)
    device.pull()
    eventually(lambda: acknowledged(wire, record))
    assert wire.store.records("notes") == {}
    record = issue(device, "flush")
    device.pull()
    eventually(lambda: acknowledged(wire, record))
    assert set(wire.store.records("notes")) == {"1"}


# --- once


def test_a_command_and_its_effect_are_committed_together(
    device: SyncEngine, issue: Callable[..., Json], wire: Server, eventually: Eventually
) -> None:
    """A transaction that fails leaves neither."""
    record = issue(device)
    runner = present(present(device._core.running().agent)._commands)
    decide = runner._decide
    failures: list[Any] = []

    def fails_once(work: UnitOfWork, key: DeviceKey, command: Command) -> Any:
        result = decide(work, key, command)
        if not failures:
            failures.append(command.id)
            raise RuntimeError("the disk is gone")
        return result

    runner._decide = fails_once  # type: ignore[method-assign]  # replaced by the test
    device.pull()
    eventually(lambda: failures == [record["id"]])
    assert ledger(device) == {}
    assert len(list(device.failed())) == 1
    device.pull()
    eventually(lambda: acknowledged(wire, record))
    assert list(device.failed()) == []


def test_a_replayed_command_is_not_carried_out_again(
    device: SyncEngine,
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    wire: Server,
    eventually: Eventually,
) -> None:
    record = issue(device)
    device.pull()
    eventually(lambda: acknowledged(wire, record))
    device.flush(PATIENCE_S)
    fail(device, wire, "2")
    wire.store.change("commands", "delete", {"id": record["id"]})
    device.pull()
    wire.put("commands", record)
    looked(device)
    assert [item.record_id for item in device.failed()] == ["2"]


def test_a_replay_under_another_id_is_refused(
    device: SyncEngine,
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    wire: Server,
    eventually: Eventually,
) -> None:
    record = issue(device)
    device.pull()
    eventually(lambda: acknowledged(wire, record))
    device.flush(PATIENCE_S)
    fail(device, wire, "2")
    wire.put("commands", {**record, "id": "another"})
    looked(device)
    assert [item.record_id for item in device.failed()] == ["2"]
    assert "another" not in ledger(device)
    assert acknowledged(wire, {"id": "another"}) is None


def test_ids_outlive_the_expiry(
    device: SyncEngine,
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    clock: ManualClock,
    wire: Server,
    eventually: Eventually,
) -> None:
    record = issue(device, valid_for=timedelta(hours=1))
    device.pull()
    eventually(lambda: acknowledged(wire, record))
    clock.advance(3600 + 7 * 86_400 - 60)
    looked(device)
    assert record["id"] in ledger(device)
    clock.advance(3600)
    looked(device)
    eventually(lambda: record["id"] not in ledger(device))


def test_processes_on_one_store_carry_it_out_once(
    new_device: Callable[..., SyncEngine],
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    wire: Server,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    engines = [new_device(commands=True, storage=str(tmp_path / "app.db")) for _ in range(3)]
    fail(engines[0], wire)
    record = issue(engines[0])
    for engine in engines:
        engine.pull()
    eventually(lambda: acknowledged(wire, record))
    assert present(acknowledged(wire, record))["count"] == 1
    assert ledger(engines[0])[record["id"]]["count"] == 1
    looked(engines[1])
    assert counts(engines[0])["done"] == 2


def test_two_processes_that_read_a_command_at_once(
    new_device: Callable[..., SyncEngine],
    issue: Callable[..., Json],
    wire: Server,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    """The second one finds the id in its transaction."""
    first, second = (new_device(commands=True, storage=str(tmp_path / "app.db")) for _ in "12")
    fail(first, wire)
    record = issue(first)
    first.pull()
    eventually(lambda: acknowledged(wire, record))
    first.flush(PATIENCE_S)
    fail(first, wire, "2")
    runner = present(present(second._core.running().agent)._commands)
    runner._run(
        present(parse_key(device_key(MASTER, device_id(second)))),
        present(parse_command(record, "id")),
    )
    assert [item.record_id for item in first.failed()] == ["2"]
    assert counts(first)["done"] == 1


def test_a_store_of_a_backup_does_not_carry_it_out_again(
    device: SyncEngine,
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    wire: Server,
    eventually: Eventually,
) -> None:
    record = issue(device)
    device.pull()
    eventually(lambda: acknowledged(wire, record))
    device.flush(PATIENCE_S)
    fail(device, wire, "2")

    def forget(work: UnitOfWork) -> None:
        row = work.tx.get(META, f"device/command/{record['id']}")
        work.tx.delete(META, present(row))

    device._core.running().state.write(forget)
    looked(device)
    assert [item.record_id for item in device.failed()] == ["2"]


# --- attacks


def test_the_command_of_another_device(
    device: SyncEngine,
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    wire: Server,
) -> None:
    other = sign_command(MASTER, device_id_of("kim", "ab"), "retry", now=None)
    wire.put("commands", other)
    looked(device)
    assert len(list(device.failed())) == 1
    assert other["id"] not in ledger(device)
    assert counts(device).get("refused", 0) == 0


def test_the_command_of_another_device_made_out_to_this_one(
    device: SyncEngine,
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    wire: Server,
    clock: ManualClock,
) -> None:
    other = sign_command(MASTER, device_id_of("kim", "ab"), "retry", now=clock.now)
    wire.put("commands", {**other, "device": device_id(device)})
    looked(device)
    assert len(list(device.failed())) == 1
    assert counts(device)["refused"] == 1


ALTERED = {
    "name": {"name": "flush"},
    "arguments": {"arguments": {"ids": ["x"]}},
    "more arguments": {"arguments": {"all": True}},
    "issued": {"issued": 1},
    "expires": {"expires": 2**40},
    "signature": {"signature": "0" * 64},
    "no signature": {"signature": ""},
    "not ASCII": {"signature": "é" * 64},
}


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_command(
    what: str,
    device: SyncEngine,
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    wire: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:
    device.push("notes", {"id": "2"})
    record = issue(device, alter=ALTERED[what])
    looked(device)
    looked(device)
    assert len(list(device.failed())) == 1
    assert device.queue_length == 1
    assert record["id"] not in ledger(device)
    assert acknowledged(wire, record) is None
    assert counts(device)["refused"] == 1
    lines = [each.getMessage() for each in caplog.records if record["id"] in each.getMessage()]
    assert len(lines) == 1
    assert lines[0].endswith("was refused: signature")


MALFORMED = [
    {"name": None}, {"name": 5}, {"arguments": []}, {"arguments": None}, {"issued": "1"},
    {"issued": 1.5}, {"expires": True}, {"expires": -1}, {"expires": 2**60}, {"signature": 5},
    {"device": None}, {"device": 1},
]  # fmt: skip


def test_records_that_are_no_commands(
    device: SyncEngine,
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    wire: Server,
) -> None:
    for number, changes in enumerate(MALFORMED):
        issue(device, alter=changes, command_id=f"m{number}")
    wire.put("commands", {"id": "\u202ex", "device": device_id(device)})
    wire.put("commands", {"id": "other"})
    looked(device)
    assert len(list(device.failed())) == 1
    assert len(ledger(device)) == 1


def test_a_shared_key(
    new_device: Callable[..., SyncEngine],
    looked: Callable[[SyncEngine], None],
    wire: Server,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a key that was copied to another device nothing is carried out there."""
    first, second = new_device(commands=True, account="a"), None
    copied = device_key(MASTER, device_id(first))
    second = new_device(
        commands=True, account="b", remote_commands=RemoteCommands("commands", copied)
    )
    fail(second, wire)
    key = present(parse_key(copied))
    now = int(clock.wall())
    command = Command("c1", device_id(second), "retry", {}, now, now + 60, "")
    forged = signed(key._replace(device=device_id(second)), command)
    wire.put("commands", forged._asdict())
    wire.put(
        "commands", sign_command(MASTER, device_id(first), "retry", command_id="c2", now=clock.now)
    )
    second.pull()
    first.pull()
    looked(first)
    assert len(list(second.failed())) == 1
    assert ledger(second) == {}
    (line,) = [text for text in caplog.messages if "the key is that of" in text]
    assert "make that of this device with fleet.device_key(master, device_id)" in line
    assert device_id(first) in line
    assert ledger(first)["c2"]["outcome"] == "done"


def test_the_master_key_is_no_key_of_a_device() -> None:
    for wrong in (MASTER, MASTER.hex(), "", None, 5):
        with pytest.raises(ConfigError, match="the master key stays") as caught:
            RemoteCommands("commands", wrong)  # type: ignore[arg-type]  # wrong on purpose
        assert MASTER.hex() not in str(caught.value)
    assert "bsd1" not in repr(RemoteCommands("commands", device_key(MASTER, "x" * 36)))


def test_a_key_that_cannot_be_had_yet(
    new_device: Callable[..., SyncEngine],
    issue: Callable[..., Json],
    wire: Server,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = []

    def key(device: str) -> str:
        asked.append(device)
        if len(asked) < 3:
            raise OSError("the keyring SECRET is locked")
        return device_key(MASTER, device)

    engine = new_device(commands=True, remote_commands=RemoteCommands("commands", key))
    fail(engine, wire)
    record = issue(engine)
    engine.pull()
    eventually(lambda: "key raised OSError" in caplog.text)
    assert "SECRET" not in caplog.text
    for _ in range(4):
        engine.pull()
    eventually(lambda: acknowledged(wire, record))
    assert set(asked) == {device_id(engine)}


def test_a_command_that_is_not_allowed(
    new_device: Callable[..., SyncEngine],
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    wire: Server,
    eventually: Eventually,
) -> None:
    settings = RemoteCommands("commands", lambda each: device_key(MASTER, each), allow="retry")
    engine = new_device(commands=True, remote_commands=settings)
    engine.push("notes", {"id": "1"})
    record = issue(engine, "flush")
    looked(engine)
    answer = eventually(lambda: acknowledged(wire, record))
    assert (answer["outcome"], answer["reason"]) == ("refused", "name")
    assert engine.queue_length == 1
    assert wire.store.records("notes") == {}


@pytest.mark.parametrize("name", ["discard", "wipe", "__init__", ""])
def test_a_name_that_there_is_not(
    name: str,
    device: SyncEngine,
    looked: Callable[[SyncEngine], None],
    wire: Server,
    clock: ManualClock,
) -> None:
    now = int(clock.wall())
    key = present(parse_key(device_key(MASTER, device_id(device))))
    command = Command("c1", device_id(device), name, {}, now, now + 60, "")
    wire.put("commands", signed(key, command)._asdict())
    looked(device)
    assert ledger(device)["c1"]["reason"] == "name"
    assert len(list(device.failed())) == 1


def test_arguments_that_there_are_not(
    device: SyncEngine, looked: Callable[[SyncEngine], None], wire: Server, clock: ManualClock
) -> None:
    now = int(clock.wall())
    key = present(parse_key(device_key(MASTER, device_id(device))))
    wrong: list[tuple[str, Json]] = [
        ("retry", {"entity": "notes"}), ("flush", {"ids": ["x"]}), ("retry", {"ids": []}),
        ("retry", {"ids": "all"}), ("retry", {"ids": [1]}), ("retry", {"ids": ["x" * 256]}),
        ("retry", {"ids": ["x"] * 1001}),
    ]  # fmt: skip
    for number, (name, arguments) in enumerate(wrong):
        command = Command(f"c{number}", device_id(device), name, arguments, now, now + 60, "")
        wire.put("commands", signed(key, command)._asdict())
    looked(device)
    assert {ledger(device)[f"c{n}"]["reason"] for n in range(len(wrong))} == {"arguments"}
    assert len(list(device.failed())) == 1


def test_a_command_that_is_valid_for_too_long(
    device: SyncEngine, looked: Callable[[SyncEngine], None], wire: Server, clock: ManualClock
) -> None:
    now = int(clock.wall())
    key = present(parse_key(device_key(MASTER, device_id(device))))
    spans = {"week": 7 * 86_400, "longer": 7 * 86_400 + 1, "none": 0, "negative": -5}
    for name, seconds in spans.items():
        command = Command(name, device_id(device), "retry", {"ids": ["x"]}, now, now + seconds, "")
        wire.put("commands", signed(key, command)._asdict())
    looked(device)
    reasons = {name: ledger(device)[name].get("reason") for name in spans}
    assert reasons == {"week": None, "longer": "window", "none": "window", "negative": "window"}


def test_an_expired_command(
    device: SyncEngine,
    issue: Callable[..., Json],
    looked: Callable[[SyncEngine], None],
    clock: ManualClock,
    wire: Server,
    eventually: Eventually,
) -> None:
    record = issue(device, valid_for=timedelta(hours=1))
    clock.advance(3600)
    looked(device)
    answer = eventually(lambda: acknowledged(wire, record))
    assert (answer["outcome"], answer["reason"]) == ("refused", "expired")
    assert len(list(device.failed())) == 1


@pytest.mark.parametrize("dates", [True, False], ids=["server says the date", "no date"])
def test_an_expired_command_on_a_clock_set_back(
    dates: bool,
    new_device: Callable[..., SyncEngine],
    issue: Callable[..., Json],
    wire: Server,
    clock: ManualClock,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    """The server's date tells, and without one the latest time that was seen before."""
    server_now = clock.wall
    if not dates:
        send = wire.send

        def undated(request: Request) -> Response:
            answer = send(request)
            headers = {name: value for name, value in answer.headers.items() if name != "date"}
            found: Response = attrs.evolve(answer, headers=headers)
            return found

        wire.send = undated  # type: ignore[method-assign]  # replaced by the test
    path = str(tmp_path / "app.db")
    engine = new_device(commands=True, storage=path)
    fail(engine, wire)
    record = issue(engine, valid_for=timedelta(hours=1), store=False)
    clock.advance(7200)
    engine.pull()
    eventually(lambda: counts(engine).get("latest", 0) >= clock.wall() - 5)
    engine.close()
    clock_of_server = server_now()
    wire.clock = lambda: clock_of_server
    clock.set(clock.wall() - 7200 + 60)
    wire.put("commands", record)
    again = new_device(commands=True, storage=path)
    again.pull()
    answer = eventually(lambda: acknowledged(wire, record))
    assert (answer["outcome"], answer["reason"]) == ("refused", "expired")
    assert len(list(again.failed())) == 1


def test_a_date_of_the_server_tells_even_a_new_store(
    new_device: Callable[..., SyncEngine],
    issue: Callable[..., Json],
    wire: Server,
    clock: ManualClock,
    eventually: Eventually,
) -> None:
    engine = new_device(commands=True)
    fail(engine, wire)
    record = issue(engine, valid_for=timedelta(hours=1))
    ahead = clock.wall() + 7200
    wire.clock = lambda: ahead
    engine.pull()
    answer = eventually(lambda: acknowledged(wire, record))
    assert (answer["outcome"], answer["reason"]) == ("refused", "expired")


def test_a_forged_acknowledgement_stops_nothing(
    device: SyncEngine, issue: Callable[..., Json], wire: Server, eventually: Eventually
) -> None:
    """Whoever can write the record cannot say in the device's name that it was carried out."""
    forged = {"outcome": "done", "count": 0, "at": "2030-01-01", "signature": "0" * 64}
    record = issue(device, alter={"acknowledged": forged})
    device.pull()
    eventually(lambda: present(acknowledged(wire, record))["signature"] != "0" * 64)
    assert list(device.failed()) == []


# --- the acknowledgement


def test_an_acknowledgement_waits_out_an_outage(
    device: SyncEngine,
    issue: Callable[..., Json],
    wire: Server,
    clock: ManualClock,
    eventually: Eventually,
) -> None:
    record = issue(device)
    wire.answers["commands/"] = (503, {"retry-after": "3600"})
    device.pull()
    eventually(lambda: list(device.failed()) == [])
    assert device.flush(PATIENCE_S).success
    wire.answers.clear()
    clock.advance(INTERVAL_S * 1.2)
    eventually(lambda: acknowledged(wire, record))


def test_a_command_that_was_deleted_needs_none(
    device: SyncEngine, issue: Callable[..., Json], wire: Server, eventually: Eventually
) -> None:
    record = issue(device)
    wire.answers["commands/"] = (404, {})
    device.pull()
    eventually(lambda: ledger(device).get(record["id"], {}).get("acknowledged"))
    assert [each.method for each in wire.seen if each.path.startswith("/commands/")] == []


# --- the issuing side and the settings

WRONG: dict[str, tuple[Json, str]] = {
    "name": ({"name": "discard"}, "name is 'discard'; allowed: flush, retry"),
    "arguments": ({"arguments": {"all": 1}}, "retry takes no all"),
    "ids": ({"arguments": {"ids": []}}, "ids of retry is a list of 1 to 1000 ids"),
    "week": ({"valid_for": timedelta(days=8)}, "from a second to seven days"),
    "no time": ({"valid_for": timedelta(0)}, "from a second to seven days"),
    "id": ({"command_id": "a b"}, "1 to 128 visible ASCII characters"),
    "empty id": ({"command_id": ""}, "1 to 128 visible ASCII characters"),
    "device": ({"device": "laptop 7"}, "which is no device's id"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_signed(case: str) -> None:
    changes, message = WRONG[case]
    given: Json = {
        "device": device_id_of("sam", "ab"),
        "name": "retry",
        "arguments": None,
        **changes,
    }
    options: Json = {name: given.pop(name) for name in ("valid_for", "command_id") if name in given}
    with pytest.raises(InvalidDataError, match=message):
        sign_command(
            MASTER,
            given["device"],
            given["name"],
            given["arguments"],
            **options,
        )


def test_a_signed_command_is_json() -> None:
    record = sign_command(MASTER, device_id_of("sam", "ab"), "retry", {"ids": ["é"]})
    assert json.loads(json.dumps(record)) == record
    assert set(record) == {*Command._fields}


SETTINGS = {
    "heartbeat": ({"heartbeat": "fleet"}, "heartbeat is 'fleet'; allowed: one of the entities"),
    "not a name": ({"heartbeat": True}, "heartbeat is True; allowed: one of the entities"),
    "server ids": ({"heartbeat": "given"}, 'an entity with id_source="client"'),
    "commands": ({"remote_commands": RemoteCommands("fleet", str)}, "one of the entities"),
    "pushed only": ({"remote_commands": RemoteCommands("out", str)}, "that is pulled"),
    "the same": (
        {"heartbeat": "notes", "remote_commands": RemoteCommands("notes", str)},
        "another entity than remote_commands",
    ),
    "interval": ({"heartbeat_interval": 0}, "heartbeat_interval is 0; allowed: a number above 0"),
    "kind": ({"remote_commands": "flush"}, "allowed: RemoteCommands"),
    "dict": ({"remote_commands": {"entity": "notes"}}, "a dict with entity, key and, if wanted"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_wrong_settings(case: str) -> None:
    changes, message = SETTINGS[case]
    entities: Json = {
        "notes": "/notes",
        "given": {"endpoint": "/given", "id_source": "server"},
        "out": {"endpoint": "/out", "replica": False},
    }
    with pytest.raises(ConfigError) as caught:
        SyncConfig(base_url="http://x.invalid", entities=entities, storage=":memory:", **changes)  # type: ignore[arg-type]  # wrong on purpose
    assert message in str(caught.value)


def test_settings_from_a_dict_and_the_environment() -> None:
    key = device_key(MASTER, device_id_of("sam", "ab"))
    text = json.dumps({"entity": "notes", "key": key, "allow": ["flush"]})
    made = SyncConfig.from_env(
        {
            "BYTELYST_SYNC_BASE_URL": "http://x.invalid",
            "BYTELYST_SYNC_ENTITIES": "notes=/notes,fleet=/fleet",
            "BYTELYST_SYNC_STORAGE": ":memory:",
            "BYTELYST_SYNC_HEARTBEAT": "fleet",
            "BYTELYST_SYNC_HEARTBEAT_INTERVAL": "60",
            "BYTELYST_SYNC_REMOTE_COMMANDS": text,
        }
    )
    assert (made.heartbeat, made.heartbeat_interval) == ("fleet", 60.0)
    assert made.remote_commands == RemoteCommands("notes", key, ("flush",))
    assert key not in repr(made)
    with pytest.raises(ConfigError) as caught:
        SyncConfig.from_env({"BYTELYST_SYNC_REMOTE_COMMANDS": f"{{'{key}'"})
    assert key not in str(caught.value)


@pytest.mark.parametrize("allow", ["discard", ("flush", "x"), 5, [None]])
def test_names_that_cannot_be_allowed(allow: str | tuple[str, str] | int | list[None]) -> None:
    with pytest.raises(ConfigError, match=r"RemoteCommands\.allow is .*; allowed: some of flush"):
        RemoteCommands("notes", print, allow)  # type: ignore[arg-type]  # wrong on purpose
