"""A queue that nobody delivers: the status of a process without a worker says so."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction

from bytelyst_sync import Request, Response, SyncEngine
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.delivery.deliverer_heartbeat import LATE_LEASES
from bytelyst_sync.testing import ManualClock
from tests.conftest import Wire
from tests.contrib.django.conftest import Engines
from tests.typed import Eventually, present

BOUND_S = 30.0
SHORT: dict[str, Any] = {"lease_s": 0.5, "request_deadline": 0.1}


@pytest.fixture
def web(database: str, engines: Engines, wire: Wire) -> SyncEngine:
    return engines(database, wire)


def age_heartbeat(alias: str, seconds: float) -> None:
    """Makes the last heartbeat this much older."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"UPDATE bytelyst_sync_leases SET seen = seen - {seconds}")
        assert cursor.rowcount == 1


def threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("bytelyst")}


def test_a_queue_that_was_never_used_is_no_error(web: SyncEngine) -> None:
    assert (web.status.status, web.status.reason) == ("idle", None)


def test_pushes_that_no_worker_was_ever_seen_for_are_an_error(web: SyncEngine) -> None:
    before = threads()
    web.push("notes", {"id": "1"})
    status = web.status
    assert (status.status, status.reason, status.queue_length) == ("error", "deliverer", 1)
    assert status.last_error == (
        "1 queued, and no worker was ever seen: start a worker, in a Django project with"
        " `manage.py sync_worker`"
    )
    assert threads() == before


def test_three_leases_without_a_deliverer_are_an_error(database: str, web: SyncEngine) -> None:
    DjangoStorage(using=database).note_deliverer()
    web.push("notes", {"id": "1"})
    assert web.status.status == "idle"
    age_heartbeat(database, LATE_LEASES * 70 - 60)
    assert web.status.status == "idle"
    age_heartbeat(database, 90)
    status = web.status
    assert (status.status, status.reason) == ("error", "deliverer")
    assert "no worker was seen for 2" in present(status.last_error)
    late_s = status.since.timestamp() - (time.time() - 30)
    assert abs(late_s) < BOUND_S
    DjangoStorage(using=database).note_deliverer()
    assert (web.status.status, web.status.last_error) == ("idle", None)


def test_the_status_says_so_within_a_transaction_too(database: str, web: SyncEngine) -> None:
    with transaction.atomic(using=database):
        web.push("notes", {"id": "1"})
        assert web.status.reason == "deliverer"


def test_a_worker_stores_heartbeats_while_it_has_nothing_to_do(
    server_database: str, engines: Engines, wire: Wire, eventually: Eventually
) -> None:
    worker, web = (engines(server_database, wire, deliver=each, **SHORT) for each in (True, False))
    worker.start()
    storage: Any = web.config.storage
    assert eventually(lambda: storage.deliverer_seen_s() is not None, BOUND_S)
    noted = []
    note = DjangoStorage.note_deliverer
    looked_after: Any = worker.config.storage

    def count() -> None:
        noted.append(1)
        note(looked_after)

    looked_after.note_deliverer = count
    assert eventually(lambda: len(noted) > 5, BOUND_S)
    assert worker.close(BOUND_S)
    web.push("notes", {"id": "1"})
    assert eventually(lambda: web.status.status == "error", BOUND_S)
    assert web.status.reason == "deliverer"
    engines(server_database, wire, deliver=True, **SHORT).start()
    assert eventually(lambda: web.status.status == "idle", BOUND_S)


class Endless:
    """A transport that queues another item with each one that it sends, until ``over`` is set."""

    def __init__(self, wire: Wire) -> None:
        self.wire, self.sent, self.over = wire, 0, threading.Event()
        self.engine: SyncEngine | None = None

    def send(self, request: Request) -> Response:
        found = self.wire.send(request)
        self.sent += 1
        if not self.over.is_set():
            present(self.engine).push("notes", {"id": f"new-{self.sent}"})
        return found


def test_a_worker_stores_heartbeats_while_it_is_never_out_of_work(
    sqlite_database: str, engines: Engines, wire: Wire, eventually: Eventually
) -> None:
    endless = Endless(wire)
    worker = endless.engine = engines(
        sqlite_database, endless, deliver=True, lease_s=1.0, request_deadline=0.2
    )
    noted = []
    storage: Any = worker.config.storage
    note = storage.note_deliverer

    def count() -> None:
        noted.append(endless.sent)
        note()

    storage.note_deliverer = count
    worker.push("notes", {"id": "new"})
    try:
        assert eventually(lambda: len(noted) > 5, BOUND_S)
    finally:
        endless.over.set()
    assert noted[0] < noted[-1]


@pytest.mark.parametrize(("lease_s", "every_s"), [(70.0, 10.0), (20.0, 5.0)])
def test_a_worker_with_nothing_to_do_waits_until_the_next_heartbeat(
    sqlite_database: str,
    engines: Engines,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    lease_s: float,
    every_s: float,
) -> None:
    monkeypatch.setattr(DjangoStorage, "poll_s", property(lambda _: 3600.0))
    clock = ManualClock()
    timing: dict[str, Any] = {"lease_s": lease_s, "request_deadline": 2.0, "clock": clock}
    engine = engines(sqlite_database, wire, deliver=True, **timing)
    noted = []
    storage: Any = engine.config.storage
    storage.note_deliverer = lambda: noted.append(clock.monotonic())
    worker = engine._core.running().worker
    began = clock.monotonic()
    while clock.monotonic() < began + 3 * lease_s:
        clock.advance(worker._round())
    times = len(noted)
    assert times >= 3 * lease_s / every_s
    assert noted == pytest.approx([began + number * every_s for number in range(times)])


def test_a_process_that_does_not_deliver_waits_for_no_heartbeat(
    sqlite_database: str, engines: Engines, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DjangoStorage, "poll_s", property(lambda _: 3600.0))
    worker = engines(sqlite_database, wire)._core.running().worker
    assert worker._round() == 3600.0
    assert DjangoStorage(using=sqlite_database).deliverer_seen_s() is None


def test_a_flush_is_a_deliverer_too(sqlite_database: str, engines: Engines, wire: Wire) -> None:
    web = engines(sqlite_database, wire)
    web.push("notes", {"id": "1"})
    assert web.status.status == "error"
    assert web.flush(timeout=BOUND_S).success
    assert web.status.status == "idle"
    age_heartbeat(sqlite_database, 240)
    assert web.status.status == "error"
    assert present(web.status.last_error).startswith("0 queued, and no worker was seen for 2")


def test_a_worker_does_not_ask_about_itself(
    sqlite_database: str, engines: Engines, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def deliverer_seen_s(self: DjangoStorage) -> None:
        asked.append(self)

    monkeypatch.setattr(DjangoStorage, "deliverer_seen_s", deliverer_seen_s)
    worker, web = (engines(sqlite_database, wire, deliver=each) for each in (True, False))
    assert worker.status.status != "error"
    assert asked == []
    assert web.status.status == "idle"
    assert asked == [web.config.storage]


def test_it_costs_one_query(
    database: str, web: SyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.push("notes", {"id": "1"})
    queries = []

    def record(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        queries.append(sql)
        return execute(sql, *rest)

    with connections[database].execute_wrapper(record):
        web.queue_length  # noqa: B018 - opens the engine
        queries.clear()
        web.status  # noqa: B018
    about_workers = [each for each in queries if "seen" in each]
    assert len(about_workers) == 1
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM bytelyst_sync_leases")
        assert cursor.fetchone() == (0,), "a reading writes nothing"


def test_a_closed_engine_stays_closed(sqlite_database: str, engines: Engines, wire: Wire) -> None:
    web = engines(sqlite_database, wire)
    web.push("notes", {"id": "1"})
    web.close()
    assert (web.status.status, web.status.reason) == ("closed", None)
