"""A store as one engine uses it: closed for good once that engine has closed it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync.errors import EngineClosedError
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.closable import ClosableStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item
from tests.typed import T


class Slow(SQLiteStorage):
    """Lets go of a use that has begun only when it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        self.begun.set()
        self.go.wait(10)
        return super().write(work, then)

    def read(self, work: Callable[..., object]) -> Any:
        if threading.current_thread() is not threading.main_thread():
            self.begun.set()
            self.go.wait(10)
        return super().read(work)


@pytest.mark.parametrize(
    "use",
    [
        lambda once: once.write(inserting(make_item(1))),
        lambda once: once.read(lambda tx: list(tx.scan(ITEMS))),
    ],
    ids=["write", "read"],
)
def test_a_call_that_runs_during_close_closes_the_store_again(
    tmp_path: Path, use: Callable[..., list[Any] | None]
) -> None:
    storage = Slow(tmp_path / "queue.db")
    once = ClosableStorage(storage)
    once.read(lambda tx: None)
    thread = threading.Thread(target=use, args=(once,))
    thread.start()
    assert storage.begun.wait(10)
    once.close()
    storage.go.set()
    thread.join(10)
    assert storage._file.database is None
    with pytest.raises(EngineClosedError):
        use(once)


def test_a_write_that_runs_during_close_is_committed(tmp_path: Path) -> None:
    storage = Slow(tmp_path / "queue.db")
    once = ClosableStorage(storage)
    once.read(lambda tx: None)
    thread = threading.Thread(target=once.write, args=(inserting(make_item(1)),))
    thread.start()
    assert storage.begun.wait(10)
    once.close()
    storage.go.set()
    thread.join(10)
    assert len(all_rows(SQLiteStorage(storage.path), ITEMS)) == 1
