"""What the processes do of which some are frozen. Each function is the whole life of one."""

import threading
from contextlib import suppress

from bytelyst_sync import SQLiteStorage, StorageError, SyncEngine, SyncError
from tests.torture.fork_server import teller
from tests.torture.kill_work import MOST_QUEUED, Settings, made, push_one

BUSY_TIMEOUT_S = 0.5
LOOK_EVERY_S = 0.02
FULL_S = 0.2
"""How long a push waits for a queue that is full: what keeps the file locked is met by pushes."""


def on_busy_file(settings: Settings) -> SyncEngine:
    """An engine that does not wait long for a process which keeps the file locked."""
    storage = SQLiteStorage(str(settings["storage"]), busy_timeout_s=BUSY_TIMEOUT_S)
    return made({**settings, "storage": storage})


def deliver_and_watch(settings: Settings, reported: str) -> None:
    """Delivers when it may; tells each other process that its status names as the deliverer."""
    tell = teller(reported)
    engine = on_busy_file(settings)
    engine.start()
    pause = threading.Event()
    named = None
    while not pause.wait(LOOK_EVERY_S):
        with suppress(SyncError):
            deliverer = engine.status.deliverer
            if deliverer != named:
                named = deliverer
                tell({"deliverer": named})


def push_through(settings: Settings, reported: str, first: int, slot: str) -> None:
    """Pushes as long as it lives; a push that is refused is told, and made again."""
    tell = teller(reported)
    engine = on_busy_file(settings)
    pause = threading.Event()
    number = first
    while True:
        try:
            push_one(engine, number, slot)
        except StorageError as error:
            tell({"refused": str(error)})
            continue
        tell(number)
        number += 1
        with suppress(SyncError):
            patience = FULL_S
            while engine.queue_length > MOST_QUEUED and patience > 0:
                pause.wait(LOOK_EVERY_S)
                patience -= LOOK_EVERY_S
