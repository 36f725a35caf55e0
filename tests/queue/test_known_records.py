"""A create of a record that the server is known to hold is an update, and never a second record."""

from typing import Literal

import pytest

from bytelyst_sync import EntityConfig
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import Lane
from tests.queue.conftest import Queue
from tests.typed import present

LOST = AttemptResult(meaning=Verdict.UNKNOWN)
REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)


@pytest.fixture(params=["client", "server"])
def source(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def tasks(make_queue: type[Queue], source: Literal["client", "server"]) -> Queue:
    queue = make_queue(tasks=EntityConfig("/tasks", id_source=source))
    queue.arrive("tasks", "1", {"id": 1, "title": "a", "n": 5}, "v1")
    return queue


def test_a_create_of_a_known_record_is_an_update(tasks: Queue) -> None:
    item = tasks.push("tasks", {**present(tasks.view("tasks", "1")), "title": "b"})
    assert (item.operation, item.record_id, item.base_version) == ("update", "1", "v1")
    assert item.data == {"id": 1, "title": "b", "n": 5}
    assert tasks.view("tasks", "1") == {"id": 1, "title": "b", "n": 5}


def test_one_behind_an_update_on_its_way_is_an_update(tasks: Queue) -> None:
    tasks.push("tasks", {"id": 1, "title": "b"}, "update")
    tasks.claim()
    assert tasks.push("tasks", {"id": 1, "title": "c"}).operation == "update"


def test_one_behind_a_create_that_is_delivered_becomes_an_update(make_queue: type[Queue]) -> None:
    queue = make_queue()
    queue.push("notes", {"id": "7", "title": "a"})
    (claim,) = queue.claim()
    second = queue.push("notes", {"id": "7", "title": "b"})
    assert second.operation == "create"
    queue.deliver(claim)
    assert present(queue.item(second)).operation == "update"


def test_one_behind_a_create_of_a_local_id_becomes_an_update(make_queue: type[Queue]) -> None:
    queue = make_queue(tasks=EntityConfig("/tasks", id_source="server"))
    first = queue.push("tasks", {"title": "a"})
    (claim,) = queue.claim()
    second = queue.push("tasks", {"id": first.record_id, "title": "b"})
    queue.deliver(claim, server_id=7)
    row = present(queue.item(second))
    assert (row.operation, row.record, row.data) == ("update", "7", '{"id":7,"title":"b"}')


def test_one_behind_a_create_that_is_discarded_stays_a_create(make_queue: type[Queue]) -> None:
    queue = make_queue()
    queue.push("notes", {"id": "7"})
    (claim,) = queue.claim()
    second = queue.push("notes", {"id": "7", "title": "b"})
    queue.settle(claim, LOST)
    assert present(queue.item(second)).operation == "create"


def test_a_record_that_was_deleted_is_created_anew(tasks: Queue) -> None:
    tasks.push("tasks", {"id": 1}, "delete")
    assert tasks.push("tasks", {"id": 1, "title": "b"}).operation == "create"


def test_a_record_whose_deletion_was_pulled_is_created_anew(tasks: Queue) -> None:
    tasks.arrive("tasks", "1", None)
    assert tasks.push("tasks", {"id": 1, "title": "b"}).operation == "create"


def test_answered_gone_it_is_sent_as_the_create_it_was(tasks: Queue) -> None:
    item = tasks.push("tasks", {"id": 1, "title": "b"})
    (claim,) = tasks.claim()
    tasks.settle(claim, AttemptResult(meaning=Verdict.GONE, status=404))
    row = present(tasks.item(item))
    assert (row.operation, row.version, row.frozen) == ("create", None, 0)
    assert row.id != item.id
    assert tasks.view("tasks", "1") == {"id": 1, "title": "b"}
    tasks.deliver()
    assert tasks.rows() == []


def test_what_refers_to_it_waits_for_that_create(make_queue: type[Queue]) -> None:
    queue = make_queue(
        projects=EntityConfig("/projects"),
        tasks=EntityConfig("/tasks", references={"project": "projects"}),
    )
    queue.arrive("projects", "1", {"id": 1}, "v1")
    parent = queue.push("projects", {"id": 1, "title": "b"})
    child = queue.push("tasks", {"id": 2, "project": 1})
    (claim,) = queue.claim()
    assert queue.lane(child) == Lane.READY
    queue.settle(claim, AttemptResult(meaning=Verdict.GONE, status=404))
    assert present(queue.item(parent)).operation == "create"
    assert (queue.lane(child), present(queue.item(child)).blocker) == (Lane.BLOCKED, parent.seq)


def test_a_rejected_one_whose_record_is_deleted_there_still_needs_a_decision(tasks: Queue) -> None:
    item = tasks.push("tasks", {"id": 1, "title": "b"})
    (claim,) = tasks.claim()
    tasks.settle(claim, REJECTED)
    tasks.arrive("tasks", "1", None)
    assert (present(tasks.item(item)).operation, tasks.lane(item)) == ("create", Lane.FAILED)


def test_a_plain_update_answered_gone_is_a_conflict(tasks: Queue) -> None:
    tasks.push("tasks", {"id": 1, "title": "b"}, "update")
    (claim,) = tasks.claim()
    tasks.settle(claim, AttemptResult(meaning=Verdict.GONE, status=404))
    assert tasks.rows() == []
    assert tasks.view("tasks", "1") is None


@pytest.mark.parametrize("settings", [{"dedup": "none"}, {"replica": False}], ids=str)
def test_without_a_view_or_deduplication_nothing_is_turned_or_merged(
    make_queue: type[Queue], settings: Json
) -> None:
    queue = make_queue(events=EntityConfig("/events", **settings))
    queue.arrive("events", "1", {"id": 1})
    pushed = ["create", "create", "update", "update", "delete"]
    for operation in pushed:
        queue.push("events", {"id": 1, "n": 1}, operation)
    assert [row.operation for row in queue.rows()] == pushed


def test_a_delete_behind_a_create_of_a_held_record_stays(make_queue: type[Queue]) -> None:
    queue = make_queue()
    queue.arrive("notes", "1", {"id": "1"}, "v1")
    queue.push("notes", {"id": "1"}, "delete")
    queue.push("notes", {"id": "1", "title": "b"})
    assert queue.push("notes", {"id": "1"}, "delete").operation == "delete"
    assert [row.operation for row in queue.rows()] == ["delete", "create", "delete"]


def test_a_rejected_one_is_repaired_by_a_create(tasks: Queue) -> None:
    first = tasks.push("tasks", {"id": 1, "title": "b"})
    (claim,) = tasks.claim()
    tasks.settle(claim, REJECTED)
    repaired = tasks.push("tasks", {"id": 1, "title": "c"})
    assert (repaired.seq, repaired.operation) == (first.seq, "update")
