"""Deliverers with many pushes in the inbox: they read the queue only, and fold piece by piece."""

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from bytelyst_sync import EntityConfig, Request, Response
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.queue import inbox as inbox_module
from bytelyst_sync.queue.queue_reads import QueueReads
from bytelyst_sync.storage.schema import ITEMS, Lane
from tests.conftest import Wire
from tests.contrib.django.conftest import Engines
from tests.typed import Eventually

BOUND_S = 30.0
IN_ORDER = {"notes": EntityConfig("/notes", dedup="none", replica=False)}


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers do not look by themselves."""
    monkeypatch.setattr(DjangoStorage, "poll_s", property(lambda _: 3600.0))


class Gate:
    """A transport whose first write waits."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.arrived, self.go = threading.Event(), threading.Event()
        self.sent: list[str] = []
        self.done = threading.Event()

    def send(self, request: Request) -> Response:
        if not self.arrived.is_set():
            self.arrived.set()
            assert self.go.wait(BOUND_S)
        self.sent.append(request.url.rsplit("/", 1)[-1])
        if self.sent[-1] == "last":
            self.done.set()
        return self.wire.send(request)


def statements_of(alias: str, work: Callable[[], object]) -> list[str]:
    found = []

    def count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        found.append(sql)
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(count):
        work()
    return found


def test_what_a_deliverer_reads_is_without_the_inbox(
    database: str, engines: Engines, wire: Wire
) -> None:
    engine = engines(database, wire)
    engine.push_many("notes", [{"id": str(n)} for n in range(3)])
    run = engine._core.running()
    reads = QueueReads(run.storage)
    assert reads.has_unfolded()
    assert reads.read(lambda tx: tx.count(ITEMS)) == 0
    assert engine.queue_length == 3
    run.fold_inbox()
    assert not reads.has_unfolded()
    assert reads.read(lambda tx: tx.count(ITEMS)) == 3


def test_looking_for_work_costs_the_same_however_much_is_in_the_inbox(
    sqlite_database: str, engines: Engines, wire: Wire
) -> None:
    engine = engines(sqlite_database, wire)
    dispatcher = engine._core.running().worker._dispatcher
    costs = []
    for length in (5, 300):
        engine.push_many("notes", [{"id": f"{length}-{n}"} for n in range(length)])
        costs.append(len(statements_of(sqlite_database, dispatcher.ready)))
    assert 0 < costs[0] == costs[1]


def test_a_fold_goes_on_where_all_that_was_folded_waits(
    sqlite_database: str,
    engines: Engines,
    wire: Wire,
    no_polling: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox_module, "_FOLDED_AT_ONCE", 2)
    one, two = Gate(wire), Gate(wire)
    two.arrived.set()
    first = engines(sqlite_database, one, deliver=True, entities=IN_ORDER)
    first.push("notes", {"id": "held"}, operation="update")
    assert one.arrived.wait(BOUND_S)
    pusher = engines(sqlite_database, wire, entities=IN_ORDER)
    pusher.push_many("notes", [{"id": "held", "n": n} for n in range(60)], operation="update")
    pusher.push("notes", {"id": "last"}, operation="update")
    second = engines(sqlite_database, two, deliver=True, entities=IN_ORDER)
    second.start()
    assert two.done.wait(BOUND_S)
    assert two.sent == ["last"]
    one.go.set()


def test_what_expires_in_the_inbox_of_a_blocked_deliverer(
    sqlite_database: str, engines: Engines, wire: Wire
) -> None:
    engine = engines(sqlite_database, wire, deliver=True)
    engine.pause()
    run = engine._core.running()
    run.worker._round()  # the first one writes: it would fold what is there
    web = engines(sqlite_database, wire)
    web.push("notes", {"id": "1"}, expires=dt.timedelta(microseconds=1))
    reads = QueueReads(run.storage)
    assert reads.has_unfolded()
    run.worker._round()
    assert reads.read(lambda tx: tx.count(ITEMS, Lane.FAILED)) == 1
    assert not run.worker.running


def test_a_process_that_only_pushes_folds_nothing_after_a_flush(
    sqlite_database: str, engines: Engines, wire: Wire, eventually: Eventually
) -> None:
    web = engines(sqlite_database, wire)
    run = web._core.running()
    rounds, original = [], run.worker._round

    def counted() -> float:
        result = original()
        rounds.append(1)
        return result

    run.worker._round = counted  # type: ignore[method-assign]  # around the original

    def let_it_work() -> None:
        """Through a whole round that begins now."""
        ended = len(rounds) + 2

        def has_ended() -> bool:
            run.worker.wake()
            return len(rounds) >= ended

        assert eventually(has_ended, BOUND_S)

    web.push("notes", {"id": "1"}, expires=dt.timedelta(hours=1))
    assert web.flush(timeout=BOUND_S).success
    let_it_work()
    web.push_many("notes", [{"id": f"2-{n}"} for n in range(3)])
    web.push("notes", {"id": "3"}, expires=dt.timedelta(microseconds=1))
    let_it_work()
    reads = QueueReads(run.storage)
    assert reads.read(lambda tx: tx.count(ITEMS)) == 0
    assert web.queue_length == 4
    assert web.flush(timeout=BOUND_S).failed == 1
    assert reads.read(lambda tx: tx.count(ITEMS, Lane.FAILED)) == 1


def test_nor_does_it_write_for_items_that_have_expired(
    sqlite_database: str, engines: Engines, wire: Wire
) -> None:
    web = engines(sqlite_database, wire)
    web.push("notes", {"id": "1"}, expires=dt.timedelta(microseconds=1))
    run = web._core.running()
    run.fold_inbox()
    version = run.storage.changes()
    run.worker._round()
    assert run.storage.changes() == version
    assert web.flush(timeout=BOUND_S).failed == 1
