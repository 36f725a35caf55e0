"""What a store has to tell that nobody asked for: that it was damaged, and that items wait in it
for another engine. Owned by the worker's thread.
"""

from __future__ import annotations

import logging

from bytelyst_sync.errors import StorageError
from bytelyst_sync.flows.status import StatusBoard
from bytelyst_sync.state.claims import Claims
from bytelyst_sync.storage.base import Storage

__all__ = ["Lookout"]

logger = logging.getLogger("bytelyst_sync.lookout")


class Lookout:
    """Looks whenever it is asked to, and reports each thing once."""

    def __init__(self, storage: Storage, claims: Claims, board: StatusBoard) -> None:
        self._storage = storage
        self._claims = claims
        self._board = board
        self._changes: object = None
        self._reported: set[str] = set()
        self.foreign: list[str] = []
        """Entities with queued items that this engine does not know."""

    def look(self) -> None:
        """Takes in the store's notice, and the entities in it if something has changed."""
        notice = self._storage.notice
        if notice is not None:
            self._report(logging.ERROR, notice)
        token = self._storage.changes()
        if token == self._changes:
            return
        self._changes = token
        self.foreign = self._storage.read(self._claims.unknown_entities)
        for name in self.foreign:
            self._report(
                logging.WARNING,
                f"items of entity {name!r} wait for an engine that has it configured",
            )

    def stirred(self) -> bool:
        """Whether something has changed since the last look, or cannot be looked at."""
        try:
            return self._storage.changes() != self._changes
        except StorageError:
            return True

    def _report(self, level: int, message: str) -> None:
        if message not in self._reported:
            self._reported.add(message)
            logger.log(level, "%s", message)
            self._board.note_error(message, passing=False)
