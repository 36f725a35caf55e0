"""The effects of a transaction outside the store. They are published after its commit."""

from __future__ import annotations

from typing import Any

import attrs

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.model import Conflict, ItemState, RecordChange, SyncItem, SyncOperation
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.storage.schema import ConflictRow, Item, Lane

__all__ = ["CommitEffects", "PendingDecision", "as_conflict", "as_sync_item"]

Json = dict[str, Any]
Event = tuple[str, str, str | None, int | None]
"""Its name, the entity, the operation, the HTTP status."""
_OPERATIONS = {each.value: each for each in SyncOperation}
_STATES: dict[int, ItemState] = {
    Lane.SENDING: ItemState.SENDING,
    Lane.FAILED: ItemState.FAILED,
    Lane.PARKED: ItemState.CONFLICT,
}


@attrs.frozen
class PendingDecision:
    """A conflict that a callback must decide: its number and its entity."""

    number: int
    entity: str


@attrs.define
class CommitEffects:
    """Collected while a transaction runs, published after its commit. Owned by one thread.

    ``outcomes``: the final state of items that left the queue or failed, by ``seq``. ``moved``:
    from the ``seq`` of a merged item, or a handle of a transaction, to the ``seq`` of its item.
    """

    outcomes: dict[int, ItemState] = attrs.field(factory=dict)
    moved: dict[int, int] = attrs.field(factory=dict)
    failed: list[SyncItem] = attrs.field(factory=list)
    unclear: set[str] = attrs.field(factory=set)
    """The ids of failed creates that were accepted with an unreadable answer."""
    changes: list[RecordChange] = attrs.field(factory=list)
    pending_decisions: list[PendingDecision] = attrs.field(factory=list)
    pushed: int = 0
    pulled: int = 0
    sighted: int = 0
    """How many records appeared in the current listing for the first time."""
    vanished: dict[str, str] = attrs.field(factory=dict)
    """Entities that are held back, because too many records are gone, with the status message."""
    id_problems: dict[str, str] = attrs.field(factory=dict)
    """Entities with ids that may be mistaken for others, with a message for the status."""
    conflicts: int = 0
    errors: int = 0
    taken_over: int = 0
    """How many answers were dropped, because another process has taken over their items."""
    watch: bool = False
    """Whether the local view has subscribers."""
    began: float = 0.0
    """When the transaction began, on the engine's monotonic clock."""
    events: dict[Event, tuple[int, float | None]] = attrs.field(factory=dict)
    """The number of each event, and the sum of its seconds (``None``: one had no duration)."""

    def follow(self, seq: int) -> int:
        """The ``seq`` of an item after this transaction."""
        while seq in self.moved:
            seq = self.moved[seq]
        return seq

    def note(
        self,
        name: str,
        entity: str,
        operation: str | None = None,
        *,
        status: int | None = None,
        count: int = 1,
        seconds: float | None = None,
    ) -> None:
        """Counts an event of ``telemetry.EVENTS``."""
        event = (name, entity, operation, status)
        known, spent = self.events.get(event, (0, 0.0))
        total = None if spent is None or seconds is None else spent + seconds
        self.events[event] = (known + count, total)


def as_sync_item(
    item: Item,
    state: ItemState | None = None,
    data: Json | None = None,
    seq: int | None = None,
) -> SyncItem:
    """The public value of a row. ``data``: its decoded data, if known. ``seq``: a handle, used
    instead of the row's ``seq``, which is not final inside a transaction.
    """
    return SyncItem(
        id=item.id,
        entity=item.entity,
        record_id=item.record,
        operation=_OPERATIONS[item.operation],
        data=loads(item.data) if data is None else data,
        timestamp=as_datetime(item.time),
        retry_count=item.retries,
        last_error=item.error,
        state=state or _STATES.get(item.lane, ItemState.PENDING),
        base_version=None if item.version is None else str(item.version),
        next_attempt=None if item.due is None else as_datetime(item.due),
        seq=item.seq if seq is None else seq,
    )


def as_conflict(row: ConflictRow) -> Conflict:
    """The public value of a row."""

    def value(text: str | None) -> Json | None:
        decoded: Json | None = None if text is None else loads(text)
        return decoded

    return Conflict(
        id=str(row.number),
        entity=row.entity,
        record_id=row.record,
        operation=SyncOperation(row.operation),
        local=value(row.local),
        remote=value(row.remote),
        base=value(row.base),
        local_time=as_datetime(row.local_time),
        remote_time=None if row.remote_time is None else as_datetime(row.remote_time),
        fields=tuple(loads(row.fields)),
        resolution=row.resolution,
    )
