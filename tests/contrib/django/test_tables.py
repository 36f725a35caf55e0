"""How the queue's tables are stored and searched on PostgreSQL."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from bytelyst_sync import QueueFullError
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.storage.schema import ITEMS, Lane
from bytelyst_sync.storage.shared_schema import INBOX, RECEIPTS
from tests.conftest import Wire
from tests.contrib.django.conftest import Engines, NewDatabase

ROWS = 20_000


@pytest.fixture
def postgresql(new_database: NewDatabase) -> str:
    return new_database("postgresql")


def execute(alias: str, text: str, *values: object) -> list[Any]:
    with connections[alias].cursor() as cursor:
        cursor.execute(text, list(values))
        return [] if cursor.description is None else cursor.fetchall()


def options_of(alias: str) -> dict[str, set[str]]:
    rows = execute(
        alias,
        "SELECT relname, coalesce(reloptions, '{}') FROM pg_class"
        " WHERE relkind = 'r' AND relname LIKE 'bytelyst_sync_%%'",
    )
    return {name.removeprefix("bytelyst_sync_"): set(found) for name, found in rows}


def test_pages_keep_room_and_vacuum_comes_soon(postgresql: str) -> None:
    found = options_of(postgresql)
    full = {name for name, options in found.items() if "fillfactor=70" in options}
    assert full == {"items", "receipts", "records", "keys", "meta", "queues", "leases"}
    for name in (*full, "inbox", "links"):
        assert "autovacuum_vacuum_scale_factor=0.02" in found[name]
        assert "autovacuum_analyze_scale_factor=0.02" in found[name]


def test_the_parameters_go_back_with_their_migration(postgresql: str) -> None:
    try:
        call_command("migrate", "bytelyst_sync", "0003", database=postgresql, verbosity=0)
        assert set().union(*options_of(postgresql).values()) == set()
    finally:
        call_command("migrate", "bytelyst_sync", database=postgresql, verbosity=0)
    assert "fillfactor=70" in options_of(postgresql)["items"]


INDEXES = {
    "bs_items_lane": ("queue, lane, entity, position, seq", None),
    "bs_items_due": ("queue, due, seq", "due"),
    "bs_items_blocker": ("queue, blocker, seq", "blocker"),
    "bs_items_expires": ("queue, expires, seq", "expires"),
    "bs_inbox_queue": ("queue, number", None),
}


@pytest.mark.parametrize("name", INDEXES)
def test_what_workers_look_for_has_an_index(postgresql: str, name: str) -> None:
    columns, sparse = INDEXES[name]
    ((definition,),) = execute(
        postgresql, "SELECT indexdef FROM pg_indexes WHERE indexname = %s", name
    )
    found, _, condition = definition.replace('"', "").partition("(")[2].partition(")")
    assert found == columns
    assert condition.strip() == ("" if sparse is None else f"WHERE ({sparse} IS NOT NULL)")


def fill_inbox(alias: str, queue: str, rows: int) -> None:
    execute(
        alias,
        "INSERT INTO bytelyst_sync_inbox (queue, handle, entity, record, operation, data, time,"
        " options) SELECT %s, n, 'notes', 'r', 'update', '{}', 1.0, '{}'"
        " FROM generate_series(1, %s) n",
        queue,
        rows,
    )


@pytest.fixture
def many(postgresql: str) -> Iterator[DjangoStorage]:
    """A queue with many blocked items and a long inbox, beside another queue's."""
    execute(
        postgresql,
        "INSERT INTO bytelyst_sync_items (queue, seq, id, entity, record, operation, data, time,"
        " lane, position, retries, frozen, in_progress_retries, resolve_attempts, outage, lookups,"
        " blocker, lease, claim) SELECT 'default', n, 'id', 'notes', 'r' || n, 'update', '{}', 1.0,"
        f" CASE WHEN n <= 100 THEN {Lane.READY:d} WHEN n <= 150 THEN {Lane.SENDING:d}"
        f" ELSE {Lane.BLOCKED:d} END, n, 0, 0, 0, 0, 0, 0, CASE WHEN n > 150 THEN n - 50 END,"
        " CASE WHEN n BETWEEN 101 AND 150 THEN 1.0 END, NULL"
        f" FROM generate_series(1, {ROWS}) n",
    )
    fill_inbox(postgresql, "other", ROWS)
    fill_inbox(postgresql, "default", ROWS)
    execute(
        postgresql,
        "INSERT INTO bytelyst_sync_receipts (queue, handle, seq)"
        f" SELECT 'default', n, n FROM generate_series(1, {ROWS}) n",
    )
    execute(postgresql, "ANALYZE bytelyst_sync_items, bytelyst_sync_inbox, bytelyst_sync_receipts")
    storage = DjangoStorage(using=postgresql)
    yield storage
    storage.close()


LOOKS: dict[str, Callable[[Any], Any]] = {
    "claim": lambda tx: list(tx.take(ITEMS, "lane", (Lane.READY, "notes"), limit=25)),
    "due": lambda tx: next(tx.scan(ITEMS, "due", limit=1), None),
    "expires": lambda tx: next(tx.scan(ITEMS, "expires", after=(0,), limit=1), None),
    "leased": lambda tx: list(tx.scan(ITEMS, "lane", (Lane.SENDING, "notes"))),
    "blocked by": lambda tx: list(tx.scan(ITEMS, "blocker", (120,))),
    "inbox": lambda tx: list(tx.scan(INBOX, limit=100)),
    "inbox of an entity": lambda tx: list(tx.scan(INBOX, "entity", ("notes",), limit=10)),
    "receipts of an item": lambda tx: list(tx.scan(RECEIPTS, "seq", (7,))),
    "settle": lambda tx: tx.update_many(ITEMS, LOOKS["leased"](tx), lane=int(Lane.READY)),
    "outcomes": lambda tx: tx.update_by(RECEIPTS, "seq", range(1, 26), state="delivered"),
}


def rows_read(plan: dict[str, Any]) -> int:
    """The rows that all nodes of a plan looked at, those that a filter removed included."""
    own: int = plan.get("Actual Rows", 0) + plan.get("Rows Removed by Filter", 0)
    return own + sum(rows_read(each) for each in plan.get("Plans", ()))


def explaining(plans: list[dict[str, Any]]) -> Callable[..., Any]:
    """Adds the plan of each statement that is run, but for those of the queue's own row."""

    def explain(run: Callable[..., Any], sql: str, params: Any, is_many: bool, context: Any) -> Any:
        if re.match(r"\s*(SELECT|UPDATE|DELETE)", sql) and '"bytelyst_sync_queues"' not in sql:
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
                (plan,) = cursor.fetchone()
            plans.append(plan[0]["Plan"])
        return run(sql, params, is_many, context)

    return explain


@pytest.mark.parametrize("name", LOOKS)
def test_each_step_of_a_worker_reads_what_it_returns(many: DjangoStorage, name: str) -> None:
    """Whatever the length of the queue, and of the inboxes of others."""
    plans: list[dict[str, Any]] = []

    def work(tx: Any) -> None:
        with tx._connection.execute_wrapper(explaining(plans)):
            LOOKS[name](tx)
            raise LookupError

    with pytest.raises(LookupError):
        many.write(work)
    assert plans
    assert sum(rows_read(each) for each in plans) < 500, plans


@pytest.mark.parametrize("name", ["due", "inbox", "inbox of an entity", "receipts of an item"])
def test_so_does_a_reading(many: DjangoStorage, name: str) -> None:
    plans: list[dict[str, Any]] = []

    def work(tx: Any) -> None:
        with tx._connection.execute_wrapper(explaining(plans)):
            LOOKS[name](tx)

    many.read(work)
    assert plans
    assert sum(rows_read(each) for each in plans) < 500, plans


def test_the_token_of_changes_reads_one_row_of_the_inbox(
    many: DjangoStorage, postgresql: str
) -> None:
    plans: list[dict[str, Any]] = []
    connections[postgresql].ensure_connection()
    with connections[postgresql].execute_wrapper(explaining(plans)):
        many.changes()
    (plan,) = plans
    assert rows_read(plan) < 10, plan


def test_what_waits_is_counted_up_to_a_number(many: DjangoStorage, postgresql: str) -> None:
    plans: list[dict[str, Any]] = []
    connections[postgresql].ensure_connection()
    with connections[postgresql].execute_wrapper(explaining(plans)):
        assert many.waiting(5) == 5
    (plan,) = plans
    assert rows_read(plan) < 30, plan


@pytest.mark.parametrize(("waiting", "most"), [(7, 10), (ROWS, 10), (ROWS, 100)])
def test_a_push_counts_no_more_than_may_be_queued(
    postgresql: str, engines: Engines, wire: Wire, waiting: int, most: int
) -> None:
    """However much waits, here and in other queues."""
    engine = engines(postgresql, wire, max_queue_length=most)
    engine.push("notes", {"id": "1"})
    fill_inbox(postgresql, "other", ROWS)
    fill_inbox(postgresql, "default", waiting)
    execute(postgresql, "ANALYZE bytelyst_sync_inbox")
    plans: list[dict[str, Any]] = []
    with connections[postgresql].execute_wrapper(explaining(plans)):
        if waiting < most:
            engine.push("notes", {"id": "2"})
        with pytest.raises(QueueFullError, match=f"{most} operations are queued"):
            engine.push_many("notes", [{"id": "3"}, {"id": "4"}])
    assert plans
    assert sum(rows_read(each) for each in plans) < 10 * most, plans
