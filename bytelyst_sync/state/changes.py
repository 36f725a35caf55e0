"""A push on its way into the queue."""

from __future__ import annotations

from typing import Any, NamedTuple

from bytelyst_sync.entity import Entity
from bytelyst_sync.errors import RecordDeletedError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.prepare import prepared

__all__ = ["Change", "deleted"]

Json = dict[str, Any]


class Change(NamedTuple):
    """A push, checked and encoded. ``now`` is the wall clock."""

    entity: Entity
    operation: SyncOperation
    now: float
    key: str
    data: Json
    text: str | None = None
    """The data as JSON, if that is known."""
    digest: str | None = None
    """Given if it may collapse onto a queued create of equal content."""
    made: bool = False
    """Whether the id was made just now, so that nothing of its record can be queued."""

    @classmethod
    def of(cls, entity: Entity, operation: SyncOperation, data: Any, now: float) -> Change:
        """A push's arguments, checked; raises ``InvalidDataError``."""
        return cls(entity, operation, now, *prepared(entity, operation, data))


def deleted(change: Change) -> RecordDeletedError:
    """The error for an update of a record whose delete is queued."""
    return RecordDeletedError(
        f"{change.entity.name} {change.key} cannot be updated: its delete is queued; "
        "create it anew, or cancel the delete first",
        entity=change.entity.name,
        record_id=change.key,
    )
