"""Experiments beside GrowthBook's SDK: assigning, and the first and a repeated exposure."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import OURS, Bench, main
from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.experiments import Experiments, experiment_entities

IDS = 100_000
CHUNK = 500
"""Ids of a round: each is assigned in all definitions."""
PUSHES, TURNS = 20, 90
"""Short turns, and many: the time of a sync of the disk changes from one moment to the next."""
PEER = "growthbook run"
Json = dict[str, Any]


def definitions(*, condition: bool) -> list[Json]:
    """Twenty definitions: both versions of the hash, two and three variations, part coverage."""
    return [
        {
            "key": f"experiment-{number}",
            "variations": ["a", "b", "c"][: 3 if number % 5 == 2 else 2],
            "hashVersion": 2 if number % 2 else 1,
            **({"weights": [0.9, 0.1]} if number % 5 == 3 else {}),
            **({"coverage": 0.6} if number % 5 == 4 else {}),
            **({"condition": CONDITION} if condition else {}),
        }
        for number in range(20)
    ]


CONDITION = {"country": {"$in": ["DE", "FR"]}, "age": {"$gte": 18}}


def attributes(number: int) -> Json:
    """Of a unit; two thirds of them are in the condition."""
    return {"country": ("DE", "FR", "US")[number % 3], "age": 16 + number % 60}


def run(bench: Bench) -> None:
    """Assigning with and without conditions, then exposures."""
    for condition in (False, True):
        assigning(bench, condition=condition)
    exposing(bench)


def engine(path: Path) -> SyncEngine:
    """An engine that is only pushed to."""
    return create_sync_engine(
        base_url="http://127.0.0.1:9",
        entities={"notes": "/notes", **experiment_entities()},
        storage=path,
        auto_flush=False,
        probe=None,
        exit_timeout=0,
    )


def assigning(bench: Bench, *, condition: bool) -> None:
    """Microseconds for one assignment; the answers must be the same for every id."""
    sources = definitions(condition=condition)
    ab = Experiments(engine(bench.path()), sources)
    keys = [each["key"] for each in sources]
    numbers = itertools.cycle(range(0, IDS, CHUNK))
    theirs = itertools.cycle(range(0, IDS, CHUNK))

    def ours() -> float:
        start, spent = next(numbers), 0.0
        for number in range(start, start + CHUNK):
            given = attributes(number)
            began = time.process_time()
            for key in keys:
                ab.assign(key, f"user-{number}", given)
            spent += time.process_time() - began
        return spent / CHUNK / len(keys) * 1e6

    def peer() -> Callable[[], float]:
        from growthbook import Experiment, GrowthBook  # noqa: PLC0415

        made = [Experiment(**each) for each in sources]

        def measured() -> float:
            start, spent = next(theirs), 0.0
            for number in range(start, start + CHUNK):
                one = GrowthBook(attributes={"id": f"user-{number}", **attributes(number)})
                began = time.process_time()
                for each in made:
                    one.run(each)
                spent += time.process_time() - began
            return spent / CHUNK / len(made) * 1e6

        return measured

    name = "assign, with a condition" if condition else "assign"
    race = bench.race(name, {OURS: ours}, peers={PEER: peer}, unit="µs", rounds=9)
    race.compare(PEER, at_most=1 / 2 if condition else 1 / 3)
    identical(bench, sources, ab)


def identical(bench: Bench, sources: list[Json], ab: Experiments) -> None:
    """All ids in all definitions get the same variation from both."""
    try:
        from growthbook import Experiment, GrowthBook  # noqa: PLC0415
    except ImportError:
        return  # the race has told so
    made = [Experiment(**each) for each in sources]
    ids = bench.rounds(IDS)
    for number in range(ids):
        given = attributes(number)
        one = GrowthBook(attributes={"id": f"user-{number}", **given})
        for source, experiment in zip(sources, made, strict=True):
            mine = ab.assign(source["key"], f"user-{number}", given)
            their = one.run(experiment)
            assert (mine.index, mine.in_experiment) == (their.variationId, their.inExperiment), (
                f"user-{number} in {source['key']}: {mine} and {their}"
            )
    print(f"identical answers for {ids:,} ids in {len(sources)} definitions", flush=True)


def exposing(bench: Bench) -> None:
    """A first exposure beside a push on the same store, a repeated one beside their ``run``."""
    made = engine(bench.path())
    ab = Experiments(made, definitions(condition=False)[1:2])
    key = "experiment-1"
    numbers = itertools.count()

    def timed(call: Callable[[int], object], count: int) -> float:
        chosen = [next(numbers) for _ in range(count)]
        began = time.perf_counter()
        for number in chosen:
            call(number)
        return (time.perf_counter() - began) / count * 1e6

    race = bench.race(
        "first exposure, durability=full",
        {
            OURS: lambda: timed(lambda n: ab.variant(key, f"user-{n}"), PUSHES),
            "push": lambda: timed(
                lambda n: made.push("notes", {"id": f"n{n}", "title": "x", "done": False}), PUSHES
            ),
        },
        unit="µs",
        rounds=TURNS,
    )
    race.compare("push", at_most=1.2)
    ab.variant(key, "user-again")

    def peer() -> Callable[[], float]:
        from growthbook import Experiment, GrowthBook  # noqa: PLC0415

        one = GrowthBook(attributes={"id": "user-again"})
        experiment = Experiment(**definitions(condition=False)[1])
        return lambda: timed(lambda _: one.run(experiment), 5_000)

    race = bench.race(
        "repeated exposure",
        {OURS: lambda: timed(lambda _: ab.variant(key, "user-again"), 5_000)},
        peers={PEER: peer},
        unit="µs",
    )
    race.compare(PEER, at_most=1.0)


if __name__ == "__main__":
    main("experiments", run)
