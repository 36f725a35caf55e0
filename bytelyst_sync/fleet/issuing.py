"""Signs commands for devices."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.config.remote_commands import CommandName
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.rules.device_keys import DeviceKey, device_key, parse_key
from bytelyst_sync.rules.remote_commands import (
    LONGEST_S,
    NAMES,
    Command,
    argument_problem,
    parse_command,
    signed,
)

__all__ = ["sign_command"]


def sign_command(
    master: bytes,
    device: str,
    name: CommandName,
    arguments: Mapping[str, Any] | None = None,
    *,
    valid_for: timedelta = timedelta(days=1),
    command_id: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """The record of a command: store it at the server, in the entity from which devices pull.

    ``flush`` takes no arguments; ``retry`` takes ``{"ids": [...]}``, ids of failed items, or none
    for all of them. A command is valid for seven days at most. ``command_id`` is a new UUID unless
    it is given: 1 to 128 visible ASCII characters. ``now``, an aware datetime, is when it is
    issued, if that is not now. The device answers in the record's field ``acknowledged``.

    Raises ``ConfigError`` for a ``master`` that is no secret of 32 bytes or more, and
    ``InvalidDataError`` for anything else that is wrong.
    """
    key = parse_key(device_key(master, device))
    if key is None:
        raise InvalidDataError(f"device is {device!r}, which is no device's id", path="device")
    if name not in NAMES:
        raise InvalidDataError(f"name is {name!r}; allowed: {', '.join(NAMES)}", path="name")
    given = dict(arguments or {})
    problem = argument_problem(name, given)
    if problem is not None:
        raise InvalidDataError(problem, path="arguments")
    seconds = int(valid_for.total_seconds())
    if not 0 < seconds <= LONGEST_S:
        raise InvalidDataError(
            f"valid_for is {valid_for}; allowed: from a second to seven days", path="valid_for"
        )
    issued = int(SystemClock().wall() if now is None else now.timestamp())
    made = str(uuid.uuid4()) if command_id is None else command_id
    return _record(key, Command(made, key.device, name, given, issued, issued + seconds, ""))


def _record(key: DeviceKey, command: Command) -> dict[str, Any]:
    record = signed(key, command)._asdict()
    if parse_command(record, "id") is None:
        raise InvalidDataError(
            f"command_id is {command.id!r}; allowed: 1 to 128 visible ASCII characters",
            path="command_id",
        )
    return record
