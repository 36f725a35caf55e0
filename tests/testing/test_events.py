"""`capture_events`: what an engine tells, in order."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from freezegun import freeze_time

from bytelyst_sync import EngineClosedError, RecordChange, SyncEngine, SyncItem, SyncStatusInfo
from bytelyst_sync.testing import EngineFactory, FakeServer, Reply, capture_events
from tests.typed import present

PATIENCE_S = 10.0


@pytest.fixture
def api() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def engine(api: FakeServer) -> Iterator[SyncEngine]:
    with EngineFactory(api.url) as make:
        yield make(entities={"notes": "/notes"}, auto_flush=False)


def of_record(record: str) -> Callable[..., bool]:
    return lambda event: isinstance(event, RecordChange) and event.record_id == record


def test_all_kinds_in_the_order_in_which_they_were_reported(
    api: FakeServer, engine: SyncEngine
) -> None:
    api.script(Reply(422, {"error": "no"}), match="POST")
    with capture_events(engine) as events:
        engine.push("notes", {"id": "1"})
        engine.flush(timeout=PATIENCE_S)
    kinds = [type(event) for event in events.all]
    assert kinds == [RecordChange, SyncStatusInfo, SyncItem, SyncStatusInfo]
    assert events.statuses == ["syncing", "error"]
    assert [change.record_id for change in events.changes] == ["1"]
    assert [item.record_id for item in events.failures] == ["1"]


def test_nothing_is_recorded_before_or_after(engine: SyncEngine) -> None:
    engine.push("notes", {"id": "before"})
    engine.flush(timeout=PATIENCE_S)
    with capture_events(engine) as events:
        pass
    engine.push("notes", {"id": "after"})
    engine.flush(timeout=PATIENCE_S)
    assert events.all == []


def test_the_close_of_the_engine_is_an_event(engine: SyncEngine) -> None:
    with capture_events(engine) as events:
        engine.close()
    assert events.statuses == ["closed"]


def test_a_closed_engine_tells_nothing(engine: SyncEngine) -> None:
    engine.close()
    with pytest.raises(EngineClosedError), capture_events(engine):
        pass


def test_waiting_for_an_event_that_was_reported_already(engine: SyncEngine) -> None:
    with capture_events(engine) as events:
        engine.push("notes", {"id": "1"})
        engine.flush(timeout=PATIENCE_S)
        event = events.wait_for(of_record("1"), timeout=0.0)
        assert isinstance(event, RecordChange)
        assert event.after == {"id": "1"}


def test_waiting_for_an_event_that_is_reported_later(engine: SyncEngine) -> None:
    with capture_events(engine) as events:
        thread = threading.Timer(0.05, engine.push, ("notes", {"id": "1"}))
        thread.start()
        assert events.wait_for(of_record("1"), timeout=PATIENCE_S) in events.all
        thread.join(PATIENCE_S)


def test_waiting_ends_with_a_list_of_the_reported_events(engine: SyncEngine) -> None:
    with capture_events(engine) as events:
        with pytest.raises(TimeoutError, match=r"within 0.02 s; told was: nothing"):
            events.wait_for(of_record("2"), timeout=0.02)
        engine.push("notes", {"id": "1", "title": "a secret"})
        events.wait_for(of_record("1"), timeout=PATIENCE_S)
        with pytest.raises(TimeoutError, match="record_id='1'") as caught:
            events.wait_for(of_record("2"), timeout=0.02)
    assert "secret" not in str(caught.value)


def test_each_event_is_asked_about_once(engine: SyncEngine) -> None:
    asked: list[Any] = []
    with capture_events(engine) as events:
        for number in range(3):
            engine.push("notes", {"id": str(number)})
        events.wait_for(of_record("2"), timeout=PATIENCE_S)
        with pytest.raises(TimeoutError):
            events.wait_for(asked.append, timeout=0.02)
    assert asked == events.all


def test_an_error_of_the_predicate_is_the_tests_own(engine: SyncEngine) -> None:
    with capture_events(engine) as events:
        engine.push("notes", {"id": "1"})
        with pytest.raises(ZeroDivisionError):
            events.wait_for(lambda _: 1 / 0, timeout=PATIENCE_S)


def test_reported_events_can_be_cleared(engine: SyncEngine) -> None:
    with capture_events(engine) as events:
        engine.push("notes", {"id": "1"})
        events.wait_for(of_record("1"), timeout=PATIENCE_S)
        events.clear()
        assert events.all == []
        engine.push("notes", {"id": "1", "title": "x"})
        event = events.wait_for(of_record("1"), timeout=PATIENCE_S)
        assert isinstance(event, RecordChange)
        assert present(event.after)["title"] == "x"
    assert "record_id='1'" in repr(events)


def test_forgetting_while_somebody_waits(engine: SyncEngine) -> None:
    with capture_events(engine) as events:
        found = []
        thread = threading.Thread(
            target=lambda: found.append(events.wait_for(of_record("9"), timeout=PATIENCE_S))
        )
        thread.start()
        for number in range(10):
            engine.push("notes", {"id": str(number)})
            if number < 9:
                events.clear()
        thread.join(PATIENCE_S)
    assert [getattr(event, "record_id", None) for event in found] == ["9"]


def test_two_may_listen(engine: SyncEngine) -> None:
    with capture_events(engine) as one, capture_events(engine) as other:
        engine.push("notes", {"id": "1"})
        engine.flush(timeout=PATIENCE_S)
    assert one.all == other.all != []


def test_waiting_ends_under_frozen_time(engine: SyncEngine) -> None:
    with (
        freeze_time("2031-05-01"),
        capture_events(engine) as events,
        pytest.raises(TimeoutError),
    ):
        events.wait_for(of_record("1"), timeout=0.02)
