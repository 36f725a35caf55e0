"""The server's id takes a local one's place, everywhere (SPEC §2, ``id_source="server"``)."""

from __future__ import annotations

import json
from typing import Any

from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.lanes import PENDING, is_frozen, items_of, links_to, resettle
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ALIASES, ITEMS, LINKS, RECORDS, Alias, Item, Lane

__all__ = ["adopt_server_id"]


def adopt_server_id(
    tx: Transaction,
    entities: Entities,
    entity: Entity,
    local: str,
    given: Any,
    effects: Effects,
) -> str:
    """Renames a record to the id that its create's answer brought; returns the new key.

    Later queued items of the record and references to it follow; both ids name it from now on.
    None of what is renamed has been sent: it waited for the create.
    """
    key = str(given)
    if key == local:
        return key
    if tx.get(ALIASES, entity.name, local) is None:
        tx.insert(ALIASES, Alias(entity.name, local, key, json.dumps(given)))
    for item in items_of(tx, entity.name, local):
        _rename(tx, entity, item, local, key, given)
    _follow(tx, entity, local, key, given)
    _join(tx, entity, local, key)
    _order(tx, entities, entity, key, effects)
    return key


def _rename(tx: Transaction, entity: Entity, item: Item, local: str, key: str, given: Any) -> None:
    data = json.loads(item.data)
    if str(data.get(entity.id_field)) == local and not is_frozen(item):
        data[entity.id_field] = given
    tx.replace(ITEMS, item, item._replace(record=key, data=dumps(data)))


def _follow(tx: Transaction, entity: Entity, local: str, key: str, given: Any) -> None:
    for link in list(links_to(tx, entity.name, local)):
        tx.replace(LINKS, link, link._replace(record=key))
        child = tx.get(ITEMS, link.seq)
        if child is None or is_frozen(child):
            continue
        data = json.loads(child.data)
        value = data.get(link.field)
        if isinstance(value, list):
            data[link.field] = [given if str(each) == local else each for each in value]
        else:
            data[link.field] = given
        tx.replace(ITEMS, child, child._replace(data=dumps(data)))


def _join(tx: Transaction, entity: Entity, local: str, key: str) -> None:
    """What was known under the local id goes; a pull may have brought the server's id first."""
    row = tx.get(RECORDS, entity.name, local)
    if row is None:
        return
    if tx.get(RECORDS, entity.name, key) is None:
        tx.replace(RECORDS, row, row._replace(record=key))
    else:
        tx.delete(RECORDS, row)


def _order(tx: Transaction, entities: Entities, entity: Entity, key: str, effects: Effects) -> None:
    """Items that were queued under both ids are one record's now, in the order of the queue."""
    items = items_of(tx, entity.name, key)
    sending = [item for item in items if item.lane == Lane.SENDING]
    for item in items:
        if item.lane not in PENDING:
            continue
        ahead = [each for each in sending if each.seq > item.seq]
        if ahead:
            waiting = item._replace(lane=Lane.BLOCKED, blocker=ahead[0].seq, due=None, delay=None)
            tx.replace(ITEMS, item, waiting)
        else:
            resettle(tx, item, entities, effects)
