"""A push on its way into the queue."""

from __future__ import annotations

from typing import Any

import attrs

from bytelyst_sync.entity import Entity
from bytelyst_sync.errors import RecordDeletedError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.prepare import prepared

__all__ = ["Change", "deleted"]

Json = dict[str, Any]


@attrs.frozen(eq=False)
class Change:
    """A push, checked and encoded. ``now`` is the wall clock."""

    entity: Entity
    operation: SyncOperation
    key: str
    data: Json
    now: float
    digest: str | None = None
    """Given if it may collapse onto a queued create of equal content."""
    text: str | None = None
    """The data as JSON, if that is known."""
    made: bool = False
    """Whether the id was made just now, so that nothing of its record can be queued."""

    @classmethod
    def of(cls, entity: Entity, operation: SyncOperation, data: Any, now: float) -> Change:
        """A push's arguments, checked; raises ``InvalidDataError``."""
        key, plain, text, digest, made = prepared(entity, operation, data)
        return cls(entity, operation, key, plain, now, digest, text, made)


def deleted(change: Change) -> RecordDeletedError:
    """The error for an update of a record whose delete is queued."""
    return RecordDeletedError(
        f"{change.entity.name} {change.key} cannot be updated: its delete is queued; "
        "create it anew, or cancel the delete first",
        entity=change.entity.name,
        record_id=change.key,
    )
