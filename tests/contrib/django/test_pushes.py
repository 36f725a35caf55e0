"""Pushes in the application's transactions, and their way through the inbox to the server."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from django.db import connections, transaction

from bytelyst_sync import (
    InvalidDataError,
    QueueFullError,
    SyncEngine,
    SyncError,
    SyncItem,
)
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.base import Transaction
from tests.conftest import Wire
from tests.contrib.django.conftest import Engines
from tests.typed import Eventually, T, present

BOUND_S = 20.0


@pytest.fixture
def web(database: str, engines: Engines, wire: Wire) -> SyncEngine:
    """An engine as a web process has it: it delivers nothing on its own."""
    return engines(database, wire)


@pytest.fixture
def worker(database: str, engines: Engines, wire: Wire) -> SyncEngine:
    return engines(database, wire, deliver=True)


def sent(wire: Wire) -> list[tuple[str, str]]:
    return [(each.method, each.path) for each in wire.seen if each.method != "GET"]


@contextmanager
def rolled_back(block: AbstractContextManager[object]) -> Iterator[None]:
    """The block, left by an exception."""
    with suppress(ZeroDivisionError), block:
        yield
        raise ZeroDivisionError


def in_other_thread(work: Callable[[], T]) -> T:
    """Runs it on a connection of its own."""
    found = []

    def run() -> None:
        try:
            found.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(BOUND_S)
    assert not thread.is_alive()
    return found[0]


# --- transactions


def test_a_push_in_a_transaction_is_visible_here_at_once_and_elsewhere_after_the_commit(
    database: str, web: SyncEngine
) -> None:
    with transaction.atomic(using=database):
        item = web.push("notes", {"id": "1", "title": "a"})
        assert web.get("notes", "1") == {"id": "1", "title": "a"}
        assert web.queue_length == 1
        assert [each["id"] for each in web.records("notes")] == ["1"]
        assert in_other_thread(lambda: (web.get("notes", "1"), web.queue_length)) == (None, 0)
    assert in_other_thread(lambda: web.get("notes", "1")) == {"id": "1", "title": "a"}
    assert web.queue_length == 1
    assert item.state == "pending"
    assert [each.id for each in web.queue()] == [item.id]


def test_a_rollback_takes_the_push_back(database: str, web: SyncEngine, wire: Wire) -> None:
    with rolled_back(transaction.atomic(using=database)):
        web.push("notes", {"id": "1"})
        with transaction.atomic(using=database):
            web.push("notes", {"id": "2"})
    assert web.queue_length == 0
    assert web.flush(timeout=BOUND_S).success
    assert sent(wire) == []


def test_a_rollback_to_a_savepoint_takes_back_what_came_after_it(
    database: str, web: SyncEngine, wire: Wire
) -> None:
    with web.transaction():
        web.push("notes", {"id": "1"})
        with rolled_back(web.transaction()):
            web.push("notes", {"id": "2"})
        web.push("notes", {"id": "3"})
    assert web.flush(timeout=BOUND_S).success
    assert sent(wire) == [("POST", "/notes"), ("POST", "/notes")]
    assert set(wire.store.records("notes")) == {"1", "3"}


def test_workers_are_woken_after_the_outermost_commit_only(
    database: str, worker: SyncEngine, wire: Wire, eventually: Eventually
) -> None:
    worker.start()
    with transaction.atomic(using=database):
        with transaction.atomic(using=database):
            worker.push("notes", {"id": "1"})
        assert sent(wire) == []
    eventually(lambda: sent(wire) == [("POST", "/notes")])


def test_a_push_waits_for_no_lock_of_a_worker(
    server_database: str, engines: Engines, wire: Wire
) -> None:
    database, web = server_database, engines(server_database, wire)
    inside, end = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        inside.set()
        assert end.wait(BOUND_S)

    storage = DjangoStorage(using=database)
    holder = threading.Thread(target=lambda: storage.write(hold))
    web.push("notes", {"id": "1"})
    holder.start()
    assert inside.wait(BOUND_S)
    began = time.monotonic()
    with transaction.atomic(using=database):
        web.push("notes", {"id": "1"}, "update")
    web.push("notes", {"id": "2"})
    took = time.monotonic() - began
    end.set()
    holder.join(BOUND_S)
    storage.close()
    assert took < BOUND_S / 4
    assert web.queue_length == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda engine, item: engine.flush(),
        lambda engine, item: engine.pull(),
        lambda engine, item: engine.full_sync(),
        lambda engine, item: engine.wait(item, 1.0),
        lambda engine, item: engine.cancel(item),
        lambda engine, item: engine.clear_queue(),
        lambda engine, item: engine.reprocess_failed(),
        lambda engine, item: engine.discard_failed(),
        lambda engine, item: engine.resolve("1", "local"),
        lambda engine, item: engine.reconcile("notes"),
        lambda engine, item: engine.reupload("notes"),
        lambda engine, item: engine.sign_out(),
    ],
)
def test_calls_that_wait_or_lock_are_refused_in_a_transaction(
    sqlite_database: str,
    engines: Engines,
    wire: Wire,
    call: Callable[[SyncEngine, SyncItem], object],
) -> None:
    web = engines(sqlite_database, wire)
    item = web.push("notes", {"id": "1"})
    with transaction.atomic(using=sqlite_database):
        with pytest.raises(SyncError, match=r"inside transaction.atomic\(\)"):
            call(web, item)
        web.push("notes", {"id": "2"})
    assert web.queue_length == 2


def test_the_first_use_of_an_engine_may_be_in_a_transaction(
    database: str, engines: Engines, wire: Wire
) -> None:
    web = engines(database, wire, account="alice")
    with transaction.atomic(using=database):
        web.push("notes", {"id": "1"})
    assert web.flush(timeout=BOUND_S).success
    assert set(wire.store.records("notes")) == {"1"}


# --- the rules, applied at the fold


def test_pushes_are_merged_when_they_are_folded(database: str, web: SyncEngine, wire: Wire) -> None:
    first = web.push("notes", {"id": "1", "title": "a"})
    second = web.push("notes", {"id": "1", "title": "b"}, "update")
    assert web.flush(timeout=BOUND_S).success
    assert [each.method for each in wire.seen if each.method != "GET"] == ["POST"]
    assert wire.store.records("notes")["1"]["title"] == "b"
    assert web.wait(first) == web.wait(second) == "delivered"


def test_a_receipt_is_good_in_any_process(
    database: str, web: SyncEngine, engines: Engines, wire: Wire
) -> None:
    item = web.push("notes", {"id": "1"})
    other = engines(database, wire)
    assert other.wait(item, timeout=0) == "pending"
    assert web.flush(timeout=BOUND_S).success
    assert other.wait(item, timeout=BOUND_S) == "delivered"


def test_a_push_that_was_rolled_back_has_no_outcome(database: str, web: SyncEngine) -> None:
    with rolled_back(transaction.atomic(using=database)):
        item = web.push("notes", {"id": "1"})
    assert web.wait(item, timeout=BOUND_S) == "settled"


def test_a_queued_push_can_be_cancelled_in_any_process(
    database: str, web: SyncEngine, engines: Engines, wire: Wire
) -> None:
    item = web.push("notes", {"id": "1"})
    assert engines(database, wire).cancel(item)
    assert web.wait(item, timeout=0) == "cancelled"
    assert web.queue_length == 0
    assert not web.cancel(item)


def test_a_delete_of_a_queued_create_takes_both_back(
    database: str, web: SyncEngine, wire: Wire
) -> None:
    created = web.push("notes", {"id": "1"})
    deleted = web.delete("notes", "1")
    assert deleted is not None
    assert web.flush(timeout=BOUND_S).success
    assert web.wait(created, 0) == web.wait(deleted, 0) == "cancelled"
    assert sent(wire) == []


def test_what_the_rules_refuse_becomes_a_failed_item(
    database: str, web: SyncEngine, wire: Wire
) -> None:
    web.push("notes", {"id": "1", "title": "there"})
    assert web.flush(timeout=BOUND_S).success
    web.delete("notes", "1")
    refused = web.push("notes", {"id": "1", "title": "late"}, "update")
    assert web.flush(timeout=BOUND_S).failed == 1
    assert web.wait(refused, 0) == "failed"
    (failed,) = web.failed()
    assert failed.record_id == "1"
    assert "its delete is queued" in present(failed.last_error)
    assert failed.id == refused.id
    assert web.discard_failed([failed.id]) == 1
    assert web.wait(refused, 0) == "cancelled"
    assert sent(wire) == [("POST", "/notes"), ("DELETE", "/notes/1")]


def test_the_first_folded_push_with_a_key_wins(database: str, web: SyncEngine, wire: Wire) -> None:
    first = web.push("notes", {"id": "1", "title": "a"}, key="k")
    again = web.push("notes", {"id": "1", "title": "a"}, key="k")
    other = web.push("notes", {"id": "2", "title": "b"}, key="k")
    assert not web.flush(timeout=BOUND_S).success
    assert web.wait(first, 0) == "delivered"
    assert web.wait(again, 0) in ("delivered", "settled")
    assert web.wait(other, 0) == "failed"
    assert [each.record_id for each in web.failed()] == ["2"]
    assert len(sent(wire)) == 1


def test_save_creates_or_updates_by_what_is_there_at_the_fold(
    database: str, web: SyncEngine, wire: Wire
) -> None:
    web.save("notes", {"id": "1", "title": "a"})
    assert web.flush(timeout=BOUND_S).success
    web.save("notes", {"id": "1", "title": "b"})
    with pytest.raises(StopIteration):
        next(web.failed())
    assert web.flush(timeout=BOUND_S).success
    assert wire.store.records("notes")["1"]["title"] == "b"
    web.create("notes", {"id": "1", "title": "c"})
    assert web.flush(timeout=BOUND_S).failed == 1


def test_a_full_queue_refuses_pushes(sqlite_database: str, engines: Engines, wire: Wire) -> None:
    web = engines(sqlite_database, wire, max_queue_length=2)
    web.push("notes", {"id": "1"})
    web.push("notes", {"id": "2"})
    with pytest.raises(QueueFullError):
        web.push("notes", {"id": "3"})
    assert web.flush(timeout=BOUND_S).success
    web.push("notes", {"id": "3"})


def test_a_push_of_an_entity_that_an_engine_does_not_know_is_left_to_others(
    database: str, web: SyncEngine, engines: Engines, wire: Wire
) -> None:
    web.push("tasks", {"id": "1"})
    web.push("notes", {"id": "1"})
    some = engines(database, wire, entities={"notes": "/notes"})
    assert some.flush(timeout=BOUND_S).success
    assert sent(wire) == [("POST", "/notes")]
    assert web.queue_length == 1
    assert web.flush(timeout=BOUND_S).success
    assert sent(wire) == [("POST", "/notes"), ("POST", "/tasks")]


def test_a_row_that_no_program_of_the_package_wrote_is_set_aside(
    database: str, web: SyncEngine, wire: Wire
) -> None:
    web.push("notes", {"id": "1"})
    with connections[database].cursor() as cursor:
        cursor.execute("UPDATE bytelyst_sync_inbox SET options = 'x'")
    web.push("notes", {"id": "2"})
    assert web.flush(timeout=BOUND_S).success
    assert set(wire.store.records("notes")) == {"2"}
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT source, reason FROM bytelyst_sync_set_aside")
        assert list(cursor.fetchall()) == [("inbox", "is no push (JSONDecodeError)")]


def test_a_long_inbox_is_folded_in_parts_and_in_order(
    database: str, web: SyncEngine, wire: Wire
) -> None:
    web.push_many("notes", [{"id": str(number), "n": number} for number in range(600)])
    web.push("notes", {"id": "7", "n": -1}, "update")
    assert web.queue_length == 600
    assert present(web.get("notes", "7"))["n"] == -1
    assert [each.data["n"] for each in web.queue()][5:9] == [5, 6, -1, 8]
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM bytelyst_sync_inbox")
        assert cursor.fetchone() == (0,)


def test_ids_that_no_index_can_hold_are_refused_at_the_push(
    sqlite_database: str, engines: Engines, wire: Wire
) -> None:
    web = engines(sqlite_database, wire)
    with pytest.raises(InvalidDataError, match="255"):
        web.push("notes", {"id": "x" * 256})
    assert web.queue_length == 0


def test_texts_that_a_database_cannot_hold_come_through(
    database: str, web: SyncEngine, wire: Wire
) -> None:
    for record_id in ("a", "a ", "A", "\U0001f600"):
        web.push("notes", {"id": record_id, "title": f"{record_id}\x00 \x01\x02 \U0001f600 "})
    assert web.queue_length == 4
    assert web.flush(timeout=BOUND_S).success
    for record_id in ("a", "a ", "A", "\U0001f600"):
        title = f"{record_id}\x00 \x01\x02 \U0001f600 "
        assert present(web.get("notes", record_id))["title"] == title
        assert wire.store.records("notes")[record_id]["title"] == title


def test_a_database_without_the_tables_says_what_to_do(
    sqlite_database: str, engines: Engines, wire: Wire, tmp_path: Path
) -> None:
    connections.databases["bare"] = {
        **connections.databases[sqlite_database],
        "NAME": str(tmp_path / "bare.sqlite3"),
    }
    try:
        with pytest.raises(StorageError, match=r"manage\.py migrate --database bare"):
            engines("bare", wire).push("notes", {"id": "1"})
    finally:
        connections["bare"].close()
        del connections.databases["bare"]


def test_an_asyncio_task_cannot_hold_a_transaction(
    sqlite_database: str, engines: Engines, wire: Wire
) -> None:
    web = engines(sqlite_database, wire)

    async def work() -> None:
        async with web.aio.transaction():
            pass

    with pytest.raises(SyncError, match=r"push within transaction\.atomic"):
        asyncio.run(work())
