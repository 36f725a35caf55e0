"""The stores that come with the package keep the contract."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from bytelyst_sync.testing.shared import SharedContract
from bytelyst_sync.testing.storage import StorageContract


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage()


class TestSQLiteStorage(StorageContract):
    @pytest.fixture(params=["full", "normal"])
    def storage(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SQLiteStorage]:
        storage = SQLiteStorage(tmp_path / "queue.db", durability=request.param)
        yield storage
        storage.close()


class TestLmdbStorage(StorageContract):
    @pytest.fixture(params=["full", "normal"])
    def storage(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LmdbStorage]:
        storage = LmdbStorage(tmp_path / "queue.mdb", durability=request.param)
        yield storage
        storage.close()


class TestGrowingLmdbStorage(StorageContract):
    """The map is full again and again."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[LmdbStorage]:
        storage = LmdbStorage(tmp_path / "queue.mdb", "normal", map_bytes=64 * 1024)
        yield storage
        storage.close()


class TestMemoryStorageBesideAnother(SharedContract):
    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage()

    @pytest.fixture
    def another(self, storage: LmdbStorage) -> Any:
        return storage


class TestSQLiteStorageBesideAnother(SharedContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[SQLiteStorage]:
        storage = SQLiteStorage(tmp_path / "queue.db", durability="normal")
        yield storage
        storage.close()

    @pytest.fixture
    def another(self, storage: LmdbStorage, tmp_path: Path) -> Iterator[SQLiteStorage]:
        another = SQLiteStorage(tmp_path / "queue.db", durability="normal")
        yield another
        another.close()


class TestLmdbStorageBesideAnother(SharedContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[LmdbStorage]:
        storage = LmdbStorage(tmp_path / "queue.mdb", "normal")
        yield storage
        storage.close()

    @pytest.fixture
    def another(self, storage: LmdbStorage, tmp_path: Path) -> Iterator[LmdbStorage]:
        another = LmdbStorage(tmp_path / "queue.mdb", "normal")
        yield another
        another.close()
