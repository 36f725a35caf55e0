"""A file that is deleted, replaced, or cut while it is in use."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync.storage.files import is_settled
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item
from tests.typed import present


def sound_seqs(storage: SQLiteStorage) -> list[int]:
    """The sequence numbers of the items, of a database that is whole."""
    storage.write(lambda tx: None)
    assert present(present(storage._file.database).writer).execute(
        "PRAGMA integrity_check"
    ).fetchall() == [("ok",)]
    seqs = [row.seq for row in all_rows(storage, ITEMS)]
    assert storage.read(lambda reader: reader.count(ITEMS)) == len(seqs)
    return seqs


@pytest.fixture(params=[False, True], ids=["at_once", "later"])
def rest(request: pytest.FixtureRequest) -> Callable[[SQLiteStorage], None]:
    """Waits until the directory is so quiet that its files are not asked after each commit."""

    def wait(storage: SQLiteStorage) -> None:
        if request.param:
            time.sleep(0.6)
            storage.write(lambda tx: None)
            assert present(storage._file.database)._directory._sound_at is not None

    return wait


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm")])
@pytest.mark.parametrize("call", ["write", "read"])
def test_a_file_deleted_in_use_is_created_again(
    path: Path, call: str, suffixes: tuple[str, ...], rest: Callable[[SQLiteStorage], None]
) -> None:
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    rest(storage)
    number = storage.write(lambda tx: tx.next_number())
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink()
    if call == "read":
        assert all_rows(storage, ITEMS) == []
        assert "was deleted while it was in use" in present(storage.notice)
    storage.write(inserting(make_item(2)))
    assert sound_seqs(storage) == [2]
    assert storage.write(lambda tx: tx.next_number()) > number + 1000
    assert "was deleted while it was in use" in present(storage.notice)
    storage.close()
    other = SQLiteStorage(path)
    assert sound_seqs(other) == [2]
    other.close()


def test_a_file_that_replaces_the_store_is_opened_without_the_old_wal(
    path: Path, rest: Callable[[SQLiteStorage], None]
) -> None:
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
    assert "was replaced by another file" in present(storage.notice)
    storage.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a file in use cannot be replaced there")
def test_a_restored_backup_that_brings_back_the_times_is_noticed(path: Path) -> None:
    backup = path.parent.parent / f"{path.parent.name}.db"
    kept = SQLiteStorage(backup)
    kept.write(inserting(make_item(100)))
    kept.close()
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    time.sleep(0.6)
    storage.write(inserting(make_item(2)))
    assert present(storage._file.database)._directory._sound_at is not None
    times = path.parent.stat()
    backup.rename(path)
    os.utime(path.parent, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.parent.stat().st_mtime_ns == times.st_mtime_ns
    storage.write(inserting(make_item(3)))
    assert "was replaced by another file" in present(storage.notice)
    assert sound_seqs(storage) == [3, 100]
    storage.close()


def test_a_file_emptied_in_use_is_filled_again(path: Path) -> None:
    storage = SQLiteStorage(path)
    storage.write(inserting(*(make_item(seq) for seq in range(1, 301))))
    os.truncate(path, 0)
    storage.write(inserting(make_item(10_000)))
    assert 10_000 in sound_seqs(storage)
    storage.close()


def test_a_wal_deleted_in_use_loses_nothing(
    path: Path, rest: Callable[[SQLiteStorage], None]
) -> None:
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


def test_in_an_unchanged_directory_the_wal_is_seldom_examined(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = SQLiteStorage(path, durability="normal")
    storage.write(inserting(make_item(1)))
    time.sleep(0.6)
    storage.write(inserting(make_item(2)))
    asked = []

    def stat(name: str, *arguments: Any, **named: Any) -> os.stat_result:
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
def test_times_are_settled_when_a_further_change_must_differ(
    age_s: float, part_ns: int, past: bool
) -> None:
    changed = time.time_ns() - int(age_s * 1e9)
    changed = changed // 1_000_000_000 * 1_000_000_000 if part_ns == 0 else changed | 1
    assert is_settled((1, 2, changed, changed)) is past
    assert is_settled((1, 2, changed, changed - 10**10)) is past
    assert is_settled((1, 2, changed - 10**10, changed)) is past
