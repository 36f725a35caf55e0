"""Counts what an engine does, and tells its ``telemetry`` of it.

Who owns what: ``_lock`` guards the numbers, for the length of a few additions. The user's callable
runs on the notifier's thread. One object for an engine, from its making to its end.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from bytelyst_sync.clock import Clock, as_datetime
from bytelyst_sync.flows.notifier import Notifier, Subscribers
from bytelyst_sync.flows.parcels import Outcome
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.telemetry import SyncStats, TelemetryEvent
from bytelyst_sync.transport.answers import Answer

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
        self._closed = False
        self._notifier = Notifier("bytelyst-sync-telemetry")
        self._subscribers = Subscribers("telemetry")
        if telemetry is not None:
            self._subscribers.add(telemetry)

    def committed(self, effects: Effects, seconds: float) -> None:
        """A transaction did this, and took so long."""
        if not effects.events:
            return
        with self._lock:
            self._add_up(effects)
        if not self._subscribers.callbacks:
            return
        for (name, entity, operation, status), (count, spent) in effects.events.items():
            mean = None if spent is None else spent / count
            self._tell(
                TelemetryEvent(
                    name=name,
                    time=as_datetime(self._clock.wall()),
                    entity=entity,
                    operation=operation,
                    count=count,
                    duration=seconds if name in _OF_COMMIT else mean,
                    status=status,
                )
            )

    def _add_up(self, effects: Effects) -> None:
        # a method of its own: a loop that is interrupted in a ``with`` may leave a lock locked
        for event, (count, spent) in effects.events.items():
            self._counts[event[0]] += count
            if spent:
                self._seconds[event[0]] += spent

    def sent(self, outcome: Outcome, seconds: float) -> None:
        """A request with operations had its answer, or none."""
        answered = [each for each in outcome.sent if _left_here(each[1])]
        again = [claim for part in outcome.instead for claim in part]
        items = [claim.item for claim in (*(claim for claim, _ in answered), *again)]
        if not items:
            return
        with self._lock:
            self._counts["requests"] += 1
            self._counts["sent"] += len(items)
            self._seconds["requests"] += seconds
        if not self._subscribers.callbacks:
            return
        outcomes = {answer.meaning.name.lower() for _, answer in answered}
        self._tell(
            TelemetryEvent(
                name="sent",
                time=as_datetime(self._clock.wall()),
                entity=_common(item.entity for item in items),
                operation=_common(item.operation for item in items),
                count=len(items),
                duration=seconds,
                status=answered[0][1].status if len(items) == len(answered) == 1 else None,
                outcome=_common(outcomes | {"split"} if again else outcomes) or "mixed",
            )
        )

    def status(self, status: str, seconds: float) -> None:
        """The engine's status changed; the one before lasted so long."""
        if self._subscribers.callbacks:
            now = as_datetime(self._clock.wall())
            event = TelemetryEvent(name="status", time=now, outcome=status, duration=seconds)
            self._tell(event)

    def _tell(self, event: TelemetryEvent) -> None:
        with self._lock:
            if self._closed or self._waiting >= _MOST_WAITING:
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
        """Tells what is left; true if that was done in time. What was not is dropped, unless there
        was no time at all: then it is only asked to end.
        """
        with self._lock:
            self._closed = True
        done = self._notifier.close(timeout)
        if not done and timeout > 0:
            self._notifier.drop()
            with self._lock:
                self._dropped += self._waiting
                self._waiting = 0
        return done

    def after_fork(self) -> None:
        """In a forked child: the numbers go on from here, the thread stayed with the parent."""
        self._lock = threading.Lock()
        self._waiting = 0
        self._notifier.after_fork()
        self._subscribers.after_fork()


def _left_here(answer: Answer) -> bool:
    """Whether an operation was sent: it is not if its record was read first, or it was refused
    here.
    """
    refused = answer.meaning is Meaning.REJECTED and answer.status is None
    return answer.meaning is not Meaning.STATE and not refused


def _common(values: Iterable[str]) -> str | None:
    """The value, if all of them are the same."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
