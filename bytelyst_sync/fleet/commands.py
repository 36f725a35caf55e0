"""Issues commands through the queue of the operator's engine, and reads what became of them.

A command is a record of an entity: it is queued as any create, so an operator without a network
issues it too, and what the device answers comes back with a pull of that entity.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import attrs

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.config.remote_commands import CommandName
from bytelyst_sync.engine import SyncEngine, core_of
from bytelyst_sync.errors import ConfigError, InvalidDataError, RecordExistsError
from bytelyst_sync.fleet.issuing import sign_command
from bytelyst_sync.model import ViewState
from bytelyst_sync.rules.device_keys import DeviceKey, device_key, parse_key
from bytelyst_sync.rules.remote_commands import (
    NAMES,
    Command,
    is_acknowledged,
    parse_command,
    refusal,
)

__all__ = ["CommandState", "FleetCommands", "IssuedCommand"]

Json = dict[str, Any]
CommandState = Literal["queued", "failed", "sent", "done", "refused", "expired", "forged"]
_MOST_SHOWN = 20
_MEANING = ("device", "name", "arguments")
_UNSENT: Mapping[ViewState, CommandState] = {
    ViewState.PENDING: "queued",
    ViewState.SENDING: "queued",
    ViewState.FAILED: "failed",
    ViewState.CONFLICT: "failed",
}


class IssuedCommand(NamedTuple):
    """A command, and what became of it.

    ``queued``: not delivered to the server yet; ``failed``: the server refused the record, see
    ``engine.failed()`` and ``engine.conflicts()``; ``sent``: the device has not answered; ``done``
    and ``refused``: its answer, with its signature; ``expired``: not answered in time; ``forged``:
    the command or its answer is not signed with the device's key.
    """

    id: str
    name: str
    issued: float
    """In seconds since the epoch, as ``expires``."""
    expires: float
    state: CommandState
    reason: str | None
    """Why the device refused it."""
    changes: int | None
    """How many changes were delivered (``flush``) or queued again (``retry``)."""


def _text(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(
            f"FleetCommands.entity is {value!r}; allowed: the name of an entity", field="entity"
        )


@attrs.frozen
class FleetCommands:
    """Where commands for devices are stored: the ``entity`` that the devices pull.

    ``master`` is the fleet's master key. ``fields``, a function of the device's id, returns other
    fields that the API wants in the record of a command.
    """

    entity: str = attrs.field(validator=_text)
    master: bytes = attrs.field(repr=False)
    fields: Callable[[str], Mapping[str, Any]] | None = None

    def __attrs_post_init__(self) -> None:
        device_key(self.master, "")  # ``ConfigError`` for what is no master key

    def check(self, engine: SyncEngine) -> None:
        """``ConfigError`` if this engine cannot issue commands into the entity."""
        known = engine.config.entities.get(self.entity)
        if known is None:
            raise ConfigError(
                f"FleetCommands.entity is {self.entity!r}, which is no entity of this engine: add"
                " it to entities={...}",
                field="entity",
            )
        if known.id_source != "client":
            raise ConfigError(
                f"the ids of {self.entity!r} are given by the server, but the id of a command is"
                ' signed before it is sent: the entity needs id_source="client"',
                field="entity",
            )
        if not known.replica:
            raise ConfigError(
                f"{self.entity!r} is not pulled (replica=False), so no answer of a device would"
                " arrive here: leave out replica=False",
                field="entity",
            )

    def issue(
        self,
        engine: SyncEngine,
        device: str,
        name: CommandName,
        arguments: Mapping[str, Any] | None = None,
        *,
        valid_for: timedelta = timedelta(days=1),
        command_id: str | None = None,
    ) -> str:
        """Signs a command and queues it; returns its id. It is durable when this returns.

        The arguments are those of ``sign_command``. A ``command_id`` that was issued before is not
        issued again. Raises as ``sign_command`` and ``SyncEngine.push`` do.
        """
        self.check(engine)
        core = core_of(engine)
        core.check_open()
        # by the server's clock, as devices read the time
        now = as_datetime(core.clock.wall() + core.running().throttle.offset.seconds)
        record = sign_command(
            self.master, device, name, arguments,
            valid_for=valid_for, command_id=command_id, now=now,
        )  # fmt: skip
        id_field = engine.config.entities[self.entity].id_field
        made = str(record.pop("id"))
        others = {} if self.fields is None else dict(self.fields(device))
        clash = sorted(others.keys() & {id_field, *record})
        if clash:
            raise InvalidDataError(
                f"FleetCommands.fields gives {', '.join(clash)}, which the command has itself",
                path=clash[0],
            )
        if not self._is_issued(engine, made, record):
            data = {id_field: made, **record, **others}
            try:
                # in a database, the create of another process is not visible before its commit;
                # of two with one key, one is queued
                engine.create(self.entity, data, key=str(record["signature"]))
            except RecordExistsError:  # issued meanwhile
                if not self._is_issued(engine, made, record):
                    raise
        return made

    def _is_issued(self, engine: SyncEngine, command_id: str, record: Json) -> bool:
        """Whether the command is here already; ``InvalidDataError`` if its id is another's."""
        held = engine.get(self.entity, command_id)
        if held is None:
            return False
        if not held.items() >= {each: record[each] for each in _MEANING}.items():
            raise InvalidDataError(
                f"command_id is {command_id!r}, the id of another record of {self.entity!r}",
                path="command_id",
            )
        return True

    def issued(self, engine: SyncEngine, device: str) -> list[IssuedCommand]:
        """The latest commands for a device, newest first, as far as they were issued here or
        pulled. ``EntityConfig(indexes=("device",))`` makes this fast where there are many.
        """
        self.check(engine)
        key = parse_key(device_key(self.master, device))
        if key is None:
            return []
        core = core_of(engine)
        now = core.clock.wall() + core.running().throttle.offset.seconds
        found = heapq.nlargest(_MOST_SHOWN, self._records(engine, device), key=_issue_time)
        return [_outcome(key, *each, now) for each in found]

    def _records(
        self, engine: SyncEngine, device: str
    ) -> Iterator[tuple[Command, Json, ViewState]]:
        id_field = engine.config.entities[self.entity].id_field
        for view in engine.record_views(self.entity, {"device": device}):
            command = parse_command(view.data, id_field)
            if command is not None:
                yield command, view.data, view.state


def _issue_time(found: tuple[Command, Json, ViewState]) -> tuple[int, str]:
    return found[0].issued, found[0].id


def _outcome(
    key: DeviceKey, command: Command, record: Json, view: ViewState, now: float
) -> IssuedCommand:
    answer = record.get("acknowledged")
    authentic = is_acknowledged(key, command.id, answer)
    given: Json = answer if isinstance(answer, dict) and authentic else {}
    state: CommandState
    if refusal(command, key, NAMES, now) == "signature" or (answer is not None and not authentic):
        state = "forged"
    elif authentic:
        state = "done" if given.get("outcome") == "done" else "refused"
    elif view is not ViewState.SYNCED:
        state = _UNSENT[view]
    else:
        state = "expired" if now >= command.expires else "sent"
    count, reason = given.get("count"), given.get("reason")
    return IssuedCommand(
        command.id,
        command.name,
        float(command.issued),
        float(command.expires),
        state,
        reason if isinstance(reason, str) else None,
        count if isinstance(count, int) else None,
    )
