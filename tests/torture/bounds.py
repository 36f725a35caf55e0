"""A year of one store, in minutes: what is kept of the past is bounded.

A scale model: the traffic is a small part of a busy program's, and so are the numbers of settled
conflicts and of outcomes that are kept in any case. The thirty days that tombstones, aliases,
settled conflicts and keys are kept are as they are. The server, which keeps everything, is a
process of its own.
"""

import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from unittest import mock

from bytelyst_sync import EntityConfig, create_sync_engine
from bytelyst_sync.events import outcomes
from bytelyst_sync.replica import conflict_log
from bytelyst_sync.testing import ManualClock
from tests.torture.harness import Trial, check, scenario
from tests.torture.leaks import memory_mb, no_proc, objects, threads
from tests.torture.process_work import descriptors
from tests.torture.wire import Wire

DAY_S = 86_400.0
YEAR_DAYS = 365
WARM_DAYS = 120
"""After these, what is kept for thirty days has come and gone several times."""
BOUND_S = 20.0
LIVE = 40
"""Records of each entity that are not deleted."""
KEPT_OUTCOMES, KEPT_CONFLICTS = 300, 50
MOST_GROWTH_MB = 2.0
MOST_OBJECTS = 400
FILE_SLACK = 1.15
"""For a file whose pages are used again."""
ROW_SLACK, ROWS_MORE = 1.25, 30
"""For numbers of rows, which go up and down with chance."""


class Year:
    """One engine, and others at the server, day by day."""

    def __init__(self, trial: Trial, wire: Wire) -> None:
        self.rng = random.Random(trial.seed)
        self.wire, self.clock = wire, ManualClock()
        self.path = trial.folder / "queue.db"
        self.days = self.number = self.expired = self.outages = 0
        self.engine = create_sync_engine(
            base_url=f"http://127.0.0.1:{wire.port}",
            entities={
                "lists": EntityConfig("/lists", id_source="server", conflict="merge"),
                "tasks": EntityConfig(
                    "/tasks",
                    id_source="server",
                    conflict="manual",
                    references={"list": "lists"},
                    indexes=("done",),
                ),
                "events": EntityConfig("/events", id_source="server", dedup="none", replica=False),
            },
            storage=self.path,
            clock=self.clock,
            durability="normal",
            timeout=(1.0, 2.0),
            max_retry_delay=60.0,
            probe=None,
            exit_timeout=0.0,
        )

    def live(self, days: int, step: int, edits: int) -> None:
        """So many days, ``step`` at a time, with so many edits each time."""
        for _ in range(0, days, step):
            self.days += step
            self.clock.advance(step * DAY_S)
            self.wire.ask("time_of_day", self.clock.wall())
            if self.rng.random() < 0.1:
                self._spend_offline(edits)
            else:
                self._work(edits)
            self._expire()
            self._meet_others()
            self._settle()

    def _work(self, edits: int) -> None:
        """A person's day: creates, edits that are merged, deletes, a cancelled one."""
        engine, rng = self.engine, self.rng
        lists, tasks = self._ids("lists"), self._ids("tasks")
        for _ in range(edits):
            self.number += 1
            if len(lists) < LIVE // 4:
                lists.append(engine.create("lists", {"name": f"l{self.number}"}).record_id)
            if len(tasks) < LIVE:
                data = {"title": f"t{self.number}", "list": rng.choice(lists), "done": False}
                tasks.append(engine.create("tasks", data).record_id)
            chosen = rng.choice(tasks)
            engine.update("tasks", chosen, {"title": f"t{self.number}", "done": rng.random() < 0.5})
            if rng.random() < 0.4:
                tasks.remove(chosen)
                engine.delete("tasks", chosen)
        engine.push("events", {"n": self.number}, key=f"event-{self.number}")
        engine.cancel(engine.push("events", {"n": -1}, key=f"cancelled-{self.number}"))
        if rng.random() < 0.3:
            chosen = rng.choice(lists)
            if not engine.count("tasks", {"list": chosen}):
                engine.delete("lists", chosen)

    def _ids(self, entity: str) -> list[str]:
        return [record["id"] for record in self.engine.records(entity)]

    def _spend_offline(self, edits: int) -> None:
        self.outages += 1
        self.wire.ask("refuse")
        self._work(edits)
        self.engine.flush(timeout=BOUND_S)
        self.wire.ask("admit")

    def _expire(self) -> None:
        """An offer that nobody could be told in time."""
        self.engine.pause()
        self.engine.push("events", {"n": self.number, "offer": True}, expires=3600.0)
        self.clock.advance(2 * 3600.0)
        self.engine.resume()
        self.engine.flush(timeout=BOUND_S)
        self.expired += self.engine.discard_failed()

    def _meet_others(self) -> None:
        """Others edit and delete what is edited here, and make records of their own."""
        tasks = self._ids("tasks")
        for task in self.rng.sample(tasks, min(3, len(tasks))):
            self.engine.update("tasks", task, {"title": f"here {self.number}"})
            if self.rng.random() < 0.8:
                self.wire.ask("edit", ["tasks", task, self.number])
            else:
                self.wire.ask("remove", ["tasks", task])
        self.wire.ask("put", ["tasks", {"title": "of others", "list": None}])

    def _settle(self) -> None:
        """The end of a day: all is delivered, pulled and decided."""
        engine = self.engine
        for _ in range(10):
            engine.full_sync(timeout=BOUND_S)
            for conflict in list(engine.conflicts()):
                engine.resolve(conflict, self.rng.choice(("local", "remote")))
            if not engine.queue_length and not engine.status.conflicts:
                return
            self.clock.advance(60.0)
        failed = [(each.operation.value, each.last_error) for each in engine.failed()]
        check(False, f"a day ends with nothing left: {engine.status!r}, failed {failed[:3]}")

    # --- what it comes to

    def rows(self) -> dict[str, int]:
        """How many rows each table has, and how long the named values are."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            query = (
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
            names = [name for (name,) in connection.execute(query)]
            found = {
                name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                for name in names
            }
            values = "SELECT sum(length(value)) FROM meta"
            found["characters of meta"] = connection.execute(values).fetchone()[0]
        return found

    def measure(self) -> dict[str, float]:
        """All that has to stay within bounds."""
        found: dict[str, float] = {f"rows: {name}": n for name, n in self.rows().items()}
        found["file MB"] = self.path.stat().st_size / 1e6
        found["memory MB"] = memory_mb()
        found["objects"] = objects()
        found["threads"] = len(threads())
        found["descriptors"] = len(descriptors())
        return found


def by_name(
    samples: list[dict[str, float]], choose: Callable[[list[float]], float]
) -> dict[str, float]:
    """Of each figure the least, or the most."""
    found = defaultdict(list)
    for sample in samples:
        for name, value in sample.items():
            found[name].append(value)
    return {name: choose(values) for name, values in found.items()}


def check_flat(early: list[dict[str, float]], late: list[dict[str, float]]) -> None:
    """The last part of the year needs no more than the part after the first months."""
    least, least_now = by_name(early, min), by_name(late, min)
    most, most_now = by_name(early, max), by_name(late, max)
    for name, before in most.items():
        now = most_now[name]
        reported = (
            f"{name}: {before:,.6g} after {WARM_DAYS} days, {now:,.6g} at the end of the year"
        )
        if name.startswith("rows"):
            check(now <= before * ROW_SLACK + ROWS_MORE, reported)
        elif name == "file MB":
            check(now <= before * FILE_SLACK, reported)
    for name, more in (("threads", 0), ("descriptors", 0), ("objects", MOST_OBJECTS)):
        check(least_now[name] <= least[name] + more, f"{name}: {least[name]}, {least_now[name]}")
    grown = least_now["memory MB"] - least["memory MB"]
    check(grown <= MOST_GROWTH_MB, f"memory stays flat: {grown:.1f} MB more")


@scenario(
    "leaks",
    "a year of creates, edits, deletes and conflicts leaves file, memory and threads flat",
    limit_s=900.0,
    missing=no_proc,
)
def a_year(trial: Trial) -> dict[str, object]:
    """A day at a time in the full form, five in the short one."""
    step, edits = (5, 4) if trial.short else (1, 12)
    part = (YEAR_DAYS - WARM_DAYS) // 8
    samples = []
    with (
        mock.patch.object(outcomes, "_KEPT", KEPT_OUTCOMES),
        mock.patch.object(conflict_log, "_KEPT_NUMBER", KEPT_CONFLICTS),
        Wire(seed=trial.seed, rate=0.0, stall_s=1.0, id_source="server") as wire,
    ):
        year = Year(trial, wire)
        with year.engine as engine:
            year.live(WARM_DAYS, step, edits)
            for _ in range(8):
                year.live(part, step, edits)
                samples.append(year.measure())
            early, late = samples[:4], samples[4:]
            stats = engine.stats()
            requests = wire.ask("tallies")["requests"]
    check_flat(early, late)
    then, now = by_name(early, max), by_name(late, max)
    kept = ("records", "aliases", "conflicts", "keys", "index_entries")
    shown = {
        f"{name} after {WARM_DAYS} days / at the end": f"{then[f'rows: {name}']:,.0f} / "
        f"{now[f'rows: {name}']:,.0f}"
        for name in kept
    }
    return {
        "days": year.days,
        "requests": requests,
        "delivered": stats.delivered,
        "conflicts": stats.conflicts,
        "expired": year.expired,
        "outages": year.outages,
        **shown,
        "file MB": f"{then['file MB']:.3f} / {now['file MB']:.3f}",
        "memory grown MB": by_name(late, min)["memory MB"] - by_name(early, min)["memory MB"],
        "objects more": by_name(late, min)["objects"] - by_name(early, min)["objects"],
        "threads": now["threads"],
        "descriptors": now["descriptors"],
    }
