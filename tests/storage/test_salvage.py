"""A damaged file is set aside, and what can be read of it is carried over."""

import json
import os
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bytelyst_sync.errors import StorageCorruptError, StorageError
from bytelyst_sync.model import Json
from bytelyst_sync.storage import damaged_files
from bytelyst_sync.storage.base import Reader, Table, Transaction
from bytelyst_sync.storage.schema import (
    CONFLICTS,
    ITEMS,
    META,
    RECORDS,
    SALVAGED,
    TABLES,
    Lane,
    Meta,
    Record,
)
from bytelyst_sync.storage.sqlite import salvage
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import SAMPLES, all_rows, inserting, make_item
from tests.typed import present

PAGE = 4096
MANY = 3000


def fill(path: Path, rows: int = MANY) -> None:
    """A closed database with items, records, and one row at least in every table."""
    storage = SQLiteStorage(path, durability="normal")

    def work(tx: Transaction) -> None:
        for seq in range(1, rows + 1):
            number = tx.next_number()
            tx.insert(ITEMS, make_item(number, record=f"r{number:05}"))
            tx.insert(RECORDS, Record("notes", f"r{seq:05}", '{"a":1}', "v", seq, seq))
        for table in TABLES:
            if table not in (ITEMS, RECORDS):
                for row in SAMPLES[table.name]:
                    tx.insert(table, row)

    storage.write(work)
    storage.close()


def damage(path: Path, offset: int, data: bytes = b"\0" * PAGE) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def aside_files(path: Path) -> list[Path]:
    return sorted(file for file in path.parent.iterdir() if ".damaged-" in file.name)


def check_sound(storage: SQLiteStorage) -> list[int]:
    """Rows, counts, and integrity agree; gives the sequence numbers of the items."""
    items = all_rows(storage, ITEMS)
    assert sorted(storage.read(lambda reader: list(reader.scan(ITEMS, "lane")))) == items
    assert storage.read(lambda reader: reader.count(ITEMS)) == len(items)
    storage.write(lambda tx: None)
    assert present(present(storage._file.database).writer).execute(
        "PRAGMA integrity_check"
    ).fetchall() == [("ok",)]
    return [row.seq for row in items]


def test_a_damaged_header_loses_nothing(path: Path) -> None:
    fill(path)
    damage(path, 0, b"\xff" * 100)
    storage = SQLiteStorage(path)
    assert storage.notice is None
    assert check_sound(storage) == list(range(1, MANY + 1))
    for table in TABLES:
        if table not in (ITEMS, RECORDS, META):
            assert all_rows(storage, table) == sorted(SAMPLES[table.name])
    (aside,) = aside_files(path)
    notice = storage.notice or ""
    assert str(aside) in notice
    assert f"{MANY} items" in notice
    assert "could not be read" not in notice
    assert aside.read_bytes()[:100] == b"\xff" * 100
    storage.close()


def test_a_lost_first_page_loses_nothing(path: Path) -> None:
    fill(path)
    damage(path, 0)
    storage = SQLiteStorage(path)
    assert check_sound(storage) == list(range(1, MANY + 1))
    storage.close()


@pytest.mark.parametrize("length", [4, 100, PAGE - 100])
@pytest.mark.parametrize("checkpointed", [True, False], ids=["checkpointed", "in the WAL"])
def test_damage_after_the_header_of_a_copied_store_loses_nothing(
    path: Path, checkpointed: bool, length: int
) -> None:
    """A copy has no lock file: the application id says whose file it is.

    Before the first checkpoint, only the WAL has that id.
    """
    if checkpointed:
        fill(path, rows=50)
    else:
        path = crashed(path, 50)
    path.with_name(path.name + ".lock").unlink()
    descriptors = open_descriptors(path)
    damage(path, 100, b"\xff" * length)
    storage = SQLiteStorage(path)
    assert check_sound(storage) == list(range(1, 51))
    assert bool(aside_files(path)) == checkpointed
    storage.close()
    assert open_descriptors(path) == descriptors


@pytest.mark.parametrize("length", [PAGE, 5 * PAGE])
def test_a_copied_store_that_was_cut_off_is_set_aside(path: Path, length: int) -> None:
    fill(path, rows=50)
    path.with_name(path.name + ".lock").unlink()
    descriptors = open_descriptors(path)
    os.truncate(path, length)
    storage = SQLiteStorage(path)
    check_sound(storage)
    assert "set aside" in present(storage.notice)
    storage.close()
    assert open_descriptors(path) == descriptors


@pytest.mark.parametrize("identifier", [0, 0x12345678, 0xFFFFFFFF])
def test_damage_after_the_header_of_another_program_s_file_changes_nothing(
    path: Path, identifier: int
) -> None:
    fill(path, rows=50)
    path.with_name(path.name + ".lock").unlink()
    damage(path, 68, identifier.to_bytes(4, "big"))
    damage(path, 100, b"\xff" * 100)
    content = path.read_bytes()
    with pytest.raises(StorageError, match="no store of this package and is untouched"):
        check_sound(SQLiteStorage(path))
    assert path.read_bytes() == content
    assert aside_files(path) == []


def open_descriptors(path: Path) -> list[Any]:
    """The files in the directory of ``path`` that this process has open."""
    found = []
    for each in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            target = each.readlink()
            found += [target] if target.is_relative_to(path.parent) else []
    return sorted(found)


@pytest.mark.parametrize("seed", range(1, 7))
def test_lost_pages_lose_only_their_rows(path: Path, seed: int) -> None:
    fill(path)
    pages = path.stat().st_size // PAGE
    chance = random.Random(seed)
    for page in chance.sample(range(1 + max(roots_of(path).values()), pages), 5):
        damage(path, page * PAGE)
    storage = SQLiteStorage(path)
    left = set(check_sound(storage)) if storage.notice else set()
    seen = storage.read(lambda r: {row.record for row in r.scan(RECORDS)})
    assert storage.write(lambda tx: tx.next_number()) >= MANY
    assert len(set(check_sound(storage)) | left) >= MANY - 250
    assert len(seen) >= MANY - 300
    storage.close()


def roots_of(path: Path) -> Json:
    """The first page of each table and index, numbered from 0."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage").fetchall()
    connection.close()
    return {name: page - 1 for name, page in rows}


@pytest.mark.parametrize("data", [b"\0" * PAGE, b"\xff" * PAGE])
def test_the_store_survives_the_loss_of_any_first_page(tmp_path: Path, data: bytes) -> None:
    whole = tmp_path / "whole.db"
    fill(whole, rows=20)
    for name, page in roots_of(whole).items():
        path = tmp_path / f"{name}.db"
        copy(whole, path)
        damage(path, page * PAGE, data)
        storage = SQLiteStorage(path)
        number = storage.write(lambda tx: tx.next_number())
        assert number > 20, name
        for table in TABLES:
            for index in (None, *table.indexes):
                storage.read(
                    lambda reader, table=table, index=index: list(reader.scan(table, index))  # type: ignore[misc]  # no lambda with defaults is inferred
                )
        check_sound(storage)
        storage.close()


def test_a_lost_leaf_page_loses_only_its_own_rows(path: Path) -> None:
    fill(path)
    page = leaf_of(path, ITEMS, MANY // 2)
    damage(path, page * PAGE)
    storage = SQLiteStorage(path)
    left = check_sound(storage)
    lost = sorted(set(range(1, MANY + 1)) - set(left))
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert MANY // 2 in lost
    assert len(lost) < 60
    assert "some rows could not be read in: items" in present(storage.notice)
    assert len(all_rows(storage, RECORDS)) == MANY
    mark = json.loads(present(storage.read(lambda r: r.get(META, SALVAGED))).value)
    assert mark["incomplete"] == ["items"]
    storage.close()


def leaf_of(path: Path, table: Table[Any], key: int) -> int:
    """The number of the page that holds this row, found by looking for its record's id."""
    needle = f"r{key:05}".encode()
    data = path.read_bytes()
    for page in range(1, len(data) // PAGE):
        text = data[page * PAGE : (page + 1) * PAGE]
        if text[0] == (0x0D if table is ITEMS else 0x0A) and needle in text and b"{" in text:
            return page
    raise AssertionError("not found")


def test_rows_around_lost_text_keys_are_recovered(path: Path) -> None:
    fill(path)
    for key in (1000, 2000):
        damage(path, leaf_of(path, RECORDS, key) * PAGE)
    storage = SQLiteStorage(path)
    with pytest.raises(AssertionError):
        assert len(all_rows(storage, RECORDS)) == MANY
    found = {row.record for row in all_rows(storage, RECORDS)}
    assert len(found) > MANY - 250
    assert {"r00001", "r01500", "r03000"} <= found
    assert check_sound(storage) == list(range(1, MANY + 1))
    storage.close()


def test_damage_at_run_time_is_set_aside_and_the_work_repeated(path: Path) -> None:
    fill(path)
    storage = SQLiteStorage(path)
    storage.read(lambda reader: reader.count(ITEMS))
    damage(path, leaf_of(path, ITEMS, 10) * PAGE)
    storage.write(lambda tx: tx.insert(META, Meta("mine", "1")))
    assert storage.notice is None
    found = storage.read(lambda reader: [row.seq for row in reader.scan(ITEMS)])
    assert storage.notice is not None
    assert 0 < MANY - len(found) < 60
    assert storage.read(lambda reader: reader.get(META, "mine")) == Meta("mine", "1")
    storage.close()


def test_damage_found_in_a_write(path: Path) -> None:
    fill(path)
    storage = SQLiteStorage(path)
    storage.write(lambda tx: None)
    damage(path, leaf_of(path, ITEMS, 10) * PAGE)
    runs: list[Any] = []

    def work(tx: Transaction) -> int:
        runs.append(None)
        tx.insert(META, Meta("mine", "1"))
        return sum(1 for _ in tx.scan(ITEMS))

    assert storage.write(work) > MANY - 60
    assert len(runs) == 2
    assert storage.read(lambda reader: reader.get(META, "mine")) == Meta("mine", "1")
    assert "set aside" in present(storage.notice)
    storage.close()


@pytest.mark.parametrize("garbage", [b"x", b"no database at all\n" * 1000, os.urandom(50_000)])
def test_garbage_where_a_store_was_is_set_aside(path: Path, garbage: bytes) -> None:
    fill(path, rows=1)
    path.write_bytes(garbage)
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    assert check_sound(storage) == [1]
    (aside,) = aside_files(path)
    assert aside.read_bytes() == garbage
    assert "rows kept: none" in present(storage.notice)
    storage.close()


def copy(source: Path, target: Path) -> None:
    """Copies a store to where only its owner can read it."""
    target.touch(0o600)
    target.write_bytes(source.read_bytes())


def crashed(path: Path, rows: int) -> Path:
    """A database whose rows are in its WAL alone, as a crash leaves it."""
    storage = SQLiteStorage(path)
    for seq in range(1, rows + 1):
        storage.write(lambda tx, seq=seq: tx.insert(ITEMS, make_item(tx.next_number())))  # type: ignore[misc]  # no lambda with defaults is inferred
    left = path.with_name("crashed.db")
    for suffix in ("", "-wal", ".lock"):
        copy(path.with_name(path.name + suffix), left.with_name(left.name + suffix))
    storage.close()
    return left


def end_of_log(path: Path) -> int:
    """Where the frames of a log end: behind them there may be room that was made for more."""
    wal = path.with_name(path.name + "-wal")
    frames = -(-(len(wal.read_bytes().rstrip(b"\0")) - 32) // (24 + PAGE))
    return 32 + frames * (24 + PAGE)


def test_a_truncated_wal_keeps_what_was_before(path: Path) -> None:
    path = crashed(path, 50)
    os.truncate(path.with_name("crashed.db-wal"), end_of_log(path) - 10_000)
    storage = SQLiteStorage(path)
    left = check_sound(storage)
    assert left == list(range(1, len(left) + 1))
    assert 40 <= len(left) < 50
    storage.close()


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_a_break_in_a_transaction_of_several_frames_is_reported(path: Path, frame: int) -> None:
    storage = SQLiteStorage(path)
    storage.write(lambda tx: None)
    places = []
    for _ in range(20):
        places.append(end_of_log(path))
        storage.write(lambda tx: tx.insert(ITEMS, make_item(tx.next_number(), data="x" * 30_000)))
    left = path.with_name("crashed.db")
    for suffix in ("", "-wal", ".lock"):
        copy(path.with_name(path.name + suffix), left.with_name(left.name + suffix))
    storage.close()
    damage(left.with_name("crashed.db-wal"), places[10] + frame * (24 + PAGE) + 2000, b"\xff" * 8)
    storage = SQLiteStorage(left)
    assert check_sound(storage) == list(range(1, 11))
    assert "10 commits in it cannot be read" in present(storage.notice)
    database, log = aside_files(left)
    assert str(log) in present(storage.notice)
    assert log.stat().st_size > places[-1]
    assert all_rows(SQLiteStorage(database), ITEMS) == all_rows(storage, ITEMS)
    storage.close()


def test_the_wal_is_carried_over_with_its_database(path: Path) -> None:
    path = crashed(path, 50)
    damage(path, 0, b"\xff" * 100)
    storage = SQLiteStorage(path)
    assert check_sound(storage) == list(range(1, 51))
    storage.close()


def test_the_sequence_goes_on_far_beyond_what_was_found(path: Path) -> None:
    fill(path)
    damage(path, 0, b"\xff" * 100)
    storage = SQLiteStorage(path)
    assert storage.write(lambda tx: tx.next_number()) > MANY + 1_000_000
    storage.close()


def test_claimed_items_are_frozen_and_no_item_waits_for_a_lost_one(path: Path) -> None:
    storage = SQLiteStorage(path)
    parked = make_item(4, record="r4", lane=Lane.PARKED, conflict=9)
    kept = make_item(8, record="r8", lane=Lane.PARKED, conflict=1)
    storage.write(
        inserting(
            make_item(1, lane=Lane.SENDING),
            make_item(3, lane=Lane.BLOCKED, blocker=2),
            make_item(5, record="r5", lane=Lane.BLOCKED, blocker=2),
            make_item(6, record="r6", lane=Lane.BLOCKED, blocker=5),
            parked,
            kept,
        )
    )
    storage.write(lambda tx: tx.insert(CONFLICTS, SAMPLES[CONFLICTS.name][0]))
    storage.close()
    damage(path, 0, b"\xff" * 100)
    assert all_rows(storage, ITEMS) == [
        make_item(1, lane=Lane.SENDING, frozen=1),
        make_item(3, lane=Lane.BLOCKED, blocker=1),
        parked._replace(
            lane=Lane.FAILED, conflict=None, error="its conflict was lost in a damaged file"
        ),
        make_item(5, record="r5"),
        make_item(6, record="r6", lane=Lane.BLOCKED, blocker=5),
        kept,
    ]
    storage.close()


# -- who does it, and when it is cut short --------------------------------------------------------


def test_other_processes_report_the_salvage(path: Path) -> None:
    fill(path)
    first, second = SQLiteStorage(path), SQLiteStorage(path)
    for storage in (first, second):
        storage.write(lambda tx: tx.next_number())
    damage(path, leaf_of(path, ITEMS, 10) * PAGE)
    assert len(all_rows(first, ITEMS)) < MANY
    assert second.notice is None
    second.write(lambda tx: tx.insert(META, Meta("second", "1")))
    assert second.notice == first.notice
    assert len({file.name.split("-")[1][:15] for file in aside_files(path)}) == 1
    assert first.read(lambda reader: reader.get(META, "second")) == Meta("second", "1")
    first.close()
    second.close()


def test_threads_that_meet_damage_set_it_aside_once(path: Path) -> None:
    fill(path)
    damage(path, leaf_of(path, ITEMS, 10) * PAGE)
    storages = [SQLiteStorage(path) for _ in range(3)]
    found = []
    start = threading.Barrier(6)

    def look(storage: SQLiteStorage) -> None:
        start.wait(10)
        found.append(len(all_rows(storage, ITEMS)))

    threads = [threading.Thread(target=look, args=(storages[n % 3],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 6
    assert len(set(found)) == 1
    assert len([file for file in aside_files(path) if file.name[-1].isdigit()]) == 1
    for storage in storages:
        storage.close()


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (salvage, "_fill"),
        (damaged_files, "sync_file"),
        (salvage, "_carry"),
        (salvage, "_repair_items"),
    ],
)
def test_a_salvage_that_was_cut_off_is_continued(
    path: Path, module: ModuleType, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, 100)
    damage(path, 0, b"\xff" * 100)

    def cut(*_: Path | sqlite3.Connection | Table[Any] | Iterator[Any]) -> None:
        raise KeyboardInterrupt

    storage = SQLiteStorage(path)
    with monkeypatch.context() as patch:
        patch.setattr(module, step, cut)
        with pytest.raises(KeyboardInterrupt):
            storage.read(lambda reader: reader.count(ITEMS))
    assert not path.exists()
    other = SQLiteStorage(path)
    assert check_sound(other) == list(range(1, 101))
    assert "100 items" in present(other.notice)
    assert check_sound(storage) == list(range(1, 101))
    assert [file.name for file in aside_files(path) if "salvage" in file.name] == []
    storage.close()
    other.close()


def test_a_placeholder_without_a_renamed_file_is_deleted(path: Path) -> None:
    fill(path, 100)
    left = path.with_name("queue.db.damaged-20260101T000000.salvage")
    left.touch()
    storage = SQLiteStorage(path)
    assert check_sound(storage) == list(range(1, 101))
    storage.close()
    path.unlink()
    assert check_sound(storage) == []
    assert storage.notice is None
    assert not left.exists()
    storage.close()


def test_names_do_not_collide(path: Path) -> None:
    fill(path, rows=1)
    for _ in range(3):
        path.write_bytes(b"garbage" * 100)
        storage = SQLiteStorage(path)
        storage.write(lambda tx: None)
        storage.close()
    assert len(aside_files(path)) == 3


def test_a_file_that_cannot_be_renamed_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, rows=1)
    path.write_bytes(b"garbage" * 100)

    def refuse(*_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "rename", refuse)
    storage = SQLiteStorage(path)
    with pytest.raises(StorageCorruptError, match="cannot be set aside"):
        storage.write(lambda tx: None)
    assert path.read_bytes() == b"garbage" * 100
    assert aside_files(path) == []
    storage.close()


def test_a_false_alarm_changes_nothing(path: Path) -> None:
    fill(path, 100)
    storage = SQLiteStorage(path)
    runs: list[Any] = []

    def work(reader: Reader) -> int:
        runs.append(None)
        if len(runs) == 1:
            raise sqlite3.DatabaseError("database disk image is malformed")
        return reader.count(ITEMS)

    assert storage.read(work) == 100
    assert len(runs) == 2
    assert storage.notice is None
    assert aside_files(path) == []
    storage.close()


def test_a_notice_is_shown_for_a_day(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, 10)
    damage(path, 0, b"\xff" * 100)
    first = SQLiteStorage(path)
    first.write(lambda tx: None)
    first.close()
    again = SQLiteStorage(path)
    again.write(lambda tx: None)
    assert again.notice == first.notice
    again.close()
    monkeypatch.setattr(damaged_files, "_NOTICE_S", -1.0)
    later = SQLiteStorage(path)
    later.write(lambda tx: None)
    assert later.notice is None
    later.close()
