"""Servers and other tools for testing programs that use `bytelyst_sync`.

Names are imported on first use, so that taking one of them does not load the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bytelyst_sync.testing.raw import RawServer, Seen
    from bytelyst_sync.testing.server import (
        Drop,
        Lose,
        Reply,
        Stall,
        SyncServer,
        Truncate,
    )
    from bytelyst_sync.testing.store import Effect

__all__ = [
    "Drop",
    "Effect",
    "Lose",
    "RawServer",
    "Reply",
    "Seen",
    "Stall",
    "SyncServer",
    "Truncate",
]

_HOMES: Final = {
    "Drop": "server",
    "Effect": "store",
    "Lose": "server",
    "RawServer": "raw",
    "Reply": "server",
    "Seen": "raw",
    "Stall": "server",
    "SyncServer": "server",
    "Truncate": "server",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
