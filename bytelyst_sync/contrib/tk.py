"""Callbacks of an engine on Tk's main loop. Needs a Python with ``tkinter``.

Who owns what: Tk may be used by one thread only, the one that made ``root``. Callbacks of the
engine run on a thread of the engine: they put a call into a queue, and a timer of Tk's makes the
calls on the main loop, ``interval_ms`` later at most. All methods belong to Tk's thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from bytelyst_sync.contrib.status_text import status_text
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.model import RecordChange, SyncItem, SyncStatusInfo
from bytelyst_sync.safe_logging import SafeLogger

try:
    import tkinter as tk
except ImportError as error:
    raise ImportError(
        "bytelyst_sync.contrib.tk needs a Python with tkinter (Debian: apt install python3-tk)"
    ) from error

__all__ = ["StatusBadge", "TkBridge"]

T = TypeVar("T")
logger = SafeLogger("bytelyst_sync.tk")


class TkBridge:
    """Calls back on Tk's main loop, until ``close`` or until ``root`` is destroyed.

    A callback that raises is reported by ``root.report_callback_exception``, as those of widgets
    are, and the next ones are still called.
    """

    def __init__(self, root: tk.Misc, engine: SyncEngine, interval_ms: int = 50) -> None:
        self.engine = engine
        self._root = root
        self._interval_ms = interval_ms
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._unsubscribe: list[Callable[[], None]] = []
        self._closed = False
        self._timer = root.after(interval_ms, self._make_calls)
        root.bind("<Destroy>", self._destroyed, add=True)

    def on_change(
        self, callback: Callable[[RecordChange], object], entity: str | None = None
    ) -> Callable[[], None]:
        """As ``engine.on_change``: a record of the local view changed."""
        return self._kept(self.engine.on_change(self._posting(callback), entity))

    def on_status_change(self, callback: Callable[[SyncStatusInfo], object]) -> Callable[[], None]:
        """As ``engine.on_status_change``."""
        return self._kept(self.engine.on_status_change(self._posting(callback)))

    def on_failure(self, callback: Callable[[SyncItem], object]) -> Callable[[], None]:
        """As ``engine.on_failure``."""
        return self._kept(self.engine.on_failure(self._posting(callback)))

    def on_any(self, refresh: Callable[[], object]) -> Callable[[], None]:
        """Calls ``refresh`` after anything happened: many events are one call."""
        due = threading.Event()

        def call() -> None:
            due.clear()
            refresh()

        def happened(_: object) -> None:
            if not due.is_set():
                due.set()
                self._calls.put(call)

        subscriptions = [
            self.engine.on_change(happened),
            self.engine.on_status_change(happened),
            self.engine.on_failure(happened),
        ]

        def unsubscribe() -> None:
            for each in subscriptions:
                each()

        return self._kept(unsubscribe)

    def run(
        self,
        work: Callable[[], T],
        then: Callable[[T], object] | None = None,
        failed: Callable[[Exception], object] | None = None,
    ) -> None:
        """Runs what waits for the network on a thread of its own; its result or its exception is
        handed over on the main loop.
        """

        def run() -> None:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - handed over
                if failed is None:
                    logger.failure(error, "a call in the background raised, and has no 'failed'")
                else:
                    self._calls.put(partial(failed, error))
            else:
                if then is not None:
                    self._calls.put(partial(then, result))

        threading.Thread(target=run, name="bytelyst-sync-tk", daemon=True).start()

    def close(self) -> None:
        """Unsubscribes and stops the timer. What was not called yet is dropped."""
        if self._closed:
            return
        self._closed = True
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._root.after_cancel(self._timer)

    def _destroyed(self, event: tk.Event[Any]) -> None:
        if event.widget is self._root:
            self.close()

    def _kept(self, unsubscribe: Callable[[], None]) -> Callable[[], None]:
        self._unsubscribe.append(unsubscribe)
        return unsubscribe

    def _posting(self, callback: Callable[[T], object]) -> Callable[[T], None]:
        """What the engine calls, on a thread of its own: no Tk there."""
        return lambda value: self._calls.put(partial(callback, value))

    def _make_calls(self) -> None:
        self._timer = self._root.after(self._interval_ms, self._make_calls)
        for _ in range(self._calls.qsize()):
            if self._closed:
                return
            try:
                self._calls.get_nowait()()
            except Exception as error:  # noqa: BLE001 - reported as those of widgets are
                _report(self._root, error)


def _report(root: tk.Misc, error: Exception) -> None:
    top: Any = root.nametowidget(".")  # the one Tk object, whatever widget was given
    top.report_callback_exception(type(error), error, error.__traceback__)


class StatusBadge(tk.Label):
    """A label with the engine's status: online or not, what waits, what was refused."""

    def __init__(self, parent: tk.Misc, bridge: TkBridge, **options: Any) -> None:
        super().__init__(parent, **{"foreground": "white", "padx": 10, "pady": 3, **options})
        self._bridge = bridge
        self.refresh()
        unsubscribe = bridge.on_any(self.refresh)
        self.bind("<Destroy>", lambda _: unsubscribe(), add=True)

    def refresh(self) -> None:
        """Shows the status of now."""
        shown = status_text(self._bridge.engine.status)
        self.configure(text=shown.text, background=shown.colour)
