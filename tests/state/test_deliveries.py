"""Answers settled together are the same as one after the other."""

from contextlib import suppress
from functools import partial

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytelyst_sync import EntityConfig
from bytelyst_sync.errors import RecordDeletedError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.state.changes import Change
from bytelyst_sync.storage.schema import ITEMS, LINKS, RECORDS, Record
from bytelyst_sync.transport.answers import Answer

ENTITIES = {
    "notes": EntityConfig("/notes"),
    "events": EntityConfig("/events", dedup="none", replica=False),
    "projects": EntityConfig("/projects"),
    "tasks": EntityConfig("/tasks", references={"project": "projects"}),
}
IDS = st.sampled_from(["1", "2", "3", "4"])
PUSHES = st.lists(
    st.tuples(
        st.sampled_from(list(ENTITIES)),
        st.sampled_from(list(SyncOperation)),
        st.fixed_dictionaries(
            {"id": IDS}, optional={"title": st.sampled_from("ab"), "project": IDS}
        ),
    ),
    max_size=10,
)
HELD = st.lists(
    st.tuples(
        st.sampled_from(["notes", "projects", "tasks"]),
        IDS,
        st.sampled_from([None, '{"id":"1","title":"c"}']),
        st.integers(0, 40),
        st.sampled_from([None, '{"id":"1","title":"d"}']),
    ),
    max_size=4,
    unique_by=lambda each: each[:2],
)
ANSWERS = st.lists(
    st.tuples(
        st.sampled_from([Meaning.DELIVERED] * 6 + [Meaning.BUSY, Meaning.UNKNOWN]),
        st.sampled_from([None, {}, {"title": "s"}, {"title": "a", "extra": 1}]),
        st.sampled_from([None, "v1"]),
    ),
    min_size=9,
    max_size=9,
)


def push(queue, change, tx, effects):
    queue.outbox.push(tx, change, effects)


def hold(rows, tx, effects):
    for entity, record, state, stamp, beside in rows:
        tx.insert(RECORDS, Record(entity, record, state, "v0", stamp, 0, beside=beside))


def give_back(queue, claim, tx, effects):
    queue.claims.unclaim(tx, [claim])


def one_by_one(queue, sent, tx, effects):
    for claim, answer in sent:
        queue.settlement.settle(tx, claim, answer, effects, queue.now + 5)


def together(queue, sent, tx, effects):
    queue.settlement.settle_all(tx, sent, effects, queue.now + 5)


def answer_to(claim, meaning, record, version):
    if record:
        record = {**record, "id": claim.item.record}
    return Answer(meaning=meaning, record=record, version=version, status=200)


def content(queue):
    def look(tx):
        items = [row._replace(id="", turn=0) for row in tx.scan(ITEMS)]
        # which of them was settled first is nobody's business
        records = [
            row._replace(stamp=bool(row.stamp), stale=bool(row.stale)) for row in tx.scan(RECORDS)
        ]
        return items, records, list(tx.scan(LINKS)), tx.counts(ITEMS)

    return queue.storage.read(look)


def heard(effects):
    told = {
        name: (count, None if seconds is None else round(seconds, 6))
        for name, (count, seconds) in effects.events.items()
    }
    changes = sorted(map(repr, effects.changes))
    return told, effects.outcomes, effects.pushed, effects.errors, changes


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pushes=PUSHES, held=HELD, answers=ANSWERS, watch=st.booleans(), lost=st.booleans())
def test_many_together_are_the_same_as_one_by_one(make_queue, pushes, held, answers, watch, lost):
    seen = []
    for settle in (one_by_one, together):
        queue = make_queue(**ENTITIES)
        queue.run(partial(hold, held))
        for name, operation, data in pushes:
            change = Change.of(queue.entities[name], operation, dict(data), queue.now)
            with suppress(RecordDeletedError):
                queue.run(partial(push, queue, change))
        claims = queue.claim(9)
        if lost and claims:
            queue.run(partial(give_back, queue, claims[0]))
        queue.watch = watch
        sent = [
            (claim, answer_to(claim, *each)) for claim, each in zip(claims, answers, strict=False)
        ]
        queue.run(partial(settle, queue, sent))
        seen.append((content(queue), heard(queue.effects)))
    assert seen[1] == seen[0]


def test_what_an_item_referred_to_goes_with_it(make_queue):
    queue = make_queue(**ENTITIES)
    queue.push("projects", {"id": "1"})
    queue.push("tasks", {"id": "2", "project": "1"})
    queue.push("notes", {"id": "3"})
    linked = []
    while claims := queue.claim(9):
        linked.append(len(queue.rows(LINKS)))
        sent = [(claim, answer_to(claim, Meaning.DELIVERED, None, None)) for claim in claims]
        queue.run(partial(together, queue, sent))
    assert linked == [1, 1]
    assert queue.rows(LINKS) == queue.rows(ITEMS) == []
