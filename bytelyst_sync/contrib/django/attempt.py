"""One try to run work under the lock of a queue: see ``storage.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from bytelyst_sync.contrib.django.database import Vendor, vendor_of
from bytelyst_sync.contrib.django.reader import QueueState
from bytelyst_sync.contrib.django.transaction import DjangoTransaction
from bytelyst_sync.storage.base import Transaction

__all__ = ["Attempt"]

T = TypeVar("T")


class _Store(Protocol):
    """The methods of the store that an attempt calls."""

    queue: str

    def observe_clock(self, now: float) -> None:
        """The database's clock reads ``now``."""
        ...

    def enter(self, inside: bool) -> None:
        """Whether this thread runs the work of a transaction."""
        ...


class Attempt(Generic[T]):
    """One try to run work under the lock of the queue. ``is_added``: its row is known to exist."""

    def __init__(
        self, storage: _Store, work: Callable[[Transaction], T], *, is_added: bool = False
    ) -> None:
        self._storage = storage
        self._work = work
        self._is_added = is_added
        self.began = False
        """Whether the lock was taken, so that the work began."""
        self.lacks_queue = False
        """Whether the row of the queue has still to be added."""
        self.results: list[T] = []

    def run(self, connection: Any) -> None:
        """Does nothing if another session has the lock."""
        vendor, storage = vendor_of(connection), self._storage
        with vendor.transaction(connection, vendor.write):
            row = self._lock(connection, vendor)
            if row is None:
                return
            self.began = True
            *state, now = row
            storage.observe_clock(float(now))
            tx = DjangoTransaction(connection, storage.queue, QueueState(*state))
            storage.enter(inside=True)
            try:
                result = self._work(tx)
                tx.finish()
                self.results.append(result)
            finally:
                storage.enter(inside=False)
                tx.end()

    def _lock(self, connection: Any, vendor: Vendor) -> tuple[Any, ...] | None:
        queue = self._storage.queue
        with connection.cursor() as cursor:
            cursor.execute(vendor.lock, [queue])
            row: tuple[Any, ...] | None = cursor.fetchone()
            if row is None and not self._is_added:
                cursor.execute("SELECT 1 FROM bytelyst_sync_queues WHERE name = %s", [queue])
                self.lacks_queue = cursor.fetchone() is None
            return row
