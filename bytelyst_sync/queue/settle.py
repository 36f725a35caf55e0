"""Settles claimed items by their answers: one row of a table for each verdict.

Runs inside a storage transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from bytelyst_sync.config.entity import Entities
from bytelyst_sync.http.transport import REQUEST_DEADLINE_S
from bytelyst_sync.model import ItemState
from bytelyst_sync.protocol.error_messages import error_about
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.answered_entities import AnsweredEntities
from bytelyst_sync.queue.attempt import Attempt
from bytelyst_sync.queue.claims import Claim, claimed
from bytelyst_sync.queue.conflict_answer import (
    Reaction,
    has_newer_deferred,
    react,
    respelled,
    without_tombstone,
)
from bytelyst_sync.queue.outage_rule import (
    FAILED_BY_OUTAGE,
    REQUEUED_AFTER_OUTAGE,
    Judgement,
    OutageRule,
    Outages,
)
from bytelyst_sync.queue.own_records import WAITS_FOR_OWN, waits_for_own
from bytelyst_sync.queue.settle_together import (
    is_older,
    listed_since_push,
    rebase_next_item,
    settle_together,
    state_after,
)
from bytelyst_sync.replica.conflict_outcome import create_instead
from bytelyst_sync.replica.conflicts import Resolver
from bytelyst_sync.replica.remote_changes import RemoteChanges
from bytelyst_sync.replica.server_ids import (
    adopt_server_id,
    record_given_before,
    send_own_fields,
    without_own_fields,
)
from bytelyst_sync.replica.server_state import mark_lost, mark_stale, put_state, replace_state
from bytelyst_sync.replica.similar_ids import folded_column, report_similar
from bytelyst_sync.replica.vanishing import gone_is_plausible
from bytelyst_sync.replica.view import track_change
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.unique_key import is_other_record
from bytelyst_sync.state.transitions import change, items_of, remove
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import ITEMS, RECORDS, Item, Lane, Record

__all__ = ["Settlement"]

Sent = tuple[Claim, AttemptResult]
_MIN_STILL_RUNNING = 12
"""A server must report this often that it still processes the first attempt before the item fails,
so that a machine that was asleep does not give up too early.
"""


class Settlement:
    """The rules for settling items. Holds no state but the retry policy."""

    def __init__(
        self,
        entities: Entities,
        resolver: Resolver,
        remote_changes: RemoteChanges,
        policy: RetryPolicy,
        request_deadline: float = REQUEST_DEADLINE_S,
    ) -> None:
        self._entities = entities
        self._resolver = resolver
        self._remote_changes = remote_changes
        self._policy = policy
        self._request_deadline = request_deadline
        self._outage_rule = OutageRule(policy)
        self._answered_entities = AnsweredEntities()
        self._table: dict[Verdict, Callable[[Attempt], None]] = {
            Verdict.DELIVERED: self._delivered,
            Verdict.GONE: self._conflict,
            Verdict.CONFLICT: self._conflict,
            Verdict.OFFLINE: self._put_back,
            Verdict.NOT_SENT: self._put_back,
            Verdict.CREDENTIALS: self._credentials_refused,
            Verdict.BUSY: self._put_last,
            Verdict.PORTAL: self._no_answer,
            Verdict.UNKNOWN: self._no_answer,
            Verdict.OUTAGE: self._no_answer,
            Verdict.SERVER_ERROR: self._no_answer,
            Verdict.UNCLEAR: self._fail_unclear,
            Verdict.MAPPING: self._spend_retry,
            Verdict.REJECTED: self._fail,
            Verdict.REDIRECT: self._fail_unknown,
            Verdict.STATE: self._store_read_state,
            Verdict.LOOKUP: self._look_later,
            Verdict.FOUND: self._delivered_before,
        }

    def settle_all(self, work: UnitOfWork, sent: Sequence[Sent], outages: Outages) -> None:
        """Settles items by their answers, in the order in which these arrived.

        Updates ``outages``, the health of the server as the answers to writes show it.
        """
        before = dict(outages)
        sent = [
            (claim, without_tombstone(self._entities[claim.item.entity], claim.item, answer))
            for claim, answer in sent
        ]
        for claim, answer in sent:
            if answer.proves_api:
                self._answered_entities.note(work, claim.item.entity)
        judgements = self._outage_rule.judge(work, outages, sent)
        for claim, answer in settle_together(work, sent):
            self.settle(work, claim, answer, outages, judgements.get(claim.item.seq))
        if outages:
            delivered = [c.item.entity for c, a in sent if a.meaning is Verdict.DELIVERED]
            self._outage_rule.finish(work, before, outages, delivered)

    def settle(
        self,
        work: UnitOfWork,
        claim: Claim,
        answer: AttemptResult,
        outages: Outages,
        judgement: Judgement | None = None,
    ) -> None:
        """Settles one item: applies its answer to the queue and to the local view."""
        item = claimed(work.tx, claim)
        if item is None:
            work.effects.taken_over += claim.until is not None
            return
        entity = self._entities[item.entity]
        attempt = Attempt(work, entity, item, claim, answer, judgement, self._request_deadline)
        self._table[answer.meaning](attempt)
        if judgement is not None and judgement.gives_up:
            outages[item.entity] = attrs.evolve(outages[item.entity], gave_up=True)
        if answer.meaning is not Verdict.DELIVERED:
            self._remote_changes.apply_deferred(work, entity, item.record)

    def apply_deferred(self, work: UnitOfWork, unsent: Iterable[Claim]) -> None:
        """Applies what pages brought while these items were claimed: no answer will come."""
        for claim in unsent:
            entity = self._entities.get(claim.item.entity)
            if entity is not None:
                self._remote_changes.apply_deferred(work, entity, claim.item.record)

    # --- the item stays queued

    def _put_back(self, attempt: Attempt) -> None:
        """Ready again in its old position; no retry is spent."""
        attempt.put_back(attempt.item.position)

    def _put_last(self, attempt: Attempt) -> None:
        """Ready again in the last position; no retry is spent."""
        attempt.put_back(attempt.tx.next_number())

    def _credentials_refused(self, attempt: Attempt) -> None:
        attempt.work.effects.errors += 1
        self._put_back(attempt)

    def _store_read_state(self, attempt: Attempt) -> None:
        """The record was read, because the write needs its state; the write is sent next."""
        item, answer = attempt.item, attempt.answer
        put_state(attempt.tx, attempt.entity, item.record, answer.record, answer.version)
        change(attempt.tx, item, item._replace(lane=Lane.READY, version=answer.version))

    def _look_later(self, attempt: Attempt) -> None:
        """A create whose outcome is unknown is not sent before two lookups did not find it."""
        item, work = attempt.item, attempt.work
        if attempt.answer.status is None:
            # it was too early for a lookup
            attempt.delay(item, 0.0)
            return
        delay_s = self._policy.delay_s(item.lookups)
        looked = item._replace(lookup_at=work.now + delay_s, lookups=item.lookups + 1)
        attempt.delay(looked, delay_s)

    def _no_answer(self, attempt: Attempt) -> None:
        """The API gave no real answer: the outage rule decides whether a retry is spent."""
        judgement, item = attempt.judgement, attempt.item
        if judgement is None or judgement.spends:
            self._spend_retry(attempt)
            return
        changed = attempt.after()._replace(
            position=judgement.number, outage_began=judgement.outage_began
        )
        if judgement.gives_up:
            again = item.outage == REQUEUED_AFTER_OUTAGE
            outage = REQUEUED_AFTER_OUTAGE if again else FAILED_BY_OUTAGE
            attempt.fail(changed._replace(outage=outage))
        elif attempt.answer.meaning is Verdict.PORTAL:
            # no delay: delivery goes on as soon as the network is back
            change(attempt.tx, item, changed._replace(lane=Lane.READY))
        else:
            attempt.work.effects.errors += 1
            attempt.delay(changed, judgement.delay_s)

    def _spend_retry(self, attempt: Attempt) -> None:
        """Spends one retry and delays the next attempt; fails the item if none is left."""
        item, judgement = attempt.item, attempt.judgement
        if item.retries >= self._policy.max_retries:
            attempt.fail(attempt.after())
            return
        attempt.work.effects.errors += 1
        delay_s = self._policy.delay_s(item.retries, attempt.answer.retry_after)
        changed = attempt.after()._replace(retries=item.retries + 1)
        if judgement is not None:
            delay_s = judgement.delay_s
        attempt.delay(changed, delay_s)

    # --- the item fails

    def _fail(self, attempt: Attempt) -> None:
        attempt.fail(attempt.after())

    def _fail_unknown(self, attempt: Attempt) -> None:
        """Fails the item as one that may have been processed."""
        attempt.fail(attempt.after()._replace(frozen=1))

    def _fail_unclear(self, attempt: Attempt) -> None:
        """Fails a create that was accepted with an unreadable answer: it is not sent again."""
        attempt.work.effects.unclear.add(attempt.item.id)
        attempt.fail(attempt.after()._replace(frozen=1, unclear=1))

    def _fail_given_twice(self, attempt: Attempt) -> None:
        """The server gave the new record the id that it gave another one: which record it holds is
        not known, so they are not joined.
        """
        name, given = attempt.entity.name, attempt.answer.server_id
        what = (
            f"the server answered with the id {given!a}, which it gave to another record of this "
            f"store before; look at {name}/{given} at the server, then discard this item, or "
            "reprocess it by its id"
        )
        item, status = attempt.item, attempt.answer.status
        error = error_about(item.operation, name, item.record, what, status=status)
        self._fail_unclear(attrs.evolve(attempt, answer=attrs.evolve(attempt.answer, error=error)))

    # --- delivered

    def _delivered(self, attempt: Attempt) -> None:
        """Removes the item from the queue and stores the server's state that the answer brought."""
        work, entity, item, answer = attempt.work, attempt.entity, attempt.item, attempt.answer
        given = answer.server_id
        if given is not None and record_given_before(work.tx, entity, item.record, given):
            self._fail_given_twice(attempt)
            return
        with track_change(work, entity, item.record, "remote"):
            sent, follows = item, False
            if answer.server_id is not None:
                adopt_server_id(work, entity, item.record, answer.server_id)
                item = work.tx.get(ITEMS, item.seq) or item
                sent = without_own_fields(entity, item)
                follows = send_own_fields(work, entity, item, answer.server_id)
            if entity.replica:
                self._take_state(attempt, sent)
            if not follows:
                remove(work, item)
            if entity.replica:
                rebase_next_item(work.tx, entity, item.record)
        if follows:
            return
        work.effects.outcomes[item.seq] = ItemState.DELIVERED
        work.effects.pushed += 1
        waited = max(0.0, work.now - item.time)
        work.effects.note("delivered", entity.name, item.operation, seconds=waited)

    def _take_state(self, attempt: Attempt, item: Item) -> None:
        tx, entity, answer = attempt.tx, attempt.entity, attempt.answer
        row = tx.get(RECORDS, entity.name, item.record)
        if row is not None and is_older(attempt.claim, row):
            mark_stale(tx, entity, item.record)
            return
        state = state_after(entity, item, row, answer)
        if row is None:
            report_similar(attempt.work, entity, {item.record: folded_column(item.record)})
        replace_state(tx, entity, item.record, row, state, answer.version)
        if has_newer_deferred(row, state, answer) or listed_since_push(tx, entity, attempt.claim):
            # a pull may have seen the record later than this answer shows it
            mark_stale(tx, entity, item.record)

    # --- conflict

    def _conflict(self, attempt: Attempt) -> None:
        """The server reports a conflict: reacts as ``conflict_answer`` decides."""
        work, entity, item, answer = attempt.work, attempt.entity, attempt.item, attempt.answer
        row = work.tx.get(RECORDS, entity.name, item.record)
        outdated = row is not None and row.changed_seq > attempt.claim.began
        reaction = react(entity, item, row, answer, outdated=outdated)
        if reaction is Reaction.OWN_WORK:
            self._delivered_before(attempt)
        elif reaction is Reaction.CREATE_INSTEAD:
            with track_change(work, entity, item.record, "remote"):
                create_instead(work, entity, item)
        elif reaction is Reaction.STILL_RUNNING:
            self._wait_for_first_attempt(attempt)
        elif reaction is Reaction.REVIVE:
            put_state(work.tx, entity, item.record, None, answer.version)
            attempt.send_again(None)
        elif reaction is Reaction.NAME_VERSION:
            attempt.send_again(answer.version)
        elif reaction is Reaction.RESPELL_VERSION:
            attempt.send_again(respelled(item.version))
        elif reaction is Reaction.REFUSED:
            attempt.fail(attempt.after()._replace(frozen=0))
        elif reaction is Reaction.OTHER_RECORD:
            attempt.fail(attempt.after()._replace(frozen=item.frozen))
        elif self._waits_for_own(attempt):
            self._wait(attempt, item._replace(error=WAITS_FOR_OWN))
        else:
            self._resolve(attempt, row)

    def _waits_for_own(self, attempt: Attempt) -> bool:
        """Whether another record has a unique value, and may be one that this program made."""
        entity, item, remote = attempt.entity, attempt.item, attempt.answer.record
        if remote is None or not is_other_record(remote, entity.id_field, item.record):
            return False
        return waits_for_own(attempt.tx, entity, item, remote)

    def _resolve(self, attempt: Attempt, row: Record | None) -> None:
        """Resolves a conflict: both sides changed the record, or it is gone from the server."""
        work, entity, item, answer = attempt.work, attempt.entity, attempt.item, attempt.answer
        gone = answer.meaning is Verdict.GONE
        if gone and not gone_is_plausible(work, entity, lists_none=answer.lists_none):
            work.effects.errors += 1
            attempt.delay(attempt.after(), self._policy.max_retry_delay)
            return
        change(work.tx, item, item._replace(lane=Lane.READY, frozen=0))
        with track_change(work, entity, item.record, "remote"):
            items = [
                i for i in items_of(work.tx, entity.name, item.record) if i.lane != Lane.SENDING
            ]
            self._resolver.resolve_queued(work, entity, items, answer.record, answer.version)
            if gone and row is not None:
                mark_lost(work.tx, entity, item.record, row.state, by_write=True)
            if has_newer_deferred(row, answer.record, answer):
                mark_stale(work.tx, entity, item.record)

    def _delivered_before(self, attempt: Attempt) -> None:
        """An earlier attempt was processed: settles the item as delivered.

        The record in the answer may contain later changes of others, on which the items behind this
        one are not based. So it is applied as a remote change.
        """
        work, entity, item, answer = attempt.work, attempt.entity, attempt.item, attempt.answer
        alone = len(items_of(work.tx, entity.name, item.record)) == 1
        if answer.record is None or alone or not entity.replica:
            self._delivered(attempt)
            return
        row = work.tx.get(RECORDS, entity.name, item.record)
        without_record = attrs.evolve(answer, record=None, version=None)
        self._delivered(attrs.evolve(attempt, answer=without_record))
        self._remote_changes.apply(
            work,
            entity,
            item.record if answer.server_id is None else str(answer.server_id),
            answer.record,
            answer.version,
            began=work.tx.last_number(),
        )
        if has_newer_deferred(row, answer.record, answer):
            mark_stale(work.tx, entity, item.record)

    def _wait_for_first_attempt(self, attempt: Attempt) -> None:
        """The server may still process the first attempt: delays the item, spends no retry."""
        item, tries = attempt.item, attempt.item.in_progress_retries
        began = attempt.work.now if item.first_attempt is None else item.first_attempt
        waited_s = attempt.work.now - began
        if tries >= _MIN_STILL_RUNNING and waited_s >= self._policy.give_up_after:
            self._fail_unknown(attempt)
            return
        self._wait(attempt, attempt.after())

    def _wait(self, attempt: Attempt, changed: Item) -> None:
        """Delays the item until another attempt may be settled; spends no retry."""
        tries = attempt.item.in_progress_retries
        changed = changed._replace(in_progress_retries=tries + 1)
        attempt.delay(changed, self._policy.delay_s(tries, attempt.answer.retry_after))
