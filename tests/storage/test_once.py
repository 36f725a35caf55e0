"""A store as one engine uses it: closed for good once that engine has closed it."""

import threading

import pytest

from bytelyst_sync.errors import EngineClosedError
from bytelyst_sync.storage.once import StorageOnce
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item


class Slow(SQLiteStorage):
    """Lets go of a use that has begun only when it is told to."""

    def __init__(self, path):
        super().__init__(path)
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, work, then=None):
        self.begun.set()
        self.go.wait(10)
        return super().write(work, then)

    def read(self, work):
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
def test_what_is_under_way_at_the_end_leaves_nothing_open(tmp_path, use):
    storage = Slow(tmp_path / "queue.db")
    once = StorageOnce(storage)
    once.read(lambda tx: None)
    thread = threading.Thread(target=use, args=(once,))
    thread.start()
    assert storage.begun.wait(10)
    once.close()
    storage.go.set()
    thread.join(10)
    assert storage._database is None
    with pytest.raises(EngineClosedError):
        use(once)


def test_what_is_under_way_at_the_end_is_done(tmp_path):
    storage = Slow(tmp_path / "queue.db")
    once = StorageOnce(storage)
    once.read(lambda tx: None)
    thread = threading.Thread(target=once.write, args=(inserting(make_item(1)),))
    thread.start()
    assert storage.begun.wait(10)
    once.close()
    storage.go.set()
    thread.join(10)
    assert len(all_rows(SQLiteStorage(storage.path), ITEMS)) == 1
