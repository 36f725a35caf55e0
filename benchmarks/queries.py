"""What a list on a screen costs: filters, orders and limits of the local view, and indexes."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import OURS, Bench, main, record
from bytelyst_sync import EntityConfig, SyncEngine, create_sync_engine

RECORDS, OF_ONE = 100_000, 20
"""So many records, and so many of each project."""
LISTED_MS = 5.0
PUSHES = 300
INDEXES = ("project_id", "updated_at")
SHORT, LONG = 1_000, 100_000
WITHOUT = f"{OURS}, no index"


def run(bench: Bench) -> None:
    """Filters by an index, listings of short and long tables, then pushes with indexes."""
    long = filled(bench.path(), LONG)
    filters(bench, long)
    listing(bench, filled(bench.path(), SHORT), long)
    pushing(bench)


def engine(path: Path, indexes: tuple[str, ...]) -> SyncEngine:
    """An engine that is only pushed to and asked."""
    return create_sync_engine(
        base_url="http://127.0.0.1:9",
        entities={"tasks": EntityConfig("/tasks", indexes=indexes)},
        storage=path,
        durability="normal",
        auto_flush=False,
        probe=None,
        exit_timeout=0,
    )


def task(number: int) -> dict[str, Any]:
    """The record of the other benchmarks, in a project, with a time."""
    project = number % (RECORDS // OF_ONE)
    return {**record(number), "project_id": f"p{project}", "updated_at": number}


def filled(path: Path, length: int) -> SyncEngine:
    """An engine with so many records in its view."""
    made = engine(path, INDEXES)
    for start in range(0, length, 10_000):
        made.push_many("tasks", [task(n) for n in range(start, min(start + 10_000, length))])
    return made


def spent_ms(query: Callable[[], object]) -> float:
    """Milliseconds for one query."""
    began = time.perf_counter()
    query()
    return (time.perf_counter() - began) * 1e3


def filters(bench: Bench, made: SyncEngine) -> None:
    """The rows that a screen shows, out of many."""
    projects = itertools.count()

    def by_project() -> object:
        found = list(made.records("tasks", {"project_id": f"p{next(projects)}"}))
        assert len(found) == OF_ONE
        return found

    queries: dict[str, Callable[[], object]] = {
        f"{OF_ONE} of {RECORDS:,} by an index": by_project,
        f"the last {OF_ONE} of {RECORDS:,} by an index": lambda: list(
            made.records("tasks", order_by="-updated_at", limit=OF_ONE)
        ),
    }
    for name, query in queries.items():
        query()
        spent = [spent_ms(query) for _ in range(bench.rounds(25))]
        bench.tell(
            name,
            OURS,
            f"{LISTED_MS:g} ms",
            [each / LISTED_MS for each in spent],
            (statistics.median(spent), LISTED_MS),
            unit="ms",
            bound=("≤", 1.0),
        )


def listing(bench: Bench, short: SyncEngine, long: SyncEngine) -> None:
    """The first rows of a table, short or long."""

    def contender(made: SyncEngine) -> Callable[[], float]:
        return lambda: spent_ms(lambda: list(made.records("tasks", limit=OF_ONE)))

    race = bench.race(
        f"the first {OF_ONE} of so many",
        {f"{SHORT:,}": contender(short), f"{LONG:,}": contender(long)},
        unit="ms",
        rounds=25,
    )
    race.compare(f"{SHORT:,}", f"{LONG:,}", at_most=1.5)


def pushing(bench: Bench) -> None:
    """A push with two indexes beside one without."""
    engines = {OURS: engine(bench.path(), INDEXES), WITHOUT: engine(bench.path(), ())}
    numbers = itertools.count(step=PUSHES)

    def contender(made: SyncEngine) -> Callable[[], float]:
        def turn() -> float:
            first = next(numbers)
            began = time.perf_counter()
            for number in range(first, first + PUSHES):
                made.push("tasks", task(number))
            return (time.perf_counter() - began) / PUSHES * 1e6

        return turn

    race = bench.race(
        "push with two indexes",
        {name: contender(made) for name, made in engines.items()},
        unit="µs",
        rounds=15,
    )
    race.compare(WITHOUT, at_most=1.15)


if __name__ == "__main__":
    main("queries", run)
