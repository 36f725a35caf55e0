"""Pushes from several threads, and tells of each push that returned.

``power_writer.py URL QUEUE THREADS DURABILITY DELIVER``: thread *t* pushes the events t,
t + THREADS, t + 2 · THREADS, … of uneven size. It ends by being killed.
"""

import os
import random
import sys
import threading

from bytelyst_sync import EntityConfig, create_sync_engine

ENTITIES = {"events": EntityConfig("/events", dedup="none")}


def push_for_ever(engine, number, step):
    """Every event is told of once its push has returned."""
    chance = random.Random(number)
    while True:
        text = "x" * chance.choice((10, 300, 3000))
        engine.push("events", {"id": str(number), "text": text})
        os.write(1, b"%d\n" % number)
        number += step


def main():
    """Reads the arguments."""
    url, path, threads, durability, deliver = sys.argv[1:]
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
