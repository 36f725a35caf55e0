"""The values that everything here speaks: items, results, status, conflicts, changes.

All are frozen and safe to share between threads. Their ``repr`` shows no payload, so that one
may log them.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

import attrs

__all__ = [
    "Conflict",
    "ConflictStrategy",
    "ItemState",
    "RecordChange",
    "SyncItem",
    "SyncOperation",
    "SyncResult",
    "SyncStatus",
    "SyncStatusInfo",
]

Json = dict[str, Any]


class _Word(str, Enum):
    """A string enum that prints as its value on every supported Python."""

    def __str__(self) -> str:
        return str(self.value)


class SyncOperation(_Word):
    """What an item does to its record."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class ConflictStrategy(_Word):
    """Who wins where both sides changed a record (SPEC §5)."""

    SERVER_WINS = "server-wins"
    CLIENT_WINS = "client-wins"
    LAST_WRITE_WINS = "last-write-wins"
    MERGE = "merge"
    MANUAL = "manual"


class ItemState(_Word):
    """Where an item stands.

    ``pending``, ``sending``, ``failed`` and ``conflict`` are states of the queue; ``delivered``,
    ``cancelled`` and ``settled`` (left the queue unseen by this engine) only come from ``wait``.
    """

    PENDING = "pending"
    SENDING = "sending"
    FAILED = "failed"
    CONFLICT = "conflict"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    SETTLED = "settled"


class SyncStatus(_Word):
    """What the engine is doing."""

    IDLE = "idle"
    SYNCING = "syncing"
    OFFLINE = "offline"
    ERROR = "error"
    CLOSED = "closed"


@attrs.frozen(kw_only=True)
class SyncItem:
    """One queued operation, as it was when it was looked at.

    ``id`` is also its Idempotency-Key. ``timestamp`` and ``next_attempt`` are aware UTC datetimes.
    A handle follows the item that it was coalesced into: give any of them to ``wait``.
    """

    id: str
    entity: str
    record_id: str
    operation: SyncOperation
    data: Json = attrs.field(repr=False, hash=False)
    timestamp: datetime
    retry_count: int = 0
    last_error: str | None = attrs.field(default=None, repr=False)
    state: ItemState = ItemState.PENDING
    base_version: str | None = None
    next_attempt: datetime | None = None
    place: int = attrs.field(default=0, repr=False, eq=False)
    """Its place in the queue; kept through coalescing, never given twice."""


@attrs.frozen(kw_only=True)
class SyncResult:
    """What a flush or pull did. ``duration`` is in seconds.

    ``success``: no errors, the network was reached, and nothing that was queued at the call is
    left queued or parked. ``remaining`` counts what is still queued.
    """

    success: bool
    pushed: int = 0
    pulled: int = 0
    conflicts: int = 0
    errors: int = 0
    timestamp: datetime
    duration: float = 0.0
    remaining: int = 0
    offline: bool = False


@attrs.frozen(kw_only=True)
class SyncStatusInfo:
    """The engine at one instant. Times are aware UTC datetimes.

    ``queue_length`` counts what is queued and not yet delivered; failed items and parked
    conflicts are counted beside it. ``since`` is when ``status`` last changed.
    """

    status: SyncStatus
    queue_length: int
    failed: int = 0
    conflicts: int = 0
    online: bool = True
    paused: bool = False
    last_error: str | None = attrs.field(default=None, repr=False)
    last_sync: datetime | None = None
    next_retry: datetime | None = None
    since: datetime


@attrs.frozen(kw_only=True)
class Conflict:
    """Both sides changed one record.

    ``local`` is the record as this program sees it (``None``: deleted here), ``remote`` the
    server's (``None``: deleted there), ``base`` what both started from (``None``: unknown).
    ``fields`` names those in real conflict. ``resolution`` is ``None`` while it is open.
    """

    id: str
    entity: str
    record_id: str
    operation: SyncOperation
    local: Json | None = attrs.field(repr=False, hash=False)
    remote: Json | None = attrs.field(repr=False, hash=False)
    base: Json | None = attrs.field(default=None, repr=False, hash=False)
    local_time: datetime
    remote_time: datetime | None = None
    fields: tuple[str, ...] = ()
    resolution: str | None = None


@attrs.frozen(kw_only=True)
class RecordChange:
    """A record of the local view changed; ``None`` stands for "not there"."""

    entity: str
    record_id: str
    before: Json | None = attrs.field(repr=False, hash=False)
    after: Json | None = attrs.field(repr=False, hash=False)
    origin: str
