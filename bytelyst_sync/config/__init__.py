"""What a program configures: settings, entities and dialects."""

from __future__ import annotations

from bytelyst_sync.config.batch_format import BatchFormat
from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.keywords import EngineSettings
from bytelyst_sync.config.remote_commands import RemoteCommands
from bytelyst_sync.config.settings import EntityConfig, SyncConfig

__all__ = [
    "BatchFormat",
    "Dialect",
    "EngineSettings",
    "EntityConfig",
    "RemoteCommands",
    "SyncConfig",
]
