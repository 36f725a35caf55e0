"""What it costs to have the package at all: its import, and an engine that does nothing."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.harness import OURS, Bench, main

MEGABYTE = 2**20
ENGINE_MB = 6.0

MEMORY = """
import sys, time
import attrs, filelock, requests, sqlite3, urllib3
requests.Session().close()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

before = resident()
from bytelyst_sync import create_sync_engine
engine = create_sync_engine(
    base_url="http://127.0.0.1:9", entities={"notes": "/notes"}, storage=sys.argv[1], probe=None
)
with engine:
    assert engine.queue_length == 0
    time.sleep(1)
    print(resident() - before)
"""
"""The dependencies alone, and then an idle engine."""


def run(bench: Bench) -> None:
    """In processes of their own."""
    race = bench.race(
        "import",
        {OURS: lambda: importing("bytelyst_sync"), "requests": lambda: importing("requests")},
        unit="ms of CPU",
        rounds=15,
    )
    race.compare("requests", at_most=0.7)
    grown = [idle(bench) for _ in range(bench.rounds(5))]
    bench.tell(
        "memory of an idle engine",
        OURS,
        f"{ENGINE_MB:g} MB over its dependencies",
        [each / ENGINE_MB for each in grown],
        (sorted(grown)[len(grown) // 2], ENGINE_MB),
        unit="MB",
        bound=("≤", 1.0),
    )


def importing(module: str) -> float:
    """Milliseconds of CPU that a fresh interpreter takes more than one that imports nothing."""

    def started(statement: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    bare = started("pass")
    return (started(f"import {module}") - bare) * 1e3


def idle(bench: Bench) -> float:
    """Megabytes of a process with an engine over the same with the dependencies alone."""
    command = [sys.executable, "-c", MEMORY, str(bench.path())]
    told = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return int(told.stdout) / MEGABYTE


if __name__ == "__main__":
    main("footprint", run)
