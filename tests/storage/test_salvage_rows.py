"""Which rows of a damaged table are sound, and where to look for them."""

import sqlite3

import pytest

from bytelyst_sync.storage.salvage_rows import Excavation, between, is_sound
from bytelyst_sync.storage.schema import ITEMS, META, RECORDS, TABLES, Meta, Record
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.testing.storage_samples import SAMPLES, make_item


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (ITEMS, make_item(1, lane=7)),
        (ITEMS, make_item(1, operation="upsert")),
        (ITEMS, make_item(1, data='{"a":')),
        (ITEMS, make_item(1, time="now")),
        (ITEMS, make_item(1, due=float("inf"))),
        (ITEMS, make_item(1, retries=-1)),
        (ITEMS, make_item(1, entity=b"\xff")),
        (ITEMS, make_item(1)._replace(id=None)),
        (RECORDS, Record("notes", "r", "{", None, 1, 1)),
        (META, Meta("a", None)),
    ],
)
def test_a_garbled_row_is_not_carried_over(table, row):
    assert not is_sound(table, row)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_sound_row_is(table):
    assert all(is_sound(table, row) for row in SAMPLES[table.name])


def test_between_finds_keys_in_the_middle():
    first, last = ("", 0), ("\U0010ffff", 2**53)
    assert between(("a", 1), ("a", 9), first, last) == ("a", 5)
    assert between(("a", 1), ("a", 2), first, last) is None
    middle = between(("notes", 5), ("tasks", 5), first, last)
    assert ("notes", 5) < middle < ("tasks", 5)
    assert between(("a", 1), ("a\0", 0), first, last) > ("a", 1)
    low, high = ("r00010", 0), ("r00011", 0)
    for _ in range(20):
        low = between(low, high, first, last)
        assert low < high


def test_a_table_that_is_not_there_is_incomplete():
    connection = sqlite3.connect(":memory:")
    excavation = Excavation(connection, ITEMS)
    assert list(excavation.rows()) == []
    assert not excavation.complete
    connection.close()


def test_a_search_that_finds_nothing_ends_soon(tmp_path):
    path = tmp_path / "queue.db"
    storage = SQLiteStorage(path)
    rows = [make_item(number) for number in range(1, 401)]
    storage.write(lambda tx: [tx.insert(ITEMS, row._replace(seq=tx.next_number())) for row in rows])
    storage.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(size // 4096):
            file.seek(page * 4096)
            text = file.read(4096)
            if text[:1] == b"\x0d" and b"notes" in text and page % 2:
                file.seek(page * 4096)
                file.write(bytes(4096))
    connection = sqlite3.connect(path)
    asked = []
    connection.set_trace_callback(asked.append)
    excavation = Excavation(connection, ITEMS)
    found = {row.seq for row in excavation.rows()}
    connection.close()
    assert not excavation.complete
    assert 100 < len(found) < 400
    assert len(asked) < 20_000
