"""At a real terminal: the panel, the bars, the questions, and Ctrl-C."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.testing import Reply, Stall, SyncServer
from tests.cli.conftest import Done, Terminal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")
CTRL_C = "\x03"


def test_the_panel_follows_the_store(terminal: Callable[..., Terminal], engine: SyncEngine) -> None:
    engine.push("notes", {"id": "1"})
    shown = terminal("status", "--watch", "--interval", "0.1")
    shown.until("1 waiting")
    shown.until("(answers)")
    engine.push("tasks", {"id": "1"})
    shown.until("2 waiting")
    engine.flush()
    shown.until("all delivered")
    shown.type(CTRL_C)
    assert shown.finish() == 130
    assert "Traceback" not in shown.text


def test_the_panel_shows_a_store_that_comes_later_and_a_server_that_goes(
    terminal: Callable[..., Terminal], server: SyncServer, engine: SyncEngine
) -> None:
    shown = terminal("status", "--watch", "--interval", "0.1")
    shown.until("empty")
    engine.push("notes", {})
    shown.until("1 waiting")
    shown.type(CTRL_C)
    assert shown.finish() == 130
    server.stop()
    later = terminal("status", "--watch")
    later.until("(no answer)")


def test_the_panel_once(
    terminal: Callable[..., Terminal], engine: SyncEngine, server: SyncServer
) -> None:
    server.reject = lambda seen: Reply(422, {"error": "[red]no[/red]"}) if seen.body else None
    engine.push("notes", {"id": "1"})
    engine.flush()
    shown = terminal("status")
    assert shown.finish() == 0
    assert "needs a decision" in shown.text
    assert "[red]no[/red]" in shown.text


def test_no_color(terminal: Callable[..., Terminal], engine: SyncEngine) -> None:
    engine.push("notes", {"id": "1"})
    coloured, plain = terminal("queue"), terminal("queue", env={"NO_COLOR": "1"})
    assert (coloured.finish(), plain.finish()) == (0, 0)
    assert "\x1b[32m" in coloured.raw
    assert "\x1b[32m" not in plain.raw
    assert "create" in plain.text


def test_a_bar_with_rate_and_time_left(
    terminal: Callable[..., Terminal], engine: SyncEngine, server: SyncServer
) -> None:
    for number in range(250):
        server.put("tasks", {"id": str(number)})
    engine.push_many("notes", [{"id": str(number)} for number in range(20)])
    server.latency_s = 0.02
    shown = terminal("sync")
    assert shown.finish() == 0
    assert "delivering" in shown.text
    assert "20/20" in shown.text
    fetched = {int(each) for each in re.findall(r"fetching\D+(\d+)/", shown.text)}
    assert 250 in fetched
    assert not fetched & set(range(1, 100)), "what was delivered is not fetched"
    assert "/s" in shown.text
    assert "0:00:0" in shown.text
    assert "20 delivered, 250 fetched" in shown.text


def test_ctrl_c_in_mid_sync_loses_nothing(
    terminal: Callable[..., Terminal], cli: Callable[..., Done], server: SyncServer
) -> None:
    cli("push", "notes", '[{"id": "1"}, {"id": "2"}, {"id": "3"}]')
    server.script(None, Stall(1.0), match="POST")
    shown = terminal("sync")
    shown.until("1/3")
    shown.type(CTRL_C)
    assert shown.finish() == 130
    assert "interrupted; what is queued stays queued" in shown.text
    assert "Traceback" not in shown.text
    assert server.wait_for(lambda: not server.in_flight)
    cli("flush")
    assert [effect.id for effect in server.journal] == ["1", "2", "3"]


@pytest.fixture
def refused(engine: SyncEngine, server: SyncServer) -> None:
    server.reject = lambda seen: Reply(422, {"error": "no"}) if seen.body else None
    engine.push("notes", {"id": "1"})
    engine.flush()


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("\n", 1, 1)])
def test_discarding_is_asked(
    terminal: Callable[..., Terminal], cli: Callable[..., Done], answer: str, code: int, left: int
) -> None:
    shown = terminal("failed", "discard")
    shown.until("Discard the failed create of notes 1 for good; later changes")
    shown.until("[y/N]")
    shown.type(answer)
    assert shown.finish() == code
    assert len(cli("failed", "list", "--json").lines) == left


@pytest.mark.usefixtures("refused")
def test_ctrl_c_is_no_answer(terminal: Callable[..., Terminal], cli: Callable[..., Done]) -> None:
    shown = terminal("failed", "discard")
    shown.until("[y/N]")
    shown.type(CTRL_C)
    # one that comes right before input() waits takes effect with the next key only
    assert shown.finish(insist=CTRL_C) == 130
    assert len(cli("failed", "list", "--json").lines) == 1


def test_tables_say_when_there_is_nothing(
    terminal: Callable[..., Terminal], engine: SyncEngine
) -> None:
    engine.push("notes", {"id": "1"})
    engine.flush()
    for verb, said in [
        (["queue"], "nothing waits"),
        (["failed", "list"], "nothing failed"),
        (["conflicts", "list"], "no open conflict"),
    ]:
        shown = terminal(*verb)
        assert shown.finish() == 0
        assert said in shown.text


def test_a_long_queue_is_cut_and_says_so(
    terminal: Callable[..., Terminal], engine: SyncEngine
) -> None:
    engine.push_many("notes", [{"id": str(number)} for number in range(60)])
    shown = terminal("queue", "--data")
    assert shown.finish() == 0
    assert "… and 10 more (--limit 0 shows all)" in shown.text


def test_a_conflict_in_three_columns(
    terminal: Callable[..., Terminal], engine: SyncEngine, server: SyncServer
) -> None:
    server.put("notes", {"id": "1", "title": "old"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.patch("notes", "1", {"title": "theirs"})
    engine.pull()
    (conflict,) = engine.conflicts()
    shown = terminal("conflicts", "show", conflict.id)
    assert shown.finish() == 0
    (row,) = [line for line in shown.text.splitlines() if "title !" in line]
    assert [cell.strip() for cell in row.split("│")[2:5]] == ['"old"', '"mine"', '"theirs"']
    assert terminal("conflicts", "list").finish() == 0


def test_doctor_at_a_terminal(terminal: Callable[..., Terminal], toml: Callable[..., Path]) -> None:
    toml("max_retries = -1")
    shown = terminal("doctor", "--no-network")
    assert shown.finish() == 1
    assert "fail" in shown.text
    assert "→ correct max_retries" in shown.text
