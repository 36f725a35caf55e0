"""Mistaken calls of a transaction: the same errors from all stores of the package."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item

STORES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda folder: MemoryStorage(),
    "sqlite": lambda folder: SQLiteStorage(folder / "queue.db"),
    "lmdb": lambda folder: LmdbStorage(folder / "queue.mdb"),
}
MISTAKES = {
    "insert": lambda tx: tx.insert(ITEMS, make_item(1)),
    "replace": lambda tx: tx.replace(ITEMS, make_item(3), make_item(3, position=9)),
    "moved": lambda tx: tx.replace(ITEMS, make_item(1), make_item(2)),
    "delete": lambda tx: tx.delete(ITEMS, make_item(3)),
}


@pytest.fixture(params=STORES)
def storage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[MemoryStorage | SQLiteStorage | LmdbStorage]:
    storage: Any = STORES[request.param](tmp_path)
    yield storage
    storage.close()


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_change_of_a_row_that_is_not_there_or_of_a_key_that_is(
    storage: MemoryStorage | SQLiteStorage | LmdbStorage,
    mistake: Callable[..., MemoryStorage | SQLiteStorage | LmdbStorage],
) -> None:
    storage.write(inserting(make_item(1), make_item(2)))
    with pytest.raises((ValueError, LookupError), match=r"items (already )?has"):
        storage.write(mistake)
    assert all_rows(storage, ITEMS) == [make_item(1), make_item(2)]


def test_a_scan_with_bounds_longer_than_its_index(
    storage: MemoryStorage | SQLiteStorage | LmdbStorage,
) -> None:
    with pytest.raises(ValueError, match="ordered by"):
        storage.read(lambda reader: list(reader.scan(ITEMS, "due", (1.0,), after=(1, 2))))
