"""The engine's status, and its subscribers.

Who owns what: ``_lock`` guards the fields below it, for the length of an assignment. The thread
that changes the status reads the counts from the store, before it takes the lock. The notifier's
thread calls the subscribers, in the order of the changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

import attrs

from bytelyst_sync.clock import Clock, as_datetime
from bytelyst_sync.errors import AccountMismatchError, StorageError
from bytelyst_sync.events.notifier import Notifier, Subscribers
from bytelyst_sync.events.telemetry_recorder import TelemetryRecorder
from bytelyst_sync.model import RecordChange, StatusReason, SyncStatus, SyncStatusInfo
from bytelyst_sync.state.commit_effects import CommitEffects

__all__ = ["NoDeliverer", "QueueCounts", "StatusBoard"]

Source = Literal["delivery", "pull", "reading"]


@attrs.frozen
class NoDeliverer:
    """The error that no process delivers the queue, and for how many seconds, if known."""

    message: str
    lasts_s: float | None


@attrs.frozen
class QueueCounts:
    """Exact counts at one instant; ``next_due`` is when the next retry is, by the wall clock."""

    queued: int = 0
    failed: int = 0
    conflicts: int = 0
    ready: bool = False
    """Whether something could be sent now."""
    next_due: float | None = None
    notice: str | None = None
    """A message of the store, such as that a damaged file was set aside."""
    no_deliverer: NoDeliverer | None = None
    """Set if other processes should deliver and none does."""


class StatusBoard:
    """Holds the status; reports each change to the subscribers once, in order."""

    def __init__(
        self, clock: Clock, read_counts: Callable[[], QueueCounts], recorder: TelemetryRecorder
    ) -> None:
        self._clock = clock
        self.recorder = recorder
        self._read_counts = read_counts
        self._lock = threading.Lock()
        self._order = threading.RLock()
        self._status = SyncStatus.IDLE
        self._reason: StatusReason | None = None
        self._since = clock.wall()
        self._last_error: str | None = None
        self._passing = True
        self._faults: dict[tuple[Source, str], tuple[str, StatusReason | None]] = {}
        """The faults of entities, oldest first: the message and the reason of each."""
        self._reported: tuple[SyncStatus, StatusReason | None] = (SyncStatus.IDLE, None)
        """The last status that was reported to the subscribers; guarded by ``_order``."""
        self._last_sync: float | None = None
        self._final: SyncStatusInfo | None = None
        self._known = QueueCounts()
        """The last counts that could be read; guarded by ``_order``."""
        self.online = True
        self.paused = False
        self.portal = False
        """Whether the engine is offline because a captive portal answered."""
        self.held_back: dict[str, str] = {}
        """The entities whose latest listing was not applied, with the reason (``"vanished"``)."""
        self.deliverer: str | None = None
        """The process that delivers, if it is another one."""
        self.deliverer_is_silent = False
        """Whether that process seems to hang."""
        self.pauses: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
        """Seconds until anything is sent, and seconds until a paused entity sends."""
        self.next_reading: Callable[[], float | None] = lambda: None
        """Seconds until a pull or a reading that failed is tried again."""
        self.notifier = Notifier("bytelyst-sync-notify")
        self.status_subscribers = Subscribers("on_status_change")
        self.change_subscribers = Subscribers("on_change")
        self.failure_subscribers = Subscribers("on_failure")

    def entrust_subscribers(self) -> object:
        """From now on the callbacks live as long as the object that is returned."""
        kinds = (self.status_subscribers, self.change_subscribers, self.failure_subscribers)
        return [each.entrust() for each in kinds]

    @property
    def status(self) -> SyncStatus:
        """The status alone, without asking the store."""
        return self._status

    def info(self) -> SyncStatusInfo:
        """The current status."""
        final = self._final
        if final is not None:
            return final
        return self._info(self._status, self._since, self._read_counts())

    def _info(self, status: SyncStatus, since: float, counts: QueueCounts) -> SyncStatusInfo:
        now, reason = self._clock.wall(), self._held_up()
        fault = counts.no_deliverer if status is not SyncStatus.CLOSED else None
        if fault is not None:
            status, reason = SyncStatus.ERROR, "deliverer"
            since = since if fault.lasts_s is None else now - fault.lasts_s
        with self._lock:
            return SyncStatusInfo(
                status=status,
                queue_length=counts.queued,
                failed=counts.failed,
                conflicts=counts.conflicts,
                online=self.online,
                paused=self.paused,
                last_error=fault.message if fault else self._error(reason, counts.notice),
                last_sync=None if self._last_sync is None else as_datetime(self._last_sync),
                next_retry=self._next_retry(counts, now),
                since=as_datetime(since),
                reason=reason,
                deliverer=self.deliverer,
            )

    def _held_up(self) -> StatusReason | None:
        if self.deliverer_is_silent:
            return "deliverer"
        reasons = (reason for _, reason in self._faults.values() if reason is not None)
        return self._reason or next(reasons, "vanished" if self.held_back else None)

    def _error(self, reason: StatusReason | None, notice: str | None) -> str | None:
        """``last_error``: the reason that holds an entity back, else the latest error."""
        held_back = next(iter(self.held_back.values()), None)
        if reason == "vanished" and held_back is not None:
            return held_back
        return self._last_error or self._lasting_error(notice)

    def _lasting_error(self, notice: str | None) -> str | None:
        """The latest fault that still exists, else the store's ``notice``."""
        if self._faults:
            return list(self._faults.values())[-1][0]
        return next(iter(self.held_back.values()), notice)

    def _next_retry(self, counts: QueueCounts, now: float) -> datetime | None:
        """When the next waiting item is sent, or a failed read is repeated. Neither happens before
        the origin's pause ends.
        """
        whole, entity = self.pauses()
        due = counts.next_due
        if whole > 0 and (counts.ready or due is not None):
            due = now + whole if counts.ready or due is None else max(now + whole, due)
        elif entity > 0 and counts.ready and due is None:
            due = now + entity
        reading = self.next_reading()
        if reading is not None:
            read_at = now + max(whole, reading)
            due = read_at if due is None else min(due, read_at)
        return None if due is None else as_datetime(due)

    def change(self, status: SyncStatus, reason: StatusReason | None = None) -> None:
        """Changes the status; notifies the subscribers if it or its reason is another one."""
        # _order makes changing and notifying one step, so that notifications keep the order
        with self._order:
            if self._final is not None:
                return
            self._reason = reason
            reported = status, self._held_up()
            if reported == self._reported:
                return
            self._reported = reported
            closing = status is SyncStatus.CLOSED
            # if the store cannot be read, the change is reported with the last known counts
            with suppress(StorageError, AccountMismatchError):
                needed = closing or self.status_subscribers.callbacks
                self._known = self._read_counts() if needed else QueueCounts()
            counts = self._known
            if status is not self._status:
                self._enter(status)
            info = self._info(status, self._since, counts)
            if status is SyncStatus.CLOSED:
                self._final = info
            self._post(self.status_subscribers, info)

    def _enter(self, status: SyncStatus) -> None:
        now = self._clock.wall()
        self.recorder.status(status.value, max(0.0, now - self._since))
        with self._lock:
            self._status = status
            self._since = now
            if status is SyncStatus.IDLE and self._passing:
                self._last_error = None

    def note_error(self, message: str, *, passing: bool = True) -> None:
        """Sets ``last_error``. A ``passing`` error is cleared when everything works again."""
        with self._lock:
            self._last_error = message
            self._passing = passing

    def note_fault(
        self, source: Source, entity: str, message: str | None, reason: StatusReason | None = None
    ) -> None:
        """Sets a fault of an entity, or clears it (``None``). A success of another entity does not
        clear it.
        """
        key = source, entity
        if message is None and key not in self._faults:
            return
        with self._lock:
            faults = {each: fault for each, fault in self._faults.items() if each != key}
            self._faults = faults if message is None else {**faults, key: (message, reason)}
            if message is not None:
                self._last_error, self._passing = message, True
        if message is not None and reason is not None and self._status is SyncStatus.IDLE:
            self.change(SyncStatus.ERROR)

    def clear_faults(self, source: Source) -> None:
        """Clears all faults of this source."""
        for kind, entity in tuple(self._faults):
            if kind == source:
                self.note_fault(source, entity, None)

    def has_faults(self, source: Source) -> bool:
        """Whether an entity has a fault of this source."""
        return any(kind == source for kind, _ in self._faults)

    @property
    def is_held_up(self) -> bool:
        """Whether an entity is held up until somebody changes the configuration or decides."""
        faults = self._faults.values()
        return bool(self.held_back) or any(reason is not None for _, reason in faults)

    def note_vanished(self, entity: str, message: str | None) -> None:
        """Sets the reason why the entity's latest listing was not applied; ``None``: it was."""
        with self._lock:
            held_back = {name: each for name, each in self.held_back.items() if name != entity}
            self.held_back = held_back if message is None else {**held_back, entity: message}
        if message is not None and self._status is SyncStatus.IDLE:
            self.change(SyncStatus.ERROR)

    def note_sync(self, *, well: bool = False) -> None:
        """Sets ``last_sync``. ``well``: all requests succeeded, so a passing error is cleared while
        the engine is idle.
        """
        with self._lock:
            self._last_sync = self._clock.wall()
            if well and self._passing and self._status is SyncStatus.IDLE:
                self._last_error = None

    def publish(self, effects: CommitEffects) -> None:
        """Calls the subscribers of failed items and of changes of the local view."""
        for item in effects.failed:
            self._post(self.failure_subscribers, item)
        for change in effects.changes:
            self._post(self.change_subscribers, change)

    def _post(self, subscribers: Subscribers, value: Any) -> None:
        if subscribers.callbacks:
            self.notifier.post(lambda: subscribers.notify(value))

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
        """In a forked child: replaces locks that a thread of the parent may have held."""
        self._lock = threading.Lock()
        self._order = threading.RLock()
        if self._final is None:
            self._status, self._reported = SyncStatus.IDLE, (SyncStatus.IDLE, None)
        self.online = True
        self.notifier.after_fork()
        self.recorder.after_fork()
        for subscribers in (
            self.status_subscribers,
            self.change_subscribers,
            self.failure_subscribers,
        ):
            subscribers.after_fork()
