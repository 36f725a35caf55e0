"""What it costs to queue: one push, many threads pushing, ten thousand at once."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.harness import LMDB, OURS, Bench, main, record
from benchmarks.peers import (
    PEERS,
    Durability,
    Keep,
    engine,
    keeper,
    raw_connection,
    raw_keeper,
    raw_lmdb_keeper,
    seconds_each,
)
from bytelyst_sync.state.item_ids import new_item_id
from bytelyst_sync.storage.schema import ITEMS, Item
from bytelyst_sync.storage.sqlite.statements import statements

RAW_LMDB = "lmdb"
WITHOUT_VIEW = f"{OURS}, replica=False"
THREADS = 8
MANY = 10_000


def run(bench: Bench) -> None:
    """One after the other."""
    one_thread(bench, "full", 250)
    one_thread(bench, "normal", 1000)
    threads(bench)
    many(bench)
    stores(bench, "full", 100)
    stores(bench, "normal", 1000)


def stores(bench: Bench, durability: Durability, count: int) -> None:
    """Pushes to LMDB beside pushes to SQLite, one commit each, and both by hand: what a commit of
    LMDB costs more, or less, before there is a queue in it.
    """
    keeps = {
        OURS: keeper(bench.path(), durability),
        LMDB: keeper(f"lmdb:{bench.path('.mdb')}", durability),
        RAW_LMDB: raw_lmdb_keeper(bench.path(".mdb"), durability),
        "sqlite3": raw_keeper(bench.path(), durability),
    }
    numbers = itertools.count(step=count)

    def contender(keep: Keep) -> Callable[[], float]:
        def turn() -> float:
            first = next(numbers)
            return seconds_each(keep, range(first, first + count)) * 1e6

        return turn

    race = bench.race(
        f"push, {durability}, by store",
        {name: contender(keep) for name, keep in keeps.items()},
        unit="µs",
        rounds=9,
    )
    race.compare(OURS, LMDB, at_most=1.1 if durability == "full" else 0.77)
    race.compare(RAW_LMDB, LMDB)
    race.compare("sqlite3", RAW_LMDB)


def one_thread(bench: Bench, durability: Durability, count: int) -> None:
    """Pushes, one commit each; each contender keeps its file from round to round."""
    keeps: dict[str, Keep] = {
        OURS: keeper(bench.path(), durability),
        WITHOUT_VIEW: keeper(bench.path(), durability, replica=False),
        "sqlite3": raw_keeper(bench.path(), durability),
    }
    numbers = itertools.count(step=count)

    def contender(keep: Keep) -> Callable[[], float]:
        def turn() -> float:
            first = next(numbers)
            return seconds_each(keep, range(first, first + count)) * 1e6

        return turn

    def peer(opened: Callable[[Path, Durability], Keep]) -> Callable[[], float]:
        return contender(opened(bench.path(), durability))

    race = bench.race(
        f"push, {durability}",
        {name: contender(keep) for name, keep in keeps.items()},
        peers={name: partial(peer, opened) for name, opened in PEERS.items()},
        unit="µs",
        rounds=9,
    )
    full = durability == "full"
    race.compare("sqlite3", at_most=1.4 if full else 4.0)
    race.compare("sqlite3", WITHOUT_VIEW, at_most=None if full else 3.6)
    for name in PEERS:
        race.compare(name, at_most=1.0 if full and name == "SQLiteAckQueue" else None)


def threads(bench: Bench) -> None:
    """Operations per second of eight threads, each waiting until its own is durable."""
    each = 100

    def rate(pushers: list[Callable[[int], object]]) -> float:
        barrier = threading.Barrier(THREADS + 1)

        def push(keep: Callable[[int], object], first: int) -> None:
            barrier.wait()
            for number in range(first, first + each):
                keep(number)

        running = [threading.Thread(target=push, args=(keep, next(starts))) for keep in pushers]
        for thread in running:
            thread.start()
        barrier.wait()
        began = time.perf_counter()
        for thread in running:
            thread.join()
        return THREADS * each / (time.perf_counter() - began)

    starts = itertools.count(step=each)
    ours, raw = keeper(bench.path(), "full"), bench.path()
    raws = [raw_keeper(raw, "full") for _ in range(THREADS)]
    alone = raw_keeper(bench.path(), "full")
    numbers = range(THREADS * each)
    race = bench.race(
        f"push, full, {THREADS} threads",
        {
            OURS: lambda: rate([ours] * THREADS),
            "sqlite3": lambda: rate(raws),
            "sqlite3, 1 thread": lambda: 1 / seconds_each(alone, numbers),
        },
        unit="/s",
        rounds=7,
    )
    race.compare("sqlite3", at_least=2.0)
    race.compare("sqlite3, 1 thread")


def many(bench: Bench) -> None:
    """``push_many`` beside ``executemany`` of the same records as JSON, into the same tables."""

    def ours() -> float:
        made = engine(bench.path())
        made.push("notes", {"id": "first"})
        rows = [record(number) for number in range(MANY)]
        began = time.perf_counter()
        made.push_many("notes", rows)
        spent = time.perf_counter() - began
        made.close()
        return spent * 1e3

    def raw() -> float:
        connection = raw_connection(bench.path(), "full")
        known = statements(ITEMS)
        for text in known.create():
            connection.execute(text)
        rows = [record(number) for number in range(MANY)]
        began = time.perf_counter()
        now = time.time()
        items = [
            Item(n, new_item_id(n), "notes", row["id"], "create", json.dumps(row), now, position=n)
            for n, row in enumerate(rows)
        ]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(*known.insert(items))
        connection.execute("COMMIT")
        spent = time.perf_counter() - began
        connection.close()
        return spent * 1e3

    race = bench.race(f"push_many of {MANY:,}", {OURS: ours, "sqlite3": raw}, unit="ms", rounds=9)
    race.compare("sqlite3", at_most=2.5)


if __name__ == "__main__":
    main("push", run)
