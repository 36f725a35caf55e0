"""Pulls in the background have a thread of their own: nothing waits for them."""

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, Request, SyncEngine
from bytelyst_sync.http.transport import Response
from bytelyst_sync.replica.server_state import mark_stale
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.testing import DropAnswer, ManualClock, Reply, Seen, Stall, SyncServer
from tests.conftest import Wire
from tests.typed import Eventually, InThread, NewEngine, NewPage, present


class Gate:
    """Holds the pulls that reach a server until they are let go. A transport."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.entered, self.open = threading.Event(), threading.Event()

    def send(self, request: Request) -> Response:
        if request.method == "GET":
            self.entered.set()
            assert self.open.wait(10)
        return self.wire.send(request)


def pulling() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "bytelyst-sync-pull"]


def test_a_pull_in_the_background_holds_up_neither_pushes_nor_deliveries(
    wire: Wire, new_engine: NewEngine, eventually: Eventually
) -> None:
    gate = Gate(wire)
    engine = new_engine(transport=gate, pull_interval=0.01, auto_flush=True)
    engine.start()
    assert gate.entered.wait(10)
    item = engine.push("notes", {"id": "1"})
    assert engine.wait(item, timeout=10) == "delivered"
    assert engine.flush(timeout=10).success
    assert len(pulling()) == 1, "the pull is still waiting"
    gate.open.set()


def test_a_delivery_under_way_holds_up_no_pull(
    wire: Wire, new_engine: NewEngine, eventually: Eventually
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def before(seen: Seen) -> None:
        if seen.method == "POST":
            entered.set()
            assert go_on.wait(10)

    wire.before = before
    wire.store.change("notes", "create", {"id": "theirs"})
    engine = new_engine(transport=wire, pull_interval=0.01, auto_flush=True)
    engine.push("notes", {"id": "mine"})
    assert entered.wait(10)
    eventually(lambda: engine.get("notes", "theirs"))
    go_on.set()


def test_the_thread_ends_when_nothing_is_left_and_comes_again(
    wire: Wire, new_engine: NewEngine, eventually: Eventually
) -> None:
    engine = new_engine(transport=wire)
    for number in range(3):
        wire.store.change("notes", "create", {"id": str(number)})
        engine._core.running().pull_scheduler.request(["notes"])
        eventually(lambda number=number: engine.get("notes", str(number)))
        eventually(lambda: not pulling())


def test_close_interrupts_a_pull_between_two_pages(
    new_engine: NewEngine, page: NewPage, eventually: Eventually
) -> None:
    asked = []

    class Endless:
        def send(self, request: Request) -> Response:
            asked.append(request)
            return page({"id": str(len(asked))}, cursor=str(len(asked)), has_more=True)

    engine = new_engine(transport=Endless(), pull_interval=0.01)
    engine.start()
    eventually(lambda: len(asked) > 3)
    assert engine.close(timeout=5)
    assert not pulling()


def test_close_does_not_wait_for_a_page_longer_than_it_may(
    new_engine: NewEngine, wire: Wire, eventually: Eventually
) -> None:
    gate = Gate(wire)
    engine = new_engine(transport=gate, pull_interval=0.01)
    engine.start()
    assert gate.entered.wait(10)
    began = time.monotonic()
    assert not engine.close(timeout=0.2)
    assert time.monotonic() - began < 5
    gate.open.set()
    eventually(lambda: not pulling())
    assert engine.close()


def test_a_pause_interrupts_a_pull_and_resume_goes_on(
    new_engine: NewEngine, wire: Wire, eventually: Eventually
) -> None:
    for number in range(30):
        wire.store.change("notes", "create", {"id": str(number)})
    engine = new_engine(
        transport=wire,
        entities={"notes": EntityConfig("/notes", page_size=1)},
    )
    scheduler = engine._core.running().pull_scheduler
    third = threading.Event()

    def pause(seen: Seen) -> None:
        if len(wire.seen) == 3:
            engine.pause()
            third.set()

    wire.before = pause
    scheduler.request(["notes"])
    assert third.wait(10)
    eventually(lambda: scheduler._requested)
    assert len(wire.seen) == 3
    engine.resume()
    eventually(lambda: engine.count("notes") == 30)


def test_an_error_in_a_background_pull_is_reported_and_the_next_one_comes(
    new_engine: NewEngine, wire: Wire, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    engine = new_engine(transport=wire, pull_interval=60, clock=clock)
    engine.push("notes", {"id": "x"})
    puller = engine._core.running().puller
    good = puller.pull

    def bad(*arguments: list[str] | float, **options: Any) -> None:
        monkeypatch.setattr(puller, "pull", good)
        raise RuntimeError("a fault")

    monkeypatch.setattr(puller, "pull", bad)
    engine.start()
    wire.store.change("notes", "create", {"id": "1"})
    clock.advance(61)
    eventually(lambda: engine.status.status == "error")
    assert "a fault" in present(engine.status.last_error)
    clock.advance(61)
    eventually(lambda: engine.get("notes", "1"))
    eventually(lambda: engine.status.status == "idle")


@pytest.mark.parametrize("durability", ["normal", "full"])
@pytest.mark.parametrize(("count", "length"), [(20_000, 10), (20, 2**20)])
def test_a_large_page_holds_up_no_push(
    new_engine: NewEngine,
    tmp_path: Path,
    in_thread: InThread,
    count: int,
    length: int,
    durability: str,
) -> None:
    rows = [{"id": str(number), "title": "x" * length} for number in range(count)]
    body = json.dumps({"items": rows, "cursor": "c", "has_more": False}).encode()

    class Large:
        def send(self, request: Request) -> Response:
            return Response(200, {}, body, request.url)

    engine = new_engine(transport=Large(), storage=tmp_path / "app.db", durability=durability)
    engine.push("notes", {"title": "first"})
    pulled = in_thread(engine.pull)
    largest, pushes = 0.0, 0
    pause = threading.Event()
    while pushes < 10 or engine.count("notes", {"id": str(count - 1)}) == 0:
        began = time.perf_counter()
        engine.push("notes", {"title": "x"})
        largest = max(largest, time.perf_counter() - began)
        pushes += 1
        pause.wait(0.01)
    assert pulled(30).pulled == count
    # one commit of a hundred rows, or of a megabyte; a page at once would be a second
    assert largest < 0.5


def test_a_pull_ends_at_the_real_timeout_whatever_the_engines_clock(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url, clock=ManualClock())
    server.script(Stall(5), match="GET /notes")
    began = time.monotonic()
    assert not engine.pull(timeout=0.3).success
    assert time.monotonic() - began < 3


def pulls(server: SyncServer, path: str) -> int:
    return sum((seen.method, seen.path) == ("GET", path) for seen in server.requests)


def seconds_to_retry(engine: SyncEngine, clock: ManualClock) -> float:
    return round((present(engine.status.next_retry) - clock.now).total_seconds(), 3)


def failed_pulls(engine: SyncEngine) -> int:
    """How often the pull of the notes has failed, as far as the engine has noted it."""
    return engine._core.running().pull_scheduler._retries.get("notes", (0, 0))[0]


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backoffs are as long as they can be."""
    monkeypatch.setattr(random, "random", lambda: 1.0)


@pytest.mark.usefixtures("no_jitter")
def test_pulls_that_fail_back_off_each_entity_by_itself(
    new_engine: NewEngine, server: SyncServer, eventually: Eventually
) -> None:
    clock = ManualClock()
    server.always(Reply(500, {"error": "no rows"}), match="GET /notes")
    engine = new_engine(
        server.url,
        clock=clock,
        entities={"notes": "/notes", "tasks": "/tasks"},
        auto_flush=True,
        pull_interval=10.0,
        retry_delay=1.0,
        max_retry_delay=60.0,
    )
    engine.start()
    failed_at: list[Any] = []
    for tick in range(1, 25):
        eventually(lambda: engine._core.running().pull_scheduler._thread is not None)
        clock.advance(10)
        eventually(lambda tick=tick: pulls(server, "/tasks") == tick)
        eventually(lambda: failed_pulls(engine) == pulls(server, "/notes"))
        if pulls(server, "/notes") > len(failed_at):
            failed_at.append(tick)
    assert failed_at == [1, 3, 7, 13, 19], "10, 20 and 40 s apart, and then a minute"
    assert engine.status.status == "error"
    assert "no rows" in present(engine.status.last_error)
    assert seconds_to_retry(engine, clock) == 10 * (25 - 24), "the tick after the minute"
    server.clear_script()
    assert engine.pull(timeout=10).success
    eventually(lambda: engine.status.status == "idle")
    assert engine.status.last_error is None
    assert engine.status.next_retry is None
    notes = pulls(server, "/notes")
    clock.advance(10)
    eventually(lambda: pulls(server, "/notes") == notes + 1)


# records to be read again


@pytest.fixture
def refused() -> Iterator[SyncServer]:
    """An engine on a manual clock, and a server that refuses to give a record whose state here
    may be old.
    """
    with SyncServer() as server:
        yield server


def lose_answer(engine: SyncEngine, server: SyncServer, key: str, eventually: Eventually) -> None:
    """An update of the record is given up after its answer was lost: its state must be read."""
    server.script(DropAnswer(), match="PATCH")
    engine.push("notes", {"id": key, "x": 2}, "update")
    eventually(lambda: next(engine.queue()).last_error)
    assert engine.clear_queue() == 1


def failures(engine: SyncEngine) -> int:
    """How often the reading of record 1 has failed, as far as the engine has noted it."""
    return engine._core.running().stale_records._failures.get(("notes", "1"), (0, 0))[0]


def stale(
    new_engine: NewEngine, server: SyncServer, clock: ManualClock, eventually: Eventually
) -> SyncEngine:
    engine = new_engine(
        server.url, clock=clock, auto_flush=True, retry_delay=60.0, max_retry_delay=300.0
    )
    server.put("notes", {"id": "1", "x": 1})
    engine.pull()
    server.always(Reply(403, {"error": "no more yours"}), match="GET /notes/1")
    lose_answer(engine, server, "1", eventually)
    eventually(lambda: failures(engine) == 1)
    return engine


def reads(server: SyncServer) -> int:
    return sum((seen.method, seen.path) == ("GET", "/notes/1") for seen in server.requests)


@pytest.mark.usefixtures("no_jitter")
def test_a_reading_that_fails_backs_off_and_is_reported(
    new_engine: NewEngine, refused: SyncServer, eventually: Eventually
) -> None:
    clock = ManualClock()
    engine = stale(new_engine, refused, clock, eventually)
    for number, seconds in enumerate((5, 10, 20, 40), start=1):
        assert seconds_to_retry(engine, clock) == seconds
        clock.advance(seconds - 1)
        assert reads(refused) == number, "further and further apart"
        clock.advance(1)
        eventually(lambda number=number: failures(engine) == number + 1)
        assert reads(refused) == number + 1
    eventually(lambda: engine.status.status == "error")
    assert "HTTP 403" in present(engine.status.last_error)
    refused.clear_script()
    clock.advance(300)
    eventually(lambda: present(engine.get("notes", "1"))["x"] == 2)
    eventually(lambda: not engine._core.running().pull_scheduler.trouble)


def test_a_record_that_cannot_be_read_holds_up_no_other(
    new_engine: NewEngine, refused: SyncServer, eventually: Eventually
) -> None:
    clock = ManualClock()
    engine = stale(new_engine, refused, clock, eventually)
    refused.put("notes", {"id": "2", "x": 1})
    engine.pull()
    clock.advance(300)
    lose_answer(engine, refused, "2", eventually)
    eventually(lambda: present(engine.get("notes", "2"))["x"] == 2)


@pytest.mark.parametrize(("chance", "seconds"), [(0.2, 3.0), (0.5, 3.75)])
def test_readings_of_many_devices_do_not_come_back_at_one_instant(
    new_engine: NewEngine,
    refused: SyncServer,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    chance: float,
    seconds: float,
) -> None:
    monkeypatch.setattr(random, "random", lambda: chance)
    clock = ManualClock()
    engine = stale(new_engine, refused, clock, eventually)
    assert seconds_to_retry(engine, clock) == seconds


@pytest.mark.usefixtures("no_jitter")
def test_readings_of_a_server_that_fails_pause_together(
    new_engine: NewEngine, refused: SyncServer, eventually: Eventually
) -> None:
    def is_reading(seen: Seen) -> bool:
        return seen.method == "GET" and seen.path.startswith("/notes/")

    clock = ManualClock()
    engine = new_engine(refused.url, clock=clock, auto_flush=True, max_retry_delay=300.0)
    for number in range(30):
        refused.put("notes", {"id": str(number), "x": 1})
    assert engine.pull(timeout=10).success
    refused.always(Reply(500, {"error": "no reading"}), match=is_reading)
    run = engine._core.running()
    entity = run.entities["notes"]

    def mark_all(work: UnitOfWork) -> None:
        for number in range(30):
            mark_stale(work.tx, entity, str(number))

    engine._core.write(lambda work, _run: mark_all(work))
    counts: list[Any] = []
    for seconds in (0, 5, 10, 20, 40):
        clock.advance(seconds)
        run.pull_scheduler.wake()
        eventually(lambda: sum(map(is_reading, refused.requests)) > sum(counts))
        eventually(run.stale_records.wait_s)
        counts.append(sum(map(is_reading, refused.requests)) - sum(counts))
    assert counts == [2, 1, 1, 1, 1]
    eventually(lambda: engine.status.status == "error")
    assert "no reading" in present(engine.status.last_error)
    refused.clear_script()
    clock.advance(300)
    eventually(lambda: run.stale_records.wait_s() is None)
    eventually(lambda: engine.status.status == "idle")
    assert engine.status.last_error is None
