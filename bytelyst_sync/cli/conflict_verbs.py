"""The verbs for conflicts: list, show, resolve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import click
from rich import box
from rich.table import Table
from rich.text import Text

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import CliContext, object_argument
from bytelyst_sync.cli.session import local_engine
from bytelyst_sync.cli.show import Screen
from bytelyst_sync.cli.store_verbs import item_json, note_missing
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.inspection.text import clean, moment, short
from bytelyst_sync.model import Conflict

__all__: list[str] = []

_ABSENT: Any = object()
_WIDTH = 200
_SIDES: Mapping[str, Literal["local", "remote"]] = {"local": "local", "remote": "remote"}


@root.group("conflicts")
def conflicts() -> None:
    """Where both sides changed a record: list, compare, settle."""


def conflict_json(conflict: Conflict, *, data: bool) -> dict[str, Any]:
    """The documented JSON of a conflict; ``data``: with the records."""
    remote_time = conflict.remote_time
    shape: dict[str, Any] = {
        "id": conflict.id,
        "entity": conflict.entity,
        "record_id": conflict.record_id,
        "operation": conflict.operation.value,
        "fields": list(conflict.fields),
        "local_time": conflict.local_time.isoformat(),
        "remote_time": None if remote_time is None else remote_time.isoformat(),
        "resolution": conflict.resolution,
    }
    if data:
        shape |= {"base": conflict.base, "local": conflict.local, "remote": conflict.remote}
    return shape


@verb(conflicts, name="list")
@click.option("--resolved", is_flag=True, help="The settled ones of the last 30 days.")
def _list(context: CliContext, resolved: bool) -> int:
    """List the open conflicts, oldest first."""
    settings, screen = context.settings(), context.screen
    note_missing(screen, settings)
    with local_engine(settings) as engine:
        listed = engine.conflicts(resolved)
        if screen.json:
            for each in listed:
                screen.record(conflict_json(each, data=False))
            return ExitCode.OK
        rows = [_row(each) for each in listed]
    if screen.rich and not rows:
        screen.say("no settled conflict" if resolved else "no open conflict")
        return ExitCode.OK
    screen.rows(["id", "entity", "record", "operation", "fields", "changed", "settled"], rows)
    if screen.rich:
        screen.note("`bytelyst-sync conflicts show ID` compares the sides", style="dim")
    return ExitCode.OK


def _row(each: Conflict) -> list[object]:
    fields = ", ".join(each.fields) or None
    return [
        each.id,
        each.entity,
        each.record_id,
        each.operation,
        fields,
        each.local_time,
        each.resolution,
    ]


@verb(conflicts, name="show")
@click.argument("id_", metavar="ID")
def _show(context: CliContext, id_: str) -> int:
    """Compare the sides of one conflict, field by field: what both started from, here, there."""
    settings, screen = context.settings(), context.screen
    with local_engine(settings) as engine:
        conflict = _conflict_of(engine, id_)
    if screen.json:
        screen.document(conflict_json(conflict, data=True))
        return ExitCode.OK
    state = "open" if conflict.resolution is None else f"settled: {conflict.resolution}"
    screen.say(f"{conflict.entity} {conflict.record_id}: {conflict.operation}, {state}", "bold")
    if screen.rich:
        _show_table(screen, conflict)
    else:
        marked = _rows(conflict)
        screen.rows(
            ["", "field", "base", "local", "remote"],
            [[mark, field, *map(_plain, values)] for mark, field, values in marked],
        )
    if screen.rich and conflict.resolution is None:
        screen.note(
            f"`bytelyst-sync conflicts resolve {id_} local`, `remote`, or the record as JSON",
            style="dim",
        )
    return ExitCode.OK


def _rows(conflict: Conflict) -> list[tuple[str, str, list[Any]]]:
    """A mark, a field, and its value on the three sides; ``!``: both sides changed it."""
    sides = [conflict.base, conflict.local, conflict.remote]
    names = list(dict.fromkeys(name for side in sides if side for name in side))
    rows = []
    for name in names:
        values = [_ABSENT if side is None else side.get(name, _ABSENT) for side in sides]
        mark = "!" if name in conflict.fields else "*" if values[1] != values[2] else ""
        rows.append((mark, name, values))
    return sorted(rows, key=lambda row: "!*".find(row[0]) if row[0] else 2)


def _plain(value: Any) -> str | None:
    return None if value is _ABSENT else short(value, _WIDTH)


def _show_table(screen: Screen, conflict: Conflict) -> None:
    table = Table(box=box.ROUNDED, header_style="bold")
    table.add_column("field", style="bold")
    table.add_column(_heading("base", conflict.base, None, "unknown"), overflow="fold")
    table.add_column(
        _heading("local", conflict.local, moment(conflict.local_time), "deleted here"),
        overflow="fold",
    )
    when = None if conflict.remote_time is None else moment(conflict.remote_time)
    table.add_column(_heading("remote", conflict.remote, when, "deleted there"), overflow="fold")
    for mark, name, (base, local, remote) in _rows(conflict):
        style = {"!": "magenta", "*": "yellow"}.get(mark, "dim")
        table.add_row(
            Text(f"{clean(name)} {mark}".rstrip(), style=style),
            Text(_shown(base), style="dim"),
            Text(_shown(local), style="green" if local != base else "dim"),
            Text(_shown(remote), style="cyan" if remote != base else "dim"),
        )
    screen.show(table)


def _heading(name: str, side: object, when: str | None, absent: str) -> Text:
    what = absent if side is None else when
    return Text(name if what is None else f"{name} ({what})")


def _shown(value: Any) -> str:
    return "–" if value is _ABSENT else clean(short(value, _WIDTH))


def _conflict_of(engine: SyncEngine, id_: str) -> Conflict:
    number = id_.lstrip("#")
    for resolved in (False, True):
        for each in engine.conflicts(resolved):
            if each.id == number:
                return each
    raise click.UsageError(f"no conflict {id_}: `bytelyst-sync conflicts list` shows their ids")


@verb(conflicts, name="resolve")
@click.argument("id_", metavar="ID")
@click.argument("answer", metavar="local|remote|JSON|-|@FILE")
def _resolve(context: CliContext, id_: str, answer: str) -> int:
    """Settle a conflict: keep the local side, the remote one, or the record given."""
    settings, screen = context.settings(), context.screen
    side = _SIDES.get(answer)
    data = object_argument(answer, "the record") if side is None else side
    with local_engine(settings) as engine:
        conflict = _conflict_of(engine, id_)
        if conflict.resolution is not None:
            raise click.UsageError(f"conflict {id_} is settled already: {conflict.resolution}")
        item = engine.resolve(conflict, data)
    if screen.json:
        screen.document({"id": conflict.id, "item": None if item is None else item_json(item)})
        return ExitCode.OK
    screen.say(f"settled: {conflict.entity} {conflict.record_id}")
    if item is not None:
        screen.note("`bytelyst-sync flush` delivers what comes of it", style="dim")
    return ExitCode.OK
