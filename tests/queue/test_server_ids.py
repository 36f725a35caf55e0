"""The server's id replaces a local id everywhere."""

import json

import pytest

from bytelyst_sync import EntityConfig, SyncItem
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import ALIASES, RECORDS, Lane
from tests.queue.conftest import Queue
from tests.typed import present

OFFLINE = AttemptResult(meaning=Verdict.OFFLINE, unprocessed=True)
LOST = AttemptResult(meaning=Verdict.UNKNOWN)
REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)


def data_of(queue: Queue, item: SyncItem) -> Json:
    found: Json = json.loads(present(queue.item(item)).data)
    return found


def test_a_record_without_an_id_gets_a_local_id(tree: Queue) -> None:
    item = tree.push("projects", {"name": "x"})
    assert item.record_id.startswith("local-")
    assert tree.view("projects", item.record_id) == {"id": item.record_id, "name": "x"}


def test_later_items_are_renamed(tree: Queue) -> None:
    created = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    later = tree.push("projects", {"id": created.record_id, "name": "y"}, "update")
    tree.deliver(claim, server_id=7, record={"id": 7, "name": "x"})
    assert present(tree.item(later)).record == "7"
    assert data_of(tree, later) == {"id": 7, "name": "y"}
    assert tree.lane(later) is Lane.READY


def test_references_are_renamed_and_keep_the_type(tree: Queue) -> None:
    created = tree.push("projects", {"name": "x"})
    child = tree.push("tasks", {"id": "t", "project_id": created.record_id, "title": "z"})
    tree.deliver(server_id=7)
    assert data_of(tree, child) == {"id": "t", "project_id": 7, "title": "z"}
    assert tree.lane(child) is Lane.READY


def test_references_in_a_list_are_renamed(make_queue: type[Queue]) -> None:
    tree = make_queue(
        projects=EntityConfig("/projects", id_source="server"),
        tasks=EntityConfig("/tasks", references={"project_ids": "projects"}),
    )
    first, second = (tree.push("projects", {"name": name}) for name in "xy")
    ids = [first.record_id, "elsewhere", second.record_id]
    child = tree.push("tasks", {"id": "t", "project_ids": ids})
    tree.deliver(server_id=7)
    assert data_of(tree, child)["project_ids"] == [7, "elsewhere", second.record_id]
    assert tree.lane(child) is Lane.BLOCKED
    tree.deliver(server_id=8)
    assert data_of(tree, child)["project_ids"] == [7, "elsewhere", 8]
    assert tree.lane(child) is Lane.READY


def test_references_to_the_same_entity_are_renamed(make_queue: type[Queue]) -> None:
    folders = make_queue(
        folders=EntityConfig("/f", id_source="server", references={"parent": "folders"})
    )
    outer = folders.push("folders", {"name": "outer"})
    inner = folders.push("folders", {"name": "inner", "parent": outer.record_id})
    folders.deliver(server_id=1)
    assert data_of(folders, inner)["parent"] == 1
    folders.deliver(server_id=2)
    assert present(folders.view("folders", inner.record_id))["parent"] == 1


def test_both_ids_name_the_record(tree: Queue) -> None:
    created = tree.push("projects", {"name": "x"})
    tree.deliver(server_id=7, record={"id": 7, "name": "x"})
    for key in (created.record_id, "7"):
        assert tree.view("projects", key) == {"id": 7, "name": "x"}
    edit = tree.push("projects", {"id": created.record_id, "name": "y"}, "update")
    assert (edit.record_id, edit.data) == ("7", {"id": 7, "name": "y"})
    assert tree.view("projects", "7") == tree.view("projects", created.record_id)
    gone = tree.push("projects", {"id": created.record_id}, "delete")
    assert (gone.record_id, gone.operation) == ("7", "delete")


def test_a_later_reference_gets_the_servers_id(tree: Queue) -> None:
    created = tree.push("projects", {"name": "x"})
    tree.deliver(server_id=7)
    child = tree.push("tasks", {"id": "t", "project_id": created.record_id})
    assert child.data["project_id"] == 7
    assert tree.lane(child) is Lane.READY


def test_text_that_looks_like_the_id_is_not_changed(tree: Queue) -> None:
    created = tree.push("projects", {"name": "x"})
    child = tree.push("tasks", {"id": "t", "title": created.record_id})
    tree.deliver(server_id=7)
    assert data_of(tree, child)["title"] == created.record_id


def test_a_record_that_was_pulled_first_is_not_doubled(tree: Queue) -> None:
    created = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    tree.settle(claim, LOST)
    tree.arrive("projects", "7", {"id": 7, "name": "x"}, "1")
    tree.now += 60.0
    tree.deliver(server_id=7, record={"id": 7, "name": "x"}, version="1")
    assert [row.record for row in tree.rows(RECORDS)] == ["7"]
    assert tree.view("projects", created.record_id) == {"id": 7, "name": "x"}


def test_items_of_both_ids_are_sent_in_the_order_of_the_queue(tree: Queue) -> None:
    created = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    tree.settle(claim, LOST)
    tree.arrive("projects", "7", {"id": 7, "name": "x"}, "1")
    local = tree.push("projects", {"id": created.record_id, "name": "y"}, "update")
    real = tree.push("projects", {"id": 7, "name": "z"}, "update")
    tree.now += 60.0
    (again,) = tree.claim()
    assert again.item.seq == created.seq
    tree.deliver(again, server_id=7, record={"id": 7, "name": "x"}, version="1")
    assert tree.lane(local) is Lane.READY
    assert tree.lane(real) is Lane.BLOCKED
    assert present(tree.view("projects", "7"))["name"] == "z"
    assert [tree.deliver().seq for _ in range(2)] == [local.seq, real.seq]


@pytest.mark.parametrize("answer", [OFFLINE, LOST, REJECTED], ids=["offline", "lost", "rejected"])
def test_an_item_being_sent_under_the_other_id_blocks_nothing_for_ever(
    tree: Queue, answer: AttemptResult
) -> None:
    created = tree.push("projects", {"name": "x"})
    (create,) = tree.claim()
    tree.arrive("projects", "7", {"id": 7, "name": "x"}, "1")
    local = tree.push("projects", {"id": created.record_id, "name": "y"}, "update")
    real = tree.push("projects", {"id": 7, "name": "z"}, "update")
    (update,) = tree.claim()
    assert update.item.seq == real.seq
    tree.deliver(create, server_id=7, record={"id": 7, "name": "x"}, version="1")
    assert tree.lane(local) is Lane.BLOCKED
    tree.settle(update, answer)
    if answer is REJECTED:
        tree.run(lambda work: tree.control.discard_failed(work, None))
    tree.now += 60.0
    delivered = [tree.deliver().seq for _ in tree.rows()]
    assert delivered[0] == local.seq
    assert tree.rows() == []


def test_a_create_that_is_sent_twice_keeps_its_id(tree: Queue) -> None:
    created = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    before = claim.item
    tree.settle(claim, LOST)
    tree.now += 60.0
    (claim,) = tree.claim()
    assert (claim.item.id, claim.item.record, claim.item.data) == (
        before.id,
        created.record_id,
        before.data,
    )


def test_an_answer_with_the_same_id_adds_no_alias(tree: Queue) -> None:
    tree.push("projects", {"id": 7, "name": "x"})
    tree.deliver(server_id=7)
    assert tree.rows(ALIASES) == []


def test_an_edit_during_the_create_is_kept(tree: Queue) -> None:
    created = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    tree.push("projects", {"id": created.record_id, "name": "mine"}, "update")
    tree.deliver(claim, server_id=7, record={"id": 7, "name": "x", "size": 1}, version="1")
    assert tree.view("projects", "7") == {"id": 7, "name": "mine", "size": 1}
    (claim,) = tree.claim()
    assert claim.item.version == "1"


def test_the_change_of_an_id_is_reported_under_the_new_id(tree: Queue) -> None:
    tree.watch = True
    created = tree.push("projects", {"name": "x"})
    tree.deliver(server_id=7, record={"id": 7, "name": "x", "size": 1})
    (change,) = tree.effects.changes
    assert (change.record_id, change.origin) == ("7", "remote")
    assert change.before == {"id": created.record_id, "name": "x"}
    assert change.after == {"id": 7, "name": "x", "size": 1}


def test_ids_of_an_entity_that_keeps_no_records_are_forgotten_after_30_days(
    make_queue: type[Queue],
) -> None:
    log = make_queue(log=EntityConfig("/log", replica=False, id_source="server"))
    for day in range(50):
        log.push("log", {"text": "x"})
        log.deliver(server_id=day)
        log.now += 86_400.0
    assert {int(alias.record) for alias in log.rows(ALIASES)} == set(range(20, 50))


def test_an_id_that_another_create_was_given_is_reported_and_joins_nothing(tree: Queue) -> None:
    first = tree.push("projects", {"title": "a"})
    second = tree.push("projects", {"title": "b"})
    child = tree.push("tasks", {"id": "c", "project_id": second.record_id})
    tree.deliver(server_id=7, record={"id": 7, "title": "a"})
    (claim,) = tree.claim()
    assert claim.item.seq == second.seq
    tree.deliver(claim, server_id=7, record={"id": 7, "title": "b"})
    item = present(tree.item(second))
    assert tree.lane(second) is Lane.FAILED
    assert item.unclear, "it is not sent again by itself: it was accepted"
    assert "7" in present(item.error)
    assert "another record" in present(item.error)
    assert tree.view("projects", "7") == {"id": 7, "title": "a"}
    assert tree.view("projects", first.record_id) == tree.view("projects", "7")
    assert present(tree.view("projects", second.record_id))["title"] == "b"
    assert tree.lane(child) is Lane.BLOCKED


def test_the_id_of_a_deleted_record_may_be_given_again(tree: Queue) -> None:
    tree.push("projects", {"title": "a"})
    tree.deliver(server_id=7)
    tree.push("projects", {"id": 7}, "delete")
    tree.deliver()
    tree.push("projects", {"title": "b"})
    tree.deliver(server_id=7)
    assert tree.rows() == []
    assert tree.view("projects", "7") == {"id": 7, "title": "b"}
