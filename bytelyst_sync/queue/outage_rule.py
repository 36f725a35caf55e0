"""The outage rule: decides whether a write that got no real answer spends a retry of its item, or
whether the server is down (see ``rules/outage.py``). Runs inside a storage transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.rules.classify import FAILURES, Verdict
from bytelyst_sync.rules.outage import (
    ORIGIN,
    Health,
    after_answer,
    after_failure,
    another_answered,
)
from bytelyst_sync.state.transitions import PENDING, change
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["FAILED_BY_OUTAGE", "REQUEUED_AFTER_OUTAGE", "Judgement", "OutageRule", "Outages"]

Outages = dict[str, Health]
"""The health of the origin and of entities with recent failures, by name."""

FAILED_BY_OUTAGE, REQUEUED_AFTER_OUTAGE = 1, 2
_REQUEUED_AT_ONCE = 500


@attrs.frozen(kw_only=True)
class Judgement:
    """What one failed attempt means for its item.

    ``spends``: it spends a retry. ``gives_up``: the outage has lasted for ``give_up_after``.
    ``delay_s``: seconds until the next attempt. ``number``: the store's number at the failure.
    """

    spends: bool
    gives_up: bool
    delay_s: float
    number: int
    outage_began: float


class OutageRule:
    """Judges answers in the order in which they arrived. Holds no state but the policy."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy

    def judge(
        self, work: UnitOfWork, outages: Outages, sent: Sequence[tuple[Claim, AttemptResult]]
    ) -> dict[int, Judgement]:
        """Updates ``outages`` from some answers; returns a judgement for each failure, by the
        ``seq`` of its item.
        """
        before = dict(outages)
        judgements: dict[int, Judgement] = {}
        for claim, answer in sent:
            judgement = self._observe(work, outages, claim.item, answer)
            if judgement is not None:
                judgements[claim.item.seq] = judgement
                # all failures in one call count as one: they were concurrent, or one batch
                for name in (claim.item.entity, ORIGIN):
                    most = 1 + (before[name].failures if name in before else 0)
                    if name in outages and outages[name].failures > most:
                        outages[name] = attrs.evolve(outages[name], failures=most)
        return judgements

    def _observe(
        self, work: UnitOfWork, outages: Outages, item: Item, answer: AttemptResult
    ) -> Judgement | None:
        if answer.meaning in FAILURES or answer.meaning is Verdict.PORTAL:
            return self._failed(work, outages, item, answer)
        if outages and answer.proves_api:
            number = work.tx.next_number()
            for scope in (item.entity, ORIGIN):
                if scope in outages:
                    outages[scope] = after_answer(outages[scope], item.record, number)
        return None

    def _failed(
        self, work: UnitOfWork, outages: Outages, item: Item, answer: AttemptResult
    ) -> Judgement:
        policy = self._policy
        health = outages.get(item.entity) or Health()
        spends = answer.meaning in FAILURES and another_answered(
            health, item.record, item.attempted
        )
        after = after_failure(health, item.record, work.now, longest_gap_s=policy.max_retry_delay)
        began = after.outage_s if item.outage_began is None else item.outage_began
        began = min(began, after.outage_s)
        if spends or answer.meaning is Verdict.PORTAL:
            # other records get answers, or the network is missing: the entity is not down
            after = attrs.evolve(after, failures=health.failures)
            delay_s = policy.delay_s(item.retries, answer.retry_after)
        else:
            delay_s = policy.delay_s(after.failures - 1, answer.retry_after)
            asked = answer.from_api and delay_s == answer.retry_after
            scope = ORIGIN if answer.meaning is Verdict.OUTAGE else item.entity
            if scope == ORIGIN:
                whole = outages.get(ORIGIN) or Health()
                whole = after_failure(whole, item.record, work.now, longest_gap_s=0.0)
                outages[ORIGIN] = attrs.evolve(whole, pause_s=delay_s, asked=asked)
            else:
                after = attrs.evolve(after, pause_s=delay_s, asked=asked)
        outages[item.entity] = after
        return Judgement(
            spends=spends,
            gives_up=not spends and after.outage_s - began >= policy.give_up_after,
            delay_s=delay_s,
            number=work.tx.next_number(),
            outage_began=began,
        )

    def finish(
        self, work: UnitOfWork, before: Outages, outages: Outages, delivered: Sequence[str]
    ) -> None:
        """Ends outages: makes the items that waited ready, requeues those that failed because of an
        outage, and forgets the health of entities that have nothing queued.

        ``before`` is ``outages`` before these answers; ``delivered`` names entities.
        """
        for name in _recovered(before, outages):
            _release(work, name)
        for name in delivered:
            if name in outages and outages[name].gave_up:
                left = _requeue(work, name)
                outages[name] = attrs.evolve(outages[name], gave_up=left)
        for name, health in list(outages.items()):
            if health.failures or health.gave_up:
                continue
            lanes = (*PENDING, Lane.SENDING)
            if name == ORIGIN or not any(work.tx.count(ITEMS, lane, name) for lane in lanes):
                del outages[name]


def _recovered(before: Outages, after: Outages) -> list[str]:
    """The entities that were down and are up again. One failure alone is no outage of an entity."""
    up = [name for name, health in before.items() if health.failures and not after[name].failures]
    if ORIGIN in up:
        return [name for name in after if name != ORIGIN]
    return [name for name in up if before[name].failures > 1]


def _release(work: UnitOfWork, entity: str) -> None:
    for item in list(work.tx.scan(ITEMS, "lane", (Lane.DELAYED, entity), limit=_REQUEUED_AT_ONCE)):
        if item.outage_began is not None and not item.retries:
            change(work.tx, item, item._replace(lane=Lane.READY, due=None, delay=None))


def _requeue(work: UnitOfWork, entity: str) -> bool:
    """Requeues items that failed because of an outage, each once and under the same key.

    Returns whether more of them are left.
    """
    requeued = 0
    for item in list(work.tx.scan(ITEMS, "lane", (Lane.FAILED, entity))):
        if item.outage != FAILED_BY_OUTAGE:
            continue
        if requeued == _REQUEUED_AT_ONCE:
            return True
        requeued += 1
        again = item._replace(
            lane=Lane.READY,
            retries=0,
            attempted=None,
            outage_began=None,
            outage=REQUEUED_AFTER_OUTAGE,
        )
        change(work.tx, item, again)
    return False
