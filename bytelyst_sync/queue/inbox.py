"""The inbox of a store that many machines share.

A push there is a row of the inbox, inserted in the application's own transaction. It can apply no
rule: for that it would have to read the queue and to lock what it read, until the application's
transaction ends. So the rules are applied later, when a *fold* moves the rows into the queue. Every
transaction that changes the queue begins with a fold, whatever the process. Every read sees the
queue as if the inbox were folded (``InboxReads``).

``push`` returns a receipt: a ``SyncItem`` whose ``seq`` is a *handle*, a random number. The fold
stores which item the push became, and later that item's outcome, so that any process finds it.

Order: rows are folded in the order of their numbers, among those that are committed. The numbers of
one process ascend; a row that is committed late gets its place behind what is queued by then.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from bytelyst_sync.clock import BOOT, Clock, as_datetime
from bytelyst_sync.config.entity import Entities
from bytelyst_sync.errors import InvalidDataError, QueueFullError, SyncError
from bytelyst_sync.model import ItemState, SyncItem, SyncOperation
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.queue.transactions import FIRST_HANDLE, new_handle
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.references import find_references
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.commit_effects import CommitEffects, as_sync_item
from bytelyst_sync.state.item_ids import new_item_id
from bytelyst_sync.state.overlay import Overlay
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.base import Reader, SharedTransaction, Transaction
from bytelyst_sync.storage.closable import ClosableSharedStorage
from bytelyst_sync.storage.schema import ITEMS, SET_ASIDE, SetAside
from bytelyst_sync.storage.shared_schema import INBOX, RECEIPTS, InboxRow, Receipt

__all__ = ["Inbox", "InboxReads"]

logger = SafeLogger("bytelyst_sync.queue")

T = TypeVar("T")
_FOLDED_AT_ONCE = 500
_KEPT_S = 86_400.0
_PRUNED_AT_ONCE = 200
_VANISHED = 0
"""The ``seq`` of a receipt whose push cancelled a queued create, and has no item."""


class Inbox:
    """The rules of the inbox. Holds no state but ``outboxes``, one for each schema version."""

    def __init__(
        self,
        storage: InboxReads,
        entities: Entities,
        clock: Clock,
        *,
        strict: bool,
        schema_version: int,
        max_length: int | None,
    ) -> None:
        self._storage = storage
        self._entities = entities
        self._clock = clock
        self._strict = strict
        self._schema_version = schema_version
        self._max_length = max_length
        self._outboxes: dict[int, Outbox] = {}

    @property
    def joined(self) -> bool:
        """Whether a push now is part of a transaction of the application."""
        return self._storage.joined

    def notify(self) -> None:
        """Tells other processes that something is queued and committed."""
        self._storage.notify()

    # --- push

    def push(
        self,
        requests: Sequence[PushRequest],
        kept_length: Callable[[Reader], int],
        committed: Callable[[], None],
    ) -> list[SyncItem]:
        """Appends pushes to the inbox, and returns their receipts.

        ``kept_length`` reads the length of the queue, which the store keeps. ``committed`` is
        called after the commit.
        """
        if not self._has_room(len(requests), kept_length):
            raise QueueFullError(
                f"{self._max_length} operations are queued (max_queue_length); nothing was added",
                entity=requests[0].entity.name,
                record_id=requests[0].record,
            )
        for each in requests:
            self._check_ids(each)
        refresh = getattr(self._clock, "refresh", None)
        if refresh is not None:
            refresh()
        now = self._clock.wall()
        promised = [_promised(each, now) for each in requests]
        self._storage.append([self._row(each) for each in promised], committed)
        return [_receipt_item(each) for each in promised]

    def _has_room(self, count: int, kept_length: Callable[[Reader], int]) -> bool:
        """Whether so many pushes may be added to what is queued, and to what waits to be: pushes
        that will be merged count each.
        """
        if self._max_length is None:
            return True
        kept = self._storage.read_queue(kept_length)
        allowed = self._max_length - kept - count
        return allowed >= 0 and self._storage.waiting(allowed + 1) <= allowed

    def _check_ids(self, new: PushRequest) -> None:
        """``InvalidDataError`` for an id that is too long for the indexes of the store."""
        entity, most = new.entity, self._storage.longest_id
        ids = [(entity.id_field, new.record)]
        ids += [
            (each.field, each.record)
            for each in find_references(entity.config.references, new.data)
        ]
        for field, record in ids:
            if len(record) > most:
                raise InvalidDataError(
                    f"{entity.name}: {field} is {record[:40]!r}… with {len(record)} characters; a"
                    f" queue in this database takes ids of {most}",
                    path=f"$.{field}",
                    entity=entity.name,
                )

    def _row(self, new: PushRequest) -> InboxRow:
        options = {
            "id": new.item_id,
            "digest": new.digest,
            "id_is_new": new.id_is_new,
            "decimals": list(new.decimals),
            "booted": new.booted,
            "boot": None if new.booted is None else BOOT,
            "key": new.key,
            "expires": new.expires,
            "call": new.call,
            "version": self._schema_version,
        }
        given = {name: value for name, value in options.items() if value}
        text = new.text or dumps(new.data)
        operation, handle = new.operation.value, new.handle or 0
        place = new.entity.name, new.record
        return InboxRow(0, handle, *place, operation, text, new.now, json.dumps(given))

    # --- fold

    def apply(self, rule: Callable[[UnitOfWork], T], work: UnitOfWork, tx: Transaction) -> T:
        """Folds the inbox, runs a rule, and stores what both did to the items of receipts."""
        self.fold(work)
        result = rule(work)
        self._store_receipts(work.effects, work.now, cast("SharedTransaction", tx))
        return result

    def fold_all(self, state: StateStore) -> int:
        """Folds all that is in the inbox; returns the last number of the queue then."""
        while True:
            more, number = state.write(lambda work: (self.fold(work), work.tx.last_number()))
            if not more:
                return number

    def fold(self, work: UnitOfWork) -> int:
        """Moves some rows of the inbox into the queue; returns how many."""
        rows = self._rows(work.tx, _FOLDED_AT_ONCE)
        if rows:
            self._fold(work, rows)
        return len(rows)

    def _fold(self, work: UnitOfWork, rows: Sequence[InboxRow]) -> None:
        work.tx.delete(INBOX, *rows)
        pending: list[tuple[int, PushRequest]] = []
        for row in rows:
            found = self._read(work, row)
            pending += [] if found is None else [found]
        while pending:
            version = pending[0][0]
            some = [each for _, each in _while_version(pending, version)]
            del pending[: len(some)]
            self._push(work, self._outbox(version), some)

    def _rows(self, tx: Reader, limit: int | None) -> list[InboxRow]:
        """The first rows of entities that are configured; others are left to other engines."""
        rows = list(tx.scan(INBOX, limit=limit))
        if all(row.entity in self._entities for row in rows):
            return rows
        scans = [tx.scan(INBOX, "entity", (name,), limit=limit) for name in self._entities]
        return list(islice(heapq.merge(*scans, key=lambda row: row.number), limit))

    def has_rows(self, tx: Reader) -> bool:
        """Whether a fold would move something."""
        return bool(self._rows(tx, 1))

    def _read(self, work: UnitOfWork, row: InboxRow) -> tuple[int, PushRequest] | None:
        """The push of a row; one that no program of this package wrote is set aside."""
        try:
            return self._request(row)
        except (LookupError, TypeError, ValueError) as error:
            reason = f"is no push ({type(error).__name__})"
            logger.warning(
                "row %d of the inbox %s: it was moved to the table set_aside, and is not sent",
                row.number,
                reason,
            )
            number = work.tx.next_number()
            kept = SetAside(number, INBOX.name, json.dumps(row._asdict()), reason, work.now)
            work.tx.insert(SET_ASIDE, kept)
            return None

    def _request(self, row: InboxRow) -> tuple[int, PushRequest]:
        """The push of a row, with the schema version of the program that pushed."""
        options: dict[str, Any] = json.loads(row.options)
        return options.get("version", 1), PushRequest(
            self._entities[row.entity],
            SyncOperation(row.operation),
            row.time,
            row.record,
            loads(row.data),
            row.data,
            digest=options.get("digest"),
            id_is_new=options.get("id_is_new", False),
            decimals=tuple(options.get("decimals", ())),
            # of another boot it says nothing here
            booted=options.get("booted") if options.get("boot") == BOOT else None,
            key=options.get("key"),
            expires=options.get("expires"),
            call=options.get("call", "push"),
            item_id=options["id"],
            handle=row.handle,
        )

    def _outbox(self, version: int) -> Outbox:
        outbox = self._outboxes.get(version)
        if outbox is None:
            outbox = self._outboxes[version] = Outbox(
                self._entities, strict=self._strict, schema_version=version
            )
        return outbox

    def _push(self, work: UnitOfWork, outbox: Outbox, some: list[PushRequest]) -> None:
        def refused(new: PushRequest, error: SyncError) -> None:
            outbox.add_failed(work, new, str(error))

        outbox.push(work, some, refused=refused)
        for new in some:
            if new.handle is not None:  # a delete that cancelled a queued create has no item
                work.effects.moved.setdefault(new.handle, _VANISHED)

    # --- receipts

    def _store_receipts(self, effects: CommitEffects, now: float, tx: SharedTransaction) -> None:
        """Stores what a transaction did to the items that receipts name."""
        new, moved = [], []
        for old, seq in effects.moved.items():
            if old < FIRST_HANDLE:
                moved.append((old, effects.follow(seq)))
            else:
                new.append(Receipt(old, effects.follow(seq)))
        tx.insert(RECEIPTS, *[_settled(each, effects, now) for each in new])
        for old, seq in moved:
            for receipt in list(tx.scan(RECEIPTS, "seq", (old,))):
                tx.replace(RECEIPTS, receipt, receipt._replace(seq=seq))
        by_state: dict[ItemState, list[int]] = {}
        for seq, state in effects.outcomes.items():
            if state is not ItemState.FAILED:  # that item is still there
                by_state.setdefault(state, []).append(seq)
        for state, seqs in by_state.items():
            tx.update_by(RECEIPTS, "seq", seqs, state=state.value, settled_time=now)
        if new:
            old_receipts = tx.scan(
                RECEIPTS, "settled", upto=(now - _KEPT_S,), limit=_PRUNED_AT_ONCE
            )
            tx.delete(RECEIPTS, *list(old_receipts))

    def seq_of(self, tx: Reader, seq: int) -> int:
        """The ``seq`` of the item that a receipt's handle names; another ``seq`` as it is."""
        receipt = tx.get(RECEIPTS, seq) if seq >= FIRST_HANDLE else None
        return seq if receipt is None else receipt.seq

    def state_of(self, tx: Reader, seq: int) -> ItemState | None:
        """Where the item of a receipt stands; ``None`` if its push was rolled back, or its outcome
        is no longer kept.
        """
        receipt = tx.get(RECEIPTS, seq) if seq >= FIRST_HANDLE else None
        item = tx.get(ITEMS, seq if receipt is None else receipt.seq)
        if item is not None:
            return as_sync_item(item).state
        return None if receipt is None or receipt.state is None else ItemState(receipt.state)

    # --- reading

    def overlay(self, tx: Reader) -> Reader:
        """The queue as if the inbox were folded, in memory."""
        rows = self._rows(tx, None)
        if not rows:
            return tx
        over = _InboxOverlay().over(tx)
        now = self._clock.wall()
        work = UnitOfWork(over, CommitEffects(), now, self._entities, self._clock)
        self._fold(work, rows)
        for handle, seq in work.effects.moved.items():
            if handle >= FIRST_HANDLE:
                receipt = Receipt(handle, work.effects.follow(seq))
                over.insert(RECEIPTS, _settled(receipt, work.effects, now))
        return over


class _InboxOverlay(Overlay):
    """Its rows are in no store yet, so they leave the sequence as it is."""

    def last_number(self) -> int:
        """The store's own last number."""
        return self._base.last_number()


class InboxReads(ClosableSharedStorage):
    """A store whose reads see the queue as if the inbox were folded."""

    inbox: Inbox

    def read(self, work: Callable[[Reader], T]) -> T:
        """See ``Storage``."""
        return super().read(lambda tx: work(self.inbox.overlay(tx)))

    def read_queue(self, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on the queue without the inbox."""
        return super().read(work)


def _promised(new: PushRequest, now: float) -> PushRequest:
    handle = new_handle()
    return new._replace(item_id=new.key or new_item_id(handle), handle=handle, now=now)


def _receipt_item(new: PushRequest) -> SyncItem:
    """The ``SyncItem`` that a push returns."""
    return SyncItem(
        id=new.item_id or "",
        entity=new.entity.name,
        record_id=new.record,
        operation=new.operation,
        data=new.data,
        timestamp=as_datetime(new.now),
        state=ItemState.PENDING,
        seq=new.handle or 0,
    )


def _settled(receipt: Receipt, effects: CommitEffects, now: float) -> Receipt:
    """The receipt of a push whose item left the queue in the same transaction, or never was."""
    state = effects.outcomes.get(receipt.seq)
    if receipt.seq == _VANISHED:
        state = ItemState.CANCELLED
    if state is None or state is ItemState.FAILED:
        return receipt
    return receipt._replace(state=state.value, settled_time=now)


def _while_version(
    pending: Iterable[tuple[int, PushRequest]], version: int
) -> Iterable[tuple[int, PushRequest]]:
    for each in pending:
        if each[0] != version:
            return
        yield each
