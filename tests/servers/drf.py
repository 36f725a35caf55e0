"""A Django REST Framework application (``drf_app.py``) on SQLite, under waitress."""

import sqlite3
import sys
from contextlib import closing
from importlib.util import find_spec
from typing import Any, ClassVar

from tests.servers.process import END_S, HERE, RealServer

NEEDED = ("django", "rest_framework", "django_filters", "waitress")


class Drf(RealServer):
    """Ids of the server's, numbered pages, times of change; no versions and no tombstones."""

    name = "drf"
    root = "/api"
    endpoints: ClassVar = {"projects": "/projects", "tasks": "/tasks"}

    @classmethod
    def missing(cls):
        if any(find_spec(package) is None for package in NEEDED):
            return "drf needs Django, its REST framework and filter, and waitress: the extra `test`"
        return None

    def command(self):
        app = [sys.executable, "-W", "ignore", str(HERE / "drf_app.py")]
        return [*app, str(self.port), str(self.database)]

    @property
    def database(self):
        return self.folder / "drf.sqlite3"

    def url(self, entity, record_id=None):
        return super().url(entity, record_id) + "/"

    def records(self, entity):
        found: dict[str, dict[str, Any]] = {}
        url = self.url(entity)
        while url:
            page = self.fetch("GET", url)
            found |= {str(record["id"]): record for record in page["results"]}
            url = page["next"]
        return found

    def insert(self, entity, record):
        return self.fetch("POST", self.url(entity), json=record)

    def change(self, entity, record_id, **fields):
        return self.fetch("PATCH", self.url(entity, record_id), json=fields)

    def remove(self, entity, record_id):
        self.fetch("DELETE", self.url(entity, record_id))

    def wipe(self):
        """Past Django; ids begin at 1 again."""
        with closing(sqlite3.connect(self.database, timeout=END_S)) as database, database:
            for table in ("api_task", "api_project", "sqlite_sequence"):
                database.execute(f"DELETE FROM {table}")
