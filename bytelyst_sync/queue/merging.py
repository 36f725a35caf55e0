"""Merges a push with queued items of its record.

Here it is decided whether two operations may be merged, and the result is stored. The result
itself comes from the table in ``rules/coalesce.py``. Runs inside a storage transaction.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Literal

from bytelyst_sync.clock import BOOT
from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import ItemState, SyncOperation
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.replica.view import server_state
from bytelyst_sync.rules.coalesce import Coalesced, Outcome, coalesce
from bytelyst_sync.rules.decimals import names_in, names_text
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.state.item_ids import new_item_id
from bytelyst_sync.state.transitions import (
    change,
    is_changeable,
    last,
    references,
    refers_ahead,
    remove,
    renewed,
)
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ITEMS, LINKS, Item, Lane

__all__ = ["NOT_MERGED", "Merging", "merges"]


class _NotMerged(Enum):
    NOT_MERGED = "not merged"


NOT_MERGED: Final = _NotMerged.NOT_MERGED
"""The two cannot be merged: the push is queued behind the queued item."""
Json = dict[str, Any]
CREATE, UPDATE = SyncOperation.CREATE, SyncOperation.UPDATE


def merges(entity: Entity) -> bool:
    """Whether operations on one record of this entity may be merged."""
    return entity.replica and entity.config.dedup != "none"


class Merging:
    """The merge rules of one engine. ``schema_version`` is as in ``Item.schema_version``."""

    def __init__(self, *, strict: bool, schema_version: int | None) -> None:
        self._strict = strict
        self._schema_version = schema_version

    def equal_create(self, tx: Transaction, new: PushRequest) -> Item | None:
        """The queued create with equal content, if this push is a duplicate of it."""
        for item in list(tx.scan(ITEMS, "digest", (new.entity.name, new.digest))):
            if item.expired or item.expires != new.expires or not is_changeable(item):
                continue
            if self._strict and not _is_last(tx, item):
                continue
            return change(tx, item, renewed(item, new.now)) if item.lane == Lane.FAILED else item
        return None

    def merge(
        self, work: UnitOfWork, queued: Item, new: PushRequest
    ) -> Item | Literal[_NotMerged.NOT_MERGED] | None:
        """Merges a push with its record's last item ``queued``; returns the merged item.

        If the item before that has failed, the result is merged with it too, and so on, so that
        a repair reaches the failed item. ``None`` if the operations cancel each other.
        """
        operation, data = new.operation, new.data
        from_create = operation is CREATE
        merged: Item | None = None
        while self._may_merge(work.tx, queued, new):
            result = _coalesced(work.tx, queued, operation, data, new)
            if result.outcome is Outcome.NOTHING:
                for item in (merged, queued):
                    if item is not None:
                        remove(work, item, ItemState.CANCELLED)
                _count_coalesced(work, new)
                return None
            if (
                result.operation is None
                or result.data is None
                or refers_ahead(work.tx, new.entity, result.data, queued.seq)
            ):
                break
            from_create = from_create or queued.was_create == 1
            operation, data = result.operation, result.data
            if merged is not None:
                remove(work, merged)
                work.effects.moved[merged.seq] = queued.seq
            was_create = 1 if from_create and operation is UPDATE else None
            merged = self._replace(work, queued, new, operation, data, merged, was_create)
            if queued.lane in (Lane.READY, Lane.DELAYED):
                break  # it is the first item of its record
            data = loads(merged.data)
            earlier = last(work.tx, queued.entity, queued.record, queued.seq)
            if earlier is None or earlier.lane != Lane.FAILED:
                break
            queued = earlier
        if merged is None:
            return NOT_MERGED
        _count_coalesced(work, new)
        return merged

    def _may_merge(self, tx: Reader, queued: Item, new: PushRequest) -> bool:
        """Whether the two may become one item: see the docstring of ``rules/coalesce.py``."""
        if (
            not is_changeable(queued)
            or queued.key is not None
            or new.key is not None
            or queued.expires != new.expires
            or queued.schema_version != self._schema_version
            or (self._strict and (queued.lane == Lane.FAILED or not _is_last(tx, queued)))
        ):
            return False
        slot = (queued.entity, queued.record)
        for link in list(tx.scan(LINKS, "parent", slot, after=(queued.seq,))):
            between = tx.get(ITEMS, link.seq)
            if between is not None and (between.entity, between.record) != slot:
                return False
        return True

    def _replace(
        self,
        work: UnitOfWork,
        queued: Item,
        new: PushRequest,
        operation: SyncOperation,
        data: Json,
        absorbed: Item | None,
        was_create: int | None,
    ) -> Item:
        """Stores the merged operation in the place of the queued one, under a new key."""
        links, data = references(work.tx, new.entity, data, queued.seq)
        item = renewed(queued, new.now) if queued.lane == Lane.FAILED else queued
        decimals = names_in(queued.decimals, absorbed.decimals if absorbed else None)
        item = item._replace(
            id=new.item_id or new_item_id(queued.seq),
            operation=operation.value,
            data=dumps(data),
            time=new.now,
            digest=None,
            was_create=was_create,
            decimals=names_text(decimals | frozenset(new.decimals)),
            boot=None if new.booted is None else BOOT,
            booted=new.booted,
        )
        return change(work.tx, queued, item, links)


def _coalesced(
    tx: Reader, queued: Item, operation: SyncOperation, data: Json, new: PushRequest
) -> Coalesced:
    entity = new.entity
    first_data = loads(queued.data)
    # the id keeps the type (7 or "7") that it was first pushed with
    given = first_data.get(entity.id_field, new.record)
    return coalesce(
        SyncOperation(queued.operation),
        first_data,
        operation,
        {**data, entity.id_field: given},
        entity.patch_rule,
        known=lambda: server_state(tx, entity, new.record) is not None,
    )


def _count_coalesced(work: UnitOfWork, new: PushRequest) -> None:
    work.effects.note("coalesced", new.entity.name, new.operation.value)


def _is_last(tx: Reader, item: Item) -> bool:
    return next(tx.scan(ITEMS, reverse=True, limit=1)).seq == item.seq
