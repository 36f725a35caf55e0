"""Settles many delivered items with a few storage calls, if each affects only its own record.

Most do: the server gave them no other id, and the state in the answer is newer than the stored one.
Runs inside a storage transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import ItemState, SyncOperation
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.replica.cursors import load
from bytelyst_sync.replica.similar_ids import folded_column, report_similar
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.rules.json_text import dumps, loads
from bytelyst_sync.rules.patch import apply_patch
from bytelyst_sync.rules.tombstone import is_tombstone
from bytelyst_sync.rules.versions import same_version
from bytelyst_sync.state.release import release
from bytelyst_sync.state.transitions import change, first
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ITEMS, LINKS, RECORDS, Item, Lane, Record

__all__ = ["is_older", "listed_since_push", "rebase_next_item", "settle_together", "state_after"]

Json = dict[str, Any]
Sent = tuple[Claim, AttemptResult]
CREATE, DELETE = SyncOperation.CREATE, SyncOperation.DELETE
_SENDING = int(Lane.SENDING)


def settle_together(work: UnitOfWork, sent: Sequence[Sent]) -> list[Sent]:
    """Settles the items that qualify; returns the others, in their order."""
    done: set[int] = set()
    for name, some in _independent(work, sent).items():
        done.update(_settle(work, work.entities[name], some))
    return [each for each in sent if each[0].item.seq not in done]


def _independent(work: UnitOfWork, sent: Sequence[Sent]) -> dict[str, list[Sent]]:
    """The delivered items, by entity, that are still claimed, and whose record has no
    subscribers.
    """
    watched = {
        name for name, entity in work.entities.items() if work.effects.watch and entity.replica
    }
    delivered = [
        each
        for each in sent
        if each[1].meaning is Verdict.DELIVERED
        and each[1].server_id is None
        and each[0].item.entity not in watched
        and each[0].item.key is None
    ]
    seqs = [claim.item.seq for claim, _ in delivered]
    rows = work.tx.select(ITEMS, ("id", "lane", "record", "claim"), seqs)
    chosen: dict[str, list[Sent]] = {}
    records: dict[str, set[str]] = {}
    for each in delivered:
        item = each[0].item
        seq, record = item.seq, item.record
        if rows.get(seq) == (item.id, _SENDING, record, item.claim):
            known = records.setdefault(item.entity, set())
            if record not in known:
                known.add(record)
                chosen.setdefault(item.entity, []).append(each)
    return chosen


def _delete_links(tx: Transaction, seqs: Sequence[int]) -> None:
    if seqs and next(tx.scan(LINKS, limit=1), None) is not None:
        linked = tx.present(LINKS, None, (), seqs)
        tx.delete(LINKS, *[link for seq in linked for link in tx.scan(LINKS, None, (seq,))])


def _settle(work: UnitOfWork, entity: Entity, sent: Sequence[Sent]) -> list[int]:
    """Settles items of one entity; returns the ``seq`` of each."""
    settled = _take_states(work, entity, sent) if entity.replica else sent
    items = [claim.item for claim, _ in settled]
    work.tx.delete(ITEMS, *items)
    if entity.config.references:
        _delete_links(work.tx, [item.seq for item in items])
    release(work, [item.seq for item in items])
    if entity.replica:
        _rebase_next_items(work.tx, entity, [item.record for item in items])
    waited: dict[str, list[float]] = {}
    for item in items:
        work.effects.outcomes[item.seq] = ItemState.DELIVERED
        waited.setdefault(item.operation, []).append(max(0.0, work.now - item.time))
    work.effects.pushed += len(items)
    for operation, each in waited.items():
        work.effects.note("delivered", entity.name, operation, count=len(each), seconds=sum(each))
    return [item.seq for item in items]


def _rebase_next_items(tx: Transaction, entity: Entity, keys: Sequence[str]) -> None:
    """``rebase_next_item`` for many records."""
    following = tx.first_of_each(ITEMS, "record", (entity.name,), keys)
    rows = tx.fetch(RECORDS, (entity.name,), following)
    changed: list[tuple[Item, Item]] = []
    for key, item in following.items():
        if item.expired or item.operation == CREATE.value:
            rebase_next_item(tx, entity, key)
        elif key in rows and not item.frozen and item.lane != Lane.SENDING:
            changed.append((item, item._replace(version=rows[key].version)))
    tx.replace_all(ITEMS, changed)


def _take_states(work: UnitOfWork, entity: Entity, sent: Sequence[Sent]) -> list[Sent]:
    """Stores the server states from the answers; returns the items for which that was possible."""
    tx = work.tx
    held = tx.fetch(RECORDS, (entity.name,), [claim.item.record for claim, _ in sent])
    new: list[Record] = []
    changed: list[tuple[Record, Record]] = []
    settled: list[Sent] = []
    for claim, answer in sent:
        item = claim.item
        row = held.get(item.record)
        if row is not None and (row.deferred_state is not None or is_older(claim, row)):
            continue
        if listed_since_push(tx, entity, claim):
            continue
        if item.operation == CREATE.value and answer.record is None:
            text: str | None = item.data
        else:
            state = state_after(entity, item, row, answer)
            text = None if state is None else dumps(state)
        listed_by = 0 if row is None else row.listed_by
        record = Record(
            entity.name,
            item.record,
            text,
            answer.version,
            tx.next_number(),
            listed_by,
            folded=folded_column(item.record) if row is None else row.folded,
        )
        if row is None:
            new.append(record)
        else:
            changed.append((row, record))
        settled.append((claim, answer))
    report_similar(work, entity, {record.record: record.folded for record in new})
    tx.insert(RECORDS, *new)
    tx.replace_all(RECORDS, changed)
    return settled


def is_older(claim: Claim, row: Record) -> bool:
    """Whether the stored state may be newer than the one in the answer.

    That is so if the record changed here during the attempt. The answer to a repeated create may
    also be a replay of an older one: then any state stored under the server's id is newer.
    """
    item = claim.item
    came_after = row.state is not None or is_local(item.record)
    replayed = item.operation == CREATE.value and item.frozen and came_after
    return row.changed_seq > claim.began or bool(replayed)


def listed_since_push(tx: Reader, entity: Entity, claim: Claim) -> bool:
    """Whether the record of a repeated create may have been deleted by others before everything was
    listed. The listing did not contain it then, and the answer may be a replay of the first one.
    """
    item = claim.item
    if item.operation != CREATE.value or not item.frozen:
        return False
    progress = load(tx, entity)
    return progress.listing is not None or progress.listed > item.seq


def state_after(
    entity: Entity, item: Item, row: Record | None, answer: AttemptResult
) -> Json | None:
    """The server's state of the record after this item was delivered."""
    if item.operation == DELETE.value:
        return None
    if answer.record is None and row is not None and row.deferred_state is not None:
        pulled: Json | None = loads(row.deferred_state)
        if same_version(row.deferred_version, answer.version):
            return pulled
    sent = loads(item.data)
    if answer.record is not None and not (
        entity.dialect.partial_answer or _only_acknowledges(entity, answer.record, sent)
    ):
        return _unless_deleted(entity, answer.record)
    held = loads(row.state) if row is not None and row.state is not None else {}
    creates = item.operation == CREATE.value
    state = sent if creates else apply_patch(held, sent, entity.patch_rule)
    if answer.server_id is not None:
        state = {**state, entity.id_field: answer.server_id}
    return _unless_deleted(entity, {**state, **(answer.record or {})})


def _unless_deleted(entity: Entity, state: Json) -> Json | None:
    return None if is_tombstone(state, entity.dialect.tombstone) else state


def _only_acknowledges(entity: Entity, record: Json, sent: Json) -> bool:
    """Whether the answer has only the record's id, and no field that was sent: ``{"id": 7}``."""
    ignored = entity.bookkeeping | {entity.id_field}
    return not (record.keys() - ignored) and bool(sent.keys() - ignored)


def rebase_next_item(tx: Transaction, entity: Entity, key: str) -> None:
    """Bases the record's next item on the stored version. A create behind a delivered create
    becomes an update.
    """
    following = first(tx, entity.name, key)
    if following is None or following.frozen or following.lane == Lane.SENDING:
        return
    row = tx.get(RECORDS, entity.name, key)
    if row is None:
        return
    if following.operation != CREATE.value:
        tx.replace(ITEMS, following, following._replace(version=row.version))
    elif row.state is not None and entity.config.dedup != "none":
        update = SyncOperation.UPDATE.value
        changed = following._replace(operation=update, version=row.version, was_create=1)
        change(tx, following, changed)
