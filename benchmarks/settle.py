"""Claiming what is to be sent and settling what was answered, without a network between them."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import OURS, Bench, body, main, record
from benchmarks.peers import engine, raw_connection
from bytelyst_sync import SyncEngine
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.queue.settle import Settlement
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.state.item_ids import new_item_id
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import ITEMS, RECORDS, Item, Record
from bytelyst_sync.storage.sqlite.statements import statements

COUNT = 3000
BATCH = 100


def run(bench: Bench) -> None:
    """With a local view, which takes one more row for each record, and without.

    Each contender keeps its file from round to round, as a program does.
    """
    for replica in (False, True):
        race = bench.race(
            f"claim and settle, {'with' if replica else 'without'} local view",
            {
                OURS: ours(bench.path(), replica=replica),
                "sqlite3": raw(bench.path(), replica=replica),
            },
            unit="items/s",
            rounds=11,
        )
        race.compare("sqlite3", at_least=0.6)


def ours(path: Path, *, replica: bool) -> Callable[[], float]:
    """Items per second, in two commits for each batch."""
    made = engine(path, replica=replica)
    starts = itertools.count(step=COUNT)
    drain = drainer(made, COUNT)

    def turn() -> float:
        first = next(starts)
        made.push_many("notes", [record(number) for number in range(first, first + COUNT)])
        rate = drain()
        assert made.queue_length == 0
        return rate

    return turn


def drainer(made: SyncEngine, count: int) -> Callable[[], float]:
    """Claims and settles so many that are queued, by the engine's parts; items per second."""
    runtime: Runtime = made._core.running()  # noqa: SLF001  its parts, without its worker
    settlement = Settlement(
        runtime.entities,
        runtime.resolver,
        runtime.puller._commits.remote_changes,  # noqa: SLF001
        RetryPolicy(
            max_retries=5,
            retry_delay=1.0,
            max_retry_delay=300.0,
            give_up_after=86_400.0,
            random=lambda: 0.5,
        ),
    )
    answer = AttemptResult(meaning=Verdict.DELIVERED, status=201)

    def drain() -> float:
        done = 0
        began = time.perf_counter()
        while done < count:
            claims = runtime.state.write(lambda work: runtime.claims.claim(work, BATCH))

            def settle(work: UnitOfWork, claims: list[Claim] = claims) -> None:
                settlement.settle_all(work, [(claim, answer) for claim in claims], {})

            runtime.state.write(settle)
            done += len(claims)
        return done / (time.perf_counter() - began)

    return drain


def raw(path: Path, *, replica: bool) -> Callable[[], float]:
    """The same two commits by hand, in the same tables: mark a hundred; delete them."""
    connection = raw_connection(path, "full")
    for table in (ITEMS, RECORDS):
        for text in statements(table).create():
            connection.execute(text)
    starts = itertools.count(step=COUNT)

    def drain() -> float:
        first = next(starts)
        rows = [
            Item(n, new_item_id(n), "notes", f"{n:08x}", "create", body(n), time.time(), position=n)
            for n in range(first, first + COUNT)
        ]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(*statements(ITEMS).insert(rows))
        connection.execute("COMMIT")
        done = 0
        began = time.perf_counter()
        while done < COUNT:
            done += one_batch(connection, replica=replica)
        return COUNT / (time.perf_counter() - began)

    return drain


def one_batch(connection: sqlite3.Connection, *, replica: bool) -> int:
    """Two commits; how many rows they were about."""
    connection.execute("BEGIN IMMEDIATE")
    claimed = connection.execute(
        "SELECT * FROM items WHERE lane=0 AND entity='notes' ORDER BY position LIMIT ?", (BATCH,)
    ).fetchall()
    keys = [(row[0],) for row in claimed]
    connection.executemany("UPDATE items SET lane=3 WHERE seq=?", keys)
    connection.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")
    if replica:
        kept = [Record(row[2], row[3], row[5], None, row[0], 0) for row in claimed]
        connection.executemany(*statements(RECORDS).insert(kept))
    connection.executemany("DELETE FROM items WHERE seq=?", keys)
    connection.execute("COMMIT")
    return len(claimed)


if __name__ == "__main__":
    main("settle", run)
