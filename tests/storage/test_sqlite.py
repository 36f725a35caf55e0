"""What only the SQLite store does: its plans, its waits, its errors."""

import errno
import gc
import os
import sqlite3
import threading
from itertools import product

import pytest
from freezegun import freeze_time

from bytelyst_sync.errors import (
    StorageCorruptError,
    StorageError,
    StorageFullError,
)
from bytelyst_sync.storage import sqlite_file
from bytelyst_sync.storage.guard import WriteGuard
from bytelyst_sync.storage.log import LOG_BYTES, LOG_PAGES
from bytelyst_sync.storage.schema import ITEMS, TABLES
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.storage.sqlite_errors import told
from bytelyst_sync.storage.sqlite_file import Database
from bytelyst_sync.storage.sqlite_sql import Shape, statements, whereabouts
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.db"


@pytest.fixture
def storage(path):
    storage = SQLiteStorage(path, busy_timeout_s=5.0)
    yield storage
    storage.close()


def pragma(storage, name):
    storage.write(lambda tx: None)
    return storage._database.writer.execute(f"PRAGMA {name}").fetchone()[0]


# -- statements -----------------------------------------------------------------------------------


def _shapes(table):
    for index in (None, *table.indexes):
        width = len(table.order(index))
        for prefix, limited, reverse in product(range(width + 1), (False, True), (False, True)):
            for after, upto in product(range(-1, width - prefix + 1), repeat=2):
                if after and upto:  # an empty bound is everything or nothing
                    yield Shape(index, prefix, after, upto, limited, reverse)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_scan_uses_its_index(storage, table):
    storage.write(lambda tx: None)
    writer = storage._database.writer
    for shape in _shapes(table):
        text = statements(table).scan(shape)
        values = [1] * text.count("?")
        plan = [row[3] for row in writer.execute(f"EXPLAIN QUERY PLAN {text}", values)]
        told = f"{shape}: {text}: {plan}"
        bounded = shape.prefix or shape.after > 0 or shape.upto > 0
        assert len(plan) == 1, told
        assert not bounded or plan[0].startswith("SEARCH"), told
        columns = table.order(shape.order)
        if shape.order is not None:
            assert f"INDEX {table.name}_{shape.order}" in plan[0], told
        elif bounded and shape.prefix < len(columns):
            assert "PRIMARY KEY" in plan[0], told
        elif not bounded:
            assert "INDEX" not in plan[0], told
        used = plan[0].replace("rowid", columns[-1])
        assert all(f"{column}=?" in used for column in columns[: shape.prefix]), told


def appending(count):
    return lambda tx: [tx.insert(ITEMS, make_item(tx.next_number())) for _ in range(count)]


def test_only_the_tail_is_counted_and_it_is_short(storage):
    asked = []
    storage.write(appending(1000))
    for _ in range(200):
        storage.write(appending(1))
    writer = storage._database.writer
    writer.set_trace_callback(asked.append)
    counts = storage.write(lambda tx: (tx.count(ITEMS), tx.counts(ITEMS), tx.last_number()))
    writer.set_trace_callback(None)
    assert counts == (1200, {(0, "notes"): 1200}, 1200)
    (counting,) = [text for text in asked if "count(" in text.lower()]
    plan = [row[3] for row in writer.execute(f"EXPLAIN QUERY PLAN {counting}")]
    assert plan[0] == "SEARCH items USING INTEGER PRIMARY KEY (rowid>?)"
    mark = int(counting.split("seq>")[1].split()[0])
    assert 1200 - 65 <= mark < 1200


def test_the_end_of_the_sequence_is_looked_up_not_searched_for(storage):
    storage.write(appending(3))
    writer = storage._database.writer
    plan = [row[3] for row in writer.execute(f"EXPLAIN QUERY PLAN {whereabouts((ITEMS,))}")]
    assert "SEARCH items" in plan
    assert "SCAN items" not in plan


def test_a_number_whose_row_is_gone_is_not_given_again(path):
    storage = SQLiteStorage(path)
    storage.write(appending(5))
    storage.write(lambda tx: tx.delete(ITEMS, tx.get(ITEMS, 5)))
    storage.close()
    assert storage.write(lambda tx: tx.next_number()) == 6
    storage.write(lambda tx: tx.next_number())
    storage.close()
    assert storage.write(lambda tx: tx.next_number()) == 8
    assert storage.read(lambda reader: reader.counts(ITEMS)) == {(0, "notes"): 4}
    storage.close()


def test_a_push_is_few_statements(storage):
    def push(tx):
        assert list(tx.scan(ITEMS, "record", ("notes", "r9"), limit=1, reverse=True)) == []
        tx.insert(ITEMS, make_item(tx.next_number(), record="r9"))

    storage.write(push)
    asked = []
    storage._database.writer.set_trace_callback(asked.append)
    storage.write(lambda tx: tx.insert(ITEMS, make_item(tx.next_number())))
    kinds = [text.split()[0] for text in asked]
    assert kinds == ["BEGIN", "SELECT", "INSERT", "COMMIT"]


@pytest.mark.parametrize("bad", ["insert", "replace", "moved", "delete"])
def test_a_mistaken_change_is_told(storage, bad):
    storage.write(inserting(make_item(1), make_item(2)))
    calls = {
        "insert": lambda tx: tx.insert(ITEMS, make_item(1)),
        "replace": lambda tx: tx.replace(ITEMS, make_item(3), make_item(3, turn=9)),
        "moved": lambda tx: tx.replace(ITEMS, make_item(1), make_item(2)),
        "delete": lambda tx: tx.delete(ITEMS, make_item(3)),
    }
    with pytest.raises((ValueError, LookupError), match=r"items (already )?has"):
        storage.write(calls[bad])
    assert all_rows(storage, ITEMS) == [make_item(1), make_item(2)]


def test_a_scan_beyond_its_order_is_told(storage):
    with pytest.raises(ValueError, match="ordered by"):
        storage.read(lambda reader: list(reader.scan(ITEMS, "due", (1.0,), after=(1, 2))))


# -- transactions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["read", "write"])
@pytest.mark.parametrize("inner", ["read", "write"])
def test_a_nested_call_is_refused(storage, outer, inner):
    def work(view):
        return getattr(storage, inner)(lambda view: None)

    with pytest.raises(RuntimeError, match=rf"{inner}\(\) was called from within"):
        getattr(storage, outer)(work)
    storage.write(inserting(make_item(1)))


def test_a_view_is_of_no_use_after_its_work(storage):
    kept = []
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


def test_readers_do_not_wait_for_a_writer(storage):
    storage.write(inserting(make_item(1)))
    seen = []

    def work(tx):
        tx.insert(ITEMS, make_item(2))
        reader = threading.Thread(target=lambda: seen.append(all_rows(storage, ITEMS)))
        reader.start()
        reader.join(10)

    storage.write(work)
    assert seen == [[make_item(1)]]


def test_changes_tells_of_other_processes(path, storage):
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


def test_a_busy_database_is_waited_for_and_then_told_of(path):
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


def test_a_held_guard_is_waited_for_and_then_told_of(path):
    first, second = (SQLiteStorage(path, busy_timeout_s=0.05) for _ in range(2))
    second.write(inserting(make_item(1)))

    def work(tx):
        with pytest.raises(StorageError, match="held by another program"):
            second.write(inserting(make_item(2)))
        return [row.seq for row in all_rows(second, ITEMS)]

    assert first.write(work) == [1]
    first.close()
    second.close()


def test_a_held_guard_is_waited_for_no_longer_when_time_is_frozen(path):
    first, second = (SQLiteStorage(path, busy_timeout_s=0.05) for _ in range(2))
    told = []

    def wait():
        try:
            second.write(inserting(make_item(1)))
        except StorageError as error:
            told.append(error)

    def hold(tx):
        with freeze_time("2030-01-01"):
            waiting = threading.Thread(target=wait, daemon=True)
            waiting.start()
            waiting.join(5.0)

    first.write(hold)
    assert ["held by another program" in str(error) for error in told] == [True]
    first.close()
    second.close()


# -- a full disk ----------------------------------------------------------------------------------


def _limited(storage, pages):
    size = storage._database.writer.execute("PRAGMA page_count").fetchone()[0]
    storage._database.writer.execute(f"PRAGMA max_page_count={size + pages}")


def test_a_full_database_leaves_the_queue_as_it_was(storage):
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


def test_a_group_that_cannot_be_committed_fails_each_with_its_own_error(storage):
    storage.write(inserting(make_item(1)))
    leading, queued = threading.Event(), threading.Event()
    errors = []

    def push(seq):
        try:
            storage.write(inserting(make_item(seq, data="x" * 1_000_000)))
        except StorageError as error:
            errors.append(error)

    def lead(tx):
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
def test_what_sqlite_says_is_told(path, message, kind, says):
    error = told(sqlite3.OperationalError(message), path, 30.0)
    assert type(error) is kind
    assert says in str(error)
    assert str(path) in str(error)


def test_a_failing_disk_is_not_called_full(path):
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode = 266  # SQLITE_IOERR_READ
    error = told(failed, path, 30.0)
    assert type(error) is StorageError
    assert "check the disk" in str(error)


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_value_that_sqlite_cannot_hold_is_the_callers_mistake(storage, call):
    with pytest.raises(sqlite3.Error):
        getattr(storage, call)(lambda view: view.get(ITEMS, object()))
    assert storage.read(lambda reader: reader.count(ITEMS)) == 0


def test_a_path_that_keeps_changing_is_told_of(storage, monkeypatch):
    storage.write(inserting(make_item(1)))
    monkeypatch.setattr(Database, "is_current", lambda database: False)
    with pytest.raises(StorageCorruptError, match="was replaced 6 times"):
        storage.read(lambda reader: reader.count(ITEMS))
    monkeypatch.undo()
    assert all_rows(storage, ITEMS) == [make_item(1)]


def test_a_forgotten_store_is_closed(path):
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    all_rows(storage, ITEMS)
    del storage
    gc.collect()
    assert not path.with_name("queue.db-wal").exists()


def test_a_forgotten_store_is_not_closed_while_another_writes(path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_EXIT_WAIT_S", 0.01)
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    guard = WriteGuard(path.with_name("queue.db.lock"), 1.0)
    with guard:
        del storage
        gc.collect()
    guard.close()
    assert path.with_name("queue.db-wal").exists()
    other = SQLiteStorage(path)
    assert all_rows(other, ITEMS) == [make_item(1)]
    other.close()


# -- the WAL --------------------------------------------------------------------------------------


def test_a_long_wal_is_cut_when_its_reader_is_gone(path, storage):
    storage.write(inserting(make_item(1)))
    wal = path.with_name("queue.db-wal")

    def hold(reader):
        assert reader.count(ITEMS) == 1
        started.set()
        release.wait(30)

    started, release = threading.Event(), threading.Event()
    holder = threading.Thread(target=storage.read, args=(hold,))
    holder.start()
    started.wait(10)
    storage.write(inserting(make_item(2, data="x" * 2 * LOG_BYTES)))
    storage.write(inserting(make_item(3)))
    assert wal.stat().st_size > 2 * LOG_BYTES
    release.set()
    holder.join(10)
    for seq in range(4, 4 + 256):
        storage.write(lambda tx, seq=seq: tx.insert(ITEMS, make_item(seq)))
    assert wal.stat().st_size <= LOG_BYTES


def lengths_of_log(path, durability):
    storage = SQLiteStorage(path, durability)
    lengths = []
    for seq in range(1, 1201):
        storage.write(inserting(make_item(seq)))
        lengths.append(path.with_name("queue.db-wal").stat().st_size)
    assert [row.seq for row in all_rows(storage, ITEMS)] == list(range(1, 1201))
    storage.close()
    return lengths


def test_a_synced_log_has_room_ahead_and_seldom_grows(path):
    lengths = lengths_of_log(path, "full")
    assert len(set(lengths)) <= 14
    assert max(lengths) <= LOG_PAGES * 4200


def test_a_log_that_is_not_synced_needs_no_room(path):
    assert len(set(lengths_of_log(path, "normal"))) > 200


def test_a_log_without_room_is_written_all_the_same(path, monkeypatch):
    def refusing(name, *arguments, **named):
        if str(name).endswith("-wal"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(name, *arguments, **named)

    open_file = os.open
    monkeypatch.setattr(os, "open", refusing)
    assert len(set(lengths_of_log(path, "full"))) > 200
