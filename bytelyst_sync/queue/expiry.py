"""Fails items whose ``push(expires=...)`` has passed. Runs inside a storage transaction."""

from __future__ import annotations

from bytelyst_sync.model import SyncOperation
from bytelyst_sync.replica.server_state import reread_unlisted
from bytelyst_sync.replica.view import track_change
from bytelyst_sync.state.transitions import (
    PENDING,
    fail,
    fail_children,
    fail_unsent,
    items_of,
)
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["expire_due", "next_expiry"]

_AT_ONCE = 500


def next_expiry(tx: Reader, now: float) -> float | None:
    """Seconds until the next item expires; ``None`` if no item expires."""
    item = next(tx.scan(ITEMS, "expires", after=(0.0,), limit=1), None)
    return None if item is None or item.expires is None else max(0.0, item.expires - now)


def expire_due(work: UnitOfWork) -> int:
    """Fails the items that have expired; returns how many rows were looked at.

    An item that is being sent is checked again after its answer. An item that is failed or in
    conflict already stays so, and expires when it is queued again. An item whose entity is not
    configured stays as it is.
    """
    due = list(work.tx.scan(ITEMS, "expires", after=(0.0,), upto=(work.now,), limit=_AT_ONCE))
    for row in due:
        item = work.tx.get(ITEMS, row.seq)
        if item is not None and item.expires is not None:
            _expire(work, item)
    return len(due)


def _expire(work: UnitOfWork, item: Item) -> None:
    entity = work.entities.get(item.entity)
    if item.lane == Lane.SENDING or entity is None:
        return
    if item.lane not in PENDING:
        # out of the range that is scanned above
        work.tx.replace(ITEMS, item, item._replace(expires=-(item.expires or 0.0)))
        return
    with track_change(work, entity, item.record, "local"):
        if item.frozen:
            text = "expired: an earlier attempt may have been processed; it is not sent again"
            fail(work, item, item._replace(expires=None), text)
        else:
            _expire_unsent(work, item)


def _expire_unsent(work: UnitOfWork, item: Item) -> None:
    """Fails the item. With a create, its record's later items and the items that refer to the
    record fail too.
    """
    creates = item.operation == SyncOperation.CREATE.value
    later = items_of(work.tx, item.entity, item.record) if creates else []
    for each in reversed(later):
        current = work.tx.get(ITEMS, each.seq)
        if current is not None and current.seq > item.seq and current.lane in PENDING:
            fail_unsent(work, current, "the create of its record expired before it could be sent")
    fail_unsent(work, work.tx.get(ITEMS, item.seq) or item, "expired before it could be sent")
    if creates:
        fail_children(work, item, "expired")
    reread_unlisted(work.tx, work.entities[item.entity], item.record)
