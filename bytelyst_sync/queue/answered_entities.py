"""Remembers for which entities the API has ever answered.

Where it never has, a page in place of its answer may also mean that ``base_url`` or an endpoint is
wrong. Runs inside a storage transaction.
"""

from __future__ import annotations

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.replica.cursors import load
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import META, RECORDS, Meta

__all__ = ["AnsweredEntities", "has_answered"]

_PREFIX = "answered/"


class AnsweredEntities:
    """The entities whose writes the API has answered. ``note`` stores each of them once."""

    def __init__(self) -> None:
        self._stored: set[str] = set()

    def note(self, work: UnitOfWork, entity: str) -> None:
        """The API has answered a write of this entity."""
        if entity in self._stored:
            return
        name = _PREFIX + entity
        if work.tx.get(META, name) is None:
            work.tx.insert(META, Meta(name, "1"))
        else:
            self._stored.add(entity)  # so it is committed


def has_answered(tx: Reader, entity: Entity) -> bool:
    """Whether the API has ever answered for this entity, to a write or to a pull."""
    progress = load(tx, entity)
    return (
        tx.get(META, _PREFIX + entity.name) is not None
        or progress.cursor is not None
        or bool(progress.checkpoints)
        or any(row.changed_seq > 0 for row in tx.scan(RECORDS, None, (entity.name,)))
    )
