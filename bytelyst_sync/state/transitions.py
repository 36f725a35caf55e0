"""Adds, changes, fails and removes queued items, and keeps each in its lane.

Everything here runs inside a storage transaction and keeps one invariant: an item is ``READY``
or ``DELAYED`` only if none of these is queued before it:

- an item of the same record;
- the create of a record that it refers to;
- for a delete: an item whose record refers, or in its last known state referred, to the record.

Every other pending item is ``BLOCKED``, and its ``blocker`` is one item that it waits for now. When
the blocker leaves the queue, or the reason to wait for it ends (a create became an update, a
reference was removed), the next blocker is searched. Items wait only for earlier items, so they
cannot wait for each other in a circle. There is one exception: if a record was joined with another
one, an item waits for a later item of it that is being sent already.

An *expired* item was never sent: it is listed as failed, and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bytelyst_sync.config.entity import Entities, Entity
from bytelyst_sync.model import ItemState, SyncOperation
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.references import Reference, find_references, replace_references
from bytelyst_sync.state.commit_effects import as_sync_item
from bytelyst_sync.state.item_ids import new_item_id
from bytelyst_sync.state.keys import settle_key
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ALIASES, ITEMS, LINKS, RECORDS, Item, Lane, Link

__all__ = [
    "PENDING",
    "add",
    "change",
    "fail",
    "fail_children",
    "fail_unsent",
    "first",
    "is_changeable",
    "is_frozen",
    "items_of",
    "last",
    "links_to",
    "lost_references",
    "queued_create",
    "references",
    "refers_ahead",
    "rekeyed",
    "remove",
    "renewed",
    "update_lane",
]

PENDING = (Lane.READY, Lane.DELAYED, Lane.BLOCKED)
"""The lanes of items that will be sent without a decision by anybody."""
_CREATE, _DELETE = SyncOperation.CREATE.value, SyncOperation.DELETE.value


def items_of(tx: Reader, entity: str, record: str) -> list[Item]:
    """The queued items of a record, oldest first, without the expired ones."""
    return [item for item in tx.scan(ITEMS, "record", (entity, record)) if not item.expired]


def first(tx: Reader, entity: str, record: str) -> Item | None:
    """The oldest queued item of a record."""
    return _end_of_record(tx, entity, record)


def last(tx: Reader, entity: str, record: str, before: int | None = None) -> Item | None:
    """The newest queued item of a record; with ``before`` the newest before that ``seq``."""
    after = None if before is None else (before,)
    return _end_of_record(tx, entity, record, after=after, reverse=True)


def _end_of_record(
    tx: Reader,
    entity: str,
    record: str,
    *,
    after: tuple[int, ...] | None = None,
    reverse: bool = False,
) -> Item | None:
    index, prefix = "record", (entity, record)
    items = tx.scan(ITEMS, index, prefix, after=after, reverse=reverse, limit=1)
    item = next(items, None)
    if item is None or not item.expired:
        return item
    rows = list(tx.scan(ITEMS, index, prefix, after=after, reverse=reverse))
    return next((each for each in rows if not each.expired), None)


def is_frozen(item: Item) -> bool:
    """Whether the server may have processed the item, so that it must not change."""
    return bool(item.frozen) or item.lane == Lane.SENDING


def is_changeable(item: Item) -> bool:
    """Whether the item may be changed or merged: not frozen, and pending or failed."""
    return not item.frozen and (item.lane in PENDING or item.lane == Lane.FAILED)


def rekeyed(item: Item) -> Item:
    """The item under a new key, as one that was never sent."""
    return item._replace(
        id=new_item_id(item.seq),
        frozen=0,
        first_attempt=None,
        attempted=None,
        outage_began=None,
        outage=0,
        unclear=None,
        lookup_at=None,
        lookups=0,
    )


def renewed(item: Item, now: float) -> Item:
    """The item under a new key and with a fresh retry budget."""
    return rekeyed(item)._replace(
        boot=item.boot if item.time == now else None,
        lane=Lane.READY,
        time=now,
        due=None,
        delay=None,
        retries=0,
        error=None,
        in_progress_retries=0,
        resolve_attempts=0,
    )


def add(tx: Transaction, item: Item, links: list[Link], *, before: Item | None) -> Item:
    """Puts a new item behind ``before``, its record's last one."""
    tx.insert(LINKS, *links)
    blocker = before.seq if before is not None else _blocker(tx, item, links)
    if blocker is not None:
        item = item._replace(lane=Lane.BLOCKED, blocker=blocker)
    tx.insert(ITEMS, item)
    return item


def change(tx: Transaction, old: Item, new: Item, links: list[Link] | None = None) -> Item:
    """Replaces an item's row, and with ``links`` its links.

    Updates the lane of a pending item, and of the items that depend on it. An item that expired
    while it was failed or in conflict, and that is pending again, is the next one to expire.
    """
    unlinked = _drop_links(tx, old) - set(links) if links is not None else None
    if links is not None:
        tx.insert(LINKS, *links)
    if new.lane in PENDING:
        if new.expires is not None:
            new = new._replace(expires=abs(new.expires))
        place = (old.lane, old.due, old.operation, old.record)
        if links or unlinked or place != (new.lane, new.due, new.operation, new.record):
            new = _with_lane(tx, new)
    tx.replace(ITEMS, old, new)
    if old.lane == Lane.SENDING:
        _release_earlier(tx, new)
    if old.operation != new.operation or unlinked:
        # children waited for the create, or a delete for the links
        for waiting in list(tx.scan(ITEMS, "blocker", (new.seq,))):
            tx.replace(ITEMS, waiting, _with_lane(tx, waiting))
    if _is_create(new) and not _is_create(old):
        _wait_for_create(tx, new)
    return new


def _is_create(item: Item) -> bool:
    return item.operation == _CREATE and not item.expired


def _release_earlier(tx: Transaction, item: Item) -> None:
    """Unblocks the items before this one that waited for it, now that it is no longer being sent.

    They were queued under another id of the record, while this item was being sent already.
    """
    for waiting in list(tx.scan(ITEMS, "blocker", (item.seq,))):
        if waiting.seq < item.seq:
            tx.replace(ITEMS, waiting, _with_lane(tx, waiting))


def _wait_for_create(tx: Transaction, create: Item) -> None:
    """Blocks the items that refer to a record, after an item of it became a create, or an expired
    create was queued again.
    """
    for link in list(links_to(tx, create.entity, create.record)):
        item = tx.get(ITEMS, link.seq)
        if item is not None and item.lane in PENDING:
            tx.replace(ITEMS, item, _with_lane(tx, item))


def remove(work: UnitOfWork, item: Item, outcome: ItemState | None = None) -> None:
    """Removes an item from the queue and unblocks the items that waited for it.

    ``outcome``: its final state; ``None`` if it was merged into another item.
    """
    work.tx.delete(ITEMS, item)
    _drop_links(work.tx, item)
    if item.key is not None:
        settle_key(work, item.key, free=outcome is ItemState.CANCELLED)
    if outcome is not None:
        work.effects.outcomes[item.seq] = outcome
    _release(work, item)


def fail_unsent(work: UnitOfWork, item: Item, text: str) -> None:
    """Fails an item that expired before it was sent; nothing waits for it any more.

    An item that failed with the create of its record keeps its own, later time.
    """
    _drop_links(work.tx, item)
    expires = item.expires if item.expires is not None and item.expires > work.now else None
    fail(work, item, item._replace(expires=expires, expired=1), text)
    _release(work, item)


def fail_children(work: UnitOfWork, create: Item, reason: str) -> None:
    """Fails the pending items that refer to the record of a create that left the queue unsent."""
    for link in list(links_to(work.tx, create.entity, create.record)):
        child = work.tx.get(ITEMS, link.seq)
        if child is None or child.seq < create.seq or child.frozen or child.lane not in PENDING:
            continue
        if _record_of(child) != _record_of(create):
            fail(work, child, child, lost_parent_text(child, link, reason))


def lost_parent_text(item: Item, link: Link, reason: str) -> str:
    """The error of an item that refers to a record whose create left the queue."""
    return (
        f"{item.operation} of {item.entity}/{item.record} was not sent: {link.field} refers to "
        f"{link.entity}/{link.record}, whose create {reason}; reprocess "
        "it if that record exists, repair its data, or discard it"
    )


def fail(work: UnitOfWork, old: Item, new: Item, text: str) -> None:
    """Fails an unsent item; ``text`` says why and what to do."""
    failed = new._replace(lane=Lane.FAILED, blocker=None, due=None, delay=None, error=text)
    work.tx.replace(ITEMS, old, failed)
    work.effects.outcomes[old.seq] = ItemState.FAILED
    work.effects.failed.append(as_sync_item(failed))
    work.effects.note("failed", old.entity, old.operation)


def _drop_links(tx: Transaction, item: Item) -> set[Link]:
    links = list(tx.scan(LINKS, None, (item.seq,)))
    tx.delete(LINKS, *links)
    return set(links)


def _release(work: UnitOfWork, item: Item) -> None:
    for waiting in list(work.tx.scan(ITEMS, "blocker", (item.seq,))):
        update_lane(work, waiting)


def update_lane(work: UnitOfWork, item: Item) -> Item:
    """Updates the lane of a pending item; fails it if its parent was dropped."""
    settled = _with_lane(work.tx, item)
    if settled.lane != Lane.BLOCKED:
        lost_link = _lost_parent(work.tx, item, work.entities)
        if lost_link is not None:
            fail(work, item, settled, lost_parent_text(item, lost_link, "was dropped"))
            return settled
    work.tx.replace(ITEMS, item, settled)
    return settled


def _with_lane(tx: Reader, item: Item) -> Item:
    before = last(tx, item.entity, item.record, item.seq)
    blocker = before.seq if before is not None else None
    if blocker is None:
        blocker = _blocker(tx, item, list(tx.scan(LINKS, None, (item.seq,))))
    if blocker is None:
        blocker = _under_way(tx, item)
    if blocker is not None:
        return item._replace(lane=Lane.BLOCKED, blocker=blocker, due=None, delay=None)
    lane = Lane.READY if item.due is None else Lane.DELAYED
    return item._replace(lane=lane, blocker=None)


def _under_way(tx: Reader, item: Item) -> int | None:
    """A later item of the record that is being sent: it was queued under another id of it."""
    later = tx.scan(ITEMS, "record", _record_of(item), after=(item.seq,))
    return next((each.seq for each in later if each.lane == Lane.SENDING), None)


def _blocker(tx: Reader, item: Item, links: list[Link]) -> int | None:
    """The item that the first item of a record waits for: the create of a parent, or for a delete
    an item that refers to its record.
    """
    for link in links:
        if (link.entity, link.record) != _record_of(item):
            create = queued_create(tx, link.entity, link.record, item.seq)
            if create is not None:
                return create.seq
    if item.operation == _DELETE:
        for link in tx.scan(LINKS, "parent", (item.entity, item.record), upto=(item.seq - 1,)):
            referrer = tx.get(ITEMS, link.seq)
            if referrer is not None and _record_of(referrer) != _record_of(item):
                return referrer.seq
    return None


def _record_of(item: Item) -> tuple[str, str]:
    return item.entity, item.record


def queued_create(tx: Reader, entity: str, record: str, before: int) -> Item | None:
    """The create of a record that is queued before this ``seq``."""
    for item in tx.scan(ITEMS, "record", (entity, record)):
        if item.seq >= before:
            return None
        if item.operation == _CREATE and not item.expired:
            return item
    return None


def _lost_parent(tx: Reader, item: Item, entities: Entities) -> Link | None:
    """A reference to a record whose create was dropped, so that the server never gives its id."""
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
    """The links of an item with this data and ``seq``, and the data with known server ids in place
    of local ids.

    The links cover the references in the data, in the record's last known state, and of the
    record's previous item.
    """
    declared = entity.config.references
    if not declared:
        return [], data
    if entity.server_id_parents:
        data = replace_references(
            declared, data, lambda parent, given: _server_id(tx, entity, parent, given)
        )
    referred = find_references(declared, data)
    record = str(data.get(entity.id_field))
    row = tx.get(RECORDS, entity.name, record)
    if row is not None and row.state is not None:
        referred += find_references(declared, loads(row.state))
    links = [Link(seq, *each) for each in referred]
    before = last(tx, entity.name, record, seq)
    if before is not None:
        links += [each._replace(seq=seq) for each in tx.scan(LINKS, None, (before.seq,))]
    return list(dict.fromkeys(links)), data


def _server_id(tx: Reader, entity: Entity, parent: str, value: Any) -> Any:
    if parent not in entity.server_id_parents:
        return value
    alias = tx.get(ALIASES, parent, str(value))
    return value if alias is None else loads(alias.given)


def lost_references(tx: Reader, entity: Entity, data: dict[str, Any]) -> list[Reference]:
    """References by local ids that name no record here: the create was cancelled or discarded, or
    the record was deleted long ago.
    """
    if not entity.server_id_parents:
        return []
    return [
        each
        for each in find_references(entity.config.references, data)
        if is_local(each.record)
        and each.entity in entity.server_id_parents
        and tx.get(ALIASES, each.entity, each.record) is None
        and first(tx, each.entity, each.record) is None
    ]


def links_to(tx: Reader, entity: str, record: str) -> Iterator[Link]:
    """The queued references to a record."""
    return tx.scan(LINKS, "parent", (entity, record))


def refers_ahead(tx: Reader, entity: Entity, data: dict[str, Any], seq: int) -> bool:
    """Whether this data refers to a record with a create or delete queued after this ``seq``."""
    return any(
        item.operation in (_CREATE, _DELETE)
        for field, parent, record in find_references(entity.config.references, data)
        for item in tx.scan(ITEMS, "record", (parent, record), after=(seq,))
    )
