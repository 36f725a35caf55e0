"""The flags that every verb takes, as settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from bytelyst_sync.config.env import read_environment
from bytelyst_sync.errors import ConfigError

__all__ = ["Flags", "settings_of_flags"]

_PREFIX = "BYTELYST_SYNC_"
Json = dict[str, Any]


@attrs.define
class Flags:
    """The flags of one run of the command."""

    config: str | None = None
    app: str | None = None
    key_env: str | None = None
    base_url: str | None = None
    storage: str | None = None
    entities: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


def settings_of_flags(flags: Flags, so_far: Json) -> Json:
    """The settings in the flags; ``so_far`` are the settings with lower precedence."""
    settings: Json = {}
    for text in flags.sets:
        name, value = _pair(text, "--set", "NAME=VALUE")
        if name in ("auth", "headers"):
            raise ConfigError(
                f"--set {name}: arguments can be read by everybody on this machine: use "
                f"{_PREFIX}{name.upper()}",
                field=name,
            )
        settings.update(_as_text(name, value))
    if flags.base_url is not None:
        settings["base_url"] = flags.base_url
    if flags.storage is not None:
        settings["storage"] = str(Path(flags.storage).expanduser())
    if flags.entities:
        known = so_far.get("entities", {})
        entities = dict(known) if isinstance(known, Mapping) else {}
        for text in flags.entities:
            name, endpoint = _pair(text, "--entity", "NAME=/ENDPOINT")
            before = entities.get(name)
            table = dict(before) if isinstance(before, Mapping) else {}
            entities[name] = {**table, "endpoint": endpoint}
        settings["entities"] = entities
    return settings


def _pair(text: str, flag: str, form: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise ConfigError(f"{flag} {text!r}: say {flag} {form}")
    return name.strip(), value.strip()


def _as_text(name: str, value: str) -> Json:
    """A setting from a text, converted as a variable of the environment is."""
    variable = _PREFIX + name.upper()
    try:
        return read_environment({variable: value}, {})
    except ConfigError as error:
        text = str(error).replace(variable, f"--set {name}").replace(_PREFIX, "")
        raise ConfigError(text, field=error.field, value=error.value) from None
