"""Finds the item of an idempotency key that a caller used before."""

from __future__ import annotations

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import ItemState, SyncItem
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.replica.view import canonical_key
from bytelyst_sync.state.commit_effects import as_sync_item
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import ITEMS, KeyRow

__all__ = ["item_for_key"]


def item_for_key(work: UnitOfWork, row: KeyRow, new: PushRequest) -> SyncItem:
    """The item that was pushed with this key before; ``settled`` if it has left the queue.

    Raises ``InvalidDataError`` if it was pushed with other content.
    """
    tx, entity = work.tx, new.entity
    record = canonical_key(tx, entity, row.record)
    same = row.entity == entity.name and row.content == new.content()
    if not same or not (new.id_is_new or canonical_key(tx, entity, new.record) == record):
        raise InvalidDataError(
            f"the key {row.key!r} names another operation on {row.entity}/{row.record}; use a"
            " new key for other content",
            path="key",
            entity=row.entity,
            record_id=row.record,
        )
    if new.handle is not None:
        work.effects.moved[new.handle] = row.seq
    item = tx.get(ITEMS, row.seq)
    if item is not None:
        return as_sync_item(item)
    return SyncItem(
        id=row.key,
        entity=entity.name,
        record_id=record,
        operation=new.operation,
        data={**new.data, entity.id_field: record} if new.id_is_new else new.data,
        timestamp=as_datetime(row.time),
        state=ItemState.SETTLED,
        seq=row.seq,
    )
