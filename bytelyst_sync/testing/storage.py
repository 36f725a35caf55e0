"""The contract of a store, as tests: what the package relies on, clause by clause.

Subclass it in your test suite and say how a store is made; pytest does the rest::

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def storage(self, tmp_path):
            storage = MyStorage(tmp_path / "queue")
            yield storage
            storage.close()

The store must be empty. Needs ``pytest``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bytelyst_sync.storage.base import Storage

pytest.register_assert_rewrite(
    "bytelyst_sync.testing.storage_rows", "bytelyst_sync.testing.storage_transactions"
)

from bytelyst_sync.testing.storage_rows import RowsContract  # noqa: E402  rewritten first
from bytelyst_sync.testing.storage_transactions import TransactionsContract  # noqa: E402

__all__ = ["StorageContract"]


class StorageContract(RowsContract, TransactionsContract):
    """Every clause of ``bytelyst_sync.storage.base``; override the fixture ``storage``."""

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """An empty store, closed afterwards."""
        raise NotImplementedError("override this fixture: yield an empty store, then close it")

    def test_it_is_a_storage(self, storage: Storage) -> None:
        """It has every member of the port."""
        assert isinstance(storage, Storage)
