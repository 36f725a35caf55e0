"""What a long queue costs: pushing to it, opening it, and its memory while it drains."""

from __future__ import annotations

import itertools
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.harness import LMDB, OURS, Bench, body, loopback_server, main, record
from benchmarks.peers import engine
from benchmarks.settle import drainer
from bytelyst_sync import LmdbStorage, SQLiteStorage, SyncEngine
from bytelyst_sync.state.item_ids import new_item_ids
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.location import join_location
from bytelyst_sync.storage.schema import ITEMS, Item

LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
PUSHES = 200
OPEN_MS, GROWN_MB = 20.0, 40.0

MEMORY = """
import sys, threading, time
from bytelyst_sync import create_sync_engine

def resident():
    with open("/proc/self/statm") as file:
        pages = file.read().split()
    # less those of mapped files, which the system takes back when it needs memory
    return (int(pages[1]) - (int(pages[2]) if sys.argv[2].startswith("lmdb:") else 0)) * 4096

engine = create_sync_engine(
    base_url=sys.argv[1], entities={"notes": "/notes"}, storage=sys.argv[2], exit_timeout=0,
    workers=8,
)
with engine:
    engine.pause()
    assert engine.queue_length > 0
    time.sleep(0.5)
    idle = most = resident()
    engine.resume()
    threading.Thread(target=engine.flush, args=(4,), daemon=True).start()
    for _ in range(40):
        time.sleep(0.1)
        most = max(most, resident())
    assert engine.stats().delivered > 100
print(most - idle)
"""


def run(bench: Bench) -> None:
    """Each length has a file of its own, filled once."""
    paths = {
        length: filled(SQLiteStorage(bench.path(), durability="normal"), length)
        for length in LENGTHS
    }
    pushing(bench, paths)
    opening(bench, paths)
    taking(bench, paths[LENGTHS[-1]])
    memory(bench, paths[LENGTHS[-1]])
    in_lmdb(bench)


def in_lmdb(bench: Bench) -> None:
    """The same of a store of LMDB: pushing, and memory besides the map."""
    paths = {
        length: filled(LmdbStorage(bench.path(".mdb"), durability="normal"), length)
        for length in (LENGTHS[0], LENGTHS[-1])
    }
    pushing(bench, paths, LMDB)
    memory(bench, paths[LENGTHS[-1]], LMDB)


def filled(storage: SQLiteStorage | LmdbStorage, length: int) -> str:
    """The location of a store with so many queued creates, put in by way of its own port."""
    for start in range(0, length, 10_000):

        def fill(tx: Transaction, count: int = min(10_000, length - start)) -> None:
            seqs = [tx.next_number() for _ in range(count)]
            tx.insert(
                ITEMS,
                *(
                    Item(seq, made, "notes", f"{seq:08x}", "create", body(seq), 1.0, position=seq)
                    for seq, made in zip(seqs, new_item_ids(seqs), strict=True)
                ),
            )

        storage.write(fill)
    storage.close()
    return join_location(storage.kind, storage.path)


def pushing(bench: Bench, paths: dict[int, str], store: str = OURS) -> None:
    """A push at a thousand queued, and at a million."""
    name = "push with so many queued" + ("" if store is OURS else f", {store}")
    engines = {length: engine(path, "normal") for length, path in paths.items()}
    numbers = itertools.count(100_000_000)

    def contender(length: int) -> Callable[[], float]:
        def turn() -> float:
            began = time.perf_counter()
            for number in itertools.islice(numbers, PUSHES):
                engines[length].push("notes", record(number))
            return (time.perf_counter() - began) / PUSHES * 1e6

        return turn

    race = bench.race(
        name,
        {f"{length:,}": contender(length) for length in paths},
        unit="µs",
        rounds=25,
    )
    race.compare(f"{LENGTHS[0]:,}", f"{LENGTHS[-1]:,}", at_most=1.3)
    points = [[float(length), statistics.median(race.figures[f"{length:,}"])] for length in paths]
    bench.curve(name, "queued", "µs for each push", {OURS: points})
    for each in engines.values():
        each.close()


def opening(bench: Bench, paths: dict[int, str]) -> None:
    """Opening a store, its exact length and its first batch, beside one cold count."""
    points = {}
    for length, path in paths.items():
        spent = [opened(path) for _ in range(bench.rounds(7))]
        points[length] = statistics.median(spent)
        if length == LENGTHS[-1]:
            bench.tell(
                f"open, count and claim of {length:,}",
                OURS,
                f"{OPEN_MS:g} ms",
                [each / OPEN_MS for each in spent],
                (points[length], OPEN_MS),
                unit="ms",
                bound=("≤", 1.0),
            )
    curve = [[float(length), spent] for length, spent in points.items()]
    bench.curve("opening", "queued", "ms", {OURS: curve})


def opened(path: str) -> float:
    """Milliseconds to open it, to know how many are queued, and to claim a hundred."""
    began = time.perf_counter()
    made = engine(path, "normal")
    length = made.queue_length
    runtime = made._core.running()  # noqa: SLF001  its parts, without its worker
    claims = runtime.state.write(lambda work: runtime.claims.claim(work, 100))
    spent = time.perf_counter() - began
    assert length
    assert len(claims) == 100
    runtime.storage.write(lambda tx: runtime.claims.unclaim(tx, claims))
    made.close()
    return spent * 1e3


def taking(bench: Bench, path: str) -> None:
    """Taking one out, for good, with a million queued."""
    made = engine(path)
    race = bench.race(
        f"take one of {LENGTHS[-1]:,}",
        {OURS: batch_taker(made)},
        peers={name: partial(opened, bench.path()) for name, opened in TAKERS.items()},
        unit="ms",
        rounds=3,
    )
    for name in TAKERS:
        race.compare(name, at_most=1.0)
    made.close()


def batch_taker(made: SyncEngine) -> Callable[[], float]:
    """Claims and settles a hundred in two commits; milliseconds for each."""
    drain = drainer(made, 100)
    return lambda: 1e3 / drain()


def litequeue_taker(path: Path) -> Callable[[], float]:
    """Pops, and says that it is done: a commit each."""
    import litequeue  # noqa: PLC0415

    queue = litequeue.LiteQueue(path)
    with queue.transaction("IMMEDIATE"):
        for number in range(LENGTHS[-1]):
            queue.put(body(number))

    def take() -> float:
        began = time.perf_counter()
        message = queue.pop()
        assert message is not None
        queue.done(message.message_id, claim_id=message.claim_id)
        return (time.perf_counter() - began) * 1e3

    return take


def ack_queue_taker(path: Path) -> Callable[[], float]:
    """Gets and acknowledges, a commit each; twenty in a row."""
    import persistqueue  # noqa: PLC0415

    queue = persistqueue.SQLiteAckQueue(str(path), multithreading=True)
    rows = ((pickle.dumps(record(number)), 1.0) for number in range(LENGTHS[-1]))
    with queue._putter as connection:  # noqa: SLF001  a million commits would take minutes
        connection.executemany(queue._SQL_INSERT.format(table_name=queue._table_name), rows)  # noqa: SLF001
    queue.total = LENGTHS[-1]

    def take() -> float:
        began = time.perf_counter()
        for _ in range(20):
            queue.ack(queue.get())
        return (time.perf_counter() - began) / 20 * 1e3

    return take


TAKERS = {"litequeue": litequeue_taker, "SQLiteAckQueue": ack_queue_taker}


def memory(bench: Bench, path: str, store: str = OURS) -> None:
    """How much a process grows while it drains the longest queue."""
    with loopback_server() as url:
        command = [sys.executable, "-c", MEMORY, url, path]
        grown = [
            int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603
            / 2**20
            for _ in range(bench.rounds(3))
        ]
    bench.tell(
        f"memory while {LENGTHS[-1]:,} drain",
        store,
        f"{GROWN_MB:g} MB over idle",
        [each / GROWN_MB for each in grown],
        (statistics.median(grown), GROWN_MB),
        unit="MB",
        bound=("≤", 1.0),
    )


if __name__ == "__main__":
    main("growth", run)
