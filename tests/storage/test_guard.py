"""The write guard and the lock files of the right to deliver."""

import os
import sqlite3
import threading

import pytest

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.guard import (
    FileDeliveryRight,
    LockFile,
    WriteGuard,
    is_affected,
)
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item


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
def test_versions_that_can_corrupt_a_wal(version, affected):
    assert is_affected(version) is affected


@pytest.fixture
def guards(tmp_path):
    made = [WriteGuard(tmp_path / "queue.db.lock", 0.05) for _ in range(2)]
    yield made
    for guard in made:
        guard.close()


def test_one_holder_at_a_time(guards):
    first, second = guards
    with first, pytest.raises(StorageError, match="another program"):
        second.acquire(0.01)
    with second, pytest.raises(StorageError, match="another program"):
        first.acquire(0.01)
    with first:
        pass


def test_threads_of_one_guard_exclude_each_other(guards):
    guard = guards[0]
    errors = []

    def try_it():
        try:
            guard.acquire(0.01)
        except StorageError as error:
            errors.append(str(error))

    with guard:
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join(10)
    assert "another thread of this program" in errors[0]


def test_an_error_frees_it(guards):
    first, second = guards
    with pytest.raises(KeyError), first:
        raise KeyError
    with second:
        pass


def test_many_holders_take_turns(guards):
    turns = []

    def take(guard, name):
        for _ in range(30):
            guard.acquire(10)
            turns.append(name)
            turns.append(name)
            guard.release()

    threads = [threading.Thread(target=take, args=(guards[n % 2], n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(turns) == 240
    assert turns[::2] == turns[1::2]


def test_a_file_that_cannot_be_locked_is_told_of(tmp_path):
    guard = WriteGuard(tmp_path / "none" / "lock", 1.0)
    right = FileDeliveryRight(tmp_path / "none" / "lock")
    with pytest.raises(StorageError, match="check that its directory exists"):
        guard.acquire(1.0)
    with pytest.raises(StorageError, match="check that its directory exists"):
        right.acquire()
    assert not right.held


def test_a_descriptor_is_closed_once_even_if_that_is_interrupted(tmp_path, monkeypatch):
    lock = LockFile(tmp_path / "lock")
    assert lock.try_acquire()
    close = os.close

    def interrupted(descriptor):
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


def test_what_an_interrupted_thread_holds_is_given_back_whatever_the_file_says(tmp_path):
    guard = WriteGuard(tmp_path / "lock", 5.0)
    guard.acquire()
    os.close(guard._file._descriptor)  # somebody else has closed it
    guard.relinquish()
    guard._file._descriptor = None
    thread = threading.Thread(target=lambda: (guard.acquire(), guard.release()))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_right_leaves_no_descriptor_behind(tmp_path):
    first, second = (FileDeliveryRight(tmp_path / "deliver") for _ in range(2))
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert first._file._descriptor is None
    assert second._file._descriptor is None


class Spy:
    """Stands in for the guard and knows whether it is held."""

    def __init__(self, guard):
        self.guard = guard
        self.held = False

    def __enter__(self):
        self.guard.__enter__()
        self.held = True

    def __exit__(self, *error):
        self.held = False
        self.guard.__exit__(*error)

    def __getattr__(self, name):
        return getattr(self.guard, name)


def test_every_write_and_checkpoint_is_made_under_the_guard(tmp_path, monkeypatch):
    storage = SQLiteStorage(tmp_path / "queue.db")
    spy = storage._guard = Spy(storage._guard)
    unguarded = []

    class Watched(sqlite3.Connection):
        """Notes each statement of a writer, and its closing, outside of the guard."""

        reads_only = False

        def execute(self, text, *values):
            if not (spy.held or self.reads_only):
                unguarded.append(text)
            return super().execute(text, *values)

        def close(self):
            if not (spy.held or self.reads_only):
                unguarded.append("close")
            super().close()

    def connect(address, **options):
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
    assert unguarded == []
    assert not tmp_path.joinpath("queue.db-wal").exists()
