"""Mozilla's Kinto, in memory, as its own ``pserve`` starts it: under waitress."""

import sys
from importlib.util import find_spec
from typing import Any, ClassVar

from tests.servers.process import RealServer

SETTINGS = """\
[app:main]
use = egg:kinto
kinto.userid_hmac_secret = not a secret
kinto.includes = kinto.plugins.default_bucket kinto.plugins.flush
kinto.storage_backend = kinto.core.storage.memory
kinto.cache_backend = kinto.core.cache.memory
kinto.permission_backend = kinto.core.permission.memory
multiauth.policies = basicauth

[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = %(http_port)s
threads = 8
"""


class Kinto(RealServer):
    """Versions, tombstones, pages and batches: an API made for sync."""

    name = "kinto"
    root = "/v1"
    endpoints: ClassVar = {
        "projects": "/buckets/default/collections/projects/records",
        "tasks": "/buckets/default/collections/tasks/records",
    }
    auth = ("user", "secret")
    keeps_data = False

    @classmethod
    def missing(cls) -> str | None:
        if find_spec("kinto") is None or find_spec("waitress") is None:
            return "kinto needs kinto and waitress, of the extra `test`"
        return None

    def command(self) -> list[str]:
        settings = self.folder / "kinto.ini"
        settings.write_text(SETTINGS)
        pserve = [sys.executable, "-W", "ignore", "-m", "pyramid.scripts.pserve"]
        return [*pserve, str(settings), f"http_port={self.port}"]

    def records(self, entity: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        url: str | None = self.url(entity)
        while url:
            page = self.request("GET", url)
            assert page.ok, page.text
            found |= {record["id"]: record for record in page.json()["data"]}
            url = page.headers.get("Next-Page")
        return found

    def insert(self, entity: str, record: dict[str, Any]) -> dict[str, Any]:
        headers = {"If-None-Match": "*"}
        answer = self.fetch("POST", self.url(entity), json={"data": record}, headers=headers)
        stored: dict[str, Any] = answer["data"]
        return stored

    def change(self, entity: str, record_id: object, **fields: Any) -> dict[str, Any]:
        answer = self.fetch("PATCH", self.url(entity, record_id), json={"data": fields})
        stored: dict[str, Any] = answer["data"]
        return stored

    def remove(self, entity: str, record_id: object) -> None:
        self.fetch("DELETE", self.url(entity, record_id))

    def wipe(self) -> None:
        self.fetch("POST", "/__flush__")
