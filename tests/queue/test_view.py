"""The local view: the server's last known state with the queued operations on top."""

import random
from collections.abc import Iterator
from typing import Any, cast

import pytest

from bytelyst_sync import Dialect, EntityConfig, MemoryStorage, SyncConfig, SyncEngine
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.replica.queries import compile_query
from bytelyst_sync.replica.view import ViewSlot, slots_after
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import RECORDS, Item, Record
from tests.queue.conftest import Queue
from tests.typed import present

LOST = AttemptResult(meaning=Verdict.UNKNOWN)
REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)


def records(queue: Queue, name: str = "notes", **where: Any) -> list[Json]:
    query = compile_query(queue.state, queue.entities, queue.entities[name], where)
    return list(query.records())


def test_without_items_the_view_is_the_servers_state(queue: Queue) -> None:
    queue.arrive("notes", "a", {"id": "a", "title": 1, "unknown": [None]}, "1")
    assert queue.view("notes", "a") == {"id": "a", "title": 1, "unknown": [None]}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([("update", {"title": 2})], {"id": "a", "title": 2, "done": False}),
        ([("update", {"title": 2}), ("update", {"done": True})], {"title": 2, "done": True}),
        ([("delete", {})], None),
        ([("delete", {}), ("create", {"title": 3})], {"id": "a", "title": 3}),
    ],
)
def test_operations_are_applied_to_the_state(
    queue: Queue, operations: list[tuple[str, Json]], expected: Json | None
) -> None:
    queue.arrive("notes", "a", {"id": "a", "title": 1, "done": False}, "1")
    for operation, data in operations:
        queue.push("notes", {"id": "a", **data}, operation)
        queue.claim(9)  # frozen, so that the next one stands by itself
    assert queue.view("notes", "a") == (None if expected is None else {"id": "a", **expected})


def test_a_merge_patch_is_applied_as_one(make_queue: type[Queue]) -> None:
    queue = make_queue(
        notes=EntityConfig("/notes", dialect=Dialect.rest().evolve(patch="merge-patch"))
    )
    queue.arrive("notes", "a", {"id": "a", "at": {"x": 1, "y": 2}, "gone": 1}, "1")
    queue.push("notes", {"id": "a", "at": {"y": None, "z": 3}, "gone": None}, "update")
    assert queue.view("notes", "a") == {"id": "a", "at": {"x": 1, "z": 3}}


def test_an_edit_of_an_unknown_record_shows_its_fields(queue: Queue) -> None:
    queue.push("notes", {"id": "a", "title": 2}, "update")
    assert queue.view("notes", "a") == {"id": "a", "title": 2}


def test_a_cancelled_edit_leaves_the_view(queue: Queue) -> None:
    queue.arrive("notes", "a", {"id": "a", "title": 1}, "1")
    item = queue.push("notes", {"id": "a", "title": 2}, "update")
    assert queue.run(lambda work: queue.control.cancel(work, item.seq))
    assert queue.view("notes", "a") == {"id": "a", "title": 1}


def test_a_discarded_failure_returns_to_the_servers_state(queue: Queue) -> None:
    queue.arrive("notes", "a", {"id": "a", "title": 1}, "1")
    queue.push("notes", {"id": "a", "title": 2}, "update")
    (claim,) = queue.claim()
    queue.settle(claim, REJECTED)
    assert present(queue.view("notes", "a"))["title"] == 2
    queue.run(lambda work: queue.control.discard_failed(work, None))
    assert present(queue.view("notes", "a"))["title"] == 1


def test_an_answer_never_overwrites_a_newer_edit(queue: Queue) -> None:
    queue.push("notes", {"id": "a", "title": 1})
    (claim,) = queue.claim()
    queue.push("notes", {"id": "a", "title": 2}, "update")
    queue.deliver(claim, record={"id": "a", "title": 1, "version": 1}, version="1")
    assert queue.view("notes", "a") == {"id": "a", "title": 2, "version": 1}


def test_a_state_pulled_while_an_outcome_is_unknown_is_deferred(queue: Queue) -> None:
    queue.arrive("notes", "a", {"id": "a", "title": 1}, "1")
    queue.push("notes", {"id": "a", "title": 2}, "update")
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    queue.arrive("notes", "a", {"id": "a", "title": 3}, "2")
    assert queue.view("notes", "a") == {"id": "a", "title": 2}
    assert queue.record("notes", "a").deferred_state is not None


def test_without_a_local_copy_there_is_no_view(make_queue: type[Queue]) -> None:
    queue = make_queue(events=EntityConfig("/events", replica=False))
    queue.push("events", {"id": "a"})
    assert queue.view("events", "a") is None
    assert records(queue, "events") == []
    queue.deliver(record={"id": "a"})
    assert queue.rows(RECORDS) == []


def test_where_filters_by_equality(queue: Queue) -> None:
    queue.push("notes", {"id": "a", "done": False, "n": 1})
    queue.push("notes", {"id": "b", "done": True, "n": None})
    queue.push("notes", {"id": "c", "n": 1})
    assert [each["id"] for each in records(queue, done=False)] == ["a"]
    assert [each["id"] for each in records(queue, n=1)] == ["a", "c"]
    assert [each["id"] for each in records(queue, n=None)] == ["b"]
    assert records(queue, n=True) == []


def test_all_records_are_the_views_of_each(queue: Queue) -> None:
    chance = random.Random(5)
    keys = [f"{n:04}" for n in range(1300)]
    for key in keys:
        if chance.random() < 0.7:
            queue.arrive("notes", key, {"id": key, "n": 0}, "1")
        for _ in range(chance.choice([0, 0, 1, 2, 3])):
            verb = chance.choice(["update", "delete", "create"])
            queued = queue.rows_of("notes", key)
            if verb == "update" and queued and queued[-1].operation == "delete":
                continue
            queue.push("notes", {"id": key, "n": chance.random()}, verb)
            if chance.random() < 0.3:
                queue.claim(9)
    views = [queue.view("notes", key) for key in keys]
    assert records(queue) == [each for each in views if each is not None]


def test_a_record_with_more_items_than_a_page_is_whole(queue: Queue) -> None:
    queue.push("notes", {"id": "a"})
    for n in range(1200):
        queue.claim()
        queue.push("notes", {"id": "b", "n": n, f"f{n}": n}, "update")
        if n == 0:
            queue.claim(9)
    queue.push("notes", {"id": "c"})
    assert [each["id"] for each in records(queue)] == ["a", "b", "c"]
    assert records(queue)[1]["n"] == 1199


def test_a_record_with_many_separate_items_is_whole(make_queue: type[Queue]) -> None:
    queue = make_queue(notes=EntityConfig("/notes", dedup="none"))
    for key in "abc":
        for n in range(1100):
            queue.push("notes", {"id": key, f"f{n}": n}, "update")
    assert [len(each) for each in records(queue)] == [1101] * 3
    assert len(queue.rows()) == 3300


class Counting:
    """A reader that counts the rows it hands out."""

    def __init__(self, tx: Reader) -> None:
        self.tx = tx
        self.rows = 0

    def get(self, *arguments: Any) -> Any:
        self.rows += 1
        return self.tx.get(*arguments)

    def scan(self, *arguments: Any, **bounds: Any) -> Iterator[Record | Item]:
        for row in self.tx.scan(*arguments, **bounds):
            self.rows += 1
            yield row


def test_a_page_is_bounded_by_what_it_reads(queue: Queue) -> None:
    for n in range(4000):
        key = f"{n:04}"
        queue.arrive("notes", key, None if 100 <= n < 3900 else {"id": key}, "1")
        if n % 2:
            queue.push("notes", {"id": key}, "delete")
    after, pages, found = None, 0, 0

    def page(tx: Reader) -> tuple[tuple[list[ViewSlot], str | None], int]:
        counting = Counting(tx)
        result = slots_after(cast("Reader", counting), queue.entities["notes"], after, 500)
        return result, counting.rows

    while True:
        (slots, after), read = queue.storage.read(page)
        assert read <= 2000
        pages += 1
        found += sum(slot.exists for slot in slots)
        if after is None:
            break
    assert found == 100
    assert pages > 4


def test_records_of_other_entities_are_not_listed(queue: Queue) -> None:
    queue.push("notes", {"id": "a"})
    queue.push("tasks", {"id": "b"})
    queue.arrive("tasks", "c", {"id": "c"}, "1")
    assert [each["id"] for each in records(queue)] == ["a"]
    assert [each["id"] for each in records(queue, "tasks")] == ["b", "c"]


def test_records_may_change_while_they_are_listed() -> None:
    config = SyncConfig(
        base_url="http://nowhere.invalid",
        entities={"notes": "/notes"},
        storage=MemoryStorage(),
        auto_flush=False,
        exit_timeout=0,
        probe=None,
    )
    with SyncEngine(config) as engine:
        engine.push_many("notes", [{"id": f"{n:04}", "n": n} for n in range(1500)])
        seen = []
        for record in engine.records("notes"):
            seen.append(record["id"])
            if record["n"] % 3 == 0:
                engine.delete("notes", f"{(record['n'] + 700) % 1500:04}")
            if record["n"] % 100 == 0:
                engine.push("notes", {"id": f"0000-{record['n']}", "n": 1})
        assert seen == sorted(set(seen))
        untouched = {f"{n:04}" for n in range(1500)} - {
            f"{(n + 700) % 1500:04}" for n in range(0, 1500, 3)
        }
        assert untouched <= set(seen)
        left = {record["id"] for record in engine.records("notes")}
        assert untouched <= left


def test_a_change_is_reported_with_before_and_after(queue: Queue) -> None:
    queue.watch = True
    queue.push("notes", {"id": "a", "title": 1})
    (change,) = queue.effects.changes
    assert (change.before, change.after) == (None, {"id": "a", "title": 1})
    assert change.origin == "local"
    queue.deliver(record={"id": "a", "title": 1}, version="1")
    assert queue.effects.changes == []
    queue.arrive("notes", "a", {"id": "a", "title": 2}, "2")
    (change,) = queue.effects.changes
    assert (present(change.before)["title"], present(change.after)["title"]) == (1, 2)
    assert change.origin == "remote"
    queue.arrive("notes", "a", None, "3")
    assert queue.effects.changes[0].after is None
