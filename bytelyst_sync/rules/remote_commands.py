"""Remote commands: what is signed, and whether a device may carry out a command.

A command is a record: ``id``, ``device``, ``name``, ``arguments``, ``issued`` and ``expires``
(whole seconds since the epoch) and ``signature``, which covers all of the others. The rows of the
table are checked from top to bottom; the first that applies is the reason of the refusal.

=============  =====================================================================
refusal        the command
=============  =====================================================================
``malformed``  lacks a field, or has one of another type
``signature``  was not signed with this device's key, or was altered
``window``     is valid for more than seven days, or expires before it was issued
``name``       is not among the allowed ones
``arguments``  has arguments that the command does not take
``expired``    has expired
=============  =====================================================================
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

from bytelyst_sync.rules.device_keys import DeviceKey, is_signed, signature

__all__ = [
    "LONGEST_S",
    "NAMES",
    "Command",
    "Refusal",
    "acknowledgement",
    "argument_problem",
    "is_acknowledged",
    "parse_command",
    "refusal",
    "signed",
]

Json = dict[str, Any]
Refusal = Literal["malformed", "signature", "window", "name", "arguments", "expired"]

NAMES = ("flush", "retry")
"""The commands that there are."""
LONGEST_S = 7 * 86_400
"""How long a command may be valid, in seconds."""
_ID = re.compile(r"[!-~]{1,128}")
_MOST_IDS = 1000
_LONGEST_ID = 255
_LATEST = 2**53
_COMMAND, _ACKNOWLEDGEMENT = "command", "acknowledgement"


class Command(NamedTuple):
    """A command, as its record says."""

    id: str
    device: str
    name: str
    arguments: Json
    issued: int
    expires: int
    signature: str

    def signed_values(self) -> list[object]:
        """What the signature covers."""
        return [self.id, self.device, self.name, self.arguments, self.issued, self.expires]


def parse_command(record: Mapping[str, Any], id_field: str) -> Command | None:
    """The command in a record; ``None`` if the record is none."""
    values: list[Any] = [record.get(id_field), *map(record.get, Command._fields[1:])]
    found = Command(*values)
    texts = (found.id, found.device, found.name, found.signature)
    times = (found.issued, found.expires)
    if not all(isinstance(each, str) for each in texts) or _ID.fullmatch(found.id) is None:
        return None
    if not all(type(each) is int and 0 <= each < _LATEST for each in times):
        return None
    return found if isinstance(found.arguments, dict) else None


def signed(key: DeviceKey, command: Command) -> Command:
    """The command with its signature."""
    return command._replace(signature=signature(key, _COMMAND, command.signed_values()))


def refusal(
    command: Command, key: DeviceKey, allowed: Collection[str], now: float
) -> Refusal | None:
    """Why the device with this key refuses the command; ``None``: it does not. ``now`` is a time
    that a clock that was set back cannot make earlier.
    """
    if not is_signed(key, _COMMAND, command.signed_values(), command.signature):
        return "signature"
    if not 0 < command.expires - command.issued <= LONGEST_S:
        return "window"
    if command.name not in allowed:
        return "name"
    if argument_problem(command.name, command.arguments) is not None:
        return "arguments"
    return "expired" if now >= command.expires else None


def argument_problem(name: str, arguments: Json) -> str | None:
    """What is wrong with the arguments of a command; ``None``: nothing.

    ``flush`` takes none. ``retry`` takes ``ids``, a list of ids of failed items; without it all
    failed items are retried.
    """
    unknown = set(arguments) - ({"ids"} if name == "retry" else set())
    if unknown:
        return f"{name} takes no {', '.join(sorted(map(str, unknown)))}"
    if "ids" not in arguments:
        return None
    ids = arguments["ids"]
    good = isinstance(ids, list) and 0 < len(ids) <= _MOST_IDS
    if good and all(isinstance(each, str) and 0 < len(each) <= _LONGEST_ID for each in ids):
        return None
    return f"ids of {name} is a list of 1 to {_MOST_IDS} ids of items"


def acknowledgement(key: DeviceKey, command_id: str, outcome: Json) -> Json:
    """What the device writes into the command's record: the outcome, with a signature."""
    return {**outcome, "signature": signature(key, _ACKNOWLEDGEMENT, [command_id, outcome])}


def is_acknowledged(key: DeviceKey, command_id: str, given: object) -> bool:
    """Whether the holder of this key has acknowledged the command."""
    if not isinstance(given, Mapping):
        return False
    outcome = {name: value for name, value in given.items() if name != "signature"}
    return is_signed(key, _ACKNOWLEDGEMENT, [command_id, outcome], given.get("signature"))
