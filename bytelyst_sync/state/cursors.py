"""How far each entity has been pulled: kept in the store, and compared as it stands there.

A page is committed only if what was stored when it was asked for is what is stored now. Runs
inside a storage transaction.
"""

from __future__ import annotations

import json

import attrs

from bytelyst_sync.entity import Entity
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import CURSOR_PREFIX, META, Meta

__all__ = ["Stored", "load", "store", "stored_at"]


@attrs.frozen
class Stored:
    """What the store knows of an entity's pull. ``full`` is the number at which the listing that
    is under way began, ``None`` between listings.
    """

    cursor: str | None = None
    full: int | None = None
    text: str | None = None

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on from."""
        return self.cursor is not None or self.full is not None


def stored_at(cursor: str | None, full: int | None) -> Stored:
    """What is to be stored, as it will stand there."""
    return Stored(cursor, full, json.dumps({"cursor": cursor, "full": full}))


def _name(entity: Entity) -> str:
    return CURSOR_PREFIX + entity.name


def load(tx: Reader, entity: Entity) -> Stored:
    """What is stored of an entity."""
    row = tx.get(META, _name(entity))
    if row is None:
        return Stored()
    value = json.loads(row.value)
    return Stored(value["cursor"], value["full"], row.value)


def store(tx: Transaction, entity: Entity, stored: Stored) -> None:
    """Stores it."""
    new = Meta(_name(entity), stored.text or "")
    old = tx.get(META, new.name)
    if old is None:
        tx.insert(META, new)
    else:
        tx.replace(META, old, new)
