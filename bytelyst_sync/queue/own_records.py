"""Whether the record that already has a unique value may be one that this program made.

A server refuses a create because another record has the same unique value. If that record is the
result of an earlier create here whose answer was lost, or if it is about to be deleted from here,
the refused create must not be joined with it: it waits until the earlier operation is settled.
"""

from __future__ import annotations

from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.unique_key import shares_a_value
from bytelyst_sync.state.transitions import PENDING, is_frozen, items_of
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["WAITS_FOR_OWN", "waits_for_own"]

Json = dict[str, Any]
CREATE, DELETE = SyncOperation.CREATE.value, SyncOperation.DELETE.value
WAITS_FOR_OWN = (
    "another record at the server has the same unique value. An operation that is queued here may "
    "have created it, or deletes it: this create is sent again when that one is settled"
)
"""The error of an item that waits."""

_UNSETTLED = (*PENDING, Lane.SENDING)
_LOOKED_AT = 1_000
"""In a longer queue, creates beyond so many from either end of a lane are not looked at."""


def waits_for_own(tx: Reader, entity: Entity, item: Item, remote: Json) -> bool:
    """Whether ``item``, a refused create, has to wait before it is joined with ``remote``.

    It waits for a create that may have made ``remote``, and for an earlier delete of it. A create
    whose own outcome is unknown waits for earlier creates only, so that two of them never wait for
    each other.
    """
    there = items_of(tx, entity.name, str(remote[entity.id_field]))
    if any(_goes_first(each, item) for each in there):
        return True
    ignored = entity.bookkeeping | {entity.id_field}
    return any(
        shares_a_value(loads(each.data), remote, ignored)
        for lane in _UNSETTLED
        for each in _ends_of_lane(tx, entity, lane)
        if each.operation == CREATE and is_frozen(each) and _may_wait(item, each)
    )


def _goes_first(there: Item, item: Item) -> bool:
    if there.lane not in _UNSETTLED or not _may_wait(item, there):
        return False
    if there.operation == DELETE:
        return there.seq < item.seq
    return there.operation == CREATE and is_frozen(there)


def _may_wait(item: Item, other: Item) -> bool:
    return other.seq != item.seq and (not item.frozen or other.seq < item.seq)


def _ends_of_lane(tx: Reader, entity: Entity, lane: Lane) -> list[Item]:
    within = (lane, entity.name)
    first = list(tx.scan(ITEMS, "lane", within, limit=_LOOKED_AT))
    if len(first) < _LOOKED_AT:
        return first
    return first + list(tx.scan(ITEMS, "lane", within, limit=_LOOKED_AT, reverse=True))
