"""What the sites share: ``KIND_site.py STORE BASE_URL`` serves the pages of a store.

A site prints a line of JSON with the address of the pages and the cookies of somebody who may
operate, and serves until it is ended.
"""

import json
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn
import waitress

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.dashboard import Actor
from bytelyst_sync.fleet import FleetCommands
from bytelyst_sync.model import Json
from tests.dashboard.heartbeats import MASTER

STORE, BASE_URL = sys.argv[1:3]
PREFIX = "/admin/ops"


def entities() -> Json:
    """Endpoints, or dicts of fields, as the test wrote them beside the store."""
    found: Json = json.loads(Path(STORE).with_name("entities.json").read_text("utf-8"))
    return found


def fleet_commands() -> FleetCommands | None:
    """Where commands for devices go, if the test has such an entity."""
    return FleetCommands("commands", MASTER) if "commands" in entities() else None


def new_engine() -> SyncEngine:
    """The program's own engine; it delivers nothing by itself, so that the test sees each step."""
    return create_sync_engine(
        base_url=BASE_URL,
        entities=entities(),
        storage=STORE,
        conflict="manual",
        auto_flush=False,
        probe=None,
    )


def authorize(environ: Mapping[str, Any]) -> Actor:
    return Actor("sam", ("view", "operate", "payload", "command"))


def announced(**cookies: str) -> socket.socket:
    """A socket that takes connections; its address is printed."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}{PREFIX}"
    sys.stdout.write(json.dumps({"url": url, "cookies": cookies}) + "\n")
    sys.stdout.flush()
    return sock


def serve_wsgi(app: Callable[..., Any], **cookies: str) -> None:
    waitress.serve(app, sockets=[announced(**cookies)], threads=4)


def serve_asgi(app: Any, **cookies: str) -> None:
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    server.run(sockets=[announced(**cookies)])
