"""A file that is deleted, replaced, or cut while it is in use."""

import os

import pytest

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


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm")])
@pytest.mark.parametrize("call", ["write", "read"])
def test_a_file_deleted_underneath_is_made_anew(path, call, suffixes):
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
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


def test_a_file_put_in_its_place_is_taken_without_the_old_wal(path):
    backup = path.with_name("backup.db")
    kept = SQLiteStorage(backup)
    kept.write(inserting(make_item(100)))
    kept.close()
    storage = SQLiteStorage(path)
    for seq in range(1, 20):
        storage.write(inserting(make_item(seq)))
    backup.rename(path)
    storage.write(inserting(make_item(50)))
    assert sound_seqs(storage) == [50, 100]
    assert "was replaced by another file" in storage.notice
    storage.close()


def test_a_file_emptied_underneath(path):
    storage = SQLiteStorage(path)
    storage.write(inserting(*(make_item(seq) for seq in range(1, 301))))
    os.truncate(path, 0)
    storage.write(inserting(make_item(10_000)))
    assert 10_000 in sound_seqs(storage)
    storage.close()


def test_a_wal_deleted_underneath_loses_nothing(path):
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    for seq in (2, 4):
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
