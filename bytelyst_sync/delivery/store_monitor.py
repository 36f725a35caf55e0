"""Reports once that the store was recovered, or holds items that this engine does not send.

Owned by the worker's thread.
"""

from __future__ import annotations

import logging

from bytelyst_sync.delivery.context import DeliveryContext
from bytelyst_sync.errors import AccountMismatchError, StorageError
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["StoreMonitor"]

logger = SafeLogger("bytelyst_sync.store_monitor")


class StoreMonitor:
    """Checks the store on request; logs each message once, and sets it as the last error."""

    def __init__(self, context: DeliveryContext) -> None:
        self._storage = context.storage
        self._queue = context.queue
        self._claims = context.claims
        self._board = context.board
        self._changes: object = None
        self._reported: set[str] = set()
        self.unknown_entities: list[str] = []
        """Entities with queued items that this engine does not know."""

    def check(self) -> None:
        """Reads the store's notice, and its entities if the store has changed."""
        notice = self._storage.notice
        if notice is not None:
            self._report(logging.ERROR, notice)
        if self._claims.line.newer:
            message = "items that a newer version of this program pushed are left to that version"
            self._report(logging.WARNING, message)
        token = self._storage.changes()
        if token == self._changes:
            return
        self._changes = token
        self.unknown_entities = self._queue.read(self._claims.unknown_entities)
        for name in self.unknown_entities:
            self._report(
                logging.WARNING,
                f"items of entity {name!r} wait for an engine that has it configured",
            )

    def has_changed(self) -> bool:
        """Whether the store has changed since the last check, or cannot be read."""
        try:
            return self._storage.changes() != self._changes
        except (StorageError, AccountMismatchError):
            return True

    def _report(self, level: int, message: str) -> None:
        if message not in self._reported:
            self._reported.add(message)
            logger.log(level, message)
            self._board.note_error(message, passing=False)
