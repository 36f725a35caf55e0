"""What the queue does with a push: it is queued, or meets what is queued (SPEC §2, §3).

Everything here runs inside a storage transaction that the caller opened; what others must hear
of is collected in ``Effects``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.errors import QueueFullError
from bytelyst_sync.model import ItemState, SyncItem, SyncOperation
from bytelyst_sync.rules.coalesce import Outcome, coalesce
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.state.changes import Change, deleted
from bytelyst_sync.state.effects import Effects, as_sync_item
from bytelyst_sync.state.item_ids import new_item_id, new_item_ids
from bytelyst_sync.state.lanes import (
    add,
    change,
    last,
    may_meet,
    references,
    refers_ahead,
    remove,
    renewed,
)
from bytelyst_sync.state.replica import canonical_key, watching
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ALIASES, CONFLICTS, ITEMS, OPEN, RECORDS, Item, Lane

__all__ = ["Outbox"]

Json = dict[str, Any]
CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
_NOT_QUEUED = (Lane.FAILED, Lane.PARKED)
_DECIDING = (Lane.PARKED, Lane.ASKING)


class Outbox:
    """The queue's rules for pushes. Holds no state of its own."""

    def __init__(self, entities: Entities, max_length: int | None = None) -> None:
        self._entities = entities
        self._max_length = max_length

    # --- push

    def push(self, tx: Transaction, new: Change, effects: Effects) -> SyncItem | None:
        """Queues an operation, or lets it meet the queued one; ``None`` where both vanish."""
        entity = new.entity
        key = canonical_key(tx, entity, new.key) if entity.server_ids else new.key
        if key != new.key:
            data = {**new.data, entity.id_field: self._given_id(tx, entity, new.key)}
            new = new._replace(key=key, data=data, text=None)
        if effects.watch:
            with watching(tx, entity, key, "local", effects):
                item = self._push(tx, new, effects)
        else:
            item = self._push(tx, new, effects)
        if item is None:
            return None
        # the change is of no more use: what it carries is the caller's now, and need not be copied
        return as_sync_item(item, data=new.data if item.data is new.text else None)

    def _push(self, tx: Transaction, new: Change, effects: Effects) -> Item | None:
        tail = None if new.made else last(tx, new.entity.name, new.key)
        if tail is None and new.digest is not None:
            equal = self._equal_create(tx, new)
            if equal is not None:
                effects.note("coalesced", new.entity.name, new.operation.value)
                return equal
        if tail is None or new.entity.config.dedup == "none":
            return self._append(tx, new, tail, effects)
        deleting = tail.operation == DELETE.value and tail.lane not in _DECIDING
        if deleting and new.operation is UPDATE:
            raise deleted(new)
        if not may_meet(tail):
            return self._append(tx, new, tail, effects)
        return self._meet(tx, tail, new, effects)

    def _equal_create(self, tx: Transaction, new: Change) -> Item | None:
        for item in list(tx.scan(ITEMS, "digest", (new.entity.name, new.digest))):
            if may_meet(item):
                if item.lane == Lane.FAILED:
                    return change(tx, item, renewed(item, new.now))
                return item
        return None

    def _append(self, tx: Transaction, new: Change, tail: Item | None, effects: Effects) -> Item:
        if self._max_length is not None:
            self._make_sure_of_room(tx, [new], self._max_length)
        seq = tx.next_number()
        # as ``value``, without two calls of Python's; here and below
        effects.note("pushed", new.entity.name, new.operation._value_)
        links, data = references(tx, new.entity, new.data, seq)
        text = new.text if new.text is not None and data is new.data else dumps(data)
        return add(tx, _row(tx, new, seq, new_item_id(seq), text), links, before=tail)

    def _make_sure_of_room(self, tx: Reader, new: Sequence[Change], most: int) -> None:
        room = max(0, most - self.length(tx))
        if len(new) > room:
            raise QueueFullError(
                f"{most} operations are queued (max_queue_length); nothing was added",
                entity=new[room].entity.name,
                record_id=new[room].key,
            )

    # --- many

    def push_many(
        self, tx: Transaction, changes: Sequence[Change], effects: Effects
    ) -> list[SyncItem | None]:
        """The same for many: those of records that have nothing queued are put in together."""
        busy = self._busy_records(tx, changes)
        free = {name for name, each in self._entities.items() if _is_free(each, effects)}
        made: list[SyncItem | None] = []
        together: list[Change] = []
        for new in changes:
            place = (new.entity.name, new.key)
            if new.entity.name in free and new.digest is None and place not in busy:
                together.append(new)
            else:
                made += self._append_all(tx, together, effects)
                together = []
                made.append(self.push(tx, new, effects))
            busy.add(place)
        return made + self._append_all(tx, together, effects)

    def _busy_records(self, tx: Reader, changes: Iterable[Change]) -> set[tuple[str, str]]:
        asked: dict[str, list[str]] = {}
        for new in changes:
            if not new.made:
                asked.setdefault(new.entity.name, []).append(new.key)
        return {
            (name, key)
            for name, keys in asked.items()
            for key in tx.present(ITEMS, "record", (name,), keys)
        }

    def _append_all(
        self, tx: Transaction, new: Sequence[Change], effects: Effects
    ) -> list[SyncItem | None]:
        """Puts in changes of different records that have nothing queued."""
        if not new:
            return []
        if self._max_length is not None:
            self._make_sure_of_room(tx, new, self._max_length)
        seqs = [tx.next_number() for _ in new]
        items = [
            _row(tx, each, seq, item_id, each.text or dumps(each.data))
            for each, seq, item_id in zip(new, seqs, new_item_ids(seqs), strict=True)
        ]
        tx.insert(ITEMS, *items)
        for (name, operation), count in Counter(
            (each.entity.name, each.operation) for each in new
        ).items():
            effects.note("pushed", name, operation.value, count=count)
        return [as_sync_item(item, data=each.data) for item, each in zip(items, new, strict=True)]

    def _meet(self, tx: Transaction, queued: Item, new: Change, effects: Effects) -> Item | None:
        """Lets a new operation meet the record's last item, and what it becomes the one before
        that, as long as that was rejected: so a repair reaches the item that needs it.
        """
        operation, data = new.operation, new.data
        absorbed: Item | None = None
        met = "coalesced", new.entity.name, new.operation.value
        while True:
            meeting = coalesce(
                SyncOperation(queued.operation),
                json.loads(queued.data),
                operation,
                data,
                new.entity.patch_rule,
            )
            if meeting.outcome is Outcome.NOTHING:
                self._vanish(tx, queued, absorbed, effects)
                effects.note(*met)
                return None
            merged_data = meeting.data
            if (
                meeting.outcome is not Outcome.ONE
                or meeting.operation is None
                or merged_data is None
                or refers_ahead(tx, new.entity, merged_data, queued.seq)
            ):
                return absorbed if absorbed is not None else self._append(tx, new, queued, effects)
            operation, data = meeting.operation, merged_data
            links, data = references(tx, new.entity, data, queued.seq)
            if absorbed is None:
                effects.note(*met)
            else:
                remove(tx, absorbed, self._entities, effects)
                effects.moved[absorbed.seq] = queued.seq
            merged = renewed(queued, new.now) if queued.lane == Lane.FAILED else queued
            merged = merged._replace(
                id=new_item_id(queued.seq),
                operation=operation.value,
                data=dumps(data),
                time=new.now,
                digest=None,
            )
            absorbed = change(tx, queued, merged, links)
            before = tx.scan(
                ITEMS,
                "record",
                (queued.entity, queued.record),
                after=(queued.seq,),
                limit=1,
                reverse=True,
            )
            earlier = next(before, None)
            if earlier is None or earlier.lane != Lane.FAILED or not may_meet(earlier):
                return absorbed
            queued = earlier

    def _vanish(
        self, tx: Transaction, queued: Item, absorbed: Item | None, effects: Effects
    ) -> None:
        for item in (absorbed, queued):
            if item is not None:
                remove(tx, item, self._entities, effects)
                effects.outcomes[item.seq] = ItemState.CANCELLED

    def _given_id(self, tx: Reader, entity: Entity, key: str) -> Any:
        alias = tx.get(ALIASES, entity.name, key)
        return key if alias is None else json.loads(alias.given)

    # --- looking

    def length(self, tx: Reader) -> int:
        """Queued and not yet delivered; neither failed nor parked. Kept, never counted."""
        counts = tx.counts(ITEMS).items()
        return sum(number for (lane, _), number in counts if lane not in _NOT_QUEUED)

    def tally(self, tx: Reader) -> tuple[int, int, int]:
        """(queue length, failed, open conflicts), exact, at one instant."""
        failed = parked = total = 0
        for (lane, _), number in tx.counts(ITEMS).items():
            total += number
            failed += number if lane == Lane.FAILED else 0
            parked += number if lane == Lane.PARKED else 0
        return total - failed - parked, failed, tx.count(CONFLICTS, OPEN)

    def leftover(self, tx: Reader, upto: int) -> bool:
        """Whether anything that was queued up to a place is left, queued or parked."""
        return any(item.lane != Lane.FAILED for item in tx.scan(ITEMS, None, (), upto=(upto,)))


def _is_free(entity: Entity, effects: Effects) -> bool:
    """Whether nothing but its own record's queue decides what becomes of a push, and nobody
    watches it.
    """
    watched = effects.watch and entity.replica
    return not (entity.config.references or entity.server_ids or watched)


def _row(tx: Reader, new: Change, seq: int, item_id: str, text: str) -> Item:
    """A change as it is queued, ready to be sent."""
    version = None
    if new.operation is not CREATE and new.entity.replica:
        row = tx.get(RECORDS, new.entity.name, new.key)
        version = row.version if row is not None else None
    return Item(
        seq,
        item_id,
        new.entity.name,
        new.key,
        new.operation._value_,
        text,
        new.now,
        turn=seq,
        version=version,
        digest=new.digest,
    )
