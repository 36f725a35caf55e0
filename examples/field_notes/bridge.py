"""The bridge from the engine's threads to the thread of the user interface.

Tk may be used by one thread only. Callbacks come on threads of the engine, so they do nothing but
put what they bring into a queue; ``after`` empties it on Tk's own thread.
"""

from __future__ import annotations

import queue
import threading
import tkinter as tk
from collections.abc import Callable

from bytelyst_sync import SyncEngine

EVERY_MS = 100


class Bridge:
    """Calls ``refresh`` on Tk's thread after anything happened; many events are one call."""

    def __init__(self, root: tk.Misc, engine: SyncEngine, refresh: Callable[[], None]) -> None:
        self._root = root
        self._refresh = refresh
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._unsubscribe = [
            engine.on_status_change(self._happened),
            engine.on_change(self._happened),
            engine.on_failure(self._happened),
        ]
        self._timer = root.after(EVERY_MS, self._drain)

    def _happened(self, _: object) -> None:
        """Runs on a thread of the engine: no Tk here."""
        self._events.put(None)

    def in_background(self, work: Callable[[], object], then: Callable[[], None]) -> None:
        """Run what waits for the network on a thread of its own, and ``then`` on Tk's."""

        def run() -> None:
            try:
                work()
            finally:
                self._events.put(then)

        threading.Thread(target=run, daemon=True).start()

    def _drain(self) -> None:
        any_news = False
        while not self._events.empty():
            any_news = True
            then = self._events.get()
            if then is not None:
                then()
        if any_news:
            self._refresh()
        self._timer = self._root.after(EVERY_MS, self._drain)

    def close(self) -> None:
        """Hear and draw nothing more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._root.after_cancel(self._timer)
