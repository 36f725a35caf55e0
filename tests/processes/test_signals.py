"""Signal handlers and finalizers may call the engine whatever their own thread is doing: the call
lands, or raises SyncError at once; it never waits for its own thread.
"""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import bytelyst_sync
from bytelyst_sync.interrupts import LOCKING, REQUESTING
from bytelyst_sync.testing import SyncServer
from tests.processes.conftest import Program

BEGIN = """
import gc, json, random, signal, sys, threading, time
from bytelyst_sync import EngineClosedError, SyncConfig, SyncEngine, SyncError

url, path = sys.argv[1:]
engine = SyncEngine(SyncConfig(
    base_url=url, entities={"notes": "/notes"}, storage=path, probe=None, durability="normal",
    retry_delay=0.01, max_retry_delay=0.05,
))
pushed = set()
refused = 0

def push(mark):
    engine.push("notes", {"id": mark})
    pushed.add(mark)

def report():
    print(json.dumps({"pushed": sorted(pushed), "refused": refused}))
"""

WORK = {
    "push": "push(f'own-{n}')",
    "flush": "push(f'own-{n}'), engine.flush(timeout=5)",
    "pull": "engine.pull(timeout=5)",
    "transaction": "with engine.transaction(): engine.push('notes', {'id': f'own-{n}'})",
    "get": "engine.get('notes', 'again'), engine.status, list(engine.records('notes'))",
    "wait": "engine.wait(engine.push('notes', {'id': f'own-{n}'}), timeout=0.02)",
}

OFTEN = """
def handler(number, frame):
    global refused
    mark = f"handler-{len(pushed)}-{refused}"
    try:
        push(mark)
        engine.get("notes", mark), engine.queue_length
    except SyncError as error:
        assert error.retryable, error
        refused += 1
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 3e-3))

random.seed(4)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001)
end = time.monotonic() + 0.5
n = 0
while time.monotonic() < end:
    n += 1
    try:
        {work}
    except SyncError as error:
        assert error.retryable, error
signal.setitimer(signal.ITIMER_REAL, 0)
assert engine.flush(timeout=20).success
engine.close()
report()
"""


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_handler_that_pushes_again_and_again(
    server: SyncServer, run_script: Callable[..., Program], path: Path, work: str
) -> None:
    text = BEGIN + OFTEN.replace("{work}", work)
    status, printed, errors = run_script(text, server.url, path).finish()
    assert (status, errors) == (0, "")
    found = json.loads(printed)
    arrived = {effect.id for effect in server.journal}
    assert set(found["pushed"]) <= arrived
    assert any(mark.startswith("handler") for mark in found["pushed"])


ONCE = """
def handler(number, frame):
    global refused
    try:
        push("last")
    except SyncError as error:
        refused += 1
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 6.0

delay = float({delay})
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, delay)
n = 0
try:
    while True:
        n += 1
        {work}
except EngineClosedError:
    pass
assert engine.close(), "the worker still runs"
report()
"""


@pytest.mark.parametrize("delay", [0.03, 0.0413])
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_handler_that_pushes_and_closes(
    server: SyncServer, run_script: Callable[..., Program], path: Path, work: str, delay: float
) -> None:
    text = BEGIN + ONCE.replace("{work}", work).replace("{delay}", str(delay))
    status, printed, errors = run_script(text, server.url, path).finish()
    assert (status, errors) == (0, "")
    again = BEGIN + "assert engine.flush(timeout=20).success\nengine.close()\nreport()"
    assert run_script(again, server.url, path).finish()[0] == 0
    found = json.loads(printed)
    assert set(found["pushed"]) <= {effect.id for effect in server.journal}
    assert found["refused"] or "last" in found["pushed"]


WAITING = """
def handler(number, frame):
    push("last")
    engine.close()

engine.pause()
item = engine.push("notes", {"id": "first"})
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    engine.{call}
except EngineClosedError:
    pass
assert engine.close()
report()
"""


@pytest.mark.parametrize("call", ["wait(item)", "wait(item, timeout=20)"])
def test_a_handler_that_interrupts_a_wait_pushes_and_closes(
    server: SyncServer, run_script: Callable[..., Program], path: Path, call: str
) -> None:
    text = BEGIN + WAITING.replace("{call}", call)
    status, printed, errors = run_script(text, server.url, path).finish()
    assert (status, errors) == (0, "")
    assert json.loads(printed) == {"pushed": ["last"], "refused": 0}


IN_TRANSACTION = """
def handler(number, frame):
    push("handler")
    with engine.transaction():
        push("handler-2")
        push("handler-3")
    if {leaves}:
        engine.close()
        sys.exit(0)

signal.signal(signal.SIGTERM, handler)
try:
    with engine.transaction():
        engine.push("notes", {{"id": "own-1"}})
        signal.raise_signal(signal.SIGTERM)
        engine.push("notes", {{"id": "own-2"}})
finally:
    report()
"""


@pytest.mark.parametrize("leaves", [False, True], ids=["returns", "exits"])
def test_a_handler_does_not_join_the_transaction_that_it_interrupted(
    server: SyncServer, run_script: Callable[..., Program], path: Path, leaves: bool
) -> None:
    text = BEGIN + IN_TRANSACTION.format(leaves=leaves)
    status, printed, errors = run_script(text, server.url, path).finish()
    assert (status, errors) == (0, "")
    assert json.loads(printed)["pushed"] == ["handler", "handler-2", "handler-3"]
    again = BEGIN + "assert engine.flush(timeout=20).success\nengine.close()"
    assert run_script(again, server.url, path).finish()[0] == 0
    arrived = [effect.id for effect in server.journal]
    own = [] if leaves else ["own-1", "own-2"]
    assert arrived == ["handler", "handler-2", "handler-3", *own]


FINALIZER = """
class Noisy:
    def __init__(self):
        self.itself = self  # only the collector ends it, in whatever thread allocates

    def __del__(self):
        global refused, ended
        try:
            push(f"handler-{len(pushed)}-{refused}")
        except SyncError:
            refused += 1
        ended += 1

ended = 0
gc.set_threshold(50, 2, 2)
for n in range(150):
    Noisy()
    try:
        {work}
    except SyncError as error:
        assert error.retryable, error
gc.set_threshold(700, 10, 10)
while ended < 150:  # another thread may be collecting
    gc.collect()
    time.sleep(0.01)
assert engine.flush(timeout=20).success
engine.close()
report()
"""


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_finalizer_that_pushes(
    server: SyncServer, run_script: Callable[..., Program], path: Path, work: str
) -> None:
    text = BEGIN + FINALIZER.replace("{work}", work)
    status, printed, errors = run_script(text, server.url, path).finish()
    assert (status, errors) == (0, "")
    found = json.loads(printed)
    assert set(found["pushed"]) <= {effect.id for effect in server.journal}
    assert found["refused"] or any(mark.startswith("handler") for mark in found["pushed"])


def locks_in(source: str) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("Lock", "RLock", "Condition", "Event")
        for node in ast.walk(ast.parse(source))
    )


def test_every_module_with_a_lock_is_known() -> None:
    package = Path(bytelyst_sync.__file__).parent
    known = tuple(f"{each.replace('.', '/')}" for each in (*LOCKING, *REQUESTING))
    for module in package.rglob("*.py"):
        name = (Path("bytelyst_sync") / module.relative_to(package)).with_suffix("").as_posix()
        above = ("cli", "contrib", "dashboard", "testing")  # they call the engine, holding nothing
        if name.startswith(tuple(f"bytelyst_sync/{room}" for room in above)):
            continue
        if locks_in(module.read_text("utf-8")):
            assert name.startswith(known), f"{name} has a lock: add it to interrupts.LOCKING"


def test_every_known_module_is_there() -> None:
    package = Path(bytelyst_sync.__file__).parent.parent
    for name in (*LOCKING, *REQUESTING):
        place = package / name.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file(), name
