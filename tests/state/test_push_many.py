"""Many pushes at once are the same as one after the other."""

from datetime import datetime
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytelyst_sync import EntityConfig, QueueFullError
from bytelyst_sync.errors import RecordDeletedError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.state.changes import Change
from bytelyst_sync.state.outbox import Outbox
from bytelyst_sync.storage.schema import ITEMS, LINKS

ENTITIES = {
    "notes": EntityConfig("/notes"),
    "events": EntityConfig("/events", dedup="none", replica=False),
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


def changes_of(queue, pushes):
    made = []
    for name, operation, data, with_id in pushes:
        given_data = dict(data)
        if operation is SyncOperation.CREATE and not with_id:
            del given_data["id"]
        made.append(Change.of(queue.entities[name], operation, given_data, queue.now))
    return made


def told(value):
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
            value.place,
            value.timestamp,
        )
    )


def one_by_one(outbox, changes, tx, effects):
    return [outbox.push(tx, change, effects) for change in changes]


def content(queue):
    def look(tx):
        rows = [row._replace(id="") for row in tx.scan(ITEMS)]
        return rows, list(tx.scan(LINKS)), tx.counts(ITEMS)

    return queue.storage.read(look)


def outcome(queue, push):
    try:
        return [told(item) for item in queue.run(push)]
    except RecordDeletedError as error:
        return str(error)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(before=PUSHES, pushes=PUSHES, watch=st.booleans())
def test_many_at_once_are_the_same_as_one_by_one(make_queue, before, pushes, watch):
    one, many = make_queue(**ENTITIES), make_queue(**ENTITIES)
    first = changes_of(one, before)
    changes = changes_of(one, pushes)
    for queue in (one, many):
        for change in first:
            outcome(queue, partial(one_by_one, queue.outbox, [change]))
        queue.claim(1)
        queue.watch = watch
    singly = outcome(one, partial(one_by_one, one.outbox, changes))
    together = outcome(many, lambda tx, effects: many.outbox.push_many(tx, changes, effects))
    assert together == singly
    assert content(many) == content(one)
    if not isinstance(singly, str):
        assert many.effects.events == one.effects.events
        assert many.effects.outcomes == one.effects.outcomes
        assert many.effects.changes == one.effects.changes


def test_what_is_returned_is_what_is_stored(queue):
    changes = changes_of(
        queue, [("notes", SyncOperation.CREATE, {"id": n}, True) for n in range(9)]
    )
    items = queue.run(lambda tx, effects: queue.outbox.push_many(tx, changes, effects))
    rows = queue.storage.read(lambda tx: list(tx.scan(ITEMS)))
    assert [(item.id, item.place) for item in items] == [(row.id, row.seq) for row in rows]
    assert len({item.id for item in items}) == 9
    assert all(
        item.timestamp == datetime.fromisoformat("2001-09-09T01:46:40+00:00") for item in items
    )


@pytest.mark.parametrize("room", [0, 3, 8])
def test_a_queue_without_room_for_all_takes_none(queue, room):
    outbox = Outbox(queue.entities, max_length=room)
    changes = changes_of(
        queue, [("notes", SyncOperation.CREATE, {"id": n}, True) for n in range(9)]
    )
    with pytest.raises(QueueFullError) as caught:
        queue.run(lambda tx, effects: outbox.push_many(tx, changes, effects))
    assert caught.value.record_id == str(room)
    assert queue.storage.read(lambda tx: list(tx.scan(ITEMS))) == []
    queue.run(lambda tx, effects: outbox.push_many(tx, changes[:room], effects))
    assert queue.storage.read(outbox.length) == room
