"""A program whose end is timed: ``exit_program.py URL QUEUE EXIT_TIMEOUT BUSY WAY``.

BUSY says what is under way when it ends, WAY how it ends. It says ``bye`` as its last act.
"""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from bytelyst_sync import EngineClosedError, SyncEngine, create_sync_engine

FOREVER_S = 600.0
Settings = dict[str, Any]


def in_thread(function: Callable[..., object], *arguments: object) -> None:
    """As a daemon, like any other that a program may have left."""

    def run() -> None:
        with suppress(EngineClosedError):
            function(*arguments)

    threading.Thread(target=run, daemon=True).start()


def push_on(engine: SyncEngine) -> None:
    """Pushes to the end and beyond."""
    number = 0
    while True:
        engine.push("notes", {"id": f"on{number % 9}", "n": number})
        number += 1


def flush_on(engine: SyncEngine) -> None:
    """Flushes, all the time."""
    while True:
        engine.flush()


def hang(*_: object) -> bool:
    """What a user's function may do."""
    time.sleep(FOREVER_S)
    return True


def begin(busy: str, settings: Settings) -> list[SyncEngine]:
    """Engines at work."""
    additions: dict[str, Settings] = {
        "workers": {"workers": 4},
        "auth": {"auth": hang},
        "probe": {"probe": hang, "probe_interval": 0.01},
        "pulls": {"pull_interval": 0.01},
    }
    engines = [create_sync_engine(**{**settings, **additions.get(busy, {})})]
    if busy == "engines":
        place = settings["storage"]
        more = [{**settings, "storage": f"{place}{n}"} for n in range(8)]
        engines += [create_sync_engine(**each) for each in more]
    for engine in engines:
        if busy == "callback":
            engine.on_status_change(hang)
            engine.on_change(hang)
        engine.push_many("notes", [{"id": f"{number}"} for number in range(20)])
        engine.flush(timeout=0.05)
    if busy == "pull":
        in_thread(engines[0].pull)
    if busy == "push":
        in_thread(push_on, engines[0])
    if busy == "flush":
        in_thread(flush_on, engines[0])
    if busy == "close":
        in_thread(engines[0].close, FOREVER_S)
    return engines


def main() -> None:
    """Reads the arguments."""
    url, queue, exit_timeout, busy, way = sys.argv[1:]
    # Python 3.12 warns of what is tried here
    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
    settings: Settings = {
        "base_url": url,
        "storage": queue,
        "entities": {"notes": "/notes"},
        "probe": None,
        "exit_timeout": float(exit_timeout),
    }
    engines = begin(busy, settings)
    threading.Event().wait(0.05)
    if way == "fork" and not os.fork():
        with suppress(EngineClosedError):
            engines[0].push("notes", {"id": "child"})
    if way == "forget":
        engines.clear()
    sys.stdout.write("bye\n")
    sys.stdout.flush()
    if way == "exit":
        sys.exit(3)
    if way == "error":
        raise KeyError("the program's own")


if __name__ == "__main__":
    main()
