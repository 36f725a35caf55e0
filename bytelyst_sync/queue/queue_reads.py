"""What a deliverer reads: the queue without what waits in the inbox.

A view of the queue with the inbox costs as much as a fold of all that waits there. A deliverer
needs none: its next transaction folds some of the inbox, and claims from the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bytelyst_sync.queue.inbox import InboxReads
from bytelyst_sync.storage.base import Reader, Storage

__all__ = ["QueueReads"]

T = TypeVar("T")


class QueueReads:
    """Reads of the queue alone. Any thread may use it; it holds no state."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._shared = storage if isinstance(storage, InboxReads) else None

    def read(self, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on one consistent view."""
        if self._shared is None:
            return self._storage.read(work)
        return self._shared.read_queue(work)

    def is_unfolded(self, tx: Reader) -> bool:
        """Whether the inbox has something that the next transaction will queue."""
        return self._shared is not None and self._shared.inbox.has_rows(tx)

    def has_unfolded(self) -> bool:
        """The same, in a view of its own."""
        return self._shared is not None and self.read(self.is_unfolded)
