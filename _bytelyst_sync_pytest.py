"""The pytest plugin of bytelyst_sync: its fixtures, found through the entry point ``pytest11``.

A module of its own, beside the package: pytest imports it at every start, in every project that
has the package installed, and before coverage measures anything. So it imports nothing of the
package but inside of a fixture that is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bytelyst_sync.testing import EngineFactory, FaultProxy, SyncServer


@pytest.fixture
def sync_server_settings() -> dict[str, Any]:
    """The settings of ``sync_server``; a fixture of your own with this name gives other ones.

    ``{"dialect": CONFIG.dialect, "entities": CONFIG.entities}`` makes it speak as your API does.
    """
    return {}


@pytest.fixture
def sync_server(sync_server_settings: dict[str, Any]) -> Iterator[SyncServer]:
    """A REST API on loopback that the test can inspect, change and break."""
    from bytelyst_sync.testing import SyncServer  # noqa: PLC0415 - see above

    with SyncServer(**sync_server_settings) as server:
        yield server


@pytest.fixture
def sync_engine(sync_server: SyncServer) -> Iterator[EngineFactory]:
    """Makes engines for ``sync_server``, in memory, closed after the test.

    ``sync_engine(entities={"notes": "/notes"})``; all other settings may be given too, and your
    program's ``SyncConfig`` in front of them.
    """
    from bytelyst_sync.testing import EngineFactory  # noqa: PLC0415 - see above

    with EngineFactory(sync_server.url) as make:
        yield make


@pytest.fixture
def fault_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Starts a proxy with faults on demand before a server of your own, and stops it at the end.

    ``fault_proxy("http://127.0.0.1:8000/api")``; the settings of ``FaultProxy`` may be given too.
    """
    from bytelyst_sync.testing import FaultProxy  # noqa: PLC0415 - see above

    with ExitStack() as running:

        def start(target: str, **settings: Any) -> FaultProxy:
            return running.enter_context(FaultProxy(target, **settings))

        yield start
