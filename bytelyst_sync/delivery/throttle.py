"""Throttling: pauses that the server asked for, and outages of the server.

Who owns what: the worker's thread owns everything but the pause that the server asked for and the
offset of its clock, which pulls and reads in other threads report too; ``_lock`` guards that pause.
Pauses and outages are kept in the store, so that a restart or another process honours them.
"""

from __future__ import annotations

import json
import threading

from bytelyst_sync.clock import Clock
from bytelyst_sync.http.transport import Response
from bytelyst_sync.protocol.responses import AttemptResult, decode_response, requested_pauses
from bytelyst_sync.queue.claims import OPEN_GATE, Gate
from bytelyst_sync.queue.outage_rule import Outages
from bytelyst_sync.rules.backoff import MAX_RETRY_AFTER_S, RetryPolicy
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.clock_offset import ClockOffset
from bytelyst_sync.rules.outage import ORIGIN, Health
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import META, Meta

__all__ = ["Throttle"]

_PAUSE, _OUTAGES = "pause", "outages"
_UP = Health()


class Throttle:
    """Says for how long nothing may be sent, and which entities send one item at a time."""

    def __init__(self, clock: Clock, policy: RetryPolicy) -> None:
        self._clock = clock
        self._policy = policy
        self._lock = threading.Lock()
        self._asked_until = 0.0
        """Until when the server wants no request, on the monotonic clock."""
        self._own_until = 0.0
        """Until when the engine itself pauses after a 429 without ``Retry-After``."""
        self._refusals = 0
        self._saved = 0.0
        self._kept: str | None = None
        """The pause in the store, as last written or read here."""
        self._kept_outages: str | None = None
        self._resume_at: dict[str, float] = {}
        """When each scope that is down is tried again, on the monotonic clock."""
        self._cut: set[str] = set()
        """Scopes whose pause a flush has cut short: each may send one request."""
        self.outages: Outages = {}
        self.offset = ClockOffset()

    # --- what answers say

    def observe(self, answer: AttemptResult) -> None:
        """Takes over what the answer to a write says of the server."""
        self._cut.discard(ORIGIN)
        if answer.meaning is Verdict.BUSY:
            wait = self._policy.delay_s(self._refusals, answer.retry_after)
            if self.remaining() <= 0:
                self._refusals += 1
            if answer.retry_after is not None and answer.from_api:
                self._extend(wait)
            else:
                self._own_until = self._clock.monotonic() + wait
        elif answer.meaning is Verdict.DELIVERED:
            self._refusals = 0
        if answer.backoff is not None:
            self._extend(answer.backoff)

    def observe_response(self, response: Response) -> None:
        """The same for the answer to a pull, a read or a batch. From any thread: it only prolongs
        the pause.
        """
        busy = response.status in (429, 503)
        if not busy and "backoff" not in response.headers:
            return
        longest_s = self._policy.max_retry_delay
        retry_after, backoff = requested_pauses(
            decode_response(response), self._clock.wall(), longest_s
        )
        for wait in (retry_after if busy else None, backoff):
            if wait is not None:
                self._extend(wait)

    def learn_clock(self, date: float, sent: float, received: float) -> None:
        """Takes over a ``Date`` header. From any thread: the value is replaced as a whole, and it
        does no harm if an update by another thread is lost.
        """
        self.offset = self.offset.observed(date, sent, received)

    def adopt(self, outages: Outages, text: str | None) -> None:
        """Takes over the outages after the commit of ``save``; a new pause begins now."""
        self._saved = self._asked_until
        self._kept_outages = text
        if not outages and not self.outages:
            return
        for scope, health in outages.items():
            if health is not self.outages.get(scope):
                self._cut.discard(scope)
                self._resume_at[scope] = self._clock.monotonic() + health.pause_s
        self.outages = outages

    # --- what may be sent

    def remaining(self) -> float:
        """Seconds for which nothing may be sent."""
        left = max(self._asked_until, self._own_until) - self._clock.monotonic()
        whole = self.outages.get(ORIGIN)
        if whole is not None and whole.failures:
            left = max(left, self._paused_s(ORIGIN, whole))
        return max(0.0, left)

    def pauses(self) -> tuple[float, float]:
        """Seconds for which nothing is sent, and for which some entity sends nothing (0: none).
        From any thread.
        """
        return self.remaining(), self.next_end() or 0.0

    def next_end(self) -> float | None:
        """Seconds until the pause of an entity ends; ``None`` if no entity pauses."""
        ends = [
            self._paused_s(scope, health)
            for scope, health in self.outages.items()
            if scope != ORIGIN and health.failures
        ]
        return min((each for each in ends if each > 0), default=None)

    def gate(self, outages: Outages | None = None) -> Gate | None:
        """What may be claimed now, or once these outages are adopted; ``None``: nothing."""
        outages = self.outages if outages is None else outages
        if not outages and not self._cut:
            return OPEN_GATE
        closed: set[str] = set()
        single: dict[str, str | None] = {}
        for scope, health in outages.items():
            if not health.failures:
                continue
            paused = self._paused_s(scope, health) > 0
            if scope == ORIGIN:
                if paused:
                    return None
            elif not paused:
                single[scope] = None
            elif health.failures == 1:
                # the failure may concern that record alone: another record is tried at once
                single[scope] = health.record
            else:
                closed.add(scope)
        down = outages.get(ORIGIN, _UP).failures > 0
        return Gate(
            closed=frozenset(closed),
            single=single,
            early=frozenset((self._cut - {ORIGIN}) & outages.keys()),
            one=down or ORIGIN in self._cut,
        )

    def _paused_s(self, scope: str, health: Health) -> float:
        """Seconds for which a scope that is down still pauses.

        The wall clock and the monotonic clock both count, and the smaller remainder decides: a
        clock that stands still or is set back prolongs no pause.
        """
        if health is not self.outages.get(scope):
            return health.pause_s
        left = self._resume_at.get(scope, 0.0) - self._clock.monotonic()
        end = (health.failed_at or 0.0) + health.pause_s
        return min(left, end - self._clock.wall())

    @property
    def is_outage(self) -> bool:
        """Whether an entity or the origin is down."""
        return any(health.failures for health in self.outages.values())

    def cut_short(self) -> None:
        """Ends the engine's own pauses for one request each, because the user flushed or resumed.
        Pauses that the server asked for stay.
        """
        now = self._clock.monotonic()
        if self._own_until > now:
            self._own_until = now
            self._cut.add(ORIGIN)
        for scope, health in self.outages.items():
            if health.failures and not health.asked:
                self._cut.add(scope)
                self._resume_at[scope] = now

    def _extend(self, wait: float) -> None:
        until = self._clock.monotonic() + wait
        with self._lock:
            self._asked_until = max(until, self._asked_until)

    # --- in the store

    def save(self, tx: Transaction, outages: Outages) -> str | None:
        """Stores the pause and the outages if they have changed; returns the text of the outages,
        for ``adopt`` after the commit.
        """
        span = self._asked_until - self._clock.monotonic()
        if self._asked_until != self._saved and span > 0:
            self._kept = json.dumps({"until": self._clock.wall() + span, "span": span})
            _put(tx, _PAUSE, self._kept)
        if not outages and self._kept_outages is None:
            return None
        text = json.dumps({name: each.as_json() for name, each in outages.items()})
        if text != self._kept_outages:
            _put(tx, _OUTAGES, text)
        return text

    def load(self, tx: Reader) -> bool:
        """Takes over what another process, or an earlier run, has stored; true if that makes the
        pause longer.

        A clock set back cannot make a pause longer than it was, nor begin again what was taken
        over.
        """
        stored = tx.fetch(META, (), (_OUTAGES, _PAUSE))
        row = stored.get(_OUTAGES)
        if row is not None and row.value != self._kept_outages:
            self._kept_outages = row.value
            outages = json.loads(row.value)
            self._take_over({name: Health.from_json(each) for name, each in outages.items()})
        row = stored.get(_PAUSE)
        if row is None or row.value == self._kept:
            return False
        self._kept = row.value
        kept = json.loads(row.value)
        wait = min(kept["until"] - self._clock.wall(), kept["span"], MAX_RETRY_AFTER_S)
        if wait <= self._asked_until - self._clock.monotonic() or wait <= 0:
            return False
        self._extend(wait)
        self._saved = self._asked_until
        return True

    def _take_over(self, outages: Outages) -> None:
        self.outages = outages
        wall, now = self._clock.wall(), self._clock.monotonic()
        self._resume_at = {
            scope: now + min((health.failed_at or 0.0) + health.pause_s - wall, health.pause_s)
            for scope, health in outages.items()
        }


def _put(tx: Transaction, name: str, value: str) -> None:
    old = tx.get(META, name)
    if old is None:
        tx.insert(META, Meta(name, value))
    else:
        tx.replace(META, old, Meta(name, value))
