"""A file that is deleted, replaced, or cut while it is in use."""

import os
import sys
import time

import pytest

from bytelyst_sync.storage.files import is_past
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.db"


def sound_seqs(storage):
    """The sequence numbers of the items, of a database that is whole."""
    storage.write(lambda tx: None)
    assert storage._database.writer.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    seqs = [row.seq for row in all_rows(storage, ITEMS)]
    assert storage.read(lambda reader: reader.count(ITEMS)) == len(seqs)
    return seqs


@pytest.fixture(params=[False, True], ids=["at_once", "later"])
def rest(request):
    """Waits until the directory is so quiet that its files are not asked after each commit."""

    def wait(storage):
        if request.param:
            time.sleep(0.6)
            storage.write(lambda tx: None)
            assert storage._database._seen_after is not None

    return wait


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm")])
@pytest.mark.parametrize("call", ["write", "read"])
def test_a_file_deleted_underneath_is_made_anew(path, call, suffixes, rest):
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    rest(storage)
    number = storage.write(lambda tx: tx.next_number())
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink()
    if call == "read":
        assert all_rows(storage, ITEMS) == []
        assert "was deleted while it was in use" in storage.notice
    storage.write(inserting(make_item(2)))
    assert sound_seqs(storage) == [2]
    assert storage.write(lambda tx: tx.next_number()) > number + 1000
    assert "was deleted while it was in use" in storage.notice
    storage.close()
    other = SQLiteStorage(path)
    assert sound_seqs(other) == [2]
    other.close()


def test_a_file_put_in_its_place_is_taken_without_the_old_wal(path, rest):
    backup = path.with_name("backup.db")
    kept = SQLiteStorage(backup)
    kept.write(inserting(make_item(100)))
    kept.close()
    storage = SQLiteStorage(path)
    for seq in range(1, 20):
        storage.write(inserting(make_item(seq)))
    rest(storage)
    backup.rename(path)
    storage.write(inserting(make_item(50)))
    assert sound_seqs(storage) == [50, 100]
    assert "was replaced by another file" in storage.notice
    storage.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a file in use cannot be replaced there")
def test_a_restored_backup_that_brings_back_the_times_is_noticed(path):
    backup = path.parent.parent / f"{path.parent.name}.db"
    kept = SQLiteStorage(backup)
    kept.write(inserting(make_item(100)))
    kept.close()
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    time.sleep(0.6)
    storage.write(inserting(make_item(2)))
    assert storage._database._seen_after is not None
    times = path.parent.stat()
    backup.rename(path)
    os.utime(path.parent, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.parent.stat().st_mtime_ns == times.st_mtime_ns
    storage.write(inserting(make_item(3)))
    assert "was replaced by another file" in storage.notice
    assert sound_seqs(storage) == [3, 100]
    storage.close()


def test_a_file_emptied_underneath(path):
    storage = SQLiteStorage(path)
    storage.write(inserting(*(make_item(seq) for seq in range(1, 301))))
    os.truncate(path, 0)
    storage.write(inserting(make_item(10_000)))
    assert 10_000 in sound_seqs(storage)
    storage.close()


def test_a_wal_deleted_underneath_loses_nothing(path, rest):
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    for seq in (2, 4):
        rest(storage)
        path.with_name("queue.db-wal").unlink()
        storage.write(inserting(make_item(seq)))
        storage.write(inserting(make_item(seq + 1)))
    other = SQLiteStorage(path)
    assert sound_seqs(other) == [1, 2, 3, 4, 5]
    other.write(inserting(make_item(6)))
    assert sound_seqs(storage) == [1, 2, 3, 4, 5, 6]
    assert storage.notice is None
    other.close()
    storage.close()


def test_in_a_quiet_directory_the_log_is_seldom_asked_for_its_times(path, monkeypatch):
    storage = SQLiteStorage(path, durability="normal")
    storage.write(inserting(make_item(1)))
    time.sleep(0.6)
    storage.write(inserting(make_item(2)))
    asked = []

    def stat(name, *arguments, **named):
        asked.append(str(name).rpartition("queue.db")[2])
        return ask(name, *arguments, **named)

    ask = os.stat
    monkeypatch.setattr(os, "stat", stat)
    for seq in range(3, 503):
        storage.write(inserting(make_item(seq)))
    assert 500 / 64 - 1 <= asked.count("-wal") <= 500 / 64 + 6
    path.with_name("a file of somebody else's").touch()
    asked.clear()
    storage.write(inserting(make_item(503)))
    assert asked[-2:].count("-wal") == 1
    monkeypatch.undo()
    storage.close()


@pytest.mark.parametrize(
    ("age_s", "part_ns", "past"),
    [(0.1, 1, False), (0.8, 1, True), (2.0, 0, False), (4.5, 0, True), (-5.0, 1, False)],
)
def test_a_change_counts_as_past_when_the_next_one_is_sure_to_show(age_s, part_ns, past):
    changed = time.time_ns() - int(age_s * 1e9)
    changed = changed // 1_000_000_000 * 1_000_000_000 if part_ns == 0 else changed | 1
    assert is_past((1, 2, changed, changed)) is past
    assert is_past((1, 2, changed, changed - 10**10)) is past
    assert is_past((1, 2, changed - 10**10, changed)) is past
