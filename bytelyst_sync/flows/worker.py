"""The worker: one daemon thread, one loop, one interruptible wait.

Who owns what. The worker's thread alone uses the deliverer, connectivity, the origin's pause and
everything else without a lock in its name. ``_lock`` guards ``_woken``, ``_closing``, ``_heard``
and the list of flush tickets, for the length of an assignment; ``_paused`` is a plain flag.
Storage, network and user code are used outside of it.

The right to deliver is held only while something is being sent: an engine that is idle, offline,
paused or told to wait leaves the queue to other processes.

An exception in one round is logged and the next round comes after a backoff: the thread survives.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

from bytelyst_sync.clock import FOREVER_S, Clock
from bytelyst_sync.errors import AuthError, StorageError
from bytelyst_sync.flows.chores import Chores
from bytelyst_sync.flows.connectivity import Connectivity, Step
from bytelyst_sync.flows.credentials import Refusal
from bytelyst_sync.flows.deliverer import Deliverer
from bytelyst_sync.flows.lookout import Lookout
from bytelyst_sync.flows.origin import OriginPause
from bytelyst_sync.flows.status import StatusBoard
from bytelyst_sync.flows.telling import log_raised
from bytelyst_sync.flows.tickets import Ticket, Tickets
from bytelyst_sync.model import SyncStatus
from bytelyst_sync.state.claims import Claims
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.storage.base import Storage

__all__ = ["Worker"]

logger = logging.getLogger("bytelyst_sync.worker")

_POLL_S = 0.4
"""How often other processes' pushes, and a right that became free, are looked for."""
_YIELD_AFTER_S = 5.0
_YIELD_S = 0.8


class Worker:
    """Delivers what is queued until it is closed."""

    def __init__(
        self,
        *,
        storage: Storage,
        claims: Claims,
        deliverer: Deliverer,
        connectivity: Connectivity,
        refusal: Refusal,
        origin: OriginPause,
        board: StatusBoard,
        clock: Clock,
        chores: Chores,
        knock: Callable[[], bool],
        auto_flush: bool,
    ) -> None:
        self._storage = storage
        self._claims = claims
        self._deliverer = deliverer
        self._connectivity = connectivity
        self._refusal = refusal
        self._origin = origin
        self._board = board
        self._clock = clock
        self._chores, self._knock = chores, knock
        self._auto_flush = auto_flush
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        """For waits and wake-ups under ``_lock``, and never entered itself: an interrupt in a
        condition's ``__enter__``, which is Python's, may leave the lock locked.
        """
        self._woken = False
        self._closing = False
        self._paused = False
        self._heard: bool | None = None
        self._tickets = Tickets()
        self._thread: threading.Thread | None = None
        self._after_exit: Callable[[], None] | None = None
        self._hindered = False
        """Whether the last round ended with a reason not to send, which no push changes."""
        self._still = False
        """Whether it ended with nothing that is to be done here, now or later."""
        self._lookout = Lookout(storage, claims, board)
        self._crashes = 0

    # --- from any thread

    def start(self) -> None:
        """Starts the thread unless it runs; ``RuntimeError`` if the system gives none."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._closing:
                thread = threading.Thread(target=self._run, name="bytelyst-sync", daemon=True)
                thread.start()
                self._thread = thread

    def wake(self) -> None:
        """There may be something to do."""
        if self._woken:
            return
        with self._lock:
            self._woken = True
            self._news.notify_all()

    def poke(self) -> None:
        """Something was queued. While nothing may be sent anyway, that is no reason to wake up: a
        program that works offline is not slowed by a thread that looks at each of its pushes.
        """
        if self._thread is None:
            try:
                self.start()
            except RuntimeError:
                # there may be too many, and while the interpreter ends Python 3.12 begins none;
                # what was queued is queued, and the next to come tries again
                return
        if not self._hindered:
            self.wake()

    def add(self, ticket: Ticket) -> None:
        """A flush wants to hear when it is done; it also lifts a pause over credentials.

        ``EngineClosedError`` once the worker is told to end: nobody would finish the ticket.
        """
        self._tickets.add(ticket)
        self.wake()

    def drop(self, ticket: Ticket) -> None:
        """A flush no longer waits."""
        self._tickets.drop(ticket)

    def count(self, effects: Effects) -> None:
        """What a commit of the deliverer did counts for every flush that waits."""
        for ticket in self._tickets.all():
            ticket.count(effects)

    def pause(self, paused: bool) -> None:
        """Stops sending after the requests under way, or goes on."""
        self._paused = paused
        self.wake()

    def hear(self, online: bool) -> None:
        """A pull in another thread reached the network, or found none."""
        with self._lock:
            known = self._connectivity.online if self._heard is None else self._heard
            if online is not known:
                self._board.online = online
                self._heard = online
        self.wake()

    @property
    def wanted(self) -> bool:
        """Whether something is more urgent than a pull in the background."""
        return self._stopped() or bool(self._tickets)

    @property
    def paused(self) -> bool:
        """Whether it was told to send nothing."""
        return self._paused

    def close(self, timeout: float, after_exit: Callable[[], None]) -> bool:
        """Stops the thread; true if it ended in time. Else it calls ``after_exit`` when it does."""
        self._tickets.close()
        with self._lock:
            self._closing = True
            self._news.notify_all()
            thread = self._thread
        if thread is None:
            self._tickets.finish_all(offline=not self._connectivity.online)
            return True
        if thread is not threading.current_thread():
            thread.join(timeout)
        with self._lock:
            if self._thread is not None and thread.is_alive():
                self._after_exit = after_exit
                return False
        return True

    # --- the loop

    def _run(self) -> None:
        try:
            while not self._closing:
                self._woken = False
                self._wait(self._guarded_round())
        finally:
            self._wind_up()

    def _wait(self, wait: float) -> None:
        """Waits until it is time or something wakes it. With nothing to do, it only looks whether
        another process has changed the store meanwhile: an idle engine costs next to nothing.
        """
        deadline = self._clock.monotonic() + wait
        while True:
            left = deadline - self._clock.monotonic()
            with self._lock:
                if self._news.wait_for(lambda: self._woken or self._closing, min(left, _POLL_S)):
                    return
            if left <= _POLL_S or not self._still or self._lookout.stirred():
                return

    def _guarded_round(self) -> float:
        try:
            wait = self._round()
            self._crashes = 0
        except Exception as error:  # noqa: BLE001 - the thread survives whatever happens
            self._crashes += 1
            wait = min(30.0, 0.1 * 2.0 ** min(self._crashes, 10))
            self._survive(error, wait)
        return wait

    def _survive(self, error: Exception, wait: float) -> None:
        if isinstance(error, StorageError):
            logger.error("the store cannot be used, next try in %.1f s: %s", wait, error)
        else:
            log_raised(logger, error, "a round failed, next one in %.1f s", wait)
            self._deliverer.forget()
        self._deliverer.gather(self._stopped)
        self._deliverer.release()
        self._deliverer.trouble = True
        self._board.note_error(str(error) or type(error).__name__)
        with contextlib.suppress(StorageError):
            self._settle_status()
        self._tickets.finish_all(offline=False, error=error)

    def _wind_up(self) -> None:
        """The thread's last acts: nothing claimed stays so, nobody waits in vain."""
        try:
            self._deliverer.close()
        except Exception as error:  # noqa: BLE001 - those who wait are still to be told
            message = "what was being sent could not be settled; the next start will"
            log_raised(logger, error, message)
        finally:
            self._tickets.finish_all(offline=not self._connectivity.online)
            with self._lock:
                self._thread = None
                after_exit = self._after_exit
            if after_exit is not None:
                after_exit()

    def _round(self) -> float:
        """Does what can be done now; returns seconds to wait unless woken."""
        self._take_in_what_was_heard()
        self._lookout.look()
        hindrance = self._hindrance()
        self._hindered = False
        if hindrance is None:
            self._deliver()
            hindrance = self._hindrance()
        self._deliverer.release()
        self._hindered = hindrance is not None
        return self._rest(hindrance)

    def _deliver(self) -> None:
        """Sends until there is nothing to send or something hinders."""
        if not (self._deliverer.ready() and self._deliverer.acquire()):
            return
        self._deliverer.trouble = False
        while self._deliverer.advance(self._stopped, self._may_send):
            self._finish(self._is_done)
            self._give_others_a_turn()
            self._chores.do(self._may_fetch())

    def _give_others_a_turn(self) -> None:
        """Items of entities that this engine does not know need an engine that does."""
        held = self._clock.monotonic() - self._deliverer.held_since
        if held < _YIELD_AFTER_S:
            return
        self._lookout.look()
        if not self._lookout.foreign:
            return
        self._deliverer.gather(self._stopped)
        self._deliverer.commit(room=0)
        self._deliverer.release()
        with self._lock:
            self._news.wait_for(lambda: self._closing, _YIELD_S)
        if not self._closing and self._deliverer.acquire():
            self._deliverer.commit(room=1)

    def _rest(self, hindrance: float | None) -> float:
        """Idle, or hindered: answers tickets, does the chores, says how long to wait."""
        waits = [FOREVER_S]
        self._still = False
        if hindrance is None:
            due = self._storage.read(lambda tx: self._claims.next_due(tx, self._clock.wall()))
            # what is due already would have been sent, if no other process were at it
            waits += [due] if due is not None and due > 0 else []
            self._still = due is None and not self._deliverer.ready()
            if not self._connectivity.idle_probe():
                self._deliverer.go_offline("the probe found no network")
            probe = self._connectivity.wait_s()
            waits += [] if probe is None else [probe]
            self._finish(self._is_done)
        else:
            waits.append(max(hindrance, 0.001))
            # one that came after the hindrance was looked for deserves its own look
            self._finish(lambda ticket: ticket.seen)
        self._settle_status()
        chore = self._chores.do(self._may_fetch())
        waits += [] if chore is None else [chore]
        return max(0.0, min(waits if self._still else [*waits, _POLL_S]))

    # --- reasons not to send

    def _hindrance(self) -> float | None:
        """Seconds that nothing may be sent for whatever reason; ``None``: go on.

        A flush that was not seen before asks the network and the credentials again, once.
        """
        tickets = self._tickets.all()
        asked = any(not ticket.seen for ticket in tickets)
        for ticket in tickets:
            ticket.seen = True
        if self._paused or not (self._auto_flush or tickets):
            return _POLL_S
        if not self._connectivity.online and not self._look_for_network(asked):
            return self._connectivity.wait_s() or 0.0
        if self._refusal.active and not self._ask_for_credentials(asked):
            return self._refusal.wait_s()
        now = self._clock.monotonic()
        if self._connectivity.resume_at > now and not tickets:
            return self._connectivity.resume_at - now
        pause = self._origin.remaining()
        return pause if pause > 0 else None

    def _may_send(self) -> bool:
        """The same, cheaply, between two slices."""
        return self._may_fetch() and (self._auto_flush or bool(self._tickets))

    def _may_fetch(self) -> bool:
        return (
            not self._stopped()
            and self._connectivity.online
            and not self._refusal.active
            and self._origin.remaining() <= 0
        )

    def _stopped(self) -> bool:
        return self._closing or self._paused

    def _take_in_what_was_heard(self) -> None:
        with self._lock:
            heard, self._heard = self._heard, None
        if heard is True:
            self._connectivity.reached()
            self._deliverer.go_online()
        elif heard is False and self._connectivity.online:
            self._deliverer.go_offline("a pull found no network")

    def _look_for_network(self, asked: bool) -> bool:
        step = self._connectivity.step(now_please=asked)
        if step is Step.GO:
            self._deliverer.go_online()
        if step is Step.TRY:
            self._try_one()
        return self._connectivity.online

    def _try_one(self) -> None:
        """Offline, one real request: it alone can tell whether the probe is right."""
        if self._deliverer.acquire() and self._deliverer.commit(room=1):
            self._deliverer.gather(self._stopped)
            self._deliverer.commit(room=0)
        elif self._knock():
            self._connectivity.reached()
            self._deliverer.go_online()
        else:
            self._connectivity.postpone()
        self._deliverer.release()

    def _ask_for_credentials(self, asked: bool) -> bool:
        """Refused credentials: tried again when a person says so, or ``auth`` has others."""
        if asked:
            self._refusal.lift()
        else:
            try:
                self._refusal.ask_again()
            except AuthError as error:
                self._board.note_error(str(error))
        return not self._refusal.active

    # --- tickets and status

    def _is_done(self, ticket: Ticket) -> bool:
        """Nothing that was queued at the flush's call can be sent, or is being sent."""
        return not self._storage.read(lambda tx: self._claims.busy_up_to(tx, ticket.upto))

    def _finish(self, done: Callable[[Ticket], bool]) -> None:
        for ticket in self._tickets.all():
            if done(ticket):
                self._settle_status()
                self.drop(ticket)
                ticket.finish(offline=not self._connectivity.online)

    def _in_trouble(self) -> bool:
        """Whether the latest sending met trouble, and what it left is still there."""
        if self._deliverer.trouble and not self._storage.read(self._claims.troubled):
            self._deliverer.trouble = False
        return self._deliverer.trouble

    def _settle_status(self) -> None:
        if self._deliverer.busy or self._connectivity.resume_at > self._clock.monotonic():
            return
        if not self._connectivity.online:
            self._board.change(SyncStatus.OFFLINE)
        elif self._crashes or self._refusal.active or self._chores.trouble or self._in_trouble():
            self._board.change(SyncStatus.ERROR)
        else:
            self._board.change(SyncStatus.IDLE)
