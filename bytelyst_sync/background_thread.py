"""A daemon thread that other threads start, wake and close: the worker, pulls in the background,
the device agent, and the thread of the operations pages.

Who owns what: ``_lock`` guards ``_thread``, ``running``, ``_woken``, ``closing`` and
``_after_exit``, for the length of an assignment. ``_run`` is called in the thread, and not under
the lock.

A signal handler may raise in ``start`` when the thread has begun and is not registered. So the
thread registers itself, and ends at once where another one is registered or ``close`` was called.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

__all__ = ["BackgroundThread"]


class BackgroundThread(ABC):
    """A subclass defines ``_run``, a loop of ``_clear``, a round of work, and ``_wait``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._wake_up = threading.Condition(self._lock)
        """For waits and wake-ups under ``_lock``, and never entered itself: an interrupt in a
        condition's ``__enter__``, which is Python's, may leave the lock locked.
        """
        self._thread: threading.Thread | None = None
        self._woken = False
        self._after_exit: Callable[[], None] | None = None
        self.running = False
        """Whether the thread runs. Any thread may read it."""
        self.closing = False
        """Whether ``close`` was called. Any thread may read it."""

    # --- from any thread

    def start(self) -> None:
        """Starts the thread unless it runs; ``RuntimeError`` if the system gives none."""
        if self.running:
            return
        with self._lock:
            if self._thread is None and not self.closing:
                thread = threading.Thread(target=self._run_once, name=self._name, daemon=True)
                thread.start()
                self._thread, self.running = thread, True

    def wake(self) -> None:
        """Ends the thread's wait, or the next one: there may be something to do."""
        if self._woken:
            return
        with self._lock:
            self._woken = True
            self._wake_up.notify_all()

    def close(self, timeout: float, after_exit: Callable[[], None] | None = None) -> bool:
        """Ends the thread; true if it ended in time. Otherwise it calls ``after_exit`` later."""
        with self._lock:
            self.closing = True
            self._wake_up.notify_all()
            thread = self._thread
        if thread is None:
            return True
        if thread is not threading.current_thread():
            thread.join(timeout)
        with self._lock:
            if self._thread is None or not thread.is_alive():
                return True
            self._after_exit = after_exit
            return False

    def after_fork(self) -> None:
        """In a forked child: the thread stays with the parent."""
        self._reset()

    # --- in the thread

    @abstractmethod
    def _run(self) -> None:
        """The work of the thread, from its start to its end."""

    def _clear(self) -> None:
        """Forgets wake-ups. Called before the work, so that none of them comes too late for it."""
        self._woken = False

    def _wait(self, seconds: float | None) -> bool:
        """Waits; true if it was woken or is closing, false after so many seconds."""
        with self._lock:
            return self._wake_up.wait_for(lambda: self._woken or self.closing, seconds)

    def _wait_for_close(self, seconds: float) -> bool:
        """Waits whether woken or not; true if it is closing, false after so many seconds."""
        with self._lock:
            return self._wake_up.wait_for(lambda: self.closing, seconds)

    def _end_unless_woken(self) -> bool:
        """Whether ``_run`` is to return because there is nothing to do. The next ``start`` starts
        another thread.
        """
        with self._lock:
            if self._woken and not self.closing:
                return False
            self._thread, self.running = None, False
            return True

    def _run_once(self) -> None:
        if not self._register():
            return
        try:
            self._run()
        finally:
            self._leave()

    def _register(self) -> bool:
        thread = threading.current_thread()
        with self._lock:
            if self._thread is None and not self.closing:
                self._thread, self.running = thread, True
            return self._thread is thread

    def _leave(self) -> None:
        with self._lock:
            if self._thread is not threading.current_thread():
                return
            self._thread, self.running = None, False
            after_exit = self._after_exit
        if after_exit is not None:
            after_exit()
