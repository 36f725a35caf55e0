"""A fold and a settlement of many items are as many statements as those of a few."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.backends.utils import CursorWrapper

from bytelyst_sync import EntityConfig, SyncEngine
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.settle import Settlement
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import ITEMS, META, RECORDS, Lane
from tests.conftest import Wire
from tests.contrib.django.conftest import Engines
from tests.typed import T

IN_ORDER = {
    "view": EntityConfig("/notes", dedup="none"),
    "no view": EntityConfig("/notes", dedup="none", replica=False),
}
A_FEW, MANY = 3, 30
POLICY = RetryPolicy(
    max_retries=5, retry_delay=1.0, max_retry_delay=10.0, give_up_after=60.0, random=lambda: 0.5
)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is run on every connection, but for the settings, which are read once a second."""
    run = []
    execute = CursorWrapper.execute

    def note(self: CursorWrapper, sql: str, params: Any = None) -> Any:
        if META.name not in sql:
            run.append(sql)
        return execute(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", note)
    return run


@pytest.fixture(params=IN_ORDER)
def engine(
    request: pytest.FixtureRequest, database: str, engines: Engines, wire: Wire
) -> SyncEngine:
    return engines(database, wire, entities={"notes": IN_ORDER[request.param]})


def push(engine: SyncEngine, records: int, times: int) -> None:
    engine.push_many(
        "notes",
        [{"id": f"r{record}", "n": n} for n in range(times) for record in range(records)],
        operation="update",
    )


def counted(statements: list[str], work: Callable[[], T]) -> tuple[T, int]:
    before = len(statements)
    result = work()
    return result, len(statements) - before


def lanes(engine: SyncEngine) -> dict[str, list[tuple[Lane, object, int]]]:
    """The lane and the blocker of each item, by record."""
    found: dict[str, list[tuple[Lane, object, int]]] = {}
    for item in engine._core.running().storage.read(lambda tx: list(tx.scan(ITEMS))):
        found.setdefault(item.record, []).append((Lane(item.lane), item.blocker, item.seq))
    return found


def test_pushes_of_queued_records_are_folded_together(
    engine: SyncEngine, statements: list[str]
) -> None:
    run = engine._core.running()
    costs = []
    for records in (A_FEW, MANY):
        push(engine, records, 1)
        run.fold_inbox()
        push(engine, records, 3)
        costs.append(counted(statements, run.fold_inbox)[1])
    assert costs[0] == costs[1]
    for items in lanes(engine).values():
        first, *others = items
        assert first[:2] == (Lane.READY, None)
        seqs = [seq for *_, seq in items]
        assert [each[:2] for each in others] == [(Lane.BLOCKED, seq) for seq in seqs[:-1]]


def test_a_push_that_is_merged_is_one_statement(
    database: str, engines: Engines, wire: Wire, statements: list[str]
) -> None:
    engine = engines(database, wire, entities={"notes": EntityConfig("/notes")})
    run = engine._core.running()
    costs = []
    for records in (A_FEW, MANY):
        push(engine, records, 1)
        run.fold_inbox()
        push(engine, records, 3)
        costs.append(counted(statements, run.fold_inbox)[1])
        assert [len(items) for items in lanes(engine).values()] == [1] * records
    assert costs[1] - costs[0] == 3 * (MANY - A_FEW)


def settle(engine: SyncEngine, records: int) -> None:
    """Delivers the next item of each record."""
    run = engine._core.running()
    settlement = Settlement(run.entities, run.resolver, run.puller._commits.remote_changes, POLICY)
    claims = run.state.write(lambda work: run.claims.claim(work, records))
    assert len(claims) == records
    answers = [
        (
            claim,
            AttemptResult(meaning=Verdict.DELIVERED, status=200, version=f"v{claim.item.record}"),
        )
        for claim in claims
    ]
    run.state.write(lambda work: settlement.settle_all(work, answers, {}))


def test_items_that_others_wait_for_are_settled_together(
    engine: SyncEngine, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = engine._core.running()
    costs = []
    for records in (A_FEW, MANY):
        push(engine, records, 3)
        run.fold_inbox()
        settle(engine, records)  # the first one of a record adds a row
        costs.append(counted(statements, lambda: settle(engine, records))[1])  # noqa: B023
        assert {tuple(each[:2] for each in items) for items in lanes(engine).values()} == {
            ((Lane.READY, None),)
        }
        settle(engine, records)
        assert lanes(engine) == {}
    assert costs[0] == costs[1]


def test_the_next_items_are_based_on_the_versions_in_the_answers(
    database: str, engines: Engines, wire: Wire
) -> None:
    engine = engines(database, wire, entities={"notes": IN_ORDER["view"]})
    run = engine._core.running()
    push(engine, MANY, 2)
    run.fold_inbox()
    settle(engine, MANY)
    items = run.storage.read(lambda tx: list(tx.scan(ITEMS)))
    assert {item.record: item.version for item in items} == {f"r{n}": f"vr{n}" for n in range(MANY)}
    records = run.storage.read(lambda tx: list(tx.scan(RECORDS)))
    assert {row.record: row.version for row in records} == {f"r{n}": f"vr{n}" for n in range(MANY)}
