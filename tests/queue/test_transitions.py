"""Which item waits for which: the order of a record, and children behind their parent's create."""

import json

import pytest

from bytelyst_sync import EntityConfig
from bytelyst_sync.model import ItemState
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import LINKS, Lane
from tests.queue.conftest import Queue
from tests.typed import present

OFFLINE = AttemptResult(meaning=Verdict.OFFLINE, unprocessed=True)
LOST = AttemptResult(meaning=Verdict.UNKNOWN)
REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)
CHANGED = {"id": "a", "title": "theirs", "version": 9}
EXISTS = {"id": "p", "name": "theirs"}
CONFLICT = AttemptResult(meaning=Verdict.CONFLICT, status=412, record=CHANGED, version="9")


@pytest.fixture
def family(make_queue: type[Queue]) -> Queue:
    """Parents with ids of the client's, and children that refer to one or several."""
    return make_queue(
        parents=EntityConfig("/parents"),
        children=EntityConfig("/children", references={"of": "parents"}, conflict="client-wins"),
    )


def test_an_operation_behind_one_that_is_being_sent_waits(queue: Queue) -> None:
    first = queue.push("notes", {"id": "a", "title": 1})
    (claim,) = queue.claim()
    second = queue.push("notes", {"id": "a", "title": 2}, "update")
    assert second.seq > first.seq
    assert queue.lane(second) is Lane.BLOCKED
    assert present(queue.item(second)).blocker == first.seq
    assert queue.claim(10) == []
    queue.deliver(claim)
    assert queue.lane(second) is Lane.READY


@pytest.mark.parametrize("answer", [OFFLINE, LOST, REJECTED])
def test_it_waits_until_the_first_is_delivered(queue: Queue, answer: AttemptResult) -> None:
    queue.push("notes", {"id": "a", "title": 1})
    (claim,) = queue.claim()
    second = queue.push("notes", {"id": "a", "title": 2}, "update")
    queue.settle(claim, answer)
    assert queue.lane(second) is Lane.BLOCKED


def test_a_failing_record_never_blocks_another(queue: Queue) -> None:
    queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, REJECTED)
    other = queue.push("notes", {"id": "b"})
    assert [claim.item.seq for claim in queue.claim()] == [other.seq]


def test_a_delayed_item_becomes_ready_when_it_is_due(queue: Queue) -> None:
    item = queue.push("notes", {"id": "a"})
    (claim,) = queue.claim()
    queue.settle(claim, LOST)
    assert queue.lane(item) is Lane.DELAYED
    assert queue.claim() == []
    queue.now += 0.5
    assert [claim.item.seq for claim in queue.claim()] == [item.seq]


def test_a_child_waits_for_its_parents_create(family: Queue) -> None:
    parent = family.push("parents", {"id": "p"})
    child = family.push("children", {"id": "c", "of": "p"})
    assert family.lane(child) is Lane.BLOCKED
    assert [claim.item.seq for claim in family.claim(10)] == [parent.seq]


def test_a_child_waits_again_if_its_parent_must_be_created_again(make_queue: type[Queue]) -> None:
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
    assert claim.item.seq == update.seq
    family.settle(claim, AttemptResult(meaning=Verdict.GONE, status=404))
    assert present(family.item(update)).operation == "create", "somebody deleted it meanwhile"
    assert family.lane(child) is Lane.BLOCKED
    family.deliver()
    assert family.lane(child) is Lane.READY


def test_a_child_of_several_waits_for_all(family: Queue) -> None:
    family.push("parents", {"id": "p"})
    family.push("parents", {"id": "q"})
    child = family.push("children", {"id": "c", "of": ["p", "q", "elsewhere"]})
    family.deliver()
    assert family.lane(child) is Lane.BLOCKED
    family.deliver()
    assert family.lane(child) is Lane.READY
    family.deliver()
    assert family.rows(LINKS) == []


def test_a_number_refers_like_its_text(family: Queue) -> None:
    family.push("parents", {"id": 7})
    child = family.push("children", {"id": "c", "of": 7})
    assert family.lane(child) is Lane.BLOCKED


@pytest.mark.parametrize(
    "held",
    [
        AttemptResult(meaning=Verdict.CONFLICT, status=409, record=EXISTS, version="3"),
        AttemptResult(meaning=Verdict.DELIVERED, status=200),
    ],
    ids=["the server has it", "an earlier create was delivered"],
)
def test_a_child_no_longer_waits_if_its_parents_create_becomes_an_update(
    make_queue: type[Queue], held: AttemptResult
) -> None:
    family = make_queue(
        parents=EntityConfig("/parents", conflict="client-wins"),
        children=EntityConfig("/children", references={"of": "parents"}),
    )
    family.push("parents", {"id": "p", "name": "x"})
    (claim,) = family.claim()
    family.push("parents", {"id": "p", "name": "y"})
    child = family.push("children", {"id": "c", "of": "p"})
    assert family.lane(child) is Lane.BLOCKED
    family.settle(claim, held)
    (update,) = family.rows_of("parents", "p")
    assert update.operation == "update"
    assert family.lane(child) is Lane.READY, "a rejected update of the parent must not stop it"


def test_a_child_no_longer_waits_if_a_page_shows_its_parent(make_queue: type[Queue]) -> None:
    family = make_queue(
        parents=EntityConfig("/parents", conflict="client-wins"),
        children=EntityConfig("/children", references={"of": "parents"}),
    )
    family.push("parents", {"id": "p", "name": "x"})
    child = family.push("children", {"id": "c", "of": "p"})
    family.arrive("parents", "p", EXISTS, "3")
    assert family.lane(child) is Lane.READY


def test_an_update_of_a_parent_blocks_no_child(family: Queue) -> None:
    family.push("parents", {"id": "p", "name": "x"}, "update")
    assert family.lane(family.push("children", {"id": "c", "of": "p"})) is Lane.READY


def test_a_child_pushed_before_its_parent_does_not_wait_in_a_circle(family: Queue) -> None:
    child = family.push("children", {"id": "c", "of": "p"})
    parent = family.push("parents", {"id": "p"})
    assert [claim.item.seq for claim in family.claim(10)] == [child.seq, parent.seq]


def test_an_edit_that_refers_to_a_later_parent_waits_for_it(family: Queue) -> None:
    first = family.push("children", {"id": "c"})
    parent = family.push("parents", {"id": "p"})
    second = family.push("children", {"id": "c", "of": "p"}, "update")
    assert second.seq > parent.seq > first.seq
    assert json.loads(present(family.item(first)).data) == {"id": "c"}
    assert [claim.item.seq for claim in family.claim(10)] == [first.seq, parent.seq]


def test_an_edit_that_removes_the_reference_unblocks_the_child(family: Queue) -> None:
    family.push("parents", {"id": "p"})
    child = family.push("children", {"id": "c", "of": "p"})
    family.push("children", {"id": "c", "of": None}, "update")
    assert family.lane(child) is Lane.READY


def test_children_of_a_rejected_parent_are_blocked(family: Queue) -> None:
    parent = family.push("parents", {"id": "p"})
    (claim,) = family.claim()
    family.settle(claim, REJECTED)
    child = family.push("children", {"id": "c", "of": "p"})
    assert family.lane(parent) is Lane.FAILED
    assert family.lane(child) is Lane.BLOCKED


def test_a_child_of_a_dropped_create_fails(family: Queue) -> None:
    parent = family.push("parents", {"id": "p"})
    (claim,) = family.claim()
    family.settle(claim, REJECTED)
    child = family.push("children", {"id": "c", "of": "p"})
    assert family.run(lambda work: family.control.discard_failed(work, [parent.id])) == 1
    assert family.lane(child) is Lane.FAILED
    assert "of refers to parents/p, whose create was dropped" in present(
        present(family.item(child)).error
    )
    assert [item.seq for item in family.effects.failed] == [child.seq]
    family.run(lambda work: family.control.reprocess(work, None))
    assert family.lane(child) is Lane.READY


def test_a_child_of_a_dropped_local_id_fails_with_a_reason(tree: Queue) -> None:
    project = tree.push("projects", {"name": "x"})
    child = tree.push("tasks", {"id": "t", "project_id": project.record_id})
    (claim,) = tree.claim()
    tree.settle(claim, REJECTED)
    tree.run(lambda work: tree.control.discard_failed(work, None))
    assert tree.lane(child) is Lane.FAILED
    assert "project_id" in present(present(tree.item(child)).error)
    (reported,) = tree.effects.failed
    assert (reported.seq, reported.state) == (child.seq, ItemState.FAILED)


def test_clear_also_drops_items_that_it_unblocks(tree: Queue) -> None:
    project = tree.push("projects", {"name": "x"})
    tree.push("tasks", {"id": "t", "project_id": project.record_id})
    tree.push("tasks", {"id": "u"}, "delete")
    tree.push("tasks", {"id": "u"})
    assert tree.run(tree.control.clear) == 4
    assert tree.rows() == []


def test_clear_keeps_items_that_are_being_sent(queue: Queue) -> None:
    sent = queue.push("notes", {"id": "a"})
    queue.claim()
    queue.push("notes", {"id": "a", "title": 2}, "update")
    queue.push("notes", {"id": "b"})
    assert queue.run(queue.control.clear) == 2
    assert [row.seq for row in queue.rows()] == [sent.seq]


def test_a_conflicts_outcome_waits_for_its_parent(family: Queue) -> None:
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


def test_a_conflicts_outcome_does_not_wait_for_what_a_replaced_operation_referred_to(
    family: Queue,
) -> None:
    family.arrive("children", "c", {"id": "c", "name": 0}, "1")
    family.push("children", {"id": "c", "name": 1}, "update")
    (claim,) = family.claim()
    unneeded = family.push("parents", {"id": "p"})
    family.push("children", {"id": "c", "of": "p"}, "update", key="kept apart")
    needed = family.push("parents", {"id": "q"})
    edit = family.push("children", {"id": "c", "of": "q"}, "update")
    theirs = {"id": "c", "name": 2}
    family.settle(
        claim, AttemptResult(meaning=Verdict.CONFLICT, status=412, record=theirs, version="2")
    )
    (outcome,) = family.rows_of("children", "c")
    assert (outcome.seq, outcome.blocker) == (edit.seq, needed.seq)
    assert family.lane(unneeded) is Lane.READY


def test_children_wait_for_a_create_that_a_conflict_caused(make_queue: type[Queue]) -> None:
    family = make_queue(
        parents=EntityConfig("/parents", conflict="client-wins"),
        children=EntityConfig("/children", references={"of": "parents"}),
    )
    family.arrive("parents", "p", {"id": "p", "name": "x"}, "1")
    family.push("parents", {"id": "p", "name": "y"}, "update")
    (claim,) = family.claim()
    child = family.push("children", {"id": "c", "of": "p"})
    assert family.lane(child) is Lane.READY
    family.settle(claim, AttemptResult(meaning=Verdict.GONE, status=404))
    assert family.lane(child) is Lane.BLOCKED
    first = family.deliver()
    assert (first.entity, first.operation) == ("parents", "create")
    assert family.deliver().seq == child.seq
