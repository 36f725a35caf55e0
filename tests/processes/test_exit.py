"""The interpreter's end: one bounded flush, nothing printed, nothing held open."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bytelyst_sync import SQLiteStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing import Stall, SyncServer
from tests.processes.conftest import Program

BEGIN = """
import sys, threading
from bytelyst_sync import create_sync_engine

def make(**settings):
    settings = {"base_url": sys.argv[1], "storage": sys.argv[2], "probe": None, **settings}
    return create_sync_engine(entities={"notes": "/notes"}, **settings)
"""
SAY_BYE = """
print("bye")
"""
SOON_S = 4.0
"""Less than what a program waits for here if it waits too long: an answer, a thread, a callback."""


@pytest.fixture
def silent() -> Iterator[SyncServer]:
    """A server that takes requests and never answers."""
    with SyncServer() as running:
        running.always(Stall(60.0))
        yield running


@pytest.fixture
def leave(
    run_script: Callable[..., Program], path: Path
) -> Callable[[str, SyncServer], tuple[int, str, float]]:
    """Runs a script to its end; gives (status, errors, seconds that the end took)."""

    def run(text: str, server: SyncServer) -> tuple[int, str, float]:
        program = run_script(BEGIN + text + SAY_BYE, server.url, path)
        assert program.line() == "bye"
        began = time.monotonic()
        status, rest, errors = program.finish()
        assert rest == ""
        return status, errors, time.monotonic() - began

    return run


def queued(path: Path | str) -> list[str]:
    storage = SQLiteStorage(path)
    try:
        return storage.read(lambda tx: [row.record for row in tx.scan(ITEMS)])
    finally:
        storage.close()


def test_what_is_queued_is_delivered_at_exit(
    server: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]], path: Path
) -> None:
    text = 'engine = make()\nfor n in range(20): engine.push("notes", {"id": str(n)})'
    status, errors, _ = leave(text, server)
    assert (status, errors) == (0, "")
    assert [effect.id for effect in server.journal] == [str(n) for n in range(20)]
    assert queued(path) == []


def test_an_engine_that_nobody_holds_any_more_delivers_too(
    server: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]], path: Path
) -> None:
    text = 'def save(): make().push("notes", {"id": "a"})\nsave()'
    assert leave(text, server)[:2] == (0, "")
    assert [effect.id for effect in server.journal] == ["a"]


def test_a_closed_engine_leaves_the_rest_queued(
    server: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]], path: Path
) -> None:
    text = 'engine = make()\nengine.pause()\nengine.push("notes", {"id": "a"})\nengine.close()'
    assert leave(text, server)[:2] == (0, "")
    assert server.journal == []
    assert queued(path) == ["a"]


def test_a_paused_engine_sends_nothing_at_exit(
    server: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]], path: Path
) -> None:
    text = 'engine = make()\nengine.pause()\nengine.push("notes", {"id": "a"})'
    assert leave(text, server)[:2] == (0, "")
    assert server.journal == []
    assert queued(path) == ["a"]


def test_a_silent_server_holds_nobody_up(
    silent: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]], path: Path
) -> None:
    text = 'engine = make(exit_timeout=0.5)\nengine.push("notes", {"id": "a"})'
    status, errors, took = leave(text, silent)
    assert (status, errors) == (0, "")
    assert took < SOON_S
    assert queued(path) == ["a"]


def test_the_time_at_exit_is_one_for_all_engines(
    silent: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]], path: Path
) -> None:
    text = """
engines = [make(exit_timeout=2.0, storage=f"{sys.argv[2]}{n}") for n in range(5)]
for engine in engines: engine.push("notes", {"id": "a"})
"""
    status, errors, took = leave(text, silent)
    assert (status, errors) == (0, "")
    assert took < 5 * 2.0
    assert queued(f"{path}4") == ["a"]


@pytest.mark.parametrize("auto_flush", [True, False])
def test_none_at_all_if_the_time_is_zero(
    silent: SyncServer,
    leave: Callable[[str, SyncServer], tuple[int, str, float]],
    path: Path,
    auto_flush: bool,
) -> None:
    text = f'make(exit_timeout=0, auto_flush={auto_flush}).push("notes", {{"id": "a"}})'
    status, errors, took = leave(text, silent)
    assert (status, errors) == (0, "")
    assert took < 2.0  # the usual time
    assert queued(path) == ["a"]


def test_what_does_not_fit_the_time_stays_queued(
    server: SyncServer,
    leave: Callable[[str, SyncServer], tuple[int, str, float]],
    run_script: Callable[..., Program],
    path: Path,
) -> None:
    server.latency_s = 0.05
    text = """
engine = make(exit_timeout=0.4)
engine.push_many("notes", [{"id": f"{n:03}"} for n in range(100)])
"""
    status, errors, took = leave(text, server)
    assert (status, errors) == (0, "")
    assert took < SOON_S
    left = queued(path)
    done = [effect.id for effect in server.journal]
    assert done
    assert left
    # the one under way at the end may be both applied and still queued
    assert set(done) | set(left) == {f"{n:03}" for n in range(100)}
    assert len(set(done) & set(left)) <= 1
    server.latency_s = 0.0
    text = BEGIN + "print(make().flush(timeout=10).remaining)"
    program = run_script(text, server.url, path)
    assert program.line() == "0"
    assert program.finish() == (0, "", "")
    assert sorted(effect.id for effect in server.journal) == [f"{n:03}" for n in range(100)]


@pytest.mark.parametrize(
    "text",
    [
        "make().start()",
        "make(pull_interval=0.05, probe='auto', probe_interval=0.05).start()",
        "engine = make(workers=4)\nengine.push('notes', {'id': 'a'})\nengine.flush()",
        "engine = make()\nengine.on_status_change(print)\nengine.pull()",
    ],
    ids=["idle", "busy-with-pulls", "with-threads", "with-a-callback"],
)
def test_no_thread_holds_the_program_open(
    server: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]], text: str
) -> None:
    text = text.replace("(print)", "(lambda info: threading.Event().wait(0.01))")
    status, errors, took = leave(text, server)
    assert (status, errors) == (0, "")
    assert took < SOON_S


def test_a_callback_that_never_returns_does_not_hold_it_open(
    server: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]]
) -> None:
    text = """
engine = make(exit_timeout=0.3)
inside = threading.Event()
engine.on_status_change(lambda info: (inside.set(), threading.Event().wait(60)))
engine.push("notes", {"id": "a"})
inside.wait(10)
"""
    status, errors, took = leave(text, server)
    assert (status, errors) == (0, "")
    assert took < SOON_S


PUSH = 'engine.push("notes", {"id": "a"})'
WRONG = {
    "auth": f"def auth(): raise OSError('no keyring')\nengine = make(auth=auth)\n{PUSH}",
    "session": f"def made(): raise OSError\nengine = make(session_factory=made)\n{PUSH}",
    "callback": f"engine = make()\nengine.on_status_change(lambda info: 1 / 0)\n{PUSH}",
    "queue-gone": f"""
import os
engine = make(auto_flush=False)
{PUSH}
directory = os.path.dirname(sys.argv[2])
os.rename(directory, directory + "-gone")
""",
    "nobody-there": f"engine = make(base_url='http://127.0.0.1:9')\n{PUSH}",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_goes_wrong_at_exit_prints_nothing(
    server: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]], text: str
) -> None:
    status, errors, took = leave(text, server)
    assert (status, errors) == (0, "")
    assert took < SOON_S


def test_the_programs_own_end_stands(
    server: SyncServer, run_script: Callable[..., Program], path: Path
) -> None:
    text = BEGIN + 'make().push("notes", {"id": "a"})\nsys.exit(3)'
    assert run_script(text, server.url, path).finish() == (3, "", "")
    text = BEGIN + 'make().push("notes", {"id": "b"})\nraise KeyError("mine")'
    status, _, errors = run_script(text, server.url, path).finish()
    assert status == 1
    assert errors.splitlines()[-1] == "KeyError: 'mine'"
    assert errors.count("Traceback") == 1
    assert [effect.id for effect in server.journal] == ["a", "b"]


def test_an_interrupted_flush_ends_the_program(
    silent: SyncServer, run_script: Callable[..., Program], path: Path
) -> None:
    # the shell has told what it runs in the background to ignore this signal
    text = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
engine = make(exit_timeout=0.3)
engine.push("notes", {"id": "a"})
print("flushing")
engine.flush()
"""
    program = run_script(BEGIN + text, silent.url, path)
    assert program.line() == "flushing"
    assert silent.wait_for(lambda: silent.in_flight)
    began = time.monotonic()
    program.process.send_signal(signal.SIGINT)
    status, _, errors = program.finish()
    assert time.monotonic() - began < 0.3 + 1.0
    assert status == -signal.SIGINT
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert errors.count("Traceback") == 1
    assert queued(path) == ["a"]


def test_it_delivers_what_other_exit_hooks_push(
    server: SyncServer, leave: Callable[[str, SyncServer], tuple[int, str, float]]
) -> None:
    text = """
import atexit
engine = make()
engine.start()
atexit.register(lambda: engine.push("notes", {"id": "late"}))
"""
    assert leave(text, server)[:2] == (0, "")
    assert [effect.id for effect in server.journal] == ["late"]


def test_merely_importing_starts_nothing(run_script: Callable[..., Program]) -> None:
    text = "import threading, bytelyst_sync\nprint(threading.active_count())"
    assert run_script(text).finish() == (0, "1\n", "")
