"""Counts what an engine does, and tells its ``telemetry`` of it.

Who owns what: ``_lock`` guards the numbers, for the length of a few additions. The user's callable
runs on the notifier's thread. One object for an engine, from its making to its end.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable

from bytelyst_sync.clock import Clock, as_datetime
from bytelyst_sync.flows.notifier import Notifier, Subscribers
from bytelyst_sync.flows.parcels import Outcome, Parcel
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.telemetry import SyncStats, TelemetryEvent

__all__ = ["Observer"]

_MOST_WAITING = 10_000
_OF_COMMIT = ("pushed", "coalesced", "pulled")


class Observer:
    """Hears from the flows what happened. Every method may be called from any thread."""

    def __init__(self, telemetry: Callable[[TelemetryEvent], object] | None, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._since = clock.wall()
        self._waiting = 0
        self._dropped = 0
        self._notifier = Notifier("bytelyst-sync-telemetry")
        self._subscribers = Subscribers("telemetry")
        if telemetry is not None:
            self._subscribers.add(telemetry)

    def committed(self, effects: Effects, seconds: float) -> None:
        """A transaction did this, and took so long."""
        if not effects.events:
            return
        with self._lock:
            for (name, *_), (count, spent) in effects.events.items():
                self._counts[name] += count
                self._seconds[name] += spent
        if not self._subscribers:
            return
        for (name, entity, operation, status), (count, spent) in effects.events.items():
            duration = seconds if name in _OF_COMMIT else None
            if name == "delivered":
                duration = spent / count
            self._tell(
                TelemetryEvent(
                    name=name,
                    time=as_datetime(self._clock.wall()),
                    entity=entity,
                    operation=operation,
                    count=count,
                    duration=duration,
                    status=status,
                )
            )

    def sent(self, parcel: Parcel, outcome: Outcome, seconds: float) -> None:
        """A request with these operations had its answer."""
        with self._lock:
            self._counts["requests"] += 1
            self._counts["sent"] += len(parcel)
            self._seconds["requests"] += seconds
        if not self._subscribers:
            return
        item = parcel[0].item
        answer = outcome.sent[0][1] if outcome.sent else None
        alone = len(parcel) == 1
        self._tell(
            TelemetryEvent(
                name="sent",
                time=as_datetime(self._clock.wall()),
                entity=item.entity,
                operation=item.operation if alone else None,
                count=len(parcel),
                duration=seconds,
                status=None if answer is None or not alone else answer.status,
                outcome="split" if answer is None else answer.meaning.name.lower(),
            )
        )

    def status(self, status: str, seconds: float) -> None:
        """The engine's status changed; the one before lasted so long."""
        if self._subscribers:
            now = as_datetime(self._clock.wall())
            event = TelemetryEvent(name="status", time=now, outcome=status, duration=seconds)
            self._tell(event)

    def _tell(self, event: TelemetryEvent) -> None:
        with self._lock:
            if self._waiting >= _MOST_WAITING:
                self._dropped += 1
                return
            self._waiting += 1

        def note() -> None:
            with self._lock:
                self._waiting -= 1
            self._subscribers.tell(event)

        self._notifier.post(note)

    def stats(self, queued: int, failed: int, conflicts: int) -> SyncStats:
        """The numbers so far."""
        with self._lock:
            counts, seconds, dropped = self._counts.copy(), self._seconds.copy(), self._dropped
        return SyncStats(
            since=as_datetime(self._since),
            pushed=counts["pushed"],
            coalesced=counts["coalesced"],
            requests=counts["requests"],
            sent=counts["sent"],
            delivered=counts["delivered"],
            retried=counts["retried"],
            failed=counts["failed"],
            conflicts=counts["conflict"],
            pulled=counts["pulled"],
            request_duration=_mean(seconds["requests"], counts["requests"]),
            delivery_duration=_mean(seconds["delivered"], counts["delivered"]),
            queue_length=queued,
            failed_now=failed,
            conflicts_now=conflicts,
            dropped_events=dropped,
        )

    def close(self, timeout: float) -> bool:
        """Tells what is left; true if that was done in time."""
        return self._notifier.close(timeout)

    def after_fork(self) -> None:
        """In a forked child: the numbers go on from here, the thread stayed with the parent."""
        self._lock = threading.Lock()
        self._waiting = 0
        self._notifier.after_fork()
        self._subscribers.after_fork()


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
