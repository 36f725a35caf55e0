"""Deliverers on several machines: claims that are leases, their fencing token, and the lock of the
queue.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from bytelyst_sync import (
    Conflict,
    Dialect,
    EntityConfig,
    Request,
    Response,
    SyncConfig,
    SyncEngine,
    SyncItem,
)
from bytelyst_sync.contrib.django import database as databases_module
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.queue.claims import Claims
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ASKED, CONFLICTS, ITEMS, OPEN, Item, Lane
from bytelyst_sync.testing import Stall, SyncServer
from tests.conftest import Wire
from tests.contrib.django.conftest import DatabaseSettings, Engines, StartWorker
from tests.typed import Eventually, present

BOUND_S = 30.0
LEASE_S = 3.0
SLACK_S = 12.0
"""A busy machine starts a process late, and a worker looks once a second."""
SHORT: dict[str, Any] = {"lease_s": 2.0, "request_deadline": 0.5}
ROOT = Path(__file__).parents[3]


class Blocked:
    """A transport that passes writes on when it is told to."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.arrived = threading.Event()
        self.go = threading.Event()
        self.answer: int | None = None

    def send(self, request: Request) -> Response:
        if request.method == "GET":
            return self.wire.send(request)
        self.arrived.set()
        assert self.go.wait(BOUND_S)
        found = self.wire.send(request)
        return found if self.answer is None else attrs.evolve(found, status=self.answer, body=b"")


# --- several workers at once


def test_two_workers_send_at_the_same_time(database: str, engines: Engines, wire: Wire) -> None:
    one, two = (Blocked(wire) for _ in range(2))
    workers = [engines(database, each, deliver=True) for each in (one, two)]
    workers[0].push("notes", {"id": "1"})
    assert one.arrived.wait(BOUND_S)
    second = workers[1].push("notes", {"id": "2"})
    assert two.arrived.wait(BOUND_S)
    for each in (one, two):
        each.go.set()
    assert workers[0].wait(second, timeout=BOUND_S) == "delivered"
    assert workers[1].flush(timeout=BOUND_S).success
    assert set(wire.store.records("notes")) == {"1", "2"}


def test_other_workers_are_woken_for_what_becomes_ready_and_is_not_claimed(
    sqlite_database: str, engines: Engines, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken = []
    entities = {"notes": "/notes", "tasks": {"endpoint": "/tasks", "references": {"note": "notes"}}}
    engine = engines(sqlite_database, wire, entities=entities, batch_size=1)
    engine.push("notes", {"id": "1"})
    for each in "123":
        engine.push("tasks", {"id": each, "note": "1"})
    monkeypatch.setattr(DjangoStorage, "notify", lambda self: woken.append(len(wire.seen)))
    assert engine.flush(timeout=BOUND_S).pushed == 4
    assert len(woken) == 1, "once: who is busy looks again by itself"
    assert wire.store.records("notes").keys() == {"1"}


def test_a_records_next_change_waits_for_the_one_that_another_worker_sends(
    database: str, engines: Engines, wire: Wire
) -> None:
    one, two = Blocked(wire), Blocked(wire)
    two.go.set()
    workers = [engines(database, each, deliver=True) for each in (one, two)]
    workers[0].push("notes", {"id": "1", "n": 0})
    assert one.arrived.wait(BOUND_S)
    last = workers[1].push("notes", {"id": "1", "n": 1}, "update")
    other = workers[1].push("notes", {"id": "2"})
    assert workers[1].wait(other, timeout=BOUND_S) == "delivered"
    assert workers[1].wait(last, timeout=0) == "pending"
    one.go.set()
    assert workers[1].wait(last, timeout=BOUND_S) == "delivered"
    assert wire.store.records("notes")["1"]["n"] == 1


def test_a_strict_queue_has_one_claim(database: str, engines: Engines, wire: Wire) -> None:
    one, two = Blocked(wire), Blocked(wire)
    two.go.set()
    workers = [engines(database, each, deliver=True, order="strict") for each in (one, two)]
    first = workers[0].push("notes", {"id": "1"})
    assert one.arrived.wait(BOUND_S)
    second = workers[1].push("tasks", {"id": "2"})
    assert not workers[1].flush(timeout=0.5).success
    assert workers[1].wait(second, timeout=0) == "pending"
    assert not two.arrived.is_set()
    one.go.set()
    assert workers[1].wait(first, timeout=BOUND_S) == "delivered"
    assert workers[1].wait(second, timeout=BOUND_S) == "delivered"


class Asked:
    """A transport of a server that asks for a pause; or that counts what comes."""

    def __init__(self, wire: Wire, pause_s: float | None = None) -> None:
        self.wire, self.pause_s, self.writes = wire, pause_s, 0

    def send(self, request: Request) -> Response:
        found = self.wire.send(request)
        if request.method == "GET":
            return found
        self.writes += 1
        if self.pause_s is None:
            return found
        headers = {"retry-after": str(self.pause_s)}
        return attrs.evolve(found, status=429, headers=headers, body=b'{"error": "slow down"}')


def test_a_pause_that_the_server_asks_one_worker_for_holds_for_all(
    server_database: str, engines: Engines, wire: Wire, eventually: Eventually
) -> None:
    refused, quiet = Asked(wire, 3600), Asked(wire)
    one = engines(server_database, refused, deliver=True)
    two = engines(server_database, quiet, deliver=True)
    item = one.push("notes", {"id": "1"})
    assert eventually(lambda: one._core.running().throttle.remaining() > 0, BOUND_S)
    assert eventually(lambda: one.wait(item, timeout=0) == "pending", BOUND_S)
    two.push("notes", {"id": "2"})
    result = two.flush(timeout=BOUND_S)
    assert (result.remaining, quiet.writes, refused.writes) == (2, 0, 1)


# --- leases


def stored(engine: SyncEngine, item: SyncItem) -> Item:
    run = engine._core.running()
    return present(run.storage.read(lambda tx: tx.get(ITEMS, run.current_seq(tx, item.seq))))


def test_a_claim_has_a_number_and_ends(server_database: str, engines: Engines, wire: Wire) -> None:
    blocked = Blocked(wire)
    worker = engines(server_database, blocked, deliver=True, lease_s=90.0)
    before = DjangoStorage(using=server_database).now()
    item = worker.push("notes", {"id": "1"})
    assert blocked.arrived.wait(BOUND_S)
    row = stored(worker, item)
    after = DjangoStorage(using=server_database).now()
    assert row.lane == Lane.SENDING
    assert row.claim is not None
    assert before + 90.0 <= present(row.lease) <= after + 91.0
    blocked.go.set()
    assert worker.wait(item, timeout=BOUND_S) == "delivered"


@pytest.fixture
def late_answer(
    server_database: str, engines: Engines, wire: Wire, eventually: Eventually
) -> Callable[[], str]:
    """What becomes of an item that a second worker is sending, when the first one, whose claim has
    ended, gets an answer.
    """

    def run() -> str:
        slow, second = Blocked(wire), Blocked(wire)
        slow.answer = 503
        one = engines(server_database, slow, deliver=True, **SHORT)
        item = one.push("notes", {"id": "1"})
        assert slow.arrived.wait(BOUND_S)
        two = engines(server_database, second, deliver=True, **SHORT)
        two.start()
        assert second.arrived.wait(BOUND_S)
        one.pause()  # it settles, and does not claim the item again
        slow.go.set()
        settled = one._core.running().worker._dispatcher
        assert eventually(lambda: not settled.busy and not settled._unsettled, BOUND_S)
        state = two.wait(item, timeout=0)
        second.go.set()
        assert two.wait(item, timeout=BOUND_S) == "delivered"
        return state

    return run


def test_the_answer_to_a_claim_that_was_taken_over_is_dropped(
    late_answer: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "bytelyst_sync"):
        assert late_answer() == "sending"
    assert "another process delivers these items now" in caplog.text


def test_without_the_fencing_token_that_trial_fails(
    late_answer: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Claims, "_new_token", lambda self, tx: 1)
    assert late_answer() == "pending"


def test_a_claim_that_has_ended_and_that_nobody_took_over_is_settled(
    server_database: str, engines: Engines, wire: Wire
) -> None:
    blocked = Blocked(wire)
    worker = engines(server_database, blocked, deliver=True, **SHORT)
    item = worker.push("notes", {"id": "1"})
    assert blocked.arrived.wait(BOUND_S)
    storage = DjangoStorage(using=server_database)
    while storage.now() < present(stored(worker, item).lease):
        time.sleep(0.05)
    blocked.go.set()
    assert worker.wait(item, timeout=BOUND_S) == "delivered"
    assert len([each for each in wire.seen if each.method == "POST"]) == 1


def test_a_claim_of_a_release_without_leases_is_taken_over(
    database: str, engines: Engines, wire: Wire
) -> None:
    old = Item(1, "key-1", "notes", "1", "create", '{"id": "1"}', time.time(), lane=Lane.SENDING)
    storage = DjangoStorage(using=database)
    storage.write(lambda tx: tx.insert(ITEMS, old._replace(position=1)))
    storage.close()
    assert engines(database, wire).flush(timeout=BOUND_S).success
    assert set(wire.store.records("notes")) == {"1"}


class Endless:
    """A transport that queues another item with each one that it sends."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.engine: SyncEngine | None = None
        self.sent: list[str] = []

    def send(self, request: Request) -> Response:
        found = self.wire.send(request)
        if request.method != "GET":
            self.sent.append(json.loads(present(request.body))["id"])
            if "left" not in self.sent:
                present(self.engine).push("notes", {"id": f"new-{len(self.sent)}"})
        return found


def test_a_worker_that_is_always_busy_takes_over_what_another_one_left(
    sqlite_database: str, engines: Engines, wire: Wire, eventually: Eventually
) -> None:
    endless = Endless(wire)
    worker = endless.engine = engines(sqlite_database, endless, deliver=True, **SHORT)
    worker.push("notes", {"id": "new"})
    assert eventually(lambda: endless.sent, BOUND_S)
    storage = DjangoStorage(using=sqlite_database)

    def leave(tx: Transaction) -> None:
        number = tx.next_number()
        left = Item(number, "key-1", "notes", "left", "create", '{"id": "left"}', time.time())
        left = left._replace(lane=Lane.SENDING, position=number, lease=time.time() + 1.0)
        tx.insert(ITEMS, left._replace(claim=number))

    storage.write(leave)
    storage.close()
    assert eventually(lambda: "left" in endless.sent, BOUND_S)
    assert worker.flush(timeout=BOUND_S).success


def test_a_lease_that_no_request_fits_in_is_refused(sqlite_database: str, wire: Wire) -> None:
    config = SyncConfig(
        base_url="http://server.test",
        entities={"notes": "/notes"},
        storage=DjangoStorage(using=sqlite_database, lease_s=60.0),
        transport=wire,
    )
    with pytest.raises(ConfigError, match=r"more than request_deadline \(60 s\)"):
        SyncEngine(config).push("notes", {"id": "1"})


REPEATABLE = {
    "a key": Dialect.rest(),
    "a version": Dialect.rest().evolve(idempotency=None),
    "neither": Dialect.rest().evolve(idempotency=None, send_version=None),
    "a version of updates alone": Dialect.rest().evolve(
        idempotency=None, send_version={"update": "header:If-Match", "delete": None}
    ),
}


@pytest.mark.parametrize("name", REPEATABLE)
def test_a_server_that_a_late_request_harms_is_warned_of(
    name: str, sqlite_database: str, engines: Engines, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "bytelyst_sync"):
        engines(sqlite_database, wire, dialect=REPEATABLE[name], entities={"notes": "/notes"})
    warned = "notes: the server knows neither idempotency keys nor versions" in caplog.text
    assert warned is (name not in ("a key", "a version"))


# --- conflicts that a callback decides


@pytest.fixture
def asking(
    sqlite_database: str, engines: Engines, wire: Wire
) -> Iterator[tuple[SyncEngine, threading.Event]]:
    """A worker whose callback decides a conflict, until it is told to answer."""
    asked, answer = threading.Event(), threading.Event()

    def decide(_conflict: Conflict) -> str | None:
        asked.set()
        return "local" if answer.wait(BOUND_S) else None

    notes = EntityConfig("/notes", conflict="manual", on_conflict=decide)
    worker = engines(sqlite_database, wire, deliver=True, entities={"notes": notes}, **SHORT)
    assert worker.wait(worker.push("notes", {"id": "1", "n": 0}), BOUND_S) == "delivered"
    wire.store.change("notes", "update", {"id": "1", "n": 7})
    worker.push("notes", {"id": "1", "n": 1}, "update")
    assert asked.wait(BOUND_S)
    yield worker, answer
    answer.set()


def stages(engine: SyncEngine) -> list[int | None]:
    rows = engine._core.running().storage.read(lambda tx: list(tx.scan(CONFLICTS, "open")))
    return [row.stage for row in rows]


def test_a_conflict_that_another_workers_callback_decides_is_left_to_it(
    asking: tuple[SyncEngine, threading.Event], engines: Engines, wire: Wire, sqlite_database: str
) -> None:
    one, answer = asking
    two = engines(sqlite_database, wire, deliver=True, **SHORT)
    two.start()
    until = time.monotonic() + 2.5 * SHORT["lease_s"]
    while time.monotonic() < until:
        assert stages(two) == [ASKED]
        time.sleep(0.1)
    answer.set()
    assert two.flush(timeout=BOUND_S).success
    assert one.wait(one.push("notes", {"id": "2"}), BOUND_S) == "delivered"
    assert wire.store.records("notes")["1"]["n"] == 1


def test_a_conflict_whose_worker_is_gone_is_parked(
    asking: tuple[SyncEngine, threading.Event],
    engines: Engines,
    wire: Wire,
    sqlite_database: str,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, _ = asking
    # as if its process were killed
    recovery = one._core.running().worker._dispatcher._recovery
    monkeypatch.setattr(recovery, "_pending_decisions", frozenset)
    two = engines(sqlite_database, wire, deliver=True, **SHORT)
    two.start()
    assert eventually(lambda: stages(two) == [OPEN], BOUND_S)
    (conflict,) = two.conflicts()
    two.resolve(conflict, "remote")
    assert two.flush(timeout=BOUND_S).success


# --- the lock of the queue


@pytest.fixture
def numbers_given_out(server_database: str) -> Callable[[], list[int]]:
    """The numbers that two transactions take, each of which waits a second for the other."""

    def run() -> list[int]:
        storage = DjangoStorage(using=server_database)
        found, meeting = [], threading.Barrier(2)

        def take(tx: Transaction) -> int:
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(1.0)
            return tx.next_number()

        threads = [
            threading.Thread(target=lambda: found.append(storage.write(take))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND_S)
        storage.close()
        return found

    return run


def test_one_transaction_at_a_time_changes_a_queue(
    numbers_given_out: Callable[[], list[int]],
) -> None:
    assert sorted(numbers_given_out()) == [1, 2]


def test_without_the_lock_that_trial_fails(
    numbers_given_out: Callable[[], list[int]],
    server_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vendors = {
        name: attrs.evolve(each, lock=each.lock.replace(" FOR UPDATE SKIP LOCKED", ""))
        for name, each in databases_module._VENDORS.items()
    }
    monkeypatch.setattr(databases_module, "_VENDORS", vendors)
    assert numbers_given_out() == [1, 1]


STOPPED = """
import json, os, signal, sys
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["bytelyst_sync.contrib.django"],
                   DATABASES={"default": json.loads(sys.argv[1])})
if settings.DATABASES["default"]["ENGINE"].endswith("mysql"):
    import pymysql
    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
django.setup()
import attrs
from bytelyst_sync.contrib.django import database
from bytelyst_sync.contrib.django.storage import DjangoStorage
for name, each in database._VENDORS.items():
    write = [text.replace("'10s'", "'1s'").replace("= 10", "= 1") for text in each.write]
    database._VENDORS[name] = attrs.evolve(each, write=tuple(write))

def stop(tx):
    tx.next_number()
    print("locked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    return tx.next_number()

try:
    DjangoStorage().write(stop)
except Exception as error:
    print(type(error).__name__, flush=True)
"""


def test_a_process_that_is_stopped_with_the_lock_loses_it(
    server_database: str, database_settings: DatabaseSettings
) -> None:
    given = json.dumps(database_settings(server_database))
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, given],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    storage = DjangoStorage(using=server_database)
    try:
        assert present(process.stdout).readline() == "locked\n"
        assert storage.write(lambda tx: tx.next_number()) == 1
        process.send_signal(signal.SIGCONT)
        assert present(process.stdout).readline() == "StorageError\n"
        assert storage.write(lambda tx: tx.next_number()) == 2
    finally:
        process.kill()
        process.communicate()
        storage.close()


# --- processes


def test_a_worker_delivers_until_it_is_told_to_end(
    shared_database: str, engines: Engines, start_worker: StartWorker, eventually: Eventually
) -> None:
    with SyncServer() as server:
        web = engines(shared_database, None, base_url=server.url)
        worker = start_worker(server.url)
        item = web.push("notes", {"id": "1"})
        assert web.wait(item, timeout=BOUND_S) == "delivered"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(BOUND_S) == 0
        assert set(server.records("notes")) == {"1"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda each: each.name)
def test_a_lost_worker_is_replaced_within_its_lease_and_a_second(
    shared_database: str,
    engines: Engines,
    start_worker: StartWorker,
    eventually: Eventually,
    number: int,
) -> None:
    with SyncServer() as server:
        web = engines(shared_database, None, base_url=server.url)
        server.script(Stall(4.0))
        first = start_worker(server.url)
        item = web.push("notes", {"id": "1", "n": 0})
        assert server.wait_for(lambda: server.in_flight, BOUND_S)
        began = time.monotonic()
        first.send_signal(number)
        second = start_worker(server.url)
        # the key of the first request is in progress until the server gives up that request
        assert server.wait_for(lambda: len(server.in_flight) + len(server.requests) > 1, BOUND_S)
        assert time.monotonic() - began < LEASE_S + 1.0 + SLACK_S
        assert web.wait(item, timeout=BOUND_S) == "delivered"
        last = web.push("notes", {"id": "1", "n": 1}, "update")
        assert web.wait(last, timeout=BOUND_S) == "delivered"
        first.send_signal(signal.SIGCONT)
        web.push("notes", {"id": "2"})
        assert web.flush(timeout=BOUND_S).success
        for process in (first, second):
            process.send_signal(signal.SIGTERM)
            process.wait(BOUND_S)
        assert server.records("notes")["1"]["n"] == 1
        assert [each.id for each in server.journal] == ["1", "1", "2"]


# --- flush


def test_a_flush_beside_two_workers_is_no_failure(
    database: str, engines: Engines, wire: Wire
) -> None:
    """Whoever claims what, and whoever gets the answers."""
    for _ in range(2):
        engines(database, wire, deliver=True).start()
    web = engines(database, wire)
    for number in range(10):
        web.push_many("notes", [{"id": f"{number}-{part}"} for part in range(5)])
        result = web.flush(timeout=BOUND_S)
        assert (result.success, result.errors, result.problems) == (True, 0, ()), result
    assert len(wire.store.records("notes")) == 50


def test_a_flush_waits_for_what_another_process_sends(
    server_database: str, engines: Engines, wire: Wire, eventually: Eventually
) -> None:
    slow = Blocked(wire)
    engines(server_database, slow, deliver=True).push("notes", {"id": "1"})
    assert slow.arrived.wait(BOUND_S)
    web, found = engines(server_database, wire), []
    flush = threading.Thread(target=lambda: found.append(web.flush(timeout=BOUND_S)))
    flush.start()
    requests = web._core.running().worker._flush_requests
    assert eventually(lambda: any(each.seen for each in requests.all()), BOUND_S)
    assert not found
    slow.go.set()
    flush.join(BOUND_S)
    (result,) = found
    assert (result.success, result.pushed, result.remaining) == (True, 0, 0)
