"""Deliveries that concern nothing but their own record, settled together.

Most are: nothing waits for the item, it refers to nothing, and what the server says of the record
is newer than what is held. Runs inside a storage transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.model import ItemState, SyncOperation
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.patch import apply_patch
from bytelyst_sync.state.claims import Claim
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.lanes import first
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ITEMS, LINKS, RECORDS, Item, Lane, Record
from bytelyst_sync.transport.answers import Answer

__all__ = ["hand_on_version", "is_older", "settle_together", "state_after"]

Json = dict[str, Any]
Sent = tuple[Claim, Answer]
CREATE, DELETE = SyncOperation.CREATE, SyncOperation.DELETE
_SENDING = int(Lane.SENDING)


def settle_together(
    tx: Transaction, entities: Entities, sent: Sequence[Sent], effects: Effects, now: float
) -> list[Sent]:
    """Settles what can be; returns the others, in their order."""
    done: set[int] = set()
    for name, some in _alone(tx, entities, sent, effects).items():
        done.update(_settle(tx, entities[name], some, effects, now))
    return [each for each in sent if each[0].item.seq not in done]


def _alone(
    tx: Reader, entities: Entities, sent: Sequence[Sent], effects: Effects
) -> dict[str, list[Sent]]:
    """Delivered items, still claimed, that no other item has to do with, and nobody watches; by
    entity.
    """
    watched = {name for name, entity in entities.items() if effects.watch and entity.replica}
    delivered = [
        each
        for each in sent
        if each[1].meaning is Meaning.DELIVERED
        and each[1].server_id is None
        and each[0].item.entity not in watched
    ]
    seqs = [claim.item.seq for claim, _ in delivered]
    rows = tx.pick(ITEMS, ("id", "lane", "record"), seqs)
    tied = _tied(tx, seqs)
    alone: dict[str, list[Sent]] = {}
    records: dict[str, set[str]] = {}
    for each in delivered:
        item = each[0].item
        seq, record = item.seq, item.record
        if rows.get(seq) == (item.id, _SENDING, record) and seq not in tied:
            seen = records.setdefault(item.entity, set())
            if record not in seen:
                seen.add(record)
                alone.setdefault(item.entity, []).append(each)
    return alone


def _tied(tx: Reader, seqs: Sequence[int]) -> set[int]:
    """Those that another item waits for, or that refer to a record. Nearly always no item of the
    whole queue does, which takes no more than a look.
    """
    tied: set[int] = set()
    if not seqs:
        return tied
    if next(tx.scan(ITEMS, "blocker", limit=1), None) is not None:
        tied |= tx.present(ITEMS, "blocker", (), seqs)
    if next(tx.scan(LINKS, limit=1), None) is not None:
        tied |= tx.present(LINKS, None, (), seqs)
    return tied


def _settle(
    tx: Transaction, entity: Entity, sent: Sequence[Sent], effects: Effects, now: float
) -> list[int]:
    """Settles those of one entity; returns the places of the items."""
    settled = _take_states(tx, entity, sent) if entity.replica else sent
    items = [claim.item for claim, _ in settled]
    tx.delete(ITEMS, *items)
    if entity.replica:
        keys = [item.record for item in items]
        for key in tx.present(ITEMS, "record", (entity.name,), keys):
            hand_on_version(tx, entity, key)
    waited: dict[str, list[float]] = {}
    for item in items:
        effects.outcomes[item.seq] = ItemState.DELIVERED
        waited.setdefault(item.operation, []).append(max(0.0, now - item.time))
    effects.pushed += len(items)
    for operation, each in waited.items():
        effects.note("delivered", entity.name, operation, count=len(each), seconds=sum(each))
    return [item.seq for item in items]


def _take_states(tx: Transaction, entity: Entity, sent: Sequence[Sent]) -> list[Sent]:
    """Takes the states that the answers tell of; returns those that could be taken."""
    held = tx.fetch(RECORDS, (entity.name,), [claim.item.record for claim, _ in sent])
    new: list[Record] = []
    changed: list[tuple[Record, Record]] = []
    taken: list[Sent] = []
    for claim, answer in sent:
        item = claim.item
        row = held.get(item.record)
        if row is not None and (row.beside is not None or is_older(claim, row)):
            continue
        if item.operation == CREATE.value and answer.record is None:
            text: str | None = item.data
        else:
            state = state_after(entity, item, row, answer)
            text = None if state is None else dumps(state)
        seen = 0 if row is None else row.seen
        made = Record(entity.name, item.record, text, answer.version, tx.next_number(), seen)
        if row is None:
            new.append(made)
        else:
            changed.append((row, made))
        taken.append((claim, answer))
    tx.insert(RECORDS, *new)
    tx.replace_all(RECORDS, changed)
    return taken


def is_older(claim: Claim, row: Record) -> bool:
    """Whether the answer may be that of an earlier attempt, and what is held a newer state."""
    item = claim.item
    replayed = item.operation == CREATE.value and item.frozen and row.state is not None
    return row.stamp > claim.began or bool(replayed)


def state_after(entity: Entity, item: Item, row: Record | None, answer: Answer) -> Json | None:
    """The server's state of the record once this item was delivered."""
    if item.operation == DELETE.value:
        return None
    sent = json.loads(item.data)
    if answer.record is not None and not (
        entity.dialect.partial_answer or _only_acknowledges(entity, answer.record, sent)
    ):
        return answer.record
    held = json.loads(row.state) if row is not None and row.state is not None else {}
    creates = item.operation == CREATE.value
    state = sent if creates else apply_patch(held, sent, entity.patch_rule)
    if answer.server_id is not None:
        state = {**state, entity.id_field: answer.server_id}
    return {**state, **(answer.record or {})}


def _only_acknowledges(entity: Entity, record: Json, sent: Json) -> bool:
    """Whether an answer names the record, and says nothing of what was sent: ``{"id": 7}``."""
    ignored = entity.bookkeeping | {entity.id_field}
    return not (record.keys() - ignored) and bool(sent.keys() - ignored)


def hand_on_version(tx: Transaction, entity: Entity, key: str) -> None:
    """The record's next item is based on the version that is known by now."""
    following = first(tx, entity.name, key)
    if following is None or following.frozen:
        return
    row = tx.get(RECORDS, entity.name, key)
    if row is None:
        return
    if following.operation != CREATE.value and following.lane != Lane.SENDING:
        tx.replace(ITEMS, following, following._replace(version=row.version))
