"""The verb that copies a store to another one: copy."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import CliContext
from bytelyst_sync.inspection.text import count_of
from bytelyst_sync.storage.copying import copy_store, require_unused
from bytelyst_sync.storage.location import open_file_store, split_location

__all__: list[str] = []


@verb(root, name="copy", short_help="Copy a store to a new file, also of another kind.")
@click.argument("source")
@click.argument("target")
def _copy(context: CliContext, source: str, target: str) -> int:
    """Copy everything: queue, keys, local view, cursors, conflicts.

    SOURCE and TARGET are files: app.db is one of SQLite, lmdb:app.mdb one of LMDB. Refused while a
    program uses either of them, or if TARGET is not empty. An encrypted store stays encrypted, with
    the same key.
    """
    source_kind, source_path = _located(source)
    target_kind, target_path = _located(target)
    if not source_path.is_file():
        raise click.UsageError(f"{source_path} is not there: name the file of a store")
    if source_path == target_path:
        raise click.UsageError("SOURCE and TARGET are the same file: name another TARGET")
    for path in (source_path, target_path):
        require_unused(path)
    with (
        closing(open_file_store(source_kind, source_path, "full")) as old,
        closing(open_file_store(target_kind, target_path, "full")) as new,
    ):
        copied = copy_store(old, new)
    if context.screen.json:
        context.screen.document({"copied": copied})
    else:
        rows = ", ".join(f"{number} {name}" for name, number in copied.items())
        total = count_of(sum(copied.values()), "row")
        context.screen.say(f"copied {total} to {target_path}" + (f": {rows}" if rows else ""))
    return ExitCode.OK


def _located(text: str) -> tuple[str, Path]:
    kind, path = split_location(text)
    return kind, Path(path).expanduser().resolve()
