"""What the tests of this room share: a server, and an engine on it."""

import random

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.testing import SyncServer
from tests.typed import NewEngine


@pytest.fixture(autouse=True)
def steady_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """No flush tries again what it has just tried, and by the next one the backoff is over."""
    monkeypatch.setattr(random, "random", lambda: 0.5)


@pytest.fixture
def engine(server: SyncServer, new_engine: NewEngine) -> SyncEngine:
    return new_engine(server.url)
