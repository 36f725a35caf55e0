"""Pushes from several threads, and tells of each push that returned.

``power_writer.py URL QUEUE THREADS DURABILITY DELIVER``: thread *t* pushes the events t,
t + THREADS, t + 2 · THREADS, … of uneven size. It ends by being killed.
"""

import os
import random
import sys
import threading
from typing import Any

from bytelyst_sync import EntityConfig, SyncEngine, create_sync_engine
from bytelyst_sync.storage.lmdb import format as lmdb_format

ENTITIES = {"events": EntityConfig("/events", dedup="none")}


def push_for_ever(engine: SyncEngine, number: int, step: int) -> None:
    """Every event is told of once its push has returned."""
    chance = random.Random(number)
    while True:
        text = "x" * chance.choice((10, 300, 3000))
        engine.push("events", {"id": str(number), "text": text})
        os.write(1, b"%d\n" % number)
        number += step


def main() -> None:
    """Reads the arguments."""
    url, path, threads, _, deliver = sys.argv[1:]
    durability: Any = sys.argv[4]
    # who opens the file after the power loss is of another boot
    lmdb_format.BOOT += 1  # type: ignore[attr-defined]  # it imports that
    engine = create_sync_engine(
        base_url=url,
        entities=ENTITIES,
        storage=path,
        durability=durability,
        auto_flush=deliver == "deliver",
        probe=None,
    )
    step = int(threads)
    for thread in range(step):
        arguments = (engine, thread, step)
        threading.Thread(target=push_for_ever, args=arguments, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
