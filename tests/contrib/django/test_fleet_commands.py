"""Commands for a fleet that are issued through the queue in a database: each id once."""

import pytest
from django.db import transaction

from bytelyst_sync import InvalidDataError, SyncEngine
from bytelyst_sync.dashboard import Actor, ops_app
from bytelyst_sync.fleet import FleetCommands, device_id_of
from bytelyst_sync.testing import ManualClock
from tests.conftest import Wire
from tests.contrib.django.conftest import Engines
from tests.dashboard.client import Client
from tests.dashboard.heartbeats import MASTER, heartbeat

DEVICE = device_id_of("operator", "stuck")
COMMANDS = FleetCommands("commands", MASTER)
OPERATOR = Actor("sam", ("view", "operate", "command"))
BOUND_S = 20.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def web(sqlite_database: str, engines: Engines, wire: Wire, clock: ManualClock) -> SyncEngine:
    """An engine of a web process."""
    entities = {"commands": "/commands", "fleet": "/fleet"}
    return engines(sqlite_database, wire, entities=entities, clock=clock)


def states(web: SyncEngine) -> list[str]:
    return [each.state for each in COMMANDS.issued(web, DEVICE)]


def queued(web: SyncEngine) -> tuple[list[str], list[str | None]]:
    """What is queued, and what failed."""
    return [each.record_id for each in web.queue()], [each.last_error for each in web.failed()]


def test_an_id_is_issued_once(web: SyncEngine, clock: ManualClock) -> None:
    for _ in range(2):
        assert COMMANDS.issue(web, DEVICE, "flush", command_id="c1") == "c1"
        clock.advance(1)
    assert queued(web) == (["c1"], [])
    assert COMMANDS.issue(web, DEVICE, "flush", command_id="c1") == "c1"
    assert web.flush(BOUND_S).pushed == 1
    COMMANDS.issue(web, DEVICE, "flush", command_id="c1")
    assert queued(web) == ([], [])
    assert states(web) == ["sent"]


def test_the_id_of_another_record_is_refused(web: SyncEngine) -> None:
    COMMANDS.issue(web, DEVICE, "flush", command_id="c1")
    for delivered in (False, True):
        if delivered:
            assert web.flush(BOUND_S).pushed == 1
        with pytest.raises(InvalidDataError, match="the id of another record of 'commands'"):
            COMMANDS.issue(web, DEVICE, "retry", command_id="c1")
    assert queued(web) == ([], [])
    assert states(web) == ["sent"]


def test_an_id_is_issued_once_in_a_transaction(sqlite_database: str, web: SyncEngine) -> None:
    with transaction.atomic(using=sqlite_database):
        for _ in range(2):
            COMMANDS.issue(web, DEVICE, "flush", command_id="c1")
    assert queued(web) == (["c1"], [])


def test_of_two_that_are_issued_at_once_one_is_queued(
    web: SyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither transaction sees what the other one issues."""
    monkeypatch.setattr(web, "get", lambda entity, record: None)
    for _ in range(2):
        COMMANDS.issue(web, DEVICE, "flush", command_id="c1")
    assert queued(web) == (["c1"], [])
    assert web.flush(BOUND_S).pushed == 1
    assert states(web) == ["sent"]


def test_a_form_that_is_sent_twice_issues_one_command(web: SyncEngine, clock: ManualClock) -> None:
    web.push("fleet", heartbeat(clock, "stuck", key=MASTER))
    assert web.flush(BOUND_S).pushed == 1
    web.pull("fleet", BOUND_S)
    pages = ops_app(web, authorize=lambda environ: OPERATOR, fleet_commands=COMMANDS)
    client = Client(pages)
    page = client.get(f"/fleet/{DEVICE}")
    form = {"id": page.values("id")[0], "command": "retry", "valid": "1d"}
    for _ in range(2):
        assert client.post(f"/fleet/{DEVICE}/commands", form, token=page.token).status == 303
        assert web.flush(BOUND_S).failed == 0
        clock.advance(1)
    assert queued(web) == ([], [])
    assert states(web) == ["sent"]
    assert "at the server; the device has not answered yet" in client.get(f"/fleet/{DEVICE}").words
