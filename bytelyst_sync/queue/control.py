"""Cancels, discards, clears and reprocesses items when the program calls for it.

Everything here runs inside a storage transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from bytelyst_sync.config.entity import Entities, Entity
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import ItemState, SyncOperation
from bytelyst_sync.replica.server_state import mark_stale, reread_unlisted
from bytelyst_sync.replica.view import server_state, track_change
from bytelyst_sync.rules.encode import encode
from bytelyst_sync.rules.ids import record_key
from bytelyst_sync.rules.json_text import dumps, loads
from bytelyst_sync.state.item_ids import new_item_id, seq_of
from bytelyst_sync.state.transitions import (
    PENDING,
    add,
    change,
    fail_children,
    is_changeable,
    is_frozen,
    items_of,
    last,
    links_to,
    references,
    remove,
    renewed,
    update_lane,
)
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, KEYS, Item, Lane, Link

__all__ = ["QueueControl", "repaired_by"]

Json = dict[str, Any]
CREATE = SyncOperation.CREATE
_CLEARED_AT_ONCE = 1000


class QueueControl:
    """The rules for cancelling and reprocessing items. Holds no state of its own."""

    def __init__(self, entities: Entities, schema_version: int = 1) -> None:
        self._entities = entities
        self._schema_version = None if schema_version == 1 else schema_version

    def failed_items(self, tx: Reader) -> list[Item]:
        """The failed items, oldest first."""
        entities = [entity for lane, entity in tx.counts(ITEMS) if lane == Lane.FAILED]
        # the index is in the order of attempts
        scans = (tx.scan(ITEMS, "lane", (Lane.FAILED, entity)) for entity in entities)
        return sorted(chain.from_iterable(scans), key=lambda item: item.seq)

    # --- cancel and discard

    def cancel(self, work: UnitOfWork, seq: int) -> bool:
        """Removes one item if it is not frozen; a create together with its record's later items."""
        item = work.tx.get(ITEMS, seq)
        if item is None or not is_changeable(item):
            return False
        return self._drop(work, item, only_if_free=True) > 0

    def discard_failed(self, work: UnitOfWork, ids: Iterable[str] | None) -> int:
        """Drops failed items, and with a create its record's later items; returns how many."""
        items = self._failed_by_id(work.tx, ids)
        dropped = 0
        for item in items:
            current = work.tx.get(ITEMS, item.seq)
            if current is not None:
                dropped += self._drop(work, current)
        return dropped

    def clear(self, work: UnitOfWork) -> int:
        """Drops all pending items; those being sent, failed or in conflict stay."""
        dropped = 0
        upto = work.tx.last_number()
        while True:
            # newest first, so that no item is unblocked just before it is dropped
            page = list(
                work.tx.scan(
                    ITEMS, None, (), after=(upto + 1,), limit=_CLEARED_AT_ONCE, reverse=True
                )
            )
            for item in page:
                if item.lane in PENDING:
                    dropped += self._drop(work, item)
            if len(page) < _CLEARED_AT_ONCE:
                return dropped
            upto = page[-1].seq - 1

    def _drop(self, work: UnitOfWork, item: Item, *, only_if_free: bool = False) -> int:
        dropped = [item]
        if item.operation == CREATE.value:
            later = items_of(work.tx, item.entity, item.record)
            dropped += [each for each in later if each.seq > item.seq]
            own = {each.seq for each in dropped}
            if only_if_free and any(
                link.seq not in own for link in links_to(work.tx, item.entity, item.record)
            ):
                return 0
        dropped = [each for each in dropped if each.lane != Lane.SENDING]
        entity = self._entities.get(item.entity)
        if entity is None:
            self._remove_all(work, dropped)
            return len(dropped)
        with track_change(work, entity, item.record, "local"):
            self._remove_all(work, dropped)
            if item.operation == CREATE.value:
                fail_children(work, item, "was dropped")
        if entity.replica and any(each.frozen for each in dropped):
            # the server may have processed one of them, so its state must be read again
            mark_stale(work.tx, entity, item.record)
        reread_unlisted(work.tx, entity, item.record)
        return len(dropped)

    def _remove_all(self, work: UnitOfWork, items: list[Item]) -> None:
        # newest first, so that no item is unblocked just before it is removed
        for each in reversed(items):
            current = work.tx.get(ITEMS, each.seq)
            if current is not None:
                remove(work, current, ItemState.CANCELLED)

    # --- reprocess

    def reprocess(
        self,
        work: UnitOfWork,
        ids: list[str] | None,
        *,
        repair: Callable[[Item], Json] | None = None,
    ) -> int:
        """Queues failed items again with a fresh retry budget; returns how many.

        An item that may have been processed keeps its idempotency key and its data. Any other gets
        a new key, and the data that ``repair`` returns. What failed because it expired is sent all
        the same; what failed for another reason expires as it was pushed to.

        A create that the server accepted with an unreadable answer is only queued again if it is
        named: it might be made twice.
        """
        items = self._failed_by_id(work.tx, ids)
        if ids is None:
            items = [item for item in items if not item.unclear]
        for item in items:
            entity = self._entities.get(item.entity)
            fresh, links = self._fresh(work, item, entity, repair)
            if entity is None:
                change(work.tx, item, fresh, links)
                continue
            with track_change(work, entity, item.record, "local"):
                if item.expired and self._has_lost_its_place(work.tx, entity, item):
                    self._queue_again(work, entity, item, fresh)
                    continue
                if item.expired:
                    links, data = references(work.tx, entity, loads(fresh.data), item.seq)
                    fresh = fresh._replace(data=dumps(data))
                update_lane(work, change(work.tx, item, fresh, links))
        return len(items)

    def _has_lost_its_place(self, tx: Reader, entity: Entity, item: Item) -> bool:
        """Whether later items of an expired item's record may have been sent already.

        A create's later items expired with it. What refers to its record is queued behind it.
        """
        return (
            item.operation != CREATE.value
            or last(tx, item.entity, item.record) is not None
            or server_state(tx, entity, item.record) is not None
        )

    def _fresh(
        self,
        work: UnitOfWork,
        item: Item,
        entity: Entity | None,
        repair: Callable[[Item], Json] | None,
    ) -> tuple[Item, list[Link] | None]:
        """The item as it is queued again, and its new links (``None``: they stay)."""
        fresh = renewed(item, work.now if repair else item.time)
        # one that has expired is sent all the same; any other one still expires
        passed = item.expired and item.expires is not None and item.expires < 0
        fresh = fresh._replace(expires=None if passed else item.expires, expired=None)
        if item.expired and item.key is not None:
            fresh = fresh._replace(id=item.id)  # the caller's key, unless it was rejected once
        if is_frozen(item):
            if repair is not None:
                raise InvalidDataError(
                    f"{item.entity}/{item.record}: data is refused, because an earlier "
                    "attempt may have been processed; reprocess it as it is, or discard it",
                    entity=item.entity,
                    record_id=item.record,
                )
            fresh = fresh._replace(id=item.id, frozen=item.frozen)
            fresh = fresh._replace(first_attempt=item.first_attempt, lookup_at=item.lookup_at)
            return fresh, None
        if repair is None:
            return fresh, None
        data, links = repair(item), None
        if entity is not None:
            links, data = references(work.tx, entity, data, item.seq)
        version = self._schema_version
        return fresh._replace(data=dumps(data), digest=None, schema_version=version), links

    def _queue_again(self, work: UnitOfWork, entity: Entity, item: Item, fresh: Item) -> None:
        """Queues an expired item last."""
        tx = work.tx
        tx.delete(ITEMS, item)
        seq = tx.next_number()
        if item.key is None:
            fresh = fresh._replace(id=new_item_id(seq))
        elif (row := tx.get(KEYS, item.key)) is not None:
            tx.replace(KEYS, row, row._replace(seq=seq))
        links, data = references(tx, entity, loads(fresh.data), seq)
        fresh = fresh._replace(seq=seq, position=seq, data=dumps(data))
        add(tx, fresh, links, before=last(tx, item.entity, item.record))
        work.effects.moved[item.seq] = seq

    def _failed_by_id(self, tx: Reader, ids: Iterable[str] | None) -> list[Item]:
        if ids is None:
            return self.failed_items(tx)
        items = (self._by_id(tx, item_id) for item_id in dict.fromkeys(ids))
        return [item for item in items if item is not None and item.lane == Lane.FAILED]

    def _by_id(self, tx: Reader, item_id: str) -> Item | None:
        """The item with this id. Most ids end in the item's ``seq``; keys given by callers, and ids
        given inside ``transaction()`` before the ``seq`` was known, do not.
        """
        item = tx.get(ITEMS, seq_of(item_id))
        if item is not None and item.id == item_id:
            return item
        key = tx.get(KEYS, item_id) if item_id.isascii() else None
        if key is not None:
            return tx.get(ITEMS, key.seq)
        return next((each for each in self.failed_items(tx) if each.id == item_id), None)


def repaired_by(entities: Entities, data: Any) -> Callable[[Item], Json]:
    """A ``repair`` function that replaces an item's data with this, for the same record."""

    def repair(item: Item) -> Json:
        entity = entities.named(item.entity)
        plain = encode(data, entity.name, entity.json_default)
        given = plain.setdefault(entity.id_field, item.record)
        if record_key(given, entity.name, entity.id_field) != item.record:
            raise InvalidDataError(
                f"{entity.name}: the repair of {item.record} carries another id",
                path=f"$.{entity.id_field}",
                entity=entity.name,
                record_id=item.record,
            )
        return plain

    return repair
