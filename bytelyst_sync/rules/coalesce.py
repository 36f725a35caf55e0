"""Coalescing: merges a queued operation and a new one on the same record.

The two may become one item only if the queued one is pending and not frozen, or has failed; if
neither has a key of the caller; if both expire at the same time; and if no item queued between the
two refers to the record. ``queue/merging.py`` checks that. This is the table.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs

from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.patch import compose, patch_create

__all__ = ["Coalesced", "Outcome", "coalesce"]

Json = dict[str, Any]
CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE


class Outcome(Enum):
    """The kinds of results."""

    ONE = "the queued item becomes this operation with this data"
    NOTHING = "the operations cancel each other: both are removed"
    BOTH = "both stay, in order"
    DELETED = "RecordDeletedError, and the queue unchanged"


@attrs.frozen
class Coalesced:
    """The result for two operations; ``operation`` and ``data`` are set with ``ONE`` only."""

    outcome: Outcome
    operation: SyncOperation | None = None
    data: Json | None = None


def coalesce(
    queued: SyncOperation,
    old: Json,
    new: SyncOperation,
    data: Json,
    rule: str,
    *,
    known: Callable[[], bool],
) -> Coalesced:
    """The table. ``rule`` is the dialect's patch rule; ``known`` returns whether the server has the
    record, as far as is known.
    """
    match queued, new:
        case SyncOperation.CREATE, SyncOperation.CREATE:
            return Coalesced(Outcome.ONE, CREATE, data)
        case SyncOperation.CREATE, SyncOperation.UPDATE:
            return Coalesced(Outcome.ONE, CREATE, patch_create(old, data, rule))
        case SyncOperation.CREATE, SyncOperation.DELETE:
            return Coalesced(Outcome.BOTH if known() else Outcome.NOTHING)
        case SyncOperation.UPDATE, SyncOperation.UPDATE | SyncOperation.CREATE:
            merged = compose(old, data, rule)
            if merged is None:
                return Coalesced(Outcome.BOTH)
            return Coalesced(Outcome.ONE, UPDATE, merged)
        case SyncOperation.UPDATE, SyncOperation.DELETE:
            return Coalesced(Outcome.ONE, DELETE, data)
        case SyncOperation.DELETE, SyncOperation.CREATE:
            return Coalesced(Outcome.BOTH)
        case SyncOperation.DELETE, SyncOperation.UPDATE:
            return Coalesced(Outcome.DELETED)
    return Coalesced(Outcome.ONE, DELETE, data)
