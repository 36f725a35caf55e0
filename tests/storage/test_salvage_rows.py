"""Which rows of a damaged table are sound, and where to look for them."""

import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest

from bytelyst_sync.storage.base import Table, Transaction
from bytelyst_sync.storage.row_checks import is_sound
from bytelyst_sync.storage.schema import ITEMS, META, RECORDS, TABLES, Item, Meta, Record
from bytelyst_sync.storage.sqlite.salvage_rows import TableRecovery, between
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import SAMPLES, make_item
from tests.typed import present


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (ITEMS, make_item(1, lane=7)),
        (ITEMS, make_item(1, operation="upsert")),
        (ITEMS, make_item(1, data='{"a":')),
        (ITEMS, make_item(1, time="now")),
        (ITEMS, make_item(1, due=float("inf"))),
        (ITEMS, make_item(1, retries=-1)),
        (ITEMS, make_item(1, entity=cast("str", b"\xff"))),
        (ITEMS, make_item(1)._replace(id=cast("str", None))),
        (RECORDS, Record("notes", "r", "{", None, 1, 1)),
        (META, Meta("a", cast("str", None))),
    ],
)
def test_a_malformed_row_is_not_sound(table: Table[Any], row: Item | Record | Meta) -> None:
    assert not is_sound(table, row)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_row_of_each_table_is_sound(table: Table[Any]) -> None:
    assert all(is_sound(table, row) for row in SAMPLES[table.name])


def test_between_finds_keys_in_the_middle() -> None:
    first, last = ("", 0), ("\U0010ffff", 2**53)
    assert between(("a", 1), ("a", 9), first, last) == ("a", 5)
    assert between(("a", 1), ("a", 2), first, last) is None
    middle = present(between(("notes", 5), ("tasks", 5), first, last))
    assert ("notes", 5) < middle < ("tasks", 5)
    assert present(between(("a", 1), ("a\0", 0), first, last)) > ("a", 1)
    low: tuple[Any, ...] = ("r00010", 0)
    high = ("r00011", 0)
    for _ in range(20):
        low = present(between(low, high, first, last))
        assert low < high


def test_a_table_that_is_not_there_is_incomplete() -> None:
    connection = sqlite3.connect(":memory:")
    recovery = TableRecovery(connection, ITEMS)
    assert list(recovery.rows()) == []
    assert not recovery.complete
    connection.close()


def test_a_search_that_finds_nothing_ends_soon(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    storage = SQLiteStorage(path)
    rows = [make_item(number) for number in range(1, 401)]

    def fill(tx: Transaction) -> None:
        for row in rows:
            tx.insert(ITEMS, row._replace(seq=tx.next_number()))

    storage.write(fill)
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
    asked: list[Any] = []
    connection.set_trace_callback(asked.append)
    recovery = TableRecovery(connection, ITEMS)
    found = {row.seq for row in recovery.rows()}
    connection.close()
    assert not recovery.complete
    assert 100 < len(found) < 400
    assert len(asked) < 20_000
