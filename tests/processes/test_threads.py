"""Threads of all kinds at one engine, or at several on one file."""

import gc
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import (
    EngineClosedError,
    EntityConfig,
    RecordChange,
    SyncConfig,
    SyncEngine,
    SyncItem,
    SyncStatusInfo,
)
from bytelyst_sync.testing import Reply, Stall, SyncServer
from tests.typed import present

BOUND_S = 20.0


@pytest.fixture
def make(server: SyncServer, path: Path) -> Iterator[Callable[..., SyncEngine]]:
    """An engine on the one file; closed at the end."""
    engines = []

    def make(**settings: Any) -> SyncEngine:
        given = {
            "base_url": server.url,
            "storage": path,
            "entities": {"notes": "/notes", "events": EntityConfig("/events", dedup="none")},
            "probe": None,
            "retry_delay": 0.01,
            "exit_timeout": 0,
            **settings,
        }
        engines.append(SyncEngine(SyncConfig(**given)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


class Crew:
    """Threads whose errors are not lost."""

    def __init__(self) -> None:
        self.threads: list[Any] = []
        self.errors: list[Any] = []

    def start(self, work: Callable[..., object], *arguments: Any) -> None:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:  # noqa: BLE001 - told to the test's own thread
                self.errors.append(error)

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join(BOUND_S)
        assert not any(thread.is_alive() for thread in self.threads)
        assert self.errors == []


@pytest.fixture
def crew() -> Crew:
    return Crew()


def check(server: SyncServer, acknowledged: list[int]) -> None:
    """Everything acknowledged is there once, and each record's pushes in their order."""
    arrived: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for effect in server.journal:
        names = [name for name in present(effect.data) if name[0] == "f"]
        arrived[effect.collection, effect.id] += [int(name[1:]) for name in names]
    fields = [field for each in arrived.values() for field in each]
    assert len(fields) == len(set(fields))
    assert set(acknowledged) <= set(fields)
    for each in arrived.values():
        assert each == sorted(each)


# -- close during everything ----------------------------------------------------------------------


def push_on(engine: SyncEngine, chance: random.Random) -> None:
    engine.push("notes", {"id": str(chance.randrange(9)), "n": chance.random()}, "update")


def take_back(engine: SyncEngine, chance: random.Random) -> None:
    item = engine.push("events", {"n": chance.random()})
    engine.cancel(item)


def in_a_transaction(engine: SyncEngine, chance: random.Random) -> None:
    with engine.transaction():
        engine.push("events", {"n": 1})
        engine.push("events", {"n": 2})


def look(engine: SyncEngine, chance: random.Random) -> None:
    engine.get("notes", "1")
    sum(1 for _ in engine.records("notes"))
    list(engine.queue())
    _ = engine.status, engine.queue_length, engine.is_online


WORK: dict[str, Callable[..., object]] = {
    "push": push_on,
    "flush": lambda engine, _: engine.flush(),
    "pull": lambda engine, _: engine.pull(),
    "look": look,
    "wait": lambda engine, _: engine.wait(engine.push("events", {"n": 1})),
    "cancel": take_back,
    "transaction": in_a_transaction,
    "pause": lambda engine, _: (engine.pause(), engine.resume()),
    "sync": lambda engine, _: engine.full_sync(),
    "clear": lambda engine, _: engine.clear_queue(),
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("storage", ["file", ":memory:"])
def test_close_during_everything(
    make: Callable[..., SyncEngine],
    crew: Crew,
    server: SyncServer,
    path: Path,
    storage: str,
    workers: int,
) -> None:
    server.latency_s = 0.001
    engine = make(storage=path if storage == "file" else storage, workers=workers)
    rounds = {name: threading.Semaphore(0) for name in WORK}

    def until_closed(name: str) -> None:
        chance = random.Random(name)
        while True:
            try:
                WORK[name](engine, chance)
            except EngineClosedError:
                return
            rounds[name].release()
            time.sleep(0.001)  # threads that never rest keep others from their turn

    for name in WORK:
        crew.start(until_closed, name)
    for name in WORK:
        for _ in range(2):
            assert rounds[name].acquire(timeout=BOUND_S), name
    assert engine.close(timeout=BOUND_S)
    crew.join()
    assert engine.close()
    assert engine.status.status == "closed"


def test_close_from_many_threads_at_once(make: Callable[..., SyncEngine], crew: Crew) -> None:
    engine = make()
    engine.push("notes", {"id": "a"})
    for _ in range(16):
        crew.start(engine.close)
    crew.join()
    with pytest.raises(EngineClosedError):
        engine.push("notes", {"id": "b"})


def test_close_does_not_outwait_a_silent_server(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.always(Stall(60.0))
    engine = make()
    item = engine.push("notes", {"id": "a"})
    assert server.wait_for(lambda: server.in_flight)
    began = threading.Event()
    timer = threading.Timer(1.5, began.set)
    timer.start()
    assert not engine.close(timeout=0.2)
    assert not began.is_set()
    timer.cancel()
    server.stop()
    server.clear_script()
    server.start()
    again = make(retry_delay=0.01)
    assert again.wait(item, timeout=BOUND_S) in ("delivered", "settled")
    assert [effect.key for effect in server.journal] == [item.id]


# -- pushing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_32_threads_push_while_it_delivers_and_closes(
    make: Callable[..., SyncEngine], crew: Crew, server: SyncServer, workers: int
) -> None:
    engine = make(workers=workers)
    acknowledged: list[Any] = []
    enough = threading.Semaphore(0)
    for n in range(8):
        engine.push("notes", {"id": f"n{n}"})

    def push_until_closed(number: int) -> None:
        for step in range(1000):
            field = number + 32 * step
            name, key = ("notes", f"n{number % 8}") if step % 3 else ("events", f"e{field}")
            try:
                with lock[number % 8]:
                    data = {"id": key, f"f{field}": field}
                    engine.push(name, data, "update" if step % 3 else "create")
                    acknowledged.append(field)
            except EngineClosedError:
                return
            enough.release()

    lock = [threading.Lock() for _ in range(8)]
    for number in range(32):
        crew.start(push_until_closed, number)
    for _ in range(400):
        assert enough.acquire(timeout=BOUND_S)
    assert engine.close(timeout=BOUND_S)
    crew.join()
    left = make(workers=workers)
    result = left.flush(timeout=BOUND_S)
    assert (result.success, result.remaining) == (True, 0)
    arrived = [name for each in server.journal for name in present(each.data) if name[0] == "f"]
    assert len(arrived) == len(set(arrived))
    assert {f"f{field}" for field in acknowledged} <= set(arrived)


def test_each_threads_own_record_keeps_its_order(
    make: Callable[..., SyncEngine], crew: Crew, server: SyncServer
) -> None:
    engine = make(workers=4)
    acknowledged = []

    def push(number: int) -> None:
        engine.push("notes", {"id": f"n{number}"})
        for step in range(15):
            field = number * 100 + step
            engine.push("notes", {"id": f"n{number}", f"f{field}": field}, "update")
            acknowledged.append(field)

    for number in range(32):
        crew.start(push, number)
    crew.join()
    assert engine.flush(timeout=BOUND_S).success
    check(server, acknowledged)
    assert len(acknowledged) == 32 * 15
    assert engine.queue_length == 0


def test_threads_that_wait_all_hear(
    make: Callable[..., SyncEngine], crew: Crew, server: SyncServer
) -> None:
    engine = make(workers=4)
    states = []

    def push_and_wait(number: int) -> None:
        item = engine.push("notes", {"id": str(number)})
        states.append(engine.wait(item, timeout=BOUND_S))

    for number in range(32):
        crew.start(push_and_wait, number)
    crew.join()
    assert states == ["delivered"] * 32


# -- callbacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.wait(engine.push("events", {"id": "from-a-callback"})),
        lambda engine: 1 / 0,
        lambda engine: threading.Event().wait(0.05),
    ],
    ids=["wait", "raise", "sleep"],
)
@pytest.mark.parametrize("kind", ["status", "change", "failure"])
def test_a_callback_may_wait_raise_and_sleep(
    make: Callable[..., SyncEngine], server: SyncServer, kind: str, call: Callable[..., Any]
) -> None:
    server.reject = lambda seen: (
        Reply(422, {"error": "no"}) if "refused" in str(seen.body) else None
    )
    engine = make()
    called = threading.Event()
    pending = ["the one call"]
    seen: list[Any] = []

    def callback(value: SyncStatusInfo | RecordChange | SyncItem) -> None:
        seen.append(value)
        if pending:
            pending.clear()
            try:
                call(engine)
            finally:
                called.set()

    subscribe: dict[str, Callable[..., object]] = {
        "status": engine.on_status_change,
        "change": engine.on_change,
        "failure": engine.on_failure,
    }
    subscribe[kind](callback)
    engine.push("notes", {"id": "refused"})
    engine.push("notes", {"id": "a"})
    assert called.wait(BOUND_S)
    result = engine.flush(timeout=BOUND_S)
    assert result.remaining == 0
    assert engine.close(timeout=BOUND_S)
    assert "a" in [effect.id for effect in server.journal]
    if kind == "status":
        assert seen[-1].status == "closed"


@pytest.mark.parametrize("kind", ["status", "change", "failure"])
def test_a_callback_may_close(
    make: Callable[..., SyncEngine], server: SyncServer, kind: str
) -> None:
    server.always(Reply(422, {"error": "no"}), match="POST")
    engine = make()
    closed = threading.Event()

    def callback(value: SyncStatusInfo | RecordChange | SyncItem) -> None:
        engine.close()
        closed.set()

    subscribe: dict[str, Callable[..., object]] = {
        "status": engine.on_status_change,
        "change": engine.on_change,
        "failure": engine.on_failure,
    }
    subscribe[kind](callback)
    engine.push("notes", {"id": "a"})
    assert closed.wait(BOUND_S)
    engine.close(timeout=BOUND_S)
    with pytest.raises(EngineClosedError):
        engine.push("notes", {"id": "b"})


def test_a_push_never_waits_for_a_callback(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    inside, go_on = threading.Event(), threading.Event()

    def callback(change: RecordChange) -> None:
        inside.set()
        go_on.wait(BOUND_S)

    engine.on_change(callback)
    engine.push("notes", {"id": "a"})
    assert inside.wait(BOUND_S)
    for n in range(20):
        engine.push("notes", {"id": str(n)})
    assert server.wait_for(lambda: len(server.journal) == 21, BOUND_S)
    assert not go_on.is_set()
    go_on.set()


def test_callbacks_are_called_in_order_and_one_at_a_time(
    make: Callable[..., SyncEngine], crew: Crew, server: SyncServer
) -> None:
    engine = make()
    inside = threading.Lock()
    reported = []

    def callback(change: RecordChange) -> None:
        assert inside.acquire(blocking=False)
        reported.append((change.before or {}).get("n"))
        reported.append((change.after or {}).get("n"))
        inside.release()

    engine.on_change(callback)
    engine.pause()
    engine.push("notes", {"id": "a", "n": 0})
    turn = threading.Lock()
    numbers = iter(range(1, 81))

    def edit() -> None:
        for _ in range(10):
            with turn:
                engine.push("notes", {"id": "a", "n": next(numbers)}, "update")

    for _ in range(8):
        crew.start(edit)
    crew.join()
    assert engine.close()
    assert reported == [None, 0] + [each for n in range(1, 81) for each in (n - 1, n)]


# -- several engines ------------------------------------------------------------------------------


def test_two_engines_on_one_file_in_one_process(
    make: Callable[..., SyncEngine], crew: Crew, server: SyncServer
) -> None:
    engines = [make(workers=2), make()]
    acknowledged = []

    def push(number: int) -> None:
        engine = engines[number % 2]
        for step in range(20):
            field = number * 100 + step
            engine.push("events", {"id": f"e{field}", f"f{field}": field})
            acknowledged.append(field)

    for number in range(8):
        crew.start(push, number)
    crew.join()
    for engine in engines:
        assert engine.flush(timeout=BOUND_S).remaining == 0
    check(server, acknowledged)
    assert len(server.journal) == 160
    assert engines[0].close()
    engines[1].push("notes", {"id": "after"})
    assert engines[1].flush(timeout=BOUND_S).success


def test_one_engine_takes_over_from_another_that_is_closed(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.latency_s = 0.01
    first, second = make(), make()
    second.start()
    first.push_many("events", [{"id": str(n)} for n in range(50)])
    assert server.wait_for(lambda: len(server.journal) > 5, BOUND_S)
    assert first.close(timeout=BOUND_S)
    assert server.wait_for(lambda: len(server.journal) == 50, BOUND_S)
    assert sorted(int(effect.id) for effect in server.journal) == list(range(50))


def descriptors() -> int:
    """What the process has open."""
    gc.collect()
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - it counts


@pytest.mark.parametrize("storage", ["file", ":memory:"])
def test_a_hundred_engines_leave_nothing(
    make: Callable[..., SyncEngine], server: SyncServer, path: Path, storage: str
) -> None:
    place = path if storage == "file" else storage

    def use() -> None:
        engine = make(storage=place, durability="normal", workers=2)
        engine.on_status_change(lambda info: None)
        engine.push("notes", {"id": "a"})
        engine.flush(timeout=BOUND_S)
        assert engine.close(timeout=BOUND_S)

    use()
    threads, files = threading.active_count(), descriptors()
    connections = 3  # the server may see an end a moment later
    for _ in range(100):
        use()
    assert descriptors() <= files + connections
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("bytelyst-sync")]
    assert threading.active_count() <= threads + connections


def test_engines_that_nobody_closed_go_with_their_last_reference(
    make: Callable[..., SyncEngine], server: SyncServer, path: Path
) -> None:
    files = descriptors()
    for _ in range(20):
        SyncEngine(SyncConfig(base_url=server.url, entities={"notes": "/notes"}, storage=path))
    assert descriptors() <= files
