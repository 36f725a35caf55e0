"""Processes that push to one queue at once, with as many checkpoints as can be.

``guard_program.py QUEUE PROCESSES THREADS PUSHES guarded|unguarded``: each thread of each forked
process pushes its events. Prints the number of acknowledged ones.
"""

import os
import sys
import threading

from bytelyst_sync import EntityConfig, create_sync_engine
from bytelyst_sync.storage import sqlite_file
from bytelyst_sync.storage.guard import LockFile

PAGES_TO_CHECKPOINT = 8
ENTITIES = {"events": EntityConfig("/events", dedup="none")}


def push_all(path: str, process: int, threads: int, pushes: int) -> None:
    """With an engine that is closed and opened again: a close checkpoints too."""

    def push(engine, thread, half):
        for number in range(half * pushes // 2, (half + 1) * pushes // 2):
            engine.push("events", {"id": f"{process}-{thread}-{number}", "text": "x" * 700})

    for half in (0, 1):
        with create_sync_engine(
            base_url="http://127.0.0.1:9", entities=ENTITIES, storage=path, auto_flush=False
        ) as engine:
            pool = [
                threading.Thread(target=push, args=(engine, number, half))
                for number in range(threads)
            ]
            for thread in pool:
                thread.start()
            for thread in pool:
                thread.join()


def main() -> None:
    """Reads the arguments."""
    path, processes, threads, pushes, how = sys.argv[1:]
    assert sqlite_file.LOG_PAGES > PAGES_TO_CHECKPOINT
    sqlite_file.LOG_PAGES = PAGES_TO_CHECKPOINT
    if how == "unguarded":
        LockFile.try_acquire = lambda _: True
        LockFile.release = lambda _: None
    children = []
    for process in range(int(processes)):
        child = os.fork()
        if not child:
            push_all(path, process, int(threads), int(pushes))
            os._exit(0)
        children.append(child)
    failed = [child for child in children if os.waitpid(child, 0)[1]]
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
