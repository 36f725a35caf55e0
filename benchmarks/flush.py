"""How fast a queue drains beside the loop that one would write by hand with ``requests``.

Both talk to the same loopback server, a process of its own, in turns; the ratio is items per
second over the loop's requests per second.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import requests

from bytelyst_sync import create_sync_engine

ROUNDS = 3
ITEMS = 1000


def by_hand(url: str) -> float:
    """Requests per second of a bare session."""
    with requests.Session() as session:
        began = time.perf_counter()
        for number in range(ITEMS):
            key = uuid.uuid4().hex
            record = {"id": key, "number": number, "text": "x" * 160}
            headers = {"Idempotency-Key": key}
            session.post(f"{url}/by_hand", json=record, headers=headers, timeout=10)
        return ITEMS / (time.perf_counter() - began)


def by_engine(url: str, folder: Path, workers: int) -> float:
    """Items per second of a flush, each commit of the queue included."""
    engine = create_sync_engine(
        base_url=url,
        entities={"notes": "/notes"},
        storage=folder / f"{time.monotonic_ns()}.db",
        workers=workers,
    )
    with engine:
        engine.pause()
        rows = [{"id": uuid.uuid4().hex, "number": n, "text": "x" * 160} for n in range(ITEMS)]
        engine.push_many("notes", rows)
        began = time.perf_counter()
        engine.resume()
        result = engine.flush(timeout=120)
        spent = time.perf_counter() - began
    if result.pushed != ITEMS:
        raise SystemExit(f"the flush did not get through: {result}")
    return ITEMS / spent


def main() -> None:
    """Prints one line per number of workers and latency."""
    print(f"{'flush':<32}{'median':>8}{'least':>8}{'most':>8}   (× one bare requests.Session)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for latency_ms, workers in ((0, 1), (0, 8), (5, 8)):
            command = [sys.executable, "-m", "bytelyst_sync.testing.server", "--port", "0"]
            command += ["--latency-ms", str(latency_ms)]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
            try:
                url = (server.stdout.readline() if server.stdout else "").split()[-1]
                ratios = [by_engine(url, folder, workers) / by_hand(url) for _ in range(ROUNDS)]
            finally:
                server.terminate()
                server.communicate()
            label = f"{workers} worker(s), {latency_ms} ms of latency"
            figures = (statistics.median(ratios), min(ratios), max(ratios))
            print(f"{label:<32}" + "".join(f"{each:8.2f}" for each in figures))


if __name__ == "__main__":
    main()
