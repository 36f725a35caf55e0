"""Counts an engine's events, and passes them to its ``telemetry`` callable.

Who owns what: ``_lock`` guards the counts, for the length of a few additions. The user's callable
runs on the notifier's thread. Each engine has one recorder.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from bytelyst_sync.clock import Clock, as_datetime
from bytelyst_sync.events.notifier import Notifier, Subscribers
from bytelyst_sync.events.telemetry import SyncStats, TelemetryEvent
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.outcome import Outcome
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.state.commit_effects import CommitEffects

__all__ = ["TelemetryRecorder"]

_MOST_WAITING = 10_000
_OF_COMMIT = ("pushed", "coalesced", "pulled")


class TelemetryRecorder:
    """Counts and reports events. All methods may be called from any thread."""

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
        self._has_telemetry = telemetry is not None
        if telemetry is not None:
            self._subscribers.add(telemetry)

    def committed(self, effects: CommitEffects, seconds: float) -> None:
        """Adds the events of a committed transaction that took ``seconds``."""
        if not effects.events:
            return
        # a lock for each: a loop that is interrupted in a ``with`` may leave the lock locked
        for event, (count, spent) in effects.events.items():
            with self._lock:
                self._counts[event[0]] += count
                if spent:
                    self._seconds[event[0]] += spent
        if not self._has_telemetry:
            return
        for (name, entity, operation, status), (count, spent) in effects.events.items():
            mean = None if spent is None else spent / count
            self._emit(
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

    def sent(self, outcome: Outcome, seconds: float) -> None:
        """Adds a request with operations that was answered or failed."""
        answered = [each for each in outcome.sent if _was_sent(each[1])]
        again = [claim for part in outcome.instead for claim in part]
        items = [claim.item for claim, _ in answered] + [claim.item for claim in again]
        if not items:
            return
        with self._lock:
            self._counts["requests"] += 1
            self._counts["sent"] += len(items)
            self._seconds["requests"] += seconds
        if not self._has_telemetry:
            return
        outcomes = {answer.meaning.name.lower() for _, answer in answered}
        self._emit(
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
        """Reports a change of the engine's status, and how long the former one lasted."""
        if self._has_telemetry:
            now = as_datetime(self._clock.wall())
            event = TelemetryEvent(name="status", time=now, outcome=status, duration=seconds)
            self._emit(event)

    def _emit(self, event: TelemetryEvent) -> None:
        if not self._subscribers.callbacks:  # the engine was dropped, and its callbacks with it
            return
        with self._lock:
            if self._closed or self._waiting >= _MOST_WAITING:
                self._dropped += 1
                return
            self._waiting += 1

        def note() -> None:
            with self._lock:
                self._waiting -= 1
            self._subscribers.notify(event)

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
        """Emits the remaining events; true if that was done in time. Drops the rest, unless
        ``timeout`` is 0: then the thread is only asked to end.
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
        """In a forked child: keeps the counts; the thread stays with the parent."""
        self._lock = threading.Lock()
        self._waiting = 0
        self._notifier.after_fork()
        self._subscribers.after_fork()


def _was_sent(answer: AttemptResult) -> bool:
    """Whether an operation was sent: not if only its record was read, or if it was refused here."""
    refused = answer.meaning is Verdict.REJECTED and answer.status is None
    return answer.meaning not in (Verdict.STATE, Verdict.LOOKUP) and not refused


def _common(values: Iterable[str]) -> str | None:
    """The value, if all of them are the same."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
