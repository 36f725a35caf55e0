"""Servers and other tools for testing programs that use ``bytelyst_sync``.

Names are imported at their first use, so importing one of them does not load the others. Some need
another package, and raise an error that names it: ``FakeServer`` needs ``responses``,
``StorageContract`` and ``SharedContract`` ``pytest``, ``check_against_model`` ``hypothesis``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bytelyst_sync.testing.api import Api
    from bytelyst_sync.testing.engines import EngineFactory
    from bytelyst_sync.testing.events import Events, capture_events
    from bytelyst_sync.testing.fake import FakeServer
    from bytelyst_sync.testing.faults import Drop, DropAnswer, Lose, Reply, Stall, Truncate
    from bytelyst_sync.testing.http_messages import RecordedRequest, Seen
    from bytelyst_sync.testing.manual_clock import ManualClock
    from bytelyst_sync.testing.network import offline
    from bytelyst_sync.testing.proxy import FaultProxy
    from bytelyst_sync.testing.raw import RawServer
    from bytelyst_sync.testing.server import SyncServer
    from bytelyst_sync.testing.shared import SharedContract
    from bytelyst_sync.testing.storage import StorageContract
    from bytelyst_sync.testing.storage_model import check_against_model
    from bytelyst_sync.testing.store_values import Effect

__all__ = [
    "Api",
    "Drop",
    "DropAnswer",
    "Effect",
    "EngineFactory",
    "Events",
    "FakeServer",
    "FaultProxy",
    "Lose",
    "ManualClock",
    "RawServer",
    "RecordedRequest",
    "Reply",
    "Seen",
    "SharedContract",
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
    "Drop": "faults",
    "DropAnswer": "faults",
    "Effect": "store_values",
    "EngineFactory": "engines",
    "Events": "events",
    "FakeServer": "fake",
    "FaultProxy": "proxy",
    "ManualClock": "manual_clock",
    "RawServer": "raw",
    "RecordedRequest": "http_messages",
    "Reply": "faults",
    "Stall": "faults",
    "SharedContract": "shared",
    "StorageContract": "storage",
    "SyncServer": "server",
    "Truncate": "faults",
    "capture_events": "events",
    "check_against_model": "storage_model",
    "offline": "network",
}
_FORMER_NAMES: Final = {"Lose": "DropAnswer", "Seen": "RecordedRequest"}
_NEEDS: Final = {
    "FakeServer": "responses",
    "SharedContract": "pytest",
    "StorageContract": "pytest",
    "check_against_model": "hypothesis",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    name = _FORMER_NAMES.get(name, name)
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
    # freezegun reads every listed attribute: that must not import optional packages
    unused = {name for name, package in _NEEDS.items() if package not in sys.modules}
    return sorted({*globals(), *__all__} - unused)
