"""What the write guard costs: pushes per second with it and without, and the ratio of the two.

SQLite before 3.51.3 can corrupt a WAL database that two connections write to at once, so every
write and checkpoint is made under a lock file (``bytelyst_sync/storage/guard.py``). "Without" is
with a lock file that is never locked, which is safe here, where one thread of one process pushes.
Both push in short turns in one process; only the ratio means anything, because the machine's speed
is in both.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from bytelyst_sync import SQLiteStorage, SyncEngine, create_sync_engine
from bytelyst_sync.storage.guard import LockFile, is_affected

ROUNDS = 9
TURNS = 10
PUSHES = {"full": 20, "normal": 100}
"""In a turn."""


class Unlocked(LockFile):
    """A lock file that is never locked."""

    def try_acquire(self) -> bool:
        """Locks nothing."""
        return True

    def release(self) -> None:
        """Unlocks nothing."""


def opened(path: Path, durability: str, *, guarded: bool) -> SyncEngine:
    """An engine that only pushes."""
    storage = SQLiteStorage(path, durability=durability)
    if not guarded:
        storage._guard._file = Unlocked(path.with_name(f"{path.name}.lock"))  # noqa: SLF001
    return create_sync_engine(
        base_url="http://127.0.0.1:9",
        entities={"notes": "/notes"},
        storage=storage,
        auto_flush=False,
    )


def turn(engine: SyncEngine, first: int, count: int) -> float:
    """Seconds that so many pushes take."""
    began = time.perf_counter()
    for number in range(first, first + count):
        engine.push("notes", {"id": str(number), "number": number, "text": "x" * 160})
    return time.perf_counter() - began


def seconds_each(folder: Path, durability: str) -> tuple[float, float]:
    """Seconds per push with the guard, and without, in one round."""
    count = PUSHES[durability]
    names = f"{time.monotonic_ns()}-with.db", f"{time.monotonic_ns()}-without.db"
    with (
        opened(folder / names[0], durability, guarded=True) as guarded,
        opened(folder / names[1], durability, guarded=False) as free,
    ):
        spent: dict[SyncEngine, list[float]] = {guarded: [], free: []}
        for number in range(-1, TURNS):
            pair = (guarded, free) if number % 2 else (free, guarded)
            for engine in pair:
                took = turn(engine, number * count, count)
                if number >= 0:  # the first turn opens the file
                    spent[engine].append(took / count)
        return statistics.median(spent[guarded]), statistics.median(spent[free])


def main() -> None:
    """Prints one line per durability."""
    told = "needs the guard" if is_affected(sqlite3.sqlite_version_info) else "is mended"
    print(f"{'guard':<12}{'with':>10}{'without':>10}{'median':>8}{'least':>8}{'most':>8}", end="")
    print(f"   (pushes/s with ÷ without; SQLite {sqlite3.sqlite_version} {told})")
    with tempfile.TemporaryDirectory() as name:
        for durability in PUSHES:
            rounds = [seconds_each(Path(name), durability) for _ in range(ROUNDS)]
            ratios = [free / guarded for guarded, free in rounds]
            rates = [1 / statistics.median(column) for column in zip(*rounds, strict=True)]
            figures = (statistics.median(ratios), min(ratios), max(ratios))
            print(
                f"{durability:<12}"
                + "".join(f"{each:8.0f}/s" for each in rates)
                + "".join(f"{each:8.2f}" for each in figures)
            )


if __name__ == "__main__":
    main()
