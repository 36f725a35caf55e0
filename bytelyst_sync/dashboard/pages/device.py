"""A device of a fleet: its latest report, the commands for it, and its answers."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, cast

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.config.remote_commands import CommandName
from bytelyst_sync.dashboard.components.parts import Badge, Column, Table, Tone
from bytelyst_sync.dashboard.components.text import count_of, moment, value
from bytelyst_sync.dashboard.http import Response, redirect
from bytelyst_sync.dashboard.pages.fleet import TONES, explanation, read_fleets
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.fleet.commands import CommandState, IssuedCommand
from bytelyst_sync.rules.heartbeat import Device, DeviceState
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["command", "show"]

logger = SafeLogger("bytelyst_sync.dashboard")
_VALID = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}
_VALID_TEXTS = (("1d", "one day"), ("1h", "one hour"), ("7d", "seven days"))
_COLUMNS = (
    Column("Command"),
    Column("State"),
    Column("What became of it"),
    Column("Issued"),
    Column("Valid until", wide=True),
)
_COMMAND_TONES: dict[CommandState, Tone] = {
    "queued": "info",
    "failed": "bad",
    "sent": "info",
    "done": "good",
    "refused": "warn",
    "expired": "warn",
    "forged": "bad",
}
_STATES: dict[CommandState, str] = {
    "queued": "waits here to be delivered to the server",
    "failed": "the server did not take it: see the failed changes and the conflicts",
    "sent": "at the server; the device has not answered yet",
    "done": "carried out",
    "refused": "the device refused it",
    "expired": "the device has not answered in time",
    "forged": "the command, or the answer to it, is not signed with the device's key",
}


def show(context: Context) -> Response:
    """The device, and the commands that the actor may issue."""
    name = context.params["device"]
    found = _find(context, name)
    if found is None:
        return context.page(
            "not_found.html",
            "Not found",
            status=404,
            message=f"No device {name} has reported to this store.",
            back_url=context.request.url("fleet"),
        )
    device, state = found
    commands = context.site.fleet_commands
    issued = [] if commands is None else commands.issued(context.source.engine, name)
    return context.page(
        "device.html",
        "Device",
        live=True,
        current="fleet",
        device=device,
        state=Badge(state, TONES[state]),
        why=explanation(device, state),
        facts_of=_facts(device),
        possible=commands is not None,
        allowed=context.may("command"),
        command_id=str(uuid.uuid4()),
        valid=_VALID_TEXTS,
        number=len(issued),
        commands=Table(
            "Commands for this device", _COLUMNS, [_row(each) for each in issued], row_heading=0
        ),
    )


def _find(context: Context, name: str) -> tuple[Device, DeviceState] | None:
    for fleet in read_fleets(context):
        for device, state in fleet.devices:
            if device.id == name:
                return device, state
    return None


def _facts(device: Device) -> list[tuple[str, object]]:
    return [
        ("Last report", moment(as_datetime(device.sent_at))),
        ("Status", value(device.status)),
        ("Waiting", f"{device.queued:,}"),
        ("Failed", f"{device.failed:,}"),
        ("Conflicts", f"{device.conflicts:,}"),
        ("Version", value(f"{device.package}, data {device.schema_version}")),
        ("Commands carried out", f"{device.commands_done:,}"),
        ("Commands refused", f"{device.commands_refused:,}"),
    ]


def _row(each: IssuedCommand) -> tuple[str, list[object]]:
    return f"command-{each.id}", [
        value(each.name),
        Badge(each.state, _COMMAND_TONES[each.state]),
        value(_outcome(each)),
        moment(as_datetime(each.issued)),
        moment(as_datetime(each.expires), due=True),
    ]


def _outcome(each: IssuedCommand) -> str:
    """The outcome of a command in words."""
    if each.state == "done" and each.changes is not None:
        what = "delivered" if each.name == "flush" else "queued again"
        return f"{count_of(each.changes, 'change')} {what}"
    if each.state == "refused" and each.reason is not None:
        return f"the device refused it: {each.reason}"
    return _STATES[each.state]


def command(context: Context) -> Response:
    """Issues a command, once for each form."""
    name, form, commands = context.params["device"], context.form, context.site.fleet_commands
    if commands is None:
        raise InvalidDataError(
            "these pages issue no commands: they were not given fleet_commands=…", path="$.command"
        )
    if _find(context, name) is None:
        raise InvalidDataError(f"no device {name} has reported to this store", path="$.device")
    valid_for = _VALID.get(form.get("valid"))
    if valid_for is None:
        raise InvalidDataError(
            f"valid is {form.get('valid')!r}; allowed: {', '.join(_VALID)}", path="$.valid"
        )
    made = commands.issue(
        context.source.engine,
        name,
        cast("CommandName", form.get("command")),  # it checks the name
        valid_for=valid_for,
        command_id=_form_id(form.get("id")),
    )
    logger.info(
        "%s issued the remote command %s (%s) for the device %s",
        context.actor.name,
        made,
        form.get("command"),
        name,
    )
    return redirect(context.request.url(f"fleet/{name}", done="commanded"))


def _form_id(given: Any) -> str:
    """The id that the page gave to the command, so that a form that is sent twice issues one."""
    try:
        return str(uuid.UUID(given))
    except (TypeError, ValueError):
        raise InvalidDataError(f"{given!r} is no id of a command", path="$.id") from None
