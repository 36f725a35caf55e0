"""An engine in a Qt program: signals, a table model, a status badge. Needs the extra ``qt``.

Works with PySide6 and PyQt6, whichever the program has imported. Everything here belongs to the
thread of the user interface; what the engine tells on its own threads comes there as signals.
"""

from __future__ import annotations

from bytelyst_sync.contrib.qt.badge import StatusBadge
from bytelyst_sync.contrib.qt.records_model import RecordsModel
from bytelyst_sync.contrib.qt.signals import EngineSignals

__all__ = ["EngineSignals", "RecordsModel", "StatusBadge"]
