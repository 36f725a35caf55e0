"""How fast a queue drains, beside the loops that one would write by hand.

All talk to the same loopback server, a process of its own that costs little; every commit of the
queue is part of the time. A loop of several threads takes its records from one iterator.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
import urllib3

from benchmarks.harness import OURS, Bench, loopback_server, main, record
from bytelyst_sync import BatchFormat, Dialect, SyncEngine, Urllib3Transport, create_sync_engine

FAST = "benchmarks.fast_server"
LATENCY_MS = 20
SIZES = (1_000, 3_000, 10_000, 30_000)
Post = Callable[[dict[str, Any]], object]


def run(bench: Bench) -> None:
    """From a server that answers at once to one that takes its time, or is busy."""
    with loopback_server(0, FAST) as url:
        fast(bench, url)
        growth(bench, url)
    with loopback_server(LATENCY_MS, FAST) as url:
        slow(bench, url)
    with loopback_server(LATENCY_MS, FAST, "--bears", "4") as url:
        busy(bench, url)


def fast(bench: Bench, url: str) -> None:
    """One request at a time is all that pays."""
    spent: dict[str, list[float]] = {}

    def noted(name: str, work: Callable[[], tuple[float, float]]) -> Callable[[], float]:
        def go() -> float:
            rate, cpu_s = work()
            spent.setdefault(name, []).append(cpu_s)
            return rate

        return go

    race = bench.race(
        "flush, fast server",
        {
            OURS: noted(OURS, lambda: by_engine(bench, url, 2000)),
            f"{OURS}, workers=8": lambda: by_engine(bench, url, 2000, workers=8)[0],
            f"{OURS}, Urllib3Transport": lambda: by_engine(
                bench, url, 2000, transport=Urllib3Transport()
            )[0],
            "requests": noted("requests", lambda: by_hand(url, 2000, with_requests)),
            "urllib3": lambda: by_hand(url, 2000, with_urllib3)[0],
        },
        unit="items/s",
        rounds=7,
    )
    race.compare("requests", at_least=1.4)
    race.compare("requests", contender=f"{OURS}, Urllib3Transport", at_least=1.8)
    race.compare("urllib3")
    race.compare(OURS, contender=f"{OURS}, workers=8", at_least=0.95)
    ours, theirs = (spent[name][1:] for name in (OURS, "requests"))
    bench.tell(
        "flush, fast server: CPU per item",
        OURS,
        "requests",
        [mine / other for mine, other in zip(ours, theirs, strict=True)],
        (sorted(ours)[len(ours) // 2] * 1e6, sorted(theirs)[len(theirs) // 2] * 1e6),
        unit="µs",
        bound=("≤", 0.75),
    )


def growth(bench: Bench, url: str) -> None:
    """A longer queue takes longer in proportion."""
    points = [[size, size / by_engine(bench, url, size)[0]] for size in SIZES]
    bench.curve("flush", "queued", "s to drain it", {OURS: points})
    slopes = [
        math.log(points[-1][1] / points[at][1]) / math.log(points[-1][0] / points[at][0])
        for at in range(len(points) - 1)
    ]
    bench.tell(
        f"flush, {SIZES[0]:,} to {SIZES[-1]:,} queued: exponent",
        OURS,
        "linear",
        slopes,
        (slopes[0], 1.0),
        unit="",
        bound=("≤", 1.05),
    )


def slow(bench: Bench, url: str) -> None:
    """Waiting dominates: as many requests under way as there may be."""
    for workers, bound in ((8, 0.95), (32, 1.1)):
        at_once(bench, url, workers, bound)
    batches = Dialect(batch=BatchFormat())
    race = bench.race(
        f"flush, {LATENCY_MS} ms, workers=8, batches of 100",
        {
            OURS: lambda: by_engine(bench, url, 10_000, workers=8, dialect=batches)[0],
            "one by one": lambda: by_engine(bench, url, 400, workers=8)[0],
        },
        unit="items/s",
        rounds=5,
    )
    race.compare("one by one", at_least=15.0)


def at_once(bench: Bench, url: str, workers: int, bound: float) -> None:
    """Against as many threads of a loop by hand."""
    items = workers * 60
    race = bench.race(
        f"flush, {LATENCY_MS} ms, workers={workers}",
        {
            OURS: lambda: by_engine(bench, url, items, workers=workers)[0],
            f"requests × {workers}": lambda: by_hand(url, items, with_requests, workers)[0],
            f"urllib3 × {workers}": lambda: by_hand(url, items, with_urllib3, workers)[0],
        },
        unit="items/s",
        rounds=5,
    )
    race.compare(f"requests × {workers}", at_least=bound)
    race.compare(f"urllib3 × {workers}")


def busy(bench: Bench, url: str) -> None:
    """A server that bears four requests, and an engine that does not know it."""
    refused: list[float] = []

    def adaptive() -> float:
        told(url)
        rate = by_engine(bench, url, 2200, workers=16)[0]
        answered = told(url)
        refused.append(answered.get("429", 0) / sum(answered.values()))
        return rate

    race = bench.race(
        f"flush, {LATENCY_MS} ms, 429 beyond 4 requests, workers=16",
        {OURS: adaptive, "workers=4": lambda: by_engine(bench, url, 2200, workers=4)[0]},
        unit="items/s",
        rounds=3,
        warm=False,
    )
    race.compare("workers=4", at_least=0.8)
    bench.tell(
        "the same: 429s among the answers",
        OURS,
        "one in twenty",
        [share / 0.05 for share in refused],
        (sorted(refused)[len(refused) // 2], 0.05),
        unit="",
        bound=("≤", 1.0),
    )


def told(url: str) -> dict[str, int]:
    """What the server has answered since it was last asked."""
    found: dict[str, int] = requests.get(f"{url}/told", timeout=10).json()
    return found


# --- contenders: items per second, and seconds of CPU for each


def by_engine(bench: Bench, url: str, items: int, **settings: Any) -> tuple[float, float]:
    """The package: from the first request to an empty queue."""
    engine = queued(bench.path(), url, items, **settings)
    with engine:
        began, cpu = time.perf_counter(), time.process_time()
        engine.resume()
        while engine.flush(timeout=120).remaining:
            time.sleep(0.01)  # it does not wait out a busy server
        return _figures(items, began, cpu)


def queued(path: Path, url: str, items: int, **settings: Any) -> SyncEngine:
    """A paused engine with so many creates in its queue."""
    engine = create_sync_engine(
        base_url=url, entities={"notes": "/notes"}, storage=path, probe=None, **settings
    )
    engine.pause()
    for start in range(0, items, 10_000):
        engine.push_many("notes", map(record, range(start, min(items, start + 10_000))))
    return engine


def by_hand(
    url: str, items: int, make: Callable[[str], Post], threads: int = 1
) -> tuple[float, float]:
    """The loop, on so many threads with a session each."""
    todo: Iterator[int] = iter(range(items))
    lock = threading.Lock()

    def work() -> None:
        post = make(f"{url}/by_hand")
        while True:
            with lock:
                number = next(todo, None)
            if number is None:
                return
            post(record(number))

    began, cpu = time.perf_counter(), time.process_time()
    if threads == 1:
        work()
    else:
        started = [threading.Thread(target=work) for _ in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
    return _figures(items, began, cpu)


def with_requests(url: str) -> Post:
    """A session, as in the documentation of requests."""
    session = requests.Session()
    return lambda data: session.post(
        url, json=data, headers={"Idempotency-Key": data["id"]}, timeout=10
    )


def with_urllib3(url: str) -> Post:
    """A pool, with no more than it needs to be told."""
    pool = urllib3.PoolManager(timeout=10, retries=False)

    def post(data: dict[str, Any]) -> object:
        headers = {"Content-Type": "application/json", "Idempotency-Key": data["id"]}
        return pool.request("POST", url, body=json.dumps(data), headers=headers)

    return post


def _figures(items: int, began: float, cpu: float) -> tuple[float, float]:
    return items / (time.perf_counter() - began), (time.process_time() - cpu) / items


if __name__ == "__main__":
    main("flush", run)
