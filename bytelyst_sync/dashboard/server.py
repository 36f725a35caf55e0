"""Serves the pages for a store on this machine, beside the program that uses it."""

from __future__ import annotations

import getpass
from collections.abc import Callable

import waitress
from waitress.utilities import queue_logger

from bytelyst_sync.dashboard.access import Actor
from bytelyst_sync.dashboard.app import build_app
from bytelyst_sync.dashboard.links import LinkAccess
from bytelyst_sync.dashboard.source import Source
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.inspection.settings import Settings

__all__ = ["serve"]

_HOST = "127.0.0.1"
_THREADS = 4


def serve(
    engine: SyncEngine,
    settings: Settings,
    *,
    port: int,
    read_only: bool,
    ready: Callable[[str], object],
) -> None:
    """Serves until Ctrl-C. ``engine`` is paused and looks at the store of another program.

    ``ready`` is called with the link when connections are accepted. ``port`` 0 takes a free one.
    """
    actor = Actor(_user(), ("view", "operate", "payload"))
    source = Source(engine, beside=True, settings=settings)
    access = LinkAccess(actor, source.core.clock)
    app = build_app(source, access.authorize, read_only=read_only)
    queue_logger.setLevel("ERROR")  # a short queue is no news
    try:
        server = waitress.create_server(
            access.serve(app), host=_HOST, port=port, threads=_THREADS, ident=None
        )
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be used ({error.strerror}): name another one with --port, or 0"
            " for any that is free",
            field="port",
            value=port,
        ) from None
    try:
        ready(f"http://{_HOST}:{server.effective_port}{access.link}")
        server.run()
    finally:
        server.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
