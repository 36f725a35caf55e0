"""The page of workers on a store that many machines share."""

import os
import re
from typing import Any

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.agent.presence import SIGN_EVERY_S, WorkerRow, read_workers
from bytelyst_sync.agent.rows import write_value
from bytelyst_sync.dashboard import Actor, ops_app
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import ITEMS
from tests.conftest import Wire
from tests.contrib.django.conftest import Engines
from tests.dashboard.client import Client
from tests.typed import Eventually, present

BOUND_S = 30.0
OPERATOR = Actor("sam", ("view", "operate", "payload"))


def pages(engine: SyncEngine) -> Client:
    return Client(ops_app(engine, authorize=lambda environ: OPERATOR))


def workers(engine: SyncEngine) -> list[WorkerRow]:
    return engine._core.running().storage.read(read_workers)


@pytest.fixture
def web(sqlite_database: str, engines: Engines, wire: Wire) -> SyncEngine:
    """An engine of a web process: it pushes, and delivers nothing."""
    return engines(sqlite_database, wire)


def test_there_is_no_worker(web: SyncEngine) -> None:
    web.push("notes", {"id": "1"})
    page = pages(web).get("/workers")
    assert "No worker runs" in page.words
    assert "Waiting 1" in page.words
    assert 'bytelyst_sync_workers{state="alive"} 0' in pages(web).get("/metrics").text


def test_all_workers_are_shown(
    database: str, engines: Engines, wire: Wire, eventually: Eventually
) -> None:
    web = engines(database, wire)
    team = [engines(database, wire, deliver=True) for _ in range(2)]
    for each in team:
        each.start()
    eventually(lambda: len(workers(web)) == 2, BOUND_S)
    web.push("notes", {"id": "1"})
    eventually(lambda: web.queue_length == 0, BOUND_S)
    page = pages(web).get("/workers")
    assert page.text.count("alive</span>") == 2
    assert f"process {os.getpid()}" in page.words
    assert "Lag 0 s" in page.words
    lines = pages(web).get("/metrics").text.splitlines()
    assert 'bytelyst_sync_workers{state="alive"} 2' in lines
    assert 'bytelyst_sync_workers{state="silent"} 0' in lines
    team[0].close()
    eventually(lambda: len(workers(web)) == 1, BOUND_S)


def test_workers_that_are_silent_or_outdated_come_first(
    web: SyncEngine, engines: Engines, sqlite_database: str, wire: Wire, eventually: Eventually
) -> None:
    worker = engines(sqlite_database, wire, deliver=True)
    worker.start()
    (alive,) = eventually(lambda: workers(web), BOUND_S)
    changes: dict[str, dict[str, Any]] = {
        "silent": {"seen": alive.seen - 4 * SIGN_EVERY_S, "host": "<script>alert(1)</script>"},
        "old": {"schema_version": alive.schema_version - 1},
        "forgotten": {"seen": alive.seen - 90_000},
    }
    for name, changed in changes.items():
        row = alive._replace(id=name, **changed)

        def store(work: UnitOfWork, row: WorkerRow = row) -> None:
            write_value(work, f"worker/{row.id}", row._asdict())

        web._core.running().state.write(store)
    page = pages(web).get("/workers")
    states = re.findall(r'bs-badge bs-\w+">(silent|outdated|alive)</span>', page.text)
    assert states == ["silent", "silent", "outdated", "alive"]
    assert "2 workers gave no sign of life" in page.words
    assert "<script>alert" not in page.text
    present(present(worker._core.running().agent)._presence).sign()
    assert "forgotten" not in {each.id for each in workers(web)}


def test_leases_are_shown(
    web: SyncEngine, engines: Engines, sqlite_database: str, wire: Wire, eventually: Eventually
) -> None:
    """What is being sent, and when the first lease ends."""
    page = pages(web).get("/workers")
    assert "Being sent 0" in page.words
    assert "First lease ends" not in page.words
    web.push("notes", {"id": "1"})
    run = web._core.running()
    run.fold_inbox()

    def claim(work: UnitOfWork) -> None:
        (item,) = run.claims.claim(work, 1)
        work.tx.replace(ITEMS, item.item, item.item._replace(lease=work.now + 60))

    run.state.write(claim)
    words = pages(web).get("/workers").words
    assert "Being sent 1" in words
    assert "First lease ends" in words
