"""Nothing is left behind: of engines that were closed, and of days that went by."""

import ctypes
import gc
import os
import random
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from bytelyst_sync import EntityConfig, RecordChange, SyncEngine, SyncError, create_sync_engine
from bytelyst_sync.model import OperationName
from bytelyst_sync.testing import ManualClock
from tests.torture.harness import Trial, check, scenario
from tests.torture.process_work import descriptors
from tests.torture.wire import Wire

BOUND_S = 10.0
WARM = 18
"""Engines before the counting begins: what is imported and cached once is there then."""
MINUTE_S, HOUR_S = 60, 3600
STEP_S = 15
LOOKS = 9
RATE = 0.03
"""Of requests that meet a fault."""
MOST_GROWTH_MB = 2.0
"""Of memory: what an allocator may hold back. A leak of one small object a cycle is more."""
MOST_OBJECTS = 300
"""More than come and go; one cycle, and one engine, has a hundred that could stay."""
NEXT = threading.Event()


def no_proc() -> str | None:
    """Why nothing can be counted here."""
    return None if Path("/proc/self/fd").is_dir() else "there is no /proc/self/fd to count by"


def threads() -> list[str]:
    """The threads that the system knows of in this process, by name."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            names.append((task / "comm").read_text().strip())
    return sorted(names)


def left_over(before: list[str], now: list[str]) -> list[str]:
    """What is there and was not before."""
    rest = list(now)
    for each in before:
        with suppress(ValueError):
            rest.remove(each)
    return sorted(rest)


def memory_mb() -> float:
    """What the process has in memory, after all that can be given back was."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def objects() -> int:
    """How many objects there are that can hold others."""
    gc.collect()
    return len(gc.get_objects())


def engines_alive() -> int:
    """Engines that nothing has let go of."""
    gc.collect()
    return sum(isinstance(each, SyncEngine) for each in gc.get_objects())


class Lives:
    """Engines that are opened, used in one of many ways, and closed."""

    def __init__(self, trial: Trial, wire: Wire) -> None:
        self._chance = trial.random
        self._folder = trial.folder
        self._wire = wire
        self._number = 0
        self.kinds = (
            *(self._nothing, self._pushes, self._delivers, self._pulls, self._offline),
            *(self._in_flight, self._raises, self._listens, self._iterates),
        )

    def live(self) -> None:
        """One more."""
        self._number += 1
        kind = self.kinds[self._number % len(self.kinds)]
        chance = self._chance
        place = chance.choice((":memory:", self._folder / "one.db", self._folder / "other.db"))
        port = 9 if kind == self._offline else self._wire.port
        engine = create_sync_engine(
            base_url=f"http://127.0.0.1:{port}",
            entities={
                "notes": "/notes",
                "events": EntityConfig("/events", dedup="none", replica=False),
            },
            storage=place,
            workers=chance.choice((1, 8)),
            durability="normal",
            timeout=(1.0, 1.0),
            probe_interval=0.05,
            retry_delay=0.01,
            exit_timeout=0,
        )
        try:
            kind(engine)
        finally:
            check(engine.close(timeout=BOUND_S), f"{kind.__name__}: close ends the worker")

    def _nothing(self, engine: SyncEngine) -> None:
        if self._chance.random() < 0.5:
            engine.start()

    def _pushes(self, engine: SyncEngine) -> None:
        for number in range(5):
            engine.push("notes", {"id": str(number), "n": self._number})

    def _delivers(self, engine: SyncEngine) -> None:
        engine.push_many("events", [{"id": f"{self._number}-{n}"} for n in range(20)])
        check(engine.flush(timeout=BOUND_S).remaining == 0, "it delivers")

    def _pulls(self, engine: SyncEngine) -> None:
        check(engine.full_sync(timeout=BOUND_S).errors == 0, "it pulls")

    def _offline(self, engine: SyncEngine) -> None:
        self._pushes(engine)
        engine.flush(timeout=BOUND_S)

    def _in_flight(self, engine: SyncEngine) -> None:
        engine.push_many("events", [{"id": f"{self._number}-{n}"} for n in range(50)])
        NEXT.wait(self._chance.random() * 0.02)

    def _raises(self, engine: SyncEngine) -> None:
        with suppress(SyncError), engine.transaction():
            engine.push("notes", {"id": "x"})
            engine.push("unknown", {"id": "x"})

    def _listens(self, engine: SyncEngine) -> None:
        received: list[object] = []
        engine.on_status_change(received.append)

        def hear(change: RecordChange) -> None:
            received.append(change)
            _ = engine.status

        engine.on_change(hear)
        engine.on_failure(received.append)()
        self._delivers(engine)

    def _iterates(self, engine: SyncEngine) -> None:
        self._pushes(engine)
        for each in (engine.records("notes"), engine.queue()):
            next(each, None)


@scenario(
    "leaks",
    "engines that are opened and closed leave no thread, socket or file descriptor",
    missing=no_proc,
)
def engines_leave_nothing(trial: Trial) -> dict[str, object]:
    """Used in many ways, and closed in the midst of it."""
    count = trial.rounds(36, 1000)
    with Wire(seed=trial.seed, rate=0.0, stall_s=1.0) as wire:
        lives = Lives(trial, wire)
        for _ in range(WARM):
            lives.live()
        files, tasks = descriptors(), threads()
        alive = engines_alive()
        began, known = 0.0, 0
        for number in range(count):
            if number == count // 3:
                began, known = memory_mb(), objects()
            lives.live()
        deadline = time.monotonic() + BOUND_S
        while (left_over(files, descriptors()) or left_over(tasks, threads())) and (
            time.monotonic() < deadline
        ):
            NEXT.wait(0.02)
        left_files, left_tasks = left_over(files, descriptors()), left_over(tasks, threads())
        still = engines_alive()
        grown, more = memory_mb() - began, objects() - known
    check(not left_tasks, f"no thread is left: {left_tasks}")
    check(not left_files, f"no socket and no file is left open: {left_files}")
    check(still <= alive, f"a closed engine can be forgotten: {still} are in memory")
    check(more <= MOST_OBJECTS, f"nothing gathers in memory: {more} objects more")
    check(grown <= MOST_GROWTH_MB, f"memory stays flat: {grown:.1f} MB more")
    return {
        "engines": count,
        "threads left": len(left_tasks),
        "sockets left": sum(each.startswith("socket:") for each in left_files),
        "descriptors left": len(left_files),
        "engines in memory": still,
        "memory grown MB": grown,
        "objects more": more,
    }


class Day:
    """One engine, under a clock that is moved on by a quarter of a minute at a time."""

    def __init__(self, trial: Trial, wire: Wire) -> None:
        self.chance = random.Random(trial.seed)
        self.wire = wire
        self.clock = ManualClock()
        self.path = trial.folder / "queue.db"
        self.changes = self.outages = self.cycles = 0
        self.engine = create_sync_engine(
            base_url=f"http://127.0.0.1:{wire.port}",
            entities={
                "notes": EntityConfig("/notes", conflict="merge"),
                "events": EntityConfig("/events", dedup="none", replica=False),
            },
            storage=self.path,
            clock=self.clock,
            durability="normal",
            pull_interval=MINUTE_S,
            probe_interval=STEP_S,
            timeout=(1.0, 0.3),
            max_retry_delay=MINUTE_S,
            max_retries=1000,
            exit_timeout=0,
        )
        self.engine.on_change(self._hear)

    def _hear(self, _: object) -> None:
        self.changes += 1

    def live(self, hours: int) -> None:
        """So many hours."""
        for cycle in range(hours * HOUR_S // STEP_S):
            self.cycles += 1
            if cycle % 240 == 100:
                self.wire.ask("refuse")
                self.outages += 1
            elif cycle % 240 == 140:
                self.wire.ask("admit")
            if cycle % 4 == 0:
                self._edit()
            self.clock.advance(STEP_S)
            self.engine.flush(timeout=BOUND_S)

    def at_rest(self) -> tuple[int, float]:
        """Objects and megabytes when all is sent and pulled: what is on its way takes some, too.

        The least of several looks: a connection, or the last error, is there now and then.
        """
        self.wire.ask("rate", 0.0)
        self.clock.advance(HOUR_S)
        looks = []
        for _ in range(LOOKS):
            result = self.engine.full_sync(timeout=BOUND_S)
            check(result.remaining == 0, f"all is sent: {result}, {self.engine.status}")
            self.clock.advance(STEP_S)
            looks.append((objects(), memory_mb()))
        self.wire.ask("rate", RATE)
        return min(each for each, _ in looks), min(each for _, each in looks)

    def _edit(self) -> None:
        """A person at work, once a minute; another one elsewhere, now and then."""
        engine, key = self.engine, str(self.chance.randrange(40))
        engine.push("events", {"n": self.cycles})
        operation: OperationName = "create" if engine.get("notes", key) is None else "update"
        engine.push("notes", {"id": key, "n": self.cycles}, operation)
        if self.chance.random() < 0.1:
            engine.delete("notes", key)
        if self.chance.random() < 0.2:
            self.wire.ask("edit", ["notes", str(self.chance.randrange(40)), self.cycles])
        sum(1 for _ in engine.records("notes"))
        _ = engine.status, list(engine.conflicts()), engine.stats()


@scenario("leaks", "a day's worth of cycles leaves memory and the file flat", missing=no_proc)
def a_day_of_cycles(trial: Trial) -> dict[str, object]:
    """With edits, pulls, probes, conflicts, outages and faults; the first hours are its warming.

    A leak shows in both periods after it; a module that the first fault of a kind imports, in one.
    """
    warm, hours = trial.rounds(3, 6), trial.rounds(1, 18)
    with Wire(seed=trial.seed, rate=RATE, stall_s=0.4) as wire:
        day = Day(trial, wire)
        with day.engine as engine:
            day.live(warm)
            size = day.path.stat().st_size
            looks = [day.at_rest()]
            for _ in range(2):
                day.live(hours)
                looks.append(day.at_rest())
            more = min(after[0] - before[0] for before, after in pairwise(looks))
            grown = min(after[1] - before[1] for before, after in pairwise(looks))
            file_grown = day.path.stat().st_size - size
            stats = engine.stats()
    figures: dict[str, object] = {
        "hours": warm + 2 * hours,
        "cycles": day.cycles,
        "requests": stats.requests,
        "delivered": stats.delivered,
        "pulled": stats.pulled,
        "conflicts": stats.conflicts,
        "retried": stats.retried,
        "outages": day.outages,
        "memory grown MB": grown,
        "objects more": more,
        "file grown MB": file_grown / 1e6,
    }
    check(grown <= MOST_GROWTH_MB, f"memory stays flat: {figures}")
    check(more <= MOST_OBJECTS, f"nothing gathers in memory: {figures}")
    return figures
