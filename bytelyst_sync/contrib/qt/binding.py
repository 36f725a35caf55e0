"""The Qt binding of the program: the one that it has imported, else PySide6, else PyQt6."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["QtCore", "QtWidgets", "Signal", "Slot"]

_BINDINGS = ("PySide6", "PyQt6")


def _binding() -> str:
    imported = [name for name in _BINDINGS if f"{name}.QtCore" in sys.modules]
    for name in imported or _BINDINGS:
        if find_spec(name) is not None:
            return name
    raise ImportError(
        'bytelyst_sync.contrib.qt needs the extra "qt": pip install "bytelyst-sync[qt]" (PySide6);'
        " PyQt6 will do as well"
    )


_NAME = _binding()
# both have the same classes; types come from neither, for the program chooses at run time
QtCore: Any = import_module(f"{_NAME}.QtCore")
QtWidgets: Any = import_module(f"{_NAME}.QtWidgets")
_prefix = "pyqt" if _NAME == "PyQt6" else ""
Signal: Any = getattr(QtCore, f"{_prefix}Signal")
Slot: Any = getattr(QtCore, f"{_prefix}Slot")
