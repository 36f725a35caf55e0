"""Items that waited for others become ready, each only if nothing else of its kind is before it."""

from collections.abc import Iterable
from typing import Any

import pytest

from bytelyst_sync import EntityConfig
from bytelyst_sync.state.release import release
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import ALIASES, ITEMS, LINKS, Alias, Item, Lane, Link
from tests.queue.conftest import Queue

GONE = 1
"""The item that has left the queue."""


@pytest.fixture
def family(make_queue: type[Queue]) -> Queue:
    return make_queue(
        parents=EntityConfig("/parents"),
        children=EntityConfig("/children", references={"of": "parents"}),
    )


def row(
    seq: int, record: str = "a", entity: str = "parents", operation: str = "update", **changes: Any
) -> Item:
    given: dict[str, Any] = {"lane": int(Lane.BLOCKED), "blocker": GONE, "position": seq, **changes}
    data = f'{{"id":"{record}"}}'
    return Item(seq, f"id-{seq}", entity, record, operation, data, 0.0, **given)


def released(
    queue: Queue, *rows: Item, links: Iterable[Link] = (), aliases: Iterable[Alias] = ()
) -> dict[int, tuple[Lane, int | None]]:
    """The lane and the blocker of each row when the item that they wait for is gone."""

    def work(work: UnitOfWork) -> None:
        work.tx.insert(ITEMS, *rows)
        work.tx.insert(LINKS, *links)
        work.tx.insert(ALIASES, *aliases)
        release(work, [GONE])

    queue.run(work)
    return {item.seq: (Lane(item.lane), item.blocker) for item in queue.rows()}


def test_the_next_item_of_each_record(family: Queue) -> None:
    found = released(family, row(2, "a"), row(3, "b"), row(4, "a", blocker=2))
    assert found == {
        2: (Lane.READY, None),
        3: (Lane.READY, None),
        4: (Lane.BLOCKED, 2),
    }


def test_of_two_items_of_a_record_the_first_one(family: Queue) -> None:
    assert released(family, row(2), row(3)) == {2: (Lane.READY, None), 3: (Lane.BLOCKED, 2)}


def test_a_child_waits_for_the_create_of_another_parent(family: Queue) -> None:
    create = row(2, "p", operation="create", lane=int(Lane.READY), blocker=None)
    child = row(3, "c", "children")
    found = released(family, create, child, links=[Link(3, "of", "parents", "p")])
    assert found[3] == (Lane.BLOCKED, 2)


def test_a_delete_waits_for_an_item_that_refers_to_its_record(family: Queue) -> None:
    child = row(2, "c", "children", lane=int(Lane.READY), blocker=None)
    delete = row(3, "p", operation="delete")
    found = released(family, child, delete, links=[Link(2, "of", "parents", "p")])
    assert found[3] == (Lane.BLOCKED, 2)


def test_an_item_waits_while_a_later_one_of_its_renamed_record_is_sent(family: Queue) -> None:
    sent = row(3, lane=int(Lane.SENDING), blocker=None)
    found = released(family, row(2), sent, aliases=[Alias("parents", "old", "a", '"a"')])
    assert found[2] == (Lane.BLOCKED, 3)
