"""The write lock and the delivery lock."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.delivery_lock import (
    FileDeliveryLock,
    LockFile,
    WriteLock,
    is_affected,
)
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item
from tests.typed import present


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_versions_that_can_corrupt_a_wal(version: tuple[int, int, int], affected: bool) -> None:
    assert is_affected(version) is affected


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[list[WriteLock]]:
    made = [WriteLock(tmp_path / "queue.db.lock", 0.05) for _ in range(2)]
    yield made
    for lock in made:
        lock.close()


def test_one_holder_at_a_time(locks: list[WriteLock]) -> None:
    first, second = locks
    with first, pytest.raises(StorageError, match="has been locked for"):
        second.acquire(0.01)
    with second, pytest.raises(StorageError, match="has been locked for"):
        first.acquire(0.01)
    with first:
        pass


def test_threads_with_one_write_lock_exclude_each_other(locks: list[WriteLock]) -> None:
    lock = locks[0]
    errors = []

    def try_it() -> None:
        try:
            lock.acquire(0.01)
        except StorageError as error:
            errors.append(str(error))

    with lock:
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join(10)
    assert "another thread of this program" in errors[0]


def test_an_error_releases_the_lock(locks: list[WriteLock]) -> None:
    first, second = locks
    with pytest.raises(KeyError), first:
        raise KeyError
    with second:
        pass


def test_many_holders_take_turns(locks: list[WriteLock]) -> None:
    turns = []

    def take(lock: WriteLock, name: int) -> None:
        for _ in range(30):
            lock.acquire(10)
            turns.append(name)
            turns.append(name)
            lock.release()

    threads = [threading.Thread(target=take, args=(locks[n % 2], n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(turns) == 240
    assert turns[::2] == turns[1::2]


def test_an_unusable_lock_file_is_an_error(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "none" / "lock", 1.0)
    right = FileDeliveryLock(tmp_path / "none" / "lock")
    with pytest.raises(StorageError, match="check that its directory exists"):
        lock.acquire(1.0)
    with pytest.raises(StorageError, match="check that its directory exists"):
        right.acquire()
    assert not right.held


def test_a_descriptor_is_closed_once_even_if_that_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = LockFile(tmp_path / "lock")
    assert lock.try_acquire()
    close = os.close

    def interrupted(descriptor: int) -> None:
        close(descriptor)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lock.close()
    with (tmp_path / "another").open("w") as another:  # which gets the number of the closed one
        lock.close()
        assert lock.try_acquire()
        lock.close()
        another.write("x")


def test_an_interrupted_thread_releases_all_it_holds(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "lock", 5.0)
    lock.acquire()
    os.close(present(lock._file._descriptor))  # somebody else has closed it
    lock.release_all()
    lock._file._descriptor = None

    def use() -> None:
        lock.acquire()
        lock.release()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_delivery_lock_leaves_no_descriptor_open(tmp_path: Path) -> None:
    first, second = (FileDeliveryLock(tmp_path / "deliver") for _ in range(2))
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert first._file._descriptor is None
    assert second._file._descriptor is None


class Spy:
    """Stands in for the write lock and knows whether it is held."""

    def __init__(self, lock: WriteLock) -> None:
        self.lock = lock
        self.held = False

    def __enter__(self) -> None:
        self.lock.__enter__()
        self.held = True

    def __exit__(self, *error: object) -> None:
        self.held = False
        self.lock.__exit__(*error)

    def __getattr__(self, name: str) -> Callable[..., object]:
        found: Callable[..., object] = getattr(self.lock, name)
        return found


def test_every_write_and_checkpoint_holds_the_write_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = SQLiteStorage(tmp_path / "queue.db")
    spy = Spy(storage._file.write_lock)
    monkeypatch.setattr(storage._file, "write_lock", spy)
    unlocked = []

    class Watched(sqlite3.Connection):
        """Notes each statement of a writer, and its closing, without the write lock."""

        reads_only = False

        def execute(self, text: str, *values: Any) -> sqlite3.Cursor:
            if not (spy.held or self.reads_only):
                unlocked.append(text)
            return super().execute(text, *values)

        def close(self) -> None:
            if not (spy.held or self.reads_only):
                unlocked.append("close")
            super().close()

    def connect(address: str, **options: Any) -> sqlite3.Connection:
        connection = plain(address, factory=Watched, **options)
        connection.reads_only = "mode=ro" in address
        return connection

    plain = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)
    for seq in range(1, 300):
        storage.write(inserting(make_item(seq, data="x" * 20_000)))
    all_rows(storage, ITEMS)
    storage.changes()
    with pytest.raises(ZeroDivisionError):
        storage.write(lambda tx: 1 / 0)
    storage.close()
    assert unlocked == []
    assert not tmp_path.joinpath("queue.db-wal").exists()


@pytest.mark.skipif(os.name != "posix", reason="the lock deletes its file elsewhere")
def test_the_mark_beside_a_store_survives_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells a damaged store from another program's file. It is written and synced once."""
    synced, fsync = [], os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    lock = LockFile(tmp_path / "queue.db.lock")
    assert lock.try_acquire()
    lock.mark()
    lock.mark()
    lock.close()
    assert synced == [each.stat().st_ino for each in (tmp_path / "queue.db.lock", tmp_path)]
