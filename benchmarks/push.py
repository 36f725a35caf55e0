"""What a push costs beside a raw ``sqlite3`` insert and commit: median, least and most of rounds.

Both run in turns in one process, on 200-byte objects; only the ratio means anything, because the
machine's speed is in both.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from bytelyst_sync import EntityConfig, create_sync_engine

ROUNDS = 5
PUSHES = {"full": 200, "normal": 1000}


def raw(folder: Path, durability: str, count: int) -> float:
    """Seconds per insert and commit."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".db") as file:
        connection = sqlite3.connect(file.name, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={durability}")
        connection.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, data TEXT)")
        began = time.perf_counter()
        for _ in range(count):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO queue (data) VALUES (?)", ("x" * 200,))
            connection.execute("COMMIT")
        spent = time.perf_counter() - began
        connection.close()
    return spent / count


def pushed(folder: Path, durability: str, count: int, *, replica: bool) -> float:
    """Seconds per push."""
    engine = create_sync_engine(
        base_url="http://127.0.0.1:9",
        entities={"notes": EntityConfig("/notes", replica=replica)},
        storage=folder / f"{time.monotonic_ns()}.db",
        durability=durability,
        auto_flush=False,
    )
    with engine:
        engine.push("notes", {"id": "first"})
        began = time.perf_counter()
        for number in range(count):
            engine.push("notes", {"id": str(number), "number": number, "text": "x" * 160})
        return (time.perf_counter() - began) / count


def main() -> None:
    """Prints one line per durability and kind of entity."""
    print(f"{'push':<32}{'median':>8}{'least':>8}{'most':>8}   (× raw sqlite3, same round)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for durability, count in PUSHES.items():
            for replica in (True, False):
                ratios = [
                    pushed(folder, durability, count, replica=replica)
                    / raw(folder, durability, count)
                    for _ in range(ROUNDS)
                ]
                label = f"{durability}, {'with' if replica else 'without'} local view"
                figures = (statistics.median(ratios), min(ratios), max(ratios))
                print(f"{label:<32}" + "".join(f"{each:8.2f}" for each in figures))


if __name__ == "__main__":
    main()
