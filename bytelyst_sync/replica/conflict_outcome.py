"""Applies the decision about a conflict to the queue and to the stored server state.

The record's queued operations are replaced by nothing, or by one item that is based on the server's
version. Runs inside a storage transaction.
"""

from __future__ import annotations

from typing import Any

from bytelyst_sync.clock import BOOT
from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import ItemState, SyncOperation
from bytelyst_sync.replica.conflict_sides import pushed_at
from bytelyst_sync.replica.server_ids import adopt_server_id
from bytelyst_sync.replica.server_state import put_state, reread_unlisted
from bytelyst_sync.rules.conflict import Decision, Sides, operation_for
from bytelyst_sync.rules.decimals import names_in, names_text
from bytelyst_sync.rules.json_text import dumps, loads
from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.rules.unique_key import is_other_record
from bytelyst_sync.state.transitions import (
    change,
    items_of,
    references,
    refers_ahead,
    rekeyed,
    remove,
)
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["apply_decision", "create_instead", "drop_items", "take_equal", "take_unchanged"]

Json = dict[str, Any]
Version = str | int | None
CREATE = SyncOperation.CREATE.value


def take_unchanged(
    work: UnitOfWork,
    entity: Entity,
    item: Item,
    remote: Json | None,
    version: Version,
    *,
    renew: bool,
) -> None:
    """The server's record has not changed since the item's base: the item is sent with its version.

    ``renew``: the server refused the item, so it gets a new key.
    """
    _take_state(work, entity, item.record, remote, version)
    _rebase(work.tx, work.tx.get(ITEMS, item.seq) or item, version, renew=renew)


def create_instead(work: UnitOfWork, entity: Entity, item: Item) -> None:
    """Sends an update as the create that it was pushed as: the server does not have the record.

    An item that failed stays failed.
    """
    put_state(work.tx, entity, item.record, None, None)
    created = rekeyed(item)._replace(
        operation=CREATE,
        lane=Lane.FAILED if item.lane == Lane.FAILED else Lane.READY,
        version=None,
        was_create=None,
    )
    change(work.tx, item, created)


def take_equal(
    work: UnitOfWork, entity: Entity, items: list[Item], sides: Sides, version: Version
) -> None:
    """Both sides are equal: stores the server's version and sends nothing."""
    key = _take_state(work, entity, items[0].record, sides.remote, version)
    drop_items(work, items, ItemState.DELIVERED)
    _rebase_next(work.tx, entity, key, version)
    reread_unlisted(work.tx, entity, key)


def apply_decision(
    work: UnitOfWork,
    entity: Entity,
    items: list[Item],
    sides: Sides,
    decision: Decision,
    version: Version,
) -> None:
    """Stores the server's state, and replaces the items by what still must be sent."""
    key = _take_state(work, entity, items[0].record, sides.remote, version)
    outcome = operation_for(sides, decision)
    server_won = decision.side == "remote"
    # if the server wins, the operation that found the conflict is dropped completely
    dropped = items if outcome is None else items[: int(server_won)]
    drop_items(work, dropped, ItemState.CONFLICT if server_won else ItemState.DELIVERED)
    if outcome is None:
        _rebase_next(work.tx, entity, key, version)
        reread_unlisted(work.tx, entity, key)
    else:
        replaced = items[len(dropped) :]
        _put_in_place(work, entity, replaced, sides, outcome, version, unsent=server_won)


def _put_in_place(
    work: UnitOfWork,
    entity: Entity,
    items: list[Item],
    sides: Sides,
    outcome: tuple[SyncOperation, Json],
    version: Version,
    *,
    unsent: bool,
) -> None:
    """Replaces these items by one item with the outcome.

    A single item that was never sent, and whose data does not change, keeps its key.
    """
    items = [work.tx.get(ITEMS, item.seq) or item for item in items]
    head, pushed = items[0], pushed_at(work, items)
    operation, data = outcome
    identity = loads(head.data) if sides.remote is None else sides.remote
    data.setdefault(entity.id_field, identity.get(entity.id_field, head.record))
    # the first place at which everything that the outcome refers to has been created before
    place = next(
        (each for each in items if not refers_ahead(work.tx, entity, data, each.seq)), items[-1]
    )
    for other in reversed(items):
        current = work.tx.get(ITEMS, other.seq)
        if other is not place and current is not None:
            remove(work, current)
            work.effects.moved[other.seq] = place.seq
    # what the others referred to is never sent
    links, data = references(work.tx, entity, data, place.seq)
    current = work.tx.get(ITEMS, place.seq) or place
    # a failed item stays failed: somebody must still decide about it
    failed = head.lane == Lane.FAILED
    new = current._replace(
        operation=operation.value,
        data=dumps(data),
        lane=Lane.FAILED if failed else Lane.READY,
        due=None,
        delay=None,
        retries=head.retries if failed else 0,
        error=head.error if failed else None,
        frozen=0,
        version=None if operation is SyncOperation.CREATE else version,
        in_progress_retries=0,
        conflict=None,
        expires=_last_expiry(items),
    )
    if not (unsent and len(items) == 1 and _sends_the_same(current, new)):
        new = rekeyed(new)._replace(
            time=max(item.time for item in items) if pushed is None else pushed,
            boot=None if pushed is None or work.booted is None else BOOT,
            booted=work.booted,
            decimals=names_text(names_in(*(item.decimals for item in items))),
            digest=None,
            resolve_attempts=head.resolve_attempts + 1,
            was_create=None,
        )
    change(work.tx, current, new, links)


def _last_expiry(items: list[Item]) -> float | None:
    """When the item expires that these become: when the last of them does."""
    times = [abs(item.expires) for item in items if item.expires is not None]
    return max(times) if len(times) == len(items) else None


def _take_state(
    work: UnitOfWork, entity: Entity, key: str, remote: Json | None, version: Version
) -> str:
    """Stores the server's state; returns the record's key. If the server's record has another id,
    the local record takes that id.
    """
    if remote is not None and is_other_record(remote, entity.id_field, key):
        key = adopt_server_id(work, entity, key, remote[entity.id_field])
    put_state(work.tx, entity, key, remote, version)
    return key


def drop_items(work: UnitOfWork, items: list[Item], outcome: ItemState) -> None:
    """Removes these items from the queue."""
    for item in reversed(items):
        current = work.tx.get(ITEMS, item.seq)
        if current is not None:
            remove(work, current, outcome)


def _rebase_next(tx: Transaction, entity: Entity, key: str, version: Version) -> None:
    """Bases the record's next item on the outcome of the conflict."""
    for item in items_of(tx, entity.name, key)[:1]:
        if not item.frozen:
            _rebase(tx, item, version, renew=False)


def _rebase(tx: Transaction, item: Item, version: Version, *, renew: bool) -> None:
    """Bases an item on a version; ``renew``: the server refused it, so it gets a new key."""
    new = item if item.operation == CREATE else item._replace(version=version)
    if renew:
        new = rekeyed(new)._replace(resolve_attempts=item.resolve_attempts + 1)
    tx.replace(ITEMS, item, new)


def _sends_the_same(old: Item, new: Item) -> bool:
    data = (loads(each.data) for each in (old, new))
    return old.operation == new.operation and same_value(*data)
