"""The settings as keywords, for type checkers: ``create_sync_engine(**settings)``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.remote_commands import RemoteCommands
from bytelyst_sync.config.settings import GivenEntity, Migrate, OnConflict
from bytelyst_sync.model import ConflictName

if TYPE_CHECKING:
    from requests import Session

    from bytelyst_sync.clock import Clock
    from bytelyst_sync.config.settings import Auth
    from bytelyst_sync.events.telemetry import TelemetryEvent
    from bytelyst_sync.http.transport import Transport
    from bytelyst_sync.storage.base import Storage

__all__ = ["EngineSettings"]


class _Required(TypedDict):
    base_url: str
    entities: Mapping[str, GivenEntity]
    storage: str | os.PathLike[str] | Storage


class EngineSettings(_Required, total=False):
    """The keywords of ``SyncConfig``."""

    auth: Auth | None
    headers: Mapping[str, str]
    timeout: float | tuple[float, float]
    max_retries: int
    retry_delay: float
    max_retry_delay: float
    workers: int
    batch_size: int
    max_queue_length: int | None
    auto_flush: bool
    pull_interval: float | None
    probe: Literal["auto"] | Callable[[], bool] | None
    probe_interval: float
    conflict: ConflictName
    on_conflict: OnConflict | None
    dialect: Dialect | str | Mapping[str, Any]
    durability: Literal["full", "normal"]
    exit_timeout: float
    telemetry: Callable[[TelemetryEvent], object] | None
    session_factory: Callable[[], Session] | None
    transport: Transport | None
    clock: Clock | None
    account: str | None
    order: Literal["record", "strict"]
    max_vanish: float
    give_up_after: float
    takeover_after: float
    heartbeat: str | None
    heartbeat_interval: float
    remote_commands: RemoteCommands | Mapping[str, Any] | None
    request_deadline: float
    schema_version: int
    migrate: Migrate | None
    json_default: Callable[[Any], Any] | None
