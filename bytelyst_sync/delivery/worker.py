"""The worker: one daemon thread, one loop, one interruptible wait.

Who owns what. The worker's thread alone uses the dispatcher, connectivity and the throttle; any
thread may call the methods under "from any thread". ``_lock`` guards ``_woken_by_others`` and what
``background_thread.py`` names; storage, network and user code are used outside of it.

``delivery/send_permission.py`` decides whether anything may be sent now.

The delivery lock is held only while something is being sent: an engine that is idle, offline,
paused or throttled leaves the queue to other processes.

An exception in one round is logged, and the next round starts after a backoff.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from bytelyst_sync.background_thread import BackgroundThread
from bytelyst_sync.clock import FOREVER_S
from bytelyst_sync.delivery.context import DeliveryContext
from bytelyst_sync.delivery.deliverer_heartbeat import DelivererHeartbeat
from bytelyst_sync.delivery.dispatcher import Dispatcher
from bytelyst_sync.delivery.flush_requests import FlushRequest
from bytelyst_sync.delivery.send_permission import SendPermission
from bytelyst_sync.delivery.sender_pool import Room
from bytelyst_sync.delivery.status_reporter import StatusReporter
from bytelyst_sync.delivery.store_monitor import StoreMonitor
from bytelyst_sync.errors import AccountMismatchError, StorageError, SyncError
from bytelyst_sync.pull.scheduler import PullScheduler
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.storage.closable import ClosableSharedStorage

__all__ = ["POLL_S", "Worker"]

logger = SafeLogger("bytelyst_sync.worker")

POLL_S = 0.4
"""How often the worker checks for pushes of other processes and for a free delivery lock."""
_SOON_S = 0.1
"""How long after a message of another process to look again: longer than such a process is silent
after one (``contrib/django/news.py``).
"""
_YIELD_AFTER_S = 5.0
_YIELD_S = 0.8
"""After this time, the delivery lock is released for so long if other engines need it."""


class Worker(BackgroundThread):
    """Delivers what is queued until it is closed."""

    def __init__(
        self,
        context: DeliveryContext,
        *,
        dispatcher: Dispatcher,
        permission: SendPermission,
        pull_scheduler: PullScheduler,
        migrate_items: Callable[[], None],
        shared: ClosableSharedStorage | None = None,
    ) -> None:
        super().__init__("bytelyst-sync")
        self._queue = context.queue
        self._claims = context.claims
        self._dispatcher = dispatcher
        self._connectivity = context.conditions.connectivity
        self._throttle = context.conditions.throttle
        self._permission = permission
        self._board = context.board
        self._clock = context.clock
        self._pull_scheduler = pull_scheduler
        self._migrate_items = migrate_items
        self._shared = shared
        self._flush_requests = context.flush_requests
        self._woken_by_others = False
        """Whether another process has woken it, and it has still to look again soon after."""
        self._blocked = False
        """Whether the last round ended with a reason not to send. A push does not change that."""
        self._sent_something = False
        self._idle = False
        """Whether it ended with nothing to do, now or later."""
        self._heartbeat = DelivererHeartbeat(context.storage, context.clock)
        self._monitor = StoreMonitor(context)
        self._status = StatusReporter(context, dispatcher, pull_scheduler)
        self._crashes = 0
        self.on_start: Callable[[], None] | None = None
        """Called in the worker's thread when it starts."""

    # --- from any thread

    def wake_by_others(self) -> None:
        """Another process has queued something."""
        with self._lock:
            self._woken = self._woken_by_others = True
            self._wake_up.notify_all()

    def start(self) -> None:
        """Starts the thread unless it runs; ``SyncError`` if the system gives none."""
        try:
            super().start()
        except RuntimeError as error:
            raise SyncError(
                f"no thread could be started for delivery ({error}). What is queued stays queued:"
                " call again when the process has fewer threads, or at the next start of the"
                " program if it is ending"
            ) from error

    def wake_after_push(self) -> None:
        """Starts the worker, or wakes it unless delivery is blocked: offline, pushes stay fast."""
        if not self.running:
            try:
                self.start()
            except SyncError:
                return  # the push is queued, and the next call tries again
        if not self._blocked:
            self.wake()

    def add(self, request: FlushRequest) -> None:
        """Adds a flush request, which the worker finishes; it also retries refused credentials.

        Raises ``EngineClosedError`` once the worker is closing, because nobody would finish it.
        """
        self._flush_requests.add(request)
        self.wake()

    def drop(self, request: FlushRequest) -> None:
        """Removes a flush request."""
        self._flush_requests.drop(request)

    def count(self, effects: CommitEffects) -> None:
        """Adds the effects of a commit to every open flush request."""
        for request in self._flush_requests.all():
            request.count(effects)

    def pause(self, paused: bool) -> None:
        """Stops sending after the requests under way, or continues."""
        self._permission.paused = paused
        self.wake()

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self._permission.paused

    def close(self, timeout: float, after_exit: Callable[[], None] | None = None) -> bool:
        """Stops sending and ends the thread; true if it ended in time. Otherwise it calls
        ``after_exit`` later.
        """
        self._flush_requests.close()
        self._permission.closing = True
        ended = super().close(timeout, after_exit)
        if ended:
            # no thread was there to finish them
            self._flush_requests.finish_all(offline=not self._connectivity.online)
        return ended

    # --- the loop

    def _run(self) -> None:
        listener = None
        if self._shared is not None and self._permission.auto_flush:
            listener = self._shared.listen(self.wake_by_others)
        try:
            if self.on_start is not None:
                self.on_start()
            while not self.closing:
                self._clear()
                self._wait_for_work(self._guarded_round())
        finally:
            if listener is not None:
                listener.close()
            self._end()

    def _poll_s(self) -> float:
        return POLL_S if self._shared is None else self._shared.poll_s

    def _wait_for_work(self, wait: float) -> None:
        """Waits for so many seconds, or until ``wake``. With nothing to do, it only checks whether
        another process has changed the store, so that an idle engine needs hardly any CPU time.
        After another process has woken it, it checks soon, until nothing has changed.
        """
        deadline = self._clock.monotonic() + wait
        while True:
            left = deadline - self._clock.monotonic()
            soon = self._woken_by_others
            poll_s = _SOON_S if soon else self._poll_s()
            if self._wait(min(left, poll_s)):
                return
            with self._lock:
                if self._woken:
                    return
                self._woken_by_others = False
            if left <= poll_s or not self._idle:
                return
            if self._monitor.has_changed():
                with self._lock:
                    self._woken_by_others |= soon
                return

    def _guarded_round(self) -> float:
        try:
            wait = self._round()
            self._crashes = 0
        except Exception as error:  # noqa: BLE001 - the thread must not end
            self._crashes += 1
            wait = min(30.0, 0.1 * 2.0 ** min(self._crashes, 10))
            self._recover(error, wait)
        return wait

    def _recover(self, error: Exception, wait: float) -> None:
        """Reports an exception of a round, and ends what that round began."""
        if isinstance(error, (StorageError, AccountMismatchError)):
            logger.error("the store cannot be used, next try in %.1f s: %s", wait, error)
        else:
            logger.failure(error, "a round of delivery failed, next one in %.1f s", wait)
            self._dispatcher.forget()
        self._dispatcher.drain(self._permission.is_stopped)
        self._dispatcher.release()
        self._dispatcher.trouble = True
        self._board.note_error(str(error) or type(error).__name__)
        with contextlib.suppress(StorageError, AccountMismatchError):
            self._update_status()
        self._flush_requests.finish_all(offline=False, error=error)

    def _end(self) -> None:
        """At the end of the thread: unclaims items and finishes all flush requests."""
        try:
            self._dispatcher.close()
        except Exception as error:  # noqa: BLE001 - flush requests must be finished
            message = "requests under way could not be settled; the next start settles them"
            logger.failure(error, message)
        finally:
            self._flush_requests.finish_all(offline=not self._connectivity.online)

    def _round(self) -> float:
        """Does what can be done now; returns seconds to wait unless woken."""
        self._permission.apply_reported_connectivity()
        self._pull_scheduler.start_timers()
        if self._permission.delivers:
            self._heartbeat.note()
        self._monitor.check()
        expiry = self._expire()
        line = self._claims.line
        if line.older:
            line.older = False
            self._migrate_items()
        blocked_for = self._permission.blocked_for(self._poll_s())
        self._blocked = self._sent_something = False
        if blocked_for is None:
            self._deliver()
            blocked_for = self._permission.blocked_for(self._poll_s())
        self._dispatcher.release()
        self._blocked = blocked_for is not None
        if self._blocked and self._shared is not None:
            # nothing else folds the inbox now, and what waits there may expire, too
            expiry = self._expire(fold=True)
        wait = self._finish_round(blocked_for)
        return wait if expiry is None else min(wait, expiry)

    def _expire(self, *, fold: bool = False) -> float | None:
        """Fails items that have expired; returns the seconds until the next one expires. A process
        that does not deliver leaves a shared queue and its lock to those that do.
        """
        if self._shared is not None and not self._permission.delivers:
            return None
        return self._dispatcher.expire_items(fold=fold)

    def _deliver(self) -> None:
        """Sends until there is nothing to send, or there is a reason not to."""
        if not (self._dispatcher.ready() and self._dispatcher.acquire()):
            return
        self._dispatcher.trouble = False
        while self._dispatcher.advance(self._permission.is_stopped, self._permission.may_send):
            self._sent_something = True
            self._heartbeat.note()
            self._finish(self._is_done)
            self._yield_to_other_engines()

    def _yield_to_other_engines(self) -> None:
        """Releases the delivery lock for a moment, if the store has items of entities that only
        another engine knows.
        """
        held = self._clock.monotonic() - self._dispatcher.held_since
        if self._dispatcher.right.is_shared or held < _YIELD_AFTER_S:
            return
        self._monitor.check()
        if not self._monitor.unknown_entities:
            return
        self._dispatcher.drain(self._permission.is_stopped)
        self._dispatcher.settle_and_claim(Room(0))
        self._dispatcher.release()
        if not self._wait_for_close(_YIELD_S) and self._dispatcher.acquire():
            self._dispatcher.settle_and_claim(Room(1))

    def _finish_round(self, blocked_for: float | None) -> float:
        """Nothing to send, or blocked: finishes flush requests, returns how long to wait."""
        waits = [FOREVER_S]
        self._idle = False
        if self._claims.line.newer:
            self._monitor.check()
        heartbeat_s = self._heartbeat.wait_s if self._permission.delivers else None
        waits += [] if heartbeat_s is None else [heartbeat_s]
        if blocked_for is None:
            # read before it is decided that nothing is ready: a pause that ends between the two
            # would be missed
            pause = self._throttle.next_end()
            waits += [] if pause is None else [pause]
            due = self._queue.read(lambda tx: self._claims.next_due(tx, self._clock.wall()))
            # a due item that was not sent is being sent by another process
            waits += [due] if due is not None and due > 0 else []
            self._idle = due is None and not self._dispatcher.ready()
            recovery = self._dispatcher.right.recovery_wait_s
            waits += [] if recovery is None else [recovery]
            if not self._connectivity.idle_probe():
                self._dispatcher.go_offline("the probe found no network")
            if (
                self._sent_something
                and self._permission.may_send()
                and self._dispatcher.has_ready()
            ):
                waits.append(0.0)  # the pause of an entity has just ended
            probe = self._connectivity.wait_s()
            waits += [] if probe is None else [probe]
            self._finish(self._is_done)
        else:
            waits.append(max(blocked_for, 0.001))
            # a request that was added since then needs a round of its own
            self._finish(lambda request: request.seen)
        self._update_status()
        self._pull_scheduler.start_due()
        return max(0.0, min(waits if self._idle else [*waits, self._poll_s()]))

    # --- flush requests and status

    def _is_done(self, request: FlushRequest) -> bool:
        """Whether nothing that was queued at the call can be sent or is being sent."""
        gate = self._throttle.gate()
        return not self._queue.read(lambda tx: self._claims.busy_up_to(tx, request.upto, gate))

    def _finish(self, done: Callable[[FlushRequest], bool]) -> None:
        for request in self._flush_requests.all():
            if done(request):
                self._update_status()
                self.drop(request)
                request.finish(offline=not self._connectivity.online)

    def _update_status(self) -> None:
        self._status.update(crashed=self._crashes > 0)
