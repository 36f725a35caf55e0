"""Programs that serve the pages, each in a process of its own under a prefix."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
from requests.sessions import Session

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.model import Json
from bytelyst_sync.testing import SyncServer
from tests.typed import present

ROOT = Path(__file__).parents[2]
KINDS = ["command", "django-wsgi", "django-asgi", "flask", "fastapi"]
BOUND_S = 40.0
ENTITIES = {"orders": "/orders", "customers": "/customers"}


def engine_on(server: SyncServer, folder: Path, **settings: Any) -> SyncEngine:
    return create_sync_engine(
        base_url=server.url,
        entities=ENTITIES,
        storage=str(folder / "app.db"),
        conflict="manual",
        auto_flush=False,
        probe=None,
        batch_size=1,
        **settings,
    )


def _toml(name: str, config: str) -> str:
    """An entity in a configuration file; its values are written as in JSON."""
    fields = {"endpoint": config} if isinstance(config, str) else config
    lines = [f"{field} = {json.dumps(value)}" for field, value in fields.items()]
    return "\n".join([f"[entities.{name}]", *lines, ""])


class Host:
    """A process that serves the pages of a store. ``entities``: endpoints, or dicts of fields."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        server: SyncServer,
        *arguments: str,
        entities: Json = ENTITIES,
    ) -> None:
        self.kind = kind
        (folder / "entities.json").write_text(json.dumps(entities))
        store = folder / "app.db"
        name, _, interface = kind.partition("-")
        program = ROOT / f"tests/dashboard/{name}_site.py"
        command = [str(program), str(store), server.url, interface]
        if kind == "command":
            config = folder / "ops.toml"
            config.write_text(
                f'base_url = "{server.url}"\nstorage = "{store}"\nconflict = "manual"\n'
                + "".join(map(_toml, entities, entities.values()))
            )
            command = ["-m", "bytelyst_sync", "ops", "--config", str(config), "--json", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        ready, _, _ = select.select([present(self.process.stdout)], [], [], BOUND_S)
        assert ready, "it did not start in time"
        said = json.loads(present(self.process.stdout).readline())
        self.link = said["url"]
        self.cookies = said.get("cookies", {})
        self.url = self.link.partition("/open?")[0]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(BOUND_S)
        present(self.process.stdout).close()

    def session(self) -> Session:
        """Somebody who may operate, without a browser."""
        session = requests.Session()
        session.trust_env = False
        session.cookies.update(self.cookies)
        return session

    def open_session(self) -> requests.Session:
        """The same, with the cookies of somebody who has opened the pages."""
        session = self.session()
        session.cookies.clear()
        for name, value in self.cookies.items():
            if name == "sessionid":
                session.cookies.set(name, value, domain="127.0.0.1", path="/")
        link = self.link if self.kind == "command" else f"{self.url}/"
        session.get(link, timeout=BOUND_S).raise_for_status()
        return session
