"""What a transaction did that somebody outside of it must hear of."""

from __future__ import annotations

import json
from typing import Any

import attrs

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.model import Conflict, ItemState, RecordChange, SyncItem, SyncOperation
from bytelyst_sync.storage.schema import ConflictRow, Item, Lane

__all__ = ["Effects", "Question", "as_conflict", "as_sync_item"]

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
class Question:
    """A conflict that a callback is to decide: its number, and the entity it concerns."""

    number: int
    entity: str


@attrs.define
class Effects:
    """Collected while a transaction runs, told after its commit. Owned by one thread.

    ``outcomes`` says what came of items that left the queue (or failed), by their place;
    ``moved`` which place an item was folded into.
    """

    outcomes: dict[int, ItemState] = attrs.field(factory=dict)
    moved: dict[int, int] = attrs.field(factory=dict)
    failed: list[SyncItem] = attrs.field(factory=list)
    changes: list[RecordChange] = attrs.field(factory=list)
    questions: list[Question] = attrs.field(factory=list)
    pushed: int = 0
    pulled: int = 0
    sighted: int = 0
    """Records that a listing of everything brought for the first time."""
    conflicts: int = 0
    errors: int = 0
    watch: bool = False
    """Whether somebody listens for changes of the local view."""
    began: float = 0.0
    """When the transaction began, on the engine's monotonic clock."""
    events: dict[Event, tuple[int, float | None]] = attrs.field(factory=dict)
    """What is counted: how often, and its seconds in all if each time has some."""

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


def as_sync_item(item: Item, state: ItemState | None = None, data: Json | None = None) -> SyncItem:
    """The public value of a row; ``data`` is what its text says, if that is at hand."""
    return SyncItem(
        id=item.id,
        entity=item.entity,
        record_id=item.record,
        operation=_OPERATIONS[item.operation],
        data=json.loads(item.data) if data is None else data,
        timestamp=as_datetime(item.time),
        retry_count=item.retries,
        last_error=item.error,
        state=state or _STATES.get(item.lane, ItemState.PENDING),
        base_version=None if item.version is None else str(item.version),
        next_attempt=None if item.due is None else as_datetime(item.due),
        place=item.seq,
    )


def as_conflict(row: ConflictRow) -> Conflict:
    """The public value of a row."""

    def value(text: str | None) -> Json | None:
        found: Json | None = None if text is None else json.loads(text)
        return found

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
        fields=tuple(json.loads(row.fields)),
        resolution=row.resolution,
    )
