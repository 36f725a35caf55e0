"""The setting ``remote_commands``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from bytelyst_sync.config.validators import hidden, wrong_value
from bytelyst_sync.errors import ConfigError

__all__ = ["CommandName", "RemoteCommands", "as_remote_commands"]

CommandName = Literal["flush", "retry"]
_NAMES = ("flush", "retry")
_PREFIX = "bsd1."


def _entity_name(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise wrong_value("entity", value, "the name of an entity", "RemoteCommands.")


def _is_key(_: object, __: object, value: Any) -> None:
    if callable(value) or (isinstance(value, str) and value.startswith(_PREFIX)):
        return
    raise ConfigError(
        "RemoteCommands.key is no device's key: fleet.device_key(master, device_id) makes it at the"
        " server, where the master key stays; give that text, or a function of the device id that"
        " returns it",
        field="key",
        value="…",
    )


def _as_names(value: Any) -> tuple[CommandName, ...]:
    names = (value,) if isinstance(value, str) else value
    try:
        found = tuple(names)
    except TypeError:
        found = (names,)
    if not set(found) <= set(_NAMES):
        raise wrong_value("allow", value, f"some of {', '.join(_NAMES)}", "RemoteCommands.")
    return found


@attrs.frozen
class RemoteCommands:
    """Commands that this device carries out, from the records of ``entity``.

    ``key`` is this device's own key (``bytelyst_sync.fleet.device_key``), or a function of the
    device id that returns it. ``allow`` names the commands that are allowed.
    """

    entity: str = attrs.field(validator=_entity_name)
    key: str | Callable[[str], str] = attrs.field(validator=_is_key, repr=hidden)
    allow: tuple[CommandName, ...] = attrs.field(default=("flush", "retry"), converter=_as_names)


def as_remote_commands(value: Any) -> Any:
    """A dict, such as one of a Django setting, becomes ``RemoteCommands``."""
    if not isinstance(value, Mapping):
        return value
    try:
        return RemoteCommands(**value)
    except TypeError:
        allowed = "a dict with entity, key and, if wanted, allow"
        raise wrong_value("remote_commands", sorted(map(str, value)), allowed) from None
