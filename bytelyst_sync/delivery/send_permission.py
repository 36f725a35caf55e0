"""Decides whether requests may be sent now, and if not, for how long.

Nothing is sent while the engine is closing or paused; with ``auto_flush=False`` unless ``flush``
was called; while there is no network; while the credentials are refused; for a moment after a
reconnect; and during a pause of the server. A call of ``flush`` tries the network and the
credentials again.

Who owns what: the worker's thread calls the methods; any thread may use ``report_connectivity``,
``may_fetch``, ``delivers`` and ``is_stopped``. ``_lock`` guards ``_reported_online``, for the
length of an assignment; ``paused`` and ``closing`` are plain flags.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from bytelyst_sync.delivery.connectivity import Step
from bytelyst_sync.delivery.context import DeliveryContext
from bytelyst_sync.delivery.dispatcher import Dispatcher
from bytelyst_sync.delivery.sender_pool import Room
from bytelyst_sync.errors import AuthError

__all__ = ["SendPermission"]


class SendPermission:
    """Checks the ``SendConditions``, and whether the program has paused or flushed."""

    def __init__(
        self,
        context: DeliveryContext,
        dispatcher: Dispatcher,
        *,
        probe_server: Callable[[], bool],
        auto_flush: bool,
    ) -> None:
        conditions = context.conditions
        self._connectivity = conditions.connectivity
        self._auth_hold = conditions.auth_hold
        self._throttle = conditions.throttle
        self._flush_requests = context.flush_requests
        self._board = context.board
        self._clock = context.clock
        self._dispatcher = dispatcher
        self._probe_server = probe_server
        self.auto_flush = auto_flush
        self.paused = False
        self.closing = False
        self._lock = threading.Lock()
        self._reported_online: bool | None = None
        """Whether a pull in another thread reached the network; ``None`` after the next round."""

    # --- from any thread

    @property
    def delivers(self) -> bool:
        """Whether this process delivers now: by itself, or because ``flush`` was called."""
        return self.auto_flush or bool(self._flush_requests)

    def is_stopped(self) -> bool:
        """Whether the engine is paused or closing."""
        return self.closing or self.paused

    def may_fetch(self) -> bool:
        """Whether pulls may send requests now."""
        return (
            not self.is_stopped()
            and self._connectivity.online
            and not self._auth_hold.active
            and self._throttle.remaining() <= 0
        )

    def report_connectivity(self, online: bool, portal: bool) -> None:
        """A pull in another thread reached the network, or failed to: a captive portal answered it,
        or there was no network.
        """
        self._board.portal = portal
        with self._lock:
            reported = self._reported_online
            known = self._connectivity.online if reported is None else reported
            if online is not known:
                self._board.online = online
                self._reported_online = online

    # --- in the worker's thread

    def may_send(self) -> bool:
        """Whether more may be sent, between two slices: a cheap check."""
        return self.may_fetch() and self.delivers

    def blocked_for(self, default_s: float) -> float | None:
        """Seconds for which nothing may be sent, for whatever reason; ``None``: send.

        ``default_s`` is returned where only a call of the program can change that. A new flush
        request tries the network and the credentials again, once.
        """
        flush_requests = self._flush_requests.all()
        requested = any(not request.seen for request in flush_requests)
        for request in flush_requests:
            request.seen = True
        if self.paused or not (self.auto_flush or flush_requests):
            return default_s
        if not self._connectivity.online and not self._look_for_network(requested):
            return self._connectivity.wait_s() or 0.0
        if self._auth_hold.active and not self._ask_for_credentials(requested):
            return self._auth_hold.wait_s()
        if requested:
            self._throttle.cut_short()
        now = self._clock.monotonic()
        if self._connectivity.resume_at > now and not flush_requests:
            return self._connectivity.resume_at - now
        pause = self._throttle.remaining()
        return pause if pause > 0 else None

    def apply_reported_connectivity(self) -> None:
        """Goes online or offline if a pull in another thread has reported so."""
        with self._lock:
            online, self._reported_online = self._reported_online, None
        if online is True:
            self._connectivity.reached()
            self._dispatcher.go_online()
        elif online is False and self._connectivity.online:
            # the pull has reported the reason
            self._dispatcher.go_offline(None, portal=self._board.portal)

    def _look_for_network(self, requested: bool) -> bool:
        step = self._connectivity.step(forced=requested)
        if step is Step.GO:
            self._dispatcher.go_online()
        if step is Step.TRY:
            self._try_one()
        return self._connectivity.online

    def _try_one(self) -> None:
        """Sends one real request while offline: a probe may be wrong, a request is not."""
        if self._dispatcher.acquire() and self._dispatcher.settle_and_claim(Room(1)):
            self._dispatcher.drain(self.is_stopped)
            self._dispatcher.settle_and_claim(Room(0))
        elif self._probe_server():
            self._connectivity.reached()
            self._dispatcher.go_online()
        else:
            self._connectivity.postpone()
        self._dispatcher.release()

    def _ask_for_credentials(self, requested: bool) -> bool:
        """Tries refused credentials again on a flush, or if ``auth`` gives others."""
        if requested:
            self._auth_hold.lift()
        else:
            try:
                self._auth_hold.ask_again()
            except AuthError as error:
                self._board.note_error(str(error))
        return not self._auth_hold.active
