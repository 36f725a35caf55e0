"""What the rest of a program feels of an engine: pushes while it flushes, and its rest."""

from __future__ import annotations

import statistics
import time

from benchmarks.flush import FAST, LATENCY_MS, queued
from benchmarks.harness import OURS, Bench, loopback_server, main, record

PUSHES_PER_S = 500
SECONDS = 4
BACKLOG = 40_000
REST_S = 10.0
MOST_CPU = 0.001


def run(bench: Bench) -> None:
    """Beside a fast server, a slow one, and none."""
    for latency_ms, most_ms in ((0, 3.0), (LATENCY_MS, 5.0)):
        with loopback_server(latency_ms, FAST) as url:
            found = [p99_ms(bench, url) for _ in range(bench.rounds(3))]
        bench.tell(
            f"push while flushing, {latency_ms} ms, workers=8: p99",
            OURS,
            f"{most_ms:g} ms",
            [each / most_ms for each in found],
            (statistics.median(found), most_ms),
            unit="ms",
            bound=("≤", 1.0),
        )
    with loopback_server(0, FAST) as url:
        shares = [at_rest(bench, url) for _ in range(3)]
    bench.tell(
        "CPU of an idle engine",
        OURS,
        "a thousandth of a core",
        [each / MOST_CPU for each in shares],
        (statistics.median(shares), MOST_CPU),
        unit="",
        bound=("≤", 1.0),
    )


def p99_ms(bench: Bench, url: str) -> float:
    """Of pushes at a steady rate, into a queue that is being drained."""
    engine = queued(bench.path(), url, BACKLOG, workers=8, durability="normal", exit_timeout=0)
    took: list[float] = []
    with engine:
        engine.resume()
        time.sleep(0.5)
        began = time.perf_counter()
        for number in range(PUSHES_PER_S * SECONDS):
            due = began + number / PUSHES_PER_S
            time.sleep(max(0.0, due - time.perf_counter()))
            pushed = time.perf_counter()
            engine.push("notes", record(BACKLOG + number))
            took.append((time.perf_counter() - pushed) * 1e3)
        engine.pause()
    return statistics.quantiles(took, n=100)[98]


def at_rest(bench: Bench, url: str) -> float:
    """The share of a core that an engine takes which has delivered everything."""
    engine = queued(bench.path(), url, 500)
    with engine:
        engine.resume()
        engine.flush(timeout=30)
        time.sleep(1.0)
        before = time.process_time()
        time.sleep(REST_S)
        return (time.process_time() - before) / REST_S


if __name__ == "__main__":
    main("beside", run)
