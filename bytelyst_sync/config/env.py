"""Reads settings from mappings and from the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.validators import unknown_name, wrong_value
from bytelyst_sync.errors import ConfigError

__all__ = ["PRESETS", "as_dialect", "known_settings", "read_environment"]

_PREFIX = "BYTELYST_SYNC_"
_NOT_SETTINGS = ("app", "config")
"""Variables with the prefix that only the command line reads."""
PRESETS = (
    *("rest", "kinto", "drf", "json_server", "couchdb"),
    *("json_api", "odata", "postgrest", "strapi", "pocketbase", "directus"),
)
"""The included dialects, by the names of their methods."""


def known_settings(settings: Mapping[str, Any], kind: type, path: str = "") -> dict[str, Any]:
    """The settings as keywords of ``kind``; ``ConfigError`` for a name that it does not have."""
    known = [field.name for field in attrs.fields(kind)]
    for name in settings:
        if name not in known:
            error = unknown_name(name, known)
            raise ConfigError(f"{path}{error}", field=f"{path}{name}", value=error.value)
    options = dict(settings)
    if "dialect" in options:
        options["dialect"] = as_dialect(options["dialect"])
    return options


def as_dialect(value: Any) -> Any:
    """Converts a preset's name, or a dict of fields with an optional ``preset``, to a Dialect."""
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, Mapping):
        return value
    fields = dict(value)
    preset = fields.pop("preset", "rest")
    if preset not in PRESETS:
        raise wrong_value("dialect", preset, ", ".join(map(repr, PRESETS)))
    dialect: Dialect = getattr(Dialect, preset)()
    return dialect.evolve(**fields)


def read_environment(
    environ: Mapping[str, str] | None, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings in ``BYTELYST_SYNC_*``, without those that are among the arguments."""
    options: dict[str, Any] = {}
    for variable, text in (os.environ if environ is None else environ).items():
        if not variable.startswith(_PREFIX) or not text.strip():
            continue
        name = variable[len(_PREFIX) :].lower()
        if name in _NOT_SETTINGS:
            continue
        if name not in _FROM_TEXT:
            names = ", ".join(_PREFIX + each.upper() for each in sorted(_FROM_TEXT))
            raise wrong_value(variable, "…", "the names " + names)
        if name not in arguments:
            options[name] = _read(variable, name, text.strip())
    return options


def _read(variable: str, name: str, text: str) -> Any:
    try:
        return _FROM_TEXT[name](text)
    except ValueError as error:
        secret = name in ("auth", "headers", "remote_commands")
        shown = "…" if secret else text
        why = "" if secret and isinstance(error, json.JSONDecodeError) else f": {error}"
        raise ConfigError(
            f"{variable} is {shown!r}; it cannot be read as {name}{why}", field=name, value=shown
        ) from None


def _text_flag(text: str) -> bool:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if text.lower() not in words:
        raise ValueError("write true or false")
    return words[text.lower()]


def _text_entities(text: str) -> Any:
    if text.startswith("{"):
        return json.loads(text)
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(sign for _, sign, _ in pairs):
        raise ValueError("write name=/endpoint,name=/endpoint, or a JSON object")
    return {name.strip(): endpoint.strip() for name, _, endpoint in pairs}


def _text_auth(text: str) -> Any:
    scheme, _, token = text.partition(" ")
    if scheme.lower() == "bearer" and token:
        return lambda: token
    user, colon, password = text.partition(":")
    if not colon:
        raise ValueError("write user:password or Bearer TOKEN")
    return (user, password)


def _text_optional(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text.lower() == "none" else reader(text)


def _text_dialect(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "base_url": str,
    "entities": _text_entities,
    "storage": str,
    "auth": _text_auth,
    "headers": json.loads,
    "timeout": lambda text: (
        float(text) if "," not in text else tuple(float(each) for each in text.split(","))
    ),
    "max_retries": int,
    "retry_delay": float,
    "max_retry_delay": float,
    "workers": int,
    "batch_size": int,
    "max_queue_length": _text_optional(int),
    "auto_flush": _text_flag,
    "pull_interval": _text_optional(float),
    "probe": _text_optional(str),
    "probe_interval": float,
    "conflict": str,
    "dialect": _text_dialect,
    "durability": str,
    "exit_timeout": float,
    "account": _text_optional(str),
    "order": str,
    "max_vanish": float,
    "give_up_after": float,
    "takeover_after": float,
    "heartbeat": _text_optional(str),
    "heartbeat_interval": float,
    "remote_commands": json.loads,
    "request_deadline": float,
    "schema_version": int,
}
