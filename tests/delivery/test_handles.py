"""Handles: waiting for an item, taking it back, giving it another chance, and what is counted."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from bytelyst_sync import (
    EntityConfig,
    InvalidDataError,
    ItemState,
    QueueFullError,
    RecordDeletedError,
    SyncEngine,
    SyncError,
    SyncItem,
    SyncOperation,
)
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Drop, DropAnswer, Lose, Reply, Seen, Stall, SyncServer
from tests.delivery.conftest import Recorder
from tests.typed import T, present

NOTE = {"id": "1", "title": "first"}
SEVERAL = {"notes": EntityConfig("/notes", dedup="none")}


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "memory" else tmp_path / "queue.db"


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


def rejected(engine: SyncEngine, server: SyncServer, data: Json = NOTE) -> SyncItem:
    """A note that the server refused for good."""
    item = engine.push("notes", data)
    server.script(Reply(422, {"error": "no"}), match="POST")
    engine.flush(timeout=10)
    assert engine.wait(item, timeout=10) is ItemState.FAILED
    return item


# --- wait


def test_wait_returns_delivered_when_the_server_acknowledged(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    item = engine.push("notes", NOTE)
    assert item.state is ItemState.PENDING
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert list(server.records("notes")) == ["1"]


def test_wait_returns_failed_when_the_server_refuses(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    server.script(Reply(422, {"error": "no"}))
    assert engine.wait(engine.push("notes", NOTE), timeout=10) is ItemState.FAILED


def test_wait_returns_failed_when_the_budget_is_spent(
    make: Callable[..., SyncEngine], poisoned: Callable[..., SyncServer]
) -> None:
    engine = make(max_retries=2)
    item = engine.push("notes", NOTE)
    poisoned(engine)
    assert engine.wait(item, timeout=10) is ItemState.FAILED


def test_wait_returns_cancelled_after_a_cancel(held: Callable[..., SyncEngine]) -> None:
    engine = held()
    item = engine.push("notes", NOTE)
    assert engine.cancel(item)
    assert engine.wait(item, timeout=10) is ItemState.CANCELLED


def test_wait_returns_cancelled_when_a_delete_cancelled_the_create(
    held: Callable[..., SyncEngine],
) -> None:
    engine = held()
    item = engine.push("notes", NOTE)
    assert engine.delete("notes", "1") is None
    assert engine.wait(item, timeout=10) is ItemState.CANCELLED


def test_wait_returns_cancelled_for_what_was_cleared(held: Callable[..., SyncEngine]) -> None:
    engine = held()
    item = engine.push("notes", NOTE)
    assert engine.clear_queue() == 1
    assert engine.wait(item, timeout=10) is ItemState.CANCELLED


def test_wait_returns_conflict_when_it_was_parked(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make(conflict="manual")
    server.put("notes", {"id": "1", "title": "theirs"})
    assert engine.wait(engine.push("notes", NOTE), timeout=10) is ItemState.CONFLICT
    assert only(engine.conflicts()).record_id == "1"


def test_wait_returns_settled_for_what_left_unseen(
    held: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    path = tmp_path / "shared.db"
    one, other = held(storage=path), held(storage=path)
    item = one.push("notes", NOTE)
    assert other.flush(timeout=10).success
    assert other.wait(item, timeout=10) in (ItemState.DELIVERED, ItemState.SETTLED)
    assert one.wait(item, timeout=10) is ItemState.SETTLED


def test_wait_returns_settled_after_a_restart(
    held: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    path = tmp_path / "restart.db"
    engine = held(storage=path)
    item = engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    assert engine.close()
    assert held(storage=path).wait(item, timeout=10) is ItemState.SETTLED


def test_wait_at_its_timeout_returns_the_state_as_it_is(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    item = engine.push("notes", NOTE)
    began = time.monotonic()
    assert engine.wait(item, timeout=0.05) is ItemState.PENDING
    assert engine.wait(item, timeout=0) is ItemState.PENDING
    assert time.monotonic() - began < 2


def test_wait_at_its_timeout_says_that_it_is_being_sent(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(Stall(0.5), match="POST")
    engine = make()
    item = engine.push("notes", NOTE)
    assert server.wait_for(lambda: server.in_flight)
    assert engine.wait(item, timeout=0.01) is ItemState.SENDING
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED


def test_a_handle_follows_the_item_it_was_coalesced_into(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    first = engine.push("notes", NOTE)
    second = engine.push("notes", {"id": "1", "body": "x"}, "update")
    third = engine.push("notes", {"id": "1", "body": "y"}, "update")
    assert len({first.id, second.id, third.id}) == 3
    assert engine.queue_length == 1
    assert engine.flush(timeout=10).success
    for handle in (first, second, third):
        assert engine.wait(handle, timeout=10) is ItemState.DELIVERED
    assert server.records("notes")["1"]["body"] == "y"


def test_a_coalesced_handle_may_be_cancelled(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    first = engine.push("notes", NOTE)
    engine.push("notes", {"id": "1", "body": "x"}, "update")
    assert engine.cancel(first)
    assert engine.queue_length == 0


def test_a_waiting_thread_is_woken_by_the_delivery(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    item = engine.push("notes", NOTE)
    states = []
    thread = threading.Thread(target=lambda: states.append(engine.wait(item, timeout=10)))
    thread.start()
    engine.flush(timeout=10)
    thread.join(10)
    assert states == [ItemState.DELIVERED]


def test_states_are_plain_strings_too(make: Callable[..., SyncEngine], server: SyncServer) -> None:
    engine = make()
    item = engine.push("notes", NOTE, SyncOperation.CREATE)
    assert engine.wait(item, timeout=10) == "delivered"
    assert f"{item.operation} {item.state}" == "create pending"


# --- cancel


def test_cancel_takes_an_update_back_and_the_view_follows(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    item = engine.push("notes", {"id": "1", "title": "edited"}, "update")
    assert present(engine.get("notes", "1"))["title"] == "edited"
    assert engine.cancel(item) is True
    assert present(engine.get("notes", "1"))["title"] == "first"
    assert engine.cancel(item) is False
    assert engine.flush(timeout=10).success
    assert [effect.kind for effect in server.journal] == ["create"]


def test_cancel_of_a_delete_brings_the_record_back(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    item = present(engine.delete("notes", "1"))
    assert engine.get("notes", "1") is None
    assert engine.cancel(item)
    assert present(engine.get("notes", "1"))["title"] == "first"


def test_cancel_of_a_create_takes_its_records_later_items_with_it(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=SEVERAL)
    create = engine.push("notes", NOTE)
    later = [engine.push("notes", {"id": "1", "n": n}, "update") for n in range(2)]
    engine.push("notes", {"id": "2"})
    assert engine.cancel(create) is True
    assert engine.queue_length == 1
    assert engine.get("notes", "1") is None
    for item in later:
        assert engine.wait(item, timeout=10) is ItemState.CANCELLED
    assert engine.flush(timeout=10).success
    assert list(server.records("notes")) == ["2"]


def test_cancel_of_an_update_leaves_the_records_other_items(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=SEVERAL)
    engine.push("notes", NOTE)
    middle = engine.push("notes", {"id": "1", "n": 1}, "update")
    engine.push("notes", {"id": "1", "n": 2}, "update")
    assert engine.cancel(middle)
    assert engine.flush(timeout=10).success
    assert [present(effect.data).get("n") for effect in server.journal] == [None, 2]


@pytest.mark.parametrize("fault", [Reply(500), Reply(503), DropAnswer(), Drop()], ids=str)
def test_a_frozen_item_cannot_be_cancelled(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    drain: Callable[..., int],
    fault: Reply | Lose | Drop,
) -> None:
    engine = held()
    item = engine.push("notes", NOTE)
    server.script(fault, match="POST")
    engine.flush(timeout=10)
    assert engine.cancel(item) is False
    assert drain(engine) == 0
    assert [effect.kind for effect in server.journal] == ["create"]


def test_an_item_that_is_being_sent_cannot_be_cancelled(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(Stall(0.2), match="POST")
    engine = make()
    item = engine.push("notes", NOTE)
    assert server.wait_for(lambda: server.in_flight)
    assert engine.cancel(item) is False
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert engine.cancel(item) is False


# --- failed items


def test_failed_lists_what_failed_oldest_first(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.always(Reply(400, {"error": "no"}), match="POST")
    engine = held()
    engine.push_many("notes", [{"id": n} for n in range(3)])
    engine.push("tasks", {"id": "t"})
    engine.flush(timeout=10)
    assert [item.record_id for item in engine.failed()] == ["0", "1", "2", "t"]
    assert {item.state for item in engine.failed()} == {ItemState.FAILED}
    assert list(engine.queue()) == []
    assert (engine.queue_length, engine.status.failed) == (0, 4)


def test_failed_items_survive_a_restart(
    held: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    path = tmp_path / "restart.db"
    engine = held(storage=path)
    item = rejected(engine, server)
    assert engine.close()
    again = held(storage=path)
    failed = only(again.failed())
    assert (failed.id, failed.data) == (item.id, NOTE)
    assert present(failed.last_error).endswith(" 'no'; see engine.failed()")
    assert again.flush(timeout=10).pushed == 0


def test_on_failure_tells_of_each_failed_item_once(
    held: Callable[..., SyncEngine], server: SyncServer, recorder: type[Recorder]
) -> None:
    server.always(Reply(400, {"error": "no"}), match="POST /notes")
    engine = held()
    reported, silent = recorder(), recorder()
    engine.on_failure(reported)
    engine.on_failure(silent)()
    items = engine.push_many("notes", [{"id": n} for n in range(3)])
    engine.push("tasks", {"id": "t"})
    engine.flush(timeout=10)
    assert reported.wait(lambda failed: len(failed) == 3)
    assert [item.id for item in reported.values] == [item.id for item in items]
    assert {item.state for item in reported.values} == {ItemState.FAILED}
    assert silent.values == []


def test_on_failure_tells_when_the_budget_is_spent(
    make: Callable[..., SyncEngine], poisoned: Callable[..., SyncServer], recorder: type[Recorder]
) -> None:
    engine = make(max_retries=1)
    reported = recorder()
    engine.on_failure(reported)
    engine.push("notes", NOTE)
    poisoned(engine)
    assert reported.wait(lambda failed: failed)
    assert only(reported.values).retry_count == 1


@pytest.mark.parametrize("max_retries", [0, 1, 4])
def test_the_budget_is_spent_only_while_others_are_answered(
    make: Callable[..., SyncEngine],
    poisoned: Callable[..., SyncServer],
    writes: Callable[..., list[Seen]],
    max_retries: int,
) -> None:
    engine = make(max_retries=max_retries)
    item = engine.push("notes", NOTE)
    server = poisoned(engine, Reply(500, {"error": "still broken"}))
    assert engine.wait(item, timeout=10) is ItemState.FAILED
    tries = [seen for seen in writes(server) if seen.body["id"] == "1"]
    assert len(tries) >= 2 + max_retries
    assert {seen.headers["idempotency-key"] for seen in tries} == {item.id}
    failed = only(engine.failed())
    assert failed.retry_count == max_retries
    assert "still broken" in present(failed.last_error)
    assert failed.next_attempt is None


# --- a second chance


def test_a_rejected_item_goes_back_under_a_new_key(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    engine = held()
    item = rejected(engine, server)
    assert engine.reprocess_failed() == 1
    again = only(engine.queue())
    assert again.id != item.id
    assert (again.retry_count, again.data, again.state) == (0, NOTE, ItemState.PENDING)
    assert list(engine.failed()) == []
    assert engine.flush(timeout=10).success
    assert writes(server)[-1].headers["idempotency-key"] == again.id
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED


def test_a_rejected_item_is_repaired_by_data(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    item = rejected(engine, server)
    repair = {"id": "1", "title": "repaired"}
    assert engine.reprocess_failed([item.id], data=repair) == 1
    assert engine.get("notes", "1") == repair
    assert engine.flush(timeout=10).success
    assert server.records("notes")["1"]["title"] == "repaired"


def test_a_repair_may_leave_the_id_out_and_not_change_it(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    item = rejected(engine, server)
    with pytest.raises(InvalidDataError) as raised:
        engine.reprocess_failed([item.id], data={"id": "2", "title": "x"})
    assert raised.value.path == "$.id"
    assert only(engine.failed()).data == NOTE
    assert engine.reprocess_failed([item.id], data={"title": "repaired"}) == 1
    assert only(engine.queue()).data == {"id": "1", "title": "repaired"}


@pytest.mark.parametrize("ids", [None, [], ["a", "b"]])
def test_data_needs_exactly_one_id(
    held: Callable[..., SyncEngine], server: SyncServer, ids: list[str] | None
) -> None:
    engine = held()
    rejected(engine, server)
    with pytest.raises(ValueError, match="one"):
        engine.reprocess_failed(ids, data=NOTE)
    assert len(list(engine.failed())) == 1


@pytest.mark.parametrize("fault", [DropAnswer(), Drop(), Reply(500)], ids=str)
def test_an_item_of_unknown_outcome_goes_back_under_its_old_key(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    writes: Callable[..., list[Seen]],
    fault: Lose | Drop | Reply,
) -> None:
    engine = held(give_up_after=1e-6)
    item = engine.push("notes", NOTE)
    server.script(fault, fault, match="POST")
    assert engine.flush(timeout=10).errors == 1
    assert engine.flush(timeout=10).errors == 1
    with pytest.raises(SyncError):
        engine.reprocess_failed([item.id], data={"id": "1", "title": "other"})
    assert only(engine.failed()).id == item.id
    assert engine.reprocess_failed([item.id]) == 1
    assert only(engine.queue()).retry_count == 0
    assert engine.flush(timeout=10).success
    assert {seen.headers["idempotency-key"] for seen in writes(server)} == {item.id}
    assert len({seen.content for seen in writes(server)}) == 1
    assert [effect.kind for effect in server.journal] == ["create"]


def test_a_failed_item_of_unknown_outcome_is_not_coalesced(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(give_up_after=1e-6)
    item = engine.push("notes", NOTE)
    server.script(DropAnswer(), DropAnswer(), match="POST")
    engine.flush(timeout=10)
    engine.flush(timeout=10)
    later = engine.push("notes", {"id": "1", "title": "later"}, "update")
    assert only(engine.failed()).id == item.id
    assert engine.flush(timeout=10).remaining == 1
    assert only(engine.queue()).id == later.id
    assert engine.reprocess_failed() == 1
    assert engine.flush(timeout=10).success
    assert [effect.kind for effect in server.journal] == ["create", "update"]


def test_a_reprocessed_item_gets_a_fresh_budget(
    make: Callable[..., SyncEngine],
    poisoned: Callable[..., SyncServer],
    writes: Callable[..., list[Seen]],
) -> None:
    engine = make(max_retries=1)
    item = engine.push("notes", NOTE)
    server = poisoned(engine)
    assert engine.wait(item, timeout=10) is ItemState.FAILED
    before = len([seen for seen in writes(server) if seen.body["id"] == "1"])
    assert engine.reprocess_failed(item) == 1
    poisoned(engine)
    assert engine.wait(item, timeout=10) is ItemState.FAILED
    assert len([seen for seen in writes(server) if seen.body["id"] == "1"]) >= before + 3


def test_only_the_ids_given_are_reprocessed(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.always(Reply(400, {"error": "no"}), match="POST")
    engine = held()
    first, second = engine.push_many("notes", [{"id": "1"}, {"id": "2"}])
    engine.flush(timeout=10)
    server.clear_script()
    assert engine.reprocess_failed([first.id, "no such id"]) == 1
    assert only(engine.failed()).id == second.id
    assert engine.reprocess_failed(["no such id"]) == 0
    assert engine.flush(timeout=10).pushed == 1


def test_a_new_operation_repairs_a_rejected_one_under_a_new_key(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    item = rejected(engine, server)
    repaired = engine.push("notes", {"id": "1", "title": "better"}, "update")
    assert repaired.id != item.id
    assert list(engine.failed()) == []
    assert only(engine.queue()).operation is SyncOperation.CREATE
    assert engine.flush(timeout=10).success
    assert server.records("notes")["1"]["title"] == "better"
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED


def test_a_delete_of_a_rejected_create_makes_both_vanish(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    engine = held()
    rejected(engine, server)
    assert engine.delete("notes", "1") is None
    assert list(engine.failed()) == []
    assert engine.flush(timeout=10).success
    assert len(writes(server)) == 1


def test_discard_failed_drops_it_and_the_view_returns_to_the_servers_state(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    engine.push("notes", {"id": "1", "title": "refused"}, "update")
    server.script(Reply(422, {"error": "no"}), match="PATCH")
    engine.flush(timeout=10)
    assert present(engine.get("notes", "1"))["title"] == "refused"
    assert engine.discard_failed() == 1
    assert present(engine.get("notes", "1"))["title"] == "first"
    assert list(engine.failed()) == []
    assert engine.status.failed == 0
    assert engine.discard_failed() == 0


def test_discard_of_a_create_drops_its_records_later_items(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=SEVERAL)
    create = engine.push("notes", NOTE)
    engine.push("notes", {"id": "1", "n": 1}, "update")
    engine.push("notes", {"id": "1", "n": 2}, "update")
    server.script(Reply(422, {"error": "no"}), match="POST")
    engine.flush(timeout=10)
    assert engine.queue_length == 2
    assert engine.discard_failed([create.id]) == 3
    assert (engine.queue_length, list(engine.failed())) == (0, [])
    assert engine.get("notes", "1") is None
    assert engine.wait(create, timeout=10) is ItemState.CANCELLED


def test_discard_of_an_update_lets_its_records_later_items_go(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=SEVERAL)
    engine.push("notes", NOTE)
    engine.push("notes", {"id": "1", "n": 1}, "update")
    engine.push("notes", {"id": "1", "n": 2}, "update")
    server.script(Reply(422, {"error": "no"}), match="PATCH")
    assert engine.flush(timeout=10).remaining == 1
    assert engine.discard_failed() == 1
    assert engine.flush(timeout=10).success
    assert [present(effect.data).get("n") for effect in server.journal] == [None, 2]


def test_clear_queue_drops_what_is_queued(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    engine.push("notes", {"id": "1", "title": "edited"}, "update")
    engine.push("tasks", {"id": "t"})
    assert engine.clear_queue() == 2
    assert (engine.queue_length, list(engine.queue())) == (0, [])
    assert present(engine.get("notes", "1"))["title"] == "first"
    assert engine.get("tasks", "t") is None
    assert engine.flush(timeout=10).success
    assert engine.clear_queue() == 0


def test_clear_queue_leaves_what_is_being_sent(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    effects: Callable[..., list[tuple[str, str]]],
) -> None:
    server.script(Stall(0.2), match="POST")
    engine = make(entities=SEVERAL)
    item = engine.push("notes", NOTE)
    assert server.wait_for(lambda: server.in_flight)
    later = engine.push("notes", {"id": "1", "n": 1}, "update")
    other = engine.push("notes", {"id": "2"})
    assert engine.clear_queue() == 2
    assert engine.queue_length == 1
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert engine.wait(later, timeout=10) is ItemState.CANCELLED
    assert engine.wait(other, timeout=10) is ItemState.CANCELLED
    assert effects(server) == [("create", "1")]


# --- what is counted and listed


def test_queue_length_is_exact_at_every_step(
    held: Callable[..., SyncEngine], server: SyncServer, drain: Callable[..., int]
) -> None:
    engine = held()
    lengths = [engine.queue_length]
    engine.push("notes", NOTE)
    lengths.append(engine.queue_length)
    engine.push("notes", {"id": "1", "title": "x"}, "update")
    lengths.append(engine.queue_length)
    engine.push_many("notes", [{"id": n} for n in range(2, 6)])
    lengths.append(engine.queue_length)
    engine.delete("notes", "2")
    lengths.append(engine.queue_length)
    engine.cancel(next(engine.queue()))
    lengths.append(engine.queue_length)
    server.script(Reply(422, {"error": "no"}), None, Reply(500), match="POST")
    engine.flush(timeout=10)
    lengths.append(engine.queue_length)
    drain(engine)
    lengths.append(engine.queue_length)
    engine.reprocess_failed()
    lengths.append(engine.queue_length)
    assert lengths == [0, 1, 1, 5, 4, 3, 1, 0, 1]


def test_queue_length_counts_what_is_being_sent(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(Stall(0.2), match="POST")
    engine = make()
    engine.push("notes", NOTE)
    assert server.wait_for(lambda: server.in_flight)
    assert engine.queue_length == engine.status.queue_length == 1
    assert only(engine.queue()).state is ItemState.SENDING
    assert engine.flush(timeout=10).remaining == engine.queue_length == 0


def test_queue_lists_oldest_first_and_is_a_snapshot(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push_many("notes", [{"id": n} for n in "cab"])
    engine.push("tasks", {"id": "t"})
    snapshot = engine.queue()
    engine.push("notes", {"id": "later"})
    assert [item.record_id for item in snapshot] == ["c", "a", "b", "t"]


def test_an_item_says_what_it_is_and_its_repr_shows_no_payload(
    held: Callable[..., SyncEngine],
) -> None:
    engine = held()
    item = engine.push("notes", {"id": "1", "title": "confidential"})
    assert (item.entity, item.record_id, item.operation) == ("notes", "1", "create")
    assert item.data == {"id": "1", "title": "confidential"}
    assert present(item.timestamp.utcoffset()).total_seconds() == 0
    assert "confidential" not in repr(item)
    assert only(engine.queue()) == item


# --- many at once


def test_push_many_returns_its_items_in_order(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    items = engine.push_many("notes", ({"id": n, "n": n} for n in range(50)))
    assert [item.record_id for item in items] == [str(n) for n in range(50)]
    assert [item.id for item in engine.queue()] == [item.id for item in items]
    assert engine.push_many("notes", []) == []
    assert engine.flush(timeout=10).pushed == 50


@pytest.mark.parametrize("bad", [{"id": ""}, {"id": "9", "x": float("nan")}, ["no object"], None])
def test_push_many_is_all_or_nothing(
    held: Callable[..., SyncEngine], bad: Json | list[str] | None
) -> None:
    engine = held()
    with pytest.raises(InvalidDataError):
        engine.push_many("notes", [{"id": "1"}, bad, {"id": "2"}])  # type: ignore[list-item]  # wrong on purpose
    assert engine.queue_length == 0
    assert list(engine.records("notes")) == []


def test_push_many_past_the_queues_bound_queues_nothing(held: Callable[..., SyncEngine]) -> None:
    engine = held(max_queue_length=3)
    engine.push("notes", {"id": "0"})
    with pytest.raises(QueueFullError):
        engine.push_many("notes", [{"id": n} for n in "abc"])
    assert only(engine.queue()).record_id == "0"
    engine.push_many("notes", [{"id": n} for n in "ab"])
    engine.push("notes", {"id": "0", "title": "coalesces, so it fits"}, "update")
    assert engine.queue_length == 3


def test_push_many_leaves_out_what_cancelled_a_create(held: Callable[..., SyncEngine]) -> None:
    engine = held()
    engine.push("notes", {"id": "1"})
    items = engine.push_many("notes", [{"id": "1"}, {"id": "2"}], "delete")
    assert [item.record_id for item in items] == ["2"]
    assert engine.queue_length == 1


# --- transactions


def test_a_transaction_commits_together_across_entities(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    seen_inside = []
    with engine.transaction():
        one = engine.push("notes", NOTE)
        engine.push_many("tasks", [{"id": "a"}, {"id": "b"}])
        engine.delete("notes", "gone")
        seen_inside.append(engine.queue_length)
    assert seen_inside == [0]
    assert [item.record_id for item in engine.queue()] == ["1", "a", "b", "gone"]
    assert engine.flush(timeout=10).success
    assert engine.wait(one, timeout=10) is ItemState.DELIVERED


def test_a_transactions_handles_are_the_items(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    engine = held()
    with engine.transaction():
        first = engine.push("notes", NOTE)
        second = engine.push("tasks", {"id": "a"})
    assert [item.id for item in engine.queue()] == [first.id, second.id]
    assert engine.cancel(second)
    assert engine.flush(timeout=10).success
    assert only(writes(server)).headers["idempotency-key"] == first.id


def test_an_exception_leaves_nothing_of_a_transaction(held: Callable[..., SyncEngine]) -> None:
    engine = held()
    engine.push("notes", {"id": "before"})

    def break_off() -> None:
        with engine.transaction():
            engine.push("notes", NOTE)
            engine.push("notes", {"id": "before", "title": "edited"}, "update")
            raise LookupError

    with pytest.raises(LookupError):
        break_off()
    assert only(engine.queue()).data == {"id": "before"}
    assert engine.get("notes", "1") is None
    engine.push("notes", {"id": "after"})
    assert engine.queue_length == 2


def test_inside_a_transaction_a_push_raises_at_once(held: Callable[..., SyncEngine]) -> None:
    engine = held()
    with engine.transaction():
        engine.delete("notes", "1")
        with pytest.raises(RecordDeletedError):
            engine.push("notes", {"id": "1", "title": "x"}, "update")
        with pytest.raises(InvalidDataError):
            engine.push("notes", {"id": ""})
    assert only(engine.queue()).operation is SyncOperation.DELETE


def test_inside_a_transaction_a_delete_of_a_queued_create_gives_none(
    held: Callable[..., SyncEngine],
) -> None:
    engine = held()
    engine.push("notes", {"id": "before"})
    with engine.transaction():
        engine.push("notes", NOTE)
        assert engine.delete("notes", "1") is None
        assert engine.delete("notes", "before") is None
    assert engine.queue_length == 0


def test_inside_a_transaction_operations_coalesce_as_outside(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    with engine.transaction():
        engine.push("notes", NOTE)
        merged = engine.push("notes", {"id": "1", "body": "b"}, "update")
        assert merged.data == {"id": "1", "title": "first", "body": "b"}
    assert only(engine.queue()).data == merged.data
    assert engine.flush(timeout=10).success
    assert [effect.kind for effect in server.journal] == ["create"]


def test_nested_transactions_are_one(held: Callable[..., SyncEngine]) -> None:
    engine = held()

    def break_off() -> None:
        with engine.transaction():
            engine.push("notes", {"id": "1"})
            with engine.transaction():
                engine.push("notes", {"id": "2"})
            assert engine.queue_length == 0
            raise LookupError

    with pytest.raises(LookupError):
        break_off()
    assert engine.queue_length == 0
    with engine.transaction(), engine.transaction():
        engine.push("notes", {"id": "3"})
    assert only(engine.queue()).record_id == "3"


def test_another_threads_pushes_are_not_part_of_a_transaction(
    held: Callable[..., SyncEngine],
) -> None:
    engine = held()

    def break_off() -> None:
        with engine.transaction():
            engine.push("notes", {"id": "mine"})
            other = threading.Thread(target=engine.push, args=("notes", {"id": "theirs"}))
            other.start()
            other.join(10)
            assert only(engine.queue()).record_id == "theirs"
            raise LookupError

    with pytest.raises(LookupError):
        break_off()
    assert only(engine.queue()).record_id == "theirs"


def test_a_transaction_past_the_queues_bound_queues_nothing(
    held: Callable[..., SyncEngine],
) -> None:
    engine = held(max_queue_length=2)

    def push_three() -> None:
        with engine.transaction():
            for record in "abc":
                engine.push("notes", {"id": record})

    with pytest.raises(QueueFullError):
        push_three()
    assert engine.queue_length == 0


def test_nothing_of_a_transaction_is_sent_before_its_end(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    with engine.transaction():
        engine.push("notes", NOTE)
        marker = threading.Thread(target=engine.push, args=("tasks", {"id": "marker"}))
        marker.start()
        marker.join(10)
        assert server.wait_for(lambda: server.records("tasks"))
        assert server.records("notes") == {}
    assert engine.flush(timeout=10).success
    assert list(server.records("notes")) == ["1"]
