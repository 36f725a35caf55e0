"""Replaces a record's local id, or its former id, by the id that the server assigned."""

from __future__ import annotations

import json
from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import ItemState, SyncOperation
from bytelyst_sync.replica.own_ids import find_own_ids, has_own_ids
from bytelyst_sync.replica.similar_ids import folded_column
from bytelyst_sync.replica.view import KEPT_S, track_change
from bytelyst_sync.rules.ids import LOCAL_ID, LOCAL_PREFIX, is_local, local_id_time, new_local_id
from bytelyst_sync.rules.json_text import dumps, loads
from bytelyst_sync.rules.local_ids import find_local_ids, own_fields
from bytelyst_sync.rules.references import find_references, replace_references
from bytelyst_sync.state.commit_effects import as_sync_item
from bytelyst_sync.state.transitions import (
    PENDING,
    change,
    is_frozen,
    items_of,
    links_to,
    lost_references,
    renewed,
    update_lane,
)
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ALIASES, ITEMS, LINKS, RECORDS, Alias, Item, Lane

__all__ = [
    "adopt_server_id",
    "forget_aliases",
    "record_given_before",
    "send_own_fields",
    "sendable",
    "without_own_fields",
]

Json = dict[str, Any]

_LAST = b"\xff" * 10
_PRUNED_AT_ONCE = 20


def adopt_server_id(
    work: UnitOfWork,
    entity: Entity,
    local: str,
    server_id: Any,
) -> str:
    """Renames a record to the id that it has at the server; returns the new key.

    Its queued items and references to it are renamed too. Both ids name the record from now on.
    The renamed items have not been sent yet, because they waited for the create.
    """
    key = str(server_id)
    if key == local:
        return key
    _add_alias(work.tx, Alias(entity.name, local, key, json.dumps(server_id)))
    for item in items_of(work.tx, entity.name, local):
        _rename(work.tx, entity, item, local, key, server_id)
    _rename_references(work, entity, local, key, server_id)
    _move_state(work.tx, entity, local, key)
    _order_items(work, entity, key)
    if not entity.replica:
        _prune_aliases(work, entity)
    return key


def record_given_before(tx: Reader, entity: Entity, local: str, server_id: Any) -> bool:
    """Whether the server assigned this id to another record of this store before.

    Some servers use the id of a deleted record again. The new record is then another one.
    """
    key = str(server_id)
    aliases = tx.scan(ALIASES, "record", (entity.name, key))
    if key == local or all(alias.local == local for alias in aliases):
        return False
    row = tx.get(RECORDS, entity.name, key)
    return row is None or row.state is not None


def forget_aliases(work: UnitOfWork, entity: Entity, keys: list[str]) -> None:
    """Forgets that these ids name other records: the server has records of its own under them.

    Such an id was given here to a new record that has another one at the server.
    """
    tx = work.tx
    for key in tx.present(ALIASES, None, (entity.name,), keys):
        alias = tx.get(ALIASES, entity.name, key)
        if alias is not None and alias.record != key:
            tx.delete(ALIASES, alias)
            work.effects.id_problems.setdefault(
                entity.name,
                f"{entity.name}: the id {key!a} was given here to a new record, which has the id "
                f"{alias.record!a} at the server; now the server has another record {key!a}. From "
                f"now on {key!a} names that one",
            )


def _add_alias(tx: Transaction, alias: Alias) -> None:
    """Stores the alias, and lets earlier aliases of the record point to the new id."""
    reused = tx.get(ALIASES, alias.entity, alias.record)
    if reused is not None:
        tx.delete(ALIASES, reused)
    if not is_local(alias.local):  # a local id is always the record's first
        for older in list(tx.scan(ALIASES, "record", (alias.entity, alias.local))):
            tx.replace(ALIASES, older, older._replace(record=alias.record, given=alias.given))
    known = tx.get(ALIASES, alias.entity, alias.local)
    if known is None:
        tx.insert(ALIASES, alias)
    elif known != alias:
        tx.replace(ALIASES, known, alias)


def _prune_aliases(work: UnitOfWork, entity: Entity) -> None:
    """Forgets some local ids that are older than 30 days, of an entity that keeps no records.

    Those of other entities are pruned with the tombstones of their records.
    """
    oldest = new_local_id(work.now - KEPT_S, _LAST)
    old = work.tx.scan(ALIASES, None, (entity.name,), upto=(oldest,), limit=_PRUNED_AT_ONCE)
    for alias in list(old):
        dated = local_id_time(alias.local) is not None
        if dated and not items_of(work.tx, entity.name, alias.record):
            work.tx.delete(ALIASES, alias)


def _rename(
    tx: Transaction, entity: Entity, item: Item, local: str, key: str, server_id: Any
) -> None:
    data = loads(item.data)
    if str(data.get(entity.id_field)) == local and not is_frozen(item):
        data[entity.id_field] = server_id
    tx.replace(ITEMS, item, item._replace(record=key, data=dumps(data)))


def _rename_references(
    work: UnitOfWork, entity: Entity, local: str, key: str, server_id: Any
) -> None:
    def replaced(parent: str, value: Any) -> Any:
        return server_id if parent == entity.name and str(value) == local else value

    tx = work.tx
    for link in list(links_to(tx, entity.name, local)):
        tx.delete(LINKS, link)
        if tx.get(LINKS, link.seq, link.field, link.entity, key) is None:
            tx.insert(LINKS, link._replace(record=key))
        child = tx.get(ITEMS, link.seq)
        known = None if child is None else work.entities.get(child.entity)
        if child is None or known is None or is_frozen(child):
            continue
        data = replace_references(known.config.references, loads(child.data), replaced)
        with track_change(work, known, child.record, "remote"):
            tx.replace(ITEMS, child, child._replace(data=dumps(data)))


def _move_state(tx: Transaction, entity: Entity, local: str, key: str) -> None:
    """Moves the stored state to the new id, unless a pull has stored one there already."""
    row = tx.get(RECORDS, entity.name, local)
    if row is None:
        return
    if tx.get(RECORDS, entity.name, key) is None:
        tx.replace(RECORDS, row, row._replace(record=key, folded=folded_column(key)))
    else:
        tx.delete(RECORDS, row)


def _order_items(work: UnitOfWork, entity: Entity, key: str) -> None:
    """Orders the items that were queued under both ids: they belong to one record now."""
    for item in items_of(work.tx, entity.name, key):
        if item.lane in PENDING:
            update_lane(work, item)


# -- a record that refers to itself


def send_own_fields(work: UnitOfWork, entity: Entity, created: Item, server_id: Any) -> bool:
    """Replaces a delivered create by an update with the fields that refer to the record itself.

    The create was sent without them. Returns whether there are such fields.
    """
    data = loads(created.data)
    local = str(data.get(entity.id_field))
    fields = own_fields(entity, data, local)
    if not fields:
        return False

    def replaced(parent: str, value: Any) -> Any:
        return server_id if parent == entity.name and str(value) == local else value

    rest = {name: value for name, value in data.items() if name in fields}
    rest = replace_references(entity.config.references, rest, replaced)
    update = renewed(created, created.time)._replace(
        operation=SyncOperation.UPDATE.value,
        data=dumps({entity.id_field: server_id, **rest}),
        digest=None,
    )
    change(work.tx, created, update)
    return True


def without_own_fields(entity: Entity, created: Item) -> Item:
    """The create without the fields that refer to the record itself: as it was sent."""
    data = loads(created.data)
    fields = own_fields(entity, data, str(data.get(entity.id_field)))
    if not fields:
        return created
    sent = {name: value for name, value in data.items() if name not in fields}
    return created._replace(data=dumps(sent))


# -- items that must not be sent


def sendable(work: UnitOfWork, item: Item) -> Item | None:
    """The item as it may be sent; ``None`` if it was failed, because it contains a local id.

    A local id means nothing to the server. In declared references it is replaced by the server's
    id; anywhere else the item fails.
    """
    entity = work.entities[item.entity]
    creates = entity.server_ids and item.operation == SyncOperation.CREATE.value
    if not entity.server_ids and LOCAL_ID.fullmatch(item.record):
        reason = (
            "its id was given here until the server gives one, and id_source is 'client' now; set "
            "id_source='server' and reprocess it, or discard it and push it under an id of its own"
        )
        _hold_back(work, item, reason)
        return None
    if not creates and entity.server_ids and is_local(item.record):
        _hold_back(work, item, "its record never got an id from the server; discard it")
        return None
    own = 1 if creates and is_local(item.record) else 0
    has_own = has_own_ids(work.tx)
    if item.frozen or (item.data.count(LOCAL_PREFIX) <= own and not has_own):
        return item
    data = loads(item.data)
    current = _with_server_ids(work, entity, data)
    for field, parent, record in lost_references(work.tx, entity, current):
        reason = f"{field} refers to {parent}/{record}, whose create was dropped"
        _hold_back(work, item, f"{reason}; repair its data and reprocess it, or discard it")
        return None
    left_out = {entity.id_field, *own_fields(entity, data, item.record)} if creates else ()
    sent = {name: value for name, value in current.items() if name not in left_out}
    declared = {each.record for each in find_references(entity.config.references, sent)}
    owners = [name for name, each in work.entities.items() if each.server_ids]
    local_ids = [(path, local, _owner(work, local)) for path, local in find_local_ids(sent)]
    for path, local, owner in [
        *local_ids,
        *(find_own_ids(work.tx, owners, sent) if has_own else ()),
    ]:
        if owner is not None and local in declared:
            reason = (
                f"{path} refers to {owner}/{local}, whose create is queued behind it; reprocess "
                "this item when that record has its id from the server"
            )
            _hold_back(work, item, reason)
            return None
        if owner is not None:
            field = path.removeprefix("$.")
            reason = (
                f"{path} holds {local}, the local id of a record of {owner}; declare it as "
                f"references={{{field!r}: {owner!r}}} of {entity.name} (with [] for each element "
                "of a list), or repair the data, then reprocess it"
            )
            _hold_back(work, item, reason)
            return None
    if current is data:
        return item
    renamed = item._replace(data=dumps(current))
    work.tx.replace(ITEMS, item, renamed)
    return renamed


def _with_server_ids(work: UnitOfWork, entity: Entity, data: Json) -> Json:
    """The data with known server ids in place of local ids in the declared references."""

    def known(parent: str, value: Any) -> Any:
        alias = work.tx.get(ALIASES, parent, str(value))
        return value if alias is None else loads(alias.given)

    return replace_references(entity.config.references, data, known)


def _owner(work: UnitOfWork, local: str) -> str | None:
    """The entity with a record of this local id."""
    for name in work.entities:
        if work.tx.get(ALIASES, name, local) is not None or items_of(work.tx, name, local):
            return name
    return None


def _hold_back(work: UnitOfWork, item: Item, reason: str) -> None:
    text = f"{item.operation} of {item.entity}/{item.record} was not sent: {reason}"
    failed = item._replace(lane=Lane.FAILED, due=None, delay=None, error=text)
    work.tx.replace(ITEMS, item, failed)
    work.effects.outcomes[item.seq] = ItemState.FAILED
    work.effects.failed.append(as_sync_item(failed))
    work.effects.note("failed", item.entity, item.operation)
    work.effects.errors += 1
