"""The local view: the server's last known state with the queued operations on top.

Nothing of the view is stored beside the two: it is folded when it is read, so that it can neither
lag behind the queue nor outlive it. Runs inside a storage transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from bytelyst_sync.entity import Entity
from bytelyst_sync.model import RecordChange, SyncOperation
from bytelyst_sync.rules.patch import apply_patch
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.lanes import items_of
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ALIASES, ITEMS, RECORDS, Item

__all__ = ["canonical_key", "fold", "server_state", "view", "view_page", "watching"]

Json = dict[str, Any]
_PAGE = 500
_UNWATCHED = nullcontext()


def canonical_key(tx: Reader, entity: Entity, key: str) -> str:
    """The key that a record goes by now: the server's id once it is known."""
    if entity.server_ids:
        alias = tx.get(ALIASES, entity.name, key)
        if alias is not None:
            return alias.record
    return key


def server_state(tx: Reader, entity: Entity, key: str) -> Json | None:
    """The record's last known state at the server."""
    row = tx.get(RECORDS, entity.name, key)
    return json.loads(row.state) if row is not None and row.state is not None else None


def fold(entity: Entity, state: Json | None, items: Iterable[Item]) -> Json | None:
    """The state after these operations."""
    for item in items:
        data = json.loads(item.data)
        if item.operation == SyncOperation.DELETE.value:
            state = None
        elif item.operation == SyncOperation.CREATE.value or state is None:
            state = data
        else:
            state = apply_patch(state, data, entity.patch_rule)
    return state


def view(tx: Reader, entity: Entity, key: str) -> Json | None:
    """One record as this program sees it, or ``None``."""
    if not entity.replica:
        return None
    return fold(entity, server_state(tx, entity, key), items_of(tx, entity.name, key))


def view_page(tx: Reader, entity: Entity, after: str | None) -> tuple[list[Json], str | None]:
    """Some records in the order of their keys, and the key to go on after (``None``: done).

    A page is bounded by what it reads, not by what it yields, so that a long stretch of deleted
    records cannot keep a read transaction open.
    """
    bound = None if after is None else (after,)
    states = list(tx.scan(RECORDS, None, (entity.name,), after=bound, limit=_PAGE))
    items = list(tx.scan(ITEMS, "record", (entity.name,), after=bound, limit=_PAGE))
    ends = [rows[-1].record for rows in (states, items) if len(rows) == _PAGE]
    end = min(ends) if ends else None
    queued: dict[str, list[Item]] = {}
    for item in items:
        queued.setdefault(item.record, []).append(item)
    if items and len(items) == _PAGE and items[-1].record == end:
        # the page may have ended in the middle of this record's items
        queued[end] = items_of(tx, entity.name, end)
    known = {row.record: row.state for row in states}
    found = []
    for key in sorted(known.keys() | queued.keys()):
        if end is not None and key > end:
            break
        text = known.get(key)
        state = fold(entity, None if text is None else json.loads(text), queued.get(key, ()))
        if state is not None:
            found.append(state)
    return found, end


def watching(
    tx: Reader, entity: Entity, key: str, origin: str, effects: Effects
) -> AbstractContextManager[None]:
    """Notes how the record's view changes inside the block, if anybody listens."""
    if not (effects.watch and entity.replica):
        return _UNWATCHED
    return _watched(tx, entity, key, origin, effects)


@contextmanager
def _watched(tx: Reader, entity: Entity, key: str, origin: str, effects: Effects) -> Iterator[None]:
    before = view(tx, entity, key)
    yield
    now = canonical_key(tx, entity, key)
    after = view(tx, entity, now)
    if before != after:
        effects.changes.append(
            RecordChange(
                entity=entity.name, record_id=now, before=before, after=after, origin=origin
            )
        )
