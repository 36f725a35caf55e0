"""Pushes while one very large page is pulled, and the memory that it takes."""

from __future__ import annotations

import os
import statistics
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import attrs

from benchmarks.flush import FAST
from benchmarks.harness import OURS, Bench, loopback_server, main
from bytelyst_sync import SyncEngine, create_sync_engine

MEGABYTE = 2**20
MOST_MS, MOST_PAGES = 50.0, 3.0
PUSHES_PER_S = 50
SECONDS_BEFORE = 3.0
SHAPES = {
    # the rows, and the length of the text in each: about 60 MB in each page
    "a million rows": (1_000_000, 0),
    "60 rows of a megabyte": (60, MEGABYTE),
}


@attrs.frozen
class Found:
    """The 99th percentile of a push's milliseconds, without a pull and beside it; the largest
    growth of the memory, in lengths of the page.
    """

    alone_ms: float
    beside_ms: float
    pages: float


def run(bench: Bench) -> None:
    """Each page in a process of its own, with the settings of a new engine."""
    for name, (usual, text) in SHAPES.items():
        rows = max(60, round(usual * min(1.0, bench.scale)))
        page = ("--records", str(rows), "--page", str(rows), "--text", str(text))
        with (
            loopback_server(0, FAST, *page) as url,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        ):
            found = pool.submit(measure, url, bench.path(), rows, text).result()
        bench.tell(
            f"push beside a page of {name}: p99",
            OURS,
            f"{MOST_MS:g} ms",
            [found.beside_ms / MOST_MS],
            (found.beside_ms, MOST_MS),
            unit="ms",
            bound=("≤", 1.0),
        )
        bench.tell(
            f"push alone, before {name}: p99",
            OURS,
            f"{MOST_MS:g} ms",
            [found.alone_ms / MOST_MS],
            (found.alone_ms, MOST_MS),
            unit="ms",
        )
        bench.tell(
            f"memory of a pull of {name}",
            OURS,
            "the length of the page",
            [found.pages],
            (found.pages, 1.0),
            unit="pages",
            bound=("≤", MOST_PAGES),
        )


def measure(url: str, path: Path, rows: int, text: int) -> Found:
    """Pushes at a steady rate, at first alone, then beside the pull."""
    os.sync()  # the disk still writes what was measured before
    engine = create_sync_engine(
        base_url=url,
        entities={"notes": "/notes", "mine": "/mine"},
        storage=path,
        probe=None,
        exit_timeout=0,
        timeout=(5, 300),
        request_deadline=600,
    )
    with engine:
        alone = Pushes(engine, "a")
        time.sleep(SECONDS_BEFORE)
        alone.stop()
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        beside = Pushes(engine, "b")
        result = engine.pull("notes")
        beside.stop()
        grown = memory("VmHWM") - before
    if result.pulled != rows or not result.success:
        raise SystemExit(f"the pull did not get through: {result}")
    length = rows * (text + len('{"id": "00000000", "number": 100000, "text": "", "version": 1}, '))
    return Found(alone.p99_ms(), beside.p99_ms(), grown / length)


class Pushes:
    """Pushes from a thread of its own, until it is stopped."""

    def __init__(self, engine: SyncEngine, prefix: str) -> None:
        self._engine, self._prefix = engine, prefix
        self._took: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        began, number = time.perf_counter(), 0
        while not self._stopped.is_set():
            number += 1
            due = began + number / PUSHES_PER_S
            time.sleep(max(0.0, due - time.perf_counter()))
            pushed = time.perf_counter()
            self._engine.push("mine", {"id": f"{self._prefix}{number}", "number": number})
            self._took.append((time.perf_counter() - pushed) * 1e3)

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

    def p99_ms(self) -> float:
        """Of all pushes."""
        return statistics.quantiles(self._took, n=100)[98]


def memory(name: str) -> int:
    """Bytes: what Linux tells of this process under this name."""
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = (each for each in status.splitlines() if each.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main("large_page", run)
