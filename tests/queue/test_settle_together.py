"""Settling many answers together has the same effect as settling them one by one."""

from contextlib import suppress
from functools import partial

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytelyst_sync import EntityConfig, ItemState
from bytelyst_sync.errors import RecordDeletedError
from bytelyst_sync.model import Json, SyncOperation
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.queue.outage_rule import OutageRule
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.outage import Health
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, LINKS, RECORDS, Item, Lane, Link, Record
from tests.queue.conftest import Queue

ENTITIES: Json = {
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
        st.sampled_from([Verdict.DELIVERED] * 6 + [Verdict.BUSY, Verdict.UNKNOWN]),
        st.sampled_from([None, {}, {"title": "s"}, {"title": "a", "extra": 1}]),
        st.sampled_from([None, "v1"]),
    ),
    min_size=9,
    max_size=9,
)


def push(queue: Queue, change: PushRequest, work: UnitOfWork) -> None:
    queue.outbox.push(work, [change])


def hold(rows: list[tuple[str, str, str | None, int, str | None]], work: UnitOfWork) -> None:
    for entity, record, state, changed_seq, deferred_state in rows:
        work.tx.insert(
            RECORDS,
            Record(entity, record, state, "v0", changed_seq, 0, deferred_state=deferred_state),
        )


def give_back(queue: Queue, claim: Claim, work: UnitOfWork) -> None:
    queue.claims.unclaim(work.tx, [claim])


def one_by_one(queue: Queue, sent: list[tuple[Claim, AttemptResult]], work: UnitOfWork) -> None:
    rule = OutageRule(queue.policy)
    outages: dict[str, Health] = {}
    judgements = rule.judge(work, outages, sent)
    for claim, answer in sent:
        queue.settlement.settle(work, claim, answer, outages, judgements.get(claim.item.seq))


def together(queue: Queue, sent: list[tuple[Claim, AttemptResult]], work: UnitOfWork) -> None:
    queue.settlement.settle_all(work, sent, {})


def answer_to(
    claim: Claim, meaning: Verdict, record: Json | None, version: str | None
) -> AttemptResult:
    if record:
        record = {**record, "id": claim.item.record}
    return AttemptResult(meaning=meaning, record=record, version=version, status=200)


def content(
    queue: Queue,
) -> tuple[list[Item], list[Record], list[Link], dict[tuple[Lane, str], int]]:
    def look(
        tx: Reader,
    ) -> tuple[list[Item], list[Record], list[Link], dict[tuple[Lane, str], int]]:
        items = [row._replace(id="", position=0, attempted=None) for row in tx.scan(ITEMS)]
        # which of them was settled first is nobody's business
        records = [
            row._replace(changed_seq=bool(row.changed_seq), needs_refresh=bool(row.needs_refresh))
            for row in tx.scan(RECORDS)
        ]
        return items, records, list(tx.scan(LINKS)), tx.counts(ITEMS)

    return queue.storage.read(look)


def received(
    effects: CommitEffects,
) -> tuple[
    dict[tuple[str, str, str | None, int | None], tuple[int, float | None]],
    dict[int, ItemState],
    int,
    int,
    list[str],
]:
    reported = {
        name: (count, None if seconds is None else round(seconds, 6))
        for name, (count, seconds) in effects.events.items()
    }
    changes = sorted(map(repr, effects.changes))
    return reported, effects.outcomes, effects.pushed, effects.errors, changes


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pushes=PUSHES, held=HELD, answers=ANSWERS, watch=st.booleans(), lost=st.booleans())
def test_many_together_are_the_same_as_one_by_one(
    make_queue: type[Queue],
    pushes: list[tuple[str, SyncOperation, Json]],
    held: list[tuple[str, str, str | None, int, str | None]],
    answers: list[tuple[Verdict, Json | None, str | None]],
    watch: bool,
    lost: bool,
) -> None:
    seen = []
    for settle in (one_by_one, together):
        queue = make_queue(**ENTITIES)
        queue.run(partial(hold, held))
        for name, operation, data in pushes:
            change = PushRequest.of(queue.entities[name], operation, dict(data), queue.now)
            with suppress(RecordDeletedError):
                queue.run(partial(push, queue, change))
        claims = queue.claim(9)
        if lost and claims:
            queue.run(partial(give_back, queue, claims[0]))
        queue.watch = watch
        queue.now += 5
        sent = [
            (claim, answer_to(claim, *each)) for claim, each in zip(claims, answers, strict=False)
        ]
        queue.run(partial(settle, queue, sent))
        seen.append((content(queue), received(queue.effects)))
    assert seen[1] == seen[0]


def test_the_links_of_a_delivered_item_are_deleted(make_queue: type[Queue]) -> None:
    queue = make_queue(**ENTITIES)
    queue.push("projects", {"id": "1"})
    queue.push("tasks", {"id": "2", "project": "1"})
    queue.push("notes", {"id": "3"})
    linked = []
    while claims := queue.claim(9):
        linked.append(len(queue.rows(LINKS)))
        sent = [(claim, answer_to(claim, Verdict.DELIVERED, None, None)) for claim in claims]
        queue.run(partial(together, queue, sent))
    assert linked == [1, 1]
    assert queue.rows(LINKS) == queue.rows(ITEMS) == []
