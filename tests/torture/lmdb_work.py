"""What the processes do that are killed while they grow an LMDB store together."""

import itertools
import os
import threading
from pathlib import Path

from bytelyst_sync import (
    EntityConfig,
    LmdbStorage,
    StorageError,
    SyncEngine,
    create_sync_engine,
)
from tests.torture.fork_server import teller
from tests.torture.kill_work import BOUND_S, Settings, made, push_one

FIRST_MAP_BYTES = 1 << 20
PHOTO_BYTES = 128 << 10
PAUSE_S = 0.002
FAILED, REFUSED = 1, 2
"""How a forked child can end, but well."""
MOST_CHILDREN = 40
CHILDREN_FROM = 500_000
"""The first number of a process's children, counted from its own first one."""


def storage_at(settings: Settings) -> LmdbStorage:
    """The store, with a small map at first."""
    path, durability = str(settings["storage"]), str(settings["durability"])
    return LmdbStorage(path, durability, map_bytes=FIRST_MAP_BYTES)


def photo_engine(settings: Settings) -> SyncEngine:
    """An engine that keeps photos in the store. The others do not know this entity, so its items
    stay queued and the file grows.
    """
    return create_sync_engine(
        base_url=settings["base_url"],
        entities={"photos": EntityConfig("/photos", dedup="none", replica=False)},
        storage=storage_at(settings),
        auto_flush=False,
        probe=None,
        exit_timeout=0,
    )


def grow(settings: Settings, reported: str, first: int, slot: str, target_bytes: int) -> None:
    """Pushes notes, which are delivered, and photos, until the file has ``target_bytes``; forks in
    between. Goes on until it is killed.
    """
    tell = teller(reported)
    path = Path(str(settings["storage"]))
    engine = made({**settings, "storage": storage_at(settings)})
    photos = photo_engine(settings)
    room = threading.Event()

    def push(number: int, own: str) -> None:
        push_one(engine, number, own)
        tell(number)
        if path.stat().st_size < target_bytes:
            photos.push("photos", {"id": f"p{number}", "pixels": "x" * PHOTO_BYTES})
            tell({"photo": number})
        room.wait(PAUSE_S)

    def go(index: int) -> None:
        for step in itertools.count():
            push(first + index + 2 * step, f"{slot}.{index}")

    for index in range(2):
        threading.Thread(target=go, args=(index,), daemon=True).start()
    for number in range(MOST_CHILDREN):
        pid = os.fork()
        if not pid:
            status = FAILED
            try:
                # a record of its own: it may live, and push, longer than the parent that is killed
                push(first + CHILDREN_FROM + number, f"{slot}.{first}.child{number}")
                status = 0
            except StorageError as error:
                # a transaction of the parent lasted for more than two seconds
                if "was in use when this process was forked" in str(error):
                    status = REFUSED
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        tell({"child": status})
        room.wait(0.02)
    threading.Event().wait()


def drain(settings: Settings, reported: str) -> None:
    """Delivers what is queued, photos excepted; tells what is left."""
    tell = teller(reported)
    engine = made({**settings, "storage": storage_at(settings)})
    engine.start()
    result = engine.flush(timeout=BOUND_S)
    info = engine.status
    photos = sum(item.entity == "photos" for item in engine.queue())
    tell([info.queue_length - photos, info.failed, info.conflicts, str(result)])
    engine.close()


def audit(settings: Settings, reported: str) -> None:
    """Tells which photos are queued, and how many the store counts."""
    tell = teller(reported)
    photos = photo_engine(settings)
    for item in photos.queue():
        whole = item.data.get("pixels") == "x" * PHOTO_BYTES
        tell([item.record_id, whole])
    tell({"queued": photos.queue_length})
    photos.close()
