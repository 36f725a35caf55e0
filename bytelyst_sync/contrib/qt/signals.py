"""The events of an engine as Qt signals, on the thread of the user interface.

Who owns what: the engine's notifier thread emits; Qt queues the call for the thread that this
object was made on. The engine refers to it weakly: it ends with its parent.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from bytelyst_sync.contrib.qt.binding import QtCore, Signal
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["EngineSignals"]

_FRAME_MS = 16
logger = SafeLogger("bytelyst_sync.qt")


class EngineSignals(QtCore.QObject):  # type: ignore[misc]  # the binding is chosen at run time
    """Signals ``changed(RecordChange)``, ``status_changed(SyncStatusInfo)``, ``failed(SyncItem)``;
    and ``refreshed()``, once after any number of these.
    """

    changed = Signal(object)
    status_changed = Signal(object)
    failed = Signal(object)
    refreshed = Signal()
    _happened = Signal()
    _finished = Signal(object)

    def __init__(self, engine: SyncEngine, entity: str | None = None, parent: Any = None) -> None:
        super().__init__(parent)
        self.engine = engine
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_FRAME_MS)
        self._timer.timeout.connect(self.refreshed)
        self_ref = weakref.ref(self)

        def emitting(name: str) -> Callable[[object], None]:
            def emit(value: object) -> None:
                signals = self_ref()
                if signals is not None:
                    # Qt may have deleted the object before Python does
                    with suppress(RuntimeError):
                        getattr(signals, name).emit(value)
                        signals._happened.emit()  # noqa: SLF001 - its own

            return emit

        subscriptions = [
            engine.on_change(emitting("changed"), entity),
            engine.on_status_change(emitting("status_changed")),
            engine.on_failure(emitting("failed")),
        ]
        self._unsubscribe = weakref.finalize(self, _call_all, subscriptions)
        self.destroyed.connect(self._unsubscribe)
        queued = QtCore.Qt.ConnectionType.QueuedConnection
        self._happened.connect(self._schedule, queued)
        self._finished.connect(_call, queued)

    def run(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], object] | None = None,
        failed: Callable[[Exception], object] | None = None,
    ) -> None:
        """Runs what waits for the network on a thread of its own; its result or its exception is
        handed over on the thread of the user interface.
        """

        def run() -> None:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - handed over
                caught = error
                if failed is None:
                    logger.failure(caught, "a call in the background raised, and has no 'failed'")
                else:
                    self._finish(lambda: failed(caught))
            else:
                if then is not None:
                    self._finish(lambda: then(result))

        threading.Thread(target=run, name="bytelyst-sync-qt", daemon=True).start()

    def close(self) -> None:
        """Unsubscribes."""
        self._unsubscribe()

    def _finish(self, call: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # Qt may have deleted the object
            self._finished.emit(call)

    def _schedule(self) -> None:
        if not self._timer.isActive():
            self._timer.start()


def _call(call: Callable[[], object]) -> None:
    call()


def _call_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()
