"""Forks of every kind, with the engine's threads running: each process delivers what it pushed."""

import json
import os
import queue
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync.testing import Reply, Seen, SyncServer
from tests.processes.conftest import Program

BEGIN = """
import json, multiprocessing, os, signal, sys, threading, time, warnings
from bytelyst_sync import MemoryStorage, create_sync_engine

# Python 3.12 warns of what is tested here
warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
URL, PATH = sys.argv[1:]
ENTITIES = {"notes": "/notes"}

def make(**settings):
    settings = {"base_url": URL, "storage": PATH, "probe": None, **settings}
    return create_sync_engine(entities=ENTITIES, **settings)

def deliver(engine, name):
    engine.push("notes", {"id": name})
    return engine.flush(timeout=15).success

def in_child(work, leave=sys.exit):
    # What the work returns in a forked child; it ends like any program, with its exit hooks.
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.write(write_end, json.dumps(work()).encode())
        leave(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        told = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(told) if status == 0 else f"status {status}"
"""


@pytest.fixture
def begin(
    run_script: Callable[..., Program], server: SyncServer, path: Path
) -> Callable[..., Program]:
    """Starts a script."""
    return lambda text: run_script(BEGIN + text, server.url, path)


@pytest.fixture
def run(begin: Callable[..., Program]) -> Callable[[str], Any]:
    """Runs a script within the bound; gives the JSON that it printed."""

    def run(text: str) -> Any:
        status, out, errors = begin(text).finish()
        assert (status, errors) == (0, ""), out
        return json.loads(out.splitlines()[-1])

    return run


def ids(server: SyncServer) -> list[str]:
    return sorted(effect.id for effect in server.journal)


@pytest.mark.parametrize("workers", "13")
def test_a_child_delivers_on_the_same_file_and_the_parent_goes_on(
    run: Callable[[str], Any], server: SyncServer, workers: str
) -> None:
    text = """
engine = make(workers=WORKERS)
found = [deliver(engine, "before"), in_child(lambda: deliver(engine, "child"))]
print(json.dumps([*found, deliver(engine, "after"), engine.get("notes", "child") is not None]))
"""
    assert run(text.replace("WORKERS", workers)) == [True] * 4
    assert ids(server) == ["after", "before", "child"]


def test_a_grandchild_delivers_too(run: Callable[[str], Any], server: SyncServer) -> None:
    text = """
engine = make()
found = [deliver(engine, "parent")]

def child():
    return [deliver(engine, "child"), in_child(lambda: deliver(engine, "grandchild"))]

print(json.dumps([*found, *in_child(child), deliver(engine, "after")]))
"""
    assert run(text) == [True] * 4
    assert ids(server) == ["after", "child", "grandchild", "parent"]


def test_the_first_use_may_be_in_a_child(run: Callable[[str], Any], server: SyncServer) -> None:
    text = """
engine = make()
print(json.dumps([in_child(lambda: deliver(engine, "child")), deliver(engine, "parent")]))
"""
    assert run(text) == [True, True]
    assert ids(server) == ["child", "parent"]


def test_a_child_that_only_ends_changes_nothing(
    run: Callable[[str], Any], server: SyncServer
) -> None:
    text = """
engine = make()
engine.pause()
engine.push("notes", {"id": "a"})
found = [in_child(lambda: None), in_child(lambda: engine.queue_length)]
engine.resume()
print(json.dumps([*found, engine.flush(timeout=15).success, engine.status.status]))
"""
    assert run(text) == [None, 1, True, "idle"]
    assert ids(server) == ["a"]


def test_a_paused_engine_is_paused_in_a_child_too(
    run: Callable[[str], Any], server: SyncServer
) -> None:
    text = """
engine = make(exit_timeout=0)
engine.pause()
engine.push("notes", {"id": "a"})
print(json.dumps(in_child(lambda: [engine.status.paused, engine.flush(timeout=15).remaining])))
"""
    assert run(text) == [True, 1]
    assert ids(server) == []


def test_a_child_that_closes_its_engine_leaves_the_parents_open(
    run: Callable[[str], Any], server: SyncServer
) -> None:
    text = """
engine = make()
found = [deliver(engine, "a"), in_child(lambda: [deliver(engine, "b"), engine.close()])]
print(json.dumps([*found, deliver(engine, "c")]))
"""
    assert run(text) == [True, [True, True], True]
    assert ids(server) == ["a", "b", "c"]


def test_what_a_child_queues_outlives_it(run: Callable[[str], Any], server: SyncServer) -> None:
    text = """
engine = make(auto_flush=False, exit_timeout=0)
found = [deliver(engine, "a")]

def child():
    engine.push("notes", {"id": "b"})
    return engine.queue_length

print(json.dumps([*found, in_child(child), engine.queue_length, engine.flush(timeout=15).pushed]))
"""
    assert run(text) == [True, 1, 1, 1]
    assert ids(server) == ["a", "b"]


def test_a_child_delivers_at_its_exit(run: Callable[[str], Any], server: SyncServer) -> None:
    text = """
engine = make()
found = [deliver(engine, "a")]

def child():
    engine.push("notes", {"id": "b"})

print(json.dumps([*found, in_child(child), engine.flush(timeout=15).remaining]))
"""
    assert run(text) == [True, None, 0]
    assert ids(server) == ["a", "b"]


def test_a_child_that_ends_at_once_takes_nothing_from_its_parent(
    run: Callable[[str], Any], server: SyncServer
) -> None:
    server.latency_s = 0.02
    text = """
engine = make()
engine.push_many("notes", [{"id": f"{n:02}"} for n in range(30)])
for _ in range(5):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
print(json.dumps(engine.flush(timeout=15).success))
"""
    assert run(text) is True
    assert ids(server) == [f"{n:02}" for n in range(30)]


def test_forks_amid_threads_that_push_flush_and_read(
    run: Callable[[str], Any], server: SyncServer
) -> None:
    text = """
engine = make(workers=2)
stop = threading.Event()
pushed = []

def busy(name):
    n = 0
    while not stop.is_set() and n < 300:
        engine.push("notes", {"id": f"{name}-{n}"})
        pushed.append(f"{name}-{n}")
        n += 1
        engine.get("notes", f"{name}-0"), engine.status, list(engine.records("notes"))
        engine.flush(timeout=0.01)

threads = [threading.Thread(target=busy, args=(name,)) for name in "xyz"]
for thread in threads: thread.start()
children = [in_child(lambda: deliver(engine, f"child{n}")) for n in range(8)]
stop.set()
for thread in threads: thread.join()
success = engine.flush(timeout=15).success
print(json.dumps([children, success, pushed]))
"""
    children, success, pushed = run(text)
    assert (children, success) == ([True] * 8, True)
    assert ids(server) == sorted(pushed + [f"child{n}" for n in range(8)])


def test_children_side_by_side(run: Callable[[str], Any], server: SyncServer) -> None:
    text = """
engine = make()
deliver(engine, "parent")
children = []
for n in range(5):
    child = os.fork()
    if not child:
        sys.exit(0 if all(deliver(engine, f"{n}-{k}") for k in range(5)) else 1)
    children.append(child)
found = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(json.dumps([found, deliver(engine, "after"), engine.queue_length]))
"""
    assert run(text) == [[0] * 5, True, 0]
    expected = [f"{n}-{k}" for n in range(5) for k in range(5)]
    assert ids(server) == sorted([*expected, "after", "parent"])


def test_a_fork_within_a_callback(run: Callable[[str], Any], server: SyncServer) -> None:
    text = """
engine = make()
told = []

def callback(change):
    # The child's own change calls this again, in the child: it must not fork another one.
    if change.origin == "local" and change.record_id == "a":
        child = lambda: engine.push("notes", {"id": "b"}).record_id
        told.append(in_child(child, os._exit))

engine.on_change(callback)
found = deliver(engine, "a")
print(json.dumps([found, told, engine.flush(timeout=15).remaining]))
"""
    assert run(text) == [True, ["b"], 0]
    assert ids(server) == ["a", "b"]


def test_subscriptions_stay_in_a_child(run: Callable[[str], Any]) -> None:
    text = """
engine = make()
deliver(engine, "a")
told = threading.Event()
engine.on_change(lambda change: told.set() if change.record_id == "b" else None)
print(json.dumps(in_child(lambda: [deliver(engine, "b"), told.wait(10)])))
"""
    assert run(text) == [True, True]


def test_memory_in_a_child_is_empty(run: Callable[[str], Any], server: SyncServer) -> None:
    text = """
engine = make(storage=":memory:", auto_flush=False)
engine.push("notes", {"id": "a"})

def child():
    return [engine.queue_length, engine.get("notes", "a"), list(engine.queue()),
            deliver(engine, "b")]

print(json.dumps([in_child(child), engine.queue_length, engine.flush(timeout=15).pushed]))
"""
    assert run(text) == [[0, None, [], True], 1, 1]
    assert ids(server) == ["a", "b"]


def test_a_memory_store_of_ones_own_is_empty_in_a_child_too(
    run: Callable[[str], Any],
) -> None:
    text = """
storage = MemoryStorage()
engine = make(storage=storage, auto_flush=False, exit_timeout=0)
engine.push("notes", {"id": "a"})
print(json.dumps([in_child(lambda: engine.queue_length), engine.queue_length]))
"""
    assert run(text) == [0, 1]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(run: Callable[[str], Any], server: SyncServer, method: str) -> None:
    text = """
engine = make()

def child(name):
    sys.exit(0 if deliver(engine, name) else 1)

if __name__ == "__main__":
    context = multiprocessing.get_context("METHOD")
    found = [deliver(engine, "before")]
    children = [context.Process(target=child, args=(f"child{n}",)) for n in range(2)]
    for each in children: each.start()
    for each in children: each.join(15)
    print(json.dumps([*found, [each.exitcode for each in children], deliver(engine, "after")]))
"""
    assert run(text.replace("METHOD", method)) == [True, [0, 0], True]
    assert ids(server) == ["after", "before", "child0", "child1"]


def test_no_thread_of_the_engine_imports_anything(
    run: Callable[[str], Any], server: SyncServer
) -> None:
    """A child that is forked in the middle of an import has half a module, for ever."""
    text = """
from bytelyst_sync import EntityConfig

imported, told = [], []

class Finder:
    def find_spec(name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            imported.append(name)

sys.meta_path.insert(0, Finder)
ENTITIES["notes"] = EntityConfig("/notes", conflict="merge")
engine = make(retry_delay=0.01, probe="auto", probe_interval=0.05, pull_interval=0.05)
engine.on_status_change(told.append)
engine.on_failure(told.append)
names = ("a", "b", "down", "refused")
for item in engine.push_many("notes", [{"id": name, "title": name} for name in names]):
    engine.wait(item, timeout=15)
engine.push("notes", {"id": "a", "title": "mine"})
engine.delete("notes", "b")
engine.flush(timeout=15)
engine.pull(timeout=15)
engine.close()
print(json.dumps([imported, bool(told), engine.status.failed]))
"""
    answers = {
        "down": [Reply(503, headers={"Retry-After": "Mon, 30 Nov 2026 00:00:00 GMT"})],
        "refused": [Reply(422, {"error": "no"})],
    }

    def answer(seen: Seen) -> Reply | None:
        if seen.method in {"PUT", "PATCH"}:
            server.put("notes", {"id": "a", "title": "a", "colour": "blue"})
        name = seen.body.get("id", "") if isinstance(seen.body, dict) else ""
        return answers[name].pop() if answers.get(name) else None

    server.reject = answer
    assert run(text) == [[], True, 1]
    assert server.records("notes")["a"]["colour"] == "blue"


@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library's fork")
@pytest.mark.parametrize("storage", ["PATH", '":memory:"'])
def test_a_fork_behind_pythons_back_is_named_with_its_remedy(
    run: Callable[[str], Any], server: SyncServer, storage: str
) -> None:
    """As uWSGI forks if it is not told to call Python's hooks."""
    text = """
import ctypes
from bytelyst_sync import SyncError
engine = make(storage=STORAGE)
before = deliver(engine, "before")
read_end, write_end = os.pipe()
child = ctypes.PyDLL(None).fork()
if not child:
    told = []
    for call in (lambda: deliver(engine, "x"), engine.flush, lambda: engine.queue_length):
        try:
            call()
        except SyncError as error:
            told.append(str(error))
    os.write(write_end, json.dumps(told).encode())
    os._exit(0)
os.close(write_end)
with os.fdopen(read_end) as pipe:
    told = json.load(pipe)
os.waitpid(child, 0)
print(json.dumps([before, told, deliver(engine, "after")]))
"""
    before, reported, after = run(text.replace("STORAGE", storage))
    assert before
    assert after
    assert len(reported) == 3
    for error in reported:
        assert "forked" in error
        assert "under uWSGI set py-call-osafterfork = true" in error
    assert ids(server) == ["after", "before"]


def test_a_child_killed_in_mid_request_leaves_the_rest_to_its_parent(
    begin: Callable[..., Program], server: SyncServer
) -> None:
    text = """
engine = make(auto_flush=False)
deliver(engine, "before")
child = os.fork()
if not child:
    engine.push("notes", {"id": "slow"})
    engine.flush()
    os._exit(0)
print(json.dumps(child), flush=True)
os.waitpid(child, 0)
print(json.dumps([deliver(engine, "after"), engine.queue_length]))
"""
    program = begin(text)
    pids: queue.SimpleQueue[int] = queue.SimpleQueue()
    pending = ["the kill"]

    def kill_once(seen: Seen) -> Reply | None:
        if "slow" in str(seen.body) and pending:
            pending.clear()
            os.kill(pids.get(timeout=20), signal.SIGKILL)
            return Reply(500)
        return None

    server.reject = kill_once
    pids.put(json.loads(program.line()))
    status, out, errors = program.finish()
    assert (status, errors) == (0, "")
    assert not pending
    assert json.loads(out) == [True, 0]
    assert ids(server) == ["after", "before", "slow"]
