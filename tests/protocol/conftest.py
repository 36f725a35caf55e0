"""What the tests of this room share: APIs on loopback, and engines on them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from bytelyst_sync import Dialect, EntityConfig, SyncEngine
from tests.protocol.loopback import Loopback
from tests.typed import NewEngine


class HasUrl(Protocol):
    url: str


@pytest.fixture
def loopback() -> Iterator[Callable[..., Loopback]]:
    """``loopback(handle)``: a server that answers as the function says."""
    with contextlib.ExitStack() as stack:
        yield lambda handle: stack.enter_context(Loopback(handle))


@pytest.fixture
def connect(new_engine: NewEngine) -> Callable[..., SyncEngine]:
    """``connect(api, dialect, **entity)``: an engine with the one entity ``notes``."""

    def make(
        api: HasUrl,
        dialect: Dialect,
        *,
        engine: dict[str, Any] | None = None,
        **entity: Any,
    ) -> SyncEngine:
        entities = {"notes": EntityConfig("/notes", **entity)}
        return new_engine(api.url, dialect=dialect, entities=entities, **(engine or {}))

    return make
