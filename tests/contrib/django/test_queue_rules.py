"""What a queue in the database promises beside the contracts: what a push costs and locks, how a
fold runs, where a late commit comes, what a receipt is good for and how long.
"""

import asyncio
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.test import TestCase, override_settings

from bytelyst_sync import ConfigError, QueueFullError, SyncEngine
from bytelyst_sync.contrib.django import get_engine
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import META, Meta
from bytelyst_sync.storage.shared_schema import RECEIPTS, InboxRow
from bytelyst_sync.testing import Reply, SyncServer
from tests.conftest import Wire
from tests.contrib.django.conftest import Engines, NewDatabase
from tests.typed import present

BOUND_S = 30.0
DAY_S = 86_400.0


@pytest.fixture
def web(database: str, engines: Engines, wire: Wire) -> SyncEngine:
    return engines(database, wire)


def recording(statements: list[str]) -> Callable[..., Any]:
    def record(run: Callable[..., Any], sql: str, params: Any, is_many: bool, context: Any) -> Any:
        statements.append(sql)
        return run(sql, params, is_many, context)

    return record


def in_thread(work: Callable[[], object], alias: str) -> threading.Thread:
    """Runs it beside this thread, on a Django connection of its own."""

    def run() -> None:
        try:
            work()
        finally:
            connections[alias].close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# --- a push


def test_a_push_is_one_insert(database: str, web: SyncEngine) -> None:
    """No query, no savepoint, nothing else: whatever the application has open."""
    web.push("notes", {"id": "0"})
    statements: list[str] = []
    with (
        transaction.atomic(using=database),
        connections[database].execute_wrapper(recording(statements)),
    ):
        for operation in ("create", "update", "delete"):
            web.push("notes", {"id": "1", "title": "a"}, operation)
    pushes = [each for each in statements if "pg_notify" not in each]
    assert len(pushes) == 3
    assert {each.split(" (")[0] for each in pushes} == {"INSERT INTO bytelyst_sync_inbox"}


def test_pushes_in_opposite_order_do_not_wait_for_each_other(
    server_database: str, engines: Engines, wire: Wire
) -> None:
    """Two transactions push about the same records, each the other one's first record last."""
    web, alias = engines(server_database, wire), server_database
    web.push_many("notes", [{"id": "a"}, {"id": "b"}])
    assert web.flush(timeout=BOUND_S).success
    half, done = threading.Barrier(2), []

    def push(records: str) -> None:
        with transaction.atomic(using=alias):
            for place, record in enumerate(records):
                web.push("notes", {"id": record, "by": records[0]}, "update")
                if place == 0:
                    half.wait(BOUND_S)
            half.wait(BOUND_S)  # neither has committed when both have pushed all
        done.append(records[0])

    threads = [in_thread(partial(push, each), alias) for each in ("ab", "ba")]
    for thread in threads:
        thread.join(BOUND_S)
    assert sorted(done) == ["a", "b"]
    assert web.queue_length == 2  # each record's two changes are merged


def test_a_full_queue_counts_what_is_kept_and_what_waits(
    database: str, engines: Engines, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = engines(database, wire, max_queue_length=3)
    with pytest.raises(QueueFullError):
        web.push_many("notes", [{"id": str(number)} for number in range(5)])
    web.push_many("notes", [{"id": "1"}, {"id": "2"}])
    assert web.cancel(next(web.queue()))  # it folds
    web.push("notes", {"id": "3"})
    folds = []
    inbox = present(web._core.running().inbox)
    fold = inbox._fold

    def counted(*arguments: Any) -> Any:
        folds.append(1)
        return fold(*arguments)

    monkeypatch.setattr(inbox, "_fold", counted)
    with transaction.atomic(using=database):
        web.push("notes", {"id": "4"})
        with pytest.raises(QueueFullError, match="3 operations are queued"):
            web.push("notes", {"id": "5"})
    with pytest.raises(QueueFullError):
        web.push("notes", {"id": "6"})
    assert folds == [], "it counts, and applies no rules for that"
    monkeypatch.undo()
    assert web.flush(timeout=BOUND_S).success
    web.push("notes", {"id": "5"})


def test_a_full_queue_refuses_nothing_at_the_fold(
    server_database: str, engines: Engines, wire: Wire
) -> None:
    """Two transactions that do not see each other may exceed it together."""
    web, alias = engines(server_database, wire, max_queue_length=2), server_database
    web.push("notes", {"id": "0"})
    pushed, end = threading.Event(), threading.Event()

    def push() -> None:
        with transaction.atomic(using=alias):
            web.push("notes", {"id": "1"})
            pushed.set()
            assert end.wait(BOUND_S)

    thread = in_thread(push, alias)
    assert pushed.wait(BOUND_S)
    web.push("notes", {"id": "2"})
    end.set()
    thread.join(BOUND_S)
    result = web.flush(timeout=BOUND_S)
    assert (result.success, result.failed) == (True, 0)
    assert set(wire.store.records("notes")) == {"0", "1", "2"}


# --- the fold


def test_a_fold_runs_at_read_committed(new_database: NewDatabase) -> None:
    """Whatever the isolation of the project's transactions."""
    asked = {
        "postgresql": "SHOW transaction_isolation",
        "mariadb": "SELECT trx_isolation_level FROM information_schema.innodb_trx"
        " WHERE trx_mysql_thread_id = connection_id()",
    }
    for kind, query in asked.items():
        alias = new_database(kind)
        options = connections.databases[alias]["OPTIONS"]
        given = {"isolation_level": "serializable"}
        if kind == "postgresql":
            given = {"options": "-c default_transaction_isolation=serializable"}
        connections.databases[alias]["OPTIONS"] = {**options, **given}
        storage = DjangoStorage(using=alias)
        try:
            storage.write(lambda tx: tx.insert(META, Meta("a", "1")))

            def level(tx: Any, query: str = query) -> str:
                tx.insert(META, Meta("b", "2"))
                with tx.cursor() as cursor:
                    cursor.execute(query)
                    return str(cursor.fetchone()[0])

            assert storage.write(level).lower() == "read committed", kind
        finally:
            connections.databases[alias]["OPTIONS"] = options
            storage.close()


def test_claims_commit_synchronously(new_database: NewDatabase) -> None:
    """Also if the project trades durability for speed; its own setting is left alone."""
    alias = new_database("postgresql")
    options = connections.databases[alias]["OPTIONS"]
    found = {}
    for level in ("off", "local", "remote_write", "on", "remote_apply"):
        connections.databases[alias]["OPTIONS"] = {
            **options,
            "options": f"-c synchronous_commit={level}",
        }
        storage = DjangoStorage(using=alias)

        def read(tx: Any) -> Any:
            with tx.cursor() as cursor:
                cursor.execute(
                    "SELECT name, setting FROM pg_settings WHERE name IN"
                    " ('synchronous_commit', 'lock_timeout', 'statement_timeout',"
                    " 'idle_in_transaction_session_timeout')"
                )
                return dict(cursor.fetchall())

        try:
            found[level] = storage.write(read)
            with storage._pool.connection(own=True) as own, own.cursor() as cursor:
                cursor.execute("SHOW synchronous_commit")
                assert cursor.fetchone() == (level,), "it was set for the transaction alone"
        finally:
            connections.databases[alias]["OPTIONS"] = options
            storage.close()
    levels = [each["synchronous_commit"] for each in found.values()]
    assert levels == ["on", "on", "on", "on", "remote_apply"]
    for each in found.values():
        assert each["lock_timeout"] == "5000"
        assert each["statement_timeout"] == "60000"
        assert each["idle_in_transaction_session_timeout"] == "10000"


def test_a_transaction_of_the_queue_is_bounded_on_mariadb(new_database: NewDatabase) -> None:
    storage = DjangoStorage(using=new_database("mariadb"))
    storage.write(lambda tx: tx.insert(META, Meta("a", "1")))

    def read(tx: Any) -> Any:
        with tx.cursor() as cursor:
            cursor.execute(
                "SELECT @@idle_transaction_timeout, @@innodb_lock_wait_timeout,"
                " @@max_statement_time"
            )
            return [float(each) for each in cursor.fetchone()]

    assert storage.write(read) == [10.0, 5.0, 60.0]
    with storage._pool.current.cursor() as cursor:
        cursor.execute("SELECT @@innodb_lock_wait_timeout")
        assert cursor.fetchone()[0] > 5, "the application's own connection is left alone"
    storage.close()


def test_a_push_that_is_committed_late_comes_after_what_is_in_flight(
    server_database: str, engines: Engines, wire: Wire
) -> None:
    """Its number is the lower one; it was pushed first, and nobody could see it."""
    alias = server_database
    web = engines(alias, wire, entities={"notes": {"endpoint": "/notes", "dedup": "none"}})
    web.push("notes", {"id": "1", "n": 0})
    assert web.flush(timeout=BOUND_S).success
    pushed, end = threading.Event(), threading.Event()

    def push() -> None:
        with transaction.atomic(using=alias):
            web.push("notes", {"id": "1", "n": "late"}, "update")
            pushed.set()
            assert end.wait(BOUND_S)

    thread = in_thread(push, alias)
    assert pushed.wait(BOUND_S)
    web.push("notes", {"id": "1", "n": "soon"}, "update")
    run = web._core.running()
    claimed = run.state.write(lambda work: run.claims.claim(work, 9))
    assert [each.item.data for each in claimed] == ['{"id":"1","n":"soon"}']
    end.set()
    thread.join(BOUND_S)
    last = [each for each in web.queue() if each.data["n"] == "late"]
    assert [each.state for each in last] == ["pending"]
    assert run.state.write(lambda work: run.claims.claim(work, 9)) == []
    run.state.write(lambda work: run.claims.unclaim(work.tx, claimed))
    assert web.flush(timeout=BOUND_S).success
    assert wire.store.records("notes")["1"]["n"] == "late"


# --- receipts


def test_a_receipt_of_a_failed_push_is_sent_again_from_any_process(
    database: str, engines: Engines
) -> None:
    with SyncServer() as server:
        server.script(Reply(422, {"error": "too long"}))
        web, other = (engines(database, None, base_url=server.url) for _ in range(2))
        item = web.push("notes", {"id": "1"})
        assert web.flush(timeout=BOUND_S).failed == 1
        assert other.wait(item, timeout=0) == "failed"
        assert other.reprocess_failed(item) == 1
        assert web.wait(item, timeout=0) == "pending"
        assert other.flush(timeout=BOUND_S).success
        assert web.wait(item, timeout=0) == "delivered"


def test_outcomes_are_kept_for_a_day(database: str, web: SyncEngine) -> None:
    old, recent = web.push("notes", {"id": "1"}), web.push("notes", {"id": "2"})
    assert web.flush(timeout=BOUND_S).success
    storage = DjangoStorage(using=database)

    def age(tx: Transaction) -> None:
        for item, seconds in ((old, DAY_S + 60), (recent, DAY_S - 3600)):
            row = present(tx.get(RECEIPTS, item.seq))
            tx.replace(RECEIPTS, row, row._replace(settled_time=time.time() - seconds))

    storage.write(age)
    storage.close()
    web.push("notes", {"id": "3"})
    assert web.flush(timeout=BOUND_S).success
    assert web.wait(old, timeout=0) == "settled"
    assert web.wait(recent, timeout=0) == "delivered"


# --- asyncio


def test_awaited_calls_run_in_the_thread_of_djangos_synchronous_code(
    sqlite_database: str, engines: Engines, wire: Wire
) -> None:
    """So they use its connections."""
    web = engines(sqlite_database, wire)
    places = []
    storage: Any = web.config.storage
    append = storage.append

    def note(rows: list[InboxRow], committed: Any = None) -> None:
        places.append(threading.get_ident())
        append(rows, committed)

    storage.append = note

    async def work() -> tuple[list[str], int]:
        places.append(await sync_to_async(threading.get_ident, thread_sensitive=True)())
        await web.aio.push("notes", {"id": "1"})
        return [each.record_id async for each in web.aio.queue()], await web.aio.queue_length

    assert asyncio.run(work()) == (["1"], 1)
    assert len(places) == 2
    assert len(set(places)) == 1


def test_awaited_pushes_are_part_of_a_test_case(
    database: str, engines: Engines, wire: Wire
) -> None:
    """And are rolled back with it."""
    web = engines(database, wire)

    class Case(TestCase):
        databases = (database,)

        async def test(self) -> None:
            await web.aio.push("notes", {"id": "1"})
            assert await web.aio.queue_length == 1
            result = await web.aio.flush(BOUND_S)
            assert result.success, result

    result = unittest.TestResult()
    unittest.TestSuite([Case("test")]).run(result)
    assert result.errors == result.failures == []
    assert result.testsRun == 1
    assert set(wire.store.records("notes")) == {"1"}
    with connections[database].cursor() as cursor:
        for table in ("inbox", "items", "receipts"):
            cursor.execute(f"SELECT count(*) FROM bytelyst_sync_{table}")
            assert cursor.fetchone() == (0,), table


# --- settings


@pytest.fixture
def settings(sqlite_database: str) -> Iterator[dict[str, Any]]:
    with SyncServer() as server:
        yield {
            "BASE_URL": server.url,
            "ENTITIES": {"notes": "/notes"},
            "USING": sqlite_database,
            "PROBE": None,
        }


def test_a_web_process_delivers_on_a_thread_if_it_is_asked_to(settings: dict[str, Any]) -> None:
    for asked in (True, False):
        with override_settings(BYTELYST_SYNC={"default": {**settings, "AUTO_FLUSH": asked}}):
            engine = get_engine()
            item = engine.push("notes", {"id": f"asked-{asked}"})
            assert (engine._core.running().worker._thread is not None) is asked
            if asked:
                assert engine.wait(item, timeout=BOUND_S) == "delivered"


def test_a_queue_has_one_account_and_no_file(settings: dict[str, Any]) -> None:
    for name, value in (("ACCOUNT", "{account}/x\n"), ("STORAGE", "app-{account}.db")):
        with (
            override_settings(BYTELYST_SYNC={"default": {**settings, name: value}}),
            pytest.raises(ConfigError, match=name.lower()),
        ):
            get_engine()


def test_nothing_is_flushed_at_exit(settings: dict[str, Any]) -> None:
    with override_settings(BYTELYST_SYNC={"default": settings}):
        engine = get_engine()
        engine.push("notes", {"id": "1"})
        assert engine._core.exit_timeout == 0.0
        assert engine.queue_length == 1
