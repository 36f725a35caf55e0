"""Suggests the nearest setting for a misspelt name."""

from __future__ import annotations

import attrs

from bytelyst_sync.config.batch_format import BatchFormat
from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.env import PRESETS
from bytelyst_sync.config.settings import EntityConfig, SyncConfig
from bytelyst_sync.config.validators import nearest
from bytelyst_sync.errors import ConfigError

__all__ = ["suggested"]

_PREFIX = "BYTELYST_SYNC_"
_UNKNOWN = "…"
"""The value in an error about an unknown name."""


def suggested(error: ConfigError) -> ConfigError:
    """The error, with the nearest name if it is about an unknown name."""
    text, field = str(error), error.field or ""
    if "you mean" in text:
        return error
    if field.endswith("dialect") and isinstance(error.value, str) and error.value != _UNKNOWN:
        name, known = error.value, list(PRESETS)
    elif field.startswith(_PREFIX) or f"{_PREFIX}{field.upper()}" in text:
        name, known = field.removeprefix(_PREFIX).lower(), _names(SyncConfig)
    elif "BatchFormat." in text:
        name, known = field, _names(BatchFormat)
    elif error.value == _UNKNOWN or field not in _names(SyncConfig, EntityConfig, Dialect):
        name, known = field.rpartition(".")[2], _names(SyncConfig, EntityConfig, Dialect)
    else:
        return error
    near = nearest(name, known)
    if name in known or near is None:
        return error
    variable = field.startswith(_PREFIX) and "--set" not in text
    suggestion = _PREFIX + near.upper() if variable else near
    return ConfigError(f"{text}; do you mean {suggestion}?", field=error.field, value=error.value)


def _names(*kinds: type[attrs.AttrsInstance]) -> list[str]:
    return [each.name for kind in kinds for each in attrs.fields(kind)]
