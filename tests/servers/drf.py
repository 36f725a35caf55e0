"""A Django REST Framework application (``drf_app.py``) on SQLite, under waitress."""

import sqlite3
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from tests.servers.process import END_S, HERE, RealServer

NEEDED = ("django", "rest_framework", "django_filters", "waitress")


class Drf(RealServer):
    """Ids of the server's, numbered pages, times of change; no versions and no tombstones."""

    name = "drf"
    root = "/api"
    endpoints: ClassVar = {"projects": "/projects", "tasks": "/tasks"}

    @classmethod
    def missing(cls) -> str | None:
        if any(find_spec(package) is None for package in NEEDED):
            return "drf needs Django, its REST framework and filter, and waitress: the extra `test`"
        return None

    def command(self) -> list[str]:
        app = [sys.executable, "-W", "ignore", str(HERE / "drf_app.py")]
        return [*app, str(self.port), str(self.database)]

    @property
    def database(self) -> Path:
        return self.folder / "drf.sqlite3"

    def url(self, entity: str, record_id: object = None) -> str:
        return super().url(entity, record_id) + "/"

    def records(self, entity: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        url = self.url(entity)
        while url:
            page = self.fetch("GET", url)
            found |= {str(record["id"]): record for record in page["results"]}
            url = page["next"]
        return found

    def insert(self, entity: str, record: dict[str, Any]) -> dict[str, Any]:
        stored: dict[str, Any] = self.fetch("POST", self.url(entity), json=record)
        return stored

    def change(self, entity: str, record_id: object, **fields: Any) -> dict[str, Any]:
        url = self.url(entity, record_id)
        stored: dict[str, Any] = self.fetch("PATCH", url, json=fields)
        return stored

    def remove(self, entity: str, record_id: object) -> None:
        self.fetch("DELETE", self.url(entity, record_id))

    def wipe(self) -> None:
        """Past Django; ids begin at 1 again."""
        with closing(sqlite3.connect(self.database, timeout=END_S)) as database, database:
            for table in ("api_task", "api_project", "sqlite_sequence"):
                database.execute(f"DELETE FROM {table}")
