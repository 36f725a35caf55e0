"""The server as a whole: when it wants to be left alone, and what its clock says.

Owned by the worker's thread, but for what pulls in other threads hear. The pause is kept in the
store, so that a restart or another process honours it too.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from bytelyst_sync.clock import Clock
from bytelyst_sync.rules.backoff import MAX_RETRY_AFTER_S, backoff, parse_retry_after
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.rules.clock_offset import ClockOffset
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import META, Meta
from bytelyst_sync.transport.answers import Answer
from bytelyst_sync.transport.base import Response

__all__ = ["OriginPause"]

_NAME = "pause"


class OriginPause:
    """How long nothing may be sent because the server is busy, and the offset of its clock."""

    def __init__(
        self,
        clock: Clock,
        random: Callable[[], float],
        *,
        retry_delay: float,
        max_retry_delay: float,
        told: Callable[[float | None], None],
    ) -> None:
        self._clock = clock
        self._random = random
        self._retry_delay = retry_delay
        self._max_retry_delay = max_retry_delay
        self._told = told
        self._until = 0.0
        self._refusals = 0
        self._saved = 0.0
        self._kept: str | None = None
        """What the store has kept of it, as last written or read here."""
        self.offset = ClockOffset()

    def hear(self, answer: Answer) -> None:
        """Takes in what an answer says about the server."""
        if answer.meaning is Meaning.BUSY:
            wait = backoff(
                self._refusals,
                base=self._retry_delay,
                ceiling=self._max_retry_delay,
                random=self._random,
                floor=answer.retry_after,
            )
            if self.remaining() <= 0:
                self._refusals += 1
            self._extend(wait)
        elif answer.meaning is Meaning.DELIVERED:
            self._refusals = 0
        if answer.backoff is not None:
            self._extend(answer.backoff)

    def hear_of(self, response: Response) -> None:
        """The same for the answer to a pull, a reading or a batch. From any thread: it only
        prolongs.
        """
        now = self._clock.wall()
        waits = [parse_retry_after(response.headers.get("backoff"), now)]
        if response.status in (429, 503):
            waits.append(parse_retry_after(response.headers.get("retry-after"), now))
        for wait in waits:
            if wait is not None:
                self._extend(wait)

    def learn_clock(self, low: float, high: float) -> None:
        """A ``Date`` header bounds what the server's clock is ahead. From any thread: the value
        is replaced as a whole, and losing one bound to another thread does no harm.
        """
        self.offset = self.offset.narrowed(low, high)

    def remaining(self) -> float:
        """Seconds that nothing may be sent for."""
        return max(0.0, self._until - self._clock.monotonic())

    def _extend(self, wait: float) -> None:
        until = self._clock.monotonic() + wait
        if until > self._until:
            self._until = until
            self._told(self._clock.wall() + wait)

    def save(self, tx: Transaction) -> None:
        """Keeps the pause in the store if it is new."""
        span = self.remaining()
        if self._until == self._saved or span <= 0:
            return
        value = json.dumps({"until": self._clock.wall() + span, "span": span})
        self._kept = value
        old = tx.get(META, _NAME)
        if old is None:
            tx.insert(META, Meta(_NAME, value))
        else:
            tx.replace(META, old, Meta(_NAME, value))

    def saved(self) -> None:
        """The commit of ``save`` is done."""
        self._saved = self._until

    def load(self, tx: Transaction) -> None:
        """Takes over a pause that another process, or an earlier run, was asked for.

        A clock set back cannot make it longer than it was, nor begin again what was taken over.
        """
        row = tx.get(META, _NAME)
        if row is None or row.value == self._kept:
            return
        self._kept = row.value
        kept = json.loads(row.value)
        wait = min(kept["until"] - self._clock.wall(), kept["span"], MAX_RETRY_AFTER_S)
        until = self._clock.monotonic() + wait
        if wait > 0 and until > self._until:
            self._until = self._saved = until
            self._told(self._clock.wall() + wait)
