"""Hypothesis looks for a sequence of transactions after which a store is not what it should be."""

from itertools import count
from pathlib import Path

from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.storage_model import check_against_model


def test_memory_agrees_with_the_model() -> None:
    check_against_model(MemoryStorage)


def test_sqlite_agrees_with_the_model(tmp_path: Path) -> None:
    numbers = count()
    check_against_model(
        lambda: SQLiteStorage(tmp_path / f"{next(numbers)}.db", durability="normal"), examples=20
    )


def test_lmdb_agrees_with_the_model(tmp_path: Path) -> None:
    numbers = count()
    check_against_model(
        lambda: LmdbStorage(tmp_path / f"{next(numbers)}.mdb", durability="normal"), examples=20
    )
