"""What the processes do that are killed. Each function is the whole life of one."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from bytelyst_sync import EntityConfig, SyncEngine, create_sync_engine
from bytelyst_sync.model import OperationName
from tests.torture.fork_server import teller
from tests.typed import present

BOUND_S = 30.0
MOST_QUEUED = 60
ENTITIES = {
    "notes": "/notes",
    "events": EntityConfig("/events", dedup="none"),
    "shared": EntityConfig("/shared", conflict="manual"),
    "pages": EntityConfig("/pages", page_size=10),
}
Settings = dict[str, Any]


def made(settings: Settings) -> SyncEngine:
    """An engine on the one file."""
    return create_sync_engine(
        **{
            "entities": ENTITIES,
            "probe": None,
            "retry_delay": 0.05,
            "max_retry_delay": 0.5,
            "exit_timeout": 0,
            **settings,
        }
    )


def push_one(engine: SyncEngine, number: int, slot: object, pad: str = "") -> None:
    """An edit of one of a few notes, or an event of its own."""
    field: Settings = {f"f{number}": number, **({"pad": pad} if pad else {})}
    if number % 4 == 0:
        engine.push("events", {"id": f"e{number}", **field})
    else:
        key = f"n{slot}-{number % 5}"
        operation: OperationName = "create" if engine.get("notes", key) is None else "update"
        engine.push("notes", {"id": key, **field}, operation)


def push(settings: Settings, reported: str, first: int, slot: str, threads: int = 2) -> None:
    """Pushes, each thread to its own records, and delivers if it is to, until it is killed."""
    tell = teller(reported)
    engine = made(settings)
    room = threading.Event()

    def go(number: int, own: str) -> None:
        while True:
            push_one(engine, number, own)
            tell(number)
            number += threads
            while engine.queue_length > MOST_QUEUED and settings.get("auto_flush", True):
                room.wait(0.005)

    for other in range(1, threads):
        work = (first + other, f"{slot}.{other}")
        threading.Thread(target=go, args=work, daemon=True).start()
    go(first, f"{slot}.0")


def checkpoint(settings: Settings, reported: str, first: int, slot: str, seed: int) -> None:
    """Big pushes and closed engines, so that the log is written back all the time."""
    tell = teller(reported)
    chance = random.Random(seed)
    number = first
    while True:
        engine = made(settings)
        for _ in range(chance.randrange(1, 12)):
            push_one(engine, number, slot, "x" * chance.randrange(200_000))
            tell(number)
            number += 1
        engine.close()


def audit(settings: Settings, reported: str) -> None:
    """Tells what is queued, and takes it all back."""
    tell = teller(reported)
    engine = made({**settings, "auto_flush": False})
    for item in engine.queue():
        tell([name for name in item.data if name[0] == "f"])
    engine.clear_queue()
    engine.close()


def pull(settings: Settings, reported: str, first: int, slot: str) -> None:
    """Pulls page by page, over and over, and pushes in between."""
    tell = teller(reported)
    engine = made(settings)
    number = first
    while True:
        engine.pull("pages")
        push_one(engine, number, slot)
        tell(number)
        number += 1


def view(settings: Settings, reported: str) -> None:
    """Pulls once and tells all that is known then."""
    tell = teller(reported)
    engine = made({**settings, "auto_flush": False})
    result = engine.pull("pages", timeout=BOUND_S)
    tell(result.success)
    for record in engine.records("pages"):
        tell(record)
    engine.close()


def settle(engine: SyncEngine, choose: Callable[[], float]) -> int:
    """Settles what is parked, so that no edit is given up; returns how many."""
    count = 0
    for conflict in list(engine.conflicts()):
        whole = {**(conflict.remote or {}), **present(conflict.local)}
        engine.resolve(conflict, "local" if choose() < 0.5 else whole)
        count += 1
    return count


def resolve(settings: Settings, reported: str, first: int, keys: list[str], seed: int) -> None:
    """Edits what others edit too, and settles the conflicts."""
    tell = teller(reported)
    chance = random.Random(seed)
    engine = made(settings)
    number = first
    while True:
        for key in keys:
            engine.push("shared", {"id": key, f"f{number}": number}, "update")
            tell(number)
            number += 1
        engine.flush(timeout=BOUND_S)
        settle(engine, chance.random)
        engine.flush(timeout=BOUND_S)
        engine.pull("shared")


def drain(settings: Settings, reported: str, pause_s: float = 0.0) -> None:
    """Delivers what is queued and settles what is parked; tells how that went.

    ``pause_s`` is what the server may have asked for, which a flush does not wait out.
    """
    tell = teller(reported)
    engine = made({**settings, "auto_flush": True})
    engine.start()
    result = engine.flush(timeout=BOUND_S)
    deadline, room = time.monotonic() + pause_s, threading.Event()
    while engine.queue_length and time.monotonic() < deadline:
        room.wait(0.01)
        result = engine.flush(timeout=BOUND_S)
    resolved = 0
    while (now := settle(engine, lambda: 0.0)) and resolved < 1000:
        resolved += now
        engine.flush(timeout=BOUND_S)
    info = engine.status
    tell([result.duration, info.queue_length, info.failed, info.conflicts, resolved, str(info)])
    engine.close()
