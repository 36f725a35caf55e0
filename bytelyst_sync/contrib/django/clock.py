"""The engine's clock on a shared store: the database's, so that all machines agree on it."""

from __future__ import annotations

from contextlib import suppress

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.errors import StorageError

__all__ = ["DatabaseClock"]

_FRESH_S = 60.0


class DatabaseClock(SystemClock):
    """This machine's clock, corrected by how far the database's is ahead of it.

    The correction is read with each transaction of the queue, and by ``refresh``.
    """

    def __init__(self, storage: DjangoStorage) -> None:
        self._storage = storage

    def wall(self) -> float:
        """Seconds since the epoch, without a query."""
        return super().wall() + (self._storage.offset_s or 0.0)

    def refresh(self) -> None:
        """Reads the correction again if it is old."""
        read_at = self._storage.offset_read_at
        if read_at is None or self.monotonic() - read_at > _FRESH_S:
            with suppress(StorageError):
                self._storage.now()
