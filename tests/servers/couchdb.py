"""CouchDB's protocol as express-pouchdb of npm speaks it, on LevelDB."""

from typing import Any, ClassVar

from tests.servers.process import HERE, NODE_MODULES, RealServer, missing_from_node

FILE_EXISTS = 412


class CouchDB(RealServer):
    """Revisions in the record, whole documents only, and a feed of changes."""

    name = "couchdb"
    endpoints: ClassVar = {"projects": "/projects", "tasks": "/tasks"}

    @classmethod
    def missing(cls) -> str | None:
        return missing_from_node("express-pouchdb")

    def command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        return ["node", str(HERE / "couchdb_app.js"), str(self.port), str(data)]

    def environment(self) -> dict[str, str]:
        return {"NODE_PATH": str(NODE_MODULES)}

    def prepare(self) -> None:
        for path in self.endpoints.values():
            answer = self.request("PUT", path)
            assert answer.ok or answer.status_code == FILE_EXISTS, answer.text

    def records(self, entity: str) -> dict[str, dict[str, Any]]:
        listed = self.fetch("GET", f"{self.url(entity)}/_all_docs", params={"include_docs": "true"})
        return {row["id"]: row["doc"] for row in listed["rows"]}

    def insert(self, entity: str, record: dict[str, Any]) -> dict[str, Any]:
        answer = self.fetch("POST", self.url(entity), json=record)
        return {**record, "_id": answer["id"], "_rev": answer["rev"]}

    def change(self, entity: str, record_id: object, **fields: Any) -> dict[str, Any]:
        url = self.url(entity, record_id)
        record = {**self.fetch("GET", url), **fields}
        return {**record, "_rev": self.fetch("PUT", url, json=record)["rev"]}

    def remove(self, entity: str, record_id: object) -> None:
        url = self.url(entity, record_id)
        self.fetch("DELETE", url, params={"rev": self.fetch("GET", url)["_rev"]})

    def wipe(self) -> None:
        for path in self.endpoints.values():
            self.fetch("DELETE", path)
        self.prepare()
