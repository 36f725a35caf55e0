"""Coalescing: what becomes of a queued operation and a new one on the same record (SPEC §3).

The two meet only while the queued one is pending and not frozen, or was rejected; whether they
may meet is the outbox's to say, what becomes of them is this table.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import attrs

from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.patch import compose, patch_create

__all__ = ["Meeting", "Outcome", "coalesce"]

Json = dict[str, Any]
CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE


class Outcome(Enum):
    """What the queue does about it."""

    ONE = "the queued item becomes this operation with this data"
    NOTHING = "both vanish"
    BOTH = "both stay, in order"
    DELETED = "RecordDeletedError, and the queue unchanged"


@attrs.frozen
class Meeting:
    """What becomes of the two; ``operation`` and ``data`` are given with ``ONE``."""

    outcome: Outcome
    operation: SyncOperation | None = None
    data: Json | None = None


def coalesce(
    queued: SyncOperation, old: Json, new: SyncOperation, data: Json, rule: str
) -> Meeting:
    """The table of SPEC §3. ``rule`` is the dialect's patch rule."""
    pair = (queued, new)
    if pair == (CREATE, CREATE):
        return Meeting(Outcome.ONE, CREATE, data)
    if pair == (CREATE, UPDATE):
        return Meeting(Outcome.ONE, CREATE, patch_create(old, data, rule))
    if pair == (CREATE, DELETE):
        return Meeting(Outcome.NOTHING)
    if pair in ((UPDATE, UPDATE), (UPDATE, CREATE)):
        merged = compose(old, data, rule)
        return Meeting(Outcome.BOTH) if merged is None else Meeting(Outcome.ONE, UPDATE, merged)
    if pair == (UPDATE, DELETE):
        return Meeting(Outcome.ONE, DELETE, data)
    if pair == (DELETE, CREATE):
        return Meeting(Outcome.BOTH)
    if pair == (DELETE, UPDATE):
        return Meeting(Outcome.DELETED)
    return Meeting(Outcome.ONE, DELETE, data)
