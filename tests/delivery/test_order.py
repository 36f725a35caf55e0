"""Order: a record's operations one by one, others not held up, children after their parents."""

import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, ItemState, Request, Response, SyncEngine
from bytelyst_sync.http.requests_transport import HttpTransport
from bytelyst_sync.testing import Drop, DropAnswer, Lose, Reply, Seen, SyncServer, Truncate
from tests.typed import T, present

PORTAL = Reply(200, "<html>Please log in</html>", {"Content-Type": "text/html"})
SEVERAL = {"notes": EntityConfig("/notes", dedup="none")}
FAMILY = {
    "projects": EntityConfig("/projects"),
    "tasks": EntityConfig("/tasks", references={"project_id": "projects"}),
}
GIVEN = {
    "projects": EntityConfig("/projects", id_source="server"),
    "tasks": EntityConfig(
        "/tasks", id_source="server", references={"project_id": "projects", "see": "tasks"}
    ),
}


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "memory" else tmp_path / "queue.db"


@pytest.fixture
def numbering() -> Iterator[SyncServer]:
    """A server that gives the ids."""
    with SyncServer(id_source="server") as running:
        yield running


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


class Overlaps:
    """A transport that notes requests for a record while another one for it is under way."""

    def __init__(self) -> None:
        self._http = HttpTransport()
        self._lock = threading.Lock()
        self._under_way: Counter[Any] = Counter()
        self.found: list[Any] = []
        self.most = 0

    def send(self, request: Request) -> Response:
        body = json.loads(present(request.body))
        with self._lock:
            self._under_way[body["id"]] += 1
            self.most = max(self.most, self._under_way.total())
            if self._under_way[body["id"]] > 1:
                self.found.append(request)
        try:
            return self._http.send(request)
        finally:
            with self._lock:
                self._under_way[body["id"]] -= 1

    def close(self) -> None:
        self._http.close()


# --- one record


@pytest.mark.parametrize("workers", [1, 8])
def test_one_records_operations_go_one_at_a_time_in_the_order_pushed(
    make: Callable[..., SyncEngine], server: SyncServer, workers: int
) -> None:
    overlaps = Overlaps()
    server.latency_s = 0.003
    engine = make(entities=SEVERAL, workers=workers, transport=overlaps)
    records, steps = [f"r{number}" for number in range(8)], range(6)
    for step, record in itertools.product(steps, records):
        engine.push("notes", {"id": record, "step": step}, "update" if step else "create")
    assert engine.flush(timeout=20).success
    for record in records:
        assert [present(e.data)["step"] for e in server.journal if e.id == record] == list(steps)
    assert overlaps.found == []
    assert overlaps.most <= workers


@pytest.mark.parametrize("workers", [1, 8])
def test_order_holds_and_nothing_doubles_whatever_goes_wrong(
    make: Callable[..., SyncEngine], server: SyncServer, workers: int
) -> None:
    overlaps = Overlaps()
    faults: list[Any] = [None, DropAnswer(), Drop(), Truncate()]
    faults += [Reply(status) for status in (408, 425, 429, 500, 502, 503, 504)]
    faults *= 3
    random.Random(7).shuffle(faults)
    server.script(*faults)
    engine = make(
        entities=SEVERAL,
        workers=workers,
        max_retries=50,
        max_retry_delay=0.02,
        transport=overlaps,
    )
    items = [
        engine.push("notes", {"id": record, "step": step}, "update" if step else "create")
        for step, record in itertools.product(range(5), "abcdef")
    ]
    assert {engine.wait(item, timeout=20) for item in items} == {ItemState.DELIVERED}
    for record in "abcdef":
        assert [present(e.data)["step"] for e in server.journal if e.id == record] == list(range(5))
    assert overlaps.found == []
    assert list(engine.failed()) == list(engine.conflicts(resolved=True)) == []  # type: ignore[comparison-overlap]  # both are empty


def test_a_create_after_a_delete_goes_after_it(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    effects: Callable[..., list[tuple[str, str]]],
) -> None:
    engine = held()
    engine.push("notes", {"id": "1"})
    engine.flush(timeout=10)
    engine.delete("notes", "1")
    engine.push("notes", {"id": "1", "title": "anew"})
    assert engine.queue_length == 2
    assert engine.flush(timeout=10).success
    assert effects(server) == [("create", "1"), ("delete", "1"), ("create", "1")]


def test_ids_that_differ_in_type_alone_are_one_record(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    effects: Callable[..., list[tuple[str, str]]],
) -> None:
    engine = held(entities=SEVERAL)
    engine.push("notes", {"id": 7, "step": 0})
    engine.push("notes", {"id": "7", "step": 1}, "update")
    engine.push("notes", {"id": 7, "step": 2}, "update")
    assert engine.flush(timeout=10).success
    assert effects(server) == [("create", "7"), ("update", "7"), ("update", "7")]
    assert [present(effect.data)["step"] for effect in server.journal] == [0, 1, 2]


# --- across records


def test_records_start_in_push_order_across_entities(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    pushed = [("notes" if number % 3 else "tasks", str(number)) for number in range(30)]
    for entity, record in pushed:
        engine.push(entity, {"id": record})
    assert engine.flush(timeout=10).success
    assert [(effect.collection, effect.id) for effect in server.journal] == pushed


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("fault", [Reply(500), Reply(400, {"error": "no"}), DropAnswer()], ids=str)
def test_a_failing_record_never_blocks_others(
    held: Callable[..., SyncEngine], server: SyncServer, workers: int, fault: Reply | Lose
) -> None:
    def is_bad(seen: Seen) -> bool:
        return seen.method == "POST" and seen.body["id"] == "bad"

    server.always(fault, match=is_bad)
    engine = held(workers=workers, retry_delay=60.0, max_retry_delay=60.0)
    engine.push("notes", {"id": "bad"})
    engine.push_many("notes", [{"id": str(number)} for number in range(20)])
    result = engine.flush(timeout=10)
    assert (result.pushed, result.errors) == (20, 1)
    assert {str(number) for number in range(20)} <= set(server.records("notes"))
    assert len([seen for seen in server.requests if is_bad(seen)]) == 1


def test_a_coalesced_item_keeps_its_place(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    for record in "abc":
        engine.push("notes", {"id": record})
    engine.push("notes", {"id": "a", "title": "later"}, "update")
    assert [item.record_id for item in engine.queue()] == ["a", "b", "c"]
    assert engine.flush(timeout=10).success
    assert [effect.id for effect in server.journal] == ["a", "b", "c"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_answer_puts_its_item_last(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    writes: Callable[..., list[Seen]],
    drain: Callable[..., int],
    status: int,
) -> None:
    engine = held()
    for record in "abc":
        engine.push("notes", {"id": record})
    server.script(Reply(status), match="POST")
    assert drain(engine) == 0
    assert [seen.body["id"] for seen in writes(server)] == ["a", "b", "c", "a"]
    assert [effect.id for effect in server.journal] == ["b", "c", "a"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_record_goes_last_with_its_own_order_kept(
    held: Callable[..., SyncEngine], server: SyncServer, drain: Callable[..., int], status: int
) -> None:
    engine = held(entities=SEVERAL)
    for record in "ab":
        engine.push("notes", {"id": record, "step": 0})
        engine.push("notes", {"id": record, "step": 1}, "update")
    server.script(Reply(status), match="POST")
    assert drain(engine) == 0
    assert [present(e.data)["step"] for e in server.journal if e.id == "a"] == [0, 1]
    assert server.journal[0].id == "b"


# --- references


@pytest.mark.parametrize("workers", [1, 8])
def test_a_child_waits_for_its_parents_create(
    make: Callable[..., SyncEngine], server: SyncServer, workers: int
) -> None:
    server.latency_s = 0.005
    engine = make(entities=FAMILY, workers=workers)
    with engine.transaction():
        for number in range(10):
            engine.push("projects", {"id": f"p{number}"})
            engine.push("tasks", {"id": f"t{number}", "project_id": f"p{number}"})
    assert engine.flush(timeout=20).success
    order = [effect.id for effect in server.journal]
    for number in range(10):
        assert order.index(f"p{number}") < order.index(f"t{number}")


def test_a_child_of_a_parent_that_is_there_waits_for_nothing(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=FAMILY)
    engine.push("projects", {"id": "p"})
    engine.flush(timeout=10)
    server.always(Reply(500), match="PATCH")
    engine.push("projects", {"id": "p", "title": "x"}, "update")
    engine.push("tasks", {"id": "t", "project_id": "p"})
    engine.push("tasks", {"id": "u", "project_id": "never seen here"})
    result = engine.flush(timeout=10)
    assert (result.pushed, result.remaining) == (2, 1)
    assert set(server.records("tasks")) == {"t", "u"}


def test_the_children_of_a_failed_parent_wait_visibly_and_flush_returns(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=FAMILY)
    parent = engine.push("projects", {"id": "p"})
    child = engine.push("tasks", {"id": "t", "project_id": "p"})
    engine.push("tasks", {"id": "other"})
    server.script(Reply(422, {"error": "no"}), match="POST /projects")
    result = engine.flush(timeout=10)
    assert (result.pushed, result.errors, result.remaining) == (1, 1, 1)
    assert only(engine.queue()).id == child.id
    assert engine.reprocess_failed([parent.id], data={"id": "p", "title": "repaired"}) == 1
    assert engine.flush(timeout=10).success
    assert [effect.id for effect in server.journal] == ["other", "p", "t"]


def test_a_child_of_a_parent_in_backoff_waits(
    held: Callable[..., SyncEngine], server: SyncServer, drain: Callable[..., int]
) -> None:
    engine = held(entities=FAMILY)
    engine.push("projects", {"id": "p"})
    engine.push("tasks", {"id": "t", "project_id": "p"})
    server.script(Reply(500), match="POST /projects")
    assert engine.flush(timeout=10).remaining == 2
    assert [seen.path for seen in server.requests] == ["/projects"]
    assert drain(engine) == 0
    assert [effect.id for effect in server.journal] == ["p", "t"]


def test_a_child_with_a_list_of_parents_waits_for_all(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    entities = {
        "projects": EntityConfig("/projects"),
        "tasks": EntityConfig("/tasks", references={"project_ids": "projects"}),
    }
    engine = held(entities=entities)
    with engine.transaction():
        engine.push("projects", {"id": "a"})
        engine.push("projects", {"id": "b"})
        engine.push("tasks", {"id": "t", "project_ids": ["a", "b"]})
    no = Reply(422, {"error": "no"})
    server.script(no, match=lambda seen: seen.body and seen.body["id"] == "b")
    assert engine.flush(timeout=10).remaining == 1
    assert engine.reprocess_failed() == 1
    assert engine.flush(timeout=10).success
    assert [effect.id for effect in server.journal] == ["a", "b", "t"]


def test_an_update_that_begins_to_refer_to_a_new_parent_waits_for_it(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=FAMILY)
    engine.push("tasks", {"id": "t"})
    engine.flush(timeout=10)
    engine.push("projects", {"id": "p"})
    engine.push("tasks", {"id": "t", "project_id": "p"}, "update")
    server.script(Reply(422, {"error": "no"}), match="POST /projects")
    assert engine.flush(timeout=10).remaining == 1
    assert server.records("projects") == {}
    assert "project_id" not in server.records("tasks")["t"]


def test_a_merge_never_makes_a_child_go_before_its_parent(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=FAMILY)
    engine.push("tasks", {"id": "t"})
    engine.push("projects", {"id": "p"})
    engine.push("tasks", {"id": "t", "project_id": "p"}, "update")
    assert engine.flush(timeout=10).success
    assert server.records("tasks")["t"]["project_id"] == "p"
    with_parent = [e for e in server.journal if e.data and "project_id" in e.data]
    order = [e.collection for e in server.journal]
    assert order.index("projects") < server.journal.index(with_parent[0])


def test_records_that_refer_to_each_other_do_not_wait_for_ever(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    entities = {"tasks": EntityConfig("/tasks", references={"next": "tasks"})}
    engine = held(entities=entities)
    engine.push("tasks", {"id": "a", "next": "b"})
    engine.push("tasks", {"id": "b", "next": "a"})
    engine.push("tasks", {"id": "c", "next": "c"})
    assert engine.flush(timeout=10).success
    assert [effect.id for effect in server.journal] == ["a", "b", "c"]


def test_cancel_of_a_parent_is_refused_while_others_refer_to_it(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=FAMILY)
    parent = engine.push("projects", {"id": "p"})
    child = engine.push("tasks", {"id": "t", "project_id": "p"})
    assert engine.cancel(parent) is False
    assert engine.queue_length == 2
    assert engine.cancel(child) is True
    assert engine.cancel(parent) is True
    assert engine.queue_length == 0
    assert engine.flush(timeout=10).success
    assert server.requests == []


def test_a_discarded_parent_strands_no_child(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=FAMILY)
    engine.push("projects", {"id": "p"})
    engine.push("tasks", {"id": "t", "project_id": "p"})
    server.script(Reply(422, {"error": "no"}), match="POST /projects")
    engine.flush(timeout=10)
    assert engine.discard_failed() == 1
    (child,) = engine.failed()
    assert "was not sent: project_id refers to projects/p, whose create was dropped" in present(
        child.last_error
    )
    assert engine.reprocess_failed(child) == 1
    assert engine.flush(timeout=10).success
    assert set(server.records("tasks")) == {"t"}


# --- ids that the server gives


def test_a_servers_id_takes_the_local_ones_place_everywhere(
    held: Callable[..., SyncEngine], numbering: SyncServer
) -> None:
    engine = held(base_url=numbering.url, entities=GIVEN)
    with engine.transaction():
        project = engine.push("projects", {"title": "P"})
        first = engine.push("tasks", {"title": "A", "project_id": project.record_id})
        engine.push("tasks", {"title": "B", "see": first.record_id})
    assert present(engine.get("projects", project.record_id))["title"] == "P"
    assert engine.flush(timeout=10).success
    assert numbering.records("projects")["1"]["title"] == "P"
    assert numbering.records("tasks")["1"]["project_id"] == 1
    assert numbering.records("tasks")["2"]["see"] == 1
    for name in (project.record_id, "1", 1):
        assert present(engine.get("projects", name))["id"] == 1
    assert [record["id"] for record in engine.records("projects")] == [1]


def test_no_local_id_ever_reaches_the_server(
    held: Callable[..., SyncEngine], numbering: SyncServer
) -> None:
    engine = held(base_url=numbering.url, entities=GIVEN)
    project = engine.push("projects", {"title": "P"})
    engine.push("tasks", {"title": "A", "project_id": project.record_id})
    engine.flush(timeout=10)
    engine.push("tasks", {"title": "B", "project_id": project.record_id})
    engine.push("projects", {"id": project.record_id, "title": "Q"}, "update")
    assert engine.flush(timeout=10).success
    for seen in numbering.requests:
        assert project.record_id.encode() not in seen.raw
    assert numbering.records("projects")["1"]["title"] == "Q"
    assert numbering.records("tasks")["2"]["project_id"] == 1


def test_later_items_follow_the_servers_id(
    held: Callable[..., SyncEngine],
    numbering: SyncServer,
    drain: Callable[..., int],
    writes: Callable[..., list[Seen]],
) -> None:
    engine = held(base_url=numbering.url, entities=GIVEN)
    project = engine.push("projects", {"title": "P"})
    numbering.script(DropAnswer(), match="POST")
    engine.flush(timeout=10)
    update = engine.push("projects", {"id": project.record_id, "title": "Q"}, "update")
    task = engine.push("tasks", {"title": "A", "project_id": project.record_id})
    assert engine.queue_length == 3
    assert drain(engine) == 0
    assert [(seen.method, seen.path) for seen in writes(numbering)] == [
        ("POST", "/projects"),
        ("POST", "/projects"),
        ("PATCH", "/projects/1"),
        ("POST", "/tasks"),
    ]
    assert numbering.records("tasks")["1"]["project_id"] == 1
    for item in (project, update, task):
        assert engine.wait(item, timeout=10) is ItemState.DELIVERED


def test_a_delete_by_the_local_id_deletes_the_servers_record(
    held: Callable[..., SyncEngine], numbering: SyncServer
) -> None:
    engine = held(base_url=numbering.url, entities=GIVEN)
    project = engine.push("projects", {"title": "P"})
    engine.flush(timeout=10)
    engine.delete("projects", project.record_id)
    assert engine.get("projects", 1) is None
    assert engine.flush(timeout=10).success
    assert numbering.records("projects") == {}
    assert engine.get("projects", project.record_id) is None


def test_both_ids_name_the_record_after_a_restart(
    held: Callable[..., SyncEngine], numbering: SyncServer, tmp_path: Path
) -> None:
    path = tmp_path / "restart.db"
    engine = held(base_url=numbering.url, entities=GIVEN, storage=path)
    project = engine.push("projects", {"title": "P"})
    engine.flush(timeout=10)
    assert engine.close()
    again = held(base_url=numbering.url, entities=GIVEN, storage=path)
    assert again.get("projects", project.record_id) == again.get("projects", 1)
    again.push("projects", {"id": project.record_id, "title": "Q"}, "update")
    assert again.flush(timeout=10).success
    assert numbering.records("projects")["1"]["title"] == "Q"


def test_an_answer_without_the_id_that_is_due_is_no_delivery(
    held: Callable[..., SyncEngine], numbering: SyncServer
) -> None:
    engine = held(base_url=numbering.url, entities=GIVEN)
    engine.push("projects", {"title": "P"})
    numbering.script(Reply(201, {"ok": True}), match="POST")
    result = engine.flush(timeout=10)
    assert (result.pushed, result.errors, result.remaining) == (0, 1, 0)
    item = only(engine.failed())
    assert "id_in_answer" in present(item.last_error)
    assert engine.reprocess_failed() == 0
    assert engine.reprocess_failed(item) == 1
    assert engine.flush(timeout=10).success
    assert len(numbering.records("projects")) == 1
