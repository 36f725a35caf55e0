"""A push that is refused because the queue or the disk is full starts the delivery of what an
earlier run of the program left there: nothing else would make room.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import QueueFullError, StorageFullError, SyncEngine
from bytelyst_sync.storage import MemoryStorage
from bytelyst_sync.testing import SyncServer
from tests.typed import Eventually


class FullDisk(MemoryStorage):
    """A store that has no room for another row while ``full``."""

    full = False

    def write(self, work: Callable[[Any], Any], then: Callable[[Any], None] | None = None) -> Any:
        def checked(tx: Any) -> Any:
            before = tx.last_number()
            result = work(tx)
            if self.full and tx.last_number() > before:
                raise StorageFullError("the disk is full")
            return result

        return super().write(checked, then)


def push_one(engine: SyncEngine) -> None:
    engine.push("notes", {"id": "2"})


def push_many(engine: SyncEngine) -> None:
    engine.push_many("notes", [{"id": "2"}])


def create(engine: SyncEngine) -> None:
    engine.create("notes", {"id": "2"})


def push_in_transaction(engine: SyncEngine) -> None:
    with engine.transaction():
        engine.push("notes", {"id": "2"})


@pytest.mark.parametrize("push", [push_one, push_many, create, push_in_transaction])
def test_a_queue_that_was_full_at_the_start(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    tmp_path: Path,
    eventually: Eventually,
    push: Callable[[SyncEngine], None],
) -> None:
    path = tmp_path / "queue.db"
    with make(storage=path, auto_flush=False, exit_timeout=0) as earlier:
        earlier.push("notes", {"id": "1"})
    engine = make(storage=path, max_queue_length=1)
    with pytest.raises(QueueFullError):
        push(engine)
    eventually(lambda: "1" in server.records("notes") and engine.queue_length == 0)
    push(engine)
    eventually(lambda: "2" in server.records("notes"))


@pytest.mark.parametrize("push", [push_one, push_many, create, push_in_transaction])
def test_a_disk_that_was_full_at_the_start(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    eventually: Eventually,
    push: Callable[[SyncEngine], None],
) -> None:
    storage = FullDisk()
    make(storage=storage, auto_flush=False).push("notes", {"id": "1"})
    storage.full = True
    with pytest.raises(StorageFullError):
        push(make(storage=storage))
    eventually(lambda: server.requests)
    storage.full = False
    eventually(lambda: "1" in server.records("notes"))
