"""The status board: what the engine is doing, and everybody who wants to know.

Who owns what: ``_lock`` guards the fields below it, for the length of an assignment. Numbers are
read from the store by whoever changes the status, before and outside of the lock; subscribers are
told by the notifier's thread, in the order in which the changes were made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import attrs

from bytelyst_sync.clock import Clock, as_datetime
from bytelyst_sync.errors import StorageError
from bytelyst_sync.flows.notifier import Notifier, Subscribers
from bytelyst_sync.flows.observer import Observer
from bytelyst_sync.model import RecordChange, SyncStatus, SyncStatusInfo
from bytelyst_sync.state.effects import Effects

__all__ = ["StatusBoard", "Tally"]


@attrs.frozen
class Tally:
    """Exact numbers at one instant; ``next_due`` is when the next retry is, by the wall clock."""

    queued: int = 0
    failed: int = 0
    conflicts: int = 0
    ready: bool = False
    """Whether something could be sent now."""
    next_due: float | None = None
    notice: str | None = None
    """What the store has to tell, such as that a damaged file was set aside."""


class StatusBoard:
    """One place for the status; every change of it is told once, in order."""

    def __init__(self, clock: Clock, tally: Callable[[], Tally], observer: Observer) -> None:
        self._clock = clock
        self.observer = observer
        self._tally = tally
        self._lock = threading.Lock()
        self._order = threading.RLock()
        self._status = SyncStatus.IDLE
        self._since = clock.wall()
        self._last_error: str | None = None
        self._passing = True
        self._last_sync: float | None = None
        self._paused_until: float | None = None
        self._final: SyncStatusInfo | None = None
        self._known = Tally()
        """The numbers when they could last be read; under ``_order``."""
        self.online = True
        self.paused = False
        self.notifier = Notifier("bytelyst-sync-notify")
        self.status_subscribers = Subscribers("on_status_change")
        self.change_subscribers = Subscribers("on_change")
        self.failure_subscribers = Subscribers("on_failure")

    @property
    def status(self) -> SyncStatus:
        """The status alone, without asking the store."""
        return self._status

    def info(self) -> SyncStatusInfo:
        """The engine at this instant."""
        final = self._final
        return final if final is not None else self._info(self._status, self._since, self._tally())

    def _info(self, status: SyncStatus, since: float, tally: Tally) -> SyncStatusInfo:
        now = self._clock.wall()
        with self._lock:
            return SyncStatusInfo(
                status=status,
                queue_length=tally.queued,
                failed=tally.failed,
                conflicts=tally.conflicts,
                online=self.online,
                paused=self.paused,
                last_error=self._last_error or tally.notice,
                last_sync=None if self._last_sync is None else as_datetime(self._last_sync),
                next_retry=self._next_retry(tally, now),
                since=as_datetime(since),
            )

    def _next_retry(self, tally: Tally, now: float) -> datetime | None:
        """When something is sent next; nothing is before the end of the origin's pause."""
        pause, due = self._paused_until, tally.next_due
        if pause is not None and pause > now and (tally.ready or due is not None):
            due = pause if tally.ready or due is None else max(pause, due)
        return None if due is None else as_datetime(due)

    def change(self, status: SyncStatus) -> None:
        """Changes the status; tells every subscriber if it is another than before."""
        # _order keeps "changed" and "queued to be told" one step: the notifier's order is ours
        with self._order:
            if self._final is not None or status is self._status:
                return
            now = self._clock.wall()
            closing = status is SyncStatus.CLOSED
            # a store that cannot be read is no reason to keep quiet about it
            with suppress(StorageError):
                wanted = closing or self.status_subscribers.callbacks
                self._known = self._tally() if wanted else Tally()
            tally = self._known
            self.observer.status(status.value, max(0.0, now - self._since))
            with self._lock:
                self._status = status
                self._since = now
                if status is SyncStatus.IDLE and self._passing:
                    self._last_error = None
            info = self._info(status, now, tally)
            if status is SyncStatus.CLOSED:
                self._final = info
            self._post(self.status_subscribers, info)

    def note_error(self, message: str, *, passing: bool = True) -> None:
        """What went wrong last. A ``passing`` error is forgotten when all is well again."""
        with self._lock:
            self._last_error = message
            self._passing = passing

    def note_sync(self, *, well: bool = False) -> None:
        """The server answered as it should; ``well``: to all that was asked, so that while nothing
        else is wrong, a passing error is over.
        """
        with self._lock:
            self._last_sync = self._clock.wall()
            if well and self._passing and self._status is SyncStatus.IDLE:
                self._last_error = None

    def note_pause(self, until: float | None) -> None:
        """The origin asked for a pause until this wall-clock time."""
        with self._lock:
            self._paused_until = until

    def publish(self, effects: Effects) -> None:
        """Tells of failures and of changes of the local view, after their commit."""
        self.observer.committed(effects, self._clock.monotonic() - effects.began)
        for item in effects.failed:
            self._post(self.failure_subscribers, item)
        for change in effects.changes:
            self._post(self.change_subscribers, change)

    def _post(self, subscribers: Subscribers, value: Any) -> None:
        if subscribers.callbacks:
            self.notifier.post(lambda: subscribers.tell(value))

    def on_change(
        self, callback: Callable[[RecordChange], object], entity: str | None
    ) -> Callable[[], None]:
        """Subscribes to changes of the local view, of one entity or of all."""
        if entity is None:
            return self.change_subscribers.add(callback)
        return self.change_subscribers.add(
            lambda change: callback(change) if change.entity == entity else None
        )

    def after_fork(self) -> None:
        """In a forked child: locks may have been held by threads that do not exist here."""
        self._lock = threading.Lock()
        self._order = threading.RLock()
        self._status = SyncStatus.IDLE if self._final is None else self._status
        self.online = True
        self.notifier.after_fork()
        self.observer.after_fork()
        for subscribers in (
            self.status_subscribers,
            self.change_subscribers,
            self.failure_subscribers,
        ):
            subscribers.after_fork()
