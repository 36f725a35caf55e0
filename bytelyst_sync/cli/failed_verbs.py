"""The verbs for failed items: list, retry, discard."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import CliContext, object_argument
from bytelyst_sync.cli.session import local_engine
from bytelyst_sync.cli.store_verbs import item_json, note_missing
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.inspection.text import clean, count_of
from bytelyst_sync.model import SyncItem
from bytelyst_sync.queue.report import reason_in

__all__: list[str] = []


@root.group("failed")
def failed() -> None:
    """List, retry or discard what the server refused."""


@verb(failed, name="list")
@click.option("--data", is_flag=True, help="Show the payloads as well (with --json).")
def _list(context: CliContext, data: bool) -> int:
    """List the failed items, oldest first, with the error of each."""
    settings, screen = context.settings(), context.screen
    note_missing(screen, settings)
    with local_engine(settings) as engine:
        items = engine.failed()
        if screen.json:
            for item in items:
                screen.record(item_json(item, data=data))
            return ExitCode.OK
        listed = list(items)
        if screen.rich and not listed:
            screen.say("nothing failed")
            return ExitCode.OK
        columns = ["no.", "entity", "record", "operation", "queued", "tries", "error"]
        screen.rows(columns, map(_row, listed))
    if screen.rich:
        screen.note("`bytelyst-sync failed retry NO` or `failed discard NO` decides", style="dim")
    return ExitCode.OK


def _row(item: SyncItem) -> list[object]:
    return [
        item.seq,
        item.entity,
        item.record_id,
        item.operation,
        item.timestamp,
        item.retry_count,
        reason_in(item.last_error or "", item.operation, item.entity, item.record_id) or None,
    ]


@verb(failed, name="retry")
@click.argument("ids", nargs=-1)
@click.option("--data", metavar="JSON|-|@FILE", help="The record, repaired; with one id only.")
def _retry(context: CliContext, ids: tuple[str, ...], data: str | None) -> int:
    """Put failed items back into the queue: all, or those with these numbers or ids."""
    settings, screen = context.settings(), context.screen
    if data is not None and len(ids) != 1:
        raise click.UsageError("--data repairs one failed item: give exactly one id with it")
    repaired = None if data is None else object_argument(data)
    with local_engine(settings) as engine:
        chosen = _chosen(engine, ids)
        number = engine.reprocess_failed(chosen, data=repaired)
    if screen.json:
        screen.document({"requeued": number})
        return ExitCode.OK
    screen.say(f"{count_of(number, 'item')} queued again")
    if number:
        screen.note("`bytelyst-sync flush` delivers", style="dim")
    return ExitCode.OK


@verb(failed, name="discard")
@click.argument("ids", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask.")
def _discard(context: CliContext, ids: tuple[str, ...], yes: bool) -> int:
    """Discard failed items for good: all, or those with these numbers or ids."""
    settings, screen = context.settings(), context.screen
    with local_engine(settings) as engine:
        items = _failed_items(engine, ids)
        if items and not yes:
            _ask(items)
        number = engine.discard_failed([item.id for item in items])
    if screen.json:
        screen.document({"discarded": number})
    else:
        screen.say(f"{count_of(number, 'item')} discarded")
    return ExitCode.OK


def _ask(items: Sequence[SyncItem]) -> None:
    what = f"{count_of(len(items), 'failed item')}"
    if len(items) == 1:
        what = f"the failed {items[0].operation} of {items[0].entity} {items[0].record_id}"
    if not sys.stdin.isatty():
        raise click.UsageError(f"to discard {what} without being asked, say --yes")
    extra = "; later changes of a record that is not created go with it"
    creates = any(item.operation.value == "create" for item in items)
    if not click.confirm(clean(f"Discard {what} for good{extra if creates else ''}?"), err=True):
        raise click.exceptions.Exit(ExitCode.FAILED)


def _chosen(engine: SyncEngine, ids: Sequence[str]) -> list[str] | None:
    return [item.id for item in _failed_items(engine, ids)] if ids else None


def _failed_items(engine: SyncEngine, ids: Sequence[str]) -> list[SyncItem]:
    """The failed items of these numbers or ids, ``#`` or not; all, if none are given."""
    items = list(engine.failed())
    if not ids:
        return items
    by_name = {str(item.seq): item for item in items} | {item.id: item for item in items}
    unknown = [each for each in ids if each.lstrip("#") not in by_name]
    if unknown:
        raise click.UsageError(
            f"no failed item {', '.join(unknown)}: `bytelyst-sync failed list` shows their numbers"
        )
    return [by_name[each.lstrip("#")] for each in dict.fromkeys(ids)]
