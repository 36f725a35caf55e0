"""The shared queue in PostgreSQL beside its peers: ``make bench-django``.

What is compared, in one run, on one PostgreSQL whose commits are synced, with one fast server on
loopback:

*Delivering.* The queue is filled in one transaction while the processes are there. The time is from
its commit until the last request is answered and nothing is queued any more. Each item is one
request, with the same method, path and body for all: the package merges nothing here
(``dedup="none"``) and keeps no local view. ``procrastinate`` runs as many processes with as many
jobs at a time; its task sends with an asyncio client that costs less than any that one would use;
its jobs are deleted when they are done. With a lock for each record it keeps the order of a
record's items, as the package does; without locks it does not.

*Plain SKIP LOCKED* is the queue that one writes by hand: a process locks a row, sends it, deletes
it and commits.

*A push in a transaction of the application*: threads insert a row and work for 50 ms in
``transaction.atomic()``, with a push and without, while a process delivers.

*A snapshot* held by another session keeps the database from removing dead rows.

*A long queue*: the time of a fold, and of a claim with its settlement, with ten thousand items and
with a million.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from benchmarks.harness import OURS, Bench, body, loopback_server, main, record
from benchmarks.queue_server import Api, database_server, worker_processes
from benchmarks.queue_workers import new_app, set_up_django
from benchmarks.settle import drainer
from bytelyst_sync import EntityConfig, SyncConfig, SyncEngine
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.storage.schema import ITEMS, Lane

PROCESSES, CONCURRENCY = 4, 4
ITEM_COUNT, RECORD_COUNT = 100_000, 10_000
LOCKED_COUNT = 5_000
"""With locks the peer is timed until so many of all items are sent: the rest would take long."""
SLOW_WORKERS, SLOW_MS, SLOW_ITEMS = 12, 300, 480
PUSHERS, WORK_S, PUSHES = 8, 0.05, 60
SNAPSHOT_ITEMS = 20_000
LENGTHS = (10_000, 1_000_000)
AT_ONCE = 2_000
SHORT = 0.05
LOOK_S = 0.02
WITH_LOCK, WITHOUT = "procrastinate, a lock per record", "procrastinate, without locks"


@attrs.frozen
class Site:
    """The database and the server of a run."""

    database: dict[str, Any]
    api: Api

    def settings(self, workers: int = CONCURRENCY) -> dict[str, Any]:
        """What processes are given."""
        return {
            "database": self.database,
            "url": self.api.url,
            "concurrency": workers,
            "queue": {**queue_settings(self.api.url), "WORKERS": workers},
        }


def queue_settings(url: str) -> dict[str, Any]:
    """The queue of the package."""
    return {
        "BASE_URL": url,
        "ENTITIES": {"notes": {"endpoint": "/notes", "dedup": "none", "replica": False}},
        "PROBE": None,
    }


def run(bench: Bench) -> None:
    """All on one server."""
    with database_server(bench.folder) as server:
        database = server.settings("bench")
        # which server a request goes to is up to the processes
        set_up_django(database, queue_settings("http://127.0.0.1:9"))
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        execute("CREATE TABLE plain_queue (id bigserial PRIMARY KEY, path text, body text)")
        execute("CREATE TABLE application (id bigserial PRIMARY KEY, text text)")
        with loopback_server(0, "benchmarks.fast_server") as url:
            site = Site(database, Api(url))
            delivering(bench, site)
            snapshot(bench, site)
            pushing(bench, site)
        with loopback_server(SLOW_MS, "benchmarks.fast_server") as url:
            slow_server(bench, Site(database, Api(url)))
        lengths(bench)


def scaled(bench: Bench, usual: int, least: int) -> int:
    """So many items, or fewer in a short run."""
    return max(least, round(usual * min(1.0, bench.scale)))


def few(bench: Bench, usual: int) -> int:
    """So many processes or rounds; in a very short run, as one test makes it, as few as do."""
    return usual if bench.scale >= SHORT else min(usual, 2)


def execute(text: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
    """Runs a statement in the suite's own session."""
    from django.db import connection  # noqa: PLC0415 - Django is set up first

    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return list(cursor.fetchall()) if cursor.description else []


def clean(*tables: str) -> None:
    """Rounds begin with the same tables."""
    for table in tables:
        execute(f"VACUUM ANALYZE {table}")


# --- delivering


def delivering(bench: Bench, site: Site) -> None:
    """Beside procrastinate."""
    items, records = scaled(bench, ITEM_COUNT, 100), scaled(bench, RECORD_COUNT, 20)
    locked = min(items, scaled(bench, LOCKED_COUNT, 50))
    processes = few(bench, PROCESSES)
    name = f"{processes} processes, {items:,} items of {records:,} records"
    lock_name = f"{WITH_LOCK} (first {locked:,})"
    race = bench.race(
        name,
        {OURS: lambda: by_package(site, items, records, processes)},
        peers={
            WITHOUT: lambda: procrastinate_racer(site, items, records, processes),
            lock_name: lambda: procrastinate_racer(site, items, records, processes, locked),
        },
        unit="items/s",
        rounds=1,
        warm=False,
    )
    race.compare(WITHOUT, at_least=3.0)
    race.compare(lock_name, at_least=20.0)


def timed(
    site: Site, items: int, fill: Callable[[], None], left: Callable[[], int] | None
) -> float:
    """Items per second, from the commit of ``fill`` until so many are sent and nothing is left;
    ``left=None``: whatever is left.
    """
    site.api.reset()
    fill()
    began = time.perf_counter()
    sent = site.api.wait_for(items)
    if left is not None:
        assert sent == items, f"{sent} writes for {items} items"
        while left():
            time.sleep(LOOK_S)
    return sent / (time.perf_counter() - began)


def in_order(site: Site, items: int, records: int) -> None:
    """The order of each record was kept, and its last item came."""
    latest, late = site.api.latest()
    assert late == 0, f"{late} items came after a later one of their record"
    expected = {f"/notes/{n % records:08x}": n for n in range(items)}
    assert latest == expected


def package_queue() -> Any:
    """An engine of this process, which only pushes."""
    from bytelyst_sync.contrib.django import get_engine  # noqa: PLC0415

    return get_engine()


def fill_package(items: int, records: int) -> None:
    """Pushes in one transaction."""
    engine = package_queue()
    with engine.transaction():
        for start in range(0, items, 1000):
            numbers = range(start, min(start + 1000, items))
            engine.push_many("notes", [change(n, records) for n in numbers], operation="update")


def change(number: int, records: int) -> dict[str, Any]:
    """The change of this number, to one of so many records."""
    return {**record(number), "id": f"{number % records:08x}"}


def package_left() -> int:
    """How many items are queued."""
    found = execute(
        "SELECT (SELECT count(*) FROM bytelyst_sync_inbox)"
        " + (SELECT count(*) FROM bytelyst_sync_items)"
    )
    return int(found[0][0])


def by_package(
    site: Site, items: int, records: int, processes: int, workers: int = CONCURRENCY
) -> float:
    """The package."""
    with worker_processes("package", processes, site.settings(workers)):
        rate = timed(site, items, lambda: fill_package(items, records), package_left)
    in_order(site, items, records)
    clean("bytelyst_sync_inbox", "bytelyst_sync_items", "bytelyst_sync_receipts")
    return rate


def procrastinate_racer(
    site: Site, items: int, records: int, processes: int, locked: int | None = None
) -> Callable[[], float]:
    """procrastinate, whose tables are made once; ``locked``: with locks, timed for so many."""
    app = new_app(site.database)
    if not execute("SELECT 1 FROM pg_tables WHERE tablename = 'procrastinate_jobs'"):
        with app.open():
            app.schema_manager.apply_schema()

    def fill() -> None:
        from django.db import connection, transaction  # noqa: PLC0415

        rows = [(f"/notes/{n % records:08x}", json.dumps(change(n, records))) for n in range(items)]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO procrastinate_jobs (task_name, queue_name, lock, args)"
                " VALUES ('send', 'bench', %s, %s)",
                [
                    (path if locked else None, json.dumps({"path": path, "body": text}))
                    for path, text in rows
                ],
            )

    def left() -> int:
        return int(execute("SELECT count(*) FROM procrastinate_jobs")[0][0])

    def turn() -> float:
        with worker_processes("procrastinate", processes, site.settings()):
            rate = timed(site, locked or items, fill, None if locked else left)
        if locked:
            _, late = site.api.latest()
            assert late == 0
        execute("TRUNCATE procrastinate_jobs CASCADE")
        return rate

    return turn


# --- a slow server


def slow_server(bench: Bench, site: Site) -> None:
    """Beside the queue that one writes by hand."""
    workers = few(bench, SLOW_WORKERS)
    # with fewer for each worker, the time would be that of the last items
    items = scaled(bench, SLOW_ITEMS, workers * 20 if bench.scale >= SHORT else 4)
    race = bench.race(
        f"{workers} workers, {SLOW_MS} ms a send",
        {
            OURS: lambda: by_package(site, items, items, workers, workers=1),
            "SKIP LOCKED by hand": lambda: by_hand(site, items, workers),
        },
        unit="items/s",
        rounds=few(bench, 3),
        warm=False,
    )
    race.compare("SKIP LOCKED by hand", at_least=0.9)


def by_hand(site: Site, items: int, workers: int) -> float:
    """One row at a time."""

    def fill() -> None:
        from django.db import connection, transaction  # noqa: PLC0415

        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO plain_queue (path, body) VALUES (%s, %s)",
                [(f"/notes/{n:08x}", body(n)) for n in range(items)],
            )

    def left() -> int:
        return int(execute("SELECT count(*) FROM plain_queue")[0][0])

    with worker_processes("skip_locked", workers, site.settings()):
        rate = timed(site, items, fill, left)
    in_order(site, items, items)
    clean("plain_queue")
    return rate


# --- pushes in transactions of the application


def pushing(bench: Bench, site: Site) -> None:
    """Several threads at once, each with transactions of its own."""
    pushes = scaled(bench, PUSHES, 3)
    with worker_processes("package", 1, site.settings()):
        race = bench.race(
            f"atomic with {WORK_S * 1e3:.0f} ms of work, {PUSHERS} threads, with a push",
            {
                OURS: lambda: transactions_a_second(pushes, push=True),
                "without a push": lambda: transactions_a_second(pushes, push=False),
            },
            unit="transactions/s",
            rounds=7,
        )
        while package_left():
            time.sleep(LOOK_S)
    race.compare("without a push", at_least=0.95)


_numbers = itertools.count()


def transactions_a_second(pushes: int, *, push: bool) -> float:
    """Of all threads together."""
    from django.db import connection  # noqa: PLC0415

    gate = threading.Barrier(PUSHERS + 1)

    def pusher() -> None:
        execute("SELECT 1")  # connects
        gate.wait()
        for _ in range(pushes):
            transact(push=push)
        gate.wait()
        connection.close()

    threads = [threading.Thread(target=pusher) for _ in range(PUSHERS)]
    for each in threads:
        each.start()
    gate.wait()
    began = time.perf_counter()
    gate.wait()
    took = time.perf_counter() - began
    for each in threads:
        each.join()
    return PUSHERS * pushes / took


def transact(*, push: bool) -> None:
    """What one request of a site does."""
    from django.db import transaction  # noqa: PLC0415

    with transaction.atomic():
        number = next(_numbers)
        execute("INSERT INTO application (text) VALUES (%s)", [body(number)])
        time.sleep(WORK_S)
        if push:
            package_queue().push("notes", change(number, RECORD_COUNT), operation="update")


# --- dead rows


def snapshot(bench: Bench, site: Site) -> None:
    """Its own rate, while another session keeps all dead rows."""
    items, records = scaled(bench, SNAPSHOT_ITEMS, 100), scaled(bench, RECORD_COUNT, 20)

    def held() -> float:
        with open_snapshot(site):
            return by_package(site, items, records, processes)

    processes = few(bench, PROCESSES)
    race = bench.race(
        f"{items:,} items while a snapshot is held",
        {OURS: held, "no snapshot": lambda: by_package(site, items, records, processes)},
        unit="items/s",
        rounds=few(bench, 3),
        warm=False,
    )
    race.compare("no snapshot", at_least=0.5)


@contextmanager
def open_snapshot(site: Site) -> Iterator[None]:
    """A REPEATABLE READ transaction that stays open."""
    import psycopg  # noqa: PLC0415 - of the extra "bench"

    names = {"host": "HOST", "port": "PORT", "user": "USER", "dbname": "NAME"}
    chosen = {name: site.database[key] for name, key in names.items()}
    with psycopg.connect(**chosen) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM bytelyst_sync_items")
        yield
        connection.rollback()


# --- long queues


def lengths(bench: Bench) -> None:
    """A fold, and a claim with its settlement, by how much is queued."""
    longest = scaled(bench, LENGTHS[1], 20_000)
    at_once = scaled(bench, AT_ONCE, 200)
    engines = {length: filled_engine(length) for length in (LENGTHS[0], longest)}
    names = {length: f"{length:,} queued" for length in engines}
    for what, contender in (("fold", folder), ("claim and settle", taker)):
        race = bench.race(
            what,
            {names[length]: contender(each, at_once) for length, each in engines.items()},
            unit="µs for each item",
            rounds=5,
        )
        race.compare(names[LENGTHS[0]], names[longest], at_most=1.3)
    for each in engines.values():
        each.close()


def filled_engine(length: int) -> SyncEngine:
    """The engine of a queue with so many items of different records."""
    from bytelyst_sync.contrib.django.storage import DjangoStorage  # noqa: PLC0415

    queue = f"of {length}"
    made = SyncEngine(
        SyncConfig(
            base_url="http://127.0.0.1:9",
            entities={"notes": EntityConfig("/notes", replica=False)},
            storage=DjangoStorage(queue=queue),
            auto_flush=False,
            probe=None,
            exit_timeout=0.0,
        )
    )
    made.push("notes", record(0), operation="update")
    running(made).fold_inbox()
    new = {"seq": "n + 1", "id": "id || n", "record": "to_hex(n)", "position": "n + 1"}
    columns = ", ".join(f'"{name}"' for name in ("queue", *ITEMS.columns))
    values = ", ".join(new.get(name, f'"{name}"') for name in ("queue", *ITEMS.columns))
    execute(
        f"INSERT INTO bytelyst_sync_items ({columns}) SELECT {values} FROM bytelyst_sync_items,"  # noqa: S608
        " generate_series(1, %s) AS n WHERE queue = %s",
        [length - 1, queue],
    )
    counts = json.dumps({ITEMS.name: [[int(Lane.READY), "notes", length]]})
    execute(
        "UPDATE bytelyst_sync_queues SET number = %s, counts = %s WHERE name = %s",
        [length + 1, counts, queue],
    )
    clean("bytelyst_sync_items")
    assert made.queue_length == length
    return made


def running(made: SyncEngine) -> Runtime:
    """The parts of an engine, without its worker."""
    return made._core.running()  # noqa: SLF001


def folder(made: SyncEngine, count: int) -> Callable[[], float]:
    """Queues so many pushes of new records; microseconds for each."""

    def turn() -> float:
        numbers = list(itertools.islice(_numbers, count))
        made.push_many("notes", [{**record(n), "id": f"new{n}"} for n in numbers])
        began = time.perf_counter()
        running(made).fold_inbox()
        return (time.perf_counter() - began) / count * 1e6

    return turn


def taker(made: SyncEngine, count: int) -> Callable[[], float]:
    """Claims and settles so many; microseconds for each."""
    drain = drainer(made, count)
    return lambda: 1e6 / drain()


if __name__ == "__main__":
    main("django_queue", run)
