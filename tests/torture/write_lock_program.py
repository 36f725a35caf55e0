"""Processes that push to one queue at once, with as many checkpoints as can be.

``write_lock_program.py QUEUE PROCESSES THREADS PUSHES guarded|unguarded``: each thread of each
forked process pushes its events. Prints the number of acknowledged ones.
"""

import os
import sys
import threading

from bytelyst_sync import EntityConfig, SyncEngine, create_sync_engine
from bytelyst_sync.storage.delivery_lock import LockFile
from bytelyst_sync.storage.sqlite import opening
from bytelyst_sync.storage.sqlite.wal_file import WAL_PAGES

PAGES_TO_CHECKPOINT = 8
ENTITIES = {"events": EntityConfig("/events", dedup="none")}


def push_all(path: str, process: int, threads: int, pushes: int) -> None:
    """With an engine that is closed and opened again: a close checkpoints too."""

    def push(engine: SyncEngine, thread: int, half: int) -> None:
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
    assert WAL_PAGES > PAGES_TO_CHECKPOINT
    opening.WAL_PAGES = PAGES_TO_CHECKPOINT  # type: ignore[attr-defined]  # it imports that
    if how == "unguarded":
        LockFile.try_acquire = lambda self: True  # type: ignore[method-assign]  # for everybody
        LockFile.release = lambda self: None  # type: ignore[method-assign]  # the same
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
