"""What the write guard costs: a push with it, and without.

SQLite before 3.51.3 can corrupt a WAL database that two connections write to at once. So every
write and checkpoint is made under a lock file (``storage/delivery_lock.py``). "Without" is
with a lock file that is never locked, which is safe here, where one thread of one process pushes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import OURS, Bench, main, record
from benchmarks.peers import Durability, Keep, engine, keeper, seconds_each
from bytelyst_sync import SQLiteStorage
from bytelyst_sync.storage.delivery_lock import LockFile

PUSHES: dict[Durability, int] = {"full": 20, "normal": 100}
"""In a turn."""


class Unlocked(LockFile):
    """A lock file that is never locked."""

    def try_acquire(self) -> bool:
        """Locks nothing."""
        return True

    def release(self) -> None:
        """Unlocks nothing."""


def unguarded(path: Path, durability: Durability) -> Keep:
    """An engine whose write guard is a pretence."""
    storage = SQLiteStorage(path, durability=durability)
    storage._file.write_lock._file = Unlocked(path.with_name(f"{path.name}.lock"))  # noqa: SLF001
    made = engine(storage, durability)
    return lambda number: made.push("notes", record(number))


def run(bench: Bench) -> None:
    """Once for each durability."""
    for durability, count in PUSHES.items():
        numbers = itertools.count(step=count)

        def contender(
            keep: Keep, numbers: itertools.count[int] = numbers, count: int = count
        ) -> Callable[[], float]:
            def turn() -> float:
                first = next(numbers)
                return seconds_each(keep, range(first, first + count)) * 1e6

            return turn

        race = bench.race(
            f"push, {durability}, with the write guard",
            {
                OURS: contender(keeper(bench.path(), durability)),
                "without": contender(unguarded(bench.path(), durability)),
            },
            unit="µs",
            rounds=61,
        )
        race.compare("without")


if __name__ == "__main__":
    main("guard", run)
