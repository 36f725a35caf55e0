"""Rows in and out of the queue, each in its lane (SPEC §2, order and references).

Everything here runs inside a storage transaction and keeps one invariant: an item is ``READY``
or ``DELAYED`` only if it is the first of its record and no create that it refers to is queued
before it. Every other pending item is ``BLOCKED`` and names, as ``blocker``, one item that it
waits for; whoever removes that one looks for the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.state.effects import Effects, as_sync_item
from bytelyst_sync.state.item_ids import new_item_id
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ALIASES, ITEMS, LINKS, Item, Lane, Link

__all__ = [
    "PENDING",
    "add",
    "change",
    "first",
    "is_frozen",
    "items_of",
    "last",
    "links_to",
    "may_meet",
    "queued_create",
    "references",
    "refers_ahead",
    "remove",
    "renewed",
    "resettle",
    "wait_for_create",
]

PENDING = (Lane.READY, Lane.DELAYED, Lane.BLOCKED)
"""The lanes of items that wait for nothing but their turn, their time or another item."""
_CREATE = SyncOperation.CREATE.value


def items_of(tx: Reader, entity: str, record: str) -> list[Item]:
    """The queued items of a record, oldest first."""
    return list(tx.scan(ITEMS, "record", (entity, record)))


def first(tx: Reader, entity: str, record: str) -> Item | None:
    """The oldest queued item of a record."""
    return next(tx.scan(ITEMS, "record", (entity, record), limit=1), None)


def last(tx: Reader, entity: str, record: str) -> Item | None:
    """The newest queued item of a record."""
    if record not in tx.present(ITEMS, "record", (entity,), (record,)):
        return None  # nearly always; to hear that from the index alone takes half the time
    return next(tx.scan(ITEMS, "record", (entity, record), limit=1, reverse=True), None)


def is_frozen(item: Item) -> bool:
    """Whether it may have been processed, so that nothing about it may change (SPEC §2)."""
    return bool(item.frozen) or item.lane == Lane.SENDING


def may_meet(item: Item) -> bool:
    """Whether a new operation may change it: pending and not frozen, or rejected (SPEC §3)."""
    return not item.frozen and (item.lane in PENDING or item.lane == Lane.FAILED)


def renewed(item: Item, now: float) -> Item:
    """The item with a new key and all of its tries before it."""
    return item._replace(
        id=new_item_id(item.seq),
        lane=Lane.READY,
        time=now,
        due=None,
        delay=None,
        retries=0,
        error=None,
        stalls=0,
        rounds=0,
    )


def add(tx: Transaction, item: Item, links: list[Link], *, before: Item | None) -> Item:
    """Puts a new item behind ``before``, its record's last one."""
    for link in links:
        tx.insert(LINKS, link)
    blocker = before.seq if before is not None else _parent_in_queue(tx, item.seq, links)
    if blocker is not None:
        item = item._replace(lane=Lane.BLOCKED, blocker=blocker)
    tx.insert(ITEMS, item)
    return item


def change(tx: Transaction, old: Item, new: Item, links: list[Link] | None = None) -> Item:
    """Replaces an item's row; with ``links`` what it refers to is replaced as well.

    A pending item gets the lane that is now right for it.
    """
    if links is not None:
        for link in list(tx.scan(LINKS, None, (old.seq,))):
            tx.delete(LINKS, link)
        for link in links:
            tx.insert(LINKS, link)
    if new.lane in PENDING:
        new = _laid(tx, new)
    tx.replace(ITEMS, old, new)
    if old.lane == Lane.SENDING:
        let_earlier_ones_go(tx, new)
    return new


def let_earlier_ones_go(tx: Transaction, item: Item) -> None:
    """An item is no longer being sent: those of its record that are queued before it, and had to
    wait because it was already on its way (it was queued under another id), may go first.
    """
    for waiting in list(tx.scan(ITEMS, "blocker", (item.seq,))):
        if waiting.seq < item.seq:
            tx.replace(ITEMS, waiting, _laid(tx, waiting))


def remove(tx: Transaction, item: Item, entities: Entities, effects: Effects) -> None:
    """Takes an item out and lets those that waited for it move on."""
    tx.delete(ITEMS, item)
    for link in list(tx.scan(LINKS, None, (item.seq,))):
        tx.delete(LINKS, link)
    for waiting in list(tx.scan(ITEMS, "blocker", (item.seq,))):
        resettle(tx, waiting, entities, effects)


def resettle(tx: Transaction, item: Item, entities: Entities, effects: Effects) -> Item:
    """Puts a pending item into the lane that is now right for it."""
    laid = _laid(tx, item)
    if laid.lane != Lane.BLOCKED:
        lost = _lost_parent(tx, item, entities)
        if lost is not None:
            laid = laid._replace(
                lane=Lane.FAILED,
                blocker=None,
                error=f"{lost.field} refers to {lost.entity} {lost.record}, whose create was "
                "dropped before the server gave it an id; repair the data and reprocess it",
            )
            effects.failed.append(as_sync_item(laid))
            effects.note("failed", item.entity, item.operation)
    tx.replace(ITEMS, item, laid)
    return laid


def _laid(tx: Reader, item: Item) -> Item:
    blocker = _predecessor(tx, item)
    if blocker is None:
        blocker = _parent_in_queue(tx, item.seq, list(tx.scan(LINKS, None, (item.seq,))))
    if blocker is not None:
        return item._replace(lane=Lane.BLOCKED, blocker=blocker, due=None, delay=None)
    lane = Lane.READY if item.due is None else Lane.DELAYED
    return item._replace(lane=lane, blocker=None)


def _predecessor(tx: Reader, item: Item) -> int | None:
    before = tx.scan(
        ITEMS, "record", (item.entity, item.record), after=(item.seq,), limit=1, reverse=True
    )
    found = next(before, None)
    return None if found is None else found.seq


def _parent_in_queue(tx: Reader, seq: int, links: list[Link]) -> int | None:
    for link in links:
        create = queued_create(tx, link.entity, link.record, seq)
        if create is not None:
            return create.seq
    return None


def queued_create(tx: Reader, entity: str, record: str, before: int) -> Item | None:
    """The create of a record that is queued before a place; an older one only, so that items
    cannot wait for each other in a circle.
    """
    for item in tx.scan(ITEMS, "record", (entity, record)):
        if item.seq >= before:
            return None
        if item.operation == _CREATE:
            return item
    return None


def _lost_parent(tx: Reader, item: Item, entities: Entities) -> Link | None:
    """A reference to a record that never got, and never will get, an id from the server."""
    for link in tx.scan(LINKS, None, (item.seq,)):
        parent = entities.get(link.entity)
        if parent is not None and parent.server_ids and is_local(link.record):
            known = tx.get(ALIASES, link.entity, link.record)
            if known is None and first(tx, link.entity, link.record) is None:
                return link
    return None


def references(
    tx: Reader, entity: Entity, data: dict[str, Any], seq: int
) -> tuple[list[Link], dict[str, Any]]:
    """What this data refers to that is still to be created, and the data with the local ids of
    records that already have the server's replaced by it.
    """
    links: list[Link] = []
    for field, parent in entity.config.references.items():
        value = data.get(field)
        many = isinstance(value, list)
        given = value if isinstance(value, list) else [value]
        named = [_server_id(tx, parent, each) for each in given]
        if named != given:
            data = {**data, field: named if many else named[0]}
        keys = dict.fromkeys(str(each) for each in named if isinstance(each, (str, int)))
        links += [
            Link(seq, field, parent, each)
            for each in keys
            if queued_create(tx, parent, each, seq) is not None
        ]
    return links, data


def _server_id(tx: Reader, parent: str, value: Any) -> Any:
    if isinstance(value, str) and is_local(value):
        alias = tx.get(ALIASES, parent, value)
        if alias is not None:
            return json.loads(alias.given)
    return value


def wait_for_create(tx: Transaction, entity: str, record: str) -> None:
    """A record is to be created, where an update of it was queued: what refers to it waits."""
    for link in list(links_to(tx, entity, record)):
        item = tx.get(ITEMS, link.seq)
        if item is not None and item.lane in PENDING:
            tx.replace(ITEMS, item, _laid(tx, item))


def links_to(tx: Reader, entity: str, record: str) -> Iterator[Link]:
    """The queued references to a record."""
    return tx.scan(LINKS, "parent", (entity, record))


def refers_ahead(tx: Reader, entity: Entity, data: dict[str, Any], seq: int) -> bool:
    """Whether this data, at this place, would refer to a record created later in the queue."""
    for field, parent in entity.config.references.items():
        value = data.get(field)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, (str, int)) and not isinstance(each, bool):
                later = tx.scan(ITEMS, "record", (parent, str(each)), after=(seq,))
                if any(item.operation == _CREATE for item in later):
                    return True
    return False
