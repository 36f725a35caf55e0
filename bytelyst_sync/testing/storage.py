"""The contract of a store, as tests of everything that the package relies on.

Subclass it in your test suite and override the fixture that creates a store::

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
    "bytelyst_sync.testing.storage_rows",
    "bytelyst_sync.testing.storage_transactions",
    "bytelyst_sync.testing.storage_lookups",
)

from bytelyst_sync.testing.storage_lookups import LookupsContract  # noqa: E402  rewritten first
from bytelyst_sync.testing.storage_rows import RowsContract  # noqa: E402
from bytelyst_sync.testing.storage_transactions import TransactionsContract  # noqa: E402

__all__ = ["StorageContract"]


class StorageContract(RowsContract, TransactionsContract, LookupsContract):
    """Tests of ``bytelyst_sync.storage.base``; override the fixture ``storage``."""

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """An empty store, closed afterwards."""
        raise NotImplementedError("override this fixture: yield an empty store, then close it")

    def test_it_is_a_storage(self, storage: Storage) -> None:
        """It has every member of the port."""
        assert isinstance(storage, Storage)
