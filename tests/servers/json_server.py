"""json-server 0.17 of npm, on a file: no versions, no tombstones, no time of change."""

import json
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from tests.servers.process import END_S, NODE_MODULES, POLL_S, RealServer, missing_from_node


class JsonServer(RealServer):
    """It writes its file after the answer: a kill may cost the last few milliseconds."""

    name = "json-server"
    endpoints: ClassVar = {"projects": "/projects", "tasks": "/tasks"}

    @classmethod
    def missing(cls) -> str | None:
        return missing_from_node("json-server")

    @property
    def file(self) -> Path:
        return self.folder / "db.json"

    def command(self) -> list[str]:
        if not self.file.exists():
            self.file.write_text(json.dumps({entity: [] for entity in self.endpoints}))
        program = NODE_MODULES / "json-server" / "lib" / "cli" / "bin.js"
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        return ["node", str(program), *where, str(self.file)]

    def stop(self, *, kill: bool = False) -> None:
        """Without ``kill``, the file holds all that was answered."""
        if self.running and not kill:
            self._wait_until_written()
        super().stop(kill=kill)

    def _wait_until_written(self) -> None:
        state = self.fetch("GET", "/db")
        deadline = time.monotonic() + END_S
        pause = threading.Event()
        while json.loads(self.file.read_text()) != state and time.monotonic() < deadline:
            pause.wait(POLL_S)

    def records(self, entity: str) -> dict[str, dict[str, Any]]:
        return {str(record["id"]): record for record in self.fetch("GET", self.url(entity))}

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
        for entity in reversed(self.endpoints):
            for record_id in self.records(entity):
                self.remove(entity, record_id)
