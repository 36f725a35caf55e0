"""What failed: list it, try it again, give it up."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import Said, object_given
from bytelyst_sync.cli.session import local_engine
from bytelyst_sync.cli.show import count_of
from bytelyst_sync.cli.store_verbs import item_json, note_missing
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.model import SyncItem

__all__: list[str] = []


@root.group("failed")
def failed() -> None:
    """What the server refused: list it, try it again, give it up."""


@verb(failed, name="list")
@click.option("--data", is_flag=True, help="Show the payloads as well (with --json).")
def _list(said: Said, data: bool) -> int:
    """List the failed items, oldest first, with what the server said."""
    settings, screen = said.settings(), said.screen
    note_missing(screen, settings)
    with local_engine(settings) as engine:
        items = engine.failed()
        if screen.json:
            for item in items:
                screen.record(item_json(item, data=data))
            return ExitCode.OK
        found = list(items)
        if screen.rich and not found:
            screen.say("nothing failed")
            return ExitCode.OK
        columns = ["no.", "entity", "record", "operation", "queued", "tries", "error"]
        screen.rows(columns, map(_row, found))
    if screen.rich:
        screen.note("`bytelyst-sync failed retry NO` or `failed discard NO` decides", style="dim")
    return ExitCode.OK


def _row(item: SyncItem) -> list[object]:
    return [
        item.place,
        item.entity,
        item.record_id,
        item.operation,
        item.timestamp,
        item.retry_count,
        (item.last_error or "").removeprefix(f"{item.entity} {item.record_id}: ") or None,
    ]


@verb(failed, name="retry")
@click.argument("ids", nargs=-1)
@click.option("--data", metavar="JSON|-|@FILE", help="The record, repaired; with one id only.")
def _retry(said: Said, ids: tuple[str, ...], data: str | None) -> int:
    """Put failed items back into the queue: all, or those with these numbers or ids."""
    settings, screen = said.settings(), said.screen
    if data is not None and len(ids) != 1:
        raise click.UsageError("--data repairs one failed item: give exactly one id with it")
    repaired = None if data is None else object_given(data)
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
def _discard(said: Said, ids: tuple[str, ...], yes: bool) -> int:
    """Give failed items up: all, or those with these numbers or ids. They are gone then."""
    settings, screen = said.settings(), said.screen
    with local_engine(settings) as engine:
        found = _found(engine, ids)
        if found and not yes:
            _ask(found)
        number = engine.discard_failed([item.id for item in found])
    if screen.json:
        screen.document({"discarded": number})
    else:
        screen.say(f"{count_of(number, 'item')} discarded")
    return ExitCode.OK


def _ask(found: Sequence[SyncItem]) -> None:
    what = f"{count_of(len(found), 'failed item')}"
    if len(found) == 1:
        what = f"the failed {found[0].operation} of {found[0].entity} {found[0].record_id}"
    if not sys.stdin.isatty():
        raise click.UsageError(f"to discard {what} without being asked, say --yes")
    extra = "; later changes of a record that is not created go with it"
    creates = any(item.operation.value == "create" for item in found)
    if not click.confirm(f"Discard {what} for good{extra if creates else ''}?", err=True):
        raise click.exceptions.Exit(ExitCode.FAILED)


def _chosen(engine: SyncEngine, ids: Sequence[str]) -> list[str] | None:
    return [item.id for item in _found(engine, ids)] if ids else None


def _found(engine: SyncEngine, ids: Sequence[str]) -> list[SyncItem]:
    """The failed items of these numbers or ids, ``#`` or not; all, if none are given."""
    items = list(engine.failed())
    if not ids:
        return items
    by_name = {str(item.place): item for item in items} | {item.id: item for item in items}
    unknown = [each for each in ids if each.lstrip("#") not in by_name]
    if unknown:
        raise click.UsageError(
            f"no failed item {', '.join(unknown)}: `bytelyst-sync failed list` shows their numbers"
        )
    return [by_name[each.lstrip("#")] for each in dict.fromkeys(ids)]
