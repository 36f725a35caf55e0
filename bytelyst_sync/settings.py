"""Settings from files and from the environment, turned into what the classes take."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bytelyst_sync.checks import wrong_value
from bytelyst_sync.dialect import Dialect
from bytelyst_sync.errors import ConfigError

__all__ = ["as_dialect", "known_settings", "read_environment"]

_PREFIX = "BYTELYST_SYNC_"
_OF_OTHERS = ("config",)
"""Names under the prefix that are not settings: where the command line finds its file."""
_PRESETS = ("rest", "kinto", "drf", "json_server", "couchdb")


def known_settings(given: Mapping[str, Any], kind: type, path: str = "") -> dict[str, Any]:
    """The settings as keywords of ``kind``; a name it does not have is named in the error."""
    known = [field.name for field in attrs.fields(kind)]
    for name in given:
        if name not in known:
            raise wrong_value(f"{path}{name}", "…", "the settings " + ", ".join(known))
    options = dict(given)
    if "dialect" in options:
        options["dialect"] = as_dialect(options["dialect"])
    return options


def as_dialect(value: Any) -> Any:
    """A preset's name, or a dict of fields with an optional ``preset``, becomes a Dialect."""
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, Mapping):
        return value
    fields = dict(value)
    preset = fields.pop("preset", "rest")
    if preset not in _PRESETS:
        raise wrong_value("dialect", preset, ", ".join(map(repr, _PRESETS)))
    made: Dialect = getattr(Dialect, preset)()
    return made.evolve(**fields)


def read_environment(
    environ: Mapping[str, str] | None, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings that ``BYTELYST_SYNC_*`` give and the arguments do not."""
    options: dict[str, Any] = {}
    for variable, text in (os.environ if environ is None else environ).items():
        if not variable.startswith(_PREFIX) or not text.strip():
            continue
        name = variable[len(_PREFIX) :].lower()
        if name in _OF_OTHERS:
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
        secret = name in ("auth", "headers")
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
        raise ValueError("say true or false")
    return words[text.lower()]


def _text_entities(text: str) -> Any:
    if text.startswith("{"):
        return json.loads(text)
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(sign for _, sign, _ in pairs):
        raise ValueError("say name=/endpoint,name=/endpoint, or give a JSON object")
    return {name.strip(): endpoint.strip() for name, _, endpoint in pairs}


def _text_auth(text: str) -> Any:
    scheme, _, token = text.partition(" ")
    if scheme.lower() == "bearer" and token:
        return lambda: token
    user, colon, password = text.partition(":")
    if not colon:
        raise ValueError("say user:password or Bearer TOKEN")
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
}
