"""push(expires=...): an item that is not sent in time fails, and blocks no other item."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, InvalidDataError, ItemState, Request, SyncItem
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.expiry import expire_due, next_expiry
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import Lane
from bytelyst_sync.testing import ManualClock
from tests.conftest import Scripted
from tests.queue.conftest import Queue
from tests.typed import NewEngine, present

LOST = AttemptResult(meaning=Verdict.UNKNOWN)
OFFLINE = AttemptResult(meaning=Verdict.OFFLINE, unprocessed=True)


class TimedQueue(Queue):
    def timed(
        self, entity: str, data: Json, operation: str = "create", after: float | None = None
    ) -> SyncItem:
        expires = None if after is None else self.now + after
        found: SyncItem = self.push(entity, data, operation, expires=expires)
        return found


@pytest.fixture
def notes() -> TimedQueue:
    return TimedQueue(
        projects=EntityConfig("/projects"),
        notes=EntityConfig("/notes", references={"project": "projects"}),
    )


def expire(queue: Queue, seconds: float = 10.0) -> int:
    queue.now += seconds
    return queue.run(expire_due)


def test_an_unsent_item_fails_and_leaves_the_view(notes: TimedQueue) -> None:
    notes.arrive("notes", "a", {"id": "a", "title": "old"})
    item = notes.timed("notes", {"id": "a", "title": "new"}, "update", after=5)
    assert present(notes.view("notes", "a"))["title"] == "new"
    expire(notes)
    row = present(notes.item(item))
    assert (row.lane, row.error) == (Lane.FAILED, "expired before it could be sent")
    assert [each.seq for each in notes.effects.failed] == [item.seq]
    assert present(notes.view("notes", "a"))["title"] == "old"


def test_it_blocks_nothing(notes: TimedQueue) -> None:
    notes.arrive("notes", "a", {"id": "a"})
    notes.timed("notes", {"id": "a", "title": 1}, "update", after=5)
    second = notes.timed("notes", {"id": "a", "title": 2}, "update")
    assert notes.lane(second) is Lane.BLOCKED
    expire(notes)
    assert notes.lane(second) is Lane.READY
    third = notes.push("notes", {"id": "a", "title": 3}, "update")
    assert third.seq == second.seq
    assert notes.deliver().seq == second.seq


def test_a_creates_later_items_and_children_fail_too(notes: TimedQueue) -> None:
    create = notes.timed("projects", {"id": "p"}, after=5)
    later = notes.timed("projects", {"id": "p", "name": "x"}, "update")
    child = notes.push("notes", {"id": "n", "project": "p"})
    expire(notes)
    assert [notes.lane(each) for each in (create, later, child)] == [Lane.FAILED] * 3
    assert "the create of its record expired" in present(present(notes.item(later)).error)
    assert "project refers to projects/p, whose create expired" in present(
        present(notes.item(child)).error
    )
    assert notes.view("projects", "p") is None
    anew = notes.push("projects", {"id": "p"})
    assert notes.lane(anew) is Lane.READY


def test_what_was_queued_before_an_expired_create_does_not_fail_with_it(notes: TimedQueue) -> None:
    notes.arrive("projects", "p", {"id": "p"})
    child = notes.push("notes", {"id": "n", "project": "p"})
    notes.push("projects", {"id": "p"}, "delete")
    notes.timed("projects", {"id": "p"}, after=5)
    expire(notes)
    assert notes.lane(child) is Lane.READY


def test_a_child_that_may_have_been_processed_does_not_fail_with_its_parent(
    notes: TimedQueue,
) -> None:
    parent = notes.timed("projects", {"id": "p"}, after=5)
    expire(notes)
    child = notes.push("notes", {"id": "a", "project": "p"})
    notes.settle(notes.claim()[0], LOST)
    assert reprocess(notes) == 1
    notes.settle(notes.claim()[0], REJECTED)
    assert notes.lane(parent) is Lane.FAILED
    assert notes.run(lambda work: notes.control.discard_failed(work, None)) == 1
    assert present(notes.item(child)).frozen
    assert notes.lane(child) is not Lane.FAILED


def test_a_frozen_one_is_not_sent_again_and_its_outcome_is_unknown(notes: TimedQueue) -> None:
    item = notes.timed("notes", {"id": "a"}, after=5)
    notes.settle(notes.claim()[0], LOST)
    expire(notes)
    row = present(notes.item(item))
    assert (row.lane, row.frozen, row.expired) == (Lane.FAILED, 1, None)
    assert "may have been processed" in present(row.error)
    later = notes.push("notes", {"id": "a", "title": 2}, "update")
    assert notes.lane(later) is Lane.BLOCKED


def test_one_that_was_proven_unsent_counts_as_never_sent(notes: TimedQueue) -> None:
    item = notes.timed("notes", {"id": "a"}, after=5)
    notes.settle(notes.claim()[0], OFFLINE)
    expire(notes)
    assert present(notes.item(item)).expired


def test_an_item_being_sent_is_checked_after_its_answer(notes: TimedQueue) -> None:
    item = notes.timed("notes", {"id": "a"}, after=5)
    (claim,) = notes.claim()
    expire(notes)
    assert notes.lane(item) is Lane.SENDING
    notes.deliver(claim)
    assert notes.rows() == []


def test_it_is_not_claimed_after_its_time(notes: TimedQueue) -> None:
    notes.timed("notes", {"id": "a"}, after=5)
    other = notes.push("notes", {"id": "b"})
    notes.now += 5
    assert [claim.item.seq for claim in notes.claim(9)] == [other.seq]


def test_items_of_different_expiry_are_not_merged(notes: TimedQueue) -> None:
    first = notes.timed("notes", {"id": "a"}, after=5)
    assert notes.timed("notes", {"id": "a"}, "update", after=6).seq != first.seq
    assert notes.push("notes", {"id": "a"}, "update").seq != first.seq


def test_items_of_the_same_expiry_are_merged(notes: TimedQueue) -> None:
    first = notes.timed("notes", {"id": "a"}, after=5)
    assert notes.timed("notes", {"id": "a", "n": 1}, "update", after=5).seq == first.seq


def test_a_reprocessed_one_is_queued_last_without_expiry(notes: TimedQueue) -> None:
    notes.arrive("notes", "a", {"id": "a"})
    first = notes.timed("notes", {"id": "a", "title": 1}, "update", after=5)
    second = notes.push("notes", {"id": "a", "title": 2}, "update")
    expire(notes)
    assert notes.run(lambda work: notes.control.reprocess(work, None)) == 1
    again = notes.rows_of("notes", "a")[-1]
    assert again.seq > second.seq > first.seq
    assert (again.expires, again.expired, again.lane) == (None, None, Lane.BLOCKED)
    assert notes.effects.moved[first.seq] == again.seq


def test_reprocessed_ones_keep_the_order_of_their_record(notes: TimedQueue) -> None:
    """An earlier attempt that was refused for now moved the first behind the others."""
    first = notes.timed("notes", {"id": "a", "title": 1}, after=5)
    (claim,) = notes.claim()
    notes.timed("notes", {"id": "a", "title": 2}, "update")
    busy = AttemptResult(meaning=Verdict.BUSY, status=429, unprocessed=True)
    notes.settle(claim, busy)
    expire(notes)
    assert notes.storage.read(notes.control.failed_items)[0].seq == first.seq
    assert notes.run(lambda work: notes.control.reprocess(work, None)) == 2
    assert [item.operation for item in notes.rows_of("notes", "a")] == ["create", "update"]


def test_children_wait_for_a_reprocessed_create(notes: TimedQueue) -> None:
    parent = notes.timed("projects", {"id": "p"}, after=5)
    child = notes.timed("notes", {"id": "a", "project": "p"})
    expire(notes)
    assert notes.lane(child) is Lane.FAILED
    assert notes.run(lambda work: notes.control.reprocess(work, None)) == 2
    assert notes.lane(child) is Lane.BLOCKED
    assert present(notes.item(child)).blocker == parent.seq, "it has kept its place"


def test_a_child_that_was_pushed_meanwhile_waits_for_a_reprocessed_create(
    notes: TimedQueue,
) -> None:
    parent = notes.timed("projects", {"id": "p"}, after=5)
    expire(notes)
    child = notes.timed("notes", {"id": "a", "project": "p"})
    assert notes.lane(child) is Lane.READY, "nothing waits for what expired"
    notes.run(lambda work: notes.control.reprocess(work, None))
    assert present(notes.item(child)).blocker == parent.seq


def test_a_create_that_was_pushed_again_meanwhile_is_reprocessed_behind_it(
    notes: TimedQueue,
) -> None:
    first = notes.timed("notes", {"id": "a", "title": 1}, after=5)
    expire(notes)
    second = notes.timed("notes", {"id": "a", "title": 2})
    notes.run(lambda work: notes.control.reprocess(work, None))
    assert notes.item(first) is None
    assert notes.rows_of("notes", "a")[0].seq == second.seq


REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)


def reprocess(queue: Queue) -> int:
    return queue.run(lambda work: queue.control.reprocess(work, None))


@pytest.mark.parametrize("passes", ["after it is queued again", "while it is failed"])
def test_one_that_failed_for_another_reason_still_expires(notes: TimedQueue, passes: str) -> None:
    item = notes.timed("notes", {"id": "a"}, after=5)
    notes.settle(notes.claim()[0], REJECTED)
    if passes == "while it is failed":
        expire(notes)
        assert present(notes.item(item)).error != "expired before it could be sent"
        assert notes.storage.read(lambda tx: next_expiry(tx, notes.now)) is None, "looked at once"
    assert reprocess(notes) == 1
    assert present(notes.item(item)).expires == notes.now + 5 - (10 if "while" in passes else 0)
    expire(notes, 0 if "while" in passes else 5)
    row = present(notes.item(item))
    assert (row.lane, row.error) == (Lane.FAILED, "expired before it could be sent")
    assert reprocess(notes) == 1, "what expired is sent all the same"
    assert notes.rows_of("notes", "a")[-1].expires is None


@pytest.mark.parametrize("passes", ["after the decision", "while it is parked"])
def test_a_resolved_one_still_expires(make_queue: type[Queue], passes: str) -> None:
    notes = make_queue(notes=EntityConfig("/notes", conflict="manual"))
    notes.arrive("notes", "a", {"id": "a", "title": 0}, 1)
    item = notes.push("notes", {"id": "a", "title": 1}, "update", expires=notes.now + 5)
    conflict = AttemptResult(
        meaning=Verdict.CONFLICT, status=412, record={"id": "a", "title": 2}, version=2
    )
    notes.settle(notes.claim()[0], conflict)
    row = notes.item(item)
    assert row is not None
    assert row.lane is Lane.PARKED
    if passes == "while it is parked":
        expire(notes)
        assert present(notes.item(item)).lane is Lane.PARKED
    notes.run(lambda work: notes.resolver.resolve(work, present(present(row).conflict), "local"))
    assert notes.lane(item) is Lane.READY
    expire(notes, 0 if passes == "while it is parked" else 5)
    row = notes.item(item)
    assert row is not None
    assert (row.lane, row.error) == (Lane.FAILED, "expired before it could be sent")
    assert present(notes.view("notes", "a"))["title"] == 2


@pytest.mark.parametrize(
    ("times", "expected"), [((5, 9), 9), ((9, 5), 9), ((5, None), None), ((None, 5), None)], ids=str
)
def test_what_one_conflict_covers_expires_when_the_last_of_it_does(
    make_queue: type[Queue], times: tuple[int | None, int | None], expected: int | None
) -> None:
    notes = make_queue(notes=EntityConfig("/notes", conflict="client-wins"))
    notes.arrive("notes", "a", {"id": "a", "title": 0}, 1)
    items = [
        notes.push(
            "notes",
            {"id": "a", f"f{number}": 1},
            "update",
            expires=None if after is None else notes.now + after,
        )
        for number, after in enumerate(times)
    ]
    conflict = AttemptResult(
        meaning=Verdict.CONFLICT, status=412, record={"id": "a", "title": 2}, version=2
    )
    notes.settle(notes.claim()[0], conflict)
    row = present(notes.item(items[0]))
    assert row.expires == (None if expected is None else notes.now + expected)


def test_a_later_item_that_failed_with_its_create_keeps_its_own_time(notes: TimedQueue) -> None:
    create = notes.timed("notes", {"id": "a"}, after=5)
    later = notes.timed("notes", {"id": "a", "title": 1}, "update", after=60)
    expire(notes)
    assert [notes.lane(each) for each in (create, later)] == [Lane.FAILED] * 2
    assert reprocess(notes) == 2
    first, second = notes.rows_of("notes", "a")
    assert (first.expires, second.expires) == (None, notes.now + 50)


def test_one_that_an_outage_failed_still_expires(new_engine: NewEngine) -> None:
    """Its outage ended after its time: it is not sent."""
    clock, sent, down = ManualClock(), [], [True]

    class Server:
        def send(self, request: Request) -> Response:
            sent.append(request.url.rpartition("/")[2])
            return Response(500 if down[0] else 204, {}, b"", request.url)

    settings: Json = {"give_up_after": 100.0, "max_retry_delay": 60.0}
    engine = new_engine(clock=clock, transport=Server(), **settings)
    engine.push("notes", {"id": "a", "n": 1}, "update", expires=600)
    while not any(engine.failed()):
        engine.flush(timeout=10)
        clock.advance(60)
        assert len(sent) < 100
    clock.advance(601)
    engine.flush(timeout=10)
    down[0] = False
    engine.push("notes", {"id": "b", "n": 1}, "update")
    engine.flush(timeout=10)
    engine.flush(timeout=10)
    assert sent[-2:] == ["a", "b"]
    (failed,) = engine.failed()
    assert "expired" in present(failed.last_error)


def test_a_push_is_not_merged_with_a_failed_one_whose_time_has_passed(notes: TimedQueue) -> None:
    item = notes.timed("notes", {"id": "a"}, after=5)
    notes.settle(notes.claim()[0], REJECTED)
    expire(notes)
    assert notes.push("notes", {"id": "a", "title": 1}, "update").seq != item.seq


def test_the_next_expiry(notes: TimedQueue) -> None:
    assert notes.storage.read(lambda tx: next_expiry(tx, notes.now)) is None
    notes.timed("notes", {"id": "a"}, after=5)
    assert notes.storage.read(lambda tx: next_expiry(tx, notes.now)) == 5.0
    assert notes.storage.read(lambda tx: next_expiry(tx, notes.now + 9)) == 0.0


# --- through the engine


def test_an_offline_engine_fails_it_in_time(new_engine: NewEngine) -> None:
    clock = ManualClock()
    engine = new_engine(clock=clock, auto_flush=True, storage=":memory:", transport=Offline())
    item = engine.push("notes", {"id": "a"}, expires=timedelta(minutes=1))
    kept = engine.push("notes", {"id": "b"})
    clock.advance(61)
    assert engine.wait(item, timeout=10) is ItemState.FAILED
    assert [each.last_error for each in engine.failed()] == ["expired before it could be sent"]
    assert engine.get("notes", "a") is None
    assert [each.id for each in engine.queue()] == [kept.id]


class Offline:
    def send(self, request: Request) -> None:
        from bytelyst_sync import OfflineError  # noqa: PLC0415

        raise OfflineError("no network")


def test_one_that_expires_while_it_waits_for_a_sender_is_not_sent(new_engine: NewEngine) -> None:
    clock = ManualClock()
    sent = []

    class Slow:
        def send(self, request: Request) -> Response:
            sent.append(request.url.rpartition("/")[2])
            clock.advance(60)
            return Response(204, {}, b"", request.url)

    engine = new_engine(clock=clock, transport=Slow())
    first = engine.push("notes", {"id": "a", "title": 1}, "update", expires=30)
    second = engine.push("notes", {"id": "b", "title": 1}, "update", expires=30)
    assert engine.wait(first, timeout=0) is ItemState.PENDING
    assert engine.flush(timeout=10).pushed == 1
    assert sent == ["a"]
    assert engine.wait(second, timeout=10) is ItemState.FAILED


def test_none_of_many_that_wait_for_a_sender_is_sent_after_its_time(new_engine: NewEngine) -> None:
    """Several are claimed at once, before their time."""
    clock, sent = ManualClock(), []

    class Slow:
        def send(self, request: Request) -> Response:
            sent.append(clock.monotonic())
            clock.advance(2)
            return Response(204, {}, b"", request.url)

    engine = new_engine(clock=clock, transport=Slow())
    began = clock.monotonic()
    for number in range(40):
        engine.push("notes", {"id": str(number), "title": 1}, "update", expires=30)
    engine.flush(timeout=10)
    assert max(sent) - began < 30
    assert len(sent) + len(list(engine.failed())) == 40


@pytest.mark.parametrize(
    "expires",
    [30, 30.0, timedelta(seconds=30), datetime(2100, 1, 1, tzinfo=timezone.utc)],
    ids=["seconds", "float", "timedelta", "datetime"],
)
def test_the_forms_of_expires(new_engine: NewEngine, expires: float | timedelta | datetime) -> None:
    engine = new_engine()
    assert engine.push("notes", {"id": "a"}, expires=expires).record_id == "a"


@pytest.mark.parametrize(
    "expires", [-1, timedelta(days=-73_000), datetime(1850, 1, 1, tzinfo=timezone.utc)], ids=repr
)
def test_what_has_expired_before_its_push_is_never_sent(
    new_engine: NewEngine, scripted: type[Scripted], expires: int | timedelta | datetime
) -> None:
    wire = scripted(Response(201, {}, b"{}", ""))
    engine = new_engine(transport=wire)
    engine.push("notes", {"id": "a"}, expires=expires)
    engine.flush(timeout=10)
    assert wire.requests == []
    assert [each.last_error for each in engine.failed()] == ["expired before it could be sent"]


@pytest.mark.parametrize(
    "expires",
    [True, "30", float("nan"), float("inf"), datetime(2100, 1, 1, tzinfo=None)],  # noqa: DTZ001
    ids=repr,
)
def test_bad_forms_of_expires(new_engine: NewEngine, expires: Any) -> None:
    engine = new_engine()
    with pytest.raises(InvalidDataError, match="expires is"):
        engine.push("notes", {"id": "a"}, expires=expires)
    assert engine.queue_length == 0
