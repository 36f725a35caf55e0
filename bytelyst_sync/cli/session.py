"""A store or an engine for the length of one verb, beside whatever other program uses the file.

No verb delivers by itself: the engine has ``auto_flush=False``, and one that only reads or writes
the store is paused besides, so that it neither asks the network nor takes the right to deliver.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import attrs

from bytelyst_sync.cli.settings import Settings
from bytelyst_sync.config import SyncConfig, is_token_provider
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.entity import Entity, compile_entities
from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage import MemoryStorage, SQLiteStorage, Storage
from bytelyst_sync.transport.base import Request, Response
from bytelyst_sync.transport.http import HttpTransport

__all__ = ["Wire", "exists", "local_engine", "opened_store", "sending_engine"]

_CLOSE_S = 5.0


class Wire:
    """The transport; notes whether the credentials were refused last, and whether a pull began."""

    def __init__(self, settings: Settings) -> None:
        auth = settings.config.auth
        self._transport = HttpTransport(auth=None if is_token_provider(auth) else auth)
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
        self._transport.close()


def _pull_path(entity: Entity) -> str:
    route = entity.dialect.pull.partition(" ")[2]
    return route.replace("{endpoint}", entity.config.endpoint.strip("/")).lstrip("/")


def exists(path: Path) -> bool:
    """Whether there is a store, or one whose repair was interrupted."""
    return path.exists() or any(path.parent.glob(f"{escape(path.name)}.damaged-*.salvage"))


def _spare_the_owner(path: Path, *needed: str) -> None:
    """``StorageError`` where root would make a lock file that the store's owner cannot use."""
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
    """The store, to be read; an empty one in its place where there is none yet."""
    _spare_the_owner(settings.store, ".lock")
    storage: Storage
    if exists(settings.store):
        storage = SQLiteStorage(settings.store, durability=settings.config.durability)
    else:
        storage = MemoryStorage()
    try:
        yield storage
    finally:
        storage.close()


@contextmanager
def local_engine(settings: Settings, *, make: bool = False) -> Iterator[SyncEngine]:
    """An engine that stays away from the network. Without ``make`` no store is made."""
    _spare_the_owner(settings.store, ".lock")
    store = settings.store if make or exists(settings.store) else ":memory:"
    engine = SyncEngine(_tame(settings, storage=str(store)))
    try:
        engine.pause()
        yield engine
    finally:
        engine.close(_CLOSE_S)


@contextmanager
def sending_engine(settings: Settings) -> Iterator[tuple[SyncEngine, Wire]]:
    """An engine that sends and fetches when it is asked to, and what it hears."""
    settings.require_credentials()
    _spare_the_owner(settings.store, ".lock", ".deliver")
    wire = Wire(settings)
    engine = SyncEngine(_tame(settings, storage=str(settings.store), transport=wire))
    try:
        yield engine, wire
    finally:
        engine.close(_CLOSE_S)


def _tame(settings: Settings, **changes: object) -> SyncConfig:
    """The settings without what an engine does by itself."""
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
        **changes,  # type: ignore[arg-type]
    )
