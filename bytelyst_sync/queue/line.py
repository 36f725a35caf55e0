"""Which items this program may send, by the order of the queue and by their schema version.

With ``order="strict"`` the items of all entities form one line. Only the first item of the line is
sent; if it failed or is parked, all others wait. Expired items are not part of the line.

Items of an earlier schema version are migrated before they are sent. Items of a later version are
left to a program of that version. A frozen item is sent again exactly as it was.
"""

from __future__ import annotations

from bytelyst_sync.config.entity import Entities
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["Line"]

_STOPPED = (Lane.FAILED, Lane.PARKED)


class Line:
    """The order of one engine's items. Used by the worker's thread only.

    ``older`` and ``newer`` say whether ``is_ours`` has seen items of an earlier or later version.
    """

    def __init__(
        self, entities: Entities, *, strict: bool = False, schema_version: int = 1
    ) -> None:
        self.strict = strict
        self._entities = entities
        self._version = schema_version
        self.stored_version = None if schema_version == 1 else schema_version
        """The value of ``Item.schema_version`` for this program: ``None`` stands for version 1."""
        self.older = False
        self.newer = False

    def is_ours(self, item: Item) -> bool:
        """Whether the item's schema version allows this program to send it."""
        version = item.schema_version or 1
        if version == self._version or (version < self._version and item.frozen):
            return True
        self.older |= version < self._version
        self.newer |= version > self._version
        return False

    def first_ready(self, tx: Reader, entity: str, upto: int | None = None) -> Item | None:
        """The first item of an entity, up to the ``seq`` ``upto``, that may be sent now."""
        bound = None if upto is None else (upto,)
        item = next(tx.scan(ITEMS, "lane", (Lane.READY, entity), upto=bound, limit=1), None)
        if item is None or self.is_ours(item):
            return item
        others = tx.scan(ITEMS, "lane", (Lane.READY, entity), upto=bound)
        return next(filter(self.is_ours, others), None)

    def head(self, tx: Reader) -> Item | None:
        """The first item of the line of all entities."""
        item = next(tx.scan(ITEMS, limit=1), None)
        if item is None or not item.expired:
            return item
        return next((each for each in tx.scan(ITEMS) if not each.expired), None)

    def sendable_head(self, tx: Reader) -> Item | None:
        """The head of the line, if it may be sent now."""
        item = self.head(tx)
        if item is None or item.lane != Lane.READY or item.entity not in self._entities:
            return None
        return item if self.is_ours(item) else None

    def stopped_by(self, tx: Reader) -> Item | None:
        """With ``order="strict"``: the item that stops the line until somebody decides about it."""
        item = self.head(tx) if self.strict else None
        if item is None:
            return None
        unknown = item.entity not in self._entities or not self.is_ours(item)
        return item if unknown or item.lane in _STOPPED else None
