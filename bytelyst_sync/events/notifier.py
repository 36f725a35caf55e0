"""Calls the callbacks of subscribers, in order, on a separate thread.

Who owns what: ``_lock`` guards the queue of calls and whether the thread is alive; nothing else
happens under it. One daemon thread makes the calls in order, one at a time. It starts with the
first call, and ends when it was idle for some time or by ``close``. So callbacks never run under a
lock, never delay a push or a delivery, and may call any method of the engine. ``in_callback``
prevents a callback from waiting for the notifier, which would be a deadlock.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["Notifier", "Subscribers", "in_callback"]

logger = SafeLogger("bytelyst_sync.notifier")
_QUIET_S = 10.0
_local = threading.local()
Entries = tuple[Callable[[Any], object], ...]


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
        self._calls: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._closing = False

    def post(self, call: Callable[[], None]) -> None:
        """Queues a call and returns at once."""
        with self._lock:
            self._calls.append(call)
            if self._thread is None:
                self._closing = False
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                # starting a thread can fail: too many threads, or Python 3.12 is shutting down.
                # The caller's own work is done, so it must not fail; the next post tries again
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread
            self._changed.notify_all()

    def drain(self, timeout: float) -> bool:
        """Waits until all queued calls are done; true if they are. False inside a callback."""
        if in_callback():
            return False
        with self._lock:
            return self._changed.wait_for(lambda: not self._calls and not self._busy, timeout)

    def drop(self) -> None:
        """Drops the calls that have not started."""
        with self._lock:
            self._calls.clear()

    def close(self, timeout: float) -> bool:
        """Makes the remaining calls and ends the thread; true if it ended in time."""
        with self._lock:
            self._closing = True
            thread = self._thread
            self._changed.notify_all()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def after_fork(self) -> None:
        """In a forked child: the thread and its queue stay with the parent."""
        self.__init__(self._name)  # type: ignore[misc]

    def _run(self) -> None:
        while True:
            with self._lock:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._calls or self._closing, _QUIET_S)
                if not self._calls:
                    self._thread = None
                    return
                call = self._calls.popleft()
                self._busy = True
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - the next ones are still to be told
                logger.failure(error, "a notification failed")


class _Callbacks:
    """A tuple that can be referred to weakly."""

    def __init__(self) -> None:
        self.entries: Entries = ()


class Subscribers:
    """The ``callbacks`` of one kind of event. ``_lock`` guards changes of that tuple."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._own: _Callbacks | None = _Callbacks()
        self._held = weakref.ref(self._own)

    @property
    def callbacks(self) -> Entries:
        """The callbacks, in the order in which they were added."""
        held = self._held()
        return () if held is None else held.entries

    def entrust(self) -> object:
        """From now on the callbacks live as long as the object that is returned.

        A callback often refers to the engine. If a running thread kept it alive, the engine would
        never be dropped.
        """
        own, self._own = self._own, None
        return own

    def add(self, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Subscribes; returns a function that unsubscribes, which may be called repeatedly."""
        if not callable(callback):
            raise TypeError(f"{self._kind}: the callback is no callable: {callback!r}")

        # a wrapper, so that a function can be subscribed twice and unsubscribed separately
        def entry(value: Any) -> object:
            return callback(value)

        self._replace(lambda entries: (*entries, entry))

        def unsubscribe() -> None:
            self._replace(lambda entries: tuple(each for each in entries if each is not entry))

        return unsubscribe

    def _replace(self, changed: Callable[[Entries], Entries]) -> None:
        held = self._held()
        if held is not None:
            with self._lock:
                held.entries = changed(held.entries)

    def after_fork(self) -> None:
        """In a forked child: the subscriptions stay."""
        self._lock = threading.Lock()

    def notify(self, value: Any) -> None:
        """Calls all callbacks; an exception in one is logged, and the others are still called."""
        for callback in self.callbacks:
            if callback not in self.callbacks:
                continue
            try:
                call_user(callback, value)
            # one that calls sys.exit() ends nothing here
            except BaseException as error:  # noqa: BLE001 - the other subscribers want to know, too
                logger.failure(error, "the callback of %s raised", self._kind)
