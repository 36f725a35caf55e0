"""A server that is down: nothing fails, one item at a time is tried, and all is delivered after."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, ItemState, SyncEngine, SyncStatus
from bytelyst_sync.delivery.throttle import Throttle
from bytelyst_sync.delivery.worker import Worker
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Drop, DropAnswer, ManualClock, Reply, Seen, SyncServer

DOWN: Json = {
    "502": Reply(502, "<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
    "503": Reply(503),
    "504": Reply(504),
    "500": Reply(500),
    "408": Reply(408),
    "lost": DropAnswer(),
    "reset": Drop(),
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def slow(make: Callable[..., SyncEngine], clock: ManualClock) -> Callable[..., SyncEngine]:
    """``slow(**settings)``: an engine with the default waits, on a clock moved by hand."""

    def build(**settings: Any) -> SyncEngine:
        return make(clock=clock, retry_delay=1.0, max_retry_delay=300.0, **settings)

    return build


@pytest.fixture
def pass_time(clock: ManualClock) -> Callable[..., int]:
    """``pass_time(engine, seconds, steps)``: time goes on, and the engine does what is due."""

    def run(seconds: int, steps: int, until: Callable[..., object] = lambda: False) -> Any:
        for _ in range(steps):
            if until():
                break
            clock.advance(seconds)
            time.sleep(0.01)
        return until()

    return run


def test_a_pause_that_ends_between_two_looks_is_noticed(
    make: Callable[..., SyncEngine],
    clock: ManualClock,
    server: SyncServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a round that sends nothing: the entity pauses when the worker looks for ready items, and
    no longer when it looks how long to wait. It must not wait until somebody wakes it.
    """
    finish_round, next_end = Worker._finish_round, Throttle.next_end
    in_round, waits = threading.Event(), []

    def finish(worker: Worker, blocked_for: float | None) -> float:
        if blocked_for is None and not worker._sent_something:
            in_round.set()
        wait = finish_round(worker, blocked_for)
        if in_round.is_set() and worker._throttle.is_outage:
            waits.append(wait)
        in_round.clear()
        return wait

    def end(throttle: Throttle) -> float | None:
        left = next_end(throttle)
        if left is not None and in_round.is_set():
            clock.advance(left)
            left = next_end(throttle)
        return left

    monkeypatch.setattr(random, "random", random.Random(1).random)
    monkeypatch.setattr(Worker, "_finish_round", finish)
    monkeypatch.setattr(Throttle, "next_end", end)
    server.script(DropAnswer(), *[Reply(502)] * 40, match="POST")
    engine = make(clock=clock, retry_delay=0.1, max_retry_delay=0.1)
    engine.push("notes", {"id": "1"})
    deadline = time.monotonic() + 15
    while engine.queue_length and time.monotonic() < deadline:
        clock.advance(0.01)
        time.sleep(0.002)
    assert engine.queue_length == 0
    assert waits, "such a round came"
    assert max(waits) < 1.0


@pytest.mark.parametrize("fault", DOWN)
def test_ten_minutes_of_outage_fail_nothing(
    slow: Callable[..., SyncEngine],
    server: SyncServer,
    pass_time: Callable[..., int],
    writes: Callable[..., list[Seen]],
    fault: str,
) -> None:
    server.always(DOWN[fault], match="POST")
    engine = slow(max_retries=0)
    engine.push_many("notes", [{"id": str(number)} for number in range(5)])
    pass_time(10, 60)
    assert list(engine.failed()) == []
    status = engine.status
    assert (status.status, status.reason) == (SyncStatus.ERROR, "outage")
    assert status.last_error
    assert status.next_retry is not None
    server.clear_script()
    assert pass_time(60, 60, lambda: engine.queue_length == 0)
    assert len(server.records("notes")) == 5
    assert engine.flush(timeout=10).success
    assert engine.status.reason is None


def test_it_backs_off_and_rotates_over_the_records(
    slow: Callable[..., SyncEngine],
    server: SyncServer,
    pass_time: Callable[..., int],
    writes: Callable[..., list[Seen]],
) -> None:
    server.always(Reply(500), match="POST")
    engine = slow()
    engine.push_many("notes", [{"id": str(number)} for number in range(4)])
    pass_time(10, 180)
    tries = Counter(seen.body["id"] for seen in writes(server))
    assert set(tries) == {"0", "1", "2", "3"}
    assert max(tries.values()) - min(tries.values()) <= 1
    assert sum(tries.values()) < 25


def test_an_outage_of_one_entity_leaves_another_alone(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.always(Reply(500), match="POST /notes")
    engine = make(retry_delay=60.0, max_retry_delay=60.0)
    engine.push_many("notes", [{"id": str(number)} for number in range(5)])
    items = engine.push_many("tasks", [{"id": str(number)} for number in range(5)])
    assert {engine.wait(item, timeout=10) for item in items} == {ItemState.DELIVERED}


def test_a_gateways_answer_holds_the_whole_origin(
    make: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    server.always(Reply(502), match="POST /notes")
    engine = make(retry_delay=60.0, max_retry_delay=60.0)
    engine.push("notes", {"id": "1"})
    assert server.wait_for(lambda: writes(server))
    item = engine.push("tasks", {"id": "1"})
    assert engine.wait(item, timeout=0.3) is ItemState.PENDING
    assert not writes(server, "/tasks")


def test_one_bad_record_holds_no_other_up(
    make: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    server.reject = lambda seen: (
        Reply(500) if seen.method == "POST" and seen.body["id"] == "0" else None
    )
    engine = make(retry_delay=60.0, max_retry_delay=60.0)
    bad, *others = engine.push_many("notes", [{"id": str(number)} for number in range(5)])
    assert {engine.wait(item, timeout=10) for item in others} == {ItemState.DELIVERED}
    assert next(engine.queue()).id == bad.id


def test_an_outage_that_lasts_too_long_fails_and_heals_by_itself_once(
    slow: Callable[..., SyncEngine], server: SyncServer, pass_time: Callable[..., int]
) -> None:
    server.always(Reply(500), match="POST")
    engine = slow(give_up_after=3600.0)
    item = engine.push("notes", {"id": "1"})
    pass_time(60, 30)
    assert list(engine.failed()) == []
    assert pass_time(60, 120, lambda: engine.status.failed)
    server.clear_script()
    engine.push("notes", {"id": "2"})
    assert engine.flush(timeout=10).pushed >= 1
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    keys = {
        seen.headers["idempotency-key"]
        for seen in server.requests
        if seen.method == "POST" and seen.body["id"] == "1"
    }
    assert keys == {item.id}


def test_what_a_second_outage_failed_waits_for_a_decision(
    slow: Callable[..., SyncEngine], server: SyncServer, pass_time: Callable[..., int]
) -> None:
    server.always(Reply(500), match="POST")
    engine = slow(give_up_after=3600.0)
    item = engine.push("notes", {"id": "1"})
    assert pass_time(60, 200, lambda: engine.status.failed)
    server.clear_script()
    server.always(Reply(500), match=lambda seen: seen.method == "POST" and seen.body["id"] == "1")
    engine.push("notes", {"id": "2"})
    assert engine.flush(timeout=10).pushed == 1
    assert not engine.status.failed, "it was queued again, once"
    assert pass_time(60, 200, lambda: engine.status.failed)
    server.clear_script()
    engine.push("notes", {"id": "3"})
    assert engine.flush(timeout=10).pushed == 1
    pass_time(60, 10)
    assert [failed.id for failed in engine.failed()] == [item.id]
    assert "1" not in server.records("notes")


def test_a_machine_that_slept_does_not_give_up(
    slow: Callable[..., SyncEngine], server: SyncServer, pass_time: Callable[..., int]
) -> None:
    server.always(Reply(500), match="POST")
    engine = slow()
    engine.push("notes", {"id": "1"})
    pass_time(7 * 86_400, 10)
    assert list(engine.failed()) == []


def test_an_outage_outlives_a_restart(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    tmp_path: Path,
    writes: Callable[..., list[Seen]],
    clock: ManualClock,
) -> None:
    server.always(Reply(502), match="POST")
    settings = {
        "storage": tmp_path / "queue.db",
        "clock": clock,
        "retry_delay": 100.0,
        "max_retry_delay": 100.0,
    }
    engine = make(**settings)
    engine.push("notes", {"id": "1"})
    engine.push("notes", {"id": "2"})
    assert engine.flush(timeout=10).remaining == 2
    assert engine.close()
    before = len(writes(server))
    again = make(**settings)
    again.start()
    assert again.status.next_retry is not None
    time.sleep(0.3)
    assert len(writes(server)) == before
    server.clear_script()
    clock.advance(101)
    assert server.wait_for(lambda: len(server.records("notes")) == 2)


def test_spent_retries_are_those_during_which_others_were_answered(
    make: Callable[..., SyncEngine], poisoned: Callable[..., SyncServer]
) -> None:
    engine = make(max_retries=1)
    item = engine.push("notes", {"id": "1"})
    poisoned(engine)
    assert engine.wait(item, timeout=10) is ItemState.FAILED


def test_a_down_entity_is_tried_by_one_item_at_a_time_whatever_the_workers(
    make: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    server.always(Reply(503), match="POST")
    engine = make(
        workers=8,
        retry_delay=60.0,
        max_retry_delay=60.0,
        entities={"notes": EntityConfig("/notes")},
    )
    engine.push_many("notes", [{"id": str(number)} for number in range(50)])
    engine.flush(timeout=10)
    for _ in range(3):
        before = len(writes(server))
        engine.flush(timeout=10)
        assert len(writes(server)) == before + 1
