"""The engine of an operator, whose server is the devices' too."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bytelyst_sync import EntityConfig, SyncEngine, create_sync_engine
from bytelyst_sync.testing import ManualClock, SyncServer


@contextmanager
def open_office(server: SyncServer, clock: ManualClock, **entities: Any) -> Iterator[SyncEngine]:
    """An engine that keeps the commands, and these entities."""
    engine = create_sync_engine(
        base_url=server.url,
        entities={"commands": EntityConfig("/commands", indexes=("device",)), **entities},
        storage=":memory:",
        auto_flush=False,
        probe=None,
        clock=clock,
    )
    with engine:
        yield engine
