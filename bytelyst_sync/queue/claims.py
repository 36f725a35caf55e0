"""Claims: which items are sent next. Runs inside a storage transaction.

A claim marks an item as ``SENDING``, and is committed before the request is sent. The item's
``frozen`` column says whether an *earlier* attempt may have been processed by the server. If the
process dies during an attempt, that attempt counts as one. If an attempt proves not to have been
processed, the column stays as it was.

Where several processes deliver at once, a claim is a *lease*: it ends after ``lease_s``, and any
process may then recover its item, which ends the claim for good. Until that happens, the claim can
still be settled, however late. The claim's number is its fencing token: an item is settled only by
the claim whose number it has.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import attrs

from bytelyst_sync.config.entity import Entities
from bytelyst_sync.http.transport import REQUEST_DEADLINE_S
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.queue.expiry import expire_due, next_expiry
from bytelyst_sync.queue.line import Line
from bytelyst_sync.replica.conflicts import Resolver
from bytelyst_sync.replica.revival import Revival, revival_of
from bytelyst_sync.replica.server_ids import sendable
from bytelyst_sync.replica.view import server_state
from bytelyst_sync.rules.ids import LOCAL_PREFIX
from bytelyst_sync.state.transitions import change
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ASKED, CONFLICTS, ITEMS, Item, Lane

__all__ = ["OPEN_GATE", "Claim", "Claims", "Gate", "claimed"]

Json = dict[str, Any]
_OPERATIONS = {each.value: each for each in SyncOperation}
_PROMOTED_AT_ONCE = 500
_SLACK_S = 1.0


class Claim(NamedTuple):
    """An item that is being sent. ``began`` is the store's last number when it was claimed."""

    item: Item
    began: int
    state: Json | None = None
    """The record's last known server state, if the request needs it."""
    revival: Revival | None = None
    """Set where a create is sent as an update that brings a deleted record back."""
    until: float | None = None
    """When its lease ends, on the engine's monotonic clock; ``None``: it has none."""

    @property
    def operation(self) -> SyncOperation:
        """The item's operation."""
        return _OPERATIONS[self.item.operation]


@attrs.frozen
class Gate:
    """Which items may be claimed while the server is down or has just recovered.

    ``closed``: entities that send nothing. ``single``: entities that send one item at a time,
    with the record whose items are skipped (``None``: no record). ``early``: entities that may
    send a delayed item before it is due. ``one``: one item at a time for all entities together.
    """

    closed: frozenset[str] = frozenset()
    single: Mapping[str, str | None] = attrs.field(factory=dict)
    early: frozenset[str] = frozenset()
    one: bool = False

    def lets_through(self, item: Item) -> bool:
        """Whether the gate allows this item. Does not check what is being sent already."""
        return item.entity not in self.closed and self.single.get(item.entity) != item.record

    def lets_through_early(self, item: Item) -> bool:
        """Whether this item may be sent before it is due. One that waits for a lookup may not."""
        return item.lane == Lane.DELAYED and item.entity in self.early and item.lookup_at is None


OPEN_GATE = Gate()


class Claims:
    """The rules by which items are claimed."""

    def __init__(
        self,
        entities: Entities,
        resolver: Resolver,
        max_retry_delay: float,
        line: Line | None = None,
        *,
        request_deadline: float = REQUEST_DEADLINE_S,
        lease_s: float | None = None,
    ) -> None:
        self._entities = entities
        self._lease_s = lease_s
        self.line = line or Line(entities)
        self._resolver = resolver
        self._max_retry_delay = max_retry_delay
        self._request_deadline = request_deadline
        self._needs_state = {
            (name, operation.value)
            for name, entity in entities.items()
            for operation in SyncOperation
            if entity.needs_state(operation)
        }
        """The writes (entity, operation) whose request needs the record's server state."""
        self._revives = {
            (name, SyncOperation.CREATE.value)
            for name, entity in entities.items()
            if entity.revives
        }
        """The creates that may bring a deleted record back."""
        self._server_ids = any(entity.server_ids for entity in entities.values())
        """Whether some entity uses local ids, which must not be sent. Others may have items with
        local ids from a time when the server gave their ids, too.
        """

    def troubled(self, tx: Reader) -> bool:
        """Whether any item is failed or delayed."""
        return tx.count(ITEMS, Lane.FAILED) > 0 or tx.count(ITEMS, Lane.DELAYED) > 0

    def orphaned_in(
        self, tx: Reader, now: float, asked_here: frozenset[int] = frozenset()
    ) -> float | None:
        """Seconds until ``recover`` has something to do (0: now); ``None``: not as things stand.

        Without leases, the caller must hold the delivery lock: then whatever is being sent was left
        by a process that died, and so was each conflict that waits for a callback, except
        ``asked_here``, those whose callbacks this engine runs. With leases, these are prolonged
        when half of their time is left.
        """
        sending, asked = tx.count(ITEMS, Lane.SENDING), tx.count(CONFLICTS, ASKED)
        if self._lease_s is None:
            return 0.0 if sending > 0 or asked > len(asked_here) else None
        if not (sending or asked):
            return None
        ends = [
            (item.lease or 0.0) - (self._lease_s / 2 if item.conflict in asked_here else 0.0)
            for item in self._leased(tx)
        ]
        return max(0.0, min(ends) - now) if ends else None

    def _leased(self, tx: Reader) -> list[Item]:
        """The items that are being sent, or whose conflict a callback decides."""
        lanes = (Lane.SENDING, Lane.ASKING)
        places = [(lane, entity) for lane, entity in tx.counts(ITEMS) if lane in lanes]
        return [item for place in places for item in tx.scan(ITEMS, "lane", place)]

    def recover(self, work: UnitOfWork, asked_here: frozenset[int] = frozenset()) -> int:
        """Takes over from processes that died while they delivered; returns how many items they
        left. With leases: from those whose leases have ended.

        Items that were being sent may have been processed, so they become frozen. Conflicts that
        wait for a callback are parked, except ``asked_here``. If another living engine runs such a
        callback, its answer still settles the parked conflict.
        """
        ended = [item for item in self._leased(work.tx) if self._has_ended(item, work.now)]
        if self._lease_s is None:
            self._resolver.park_all_asked(work.tx, keep=asked_here)
        else:
            self._resolver.prolong(work, asked_here, self._lease_s)
            for number in {item.conflict for item in ended if item.lane == Lane.ASKING}:
                if number is not None and number not in asked_here:
                    self._resolver.park_asked(work.tx, number)
        left = [item for item in ended if item.lane == Lane.SENDING]
        for item in left:
            known = self._entities.get(item.entity)
            looks = known is not None and known.looks_for(item.operation)
            lookup_at = work.now + self._request_deadline if looks else None
            frozen = item._replace(lane=Lane.READY, frozen=1, lookup_at=lookup_at, lookups=0)
            change(work.tx, item, frozen)
        return len(left)

    def _has_ended(self, item: Item, now: float) -> bool:
        return self._lease_s is None or item.lease is None or item.lease < now

    def renew(self, tx: Transaction, claims: Sequence[Claim], now: float) -> bool:
        """Prolongs the leases of some claims, unless one of them has ended; true if it did."""
        rows = [claimed(tx, claim) for claim in claims]
        live = [row for row in rows if row is not None and (row.lease or 0.0) >= now]
        if len(live) < len(claims) or self._lease_s is None:
            return False
        tx.update_many(ITEMS, live, lease=now + self._lease_s)
        return True

    def promote(self, work: UnitOfWork) -> None:
        """Makes due items ready, and corrects due times that a clock set back has made too late."""
        due = list(work.tx.scan(ITEMS, "due", upto=(work.now,), limit=_PROMOTED_AT_ONCE))
        work.tx.update_many(ITEMS, due, lane=int(Lane.READY), due=None, delay=None)
        beyond = work.now + self._max_retry_delay
        late = work.tx.scan(ITEMS, "due", upto=(beyond,), limit=_PROMOTED_AT_ONCE, reverse=True)
        for item in list(late):
            if self._stretched(item, work.now):
                work.tx.replace(ITEMS, item, item._replace(due=work.now + (item.delay or 0.0)))

    def claim(
        self, work: UnitOfWork, limit: int, gate: Gate = OPEN_GATE, *, ahead: int = 0
    ) -> list[Claim]:
        """Marks up to ``limit`` ready items as being sent, in the order of their positions; and
        ``ahead`` more, if that leaves enough to other processes.
        """
        if next(work.tx.scan(ITEMS, "due", limit=1), None) is not None:
            self.promote(work)
        if next_expiry(work.tx, work.now) == 0.0:
            expire_due(work)
        if gate.one:
            limit = min(limit, 1 - work.tx.count(ITEMS, Lane.SENDING))
        if limit <= 0:
            return []
        if ahead and not gate.one and _leaves_enough(work.tx, limit + ahead):
            limit += ahead
        chosen = ready = self._ready_items(work, limit, gate)
        referring = [item for item in ready if LOCAL_PREFIX in item.data]
        if self._server_ids or referring:
            chosen = self._sendable(work, ready)
            while ready and not chosen:
                ready = self._ready_items(work, limit, gate)
                chosen = self._sendable(work, ready)
        began = work.tx.last_number()
        times = {"due": None, "delay": None} if gate.early else {}
        terms, until = self._terms(work)
        sending = work.tx.update_many(ITEMS, chosen, lane=int(Lane.SENDING), **times, **terms)
        claims = [self._claim_of(work, item, began) for item in sending]
        return claims if until is None else [each._replace(until=until) for each in claims]

    def _terms(self, work: UnitOfWork) -> tuple[dict[str, float], float | None]:
        """The columns of a lease that begins now, and its end on the monotonic clock."""
        if self._lease_s is None:
            return {}, None
        terms = {"claim": self._new_token(work.tx), "lease": work.now + self._lease_s}
        return terms, work.effects.began + self._lease_s

    def _new_token(self, tx: Transaction) -> int:
        """The fencing token of a claim: no other claim of the store has it."""
        return tx.next_number()

    def _claim_of(self, work: UnitOfWork, item: Item, began: int) -> Claim:
        """The claim, with what its request needs of the server's state."""
        write = (item.entity, item.operation)
        if write in self._needs_state:
            state = server_state(work.tx, self._entities[item.entity], item.record)
            return Claim(item, began, state)
        if write in self._revives:
            revival = revival_of(work.tx, self._entities[item.entity], item.record)
            return Claim(item, began, None, revival)
        return Claim(item, began)

    def _sendable(self, work: UnitOfWork, ready: list[Item]) -> list[Item]:
        checked = [sendable(work, item) for item in ready]
        return [item for item in checked if item is not None]

    def _ready_items(self, work: UnitOfWork, limit: int, gate: Gate) -> list[Item]:
        if self.line.strict:
            head = self._head(work.tx, gate)
            return [] if head is None else [head]
        scans = [self._ready_of(work.tx, name, limit, gate) for name in self._entities]
        ready = scans[0] if len(scans) == 1 else heapq.merge(*scans, key=lambda item: item.position)
        return list(islice(ready, limit))

    def _ready_of(self, tx: Transaction, entity: str, limit: int, gate: Gate) -> Iterable[Item]:
        if entity in gate.closed:
            return ()
        if entity in gate.single:
            item = self._first_of(tx, entity, gate)
            return () if item is None or tx.count(ITEMS, Lane.SENDING, entity) else (item,)
        ready = list(tx.take(ITEMS, "lane", (Lane.READY, entity), limit=limit))
        version = self.line.stored_version
        if not [None for each in ready if each.schema_version != version]:
            return ready
        # look past items of another schema version, which this program does not send
        return filter(self.line.is_ours, tx.take(ITEMS, "lane", (Lane.READY, entity)))

    def _first_of(
        self, tx: Reader, entity: str, gate: Gate, upto: int | None = None
    ) -> Item | None:
        """The first item of an entity that may be sent now."""
        item = self.line.first_ready(tx, entity, upto)
        if item is None and entity in gate.early:
            delayed = tx.scan(ITEMS, "lane", (Lane.DELAYED, entity))
            item = next(filter(gate.lets_through_early, delayed), None)
        return item if item is not None and gate.lets_through(item) else None

    def _head(self, tx: Reader, gate: Gate) -> Item | None:
        """With ``order="strict"``: the first item of the queue, if it may be sent now."""
        item = self.line.sendable_head(tx)
        if item is None and gate.early:
            item = self.line.head(tx)
            if item is not None and not gate.lets_through_early(item):
                item = None
        return item if item is not None and gate.lets_through(item) else None

    def unclaim(self, tx: Transaction, claims: Iterable[Claim]) -> None:
        """Makes claimed items that were not sent ready again."""
        for claim in claims:
            item = claimed(tx, claim)
            if item is not None:
                change(tx, item, item._replace(lane=Lane.READY))

    def ready(self, tx: Reader, gate: Gate | None = OPEN_GATE, upto: int | None = None) -> bool:
        """Whether any item, up to the ``seq`` ``upto``, could be sent now.

        ``gate=None``: nothing may be sent.
        """
        if gate is None:
            return False
        if self.line.strict:
            head = self._head(tx, gate)
            return head is not None and (upto is None or head.seq <= upto)
        return any(self._first_of(tx, name, gate, upto) is not None for name in self._entities)

    def busy_up_to(self, tx: Reader, seq: int, gate: Gate | None = OPEN_GATE) -> bool:
        """Whether any item up to this ``seq`` could be sent now, is being sent, or is in a conflict
        that a callback is deciding.
        """
        return self.ready(tx, gate, seq) or any(
            item.seq <= seq
            for lane in (Lane.SENDING, Lane.ASKING)
            for name in self._entities
            for item in tx.scan(ITEMS, "lane", (lane, name))
        )

    def next_due(self, tx: Reader, now: float) -> float | None:
        """Seconds until ``promote`` has something to do; ``None`` if no item is delayed."""
        item = next(tx.scan(ITEMS, "due", limit=1), None)
        if item is None or item.due is None:
            return None
        if self._stretched(item, now):
            return 0.0
        return max(0.0, min(item.due - now, item.delay if item.delay is not None else item.due))

    def next_due_at(self, tx: Reader, now: float) -> float | None:
        """When the next delayed item is due, by the wall clock; ``None`` if none is delayed."""
        item = next(tx.scan(ITEMS, "due", limit=1), None)
        if item is None or item.due is None:
            return None
        return now + (item.delay or 0.0) if self._stretched(item, now) else item.due

    def _stretched(self, item: Item, now: float) -> bool:
        """Whether the item is due later than its delay allows, because the clock was set back."""
        off = (item.due or 0.0) - now
        return off > self._max_retry_delay + _SLACK_S and off > (item.delay or 0.0) + _SLACK_S

    def unknown_entities(self, tx: Reader) -> list[str]:
        """Entities with queued items that this engine does not know."""
        return sorted({entity for _, entity in tx.counts(ITEMS)} - self._entities.keys())


def _leaves_enough(tx: Reader, limit: int) -> bool:
    """Whether after a claim of so many items as many are ready as are being sent: then no process
    looks in vain for its next one.
    """
    left = tx.count(ITEMS, Lane.READY) - limit
    return left >= tx.count(ITEMS, Lane.SENDING) + limit


def claimed(tx: Reader, claim: Claim) -> Item | None:
    """The stored item of a claim; ``None`` if it is no longer claimed, or claimed by another."""
    item = tx.get(ITEMS, claim.item.seq)
    if item is None or item.id != claim.item.id or item.lane != Lane.SENDING:
        return None
    return item if item.claim == claim.item.claim else None
