"""The verbs that read a store or push into it: status, queue, push."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import attrs
import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import ENTITY, CliContext, json_argument
from bytelyst_sync.cli.panel import describe, watch
from bytelyst_sync.cli.session import exists, local_engine, opened_store
from bytelyst_sync.cli.show import Screen
from bytelyst_sync.delivery.probes import HttpProbe
from bytelyst_sync.inspection.settings import Settings
from bytelyst_sync.inspection.snapshot import Snapshot, take_snapshot
from bytelyst_sync.inspection.text import as_json, count_of, short
from bytelyst_sync.model import SyncItem, SyncOperation

__all__ = ["item_json", "note_missing"]

_SHOWN = 50
_LONGEST = 40


def note_missing(screen: Screen, settings: Settings) -> None:
    """Prints a note if there is no store yet: its name may be misspelt."""
    if not exists(settings):
        screen.note(f"{settings.store} is not there yet: the first push makes it")


# --- status


@verb(root, name="status")
@click.option("--watch", "keep_watching", is_flag=True, help="Keep showing it, until Ctrl-C.")
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=1.0, metavar="SECONDS",
    show_default=True, help="How often --watch looks.",
)  # fmt: skip
@click.option(
    "--probe/--no-probe",
    default=None,
    help="Ask whether the server answers (default with --watch).",
)
def _status(context: CliContext, keep_watching: bool, interval: float, probe: bool | None) -> int:
    """Show what waits, what failed, and what is in conflict."""
    settings, screen = context.settings(), context.screen
    ask = (
        HttpProbe(settings.config.base_url) if (keep_watching if probe is None else probe) else None
    )
    note_missing(screen, settings)
    if keep_watching:
        return watch(settings, screen, interval, ask, status_json)
    with opened_store(settings) as store:
        snapshot = attrs.evolve(
            store.read(partial(take_snapshot, settings=settings)), exists=exists(settings)
        )
        notice = store.notice
    online = None if ask is None else ask()
    if screen.json:
        screen.document(status_json(settings, snapshot, online, notice))
    else:
        describe(screen, settings, snapshot, online)
    if notice:
        screen.warn(notice)
    return ExitCode.OK


def status_json(
    settings: Settings, snapshot: Snapshot, online: bool | None, notice: str | None
) -> dict[str, Any]:
    """The documented JSON of a status."""
    return {
        "storage": str(settings.store),
        "base_url": settings.config.base_url,
        **snapshot.as_json(),
        "online": online,
        "notice": notice,
    }


# --- queue


def item_json(item: SyncItem, *, data: bool = False) -> dict[str, Any]:
    """The documented JSON of an item; ``data``: with its payload."""
    due = item.next_attempt
    shape: dict[str, Any] = {
        "id": item.id,
        "number": item.seq,
        "entity": item.entity,
        "record_id": item.record_id,
        "operation": item.operation.value,
        "state": item.state.value,
        "timestamp": item.timestamp.isoformat(),
        "retry_count": item.retry_count,
        "last_error": item.last_error,
        "next_attempt": None if due is None else due.isoformat(),
        "base_version": item.base_version,
    }
    return {**shape, "data": item.data} if data else shape


@verb(root, name="queue")
@click.argument("name", metavar="[ENTITY]", type=ENTITY, required=False)
@click.option("--data", is_flag=True, help="Show the payloads as well.")
@click.option(
    "--limit", type=click.IntRange(0), help=f"At most so many; 0: all (terminal: {_SHOWN})."
)
def _queue(context: CliContext, name: str | None, data: bool, limit: int | None) -> int:
    """List what waits to be delivered, of one entity or of all, oldest first."""
    settings, screen = context.settings(), context.screen
    note_missing(screen, settings)
    with local_engine(settings) as engine:
        items = (each for each in engine.queue() if name in (None, each.entity))
        if limit is None and screen.rich:
            limit = _SHOWN
        chosen = islice(items, limit) if limit else items
        if screen.json:
            for item in chosen:
                screen.record(item_json(item, data=data))
            return ExitCode.OK
        counted = _Counted(chosen)
        columns = ["no.", "entity", "record", "operation", "state", "queued", "tries", "next try"]
        columns += ["data"] if data else []
        rows = (_row(item, data, screen) for item in counted)
        if screen.rich and not engine.queue_length:
            failed = engine.status.failed
            screen.say(f"nothing waits; {failed} failed" if failed else "nothing waits")
            return ExitCode.OK
        screen.rows(columns, rows)
        remaining = engine.queue_length - counted.number
        if screen.rich and name is None and remaining > 0:
            screen.note(f"… and {remaining} more (--limit 0 shows all)", style="dim")
    return ExitCode.OK


def _row(item: SyncItem, data: bool, screen: Screen) -> list[Any]:
    row: list[Any] = [
        item.seq,
        item.entity,
        item.record_id,
        item.operation,
        item.state,
        item.timestamp,
        item.retry_count,
        item.next_attempt,
    ]
    if data:
        row.append(short(item.data) if screen.rich else as_json(item.data))
    return row


class _Counted:
    """An iterator that counts its items."""

    def __init__(self, items: Iterator[SyncItem]) -> None:
        self._items = items
        self.number = 0

    def __iter__(self) -> Iterator[SyncItem]:
        for item in self._items:
            self.number += 1
            yield item


# --- push


@verb(root, name="push", short_help="Queue a create, an update or a delete.")
@click.argument("entity", type=ENTITY)
@click.argument("data", metavar="JSON|-|@FILE")
@click.option("--update", "operation", flag_value="update", help="Change the fields given.")
@click.option("--delete", "operation", flag_value="delete", help="Delete; JSON may be the bare id.")
def _push(context: CliContext, entity: str, data: str, operation: str | None) -> int:
    """Queue a change: a create, unless told otherwise. It is saved when this returns.

    A JSON array queues a change for each of its objects, in one commit.
    """
    settings, screen = context.settings(), context.screen
    verb_ = operation or "create"
    with local_engine(settings, make=True) as engine:
        known = settings.config.entities.get(entity)
        value = _data(data, verb_, known.id_field if known else "id")
        rows = value if isinstance(value, list) else [value]
        items = engine.push_many(entity, rows, SyncOperation(verb_))
        length = engine.queue_length
    if screen.json:
        for item in items:
            screen.record(item_json(item))
        return ExitCode.OK
    for item in items[:_SHOWN]:
        screen.say(f"queued: {item.operation} {item.entity} {item.record_id}")
    if len(items) > _SHOWN:
        screen.say(f"… and {len(items) - _SHOWN} more")
    if len(items) < len(rows):
        screen.say(f"{count_of(len(rows) - len(items), 'change')} took back a queued create")
    screen.note(f"{count_of(length, 'item')} waiting; `bytelyst-sync flush` delivers", style="dim")
    return ExitCode.OK


def _data(text: str, operation: str, id_field: str) -> Any:
    if operation != "delete" or text[:1] in ("{", "[", "@", "-"):
        return json_argument(text)
    try:
        value = json_argument(text)
    except click.UsageError:
        value = text
    return {id_field: value if isinstance(value, int) and str(value) == text else text}
