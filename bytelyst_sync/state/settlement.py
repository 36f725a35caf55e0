"""What becomes of a claimed item: the effects of SPEC §4's table, in a storage transaction.

The ``frozen`` column says whether an *earlier* attempt may have been processed; an attempt that
proves not to have been processed leaves the column as it was before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.model import ItemState, SyncOperation
from bytelyst_sync.rules.backoff import backoff
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.rules.merge import same, same_value
from bytelyst_sync.rules.versions import plain_version, same_version
from bytelyst_sync.state.aliases import adopt_server_id
from bytelyst_sync.state.arrivals import Arrivals
from bytelyst_sync.state.claims import Claim, claimed
from bytelyst_sync.state.deliveries import (
    hand_on_version,
    is_older,
    settle_together,
    state_after,
)
from bytelyst_sync.state.effects import Effects, as_sync_item
from bytelyst_sync.state.item_ids import new_item_id
from bytelyst_sync.state.lanes import change, items_of, let_earlier_ones_go, remove
from bytelyst_sync.state.replica import watching
from bytelyst_sync.state.resolver import Resolver
from bytelyst_sync.state.server_states import DELETED, mark_stale, put_state, replace_state
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ITEMS, RECORDS, Item, Lane, Record
from bytelyst_sync.transport.answers import Answer

__all__ = ["Settlement"]

Json = dict[str, Any]
Sent = tuple[Claim, Answer]
CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
_MAX_STALLS = 12
"""How often a server may say that the first try is still running before a person must look."""


class Settlement:
    """The rules for answers. Holds no state but its settings; ``random`` is in [0, 1)."""

    def __init__(
        self,
        entities: Entities,
        resolver: Resolver,
        arrivals: Arrivals,
        *,
        max_retries: int,
        retry_delay: float,
        max_retry_delay: float,
        random: Callable[[], float],
    ) -> None:
        self._entities = entities
        self._resolver = resolver
        self._arrivals = arrivals
        self._max_retries = max_retries
        self._retry_delay = retry_delay
        self._max_retry_delay = max_retry_delay
        self._random = random

    def settle_all(
        self, tx: Transaction, sent: Sequence[Sent], effects: Effects, now: float
    ) -> None:
        """The effects of many answers."""
        for claim, answer in settle_together(tx, self._entities, sent, effects, now):
            self.settle(tx, claim, answer, effects, now)

    def settle(
        self, tx: Transaction, claim: Claim, answer: Answer, effects: Effects, now: float
    ) -> None:
        """The effect of an answer on the queue and the local view."""
        item = claimed(tx, claim)
        if item is None:
            return
        entity = self._entities[item.entity]
        key = item.record
        meaning = answer.meaning
        if meaning is Meaning.DELIVERED:
            self._delivered(tx, entity, item, claim, answer, effects, now)
            return
        if meaning in (Meaning.CONFLICT, Meaning.GONE):
            self._conflict(tx, entity, item, claim, answer, effects, now)
        elif meaning in (Meaning.OFFLINE, Meaning.CREDENTIALS):
            effects.errors += meaning is Meaning.CREDENTIALS
            self._put_back(tx, item, answer)
        elif meaning is Meaning.PORTAL:
            # if it is this record alone that is answered so, the others go first
            self._put_back(tx, item, answer, turn=tx.next_number())
        elif meaning is Meaning.STATE:
            self._take_reading(tx, entity, item, answer)
        elif meaning is Meaning.BUSY:
            self._put_back(tx, item, answer, turn=tx.next_number())
        elif meaning is Meaning.REJECTED:
            frozen = 0 if answer.unprocessed else 1
            self._fail(tx, item, answer, effects, now, frozen=frozen)
        elif meaning is Meaning.REDIRECT:
            self._fail(tx, item, answer, effects, now, frozen=1)
        else:
            self._spend_retry(tx, item, answer, effects, now)
        self._arrivals.decide_beside(tx, entity, key, effects, now)

    # --- rows of the table that leave it queued

    def _put_back(
        self, tx: Transaction, item: Item, answer: Answer, turn: int | None = None
    ) -> None:
        """Ready again, no retry spent; with a new ``turn`` behind all others."""
        change(
            tx,
            item,
            item._replace(
                lane=Lane.READY,
                turn=item.turn if turn is None else turn,
                frozen=_frozen_after(item, answer),
                error=_text(answer),
            ),
        )

    def _take_reading(self, tx: Transaction, entity: Entity, item: Item, answer: Answer) -> None:
        """The state that the whole record is made from; the edit is sent next."""
        put_state(tx, entity, item.record, answer.record, answer.version)
        change(tx, item, item._replace(lane=Lane.READY, version=answer.version))

    def _spend_retry(
        self, tx: Transaction, item: Item, answer: Answer, effects: Effects, now: float
    ) -> None:
        """One retry spent, the next try after a backoff; failed when the budget is."""
        frozen = _frozen_after(item, answer)
        if item.retries >= self._max_retries:
            self._fail(tx, item, answer, effects, now, frozen=frozen)
            return
        effects.errors += 1
        delay = self.backoff(item.retries, answer.retry_after)
        effects.note("retried", item.entity, item.operation, status=answer.status, seconds=delay)
        tried = item._replace(retries=item.retries + 1, frozen=frozen, error=_text(answer))
        self._delay(tx, item, tried, delay, now)

    def _delay(self, tx: Transaction, old: Item, new: Item, delay: float, now: float) -> None:
        change(tx, old, new._replace(lane=Lane.DELAYED, due=now + delay, delay=delay))

    def backoff(self, spent: int, floor: float | None) -> float:
        """Seconds to wait after so many tries."""
        return backoff(
            spent,
            base=self._retry_delay,
            ceiling=self._max_retry_delay,
            random=self._random,
            floor=floor,
        )

    def _fail(
        self,
        tx: Transaction,
        item: Item,
        answer: Answer,
        effects: Effects,
        now: float,
        *,
        frozen: int,
    ) -> None:
        """Kept and listed for a person to decide; the record's later items wait behind it."""
        failed = item._replace(
            lane=Lane.FAILED, due=None, delay=None, frozen=frozen, error=_text(answer)
        )
        tx.replace(ITEMS, item, failed)
        let_earlier_ones_go(tx, failed)
        effects.errors += 1
        effects.outcomes[item.seq] = ItemState.FAILED
        waited = max(0.0, now - item.time)
        effects.note("failed", item.entity, item.operation, status=answer.status, seconds=waited)
        effects.failed.append(as_sync_item(failed))

    # --- delivered

    def _delivered(
        self,
        tx: Transaction,
        entity: Entity,
        item: Item,
        claim: Claim,
        answer: Answer,
        effects: Effects,
        now: float,
    ) -> None:
        """Leaves the queue; its answer is the server's state, and what waited moves on."""
        with watching(tx, entity, item.record, "remote", effects):
            if answer.server_id is not None:
                adopt_server_id(tx, self._entities, entity, item.record, answer.server_id, effects)
                item = tx.get(ITEMS, item.seq) or item
            if entity.replica:
                self._take_state(tx, entity, item, claim, answer)
            remove(tx, item, self._entities, effects)
            if entity.replica:
                hand_on_version(tx, entity, item.record)
        effects.outcomes[item.seq] = ItemState.DELIVERED
        effects.pushed += 1
        waited = max(0.0, now - item.time)
        effects.note("delivered", entity.name, item.operation, seconds=waited)

    def _take_state(
        self, tx: Transaction, entity: Entity, item: Item, claim: Claim, answer: Answer
    ) -> None:
        row = tx.get(RECORDS, entity.name, item.record)
        if row is not None and is_older(claim, row):
            mark_stale(tx, entity, item.record)
            return
        state = state_after(entity, item, row, answer)
        replace_state(tx, entity, item.record, row, state, answer.version)
        if row is not None and row.beside is not None and not _settled_by(row, state, answer):
            # it was pulled while this was on its way: older or newer, only the server knows
            mark_stale(tx, entity, item.record)

    # --- conflict

    def _conflict(
        self,
        tx: Transaction,
        entity: Entity,
        item: Item,
        claim: Claim,
        answer: Answer,
        effects: Effects,
        now: float,
    ) -> None:
        """The server's record is not what the change was based on: compared, never assumed."""
        remote = answer.record
        row = tx.get(RECORDS, entity.name, item.record)
        if _is_own_work(entity, item, remote):
            self._delivered(tx, entity, item, claim, answer, effects, now)
            return
        held = row is not None and row.stamp > 0
        creates = item.operation == CREATE.value
        # a create that is still running has left no record yet
        unchanged = remote is None
        if held and not creates:
            unchanged = _unchanged(entity, item, row, answer)
        plain_409 = answer.status == 409
        if item.frozen and plain_409 and (remote is None or unchanged):
            self._stall(tx, item, answer, effects, now)
            return
        same_record = unchanged and remote is not None
        if same_record and item.version is None and answer.version is not None:
            self._send_again(tx, item, answer.version)
            return
        if same_record and not plain_409 and item.version is not None and item.stalls == 0:
            self._send_again(tx, item, _respelled(item.version))
            return
        if same_record or (remote is None and (creates or not held)):
            # nothing there to be in conflict with: the server refuses for a reason of its own
            self._fail(tx, item, answer, effects, now, frozen=0)
            return
        tx.replace(ITEMS, item, item._replace(lane=Lane.READY, frozen=0))
        with watching(tx, entity, item.record, "remote", effects):
            items = [i for i in items_of(tx, entity.name, item.record) if i.lane != Lane.SENDING]
            self._resolver.meet(tx, entity, items, remote, answer.version, effects, now)
            beside = row is not None and row.beside is not None
            if row is not None and beside and not _settled_by(row, remote, answer):
                mark_stale(tx, entity, item.record)

    def _send_again(self, tx: Transaction, item: Item, version: str | int) -> None:
        """The record is as the change was based on, and the server wants to be told its version,
        or wants it spelled otherwise.
        """
        changed = item._replace(
            id=new_item_id(item.seq),
            lane=Lane.READY,
            frozen=0,
            version=version,
            stalls=item.stalls + 1,
        )
        change(tx, item, changed)

    def _stall(
        self, tx: Transaction, item: Item, answer: Answer, effects: Effects, now: float
    ) -> None:
        """The first try may still be running: busy for this item, no retry spent."""
        if item.stalls >= _MAX_STALLS:
            self._fail(tx, item, answer, effects, now, frozen=1)
            return
        stalled = item._replace(stalls=item.stalls + 1, error=_text(answer))
        self._delay(tx, item, stalled, self.backoff(item.stalls, answer.retry_after), now)


def _respelled(version: str | int) -> str:
    """An ETag is quoted (RFC 9110 §8.8.3), the same version as a field is not."""
    plain = plain_version(version)
    quoted = f'"{plain}"'
    return str(plain) if version == quoted else quoted


def _text(answer: Answer) -> str | None:
    return None if answer.error is None else str(answer.error)


def _frozen_after(item: Item, answer: Answer) -> int:
    return item.frozen if answer.unprocessed else 1


def _settled_by(row: Record, state: Json | None, answer: Answer) -> bool:
    """Whether what was kept beside is older than, or the same as, the answer's state."""
    if same_version(row.beside_version, answer.version):
        return True
    if same_version(row.beside_version, row.version):
        return True
    beside = None if row.beside == DELETED else json.loads(row.beside or DELETED)
    return bool(beside == state)


def _is_own_work(entity: Entity, item: Item, remote: Json | None) -> bool:
    """Whether the server's record already is what this item was to make it: our own lost answer,
    or somebody's equal change.
    """
    if item.operation == DELETE.value:
        return remote is None
    if remote is None:
        return False
    sent = json.loads(item.data)
    ignored = entity.bookkeeping | {entity.id_field}
    return all(
        same_value(remote.get(name), value) for name, value in sent.items() if name not in ignored
    )


def _unchanged(entity: Entity, item: Item, row: Record | None, answer: Answer) -> bool:
    """Whether the server's record still is the one that the change was based on."""
    if row is None or row.state is None:
        return answer.record is None
    if answer.record is None:
        return False
    if answer.version is not None and item.version is not None:
        return same_version(answer.version, item.version)
    return same(json.loads(row.state), answer.record, entity.bookkeeping)
