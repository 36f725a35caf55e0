"""The contract of a store that many machines share, as tests.

Subclass it beside ``StorageContract``, and override two fixtures::

    class TestMyStorage(SharedContract):
        @pytest.fixture
        def storage(self, tmp_path):
            storage = MyStorage(tmp_path / "queue")
            yield storage
            storage.close()

        @pytest.fixture
        def another(self, storage):
            another = MyStorage(storage.path)
            yield another
            another.close()

The store says what it can: if its delivery lock is not ``exclusive``, it is a ``SharedStorage``,
and keeps all of the contract. Any other store keeps what a store of one machine promises, and
refuses the rest. The store must be empty. Needs ``pytest``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bytelyst_sync.storage.base import Storage

pytest.register_assert_rewrite(
    "bytelyst_sync.testing.shared_deliverers",
    "bytelyst_sync.testing.shared_joins",
    "bytelyst_sync.testing.shared_leases",
    "bytelyst_sync.testing.shared_samples",
)

from bytelyst_sync.testing.shared_deliverers import DeliverersContract  # noqa: E402  rewritten
from bytelyst_sync.testing.shared_joins import JoinsContract  # noqa: E402  rewritten first
from bytelyst_sync.testing.shared_leases import LeasesContract  # noqa: E402  rewritten first

__all__ = ["SharedContract"]


class SharedContract(LeasesContract, DeliverersContract, JoinsContract):
    """Tests of several deliverers of one store; override ``storage`` and ``another``."""

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """An empty store, closed afterwards."""
        raise NotImplementedError("override this fixture: yield an empty store, then close it")

    @pytest.fixture
    def another(self, storage: Storage) -> Iterator[Storage]:
        """A second object for the same data, as another process has it, closed afterwards.

        ``storage`` itself, if the store has no other way to its data, as one in memory.
        """
        raise NotImplementedError("override this fixture: yield a second object for the same data")
