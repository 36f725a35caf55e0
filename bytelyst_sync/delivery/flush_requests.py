"""The open calls of ``flush``, which the worker finishes.

The worker's thread alone changes a request until it finishes it. The waiting thread reads it after
``wait`` returns, at the latest at its timeout. Any thread may add or drop a request.
"""

from __future__ import annotations

import threading
from contextlib import suppress

from bytelyst_sync.errors import EngineClosedError
from bytelyst_sync.state.commit_effects import CommitEffects

__all__ = ["FlushRequest", "FlushRequests"]


class FlushRequest:
    """One call of ``flush``. ``upto`` is the store's last number at the call."""

    def __init__(self, upto: int) -> None:
        self.upto = upto
        self._unfinished = threading.Lock()
        """Locked until it is finished. No ``Event``: an interrupt in there may leave it locked."""
        self._unfinished.acquire()
        self.seen = False
        """Whether a round has begun since it was added."""
        self.pushed = 0
        self.conflicts = 0
        self.errors = 0
        self.offline = False
        self.error: Exception | None = None

    def count(self, effects: CommitEffects) -> None:
        """Adds what a commit did."""
        self.pushed += effects.pushed
        self.conflicts += effects.conflicts
        self.errors += effects.errors

    def finish(self, *, offline: bool, error: Exception | None = None) -> None:
        """Sets the outcome, and wakes the waiting thread."""
        self.offline = offline
        self.error = error
        with suppress(RuntimeError):  # it was finished
            self._unfinished.release()

    def wait(self, timeout: float) -> bool:
        """Waits for up to ``timeout`` seconds; true if it is finished."""
        finished = self._unfinished.acquire(timeout=max(0.0, timeout))
        if finished:
            self._unfinished.release()
        return finished


class FlushRequests:
    """The open requests. ``_lock`` guards the list of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[FlushRequest] = []
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._open)

    def all(self) -> list[FlushRequest]:
        """The requests that are open now."""
        with self._lock:
            return self._open.copy()

    def add(self, request: FlushRequest) -> None:
        """Adds a request; raises ``EngineClosedError`` after ``close``."""
        with self._lock:
            if self._closed:
                raise EngineClosedError("the engine was closed; make a new one")
            self._open.append(request)

    def drop(self, request: FlushRequest) -> None:
        """Removes a request."""
        with self._lock:
            if request in self._open:
                self._open.remove(request)

    def close(self) -> None:
        """Refuses further requests."""
        with self._lock:
            self._closed = True

    def finish_all(self, *, offline: bool, error: Exception | None = None) -> None:
        """Finishes and removes all requests."""
        for request in self.all():
            self.drop(request)
            request.finish(offline=offline, error=error)
