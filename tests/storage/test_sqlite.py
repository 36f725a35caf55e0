"""What only the SQLite store does: its plans, its waits, its errors."""

import errno
import gc
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from bytelyst_sync.errors import (
    StorageCorruptError,
    StorageError,
    StorageFullError,
)
from bytelyst_sync.storage import current_file
from bytelyst_sync.storage.base import Reader, Table, Transaction
from bytelyst_sync.storage.delivery_lock import WriteLock
from bytelyst_sync.storage.schema import ITEMS, TABLES
from bytelyst_sync.storage.sqlite.errors import translate_error
from bytelyst_sync.storage.sqlite.file import Database
from bytelyst_sync.storage.sqlite.statements import Shape, sequence_query, statements
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.storage.sqlite.wal_file import WAL_BYTES, WAL_PAGES
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item
from tests.typed import present

# -- statements -----------------------------------------------------------------------------------


def _shapes(table: Table[Any]) -> Iterator[Shape]:
    for index in (None, *table.indexes):
        width = len(table.order(index))
        for prefix, limited, reverse in product(range(width + 1), (False, True), (False, True)):
            for after, upto in product(range(-1, width - prefix + 1), repeat=2):
                if after and upto:  # an empty bound is everything or nothing
                    yield Shape(index, prefix, after, upto, limited, reverse)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_scan_uses_its_index(storage: SQLiteStorage, table: Table[Any]) -> None:
    storage.write(lambda tx: None)
    writer = present(present(storage._file.database).writer)
    for shape in _shapes(table):
        text = statements(table).scan(shape)
        values = [1] * text.count("?")
        plan = [row[3] for row in writer.execute(f"EXPLAIN QUERY PLAN {text}", values)]
        reported = f"{shape}: {text}: {plan}"
        bounded = shape.prefix or shape.after > 0 or shape.upto > 0
        assert len(plan) == 1, reported
        assert not bounded or plan[0].startswith("SEARCH"), reported
        columns = table.order(shape.order)
        if shape.order is not None:
            assert f"INDEX {table.name}_{shape.order}" in plan[0], reported
        elif bounded and shape.prefix < len(columns):
            assert "PRIMARY KEY" in plan[0], reported
        elif not bounded:
            assert "INDEX" not in plan[0], reported
        used = plan[0].replace("rowid", columns[-1])
        assert all(f"{column}=?" in used for column in columns[: shape.prefix]), reported


def appending(count: int) -> Callable[..., list[None]]:
    return lambda tx: [tx.insert(ITEMS, make_item(tx.next_number())) for _ in range(count)]


def test_only_the_tail_is_counted_and_it_is_short(storage: SQLiteStorage) -> None:
    asked: list[Any] = []
    storage.write(appending(1000))
    for _ in range(200):
        storage.write(appending(1))
    writer = present(present(storage._file.database).writer)
    writer.set_trace_callback(asked.append)
    counts = storage.write(lambda tx: (tx.count(ITEMS), tx.counts(ITEMS), tx.last_number()))
    writer.set_trace_callback(None)
    assert counts == (1200, {(0, "notes"): 1200}, 1200)
    (counting,) = [text for text in asked if "count(" in text.lower()]
    plan = [row[3] for row in writer.execute(f"EXPLAIN QUERY PLAN {counting}")]
    assert plan[0] == "SEARCH items USING INTEGER PRIMARY KEY (rowid>?)"
    mark = int(counting.split("seq>")[1].split()[0])
    assert 1200 - 65 <= mark < 1200


def test_the_end_of_the_sequence_is_found_by_the_key(storage: SQLiteStorage) -> None:
    storage.write(appending(3))
    writer = present(present(storage._file.database).writer)
    plan = [
        row[3] for row in writer.execute(f"EXPLAIN QUERY PLAN {sequence_query((ITEMS,), 'NULL')}")
    ]
    assert "SEARCH items" in plan
    assert "SCAN items" not in plan


def test_a_number_of_a_deleted_row_is_not_used_again(path: Path) -> None:
    storage = SQLiteStorage(path)
    storage.write(appending(5))
    storage.write(lambda tx: tx.delete(ITEMS, present(tx.get(ITEMS, 5))))
    storage.close()
    assert storage.write(lambda tx: tx.next_number()) == 6
    storage.write(lambda tx: tx.next_number())
    storage.close()
    assert storage.write(lambda tx: tx.next_number()) == 8
    assert storage.read(lambda reader: reader.counts(ITEMS)) == {(0, "notes"): 4}
    storage.close()


def test_a_push_is_few_statements(storage: SQLiteStorage) -> None:
    def push(tx: Transaction) -> None:
        assert list(tx.scan(ITEMS, "record", ("notes", "r9"), limit=1, reverse=True)) == []
        tx.insert(ITEMS, make_item(tx.next_number(), record="r9"))

    storage.write(push)
    asked: list[Any] = []
    present(present(storage._file.database).writer).set_trace_callback(asked.append)
    storage.write(lambda tx: tx.insert(ITEMS, make_item(tx.next_number())))
    kinds = [text.split()[0] for text in asked]
    assert kinds == ["BEGIN", "SELECT", "INSERT", "COMMIT"]


# -- transactions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["read", "write"])
@pytest.mark.parametrize("inner", ["read", "write"])
def test_a_nested_call_is_refused(storage: SQLiteStorage, outer: str, inner: str) -> None:
    def work(view: Reader) -> Any:
        return getattr(storage, inner)(lambda view: None)

    with pytest.raises(RuntimeError, match=rf"{inner}\(\) was called from within"):
        getattr(storage, outer)(work)
    storage.write(inserting(make_item(1)))


def test_a_view_cannot_be_used_after_its_work(storage: SQLiteStorage) -> None:
    kept: list[Any] = []
    storage.write(inserting(make_item(1)))
    storage.write(kept.append)
    storage.read(kept.append)
    for view in kept:
        with pytest.raises(RuntimeError, match="has ended"):
            view.count(ITEMS)
    rows = storage.read(lambda reader: reader.scan(ITEMS))
    with pytest.raises(sqlite3.ProgrammingError):
        next(rows)
    storage.write(inserting(make_item(2)))


def test_readers_do_not_wait_for_a_writer(storage: SQLiteStorage) -> None:
    storage.write(inserting(make_item(1)))
    seen = []

    def work(tx: Transaction) -> None:
        tx.insert(ITEMS, make_item(2))
        reader = threading.Thread(target=lambda: seen.append(all_rows(storage, ITEMS)))
        reader.start()
        reader.join(10)

    storage.write(work)
    assert seen == [[make_item(1)]]


def test_changes_notices_other_processes(path: Path, storage: SQLiteStorage) -> None:
    storage.write(inserting(make_item(1)))
    other = SQLiteStorage(path)
    tokens = [storage.changes()]
    for seq in (2, 3):
        other.write(inserting(make_item(seq)))
        tokens.append(storage.changes())
    other.close()
    tokens.append(storage.changes())
    assert len(set(tokens[:3])) == 3
    assert tokens[3] == tokens[2]


def test_changes_notices_what_was_written_while_the_store_was_closed(
    path: Path, storage: SQLiteStorage
) -> None:
    storage.write(inserting(make_item(1)))
    token = storage.changes()
    storage.close()
    other = SQLiteStorage(path)
    other.write(inserting(make_item(2)))
    other.close()
    assert storage.changes() != token


def test_a_busy_database_is_an_error_after_the_timeout(path: Path) -> None:
    storage = SQLiteStorage(path, busy_timeout_s=0.05)
    storage.write(inserting(make_item(1)))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="lsof or fuser") as caught:
        storage.write(inserting(make_item(2)))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert all_rows(storage, ITEMS) == [make_item(1)]
    other.execute("ROLLBACK")
    other.close()
    storage.write(inserting(make_item(2)))
    storage.close()


def test_a_held_write_lock_is_an_error_after_the_timeout(path: Path) -> None:
    first, second = (SQLiteStorage(path, busy_timeout_s=0.05) for _ in range(2))
    second.write(inserting(make_item(1)))

    def work(tx: Transaction) -> list[int]:
        with pytest.raises(StorageError, match=r"has been locked for .* by process"):
            second.write(inserting(make_item(2)))
        return [row.seq for row in all_rows(second, ITEMS)]

    assert first.write(work) == [1]
    first.close()
    second.close()


def test_the_wait_for_the_write_lock_ends_when_time_is_frozen(path: Path) -> None:
    first, second = (SQLiteStorage(path, busy_timeout_s=0.05) for _ in range(2))
    reported = []

    def wait() -> None:
        try:
            second.write(inserting(make_item(1)))
        except StorageError as error:
            reported.append(error)

    def hold(tx: Transaction) -> None:
        with freeze_time("2030-01-01"):
            waiting = threading.Thread(target=wait, daemon=True)
            waiting.start()
            waiting.join(5.0)

    first.write(hold)
    assert ["has been locked for" in str(error) for error in reported] == [True]
    first.close()
    second.close()


# -- a full disk ----------------------------------------------------------------------------------


def _limited(storage: SQLiteStorage, pages: int) -> None:
    size = (
        present(present(storage._file.database).writer).execute("PRAGMA page_count").fetchone()[0]
    )
    present(present(storage._file.database).writer).execute(f"PRAGMA max_page_count={size + pages}")


def test_a_full_database_leaves_the_queue_as_it_was(storage: SQLiteStorage) -> None:
    storage.write(inserting(make_item(1)))
    _limited(storage, 2)
    with pytest.raises(StorageFullError, match="cannot grow") as caught:
        storage.write(inserting(make_item(2, data="x" * 1_000_000)))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert all_rows(storage, ITEMS) == [make_item(1)]
    assert storage.read(lambda reader: reader.count(ITEMS)) == 1
    _limited(storage, 1_000)
    storage.write(inserting(make_item(2, data="x" * 1_000_000)))
    assert storage.read(lambda reader: reader.count(ITEMS)) == 2


def test_a_group_that_cannot_be_committed_fails_each_with_its_own_error(
    storage: SQLiteStorage,
) -> None:
    storage.write(inserting(make_item(1)))
    leading, queued = threading.Event(), threading.Event()
    errors = []

    def push(seq: int) -> None:
        try:
            storage.write(inserting(make_item(seq, data="x" * 1_000_000)))
        except StorageError as error:
            errors.append(error)

    def lead(tx: Transaction) -> None:
        leading.set()
        queued.wait(10)
        _limited(storage, 2)

    leader = threading.Thread(target=storage.write, args=(lead,))
    leader.start()
    leading.wait(10)
    followers = [threading.Thread(target=push, args=(seq,)) for seq in (2, 3, 4)]
    for follower in followers:
        follower.start()
    while len(storage._group._waiting) < 4:  # with the leader
        threading.Event().wait(0.001)
    queued.set()
    for thread in (leader, *followers):
        thread.join(10)
    assert [type(error) for error in errors] == [StorageFullError] * 3
    assert len({id(error) for error in errors}) == 3
    assert all(isinstance(error.__cause__, sqlite3.OperationalError) for error in errors)
    assert all_rows(storage, ITEMS) == [make_item(1)]


# -- errors and ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind", "says"),
    [
        ("database or disk is full", StorageFullError, "disk is full"),
        ("disk I/O error", StorageError, "may be stored or not"),
        ("database is locked", StorageError, "lsof or fuser"),
        ("database table is locked: items", StorageError, "lsof or fuser"),
        ("attempt to write a readonly database", StorageError, "cannot be opened for writing"),
        ("unable to open database file", StorageError, "check the owner"),
        ("database disk image is malformed", StorageCorruptError, "is damaged"),
        ("file is not a database", StorageCorruptError, "is damaged"),
        ("something else", StorageError, "something else"),
    ],
)
def test_errors_of_sqlite_are_translated(
    path: Path, message: str, kind: type[Exception], says: str
) -> None:
    error = translate_error(sqlite3.OperationalError(message), path, 30.0)
    assert type(error) is kind
    assert says in str(error)
    assert str(path) in str(error)


def test_a_failing_disk_is_not_called_full(path: Path) -> None:
    failed = sqlite3.OperationalError("disk I/O error")
    # SQLITE_IOERR_READ
    failed.sqlite_errorcode = 266  # type: ignore[attr-defined]  # of Python 3.11
    error = translate_error(failed, path, 30.0)
    assert type(error) is StorageError
    assert "check the disk" in str(error)


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_value_that_sqlite_cannot_hold_is_the_callers_mistake(
    storage: SQLiteStorage, call: str
) -> None:
    with pytest.raises(sqlite3.Error):
        getattr(storage, call)(lambda view: view.get(ITEMS, object()))
    assert storage.read(lambda reader: reader.count(ITEMS)) == 0


def test_a_path_that_keeps_changing_is_an_error(
    storage: SQLiteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write(inserting(make_item(1)))
    monkeypatch.setattr(Database, "is_current", lambda database: False)
    with pytest.raises(StorageCorruptError, match="was replaced 6 times"):
        storage.read(lambda reader: reader.count(ITEMS))
    monkeypatch.undo()
    assert all_rows(storage, ITEMS) == [make_item(1)]


def test_a_forgotten_store_is_closed(path: Path) -> None:
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    all_rows(storage, ITEMS)
    del storage
    gc.collect()
    assert not path.with_name("queue.db-wal").exists()


def test_a_forgotten_store_is_not_closed_while_another_writes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_file, "_EXIT_WAIT_S", 0.01)
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    lock = WriteLock(path.with_name("queue.db.lock"), 1.0)
    with lock:
        del storage
        gc.collect()
    lock.close()
    assert path.with_name("queue.db-wal").exists()
    other = SQLiteStorage(path)
    assert all_rows(other, ITEMS) == [make_item(1)]
    other.close()


# -- the WAL --------------------------------------------------------------------------------------


def test_a_long_wal_is_cut_when_its_reader_is_gone(path: Path, storage: SQLiteStorage) -> None:
    storage.write(inserting(make_item(1)))
    wal = path.with_name("queue.db-wal")

    def hold(reader: Reader) -> None:
        assert reader.count(ITEMS) == 1
        started.set()
        release.wait(30)

    started, release = threading.Event(), threading.Event()
    holder = threading.Thread(target=storage.read, args=(hold,))
    holder.start()
    started.wait(10)
    storage.write(inserting(make_item(2, data="x" * 2 * WAL_BYTES)))
    storage.write(inserting(make_item(3)))
    assert wal.stat().st_size > 2 * WAL_BYTES
    release.set()
    holder.join(10)
    for seq in range(4, 4 + 256):
        storage.write(lambda tx, seq=seq: tx.insert(ITEMS, make_item(seq)))  # type: ignore[misc]  # no lambda with defaults is inferred
    assert wal.stat().st_size <= WAL_BYTES


def lengths_of_wal(path: Path, durability: str) -> list[int]:
    """The length after each of 1,200 commits to a store whose tables were created before."""
    created = SQLiteStorage(path, durability)
    created.write(lambda tx: None)
    created.close()
    storage = SQLiteStorage(path, durability)
    lengths = []
    for seq in range(1, 1201):
        storage.write(inserting(make_item(seq)))
        lengths.append(path.with_name("queue.db-wal").stat().st_size)
    assert [row.seq for row in all_rows(storage, ITEMS)] == list(range(1, 1201))
    storage.close()
    return lengths


def test_a_synced_wal_is_preallocated(path: Path) -> None:
    lengths = lengths_of_wal(path, "full")
    assert len(set(lengths)) <= 14
    assert max(lengths) <= WAL_PAGES * 4200


def test_an_unsynced_wal_is_not_preallocated(path: Path) -> None:
    assert len(set(lengths_of_wal(path, "normal"))) > 200


def test_a_wal_that_cannot_be_preallocated_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(name: Path | str, *arguments: Any, **named: Any) -> int:
        if str(name).endswith("-wal"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(name, *arguments, **named)

    open_file = os.open
    monkeypatch.setattr(os, "open", refusing)
    assert len(set(lengths_of_wal(path, "full"))) > 200
