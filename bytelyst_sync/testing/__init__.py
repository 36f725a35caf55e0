"""Servers and other tools for testing programs that use `bytelyst_sync`.

Names are imported on first use, so that taking one of them does not load the rest. Some need a
package of the test environment, and say so: `FakeServer` needs ``responses``, `StorageContract`
``pytest``, `check_against_model` ``hypothesis``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bytelyst_sync.testing.api import Api, Drop, Lose, Reply, Stall, Truncate
    from bytelyst_sync.testing.engines import EngineFactory
    from bytelyst_sync.testing.events import Events, capture_events
    from bytelyst_sync.testing.fake import FakeServer
    from bytelyst_sync.testing.manual_clock import ManualClock
    from bytelyst_sync.testing.network import offline
    from bytelyst_sync.testing.raw import RawServer, Seen
    from bytelyst_sync.testing.server import SyncServer
    from bytelyst_sync.testing.storage import StorageContract
    from bytelyst_sync.testing.storage_model import check_against_model
    from bytelyst_sync.testing.store import Effect

__all__ = [
    "Api",
    "Drop",
    "Effect",
    "EngineFactory",
    "Events",
    "FakeServer",
    "Lose",
    "ManualClock",
    "RawServer",
    "Reply",
    "Seen",
    "Stall",
    "StorageContract",
    "SyncServer",
    "Truncate",
    "capture_events",
    "check_against_model",
    "offline",
]

_HOMES: Final = {
    "Api": "api",
    "Drop": "api",
    "Effect": "store",
    "EngineFactory": "engines",
    "Events": "events",
    "FakeServer": "fake",
    "Lose": "api",
    "ManualClock": "manual_clock",
    "RawServer": "raw",
    "Reply": "api",
    "Seen": "raw",
    "Stall": "api",
    "StorageContract": "storage",
    "SyncServer": "server",
    "Truncate": "api",
    "capture_events": "events",
    "check_against_model": "storage_model",
    "offline": "network",
}
_NEEDS: Final = {
    "FakeServer": "responses",
    "StorageContract": "pytest",
    "check_against_model": "hypothesis",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name != _NEEDS.get(name):
            raise
        message = f"{__name__}.{name} needs {error.name}: pip install {error.name}"
        raise ModuleNotFoundError(message, name=error.name) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # freezegun gets whatever is listed: that should not load what the tests do without
    unused = {name for name, package in _NEEDS.items() if package not in sys.modules}
    return sorted({*globals(), *__all__} - unused)
