"""The page of a device, and the commands that are issued from it."""

import logging
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from bytelyst_sync import ConfigError, SyncEngine
from bytelyst_sync.dashboard import Actor, ops_app
from bytelyst_sync.fleet import FleetCommands, device_id_of, device_key
from bytelyst_sync.model import Json
from bytelyst_sync.rules.device_keys import parse_key
from bytelyst_sync.rules.remote_commands import acknowledgement, parse_command, refusal
from bytelyst_sync.testing import ManualClock, SyncServer
from tests.dashboard.client import OPERATOR, Client, Page, valid_token
from tests.dashboard.heartbeats import MASTER, heartbeat
from tests.fleet.office import open_office
from tests.typed import present

DEVICE = device_id_of("operator", "stuck")
PAGE = f"/fleet/{DEVICE}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock) -> Iterator[SyncServer]:
    with SyncServer(clock=clock.wall) as running:
        yield running


@pytest.fixture
def engine(server: SyncServer, clock: ManualClock) -> Iterator[SyncEngine]:
    with open_office(server, clock, fleet="/fleet") as made:
        server.put("fleet", heartbeat(clock, "stuck", key=MASTER, failed=3, reason="blocked"))
        server.put("fleet", heartbeat(clock, "well", key=MASTER))
        made.pull()
        yield made


@pytest.fixture
def client(engine: SyncEngine) -> Client:
    return new_client(engine)


def new_client(engine: SyncEngine, actor: Actor = OPERATOR, **options: Any) -> Client:
    options.setdefault("fleet_commands", FleetCommands("commands", MASTER))
    return Client(ops_app(engine, authorize=lambda environ: actor, **options))


def form_of(page: Page, command: str = "retry", **changes: Any) -> Json:
    return {"id": page.values("id")[0], "command": command, "valid": "1d", **changes}


def issue(client: Client, **changes: Any) -> Page:
    page = client.get(PAGE)
    return client.post(f"{PAGE}/commands", form_of(page, **changes), token=page.token)


def queued(engine: SyncEngine) -> list[Json]:
    return list(engine.records("commands"))


# --- what is shown


def test_the_list_leads_to_each_device(client: Client) -> None:
    page = client.get("/fleet")
    assert f'href="/ops{PAGE}"' in page.text
    words = client.get(PAGE).words
    for each in (DEVICE, "stuck", "3 changes failed, blocked", "No command yet", "Retry…"):
        assert each in words


def test_what_is_no_device_id_has_no_page(
    engine: SyncEngine, client: Client, server: SyncServer, clock: ManualClock
) -> None:
    server.put("fleet", {**heartbeat(clock, "x"), "id": "../../<b>"})
    engine.pull()
    page = client.get("/fleet")
    assert page.words.count("forged") >= 1
    assert len(re.findall('href="/ops/fleet/', page.text)) == 2


def test_an_unknown_device_is_not_found(client: Client) -> None:
    page = client.get(f"/fleet/{uuid.uuid4()}")
    assert page.status == 404
    assert "has reported to this store" in page.words


def test_the_question_is_a_page_without_a_script(client: Client) -> None:
    for name in ("retry", "flush"):
        page = client.get(f"{PAGE}?confirm={name}")
        assert re.findall(r'<dialog id="(\w+)"[^>]* open>', page.text) == [name]
        assert "Cancel" in page.words
        assert "Keep it" not in page.words


# --- issuing


@pytest.mark.parametrize("name", ["retry", "flush"])
@pytest.mark.parametrize(("valid", "seconds"), [("1h", 3600), ("1d", 86_400), ("7d", 604_800)])
def test_a_command_is_issued_signed_and_logged(
    name: str,
    valid: str,
    seconds: int,
    client: Client,
    engine: SyncEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "bytelyst_sync.dashboard"):
        answer = issue(client, command=name, valid=valid)
    assert answer.status == 303
    (record,) = queued(engine)
    command = present(parse_command(record, "id"))
    assert (command.device, command.name, command.arguments) == (DEVICE, name, {})
    assert command.expires - command.issued == seconds
    key = present(parse_key(device_key(MASTER, DEVICE)))
    assert refusal(command, key, ("flush", "retry"), command.issued) is None
    (line,) = [each.getMessage() for each in caplog.records if "remote command" in each.msg]
    assert line == f"sam issued the remote command {command.id} ({name}) for the device {DEVICE}"
    page = client.get(answer.location)
    assert "The command is issued" in page.text
    assert "queued waits here to be delivered to the server" in page.words


def test_a_form_that_is_sent_twice_issues_one_command(client: Client, engine: SyncEngine) -> None:
    page = client.get(PAGE)
    for _ in range(2):
        answer = client.post(f"{PAGE}/commands", form_of(page), token=page.token)
        assert answer.status == 303
        engine.flush(20)
    assert len(queued(engine)) == 1
    assert engine.queue_length == 0


def answer_as_the_device(server: SyncServer, outcome: Json, key: bytes = MASTER) -> None:
    (record,) = server.records("commands").values()
    signed = acknowledgement(present(parse_key(device_key(key, DEVICE))), record["id"], outcome)
    server.patch("commands", record["id"], {"acknowledged": signed})


@pytest.mark.parametrize(
    ("outcome", "key", "shown"),
    [
        ({"outcome": "done", "count": 3}, MASTER, "done 3 changes queued again"),
        ({"outcome": "refused", "reason": "name"}, MASTER, "refused the device refused it: name"),
        ({"outcome": "done", "count": 3}, b"x" * 40, "forged the command, or the answer to it"),
    ],
)
def test_the_answer_of_the_device_is_shown(
    outcome: Json, key: bytes, shown: str, client: Client, engine: SyncEngine, server: SyncServer
) -> None:
    issue(client)
    engine.flush(20)
    before = client.get(PAGE)
    assert "sent at the server; the device has not answered yet" in before.words
    answer_as_the_device(server, outcome, key)
    engine.pull()
    later = client.get(PAGE, if_none_match=before.headers["etag"])
    assert later.status == 200
    assert shown in later.words


def test_a_command_without_an_answer_expires(
    client: Client, engine: SyncEngine, clock: ManualClock
) -> None:
    issue(client, valid="1h")
    engine.flush(20)
    clock.advance(3601)
    assert "expired the device has not answered in time" in client.get(PAGE).words


# --- who may not, and what is wrong


@pytest.mark.parametrize(
    ("actor", "options", "reason"),
    [
        (Actor("eve", ("view", "operate", "payload")), {}, "You may not send commands"),
        (OPERATOR, {"read_only": True}, "These pages are read-only"),
        (OPERATOR, {"fleet_commands": None}, "they were not given fleet_commands=…"),
    ],
)
def test_who_may_not_command_sees_why(
    actor: Actor, options: Json, reason: str, engine: SyncEngine
) -> None:
    client = new_client(engine, actor, **options)
    page = client.get(f"{PAGE}?confirm=retry")
    assert reason in page.words
    assert 'method="post"' not in page.text.partition("<main")[2]
    form = {"id": str(uuid.uuid4()), "command": "retry", "valid": "1d"}
    answer = client.post(f"{PAGE}/commands", form, token=valid_token(client, actor))
    assert answer.status in (400, 403)
    assert engine.queue_length == 0


def test_the_right_to_command_is_enough(engine: SyncEngine) -> None:
    """Whoever commands devices need not be one who decides about this store's own queue."""
    client = new_client(engine, Actor("kim", ("view", "command")))
    assert issue(client).status == 303
    page = client.get(PAGE)
    assert client.post("/failed", {"action": "discard"}, token=page.token).status == 403


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"command": "wipe"}, "allowed: flush, retry"),
        ({"command": ""}, "allowed: flush, retry"),
        ({"valid": "8d"}, "allowed: 1h, 1d, 7d"),
        ({"valid": ""}, "allowed: 1h, 1d, 7d"),
        ({"id": "mine"}, "is no id of a command"),
        ({"id": ""}, "is no id of a command"),
    ],
)
def test_a_wrong_form_issues_nothing(
    changes: Json, problem: str, client: Client, engine: SyncEngine
) -> None:
    answer = issue(client, **changes)
    assert answer.status == 400
    assert problem in answer.words
    assert engine.queue_length == 0


def test_only_devices_that_reported_are_commanded(client: Client, engine: SyncEngine) -> None:
    page = client.get(PAGE)
    elsewhere = f"/fleet/{uuid.uuid4()}/commands"
    assert client.post(elsewhere, form_of(page), token=page.token).status == 400
    assert engine.queue_length == 0


def test_another_record_is_not_overwritten(
    client: Client, engine: SyncEngine, server: SyncServer
) -> None:
    taken = str(uuid.uuid4())
    server.put("commands", {"id": taken, "note": "somebody else's"})
    engine.pull()
    answer = issue(client, id=taken)
    assert answer.status == 400
    assert "the id of another record" in answer.words
    assert engine.queue_length == 0
    assert present(engine.get("commands", taken))["note"] == "somebody else's"


def test_pages_that_could_not_issue_commands_are_not_made(engine: SyncEngine) -> None:
    with pytest.raises(ConfigError, match="which is no entity of this engine"):
        new_client(engine, fleet_commands=FleetCommands("orders", MASTER))


def test_the_key_of_the_commands_checks_heartbeats_too(client: Client) -> None:
    assert "Signatures are not checked" not in client.get("/fleet").words
