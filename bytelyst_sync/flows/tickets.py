"""What a flush waits on: a ticket, filled in by the worker.

The worker's thread alone changes a ticket until it finishes it; the waiting thread reads it after
``wait`` returns, or takes what is there when its patience ends. Any thread may add or drop one.
"""

from __future__ import annotations

import threading
from contextlib import suppress

from bytelyst_sync.errors import EngineClosedError
from bytelyst_sync.state.effects import Effects

__all__ = ["Ticket", "Tickets"]


class Ticket:
    """One call of ``flush``. ``upto`` is the store's last number at the call."""

    def __init__(self, upto: int) -> None:
        self.upto = upto
        self._unfinished = threading.Lock()
        """Locked until it is finished. No ``Event``: an interrupt in there may leave it locked."""
        self._unfinished.acquire()
        self.seen = False
        self.pushed = 0
        self.conflicts = 0
        self.errors = 0
        self.offline = False
        self.error: Exception | None = None

    def count(self, effects: Effects) -> None:
        """Adds what a commit did."""
        self.pushed += effects.pushed
        self.conflicts += effects.conflicts
        self.errors += effects.errors

    def finish(self, *, offline: bool, error: Exception | None = None) -> None:
        """Lets the waiting thread go on."""
        self.offline = offline
        self.error = error
        with suppress(RuntimeError):  # it was finished
            self._unfinished.release()

    def wait(self, timeout: float) -> bool:
        """Waits for so many seconds; true if it is finished."""
        finished = self._unfinished.acquire(timeout=max(0.0, timeout))
        if finished:
            self._unfinished.release()
        return finished


class Tickets:
    """The open ones. ``_lock`` guards the list of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Ticket] = []
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._open)

    def all(self) -> list[Ticket]:
        """Those that are open now."""
        with self._lock:
            return self._open.copy()

    def add(self, ticket: Ticket) -> None:
        """Opens one; ``EngineClosedError`` once nobody would finish it."""
        with self._lock:
            if self._closed:
                raise EngineClosedError("the engine was closed; make a new one")
            self._open.append(ticket)

    def drop(self, ticket: Ticket) -> None:
        """Forgets one."""
        with self._lock:
            if ticket in self._open:
                self._open.remove(ticket)

    def close(self) -> None:
        """Takes no more."""
        with self._lock:
            self._closed = True

    def finish_all(self, *, offline: bool, error: Exception | None = None) -> None:
        """Nobody waits in vain."""
        for ticket in self.all():
            self.drop(ticket)
            ticket.finish(offline=offline, error=error)
