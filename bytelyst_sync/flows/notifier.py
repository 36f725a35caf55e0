"""Telling subscribers, in order, on a thread of its own.

Who owns what: ``_lock`` guards the queue of notes and whether the thread is alive; nothing but
that happens under it. One daemon thread, started with the first note and ended after a quiet
while or by ``close``, takes the notes in order and calls one callback at a time, so that
callbacks never run under a lock, never delay a push or a delivery, and may call any method of
the engine. ``inside`` tells a callback's thread that waiting for the notifier would be waiting
for itself.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from bytelyst_sync.flows.telling import log_raised

__all__ = ["Notifier", "Subscribers", "in_callback"]

logger = logging.getLogger("bytelyst_sync.notifier")
_QUIET_S = 10.0
_local = threading.local()


def in_callback() -> bool:
    """Whether this thread is running a subscriber's callback."""
    return bool(getattr(_local, "depth", 0))


def call_user(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls user code; while it runs, ``in_callback`` is true in this thread."""
    _local.depth = getattr(_local, "depth", 0) + 1
    try:
        return function(*arguments)
    finally:
        _local.depth -= 1


class Notifier:
    """A first-in first-out queue of calls, made one at a time by one thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # never entered itself, see ``Worker``
        self._notes: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._closing = False

    def post(self, note: Callable[[], None]) -> None:
        """Queues a call and returns at once."""
        with self._lock:
            self._notes.append(note)
            if self._thread is None:
                self._closing = False
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                # there may be too many, and while the interpreter ends Python 3.12 begins none:
                # who posts has done what there is to tell of, and the next to post tries again
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread
            self._changed.notify_all()

    def drain(self, timeout: float) -> bool:
        """Waits until all that was posted has been told; true if it has. Never waits for itself."""
        if in_callback():
            return False
        with self._lock:
            return self._changed.wait_for(lambda: not self._notes and not self._busy, timeout)

    def drop(self) -> None:
        """Forgets what has not been told yet."""
        with self._lock:
            self._notes.clear()

    def close(self, timeout: float) -> bool:
        """Tells what is left and ends the thread; true if it ended in time."""
        with self._lock:
            self._closing = True
            thread = self._thread
            self._changed.notify_all()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def after_fork(self) -> None:
        """In a forked child: the thread and what it was to tell stayed with the parent."""
        self.__init__(self._name)  # type: ignore[misc]

    def _run(self) -> None:
        while True:
            with self._lock:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._notes or self._closing, _QUIET_S)
                if not self._notes:
                    self._thread = None
                    return
                note = self._notes.popleft()
                self._busy = True
            try:
                note()
            except BaseException as error:  # noqa: BLE001 - the next ones are still to be told
                log_raised(logger, error, "a notification failed")


class Subscribers:
    """The ``callbacks`` of one kind of news. ``_lock`` guards that tuple; anyone may look at it."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self.callbacks: tuple[Callable[[Any], object], ...] = ()

    def add(self, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Subscribes; returns the function that unsubscribes, which may be called often."""
        if not callable(callback):
            raise TypeError(f"{self._kind}: the callback is no callable: {callback!r}")

        # a wrapper, so that one function may be subscribed twice and each taken back by itself
        def entry(value: Any) -> object:
            return callback(value)

        with self._lock:
            self.callbacks = (*self.callbacks, entry)

        def unsubscribe() -> None:
            with self._lock:
                self.callbacks = tuple(each for each in self.callbacks if each is not entry)

        return unsubscribe

    def after_fork(self) -> None:
        """In a forked child: the subscriptions stay."""
        self._lock = threading.Lock()

    def tell(self, value: Any) -> None:
        """Calls each; one that raises is logged and the rest still run."""
        for callback in self.callbacks:
            if callback not in self.callbacks:
                continue
            try:
                call_user(callback, value)
            # one that calls sys.exit() ends nothing here
            except BaseException as error:  # noqa: BLE001 - the other subscribers want to know, too
                log_raised(logger, error, "the callback of %s raised", self._kind)
