"""Opens a store or an engine for one verb, while other programs may use the same file.

The engine has ``auto_flush=False``. For a verb that only reads or writes the store it is paused as
well, so that it neither uses the network nor takes the right to deliver.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import attrs

from bytelyst_sync.cli.keys import unlocked
from bytelyst_sync.config.entity import Entity, compile_entities
from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import StorageError
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.inspection.settings import Settings
from bytelyst_sync.storage import MemoryStorage, Storage
from bytelyst_sync.storage.location import open_file_store
from bytelyst_sync.wiring import transport_of

__all__ = ["Wire", "exists", "local_engine", "opened_store", "sending_engine"]

_CLOSE_S = 5.0


class Wire:
    """A transport that records whether the last answer was 401, and whether a pull has begun."""

    def __init__(self, settings: Settings) -> None:
        self._transport = transport_of(settings.config)
        base = settings.config.base_url.rstrip("/")
        self._listings = {
            f"{base}/{_pull_path(each)}" for each in compile_entities(settings.config).values()
        }
        self.refused = False
        self.fetching = False

    def send(self, request: Request) -> Response:
        """As the port says."""
        if request.url.partition("?")[0] in self._listings and request.method == "GET":
            self.fetching = True
        response = self._transport.send(request)
        if request.authorize:
            self.refused = response.status == 401
        return response

    def close(self) -> None:
        """As the port says."""
        close = getattr(self._transport, "close", None)
        if close is not None:
            close()


def _pull_path(entity: Entity) -> str:
    route = entity.dialect.pull.partition(" ")[2]
    return route.replace("{endpoint}", entity.config.endpoint.strip("/")).lstrip("/")


def exists(settings: Settings) -> bool:
    """Whether there is a store; also true if its repair was interrupted."""
    path = settings.store
    if not settings.in_file:
        return True
    return path.exists() or any(path.parent.glob(f"{escape(path.name)}.damaged-*.salvage"))


def _refuse_root(path: Path, *needed: str) -> None:
    """Raises ``StorageError`` if root would create a lock file that the owner cannot use."""
    if os.name != "posix" or os.geteuid() != 0 or not path.is_file():
        return
    owner = path.stat().st_uid
    if owner != 0 and not all(path.with_name(path.name + each).exists() for each in needed):
        raise StorageError(
            f"{path} belongs to user {owner}, and root's lock beside it would shut that user's"
            f" programs out: run this as the owner (sudo -u '#{owner}' …)"
        )


@contextmanager
def opened_store(settings: Settings) -> Iterator[Storage]:
    """The store, for reading; an empty one if there is none yet."""
    _refuse_root(settings.store, ".lock")
    storage: Storage
    if not exists(settings):
        storage = MemoryStorage()
    elif settings.storage is not None:
        storage = settings.storage
    else:
        storage = open_file_store(settings.kind, settings.store, settings.config.durability)
    try:
        yield storage
    finally:
        storage.close()


@contextmanager
def local_engine(settings: Settings, *, make: bool = False) -> Iterator[SyncEngine]:
    """An engine that does not use the network. ``make``: a missing store is created."""
    _refuse_root(settings.store, ".lock")
    store = _store(settings) if make or exists(settings) else ":memory:"
    engine = SyncEngine(_passive_config(settings, storage=store))
    try:
        engine.pause()
        yield engine
    finally:
        engine.close(_CLOSE_S)


@contextmanager
def sending_engine(settings: Settings) -> Iterator[tuple[SyncEngine, Wire]]:
    """An engine that sends and fetches on request only, and its transport."""
    settings.require_credentials()
    _refuse_root(settings.store, ".lock", ".deliver")
    wire = Wire(settings)
    engine = SyncEngine(_passive_config(settings, storage=_store(settings), transport=wire))
    try:
        yield engine, wire
    finally:
        engine.close(_CLOSE_S)


def _store(settings: Settings) -> str | Storage:
    """The store to work on; the terminal asks for the key of an encrypted one."""
    if settings.storage is not None:
        return settings.storage
    return unlocked(settings) or settings.location


def _passive_config(settings: Settings, **changes: object) -> SyncConfig:
    """The settings without all work in the background."""
    config = settings.config
    entities = {
        name: attrs.evolve(each, reconcile_interval=None) for name, each in config.entities.items()
    }
    return attrs.evolve(
        config,
        entities=entities,
        auto_flush=False,
        pull_interval=None,
        exit_timeout=0.0,
        # the device's reports and its obedience are the program's
        heartbeat=None,
        remote_commands=None,
        **changes,  # type: ignore[arg-type]
    )
