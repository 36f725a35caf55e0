"""The alternatives for the queue, each reduced to "keep this, durably": raw SQLite and the peers.

A *store* is opened once and told to keep records one by one, so that only keeping them is timed.
Peers are imported where they are opened: one that is not installed is told by the race.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from benchmarks.harness import body, record
from bytelyst_sync import EntityConfig, SQLiteStorage, SyncEngine, create_sync_engine

__all__ = [
    "PEERS",
    "Durability",
    "Keep",
    "engine",
    "keeper",
    "raw_connection",
    "raw_keeper",
    "raw_lmdb_keeper",
    "seconds_each",
]

Durability = Literal["full", "normal"]
Keep = Callable[[int], object]
"""Keeps the record of this number."""


def engine(
    storage: str | Path | SQLiteStorage, durability: Durability = "full", *, replica: bool = True
) -> SyncEngine:
    """An engine that is only pushed to."""
    return create_sync_engine(
        base_url="http://127.0.0.1:9",
        entities={"notes": EntityConfig("/notes", replica=replica)},
        storage=storage,
        durability=durability,
        auto_flush=False,
        probe=None,
        exit_timeout=0,
    )


def keeper(path: str | Path, durability: Durability, *, replica: bool = True) -> Keep:
    """The package itself."""
    made = engine(path, durability, replica=replica)
    return lambda number: made.push("notes", record(number))


def raw_connection(path: Path, durability: Durability) -> sqlite3.Connection:
    """What one would write by hand: one table, in WAL mode."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={durability}")
    connection.execute("CREATE TABLE IF NOT EXISTS queue (id INTEGER PRIMARY KEY, data TEXT)")
    return connection


def raw_keeper(path: Path, durability: Durability) -> Keep:
    """What one would write by hand: a transaction for each record."""
    connection = raw_connection(path, durability)

    def keep(number: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO queue (data) VALUES (?)", (body(number),))
        connection.execute("COMMIT")

    return keep


def raw_lmdb_keeper(path: Path, durability: Durability) -> Keep:
    """The least that LMDB can do: a transaction for each record, with one entry in it."""
    import lmdb  # noqa: PLC0415

    synced = durability == "full"
    environment = lmdb.open(
        str(path), map_size=2**34, subdir=False, sync=synced, metasync=synced, max_spare_txns=0
    )

    def keep(number: int) -> None:
        with environment.begin(write=True) as transaction:
            transaction.put(number.to_bytes(8, "big"), body(number).encode())

    return keep


def _ack_queue(path: Path, durability: Durability) -> Keep:
    import persistqueue  # noqa: PLC0415

    queue = persistqueue.SQLiteAckQueue(str(path), multithreading=True)
    queue._putter.execute(f"PRAGMA synchronous={durability}")  # noqa: SLF001  it has no setting
    return lambda number: queue.put(record(number))


def _unique_queue(path: Path, durability: Durability) -> Keep:
    import persistqueue  # noqa: PLC0415

    queue = persistqueue.UniqueQ(str(path), multithreading=True, auto_commit=True)
    queue._putter.execute(f"PRAGMA synchronous={durability}")  # noqa: SLF001
    return lambda number: queue.put(record(number))


def _litequeue(path: Path, durability: Durability) -> Keep:
    import litequeue  # noqa: PLC0415

    queue = litequeue.LiteQueue(path)
    queue.conn.execute(f"PRAGMA synchronous={durability}")
    return lambda number: queue.put(body(number))


def _huey(path: Path, durability: Durability) -> Keep:
    import huey  # noqa: PLC0415

    storage = huey.SqliteHuey(filename=str(path), fsync=durability == "full").storage
    if durability == "normal":
        storage.conn.execute("PRAGMA synchronous=NORMAL")
    return lambda number: storage.enqueue(body(number).encode())


def _deque(path: Path, durability: Durability) -> Keep:
    import diskcache  # noqa: PLC0415

    synchronous = {"normal": 1, "full": 2}[durability]
    cache = diskcache.Cache(str(path), sqlite_synchronous=synchronous, eviction_policy="none")
    deque = diskcache.Deque.fromcache(cache)
    return lambda number: deque.append(body(number))


def _sync_sdk(path: Path, durability: Durability) -> Keep:
    import sync_sdk  # noqa: PLC0415  Python 3.12 and later
    from sync_sdk.store import SQLiteStore  # noqa: PLC0415

    store = SQLiteStore(path, client_id="bench")
    store.db.execute(f"PRAGMA synchronous={durability}")

    def keep(number: int) -> None:
        store.enqueue(
            sync_sdk.Mutation(
                client_id="bench",
                mutation_id=uuid.uuid4(),
                entity="notes",
                entity_id=str(number),
                operation="create",
                payload=record(number),
                created_at=datetime.now(timezone.utc),
            )
        )

    return keep


PEERS: dict[str, Callable[[Path, Durability], Keep]] = {
    "SQLiteAckQueue": _ack_queue,
    "UniqueQ": _unique_queue,
    "litequeue": _litequeue,
    "huey": _huey,
    "diskcache.Deque": _deque,
    "offline-sync-sdk": _sync_sdk,
}
"""How each is opened, by its name in the table."""


def seconds_each(keep: Keep, numbers: range) -> float:
    """Seconds per record."""
    began = time.perf_counter()
    for number in numbers:
        keep(number)
    return (time.perf_counter() - began) / len(numbers)
