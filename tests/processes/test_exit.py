"""The interpreter's end: one bounded flush, nothing printed, nothing held open."""

import signal
import time

import pytest

from bytelyst_sync import SQLiteStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing import Stall, SyncServer

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


@pytest.fixture
def silent():
    """A server that takes requests and never answers."""
    with SyncServer() as running:
        running.always(Stall(60.0))
        yield running


@pytest.fixture
def leave(run_script, path):
    """Runs a script to its end; gives (status, errors, seconds that the end took)."""

    def run(text, server):
        program = run_script(BEGIN + text + SAY_BYE, server.url, path)
        assert program.line() == "bye"
        began = time.monotonic()
        status, rest, errors = program.finish()
        assert rest == ""
        return status, errors, time.monotonic() - began

    return run


def queued(path):
    storage = SQLiteStorage(path)
    try:
        return storage.read(lambda tx: [row.record for row in tx.scan(ITEMS)])
    finally:
        storage.close()


def test_what_is_queued_is_delivered_at_exit(server, leave, path):
    text = 'engine = make()\nfor n in range(20): engine.push("notes", {"id": str(n)})'
    status, errors, _ = leave(text, server)
    assert (status, errors) == (0, "")
    assert [effect.id for effect in server.journal] == [str(n) for n in range(20)]
    assert queued(path) == []


def test_an_engine_that_nobody_holds_any_more_delivers_too(server, leave, path):
    text = 'def save(): make().push("notes", {"id": "a"})\nsave()'
    assert leave(text, server)[:2] == (0, "")
    assert [effect.id for effect in server.journal] == ["a"]


def test_a_closed_engine_leaves_the_rest_queued(server, leave, path):
    text = 'engine = make()\nengine.pause()\nengine.push("notes", {"id": "a"})\nengine.close()'
    assert leave(text, server)[:2] == (0, "")
    assert server.journal == []
    assert queued(path) == ["a"]


def test_a_paused_engine_sends_nothing_at_exit(server, leave, path):
    text = 'engine = make()\nengine.pause()\nengine.push("notes", {"id": "a"})'
    assert leave(text, server)[:2] == (0, "")
    assert server.journal == []
    assert queued(path) == ["a"]


def test_a_silent_server_holds_nobody_up(silent, leave, path):
    text = 'engine = make(exit_timeout=0.5)\nengine.push("notes", {"id": "a"})'
    status, errors, took = leave(text, silent)
    assert (status, errors) == (0, "")
    assert took < 0.5 + 1.0
    assert queued(path) == ["a"]


def test_the_time_at_exit_is_one_for_all_engines(silent, leave, path):
    text = """
engines = [make(exit_timeout=0.5, storage=f"{sys.argv[2]}{n}") for n in range(5)]
for engine in engines: engine.push("notes", {"id": "a"})
"""
    status, errors, took = leave(text, silent)
    assert (status, errors) == (0, "")
    assert took < 0.5 + 1.0
    assert queued(f"{path}4") == ["a"]


@pytest.mark.parametrize("auto_flush", [True, False])
def test_none_at_all_if_the_time_is_zero(silent, leave, path, auto_flush):
    text = f'make(exit_timeout=0, auto_flush={auto_flush}).push("notes", {{"id": "a"}})'
    status, errors, took = leave(text, silent)
    assert (status, errors) == (0, "")
    assert took < 1.0
    assert queued(path) == ["a"]


def test_what_does_not_fit_the_time_stays_queued(server, leave, run_script, path):
    server.latency_s = 0.05
    text = """
engine = make(exit_timeout=0.4)
engine.push_many("notes", [{"id": f"{n:03}"} for n in range(100)])
"""
    status, errors, took = leave(text, server)
    assert (status, errors) == (0, "")
    assert took < 0.4 + 1.0
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
    ids=["idle", "busy-with-chores", "with-threads", "with-a-callback"],
)
def test_no_thread_holds_the_program_open(server, leave, text):
    text = text.replace("(print)", "(lambda info: threading.Event().wait(0.01))")
    status, errors, took = leave(text, server)
    assert (status, errors) == (0, "")
    assert took < 2.0


def test_a_callback_that_never_returns_does_not_hold_it_open(server, leave):
    text = """
engine = make(exit_timeout=0.3)
inside = threading.Event()
engine.on_status_change(lambda info: (inside.set(), threading.Event().wait(60)))
engine.push("notes", {"id": "a"})
inside.wait(10)
"""
    status, errors, took = leave(text, server)
    assert (status, errors) == (0, "")
    assert took < 0.3 + 1.0


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
def test_what_goes_wrong_at_exit_prints_nothing(server, leave, text):
    status, errors, took = leave(text, server)
    assert (status, errors) == (0, "")
    assert took < 2.0 + 1.0


def test_the_programs_own_end_stands(server, run_script, path):
    text = BEGIN + 'make().push("notes", {"id": "a"})\nsys.exit(3)'
    assert run_script(text, server.url, path).finish() == (3, "", "")
    text = BEGIN + 'make().push("notes", {"id": "b"})\nraise KeyError("mine")'
    status, _, errors = run_script(text, server.url, path).finish()
    assert status == 1
    assert errors.splitlines()[-1] == "KeyError: 'mine'"
    assert errors.count("Traceback") == 1
    assert [effect.id for effect in server.journal] == ["a", "b"]


def test_an_interrupted_flush_ends_the_program(silent, run_script, path):
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


def test_it_delivers_what_other_exit_hooks_push(server, leave):
    text = """
import atexit
engine = make()
engine.start()
atexit.register(lambda: engine.push("notes", {"id": "late"}))
"""
    assert leave(text, server)[:2] == (0, "")
    assert [effect.id for effect in server.journal] == ["late"]


def test_merely_importing_starts_nothing(run_script):
    text = "import threading, bytelyst_sync\nprint(threading.active_count())"
    assert run_script(text).finish() == (0, "1\n", "")
