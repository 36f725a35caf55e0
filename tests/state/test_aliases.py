"""The server's id takes a stand-in's place, everywhere."""

import json

import pytest

from bytelyst_sync import EntityConfig
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.storage.schema import ALIASES, RECORDS, Lane
from bytelyst_sync.transport.answers import Answer

OFFLINE = Answer(meaning=Meaning.OFFLINE, unprocessed=True)
LOST = Answer(meaning=Meaning.UNKNOWN)
REJECTED = Answer(meaning=Meaning.REJECTED, status=422, unprocessed=True)


def data_of(queue, item):
    return json.loads(queue.item(item).data)


def test_a_record_without_an_id_stands_under_one_made_here(tree):
    item = tree.push("projects", {"name": "x"})
    assert item.record_id.startswith("local-")
    assert tree.view("projects", item.record_id) == {"id": item.record_id, "name": "x"}


def test_later_items_follow(tree):
    made = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    later = tree.push("projects", {"id": made.record_id, "name": "y"}, "update")
    tree.deliver(claim, server_id=7, record={"id": 7, "name": "x"})
    assert tree.item(later).record == "7"
    assert data_of(tree, later) == {"id": 7, "name": "y"}
    assert tree.lane(later) is Lane.READY


def test_references_follow_and_keep_the_type(tree):
    made = tree.push("projects", {"name": "x"})
    child = tree.push("tasks", {"id": "t", "project_id": made.record_id, "title": "z"})
    tree.deliver(server_id=7)
    assert data_of(tree, child) == {"id": "t", "project_id": 7, "title": "z"}
    assert tree.lane(child) is Lane.READY


def test_references_in_a_list_follow_one_by_one(make_queue):
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


def test_references_to_an_entity_of_its_own_kind_follow(make_queue):
    folders = make_queue(
        folders=EntityConfig("/f", id_source="server", references={"parent": "folders"})
    )
    outer = folders.push("folders", {"name": "outer"})
    inner = folders.push("folders", {"name": "inner", "parent": outer.record_id})
    folders.deliver(server_id=1)
    assert data_of(folders, inner)["parent"] == 1
    folders.deliver(server_id=2)
    assert folders.view("folders", inner.record_id)["parent"] == 1


def test_both_ids_name_the_record_for_ever_after(tree):
    made = tree.push("projects", {"name": "x"})
    tree.deliver(server_id=7, record={"id": 7, "name": "x"})
    for key in (made.record_id, "7"):
        assert tree.view("projects", key) == {"id": 7, "name": "x"}
    edit = tree.push("projects", {"id": made.record_id, "name": "y"}, "update")
    assert (edit.record_id, edit.data) == ("7", {"id": 7, "name": "y"})
    assert tree.view("projects", "7") == tree.view("projects", made.record_id)
    gone = tree.push("projects", {"id": made.record_id}, "delete")
    assert (gone.record_id, gone.operation) == ("7", "delete")


def test_a_reference_made_later_gets_the_servers_id_at_once(tree):
    made = tree.push("projects", {"name": "x"})
    tree.deliver(server_id=7)
    child = tree.push("tasks", {"id": "t", "project_id": made.record_id})
    assert child.data["project_id"] == 7
    assert tree.lane(child) is Lane.READY


def test_text_that_merely_looks_like_the_id_is_left_alone(tree):
    made = tree.push("projects", {"name": "x"})
    child = tree.push("tasks", {"id": "t", "title": made.record_id})
    tree.deliver(server_id=7)
    assert data_of(tree, child)["title"] == made.record_id


def test_a_pull_that_brought_the_id_first_is_joined_not_doubled(tree):
    made = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    tree.settle(claim, LOST)
    tree.arrive("projects", "7", {"id": 7, "name": "x"}, "1")
    tree.now += 60.0
    tree.deliver(server_id=7, record={"id": 7, "name": "x"}, version="1")
    assert [row.record for row in tree.rows(RECORDS)] == ["7"]
    assert tree.view("projects", made.record_id) == {"id": 7, "name": "x"}


def test_items_of_both_ids_are_one_record_in_the_order_of_the_queue(tree):
    made = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    tree.settle(claim, LOST)
    tree.arrive("projects", "7", {"id": 7, "name": "x"}, "1")
    local = tree.push("projects", {"id": made.record_id, "name": "y"}, "update")
    real = tree.push("projects", {"id": 7, "name": "z"}, "update")
    tree.now += 60.0
    (again,) = tree.claim()
    assert again.item.seq == made.place
    tree.deliver(again, server_id=7, record={"id": 7, "name": "x"}, version="1")
    assert tree.lane(local) is Lane.READY
    assert tree.lane(real) is Lane.BLOCKED
    assert tree.view("projects", "7")["name"] == "z"
    assert [tree.deliver().seq for _ in range(2)] == [local.place, real.place]


@pytest.mark.parametrize("answer", [OFFLINE, LOST, REJECTED], ids=["offline", "lost", "rejected"])
def test_one_that_was_under_way_under_the_other_id_strands_nothing(tree, answer):
    made = tree.push("projects", {"name": "x"})
    (create,) = tree.claim()
    tree.arrive("projects", "7", {"id": 7, "name": "x"}, "1")
    local = tree.push("projects", {"id": made.record_id, "name": "y"}, "update")
    real = tree.push("projects", {"id": 7, "name": "z"}, "update")
    (update,) = tree.claim()
    assert update.item.seq == real.place
    tree.deliver(create, server_id=7, record={"id": 7, "name": "x"}, version="1")
    assert tree.lane(local) is Lane.BLOCKED
    tree.settle(update, answer)
    if answer is REJECTED:
        tree.run(lambda tx, e: tree.triage.discard_failed(tx, None, e))
    tree.now += 60.0
    delivered = [tree.deliver().seq for _ in tree.rows()]
    assert delivered[0] == local.place
    assert tree.rows() == []


def test_a_create_that_is_sent_twice_keeps_its_name(tree):
    made = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    before = claim.item
    tree.settle(claim, LOST)
    tree.now += 60.0
    (claim,) = tree.claim()
    assert (claim.item.id, claim.item.record, claim.item.data) == (
        before.id,
        made.record_id,
        before.data,
    )


def test_an_answer_with_the_same_id_makes_no_alias(tree):
    tree.push("projects", {"id": 7, "name": "x"})
    tree.deliver(server_id=7)
    assert tree.rows(ALIASES) == []


def test_an_edit_made_while_the_create_was_under_way_is_kept(tree):
    made = tree.push("projects", {"name": "x"})
    (claim,) = tree.claim()
    tree.push("projects", {"id": made.record_id, "name": "mine"}, "update")
    tree.deliver(claim, server_id=7, record={"id": 7, "name": "x", "size": 1}, version="1")
    assert tree.view("projects", "7") == {"id": 7, "name": "mine", "size": 1}
    (claim,) = tree.claim()
    assert claim.item.version == "1"


def test_the_change_of_a_name_is_told_under_the_new_one(tree):
    tree.watch = True
    made = tree.push("projects", {"name": "x"})
    tree.deliver(server_id=7, record={"id": 7, "name": "x", "size": 1})
    (change,) = tree.effects.changes
    assert (change.record_id, change.origin) == ("7", "remote")
    assert change.before == {"id": made.record_id, "name": "x"}
    assert change.after == {"id": 7, "name": "x", "size": 1}
