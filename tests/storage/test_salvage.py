"""A damaged file is set aside, and what can be read of it is carried over."""

import json
import os
import random
import sqlite3
import threading

import pytest

from bytelyst_sync.errors import StorageCorruptError
from bytelyst_sync.storage import salvage
from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.schema import CONFLICTS, ITEMS, META, RECORDS, TABLES, Lane, Meta, Record
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.storage.wal import MARK
from bytelyst_sync.testing.storage_samples import SAMPLES, all_rows, inserting, make_item

PAGE = 4096
MANY = 3000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.db"


def fill(path, rows=MANY):
    """A closed database with items, records, and one row at least in every table."""
    storage = SQLiteStorage(path, durability="normal")

    def work(tx):
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


def damage(path, offset, data=b"\0" * PAGE):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def aside_files(path):
    return sorted(file for file in path.parent.iterdir() if ".damaged-" in file.name)


def check_sound(storage):
    """Rows, counts, and integrity agree; gives the sequence numbers of the items."""
    items = all_rows(storage, ITEMS)
    assert sorted(storage.read(lambda reader: list(reader.scan(ITEMS, "lane")))) == items
    assert storage.read(lambda reader: reader.count(ITEMS)) == len(items)
    storage.write(lambda tx: None)
    assert storage._database.writer.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return [row.seq for row in items]


def test_a_damaged_header_loses_nothing(path):
    fill(path)
    damage(path, 0, b"\xff" * 100)
    storage = SQLiteStorage(path)
    assert storage.notice is None
    assert check_sound(storage) == list(range(1, MANY + 1))
    for table in TABLES:
        if table not in (ITEMS, RECORDS, META):
            assert all_rows(storage, table) == sorted(SAMPLES[table.name])
    (aside,) = aside_files(path)
    assert str(aside) in storage.notice
    assert f"{MANY} items" in storage.notice
    assert "could not be read" not in storage.notice
    assert aside.read_bytes()[:100] == b"\xff" * 100
    storage.close()


def test_a_lost_first_page_loses_nothing(path):
    fill(path)
    damage(path, 0)
    storage = SQLiteStorage(path)
    assert check_sound(storage) == list(range(1, MANY + 1))
    storage.close()


@pytest.mark.parametrize("seed", range(6))
def test_lost_pages_lose_what_was_on_them(path, seed):
    fill(path)
    pages = path.stat().st_size // PAGE
    chance = random.Random(seed)
    for page in chance.sample(range(1 + len(TABLES) * 4, pages), 5):
        damage(path, page * PAGE)
    storage = SQLiteStorage(path)
    left = set(check_sound(storage)) if storage.notice else set()
    seen = storage.read(lambda r: {row.record for row in r.scan(RECORDS)})
    assert storage.write(lambda tx: tx.next_number()) >= MANY
    assert len(set(check_sound(storage)) | left) >= MANY - 250
    assert len(seen) >= MANY - 300
    storage.close()


def roots_of(path):
    """The first page of each table and index, numbered from 0."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage").fetchall()
    connection.close()
    return {name: page - 1 for name, page in rows}


@pytest.mark.parametrize("data", [b"\0" * PAGE, b"\xff" * PAGE])
def test_whichever_first_page_is_lost_the_store_goes_on(tmp_path, data):
    whole = tmp_path / "whole.db"
    fill(whole, rows=20)
    for name, page in roots_of(whole).items():
        path = tmp_path / f"{name}.db"
        path.write_bytes(whole.read_bytes())
        damage(path, page * PAGE, data)
        storage = SQLiteStorage(path)
        number = storage.write(lambda tx: tx.next_number())
        assert number > 20, name
        for table in TABLES:
            for index in (None, *table.indexes):
                storage.read(
                    lambda reader, table=table, index=index: list(reader.scan(table, index))
                )
        check_sound(storage)
        storage.close()


def test_a_lost_leaf_costs_its_own_rows_only(path):
    fill(path)
    page = leaf_of(path, ITEMS, MANY // 2)
    damage(path, page * PAGE)
    storage = SQLiteStorage(path)
    left = check_sound(storage)
    lost = sorted(set(range(1, MANY + 1)) - set(left))
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert MANY // 2 in lost
    assert len(lost) < 60
    assert "some could not be read of: items" in storage.notice
    assert len(all_rows(storage, RECORDS)) == MANY
    mark = json.loads(storage.read(lambda r: r.get(META, MARK)).value)
    assert mark["incomplete"] == ["items"]
    storage.close()


def leaf_of(path, table: Table, key):
    """The number of the page that holds this row, found by looking for its record's id."""
    needle = f"r{key:05}".encode()
    data = path.read_bytes()
    for page in range(1, len(data) // PAGE):
        text = data[page * PAGE : (page + 1) * PAGE]
        if text[0] == (0x0D if table is ITEMS else 0x0A) and needle in text and b"{" in text:
            return page
    raise AssertionError("not found")


def test_lost_text_keys_are_dug_around(path):
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


def test_damage_at_run_time_is_set_aside_and_the_work_repeated(path):
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


def test_damage_found_in_a_write(path):
    fill(path)
    storage = SQLiteStorage(path)
    storage.write(lambda tx: None)
    damage(path, leaf_of(path, ITEMS, 10) * PAGE)
    runs = []

    def work(tx):
        runs.append(None)
        tx.insert(META, Meta("mine", "1"))
        return sum(1 for _ in tx.scan(ITEMS))

    assert storage.write(work) > MANY - 60
    assert len(runs) == 2
    assert storage.read(lambda reader: reader.get(META, "mine")) == Meta("mine", "1")
    assert "set aside" in storage.notice
    storage.close()


@pytest.mark.parametrize("garbage", [b"x", b"no database at all\n" * 1000, os.urandom(50_000)])
def test_garbage_is_set_aside(path, garbage):
    path.write_bytes(garbage)
    storage = SQLiteStorage(path)
    storage.write(inserting(make_item(1)))
    assert check_sound(storage) == [1]
    (aside,) = aside_files(path)
    assert aside.read_bytes() == garbage
    assert "carried over: nothing" in storage.notice
    storage.close()


def crashed(path, rows):
    """A database whose rows are in its WAL alone, as a crash leaves it."""
    storage = SQLiteStorage(path)
    for seq in range(1, rows + 1):
        storage.write(lambda tx, seq=seq: tx.insert(ITEMS, make_item(tx.next_number())))
    left = path.with_name("crashed.db")
    for suffix in ("", "-wal"):
        data = path.with_name(path.name + suffix).read_bytes()
        left.with_name(left.name + suffix).write_bytes(data)
    storage.close()
    return left


def end_of_log(path):
    """Where the frames of a log end: behind them there may be room that was made for more."""
    wal = path.with_name(path.name + "-wal")
    frames = -(-(len(wal.read_bytes().rstrip(b"\0")) - 32) // (24 + PAGE))
    return 32 + frames * (24 + PAGE)


def test_a_truncated_wal_keeps_what_was_before(path):
    path = crashed(path, 50)
    os.truncate(path.with_name("crashed.db-wal"), end_of_log(path) - 10_000)
    storage = SQLiteStorage(path)
    left = check_sound(storage)
    assert left == list(range(1, len(left) + 1))
    assert 40 <= len(left) < 50
    storage.close()


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_a_break_in_a_transaction_of_several_frames_is_told_of(path, frame):
    storage = SQLiteStorage(path)
    storage.write(lambda tx: None)
    places = []
    for _ in range(20):
        places.append(end_of_log(path))
        storage.write(lambda tx: tx.insert(ITEMS, make_item(tx.next_number(), data="x" * 30_000)))
    left = path.with_name("crashed.db")
    for suffix in ("", "-wal"):
        left.with_name(left.name + suffix).write_bytes(
            path.with_name(path.name + suffix).read_bytes()
        )
    storage.close()
    damage(left.with_name("crashed.db-wal"), places[10] + frame * (24 + PAGE) + 2000, b"\xff" * 8)
    storage = SQLiteStorage(left)
    assert check_sound(storage) == list(range(1, 11))
    assert "10 commits in it cannot be read" in storage.notice
    database, log = aside_files(left)
    assert str(log) in storage.notice
    assert log.stat().st_size > places[-1]
    assert all_rows(SQLiteStorage(database), ITEMS) == all_rows(storage, ITEMS)
    storage.close()


def test_the_wal_is_carried_over_with_its_database(path):
    path = crashed(path, 50)
    damage(path, 0, b"\xff" * 100)
    storage = SQLiteStorage(path)
    assert check_sound(storage) == list(range(1, 51))
    storage.close()


def test_the_sequence_goes_on_far_beyond_what_was_found(path):
    fill(path)
    damage(path, 0, b"\xff" * 100)
    storage = SQLiteStorage(path)
    assert storage.write(lambda tx: tx.next_number()) > MANY + 1_000_000
    storage.close()


def test_what_was_being_sent_is_frozen_and_nothing_waits_for_what_is_lost(path):
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


def test_the_others_notice_and_say_so(path):
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


def test_threads_that_meet_damage_set_it_aside_once(path):
    fill(path)
    damage(path, leaf_of(path, ITEMS, 10) * PAGE)
    storages = [SQLiteStorage(path) for _ in range(3)]
    found = []
    start = threading.Barrier(6)

    def look(storage):
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


@pytest.mark.parametrize("step", ["_fill", "_sync", "_carry", "_mend_items"])
def test_a_salvage_that_was_cut_short_is_taken_up(path, step, monkeypatch):
    fill(path, 100)
    damage(path, 0, b"\xff" * 100)

    def cut(*_):
        raise KeyboardInterrupt

    storage = SQLiteStorage(path)
    with monkeypatch.context() as patch:
        patch.setattr(salvage, step, cut)
        with pytest.raises(KeyboardInterrupt):
            storage.read(lambda reader: reader.count(ITEMS))
    assert not path.exists()
    other = SQLiteStorage(path)
    assert check_sound(other) == list(range(1, 101))
    assert "100 items" in other.notice
    assert check_sound(storage) == list(range(1, 101))
    assert [file.name for file in aside_files(path) if "salvage" in file.name] == []
    storage.close()
    other.close()


def test_an_announcement_without_a_renamed_file_is_dropped(path):
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


def test_names_do_not_collide(path):
    for _ in range(3):
        path.write_bytes(b"garbage" * 100)
        storage = SQLiteStorage(path)
        storage.write(lambda tx: None)
        storage.close()
    assert len(aside_files(path)) == 3


def test_a_file_that_cannot_be_renamed_is_told_of(path, monkeypatch):
    path.write_bytes(b"garbage" * 100)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "rename", refuse)
    storage = SQLiteStorage(path)
    with pytest.raises(StorageCorruptError, match="cannot be set aside"):
        storage.write(lambda tx: None)
    assert path.read_bytes() == b"garbage" * 100
    assert aside_files(path) == []
    storage.close()


def test_a_false_alarm_changes_nothing(path):
    fill(path, 100)
    storage = SQLiteStorage(path)
    runs = []

    def work(reader):
        runs.append(None)
        if len(runs) == 1:
            raise sqlite3.DatabaseError("database disk image is malformed")
        return reader.count(ITEMS)

    assert storage.read(work) == 100
    assert len(runs) == 2
    assert storage.notice is None
    assert aside_files(path) == []
    storage.close()


def test_a_notice_fades_after_a_day(path, monkeypatch):
    fill(path, 10)
    damage(path, 0, b"\xff" * 100)
    first = SQLiteStorage(path)
    first.write(lambda tx: None)
    first.close()
    again = SQLiteStorage(path)
    again.write(lambda tx: None)
    assert again.notice == first.notice
    again.close()
    monkeypatch.setattr(salvage, "_NOTICE_S", -1.0)
    later = SQLiteStorage(path)
    later.write(lambda tx: None)
    assert later.notice is None
    later.close()
