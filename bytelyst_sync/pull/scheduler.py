"""Pulls in the background: pulls at an interval, pulls requested by a callback, and records that
must be read again.

Of the processes that share a store, one has the right to pull, and does all of this but what a
callback requests. The others ask for the right from time to time. Who made the pulls of an interval
keeps the right until the next ones are due.

After a failure, the pulls at an interval back off, each entity by itself. A successful pull by the
program ends the backoff.

Who owns what. The pulls run in a separate thread; neither a push nor a delivery waits for it.
The thread lives while there is something to do or to wait for. ``_lock`` guards ``_requested``,
``_retries`` and what ``background_thread.py`` names, for the length of an assignment; the network,
the store and user code are used outside of it. The worker's thread calls
``start_due`` at the end of each round; any thread may call ``request``, ``end_backoff``, ``wake``
and ``close``. A pull can be interrupted between two requests or commits, so ``close`` waits for one
of them at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress

from bytelyst_sync.background_thread import BackgroundThread
from bytelyst_sync.clock import Clock
from bytelyst_sync.config.entity import Entities
from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.errors import EngineClosedError
from bytelyst_sync.pull.monitor import PullMonitor
from bytelyst_sync.pull.puller import Puller
from bytelyst_sync.pull.stale_records import StaleRecords
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["PullScheduler"]

logger = SafeLogger("bytelyst_sync.puller")

_TIMEOUT_S = 3600.0
_AFTER_CRASH_S = 30.0
_ASK_AGAIN_S = 20.0
"""How long after another process was found to have the right to pull it is asked for again."""
_LOOK_AGAIN_S = 60.0
"""While no request may be sent, the thread waits until the worker wakes it, or for this time."""


class PullScheduler(BackgroundThread):
    """Pulls of everything each ``pull_interval``, and pulls that callbacks request."""

    def __init__(
        self,
        *,
        puller: Puller,
        stale_records: StaleRecords,
        entities: Entities,
        clock: Clock,
        config: SyncConfig,
        monitor: PullMonitor,
    ) -> None:
        super().__init__("bytelyst-sync-pull")
        self._puller = puller
        self._stale_records = stale_records
        self._entities = entities
        self._clock = clock
        self._interval = interval = config.pull_interval
        self._retry_delay = config.retry_delay
        self._max_retry_delay = config.max_retry_delay
        self._monitor = monitor
        self._requested: dict[str, bool] = {}
        self._retries: dict[str, tuple[int, float]] = {}
        """How often in a row the pull of an entity failed, and when it is pulled again."""
        self._pull_failed = False
        self._status_restored = False
        now = clock.monotonic()
        self._not_before = now
        self._ask_at = now
        """When to ask for the right to pull again."""
        self._next_pull = now + (interval or 0.0)
        self._next_reconcile = {
            name: now + each.config.reconcile_interval
            for name, each in entities.items()
            if each.config.reconcile_interval is not None
        }

    @property
    def trouble(self) -> bool:
        """Whether the latest work here failed, for another reason than the network."""
        return self._pull_failed or bool(self._retries) or self._stale_records.trouble

    # --- from any thread

    def request(self, names: list[str], *, full: bool = False) -> None:
        """Requests a pull in the background."""
        with self._lock:
            self._add(names, full=full)
        self.start()

    def _add(self, names: list[str], *, full: bool) -> None:
        # a method of its own: a loop that is interrupted in a ``with`` may leave a lock locked
        for name in names:
            self._requested[name] = self._requested.get(name, False) or full

    def end_backoff(self, names: Iterable[str]) -> None:
        """Ends the backoff of these entities: their pull succeeded."""
        with self._lock:
            for name in names:
                self._retries.pop(name, None)

    def next_attempt_s(self) -> float | None:
        """Seconds until a pull or a reading that failed is tried again; ``None``: none failed."""
        now, interval = self._clock.monotonic(), self._interval
        with self._lock:
            due = [at for _, at in self._retries.values()] if interval else []
        reading = self._stale_records.retry_s()
        waits = [] if reading is None else [reading]
        if due and interval:
            # it is made by the first regular pull after that
            rounds = math.ceil(max(0.0, min(due) - self._next_pull) / interval)
            waits.append(self._next_pull + rounds * interval - now)
        return max(0.0, min(waits)) if waits else None

    def start(self) -> None:
        """Wakes the thread, or starts it."""
        self.wake()
        with suppress(RuntimeError):  # too many threads, or the interpreter ends: the next round
            super().start()  # of the worker tries again

    # --- in the worker's thread

    def start_timers(self) -> None:
        """Starts the thread if there are pulls at intervals: deliveries must not delay them."""
        if not self.running and (self._interval is not None or self._next_reconcile):
            self.start()

    def start_due(self) -> None:
        """Starts the thread if there is something to do or to wait for."""
        if not self._status_restored:
            self._puller.restore_status()
            self._status_restored = True
        if self.running:
            self.wake()
        elif self._wait_s() is not None:
            self.start()

    def _wait_s(self) -> float | None:
        """Seconds until something is due; ``None``: nothing will be."""
        now = self._clock.monotonic()
        waits = [] if self._interval is None else [self._next_pull - now]
        waits += [each - now for each in self._next_reconcile.values()]
        stale = self._stale_records.wait_s()
        waits += [] if stale is None else [stale]
        waits = [max(each, self._ask_at - now) for each in waits]
        waits += [0.0] if self._requested else []
        return max(0.0, self._not_before - now, min(waits)) if waits else None

    # --- in the thread of pulls

    def _run(self) -> None:
        try:
            while not self.closing:
                self._clear()
                wait_s = self._guarded_round()
                if wait_s is not None:
                    self._wait(wait_s)
                    continue
                # before the end: the next thread, which may begin at once, takes it again
                self._monitor.right.release()
                if self._end_unless_woken():
                    return
        except BaseException:
            self._monitor.right.release()
            raise
        self._monitor.right.release()

    def _guarded_round(self) -> float | None:
        """Does what is due; returns seconds to wait, ``None``: there is nothing to wait for."""
        try:
            if not self._monitor.allowed():
                return _LOOK_AGAIN_S
            wait_s = self._wait_s()
            if wait_s == 0.0:
                self._monitor.finished(self._work())
                wait_s = self._wait_s()
        except EngineClosedError:
            return None
        except Exception as error:  # noqa: BLE001 - the next one goes on, whatever happened
            self._not_before = self._clock.monotonic() + _AFTER_CRASH_S
            self._pull_failed = True
            self._monitor.note(str(error) or type(error).__name__)
            logger.failure(error, "a pull in the background failed")
            self._monitor.finished(False)
            return _AFTER_CRASH_S
        return wait_s

    def _work(self) -> bool:
        """Does what is due; returns whether there were pulls and they succeeded."""
        well = False
        for names, full in self._due():
            result = self._puller.pull(names, _TIMEOUT_S, full=full, background=True)
            with self._lock:
                self._add(result.remaining, full=False)
            if not result.offline:
                self.end_backoff(set(names) - result.failed - set(result.remaining))
            self._back_off(result.failed)
            self._pull_failed = result.errors > 0 and not result.offline
            well = result.errors == 0 and not result.remaining
        if not self._stopped() and self._leads(0.0):
            self._stale_records.read(self._stopped)
        return well

    def _leads(self, span_s: float) -> bool:
        """Whether this process has the right to pull, which it then keeps for so long."""
        if self._monitor.right.take(span_s):
            return True
        self._ask_at = self._clock.monotonic() + _ASK_AGAIN_S
        return False

    def _back_off(self, names: Iterable[str]) -> None:
        now, interval = self._clock.monotonic(), self._interval or 0.0
        with self._lock:
            for name in names:
                failures = self._retries.get(name, (0, now))[0] + 1
                growing = max(interval, self._retry_delay) * 2.0 ** min(failures, 60)
                span = min(self._max_retry_delay, growing)
                delay = max(interval, span * (0.5 + self._monitor.random() / 2))
                self._retries[name] = failures, now + delay

    def _stopped(self) -> bool:
        return self.closing or not self._monitor.allowed()

    def _due(self) -> list[tuple[list[str], bool]]:
        now = self._clock.monotonic()
        with self._lock:
            requested, self._requested = self._requested, {}
        ends = [
            *self._next_reconcile.values(),
            *([] if self._interval is None else [self._next_pull]),
        ]
        if ends and min(ends) <= now and self._leads(self._shortest_interval()):
            self._add_regular(requested, now)
        listed = [name for name, full in requested.items() if full]
        others = [name for name, full in requested.items() if not full]
        return [(names, full) for names, full in ((listed, True), (others, False)) if names]

    def _shortest_interval(self) -> float:
        reconciled = [
            self._entities[name].config.reconcile_interval for name in self._next_reconcile
        ]
        return min(each for each in (self._interval, *reconciled) if each is not None)

    def _add_regular(self, requested: dict[str, bool], now: float) -> None:
        """Adds the pulls and the listings that are due by their intervals."""
        if self._interval is not None and now >= self._next_pull:
            self._next_pull = now + self._interval
            for name in self._entities:
                if self._retries.get(name, (0, now))[1] <= now:
                    requested.setdefault(name, False)
        for name, due in self._next_reconcile.items():
            if now >= due:
                interval = self._entities[name].config.reconcile_interval
                self._next_reconcile[name] = now + (interval or 0.0)
                requested[name] = True
