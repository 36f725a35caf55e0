"""Derives the engine's status from the state of delivery. Owned by the worker's thread."""

from __future__ import annotations

from bytelyst_sync.delivery.context import DeliveryContext
from bytelyst_sync.delivery.dispatcher import Dispatcher
from bytelyst_sync.model import SyncStatus
from bytelyst_sync.pull.scheduler import PullScheduler

__all__ = ["StatusReporter"]


class StatusReporter:
    """Sets the status after a round of delivery. The first condition that holds decides."""

    def __init__(
        self, context: DeliveryContext, dispatcher: Dispatcher, pull_scheduler: PullScheduler
    ) -> None:
        self._conditions = context.conditions
        self._queue = context.queue
        self._claims = context.claims
        self._board = context.board
        self._clock = context.clock
        self._dispatcher = dispatcher
        self._pull_scheduler = pull_scheduler

    def update(self, *, crashed: bool) -> None:
        """Sets the status, unless requests are under way. ``crashed``: the last round raised."""
        connectivity, board = self._conditions.connectivity, self._board
        if self._dispatcher.busy or connectivity.resume_at > self._clock.monotonic():
            return
        if not connectivity.online:
            board.change(SyncStatus.OFFLINE, "portal" if board.portal else None)
        elif self._is_line_stopped():
            board.change(SyncStatus.ERROR, "blocked")
        elif self._conditions.auth_hold.active:
            board.change(SyncStatus.ERROR, "credentials")
        elif self._conditions.throttle.is_outage:
            board.change(SyncStatus.ERROR, "outage")
        elif crashed or self._pull_scheduler.trouble or self._has_failures() or board.is_held_up:
            board.change(SyncStatus.ERROR)
        else:
            board.change(SyncStatus.IDLE)

    def _has_failures(self) -> bool:
        """Whether the latest requests failed, and items are still failed or delayed."""
        known = self._dispatcher.trouble or self._board.has_faults("delivery")
        if known and not self._queue.read(self._claims.troubled):
            self._dispatcher.trouble = False
            self._board.clear_faults("delivery")
        return self._dispatcher.trouble

    def _is_line_stopped(self) -> bool:
        """Whether an item that needs a decision stops the line of a strict order."""
        line = self._claims.line
        item = self._queue.read(line.stopped_by) if line.strict else None
        if item is None:
            return False
        self._board.note_error(
            f"{item.operation} of {item.entity}/{item.record} holds up all items behind it"
            " (order='strict'): decide it with reprocess_failed(), discard_failed() or resolve()"
        )
        return True
