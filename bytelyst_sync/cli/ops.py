"""The verb that serves the operations pages: ops."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import CliContext
from bytelyst_sync.cli.session import exists, local_engine
from bytelyst_sync.errors import StorageError

__all__: list[str] = []

_NEEDED = {"jinja2": "Jinja2", "waitress": "waitress"}


@verb(root, name="ops", short_help="Serve the operations pages for the store, on this machine.")
@click.option("--store", metavar="FILE", help="The same as --storage.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="PORT",
    help="Where to listen on 127.0.0.1 (default: any port that is free).",
)  # fmt: skip
@click.option("--read-only", is_flag=True, help="Only show; nothing can be changed.")
def _ops(context: CliContext, store: str | None, port: int, read_only: bool) -> int:
    """Serve pages that show the queue, what failed and what is in conflict, until Ctrl-C.

    The link that is printed opens them once, within ten minutes.
    """
    screen = context.screen
    missing = [name for module, name in _NEEDED.items() if find_spec(module) is None]
    if missing:
        needs = " and ".join(missing)
        screen.warn(f'the pages need {needs}: pip install "bytelyst-sync[ops]"', style="red")
        return ExitCode.NOT_INSTALLED
    if store is not None:
        context.flags.storage = store
    settings = context.settings()
    if not exists(settings):
        raise StorageError(f"{settings.store} is not there yet: the first push makes it")

    def ready(link: str) -> None:
        if screen.json:
            screen.record({"url": link})
        else:
            screen.say(link)
            screen.note("Open it in a browser; it works once. Ctrl-C ends.", style="dim")
        screen.flush()

    with local_engine(settings) as engine:
        server = import_module("bytelyst_sync.dashboard.server")
        server.serve(engine, settings, port=port, read_only=read_only, ready=ready)
    return ExitCode.INTERRUPTED
