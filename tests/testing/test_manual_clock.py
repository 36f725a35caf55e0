"""`ManualClock`, alone and in an engine."""

import gc
import math
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from freezegun import freeze_time

from bytelyst_sync import ItemState, RecordChange, SyncEngine, SyncStatusInfo, create_sync_engine
from bytelyst_sync.testing import FakeServer, ManualClock, Reply, capture_events
from tests.typed import Eventually

BASE = "https://api.example.com"
NOON = datetime(2031, 5, 1, 12, tzinfo=timezone.utc)
PATIENCE_S = 10.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def api(clock: ManualClock) -> Iterator[FakeServer]:
    with FakeServer(BASE, clock=clock.wall) as running:
        yield running


@pytest.fixture
def make(api: FakeServer, clock: ManualClock) -> Iterator[Callable[..., SyncEngine]]:
    engines = []

    def build(**settings: Any) -> SyncEngine:
        defaults = {
            "base_url": api.url,
            "entities": {"notes": "/notes"},
            "storage": ":memory:",
            "probe": None,
            "clock": clock,
        }
        engines.append(create_sync_engine(**{**defaults, **settings}))
        return engines[-1]

    yield build
    assert [engine.close() for engine in engines] == [True] * len(engines)


# --- alone


def test_it_stands_still_until_it_is_moved(clock: ManualClock) -> None:
    before = clock.monotonic()
    assert (clock.now, clock.wall()) == (NOON, NOON.timestamp())
    clock.advance(90)
    assert clock.now == NOON + timedelta(seconds=90)
    assert clock.monotonic() == before + 90
    assert repr(clock) == "<ManualClock 2031-05-01T12:01:30+00:00>"


def test_it_can_be_set_back_and_no_time_goes_by(clock: ManualClock) -> None:
    before = clock.monotonic()
    clock.set(NOON - timedelta(days=1))
    assert clock.now == NOON - timedelta(days=1)
    clock.set(12.5)
    assert clock.wall() == 12.5
    assert clock.monotonic() == before


def test_it_starts_at_the_same_time_everywhere() -> None:
    assert ManualClock().now == datetime(2030, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_time_does_not_go_back(clock: ManualClock, seconds: float) -> None:
    with pytest.raises(ValueError, match="time goes on by 0 or more seconds"):
        clock.advance(seconds)
    assert clock.now == NOON


def test_it_goes_on_to_a_time_and_just_past_it(clock: ManualClock) -> None:
    for hours in (0, 1, 2):
        when = NOON + timedelta(hours=hours, microseconds=333)
        clock.advance_to(when)
        assert when.timestamp() < clock.wall() < when.timestamp() + 3e-6
    with pytest.raises(ValueError, match=r"it is past 2031-05-01T12:00:00.* already"):
        clock.advance_to(NOON)


@pytest.mark.parametrize("when", [datetime(2031, 5, 1), math.nan])  # noqa: DTZ001 - that is the point
def test_a_time_that_is_none(clock: ManualClock, when: datetime | float) -> None:
    with pytest.raises(ValueError, match="give an aware datetime"):
        ManualClock(when)
    with pytest.raises(ValueError, match="give an aware datetime"):
        clock.set(when)


def test_it_wakes_who_asked_for_it(clock: ManualClock) -> None:
    woken = []
    clock.subscribe(lambda: woken.append(clock.now))
    clock.advance(1)
    clock.set(NOON)
    assert woken == [NOON + timedelta(seconds=1), NOON]


def test_it_keeps_nobody_alive(clock: ManualClock) -> None:
    class Waiter:
        woken = 0

        def wake(self) -> None:
            Waiter.woken += 1

    waiter = Waiter()
    clock.subscribe(waiter.wake)
    clock.advance(1)
    del waiter
    gc.collect()
    clock.advance(1)
    clock.subscribe(lambda: None)
    assert Waiter.woken == 1
    assert len(clock._wakes) == 1


def test_many_threads_may_move_it(clock: ManualClock) -> None:
    def move() -> None:
        for _ in range(200):
            clock.advance(1)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert clock.now == NOON + timedelta(seconds=800)


# --- in an engine


def test_what_is_stored_carries_its_time(
    clock: ManualClock, make: Callable[..., SyncEngine]
) -> None:
    engine = make()
    clock.advance(60)
    item = engine.push("notes", {"title": "x"})
    assert item.timestamp == NOON + timedelta(seconds=60)
    assert engine.flush(timeout=PATIENCE_S).timestamp == clock.now
    assert engine.status.last_sync == clock.now


def test_a_backoff_ends_when_the_clock_says_so(
    api: FakeServer, clock: ManualClock, make: Callable[..., SyncEngine], eventually: Eventually
) -> None:
    engine = make(retry_delay=3600.0, max_retry_delay=3600.0)
    api.script(Reply(500), match="POST")
    item = engine.push("notes", {"title": "x"})
    due = eventually(lambda: next(engine.queue()).next_attempt, PATIENCE_S)
    assert NOON < due <= NOON + timedelta(hours=1)
    assert engine.wait(item, timeout=0.05) is ItemState.PENDING
    clock.advance_to(due)
    assert engine.wait(item, timeout=PATIENCE_S) is ItemState.DELIVERED


def test_a_pause_of_the_server_ends_when_the_clock_says_so(
    api: FakeServer, clock: ManualClock, make: Callable[..., SyncEngine]
) -> None:
    engine = make()
    api.script(Reply(503, headers={"Retry-After": "600"}), match="POST")
    item = engine.push("notes", {"title": "x"})
    engine.flush(timeout=PATIENCE_S)
    assert engine.status.next_retry == NOON + timedelta(seconds=600)
    clock.advance(599)
    engine.flush(timeout=PATIENCE_S)
    assert len(api.requests) == 1
    clock.advance(1)
    assert engine.wait(item, timeout=PATIENCE_S) is ItemState.DELIVERED


def test_a_regular_pull_comes_once_for_each_move(
    api: FakeServer, clock: ManualClock, make: Callable[..., SyncEngine]
) -> None:
    engine = make(pull_interval=300.0)
    engine.start()
    with capture_events(engine) as events:
        for number in range(3):
            api.put("notes", {"id": str(number)})
            clock.advance(300)
            events.wait_for(
                lambda e, n=number: isinstance(e, RecordChange) and e.record_id == str(n)  # type: ignore[misc]  # no lambda with defaults is inferred
            )
    assert len(api.requests) == 3


def test_a_probe_comes_when_the_clock_says_so(
    api: FakeServer, clock: ManualClock, make: Callable[..., SyncEngine]
) -> None:
    asked = threading.Semaphore(0)

    def probe() -> bool:
        asked.release()
        return True

    engine = make(probe=probe, probe_interval=60.0)
    engine.start()
    engine.flush(timeout=PATIENCE_S)
    assert not asked.acquire(timeout=0.05)
    clock.advance(60)
    assert asked.acquire(timeout=PATIENCE_S)


def test_being_back_online_is_noticed_when_the_clock_says_so(
    api: FakeServer, clock: ManualClock, make: Callable[..., SyncEngine]
) -> None:
    engine = make(probe="auto")
    with capture_events(engine) as events, api.outage():
        item = engine.push("notes", {"title": "x"})
        events.wait_for(lambda e: isinstance(e, SyncStatusInfo) and not e.online)
    for _ in range(100):  # the probe, and after it the short delay that spreads a fleet
        clock.advance(20)
        if engine.wait(item, timeout=0.1) is ItemState.DELIVERED:
            break
    assert engine.wait(item, timeout=0) is ItemState.DELIVERED


@pytest.mark.parametrize("workers", [1, 4])
def test_work_needs_no_time_to_pass(
    api: FakeServer, make: Callable[..., SyncEngine], workers: int
) -> None:
    engine = make(workers=workers)
    engine.push_many("notes", [{"id": str(number)} for number in range(300)])
    assert engine.flush(timeout=PATIENCE_S).success
    assert len(api.journal) == 300


def test_a_caller_s_timeout_is_real_time(api: FakeServer, make: Callable[..., SyncEngine]) -> None:
    engine = make()
    engine.pause()
    item = engine.push("notes", {"title": "x"})
    assert engine.wait(item, timeout=0.05) is ItemState.PENDING
    assert engine.flush(timeout=0.05).remaining == 1


def test_a_closed_engine_is_not_woken_up(
    clock: ManualClock, make: Callable[..., SyncEngine]
) -> None:
    engine = make()
    engine.start()
    engine.close()
    clock.advance(1)
    assert engine.status.status == "closed"


def test_freezegun_does_not_disturb_it(
    api: FakeServer, clock: ManualClock, make: Callable[..., SyncEngine]
) -> None:
    with freeze_time("2020-01-01"):
        engine = make()
        item = engine.push("notes", {"title": "x"})
        assert engine.wait(item, timeout=PATIENCE_S) is ItemState.DELIVERED
        assert item.timestamp == NOON
        assert not api.wait_for(lambda: False, timeout=0.05)
        assert engine.close()
