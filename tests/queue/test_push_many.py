"""Many pushes at once are the same as one after the other."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytelyst_sync import EntityConfig, QueueFullError, SyncItem
from bytelyst_sync.errors import RecordDeletedError, SyncError
from bytelyst_sync.model import Json, SyncOperation
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, LINKS, Item, Lane, Link
from tests.queue.conftest import Queue
from tests.typed import present

ENTITIES: Json = {
    "notes": EntityConfig("/notes"),
    "events": EntityConfig("/events", dedup="none", replica=False),
    "log": EntityConfig("/log", dedup="none"),
    "texts": EntityConfig("/texts", dedup="content"),
    "projects": EntityConfig("/projects", id_source="server"),
    "tasks": EntityConfig("/tasks", references={"project": "projects"}),
}
PUSHES = st.lists(
    st.tuples(
        st.sampled_from(list(ENTITIES)),
        st.sampled_from(list(SyncOperation)),
        st.fixed_dictionaries(
            {"id": st.sampled_from(["1", "2", 3])},
            optional={"title": st.sampled_from("ab"), "project": st.sampled_from(["1", "2"])},
        ),
        st.booleans(),
    ),
    max_size=12,
)


NINE = [("notes", SyncOperation.CREATE, {"id": number}, True) for number in range(9)]


def changes_of(
    queue: Queue, pushes: list[tuple[str, SyncOperation, Json, bool]]
) -> list[PushRequest]:
    made = []
    for name, operation, data, with_id in pushes:
        given_data = dict(data)
        if operation is SyncOperation.CREATE and not with_id:
            del given_data["id"]
        made.append(PushRequest.of(queue.entities[name], operation, given_data, queue.now))
    return made


def reported(value: SyncItem | None) -> tuple[object, ...] | None:
    """An item without its random id."""
    return (
        None
        if value is None
        else (
            value.entity,
            value.record_id,
            value.operation,
            value.data,
            value.state,
            value.seq,
            value.timestamp,
        )
    )


def one_by_one(
    outbox: Outbox, changes: list[PushRequest], work: UnitOfWork, *, kept: bool = False
) -> list[SyncItem | None]:
    return [at_once(outbox, [change], work, kept=kept)[0] for change in changes]


def at_once(
    outbox: Outbox, changes: list[PushRequest], work: UnitOfWork, *, kept: bool
) -> list[SyncItem | None]:
    """``kept``: what the rules refuse is queued as failed, as in a fold."""

    def refused(new: PushRequest, error: SyncError) -> None:
        outbox.add_failed(work, new, str(error))

    return outbox.push(work, changes, refused=refused if kept else None)


def content(queue: Queue) -> tuple[list[Item], list[Link], dict[tuple[int | Lane, str], int]]:
    def look(tx: Reader) -> tuple[list[Item], list[Link], dict[tuple[int | Lane, str], int]]:
        rows = [row._replace(id="") for row in tx.scan(ITEMS)]
        return rows, list(tx.scan(LINKS)), tx.counts(ITEMS)

    return queue.storage.read(look)


def outcome(
    queue: Queue, push: Callable[[UnitOfWork], list[SyncItem | None]]
) -> list[tuple[object, ...] | None] | str:
    try:
        return [reported(item) for item in queue.run(push)]
    except RecordDeletedError as error:
        return str(error)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(before=PUSHES, pushes=PUSHES, watch=st.booleans(), kept=st.booleans())
def test_many_at_once_are_the_same_as_one_by_one(
    make_queue: type[Queue],
    before: list[tuple[str, SyncOperation, Json, bool]],
    pushes: list[tuple[str, SyncOperation, Json, bool]],
    watch: bool,
    kept: bool,
) -> None:
    one, many = make_queue(**ENTITIES), make_queue(**ENTITIES)
    first = changes_of(one, before)
    changes = changes_of(one, pushes)
    for queue in (one, many):
        for change in first:
            outcome(queue, partial(one_by_one, queue.outbox, [change]))
        queue.claim(1)
        queue.watch = watch
    singly = outcome(one, partial(one_by_one, one.outbox, changes, kept=kept))
    together = outcome(many, partial(at_once, many.outbox, changes, kept=kept))
    assert together == singly
    assert content(many) == content(one)
    if not isinstance(singly, str):
        assert many.effects.events == one.effects.events
        assert many.effects.outcomes == one.effects.outcomes
        assert many.effects.changes == one.effects.changes


def test_what_is_returned_is_what_is_stored(queue: Queue) -> None:
    changes = changes_of(
        queue, [("notes", SyncOperation.CREATE, {"id": n}, True) for n in range(9)]
    )
    items = queue.run(lambda work: queue.outbox.push(work, changes))
    rows = queue.storage.read(lambda tx: list(tx.scan(ITEMS)))
    assert [(present(item).id, present(item).seq) for item in items] == [
        (row.id, row.seq) for row in rows
    ]
    assert len({present(item).id for item in items}) == 9
    assert all(
        present(item).timestamp == datetime.fromisoformat("2001-09-09T01:46:40+00:00")
        for item in items
    )


@pytest.mark.parametrize("room", [0, 3, 8])
def test_a_queue_without_room_for_all_takes_none(queue: Queue, room: int) -> None:
    outbox = Outbox(queue.entities, max_length=room)
    changes = changes_of(
        queue, [("notes", SyncOperation.CREATE, {"id": n}, True) for n in range(9)]
    )
    with pytest.raises(QueueFullError) as caught:
        queue.run(lambda work: outbox.push(work, changes))
    assert caught.value.record_id == str(room)
    assert queue.storage.read(lambda tx: list(tx.scan(ITEMS))) == []
    queue.run(lambda work: outbox.push(work, changes[:room]))
    assert queue.storage.read(outbox.length) == room


def test_a_push_behind_a_refused_one_of_its_record(make_queue: type[Queue]) -> None:
    seen = []
    for push in (one_by_one, at_once):
        queue = make_queue(**ENTITIES)
        queue.push("notes", {"id": "a", "title": 1}, "update")
        queue.push("notes", {"id": "b"}, key="used")
        update = ("notes", SyncOperation.UPDATE, {"id": "a", "title": 2}, True)
        refused, accepted = changes_of(queue, [update, update])
        changes = [refused._replace(key="used"), accepted]
        queue.run(partial(push, queue.outbox, changes, kept=True))
        seen.append(content(queue))
    assert seen[1] == seen[0]
