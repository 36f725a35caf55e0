"""The coalescing table through the outbox: which operations are merged."""

import json
from typing import Literal

import pytest

from bytelyst_sync import EntityConfig, SyncItem
from bytelyst_sync.errors import RecordDeletedError
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from tests.queue.conftest import Queue
from tests.typed import present

LOST = AttemptResult(meaning=Verdict.UNKNOWN)
REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)
OLD = {"id": "7", "title": "old", "done": False}
NEW = {"id": "7", "title": "new"}
MERGED = {"id": "7", "title": "new", "done": False}
ONLY_ID = {"id": "7"}

TABLE = {
    # queued, new: what is in the queue then
    ("create", "create"): [("create", NEW)],
    ("create", "update"): [("create", MERGED)],
    ("create", "delete"): [],
    ("update", "update"): [("update", MERGED)],
    ("update", "create"): [("update", MERGED)],
    ("update", "delete"): [("delete", ONLY_ID)],
    ("delete", "create"): [("delete", ONLY_ID), ("create", NEW)],
    ("delete", "update"): RecordDeletedError,
    ("delete", "delete"): [("delete", ONLY_ID)],
}


@pytest.fixture
def notes(make_queue: type[Queue]) -> Queue:
    return make_queue(
        notes=EntityConfig("/notes"),
        comments=EntityConfig("/comments", references={"note": "notes"}),
    )


def push(queue: Queue, operation: str, data: Json) -> SyncItem | None:
    found: SyncItem | None = queue.push(
        "notes", ONLY_ID if operation == "delete" else data, operation
    )
    return found


def rows(queue: Queue) -> list[tuple[str, Json]]:
    return [(row.operation, json.loads(row.data)) for row in queue.rows_of("notes", "7")]


@pytest.mark.parametrize("pair", TABLE, ids=" then ".join)
def test_each_row(notes: Queue, pair: tuple[str, str]) -> None:
    queued, new = pair
    first = present(push(notes, queued, OLD))
    becomes = TABLE[pair]
    if becomes is RecordDeletedError:
        with pytest.raises(RecordDeletedError, match="its delete is queued"):
            push(notes, new, NEW)
        assert rows(notes) == [("delete", ONLY_ID)]
        return
    second = push(notes, new, NEW)
    assert rows(notes) == becomes
    if len(becomes) == 1:
        assert second is not None
        assert (second.seq, second.operation) == (first.seq, becomes[0][0])
        assert second.id != first.id
    assert (second is None) == (becomes == [])


@pytest.mark.parametrize("pair", [pair for pair in TABLE if pair[0] != "delete"], ids=" then ".join)
def test_nothing_is_merged_into_a_frozen_item(notes: Queue, pair: tuple[str, str]) -> None:
    queued, new = pair
    push(notes, queued, OLD)
    notes.settle(notes.claim()[0], LOST)
    push(notes, new, NEW)
    operations = [operation for operation, _ in rows(notes)]
    expected = "update" if pair == ("update", "create") else new
    assert operations == [queued, expected]


@pytest.mark.parametrize("pair", [pair for pair in TABLE if pair[0] != "delete"], ids=" then ".join)
def test_a_rejected_item_is_repaired_and_requeued(notes: Queue, pair: tuple[str, str]) -> None:
    queued, new = pair
    push(notes, queued, OLD)
    notes.settle(notes.claim()[0], REJECTED)
    push(notes, new, NEW)
    assert rows(notes) == TABLE[pair]


@pytest.mark.parametrize("pair", [pair for pair in TABLE if pair[0] != "delete"], ids=" then ".join)
def test_an_item_between_that_refers_to_the_record_prevents_a_merge(
    notes: Queue, pair: tuple[str, str]
) -> None:
    queued, new = pair
    push(notes, queued, OLD)
    notes.push("comments", {"id": "c", "note": "7"})
    push(notes, new, NEW)
    operations = [operation for operation, _ in rows(notes)]
    assert operations == [queued, "update" if pair == ("update", "create") else new]


def test_an_item_between_of_the_same_record_allows_a_merge(make_queue: type[Queue]) -> None:
    nodes = make_queue(nodes=EntityConfig("/nodes", references={"parent": "nodes"}))
    nodes.push("nodes", {"id": "7", "parent": "7"})
    nodes.push("nodes", {"id": "7", "title": "x"}, "update")
    assert len(nodes.rows()) == 1


def test_an_item_before_both_that_refers_to_the_record_allows_a_merge(notes: Queue) -> None:
    notes.push("comments", {"id": "c", "note": "7"})
    push(notes, "create", OLD)
    push(notes, "update", NEW)
    assert rows(notes) == [("create", MERGED)]


def test_no_merge_refers_to_a_later_create(notes: Queue) -> None:
    first = notes.push("comments", {"id": "c"})
    push(notes, "create", OLD)
    second = notes.push("comments", {"id": "c", "note": "7"}, "update")
    assert second.seq != first.seq


def test_no_merge_refers_to_a_later_delete(notes: Queue) -> None:
    first = notes.push("comments", {"id": "c"})
    push(notes, "delete", OLD)
    second = notes.push("comments", {"id": "c", "note": "7"}, "update")
    assert second.seq != first.seq


def test_the_queued_item_keeps_its_place_and_the_older_base_version(notes: Queue) -> None:
    notes.arrive("notes", "7", OLD, "v1")
    first = present(push(notes, "update", NEW))
    notes.push("notes", {"id": "8"})
    notes.now += 60
    second = present(push(notes, "update", {"id": "7", "body": "x"}))
    assert (second.seq, second.base_version) == (first.seq, "v1")
    assert second.timestamp > first.timestamp
    assert [row.record for row in notes.rows()] == ["7", "8"]


@pytest.mark.parametrize(("dedup", "left"), [("id", 2), ("content", 1), ("none", 2)])
def test_equal_creates_without_an_id(
    make_queue: type[Queue], dedup: Literal["id", "content", "none"], left: int
) -> None:
    texts = make_queue(texts=EntityConfig("/texts", dedup=dedup))
    first = texts.push("texts", {"a": 1, "b": 2})
    second = texts.push("texts", {"b": 2, "a": 1})
    assert len(texts.rows()) == left
    assert (first.id == second.id) == (left == 1)


def test_an_equal_create_is_not_taken_for_one_that_may_have_been_sent(
    make_queue: type[Queue],
) -> None:
    texts = make_queue(texts=EntityConfig("/texts", dedup="content"))
    texts.push("texts", {"a": 1})
    texts.settle(texts.claim()[0], LOST)
    texts.push("texts", {"a": 1})
    texts.push("texts", {"a": 1})
    assert len(texts.rows()) == 2
