"""A label that shows the status of an engine."""

from __future__ import annotations

from typing import Any

from bytelyst_sync.contrib.qt.binding import QtWidgets
from bytelyst_sync.contrib.qt.signals import EngineSignals
from bytelyst_sync.contrib.status_text import status_text
from bytelyst_sync.engine import SyncEngine

__all__ = ["StatusBadge"]


class StatusBadge(QtWidgets.QLabel):  # type: ignore[misc]  # the binding is chosen at run time
    """Online or not, what waits, what was refused; the last error is its tooltip."""

    def __init__(self, engine: SyncEngine, parent: Any = None) -> None:
        super().__init__(parent)
        self._signals = EngineSignals(engine, parent=self)
        self._signals.refreshed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Shows the status of now."""
        shown = status_text(self._signals.engine.status)
        self.setText(shown.text)
        self.setToolTip(shown.detail)
        self.setStyleSheet(
            f"background: {shown.colour}; color: white; padding: 3px 10px; border-radius: 3px"
        )
