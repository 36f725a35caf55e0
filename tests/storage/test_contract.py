"""The stores that come with the package keep the contract."""

import pytest

from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.sqlite import SQLiteStorage
from bytelyst_sync.testing.storage import StorageContract


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def storage(self):
        return MemoryStorage()


class TestSQLiteStorage(StorageContract):
    @pytest.fixture(params=["full", "normal"])
    def storage(self, tmp_path, request):
        storage = SQLiteStorage(tmp_path / "queue.db", durability=request.param)
        yield storage
        storage.close()
