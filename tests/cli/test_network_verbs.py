"""flush, pull and sync: what they do, what they end with, and beside another program."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.cli.progress import _line, _Meter
from bytelyst_sync.fleet import device_id_of, device_key
from bytelyst_sync.testing import Reply, Stall, SyncServer
from tests.cli.conftest import Done
from tests.typed import present

OTHER = textwrap.dedent(
    """
    import sys
    from bytelyst_sync import create_sync_engine
    engine = create_sync_engine(base_url=sys.argv[1], entities={"notes": "/notes"},
                                storage="app.db", probe=None)
    engine.push("notes", {"id": "1"})
    print("pushed", flush=True)
    sys.stdin.readline()
    engine.close()
    """
)


def test_flush_delivers(cli: Callable[..., Done], server: SyncServer) -> None:
    cli("push", "notes", '[{"id": "1"}, {"id": "2"}]')
    assert cli("flush").out.startswith("2 delivered (")
    assert set(server.records("notes")) == {"1", "2"}
    assert cli("flush").out.startswith("nothing waited")


def test_no_verb_reports_or_carries_out_commands_in_the_programs_place(
    cli: Callable[..., Done], server: SyncServer, toml: Callable[..., Path]
) -> None:
    device = device_id_of("", "ab")
    key = device_key(b"m" * 32, device)
    toml(
        "heartbeat = 'fleet'",
        "heartbeat_interval = 0.01",
        f"remote_commands = {{entity = 'commands', key = '{key}'}}",
        entities="notes = '/notes'\nfleet = '/fleet'\ncommands = '/commands'",
    )
    cli("push", "notes", '{"id": "1"}')
    cli("sync")
    assert set(server.records("notes")) == {"1"}
    assert server.records("fleet") == {}
    assert "device/" not in Path("app.db").read_bytes().decode("latin-1")


def test_flush_in_json(cli: Callable[..., Done]) -> None:
    cli("push", "notes", "{}")
    found = cli("flush", "--json").json
    assert (found["success"], found["pushed"], found["remaining"]) == (True, 1, 0)
    assert found["last_error"] is None
    assert set(found) >= {"pulled", "conflicts", "errors", "timestamp", "duration", "offline"}


def test_offline(cli: Callable[..., Done], server: SyncServer) -> None:
    cli("push", "notes", "{}")
    with server.outage():
        done = cli("flush", code=5)
        assert "0 delivered, 1 still waiting" in done.out
        assert "Connection refused" in done.err
        assert cli("sync", "--json", code=5).json["offline"] is True
        cli("pull", code=5)
    assert cli("flush").out.startswith("1 delivered")


def test_refused_credentials(
    cli: Callable[..., Done], server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "right"
    cli("push", "notes", '{"id": "1"}')
    monkeypatch.setenv("BYTELYST_SYNC_AUTH", "Bearer wrong")
    done = cli("flush", code=6)
    assert "HTTP 401" in done.err
    assert "BYTELYST_SYNC_AUTH" in done.err
    cli("pull", code=6)
    monkeypatch.setenv("BYTELYST_SYNC_AUTH", "Bearer right")
    cli("sync")
    assert set(server.records("notes")) == {"1"}


def test_a_refused_item(cli: Callable[..., Done], server: SyncServer) -> None:
    server.reject = lambda seen: Reply(422, {"error": "no"}) if seen.method == "POST" else None
    cli("push", "notes", "{}")
    done = cli("flush", code=1)
    assert "1 error" in done.out
    assert "rejected: HTTP 422 'no'; see engine.failed()" in done.err
    assert "`bytelyst-sync failed list`" in done.err


def test_an_item_of_an_entity_that_is_not_configured(
    cli: Callable[..., Done], engine: SyncEngine, toml: Callable[..., Path]
) -> None:
    engine.push("tasks", {"id": "1"})
    toml(entities="notes = '/notes'")
    done = cli("flush", code=1)
    assert "entity 'tasks'" in done.err
    assert "1 still waiting" in done.out


def test_pull_one_or_all(cli: Callable[..., Done], server: SyncServer) -> None:
    server.put("notes", {"id": "1"})
    server.put("tasks", {"id": "2"})
    assert cli("pull", "notes").out.startswith("1 fetched")
    assert cli("pull").out.startswith("1 fetched")
    assert cli("records", "tasks").lines[0]["id"] == "2"
    assert "unknown entity" in cli("pull", "x", code=2).err


def test_pull_of_everything_finds_what_is_gone(
    cli: Callable[..., Done], server: SyncServer
) -> None:
    server.put("notes", {"id": "1"})
    cli("pull")
    server.wipe()
    server.put("notes", {"id": "2"})
    assert cli("pull", "--full").code == 0
    assert [record["id"] for record in cli("records", "notes").lines] == ["2"]


def test_sync_does_both(cli: Callable[..., Done], server: SyncServer) -> None:
    server.put("notes", {"id": "1"})
    cli("push", "notes", '{"id": "2"}')
    assert cli("sync").out.startswith("1 delivered, 1 fetched")


def test_a_parked_conflict_is_told(
    cli: Callable[..., Done], engine: SyncEngine, server: SyncServer
) -> None:
    server.put("notes", {"id": "1", "t": "old"})
    engine.pull()
    cli("push", "notes", "--update", '{"id": "1", "t": "mine"}')
    server.patch("notes", "1", {"t": "theirs"})
    done = cli("sync", "--set", "conflict=manual", code=1)
    assert "1 conflict open: `bytelyst-sync conflicts list`" in done.err


def test_a_timeout_leaves_it_queued(cli: Callable[..., Done], server: SyncServer) -> None:
    cli("push", "notes", '{"id": "1"}')
    server.script(Stall(0.6), match="POST")
    assert "1 still waiting" in cli("flush", "--timeout", "0.1", code=1).out
    server.clear_script()
    cli("flush")
    assert len(server.journal) == 1


def test_a_flush_beside_a_program_that_delivers_waits_for_it(
    cli: Callable[..., Done], server: SyncServer, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    server.script(Stall(0.5), match="POST")
    other = spawn(server.url, python=("-c", OTHER), stdin=subprocess.PIPE)
    assert present(other.stdout).readline() == "pushed\n"
    assert server.wait_for(lambda: any(seen.method == "POST" for seen in server.in_flight))
    assert cli("status", "--json").json["queue"]["sending"] == 1
    assert "delivered by another program" in cli("flush").out
    assert len(server.journal) == 1
    other.communicate("\n")
    assert other.returncode == 0


# --- progress, elsewhere than on a terminal


@pytest.mark.parametrize(
    ("total", "left", "pulled", "line"),
    [
        (300, 200, 0, "100 of 300 delivered, 50/s, 4 s left"),
        (300, 0, 7, "300 of 300 delivered; 7 fetched"),
        (0, 0, 0, "waiting for the server"),
    ],
)
def test_a_line_of_progress(
    engine: SyncEngine, total: int, left: int, pulled: int, line: str
) -> None:
    meter = _Meter(engine, cast("Any", None), pushes=True, pulls=True)
    meter.total, meter.remaining, meter.pulled = total, left, pulled
    assert _line(meter, 2.0) == line


def test_lines_of_progress_while_it_goes_on(
    cli: Callable[..., Done], server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["bytelyst_sync.cli.progress"], "_LINE_S", 0.1)
    cli("push", "notes", "[{}, {}, {}]")
    server.latency_s = 0.15
    assert "of 3 delivered" in cli("sync").err
    cli("push", "notes", "[{}, {}, {}]")
    assert cli("sync", "-q").err == ""


def test_a_full_pull_accepts_that_all_is_gone_only_if_told(
    cli: Callable[..., Done], server: SyncServer
) -> None:
    for number in range(30):
        server.put("notes", {"id": str(number)})
    cli("pull", "notes")
    server.wipe()
    done = cli("pull", "notes", "--full", "--json", code=1)
    assert done.json["reason"] == "vanished"
    assert len(cli("records", "notes").lines) == 30
    cli("pull", "notes", "--full", "--accept")
    assert cli("records", "notes").out == ""


def test_accept_is_of_a_full_pull(cli: Callable[..., Done]) -> None:
    assert "give --full with it" in cli("pull", "--accept", code=2).err
