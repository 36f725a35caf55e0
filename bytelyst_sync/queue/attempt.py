"""One attempt to deliver an item, with its answer, and what it can do to the item.

The ``frozen`` column says whether an *earlier* attempt may have been processed. An attempt that
proves not to have been processed leaves the column as it was. Runs inside a storage transaction.
"""

from __future__ import annotations

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import ItemState
from bytelyst_sync.protocol.error_messages import SEE_FAILED, item_error_text
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.queue.outage_rule import Judgement
from bytelyst_sync.state.commit_effects import as_sync_item
from bytelyst_sync.state.transitions import change, rekeyed
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import Item, Lane

__all__ = ["Attempt"]


@attrs.frozen
class Attempt:
    """An attempt that has ended. ``item`` is the row as stored; ``judgement`` is that of the outage
    rule, if the attempt failed.
    """

    work: UnitOfWork
    entity: Entity
    item: Item
    claim: Claim
    answer: AttemptResult
    judgement: Judgement | None
    request_deadline: float

    @property
    def tx(self) -> Transaction:
        """The transaction of the unit of work."""
        return self.work.tx

    def after(self) -> Item:
        """The item after this attempt, which did not settle it; still without its new lane."""
        item, judgement = self.item, self.judgement
        frozen = item.frozen if self.answer.unprocessed else 1
        first_attempt = item.first_attempt
        if first_attempt is None and frozen:
            first_attempt = self.work.now
        lookup_at, lookups = None, item.lookups
        if not self.answer.unprocessed and self.entity.looks_for(item.operation):
            lookup_at, lookups = self.work.now + self.request_deadline, 0
        return item._replace(
            frozen=frozen,
            error=self._error_text(),
            attempted=item.attempted if judgement is None else judgement.number,
            first_attempt=first_attempt,
            lookup_at=lookup_at,
            lookups=lookups,
        )

    def _error_text(self) -> str | None:
        error, item = self.answer.error, self.item
        if error is None:
            return None
        return item_error_text(error, item.operation, item.entity, item.record)

    def put_back(self, position: int) -> None:
        """Makes the item ready again at this position; spends no retry."""
        change(self.tx, self.item, self.after()._replace(lane=Lane.READY, position=position))

    def send_again(self, version: str | int | None) -> None:
        """Makes the item ready again, based on this version and under a new key."""
        item = self.item
        changed = rekeyed(item)._replace(
            lane=Lane.READY,
            version=version,
            in_progress_retries=item.in_progress_retries + 1,
        )
        change(self.tx, item, changed)

    def delay(self, changed: Item, delay_s: float) -> None:
        """Stores the changed item, to be sent again after this delay."""
        work, item = self.work, self.item
        if changed.lookup_at is not None:
            delay_s = max(delay_s, changed.lookup_at - work.now)
        work.effects.note(
            "retried",
            item.entity,
            item.operation,
            status=self.answer.status,
            seconds=delay_s,
        )
        due = work.now + delay_s
        change(work.tx, item, changed._replace(lane=Lane.DELAYED, due=due, delay=delay_s))

    def fail(self, changed: Item) -> None:
        """Stores the changed item as failed; the record's later items wait behind it."""
        work, item = self.work, self.item
        error = changed.error
        if error is not None and "engine.failed()" not in error:
            error += SEE_FAILED
        failed = changed._replace(lane=Lane.FAILED, due=None, delay=None, error=error)
        change(work.tx, item, failed)
        work.effects.errors += 1
        work.effects.outcomes[item.seq] = ItemState.FAILED
        waited = max(0.0, work.now - item.time)
        work.effects.note(
            "failed", item.entity, item.operation, status=self.answer.status, seconds=waited
        )
        work.effects.failed.append(as_sync_item(failed))
