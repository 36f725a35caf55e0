"""The local view: the server's last known state with the queued operations on top.

The view is not stored. It is computed when it is read, so it always agrees with the queue. Runs
inside a storage transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import Origin, RecordChange, SyncOperation, ViewState
from bytelyst_sync.rules.ids import is_local, local_id_time
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.patch import apply_patch
from bytelyst_sync.state.transitions import items_of
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ALIASES, ITEMS, RECORDS, Item, Lane

__all__ = [
    "ViewSlot",
    "canonical_key",
    "check_local_id",
    "fold",
    "holds",
    "look_up",
    "server_state",
    "slots_after",
    "slots_of",
    "track_change",
    "view",
    "view_state",
]

Json = dict[str, Any]
KEPT_S = 30 * 86_400.0
"""The least time for which the id of a deleted record is stored, in seconds."""
_VIEW_STATES = {
    Lane.PARKED: ViewState.CONFLICT,
    Lane.FAILED: ViewState.FAILED,
    Lane.SENDING: ViewState.SENDING,
}
"""In order of precedence."""
_NOT_TRACKED = nullcontext()


def canonical_key(tx: Reader, entity: Entity, key: str) -> str:
    """The record's current key: the server's id once it is known."""
    alias = tx.get(ALIASES, entity.name, key)
    return key if alias is None else alias.record


def server_state(tx: Reader, entity: Entity, key: str) -> Json | None:
    """The record's last known state at the server."""
    row = tx.get(RECORDS, entity.name, key)
    return loads(row.state) if row is not None and row.state is not None else None


def fold(entity: Entity, state: Json | None, items: Iterable[Item]) -> Json | None:
    """The state after these operations; the id keeps the type that the server gave it."""
    server_id = None if state is None else state.get(entity.id_field)
    for item in items:
        data = loads(item.data)
        if item.operation == SyncOperation.DELETE.value:
            state = None
        elif item.operation == SyncOperation.CREATE.value or state is None:
            state = data
        else:
            state = apply_patch(state, data, entity.patch_rule)
    if state is not None and server_id is not None and state.get(entity.id_field) != server_id:
        state[entity.id_field] = server_id
    return state


def holds(tx: Reader, entity: Entity, key: str) -> bool:
    """Whether the local view holds a record of that id."""
    return view(tx, entity, canonical_key(tx, entity, key)) is not None


def view(tx: Reader, entity: Entity, key: str) -> Json | None:
    """One record of the local view, or ``None``."""
    if not entity.replica:
        return None
    return fold(entity, server_state(tx, entity, key), items_of(tx, entity.name, key))


def look_up(tx: Reader, entity: Entity, key: str, now: float) -> Json | None:
    """One record by any id that names it, or ``None``.

    Raises ``InvalidDataError`` for a local id that was forgotten: its record may still exist.
    """
    current = canonical_key(tx, entity, key)
    record = view(tx, entity, current)
    if record is None and entity.server_ids:
        check_local_id(tx, entity, current, now, creates=True)
    return record


def check_local_id(tx: Reader, entity: Entity, key: str, now: float, *, creates: bool) -> None:
    """Raises ``InvalidDataError`` for a local id that names no record here.

    ``creates``: the id may be unused; raises only if it is so old that it may be forgotten.
    """
    if not is_local(key) or tx.get(RECORDS, entity.name, key) is not None:
        return
    created_at = local_id_time(key)
    forgotten = created_at is not None and now - created_at >= KEPT_S
    if (creates and not forgotten) or items_of(tx, entity.name, key):
        return
    raise InvalidDataError(
        f"{entity.name}: the local id {key} names no record here: its create was cancelled or "
        "discarded, or it was deleted long ago; use the server's id",
        path=f"$.{entity.id_field}",
        entity=entity.name,
        record_id=key,
    )


class ViewSlot(NamedTuple):
    """The parts of one record's view, not yet decoded."""

    key: str
    state: str | None
    """The server's last known state as JSON, ``None`` if it has no such record."""
    items: Sequence[Item]
    """The queued items, oldest first."""

    @property
    def exists(self) -> bool:
        """Whether the record is in the view."""
        if self.items:
            return self.items[-1].operation != SyncOperation.DELETE.value
        return self.state is not None

    def record(self, entity: Entity) -> Json | None:
        """The record, or ``None`` if it is not in the view."""
        state = None if self.state is None else loads(self.state)
        return fold(entity, state, self.items) if self.items else state


def slots_after(
    tx: Reader, entity: Entity, after: str | None, limit: int
) -> tuple[list[ViewSlot], str | None]:
    """Records in the order of their keys, and the key to continue after (``None``: no more).

    The limit counts the rows that are read, not the records returned, so that many deleted records
    do not keep a read transaction open.
    """
    bound = None if after is None else (after,)
    states = list(tx.scan(RECORDS, None, (entity.name,), after=bound, limit=limit))
    items = list(tx.scan(ITEMS, "record", (entity.name,), after=bound, limit=limit))
    ends = [rows[-1].record for rows in (states, items) if len(rows) == limit]
    end = min(ends) if ends else None
    queued = _by_record(items)
    if items and len(items) == limit and items[-1].record == end:
        # the page may have ended in the middle of this record's items
        queued[end] = items_of(tx, entity.name, end)
    known = {row.record: row.state for row in states}
    keys = sorted(known.keys() | queued.keys())
    slots = [
        ViewSlot(key, known.get(key), queued.get(key, ()))
        for key in keys
        if end is None or key <= end
    ]
    return slots, end


def slots_of(tx: Reader, entity: Entity, keys: Sequence[str]) -> list[ViewSlot]:
    """The records with these keys, in their order."""
    known = tx.fetch(RECORDS, (entity.name,), keys)
    busy = tx.present(ITEMS, "record", (entity.name,), keys)
    queued = {key: items_of(tx, entity.name, key) for key in busy}
    return [
        ViewSlot(key, known[key].state if key in known else None, queued.get(key, ()))
        for key in keys
    ]


def _by_record(items: Iterable[Item]) -> dict[str, list[Item]]:
    queued: dict[str, list[Item]] = {}
    for item in items:
        if not item.expired:
            queued.setdefault(item.record, []).append(item)
    return queued


def view_state(items: Iterable[Item]) -> ViewState:
    """The state of a record with these queued items."""
    lanes = {item.lane for item in items}
    for lane, state in _VIEW_STATES.items():
        if lane in lanes:
            return state
    return ViewState.PENDING if lanes else ViewState.SYNCED


def track_change(
    work: UnitOfWork, entity: Entity, key: str, origin: Origin
) -> AbstractContextManager[None]:
    """Records how the view of the record changes inside the block, if there are subscribers."""
    if not (work.effects.watch and entity.replica):
        return _NOT_TRACKED
    return _tracked(work, entity, key, origin)


@contextmanager
def _tracked(work: UnitOfWork, entity: Entity, key: str, origin: Origin) -> Iterator[None]:
    before = view(work.tx, entity, key)
    yield
    now = canonical_key(work.tx, entity, key)
    after = view(work.tx, entity, now)
    if before != after or now != key:
        work.effects.changes.append(
            RecordChange(
                entity=entity.name,
                record_id=now,
                previous_id=None if now == key else key,
                before=before,
                after=after,
                origin=origin,
            )
        )
