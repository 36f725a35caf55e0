"""The contracts of a store and of many deliverers, on each supported database."""

from collections.abc import Iterator

import pytest

from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.testing import SharedContract, StorageContract


class TestDjangoStorage(StorageContract):
    @pytest.fixture
    def storage(self, database: str) -> Iterator[DjangoStorage]:
        storage = DjangoStorage(using=database)
        yield storage
        storage.close()


class TestDjangoStorageBesideAnother(SharedContract):
    @pytest.fixture
    def storage(self, database: str) -> Iterator[DjangoStorage]:
        storage = DjangoStorage(using=database)
        yield storage
        storage.close()

    @pytest.fixture
    def another(self, database: str) -> Iterator[DjangoStorage]:
        another = DjangoStorage(using=database)
        yield another
        another.close()
