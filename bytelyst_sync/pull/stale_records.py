"""Reads records again whose stored state may be old: after an answer without a state, or a page
that came too late.

After a failure, each record backs off by itself, and all of them while the server is down.

Who owns what: a pull by the program and the background thread read records. The one that reads
holds ``_reading``, also during its requests. The program waits for it, the background thread does
not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from bytelyst_sync.clock import Clock
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.pull.monitor import PullMonitor
from bytelyst_sync.pull.sweep import Sweep
from bytelyst_sync.replica.server_state import mark_stale
from bytelyst_sync.rules.classify import FAILURES, Verdict
from bytelyst_sync.state.unit_of_work import StateStore
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["StaleRecords"]

_AT_ONCE = 20
_FIRST_RETRY_S = 5.0
_NOT_THERE = (Verdict.OFFLINE, Verdict.PORTAL, Verdict.BUSY, Verdict.CREDENTIALS)
_ALONE_FAILURES = 2
"""After more failures in a row than this, the server has a problem, not only one record."""


class StaleRecords:
    """Reads the records that are marked to be read again. ``max_retry_delay`` is in seconds."""

    def __init__(
        self,
        *,
        state: StateStore,
        codecs: Mapping[str, EntityCodec],
        sweep: Sweep,
        clock: Clock,
        monitor: PullMonitor,
        max_retry_delay: float,
    ) -> None:
        self._state = state
        self._codecs = {name: each for name, each in codecs.items() if each.entity.replica}
        self._sweep = sweep
        self._clock = clock
        self._monitor = monitor
        self._max_retry_delay = max_retry_delay
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        """By record: how many reads failed in a row, and when it is read again."""
        self._pauses = 0
        self._server_failures = 0
        self._next = 0.0
        self._reading = threading.Lock()

    @property
    def trouble(self) -> bool:
        """Whether some record could not be read."""
        return bool(self._failures)

    def retry_s(self) -> float | None:
        """Seconds until a record that could not be read is read again; ``None``: there is none.
        From any thread.
        """
        due = [at for _, at in list(self._failures.values())]
        return max(self._next, min(due)) - self._clock.monotonic() if due else None

    def wait_s(self) -> float | None:
        """Seconds until a record can be read; ``None``: there is none."""
        now = self._clock.monotonic()
        rows = self._state.read(self._first_of_each)
        if not rows:
            self._forget()
            return None
        due = [self._failures.get(each, (0, now))[1] for each in rows]
        return max(0.0, max(self._next, min(due)) - now)

    def _forget(self) -> None:
        for name in {name for name, _ in self._failures}:
            self._monitor.fault("reading", name, None)
        self._failures.clear()

    def read(self, interrupted: Callable[[], bool], wait_s: float = 0.0) -> None:
        """Reads the records that are due. Waits this long for another thread that reads some."""
        if not self._reading.acquire(timeout=wait_s):
            return
        try:
            while (due := self._due()) is not None and not interrupted():
                self._read_one(self._codecs[due[0]], due[1])
        finally:
            self._reading.release()

    def _due(self) -> tuple[str, str] | None:
        now = self._clock.monotonic()
        if now < self._next:
            return None
        for each in self._state.read(self._first_of_each):
            if self._failures.get(each, (0, now))[1] <= now:
                return each
        return None

    def _first_of_each(self, tx: Reader) -> list[tuple[str, str]]:
        return [
            (name, row.record)
            for name in self._codecs
            for row in tx.scan(RECORDS, "needs_refresh", (name,), limit=_AT_ONCE)
        ]

    def _read_one(self, codec: EntityCodec, key: str) -> None:
        answer, effects = self._sweep.read(codec, key)
        now = self._clock.monotonic()
        if answer.meaning in _NOT_THERE:
            self._next = now + self._delay(self._pauses)
            self._pauses += 1
            self._monitor.note(str(answer.error))
            if answer.meaning in (Verdict.OFFLINE, Verdict.PORTAL):
                self._monitor.network(False, answer.meaning is Verdict.PORTAL)
            return
        down = answer.meaning in FAILURES
        self._server_failures = self._server_failures + 1 if down else 0
        self._pauses = self._pauses if down else 0
        if self._server_failures >= _ALONE_FAILURES:
            self._next = now + self._delay(self._pauses)
            self._pauses += 1
        if effects is not None:
            self._failures.pop((codec.name, key), None)
            if all(name != codec.name for name, _ in self._failures):
                self._monitor.fault("reading", codec.name, None)
            return
        failed = self._failures.get((codec.name, key), (0, 0.0))[0]
        self._failures[codec.name, key] = (failed + 1, now + self._delay(failed))
        # the other records are read before this one
        self._state.write(lambda work: mark_stale(work.tx, codec.entity, key))
        self._monitor.fault("reading", codec.name, str(answer.error))

    def _delay(self, failed: int) -> float:
        span = min(self._max_retry_delay, _FIRST_RETRY_S * 2.0 ** min(failed, 60))
        return span * (0.5 + self._monitor.random() / 2)
