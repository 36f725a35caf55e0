"""A delete waits for earlier items whose record refers, or referred, to the record."""

import pytest

from bytelyst_sync import EntityConfig, SyncItem
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import Lane
from tests.queue.conftest import Queue
from tests.typed import present

OFFLINE = AttemptResult(meaning=Verdict.OFFLINE, unprocessed=True)
REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)
THEIRS = {"id": "n", "folder": "a", "title": "theirs"}


@pytest.fixture
def tree(make_queue: type[Queue]) -> Queue:
    queue = make_queue(
        folders=EntityConfig("/folders"),
        notes=EntityConfig("/notes", references={"folder": "folders", "lines[].folder": "folders"}),
        manual=EntityConfig("/manual", references={"folder": "folders"}, conflict="manual"),
    )
    queue.arrive("folders", "a", {"id": "a"})
    queue.arrive("folders", "b", {"id": "b"})
    queue.arrive("notes", "n", {"id": "n", "folder": "a"}, "v1")
    return queue


def delete_folder(tree: Queue, record: str = "a") -> SyncItem:
    found: SyncItem = tree.push("folders", {"id": record}, "delete")
    return found


@pytest.mark.parametrize(
    ("data", "operation"),
    [
        ({"id": "n", "folder": "b"}, "update"),
        ({"id": "n", "title": "x"}, "update"),
        ({"id": "n"}, "delete"),
        ({"id": "new", "folder": "a"}, "create"),
        ({"id": "a", "folder": "a"}, "create"),
        ({"id": "new", "lines": [{"folder": "b"}, {"folder": "a"}]}, "create"),
    ],
    ids=[
        "moved out",
        "edited inside",
        "deleted",
        "created inside",
        "of the same id",
        "named in a list",
    ],
)
def test_it_waits_for_an_earlier_item(tree: Queue, data: Json, operation: str) -> None:
    note = tree.push("notes", data, operation)
    delete = delete_folder(tree)
    assert tree.lane(delete) is Lane.BLOCKED
    assert present(tree.item(delete)).blocker == note.seq
    tree.deliver()
    assert tree.lane(delete) is Lane.READY


def test_it_waits_for_all_of_them(tree: Queue) -> None:
    tree.push("notes", {"id": "n", "folder": "b"}, "update")
    tree.push("notes", {"id": "m", "folder": "a"})
    delete = delete_folder(tree)
    tree.deliver()
    assert tree.lane(delete) is Lane.BLOCKED
    tree.deliver()
    assert tree.lane(delete) is Lane.READY


def test_it_waits_for_a_later_item_of_a_record_that_referred_to_it_here(tree: Queue) -> None:
    tree.push("notes", {"id": "m", "folder": "a"})
    (claim,) = tree.claim()
    tree.push("notes", {"id": "m", "title": "x"}, "update")
    delete = delete_folder(tree)
    tree.deliver(claim)
    assert tree.lane(delete) is Lane.BLOCKED
    tree.deliver()
    assert tree.lane(delete) is Lane.READY


def test_it_does_not_wait_for_items_queued_after_it(tree: Queue) -> None:
    delete = delete_folder(tree)
    tree.push("notes", {"id": "n", "folder": "b"}, "update")
    assert tree.lane(delete) is Lane.READY


def test_it_does_not_wait_for_items_that_have_nothing_to_do_with_it(tree: Queue) -> None:
    tree.push("notes", {"id": "m", "folder": "b"})
    assert tree.lane(delete_folder(tree)) is Lane.READY


def test_it_waits_visibly_behind_a_failed_one(tree: Queue) -> None:
    tree.push("notes", {"id": "n", "folder": "b"}, "update")
    tree.settle(tree.claim()[0], REJECTED)
    delete = delete_folder(tree)
    assert tree.lane(delete) is Lane.BLOCKED
    tree.run(lambda work: tree.control.discard_failed(work, None))
    assert tree.lane(delete) is Lane.READY


def test_it_waits_behind_a_parked_one(tree: Queue) -> None:
    tree.arrive("manual", "n", {"id": "n", "folder": "a", "title": "old"}, "v1")
    tree.push("manual", {"id": "n", "title": "ours"}, "update")
    answer = AttemptResult(meaning=Verdict.CONFLICT, status=412, record=THEIRS, version="v2")
    tree.settle(tree.claim()[0], answer)
    assert {row.lane for row in tree.rows()} == {Lane.PARKED}
    assert tree.lane(delete_folder(tree)) is Lane.BLOCKED


def test_an_expired_one_does_not_hold_it_up(tree: Queue) -> None:
    from bytelyst_sync.queue.expiry import expire_due  # noqa: PLC0415

    tree.push("notes", {"id": "n", "folder": "b"}, "update", expires=tree.now + 5)
    delete = delete_folder(tree)
    tree.now += 5
    tree.run(expire_due)
    assert tree.lane(delete) is Lane.READY


def test_one_that_refers_no_longer_sets_it_free(tree: Queue) -> None:
    tree.push("notes", {"id": "m", "folder": "a"})
    delete = delete_folder(tree)
    tree.push("notes", {"id": "m", "folder": "b"}, "update")
    assert tree.lane(delete) is Lane.READY


def test_a_move_and_the_folders_delete_in_a_circle_end(tree: Queue) -> None:
    """a refers to b and b to a; both are deleted: the second waits for the first alone."""
    tree.push("notes", {"id": "n"}, "delete")
    first = delete_folder(tree, "a")
    second = delete_folder(tree, "b")
    delivered = [tree.deliver().record for _ in range(3)]
    assert delivered == ["n", "b", "a"] or delivered == ["n", "a", "b"]
    assert tree.item(first) is tree.item(second) is None


def test_a_record_that_refers_to_itself_can_be_deleted(make_queue: type[Queue]) -> None:
    nodes = make_queue(nodes=EntityConfig("/nodes", references={"parent": "nodes"}))
    nodes.arrive("nodes", "x", {"id": "x", "parent": "x"})
    nodes.push("nodes", {"id": "x", "title": "t"}, "update")
    delete = nodes.push("nodes", {"id": "x"}, "delete")
    assert nodes.lane(delete) is Lane.READY
    nodes.settle(nodes.claim()[0], OFFLINE)
    assert nodes.lane(delete) is Lane.READY
