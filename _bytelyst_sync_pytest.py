"""The pytest plugin of bytelyst_sync: two fixtures, found through the entry point ``pytest11``.

A module of its own, beside the package: pytest imports it at every start, in every project that
has the package installed, and before coverage measures anything. So it imports nothing of the
package but inside of a fixture that is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bytelyst_sync.testing import EngineFactory, SyncServer


@pytest.fixture
def sync_server() -> Iterator[SyncServer]:
    """A REST API on loopback that the test can inspect, change and break."""
    from bytelyst_sync.testing import SyncServer  # noqa: PLC0415 - see above

    with SyncServer() as server:
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
