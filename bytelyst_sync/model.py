"""Public values: items, results, status, conflicts, changes.

All are frozen and safe to share between threads. Their ``repr`` is short and shows no payload, so
they can be logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import attrs

__all__ = [
    "Conflict",
    "ConflictStrategy",
    "ItemState",
    "Problem",
    "RecordChange",
    "RecordView",
    "SyncItem",
    "SyncOperation",
    "SyncResult",
    "SyncStatus",
    "SyncStatusInfo",
    "ViewState",
]

Json = dict[str, Any]
Origin = Literal["local", "remote"]
StatusReason = Literal[
    "outage", "credentials", "portal", "vanished", "blocked", "deliverer", "mapping"
]
_LONGEST = 300
"""Longer values are cut in a ``repr``."""


class _Word(str, Enum):
    """A string enum that prints as its value on every supported Python."""

    def __str__(self) -> str:
        return str(self.value)


def _short(value: Any) -> str:
    """Class and fields; a field that has its default is left out."""
    parts = []
    for field in attrs.fields(type(value)):
        given = getattr(value, field.name)
        if field.repr is False or (field.default is not attrs.NOTHING and given == field.default):
            continue
        shown = field.repr(given) if callable(field.repr) else _plain(given)
        parts.append(f"{field.name}={shown}")
    return f"{type(value).__name__}({', '.join(parts)})"


def _plain(value: Any) -> str:
    """Enums as their words, times in ISO 8601, everything else as its ``repr``."""
    if isinstance(value, Enum):
        return repr(value.value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


class SyncOperation(_Word):
    """What an item does to its record."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class ConflictStrategy(_Word):
    """Which side wins where both changed a record."""

    SERVER_WINS = "server-wins"
    CLIENT_WINS = "client-wins"
    LAST_WRITE_WINS = "last-write-wins"
    MERGE = "merge"
    MANUAL = "manual"


class ItemState(_Word):
    """The state of an item.

    ``pending``, ``sending``, ``failed`` and ``conflict`` are states of queued items. Only ``wait``
    returns ``delivered``, ``cancelled`` and ``settled``: the item left the queue, but this engine
    did not see how (another process delivered it, or the program was restarted).
    """

    PENDING = "pending"
    SENDING = "sending"
    FAILED = "failed"
    CONFLICT = "conflict"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    SETTLED = "settled"


class ViewState(_Word):
    """The state of a record of the local view.

    ``synced``: as on the server, as far as is known. ``pending``: a change is queued. ``sending``:
    a change is being sent. ``failed``, ``conflict``: a change needs a decision.
    """

    SYNCED = "synced"
    PENDING = "pending"
    SENDING = "sending"
    FAILED = "failed"
    CONFLICT = "conflict"


class SyncStatus(_Word):
    """The state of the engine."""

    IDLE = "idle"
    SYNCING = "syncing"
    OFFLINE = "offline"
    ERROR = "error"
    CLOSED = "closed"


OperationName = Literal["create", "update", "delete"] | SyncOperation
ConflictName = (
    Literal["server-wins", "client-wins", "last-write-wins", "merge", "manual"] | ConflictStrategy
)


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _Model(Protocol):
    """Such as a pydantic model; ``SyncConfig.json_default`` says how it is encoded."""

    def model_dump(self) -> dict[str, Any]: ...


RecordData = Mapping[str, Any] | _Dataclass | attrs.AttrsInstance | _Model
"""What ``push`` takes for a record: a dict, or an instance of a dataclass or attrs class."""


@attrs.frozen(kw_only=True, repr=False)
class SyncItem:
    """A snapshot of one queued operation.

    ``id`` is also its Idempotency-Key. ``timestamp`` and ``next_attempt`` are aware UTC datetimes.
    ``last_error`` says why the last attempt failed. A handle follows the item that it was
    coalesced into: any of them can be given to ``wait`` and ``cancel``.
    """

    id: str
    entity: str
    record_id: str
    operation: SyncOperation
    data: Json = attrs.field(repr=False, hash=False)
    timestamp: datetime
    retry_count: int = 0
    last_error: str | None = None
    state: ItemState = ItemState.PENDING
    base_version: str | None = attrs.field(default=None, repr=False)
    next_attempt: datetime | None = None
    seq: int = attrs.field(default=0, repr=False, eq=False)
    """Its position in the queue. Coalescing keeps it; no other item is given it again."""

    __repr__ = _short


class Problem(NamedTuple):
    """One item that a flush or pull could not settle: ``entity``, ``record_id`` (``None``: the
    whole entity), HTTP ``status`` (``None``: no answer) and ``message``.
    """

    entity: str
    record_id: str | None
    status: int | None
    message: str

    def __str__(self) -> str:
        record = self.entity if self.record_id is None else f"{self.entity}/{self.record_id}"
        names_it = f" of {record} " in self.message
        return self.message if names_it else f"{record}: {self.message}"


@attrs.frozen(kw_only=True, repr=False)
class SyncResult:
    """The result of a flush or pull. ``duration`` is in seconds.

    ``success`` of a flush: no errors, the network was reached, nothing that was queued at the call
    is left, and nothing is failed or parked. Of a pull: every page was taken. ``remaining``,
    ``failed`` and ``parked`` count what is queued, failed and in conflict now. ``problems`` names
    the first 20 items or entities that were not settled, and why.
    """

    success: bool
    pushed: int = 0
    pulled: int = 0
    conflicts: int = 0
    errors: int = 0
    timestamp: datetime = attrs.field(repr=False)
    duration: float = attrs.field(default=0.0, repr=lambda seconds: f"{seconds:.3f}")
    remaining: int = 0
    failed: int = 0
    parked: int = 0
    offline: bool = False
    problems: tuple[Problem, ...] = attrs.field(
        default=(), repr=lambda problems: f"[{'; '.join(map(str, problems))}]"
    )

    __repr__ = _short


@attrs.frozen(kw_only=True, repr=False)
class SyncStatusInfo:
    """A snapshot of the engine. Times are aware UTC datetimes.

    ``queue_length`` counts what is queued and not yet delivered; failed items and parked
    conflicts are counted beside it. ``since`` is when ``status`` last changed. ``reason`` says
    why delivery or a pull is held up. ``deliverer`` names the process that delivers, if it is
    another one.
    """

    status: SyncStatus
    queue_length: int
    failed: int = 0
    conflicts: int = 0
    online: bool = True
    paused: bool = False
    last_error: str | None = None
    last_sync: datetime | None = None
    next_retry: datetime | None = None
    since: datetime
    reason: StatusReason | None = None
    deliverer: str | None = None

    __repr__ = _short


@attrs.frozen(kw_only=True, repr=False)
class Conflict:
    """Both sides changed one record.

    ``local`` is the record as this program sees it (``None``: deleted here), ``remote`` the
    server's (``None``: deleted there), ``base`` what both started from (``None``: unknown).
    ``fields`` names the fields that both changed. ``resolution`` is ``None`` while it is open.
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

    __repr__ = _short


@attrs.frozen(kw_only=True, repr=False)
class RecordChange:
    """A record of the local view changed; ``before`` or ``after`` is ``None`` where it was not, or
    is no longer, in the view. ``origin`` is ``"local"`` or ``"remote"``. ``previous_id`` is the
    local id that ``record_id`` has just replaced.
    """

    entity: str
    record_id: str
    previous_id: str | None = None
    before: Json | None = attrs.field(repr=False, hash=False)
    after: Json | None = attrs.field(repr=False, hash=False)
    origin: Origin

    __repr__ = _short


@attrs.frozen(repr=False)
class RecordView:
    """A record of the local view: its ``data``, and whether a change of it is queued."""

    data: Json = attrs.field(repr=False, hash=False)
    state: ViewState = ViewState.SYNCED

    __repr__ = _short
