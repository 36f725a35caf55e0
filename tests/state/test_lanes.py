"""Who waits for whom: the record's order, and children behind their parent's create."""

import json

import pytest

from bytelyst_sync import EntityConfig
from bytelyst_sync.model import ItemState
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.storage.schema import LINKS, Lane
from bytelyst_sync.transport.answers import Answer

OFFLINE = Answer(meaning=Meaning.OFFLINE, unprocessed=True)
LOST = Answer(meaning=Meaning.UNKNOWN)
REJECTED = Answer(meaning=Meaning.REJECTED, status=422, unprocessed=True)
CHANGED = {"id": "a", "title": "theirs", "version": 9}
CONFLICT = Answer(meaning=Meaning.CONFLICT, status=412, record=CHANGED, version="9")


@pytest.fixture
def family(make_queue):
    """Parents with ids of the client's, and children that refer to one or several."""
    return make_queue(
        parents=EntityConfig("/parents"),
        children=EntityConfig("/children", references={"of": "parents"}, conflict="client-wins"),
    )


def test_an_operation_behind_one_that_is_being_sent_waits(queue):
    first = queue.push("notes", {"id": "a", "title": 1})
    (claim,) = queue.claim()
    second = queue.push("notes", {"id": "a", "title": 2}, "update")
    assert second.place > first.place
    assert queue.lane(second) is Lane.BLOCKED
    assert queue.item(second).blocker == first.place
    assert queue.claim(10) == []
    queue.deliver(claim)
    assert queue.lane(second) is Lane.READY


@pytest.mark.parametrize("answer", [OFFLINE, LOST, REJECTED])
def test_it_goes_on_waiting_while_the_first_is_not_delivered(queue, answer):
    queue.push("notes", {"id": "a", "title": 1})
    (claim,) = queue.claim()
    second = queue.push("notes", {"id": "a", "title": 2}, "update")
    queue.settle(claim, answer)
    assert queue.lane(second) is Lane.BLOCKED


def test_a_failing_record_never_blocks_another(queue):
    queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, REJECTED)
    other = queue.push("notes", {"id": "b"})
    assert [claim.item.seq for claim in queue.claim()] == [other.place]


def test_what_is_delayed_comes_back_when_it_is_due(queue):
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    assert queue.lane(item) is Lane.DELAYED
    assert queue.claim() == []
    queue.now += 0.5
    assert [claim.item.seq for claim in queue.claim()] == [item.place]


def test_a_child_waits_for_its_parents_create(family):
    parent = family.push("parents", {"id": "p"})
    child = family.push("children", {"id": "c", "of": "p"})
    assert family.lane(child) is Lane.BLOCKED
    assert [claim.item.seq for claim in family.claim(10)] == [parent.place]


def test_a_child_waits_again_where_its_parent_has_to_be_made_again(make_queue):
    family = make_queue(
        parents=EntityConfig("/parents", conflict="client-wins"),
        children=EntityConfig("/children", references={"of": "parents"}),
    )
    family.push("parents", {"id": "p"})
    (create,) = family.claim()
    update = family.push("parents", {"id": "p", "title": "ours"}, "update")
    child = family.push("children", {"id": "c", "of": "p"})
    family.deliver(create)
    assert family.lane(child) is Lane.READY
    (claim,) = family.claim()
    assert claim.item.seq == update.place
    family.settle(claim, Answer(meaning=Meaning.GONE, status=404))
    assert family.item(update).operation == "create", "somebody deleted it meanwhile"
    assert family.lane(child) is Lane.BLOCKED
    family.deliver()
    assert family.lane(child) is Lane.READY


def test_a_child_of_several_waits_for_all(family):
    family.push("parents", {"id": "p"})
    family.push("parents", {"id": "q"})
    child = family.push("children", {"id": "c", "of": ["p", "q", "elsewhere"]})
    family.deliver()
    assert family.lane(child) is Lane.BLOCKED
    family.deliver()
    assert family.lane(child) is Lane.READY
    family.deliver()
    assert family.rows(LINKS) == []


def test_a_number_refers_like_its_text(family):
    family.push("parents", {"id": 7})
    child = family.push("children", {"id": "c", "of": 7})
    assert family.lane(child) is Lane.BLOCKED


def test_an_update_of_a_parent_holds_no_child_up(family):
    family.push("parents", {"id": "p", "name": "x"}, "update")
    assert family.lane(family.push("children", {"id": "c", "of": "p"})) is Lane.READY


def test_a_child_pushed_before_its_parent_does_not_wait_in_a_circle(family):
    child = family.push("children", {"id": "c", "of": "p"})
    parent = family.push("parents", {"id": "p"})
    assert [claim.item.seq for claim in family.claim(10)] == [child.place, parent.place]


def test_an_edit_that_names_a_later_parent_stays_behind_it(family):
    first = family.push("children", {"id": "c"})
    parent = family.push("parents", {"id": "p"})
    second = family.push("children", {"id": "c", "of": "p"}, "update")
    assert second.place > parent.place > first.place
    assert json.loads(family.item(first).data) == {"id": "c"}
    assert [claim.item.seq for claim in family.claim(10)] == [first.place, parent.place]


def test_an_edit_that_names_no_parent_any_more_sets_the_child_free(family):
    family.push("parents", {"id": "p"})
    child = family.push("children", {"id": "c", "of": "p"})
    family.push("children", {"id": "c", "of": None}, "update")
    assert family.lane(child) is Lane.READY


def test_children_of_a_rejected_parent_wait_visibly(family):
    parent = family.push("parents", {"id": "p"})
    (claim,) = family.claim()
    family.settle(claim, REJECTED)
    child = family.push("children", {"id": "c", "of": "p"})
    assert family.lane(parent) is Lane.FAILED
    assert family.lane(child) is Lane.BLOCKED


def test_a_dropped_parent_with_an_id_of_its_own_sets_its_children_free(family):
    parent = family.push("parents", {"id": "p"})
    (claim,) = family.claim()
    family.settle(claim, REJECTED)
    child = family.push("children", {"id": "c", "of": "p"})
    assert family.run(lambda tx, e: family.triage.discard_failed(tx, [parent.id], e)) == 1
    assert family.lane(child) is Lane.READY


def test_a_child_of_a_dropped_stand_in_fails_with_a_reason(tree):
    project = tree.push("projects", {"name": "x"})
    child = tree.push("tasks", {"id": "t", "project_id": project.record_id})
    (claim,) = tree.claim()
    tree.settle(claim, REJECTED)
    tree.run(lambda tx, e: tree.triage.discard_failed(tx, None, e))
    assert tree.lane(child) is Lane.FAILED
    assert "project_id" in tree.item(child).error
    (told,) = tree.effects.failed
    assert (told.place, told.state) == (child.place, ItemState.FAILED)


def test_clear_leaves_nothing_that_it_released_itself(tree):
    project = tree.push("projects", {"name": "x"})
    tree.push("tasks", {"id": "t", "project_id": project.record_id})
    tree.push("tasks", {"id": "u"}, "delete")
    tree.push("tasks", {"id": "u"})
    assert tree.run(tree.triage.clear) == 4
    assert tree.rows() == []


def test_clear_leaves_what_is_being_sent_alone(queue):
    sent = queue.push("notes", {"id": "a"})
    queue.claim()
    queue.push("notes", {"id": "a", "title": 2}, "update")
    queue.push("notes", {"id": "b"})
    assert queue.run(queue.triage.clear) == 2
    assert [row.seq for row in queue.rows()] == [sent.place]


def test_a_conflicts_outcome_never_overtakes_the_parent_that_it_names(family):
    family.push("children", {"id": "a", "title": 1}, "update")
    (claim,) = family.claim()
    family.push("parents", {"id": "p"})
    family.push("children", {"id": "a", "of": "p"}, "update")
    family.settle(claim, CONFLICT)
    order = []
    while claims := family.claim():
        order.append((claims[0].item.entity, "p" in claims[0].item.data))
        family.deliver(claims[0])
    assert order.index(("parents", True)) < order.index(("children", True))


def test_a_create_in_a_conflicts_place_is_waited_for(make_queue):
    family = make_queue(
        parents=EntityConfig("/parents", conflict="client-wins"),
        children=EntityConfig("/children", references={"of": "parents"}),
    )
    family.arrive("parents", "p", {"id": "p", "name": "x"}, "1")
    family.push("parents", {"id": "p", "name": "y"}, "update")
    (claim,) = family.claim()
    child = family.push("children", {"id": "c", "of": "p"})
    assert family.lane(child) is Lane.READY
    family.settle(claim, Answer(meaning=Meaning.GONE, status=404))
    (first, second) = [family.deliver(claim) for claim in (family.claim()[0], family.claim()[0])]
    assert (first.entity, first.operation) == ("parents", "create")
    assert second.seq == child.place
