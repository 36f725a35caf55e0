"""The verbs export and import: records as JSON lines, in constant memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs
import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import ENTITY, CliContext
from bytelyst_sync.cli.session import local_engine
from bytelyst_sync.cli.show import Screen
from bytelyst_sync.cli.store_verbs import note_missing
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import InvalidDataError, SyncError, UnknownEntityError
from bytelyst_sync.model import SyncOperation

__all__: list[str] = []

Json = dict[str, Any]
_BATCH = 200
_all = click.option("--all", "everything", is_flag=True, help='Lines {"entity": …, "record": …}.')


@verb(root, name="export", short_help="Print all records as JSON lines.")
@click.argument("entity", type=ENTITY, required=False)
@_all
def _export(context: CliContext, entity: str | None, everything: bool) -> int:
    """Print all records of an entity, or of all entities, as JSON lines."""
    settings, screen = context.settings(), context.screen
    _one_of(entity, everything)
    note_missing(screen, settings)
    with local_engine(settings) as engine:
        for name in [entity] if entity else engine.config.entities:
            for record in engine.records(name):
                screen.record({"entity": name, "record": record} if everything else record)
    return ExitCode.OK


def _one_of(entity: str | None, everything: bool) -> None:
    if (entity is None) != everything:
        raise click.UsageError("say which entity, or --all")


@attrs.define
class _Count:
    created: int = 0
    updated: int = 0
    unchanged: int = 0


@verb(root, name="import", short_help="Queue the records of a file of JSON lines.")
@click.argument("arguments", nargs=-1, metavar="[ENTITY] FILE|-")
@_all
@click.option("--create", "how", flag_value="create", help="Every record is a create.")
@click.option("--update", "how", flag_value="update", help="Every record is an update.")
def _import(
    context: CliContext, arguments: tuple[str, ...], everything: bool, how: str | None
) -> int:
    """Queue the records of a file of JSON lines, as `export` writes them.

    Records that are here already become updates of what differs, all others creates.
    """
    settings, screen = context.settings(), context.screen
    if len(arguments) != (1 if everything else 2):
        form = "import --all FILE" if everything else "import ENTITY FILE"
        raise click.UsageError(f"say {form} (- for standard input)")
    entity = None if everything else arguments[0]
    if entity is not None and entity not in settings.config.entities:
        known = ", ".join(map(repr, sorted(settings.config.entities)))
        raise UnknownEntityError(f"unknown entity {entity!r}; configured are {known}")
    count = _Count()
    with _opened(arguments[-1]) as file, local_engine(settings, make=True) as engine:
        _import_lines(engine, _lines(file, entity), how, count, screen)
    _report(screen, count)
    return ExitCode.OK


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read ({error.strerror or error})") from None
    with file:
        yield file


def _lines(file: IO[bytes], entity: str | None) -> Iterator[tuple[int, str, Json]]:
    """The number, the entity and the record of each line."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise InvalidDataError(f"line {number} is not JSON") from None
        name, record = entity, value
        if entity is None:
            whole = isinstance(value, dict) and {"entity", "record"} <= value.keys()
            name, record = (value["entity"], value["record"]) if whole else (None, None)
        if name is None or not isinstance(record, dict):
            form = "an object" if entity else '{"entity": …, "record": {…}}'
            raise InvalidDataError(f"line {number} is not {form}")
        yield number, name, record


def _import_lines(
    engine: SyncEngine,
    lines: Iterator[tuple[int, str, Json]],
    how: str | None,
    count: _Count,
    screen: Screen,
) -> None:
    """Queues the records in batches, each in one commit. After an error, prints how many records
    were queued.
    """
    saved = attrs.evolve(count)
    number = 0
    try:
        more = True
        while more:
            with engine.transaction():
                for number, name, record in lines:
                    _queue(engine, name, record, how, count)
                    if number % _BATCH == 0:
                        break
                else:
                    more = False
            saved = attrs.evolve(count)
    except SyncError as error:
        done = saved.created + saved.updated + saved.unchanged
        screen.warn(f"stopped; the first {done} records were queued and stay queued")
        if not str(error).startswith("line "):
            error.args = (f"line {number}: {error}", *error.args[1:])
        raise


def _queue(engine: SyncEngine, name: str, record: Json, how: str | None, count: _Count) -> None:
    known = engine.config.entities.get(name)
    id_ = record.get(known.id_field) if known else None
    before = engine.get(name, id_) if how is None and isinstance(id_, (str, int)) else None
    if before is not None and known is not None:
        changed = {
            key: value for key, value in record.items() if before.get(key, _MISSING) != value
        }
        if not changed:
            count.unchanged += 1
            return
        engine.push(name, {**changed, known.id_field: id_}, "update")
        count.updated += 1
        return
    engine.push(name, record, SyncOperation(how or "create"))
    if how == "update":
        count.updated += 1
    else:
        count.created += 1


_MISSING: Any = object()


def _report(screen: Screen, count: _Count) -> None:
    if screen.json:
        screen.document(attrs.asdict(count))
        return
    screen.say(
        f"{count.created} queued as creates, {count.updated} as updates, "
        f"{count.unchanged} unchanged"
    )
    if count.created or count.updated:
        screen.note("`bytelyst-sync flush` delivers", style="dim")
