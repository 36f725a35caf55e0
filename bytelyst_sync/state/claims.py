"""Claims: which items are sent next, and which are being sent. Runs in a storage transaction.

An item is marked ``SENDING`` by a commit before its first byte leaves. Its ``frozen`` column says
whether an *earlier* attempt may have been processed: a claim that dies with its process counts as
such an attempt, an attempt that proves not to have been processed leaves the column as it was.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from bytelyst_sync.entity import Entities
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.state.lanes import change
from bytelyst_sync.state.replica import server_state
from bytelyst_sync.state.resolver import Resolver
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ASKED, CONFLICTS, ITEMS, Item, Lane

__all__ = ["Claim", "Claims", "claimed"]

Json = dict[str, Any]
_OPERATIONS = {each.value: each for each in SyncOperation}
_PROMOTED_AT_ONCE = 500
_SLACK_S = 1.0


class Claim(NamedTuple):
    """An item that is being sent. ``began`` is the store's last number at the claim."""

    item: Item
    began: int
    state: Json | None = None
    """The server's state, where the write is made from it or compared with it."""

    @property
    def operation(self) -> SyncOperation:
        """What it does."""
        return _OPERATIONS[self.item.operation]


class Claims:
    """The rules by which items are claimed. Holds no state of its own."""

    def __init__(self, entities: Entities, resolver: Resolver, max_retry_delay: float) -> None:
        self._entities = entities
        self._resolver = resolver
        self._max_retry_delay = max_retry_delay
        self._on_states = {
            (name, operation.value)
            for name, entity in entities.items()
            for operation in SyncOperation
            if entity.needs_state(operation)
        }
        """The writes that are made from, or compared with, the server's state."""

    def troubled(self, tx: Reader) -> bool:
        """Whether items are failed, or wait for another try."""
        return tx.count(ITEMS, Lane.FAILED) > 0 or tx.count(ITEMS, Lane.DELAYED) > 0

    def orphans(self, tx: Reader, own_questions: frozenset[int] = frozenset()) -> bool:
        """Whether somebody died at delivering, if nobody else is at it.

        Items are marked as being sent, or more questions as being asked than this engine asks.
        """
        sending, asked = tx.count(ITEMS, Lane.SENDING), tx.count(CONFLICTS, ASKED)
        return sending > 0 or asked > len(own_questions)

    def recover(self, tx: Transaction, own_questions: frozenset[int] = frozenset()) -> int:
        """Takes over from a deliverer that died.

        What it was sending may have been processed, and questions that nobody here is asking are
        parked; where another living engine is asking one, its answer settles the parked conflict.
        """
        self._resolver.park_asked(tx, but=own_questions)
        recovered = 0
        for entity in [e for lane, e in tx.counts(ITEMS) if lane == Lane.SENDING]:
            for item in list(tx.scan(ITEMS, "lane", (Lane.SENDING, entity))):
                change(tx, item, item._replace(lane=Lane.READY, frozen=1))
                recovered += 1
        return recovered

    def promote(self, tx: Transaction, now: float) -> None:
        """Makes ready what is due, and cuts waits that a clock set back has stretched."""
        due = list(tx.scan(ITEMS, "due", upto=(now,), limit=_PROMOTED_AT_ONCE))
        tx.amend(ITEMS, due, lane=int(Lane.READY), due=None, delay=None)
        beyond = now + self._max_retry_delay
        late = tx.scan(ITEMS, "due", upto=(beyond,), limit=_PROMOTED_AT_ONCE, reverse=True)
        for item in list(late):
            if self._stretched(item, now):
                tx.replace(ITEMS, item, item._replace(due=now + (item.delay or 0.0)))

    def claim(self, tx: Transaction, limit: int, now: float) -> list[Claim]:
        """Marks up to ``limit`` ready items as being sent, in the order of their turns."""
        if next(tx.scan(ITEMS, "due", limit=1), None) is not None:
            self.promote(tx, now)
        scans = [tx.take(ITEMS, "lane", (Lane.READY, name), limit=limit) for name in self._entities]
        ready = scans[0] if len(scans) == 1 else heapq.merge(*scans, key=lambda item: item.turn)
        chosen = list(islice(ready, limit))
        began = tx.last_number()
        sending = tx.amend(ITEMS, chosen, lane=int(Lane.SENDING))
        return [
            Claim(item, began, server_state(tx, self._entities[item.entity], item.record))
            if (item.entity, item.operation) in self._on_states
            else Claim(item, began)
            for item in sending
        ]

    def unclaim(self, tx: Transaction, claims: Iterable[Claim]) -> None:
        """Gives back what was claimed and not sent."""
        for claim in claims:
            item = claimed(tx, claim)
            if item is not None:
                change(tx, item, item._replace(lane=Lane.READY))

    def ready(self, tx: Reader, upto: int | None = None) -> bool:
        """Whether something of the known entities could be sent now, of what was queued up to a
        place.
        """
        bound = None if upto is None else (upto,)
        return any(
            next(tx.scan(ITEMS, "lane", (Lane.READY, name), upto=bound, limit=1), None) is not None
            for name in self._entities
        )

    def busy_up_to(self, tx: Reader, place: int) -> bool:
        """Whether something queued up to a place could be sent, is being sent, or is in a
        conflict that a callback is deciding.
        """
        return self.ready(tx, place) or any(
            item.seq <= place
            for lane in (Lane.SENDING, Lane.ASKING)
            for name in self._entities
            for item in tx.scan(ITEMS, "lane", (lane, name))
        )

    def next_due(self, tx: Reader, now: float) -> float | None:
        """Seconds until there is something to ``promote``; ``None`` if nothing waits."""
        item = next(tx.scan(ITEMS, "due", limit=1), None)
        if item is None or item.due is None:
            return None
        if self._stretched(item, now):
            return 0.0
        return max(0.0, min(item.due - now, item.delay if item.delay is not None else item.due))

    def next_due_at(self, tx: Reader, now: float) -> float | None:
        """When that is, by the wall clock."""
        item = next(tx.scan(ITEMS, "due", limit=1), None)
        if item is None or item.due is None:
            return None
        return now + (item.delay or 0.0) if self._stretched(item, now) else item.due

    def _stretched(self, item: Item, now: float) -> bool:
        """Whether a clock that was set back has put its time further off than was meant."""
        off = (item.due or 0.0) - now
        return off > self._max_retry_delay + _SLACK_S and off > (item.delay or 0.0) + _SLACK_S

    def unknown_entities(self, tx: Reader) -> list[str]:
        """Entities with queued items that this engine does not know."""
        return sorted({entity for _, entity in tx.counts(ITEMS)} - self._entities.keys())


def claimed(tx: Reader, claim: Claim) -> Item | None:
    """The claim's item, if it is still claimed by it."""
    item = tx.get(ITEMS, claim.item.seq)
    if item is None or item.id != claim.item.id or item.lane != Lane.SENDING:
        return None
    return item
