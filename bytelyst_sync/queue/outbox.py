"""Queues pushes, or merges them with queued items.

Everything here runs inside a storage transaction. Pushes that are not merged with queued items are
inserted together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from bytelyst_sync.clock import BOOT
from bytelyst_sync.config.entity import Entities
from bytelyst_sync.errors import (
    InvalidDataError,
    QueueFullError,
    RecordDeletedError,
    RecordExistsError,
    SyncError,
)
from bytelyst_sync.model import ItemState, SyncItem, SyncOperation
from bytelyst_sync.queue.merging import NOT_MERGED, Merging, merges
from bytelyst_sync.queue.named_items import item_for_key
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.replica.own_ids import note_own_id
from bytelyst_sync.replica.view import check_local_id, holds, track_change
from bytelyst_sync.rules.decimals import names_text
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.state.commit_effects import as_sync_item
from bytelyst_sync.state.item_ids import new_item_id, new_item_ids
from bytelyst_sync.state.keys import find_key
from bytelyst_sync.state.transitions import (
    add,
    last,
    lost_references,
    references,
)
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import (
    ALIASES,
    CONFLICTS,
    ITEMS,
    KEYS,
    OPEN,
    RECORDS,
    Alias,
    Item,
    KeyRow,
    Lane,
    Record,
)

__all__ = ["Outbox"]

CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
_NOT_QUEUED = (Lane.FAILED, Lane.PARKED)
_DECIDING = (Lane.PARKED, Lane.ASKING)
Slot = tuple[str, str]
"""An entity and a record."""


class Outbox:
    """The queue's rules for pushes. Holds no state of its own.

    ``strict``: the items of all entities form one line, so a push is merged with the last item
    only. ``schema_version`` is the program's; items of other versions are not merged.
    """

    def __init__(
        self,
        entities: Entities,
        max_length: int | None = None,
        *,
        strict: bool = False,
        schema_version: int = 1,
    ) -> None:
        self._entities = entities
        self._max_length = max_length
        self._schema_version = None if schema_version == 1 else schema_version
        self._merging = Merging(strict=strict, schema_version=self._schema_version)
        self._plain = {
            name
            for name, each in entities.items()
            if not (each.config.references or each.server_ids)
        }
        """Entities whose creates and updates wait for items of their own record only."""
        self._merged = {name for name, each in entities.items() if merges(each)}
        self._referred = {
            parent for each in entities.values() for parent in each.config.references.values()
        }
        """Entities that others refer to: their deletes may wait for items of other records."""
        self._alone = self._plain - (self._merged & self._referred)
        """Entities of whose records the last item is kept while pushes are queued: what it is
        needed for is not changed by a push of another record.
        """

    # --- push

    def push(
        self,
        work: UnitOfWork,
        requests: Sequence[PushRequest],
        *,
        refused: Callable[[PushRequest, SyncError], None] | None = None,
    ) -> list[SyncItem | None]:
        """Queues operations, or merges them with queued ones; ``None`` for a delete that cancelled
        a queued create.

        ``refused`` is called with each operation that the rules refuse, and the reason; without it
        the reason is raised.
        """
        busy, tails, held = self._known(work.tx, requests)
        plain, merged, watched = self._plain, self._merged, work.effects.watch
        done: list[SyncItem | None] = []
        together: list[PushRequest] = []
        for new in requests:
            entity = new.entity
            slot = (entity.name, new.record)
            if (
                slot not in busy
                and entity.name in plain
                and new.digest is None
                and new.key is None
                and new.call == "push"
                and not (watched and entity.replica)
                and not (new.operation is DELETE and entity.name in self._referred)
            ):
                together.append(new)
                if entity.name in merged:
                    busy.add(slot)
            else:
                if together:
                    done += self._append_all(work, together, tails, held)
                    together = []
                busy.add(slot)
                try:
                    item = self._push(work, new, tails)
                except (InvalidDataError, RecordDeletedError, RecordExistsError) as error:
                    if refused is None:
                        raise
                    refused(new, error)
                    tails.pop(slot, None)
                    item = None
                if item is not None:
                    busy.add((entity.name, item.record_id))
                done.append(item)
        return done + self._append_all(work, together, tails, held) if together else done

    def _known(
        self, tx: Reader, requests: Iterable[PushRequest]
    ) -> tuple[set[Slot], dict[Slot, Item], dict[Slot, Record]]:
        """The records whose pushes may be merged or renamed; the last items of records; and the
        stored server states of records.
        """
        keys: dict[str, list[str]] = {}
        updated: dict[str, list[str]] = {}
        for new in requests:
            if not new.id_is_new:
                keys.setdefault(new.entity.name, []).append(new.record)
                if new.operation is not CREATE:
                    updated.setdefault(new.entity.name, []).append(new.record)
        busy: set[Slot] = set()
        tails: dict[Slot, Item] = {}
        held: dict[Slot, Record] = {}
        for name, records in keys.items():
            latest = tx.first_of_each(ITEMS, "record", (name,), records, reverse=True)
            for record, item in latest.items():
                if name in self._merged or item.expired:
                    busy.add((name, record))
                if name in self._alone and not item.expired:
                    tails[name, record] = item
            if self._entities[name].replica:
                stored = tx.fetch(RECORDS, (name,), records)
                held.update([((name, record), row) for record, row in stored.items()])
                # a create has a new id, so no alias
                unknown = [record for record in updated.get(name, ()) if record not in stored]
                if unknown:
                    renamed = tx.present(ALIASES, None, (name,), unknown)
                    busy.update([(name, record) for record in renamed])
        return busy, tails, held

    def _append_all(
        self,
        work: UnitOfWork,
        new: Sequence[PushRequest],
        tails: dict[Slot, Item],
        held: Mapping[Slot, Record],
    ) -> list[SyncItem | None]:
        """Inserts operations behind the last items of their records, ``tails``, which it updates.
        ``held``: the stored server states.
        """
        tx = work.tx
        if self._max_length is not None:
            self._check_room(tx, new, self._max_length)
        seqs = [tx.next_number() for _ in new]
        items: list[Item] = []
        for each, seq, item_id in zip(new, seqs, new_item_ids(seqs), strict=True):
            slot = (each.entity.name, each.record)
            tail = tails.get(slot)
            if tail is None:
                item = self._row(each, seq, item_id, held.get(slot))
            else:
                stored = None if each.operation is CREATE else held.get(slot)
                item = self._row(each, seq, item_id, stored)
                item = item._replace(lane=Lane.BLOCKED, blocker=tail.seq)
            if each.entity.name in self._alone:
                tails[slot] = item
            items.append(item)
        tx.insert(ITEMS, *items)
        pushed: dict[tuple[str, SyncOperation], int] = {}  # ``Counter`` takes three times as long
        for each, seq in zip(new, seqs, strict=True):
            kind = each.entity.name, each.operation
            pushed[kind] = pushed.get(kind, 0) + 1
            if each.handle is not None:
                work.effects.moved[each.handle] = seq
        for (name, operation), count in pushed.items():
            work.effects.note("pushed", name, operation._value_, count=count)
        # the caller owns the request's data from now on: it is not copied
        return [
            as_sync_item(item, data=each.data if item.data is each.text else None, seq=each.handle)
            for each, item in zip(new, items, strict=True)
        ]

    def _row(
        self, new: PushRequest, seq: int, item_id: str, held: Record | None, *, known: bool = False
    ) -> Item:
        """The row of a new item. A create of a record that the server has already (``held``, or
        ``known``) is queued as an update.
        """
        entity, operation = new.entity, new.operation
        if held is not None:
            new = _with_server_id_type(new, held)
        known = known or (held is not None and held.state is not None)
        was_create = 1 if operation is CREATE and known and merges(entity) else None
        if was_create:
            operation = UPDATE
        return Item(
            seq,
            new.key or new.item_id or item_id,
            entity.name,
            new.record,
            operation._value_,  # ``value`` costs two more Python calls
            new.text or dumps(new.data),
            new.now,
            position=seq,
            version=None if held is None or operation is CREATE else held.version,
            digest=None if new.key else new.digest,
            key=new.key,
            expires=new.expires,
            schema_version=self._schema_version,
            was_create=was_create,
            decimals=names_text(new.decimals) if new.decimals else None,
            boot=None if new.booted is None else BOOT,
            booted=new.booted,
        )

    def add_failed(self, work: UnitOfWork, new: PushRequest, text: str) -> None:
        """Queues an operation as failed; ``text`` says why and what to do."""
        seq = work.tx.next_number()
        plain = new._replace(key=None, digest=None, item_id=None)  # a key may be another item's
        item = self._row(plain, seq, new.item_id or new_item_id(seq), None)
        failed = item._replace(lane=Lane.FAILED, error=text)
        work.tx.insert(ITEMS, failed)
        work.effects.note("failed", new.entity.name, new.operation.value)
        work.effects.outcomes[seq] = ItemState.FAILED
        work.effects.failed.append(as_sync_item(failed))
        if new.handle is not None:
            work.effects.moved[new.handle] = seq

    # --- a push that may affect other items

    def _push(self, work: UnitOfWork, new: PushRequest, tails: dict[Slot, Item]) -> SyncItem | None:
        entity = new.entity
        row = None if new.key is None else find_key(work, new.key)
        if row is not None:
            return item_for_key(work, row, new)
        if new.call != "push" and not new.id_is_new and holds(work.tx, entity, new.record):
            if new.call == "create":
                raise new.exists_error()
            new = new._replace(operation=UPDATE)
        alias = _alias_of(work.tx, new)
        if alias is not None:
            data = {**new.data, entity.id_field: loads(alias.given)}
            new = new._replace(record=alias.record, data=data, text=None)
        _check_local_ids(work, new)
        with track_change(work, entity, new.record, "local"):
            item = self._queue(work, new, tails)
        if item is None:
            return None
        if item.operation == CREATE.value:
            note_own_id(work.tx, entity, item.record)
        if new.key is not None:
            row = KeyRow(new.key, item.seq, entity.name, item.record, new.content(), new.now)
            work.tx.insert(KEYS, row)
        if new.handle is not None:
            work.effects.moved[new.handle] = item.seq
        own = new.data if item.data is new.text else None
        return as_sync_item(item, data=own, seq=new.handle)

    def _queue(self, work: UnitOfWork, new: PushRequest, tails: dict[Slot, Item]) -> Item | None:
        if new.digest is not None and new.key is None:
            equal = self._merging.equal_create(work.tx, new)
            if equal is not None:
                work.effects.note("coalesced", new.entity.name, new.operation.value)
                return equal
        slot = (new.entity.name, new.record)
        tail = tails.pop(slot, None)
        if tail is None and not new.id_is_new:
            tail = last(work.tx, *slot)
        item = self._merge(work, new, tail)
        if item is not None and new.entity.name in self._alone:
            tails[slot] = item
        return item

    def _merge(self, work: UnitOfWork, new: PushRequest, tail: Item | None) -> Item | None:
        """Merges a push with the last item of its record, or queues it behind that."""
        if tail is None or new.entity.name not in self._merged:
            return self._append(work, new, tail)
        if (
            tail.operation == DELETE.value
            and tail.lane not in _DECIDING
            and new.operation is UPDATE
        ):
            raise new.deleted_error()
        merged = self._merging.merge(work, tail, new)
        return self._append(work, new, tail) if merged is NOT_MERGED else merged

    def _append(self, work: UnitOfWork, new: PushRequest, tail: Item | None) -> Item:
        tx, entity = work.tx, new.entity
        if self._max_length is not None:
            self._check_room(tx, [new], self._max_length)
        seq = tx.next_number()
        work.effects.note("pushed", entity.name, new.operation.value)
        links, data = references(tx, entity, new.data, seq)
        if data is not new.data:
            new = new._replace(data=data, text=None)
        updated = tail is not None and tail.operation == UPDATE.value
        held = None
        if entity.replica and not new.id_is_new and (tail is None or new.operation is not CREATE):
            held = tx.get(RECORDS, entity.name, new.record)
        row = self._row(new, seq, new_item_id(seq), held, known=updated)
        return add(tx, row, links, before=tail)

    def _check_room(self, tx: Reader, new: Sequence[PushRequest], most: int) -> None:
        room = max(0, most - self.length(tx))
        if len(new) > room:
            raise QueueFullError(
                f"{most} operations are queued (max_queue_length); nothing was added",
                entity=new[room].entity.name,
                record_id=new[room].record,
            )

    # --- counts

    def length(self, tx: Reader) -> int:
        """How many items wait to be delivered: neither failed nor parked."""
        counts = tx.counts(ITEMS).items()
        return sum(number for (lane, _), number in counts if lane not in _NOT_QUEUED)

    def counts(self, tx: Reader) -> tuple[int, int, int]:
        """(queue length, failed items, open conflicts)."""
        failed = parked = total = 0
        for (lane, _), number in tx.counts(ITEMS).items():
            total += number
            failed += number if lane == Lane.FAILED else 0
            parked += number if lane == Lane.PARKED else 0
        return total - failed - parked, failed, tx.count(CONFLICTS, OPEN)


def _check_local_ids(work: UnitOfWork, new: PushRequest) -> None:
    """Raises ``InvalidDataError`` if a local id in the push names no record of this store."""
    entity, creates = new.entity, new.operation is CREATE
    if entity.server_ids and not new.id_is_new:
        check_local_id(work.tx, entity, new.record, work.now, creates=creates)
    for field, parent, record in lost_references(work.tx, entity, new.data):
        if not (creates and parent == entity.name and record == new.record):
            raise new.reference_error(field, parent, record)


def _with_server_id_type(new: PushRequest, held: Record) -> PushRequest:
    """The operation with its id in the type that the server uses: 7 instead of "7"."""
    if held.state is None or not new.record.lstrip("-").isdecimal():
        return new  # not a number, so the server's id is a string too
    field = new.entity.id_field
    given = loads(held.state).get(field)
    if str(given) != new.record or type(given) is type(new.data[field]):
        return new
    return new._replace(data={**new.data, field: given}, text=None)


def _alias_of(tx: Reader, new: PushRequest) -> Alias | None:
    """The alias for the push's id, if the record has another id now.

    Where clients give the ids, a create cannot have an alias.
    """
    if new.id_is_new or not (new.entity.server_ids or new.operation is not CREATE):
        return None
    return tx.get(ALIASES, new.entity.name, new.record)
