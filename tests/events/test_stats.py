"""``engine.stats()``: exact numbers."""

import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from bytelyst_sync import Dialect, EngineClosedError, Request, SyncEngine, SyncStats
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from bytelyst_sync.testing import ManualClock
from tests.events.conftest import Collected
from tests.typed import NewPage


def numbers(stats: SyncStats) -> Json:
    """Those that are not nought."""
    values = attrs.asdict(stats)
    values.pop("since")
    return {name: value for name, value in values.items() if value}


def test_a_new_engine_has_done_nothing(
    engine: Callable[..., SyncEngine], clock: ManualClock
) -> None:
    began = clock.now
    idle = engine()
    clock.advance(60)
    assert idle.stats() == SyncStats(since=began)


def test_a_day_of_work(
    engine: Callable[..., SyncEngine],
    clock: ManualClock,
    answer: Callable[..., Callable[[Request], Response]],
    page: NewPage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current = {"current": {"id": "1", "a": 5, "version": "v2"}}
    worker = engine(
        page({"id": "1", "a": 1, "version": "v1"}, {"id": "9"}),
        answer(412, current, seconds=1.0),  # the update of 1: a conflict, the server wins
        answer(500, seconds=2.0),  # the create of 2, once
        answer(403, {"error": "no"}, seconds=3.0),  # the create of 3
        answer(201, seconds=4.0),  # the create of 2, again
        max_retries=1,
        retry_delay=30.0,
    )
    monkeypatch.setattr("random.random", lambda: 0.5)
    worker.pull()
    worker.push("notes", {"id": "1", "a": 2}, "update")
    worker.push("notes", {"id": "1", "b": 2}, "update")
    worker.push("notes", {"id": "2"})
    worker.push("notes", {"id": "3"})
    worker.push("notes", {"id": "3", "b": 1}, "update")
    worker.push("notes", {"id": "4"})
    worker.delete("notes", "4")
    pushed = clock.wall()
    worker.flush(10)
    clock.advance(30)
    worker.flush(10)
    assert numbers(worker.stats()) == {
        "pushed": 4,
        "coalesced": 3,
        "requests": 4,
        "sent": 4,
        "delivered": 1,
        "retried": 1,
        "failed": 1,
        "conflicts": 1,
        "pulled": 2,
        "request_duration": pytest.approx((1 + 2 + 3 + 4) / 4),
        "delivery_duration": pytest.approx(clock.wall() - pushed),
        "failed_now": 1,
    }


def test_what_is_queued_now(engine: Callable[..., SyncEngine]) -> None:
    writer = engine()
    writer.push_many("notes", [{"id": str(number)} for number in range(5)])
    assert numbers(writer.stats()) == {"pushed": 5, "queue_length": 5}


def test_parked_conflicts_now(
    engine: Callable[..., SyncEngine],
    answer: Callable[..., Callable[[Request], Response]],
    page: NewPage,
) -> None:
    current = {"current": {"id": "1", "a": 5, "version": "v2"}}
    writer = engine(
        page({"id": "1", "a": 1, "version": "v1"}), answer(412, current), conflict="manual"
    )
    writer.pull()
    writer.push("notes", {"id": "1", "a": 2}, "update")
    writer.flush(10)
    stats = writer.stats()
    assert (stats.conflicts, stats.conflicts_now) == (1, 1)


def test_a_batch_is_one_request_with_many_operations(
    engine: Callable[..., SyncEngine], answer: Callable[..., Callable[[Request], Response]]
) -> None:
    writer = engine(answer(503), dialect=Dialect.kinto())
    writer.push_many("notes", [{"id": str(number)} for number in range(7)])
    writer.flush(10)
    stats = writer.stats()
    assert (stats.requests, stats.sent, stats.delivered) == (1, 7, 0)


def test_numbers_are_kept_without_a_telemetry(engine: Callable[..., SyncEngine]) -> None:
    writer = engine(telemetry=None)
    writer.push("notes", {"id": "1"})
    writer.flush(10)
    assert (writer.stats().pushed, writer.stats().delivered) == (1, 1)


def test_a_push_that_was_rolled_back_is_not_counted(engine: Callable[..., SyncEngine]) -> None:
    writer = engine()

    def change_my_mind() -> None:
        with writer.transaction():
            writer.push("notes", {"id": "1"})
            raise LookupError

    with pytest.raises(LookupError):
        change_my_mind()
    assert writer.stats().pushed == 0


def test_the_last_numbers_of_a_closed_engine(engine: Callable[..., SyncEngine]) -> None:
    writer = engine()
    writer.push("notes", {"id": "1"})
    writer.close()
    with pytest.raises(EngineClosedError):
        writer.push("notes", {"id": "2"})
    assert numbers(writer.stats()) == {"pushed": 1, "queue_length": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_goes_on_counting(
    engine: Callable[..., SyncEngine], events: Collected, tmp_path: Path
) -> None:
    writer = engine(storage=str(tmp_path / "app.db"))
    writer.push("notes", {"id": "1"})
    events.of("pushed")
    child = os.fork()
    if child == 0:
        try:
            writer.push("notes", {"id": "2"})
            events.wait(lambda all_of_them: len(all_of_them) >= 2)
            os._exit(writer.stats().pushed)
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert writer.stats().pushed == 1
