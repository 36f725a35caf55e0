"""json-server 0.17 of npm, on a file: no versions, no tombstones, no time of change."""

import json
import threading
import time
from typing import ClassVar

from tests.servers.process import END_S, NODE_MODULES, POLL_S, RealServer, missing_from_node


class JsonServer(RealServer):
    """It writes its file after the answer: a kill may cost the last few milliseconds."""

    name = "json-server"
    endpoints: ClassVar = {"projects": "/projects", "tasks": "/tasks"}

    @classmethod
    def missing(cls):
        return missing_from_node("json-server")

    @property
    def file(self):
        return self.folder / "db.json"

    def command(self):
        if not self.file.exists():
            self.file.write_text(json.dumps({entity: [] for entity in self.endpoints}))
        program = NODE_MODULES / "json-server" / "lib" / "cli" / "bin.js"
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        return ["node", str(program), *where, str(self.file)]

    def stop(self, *, kill=False):
        """Without ``kill``, the file holds all that was answered."""
        if self.running and not kill:
            self._wait_until_written()
        super().stop(kill=kill)

    def _wait_until_written(self):
        state = self.fetch("GET", "/db")
        deadline = time.monotonic() + END_S
        pause = threading.Event()
        while json.loads(self.file.read_text()) != state and time.monotonic() < deadline:
            pause.wait(POLL_S)

    def records(self, entity):
        return {str(record["id"]): record for record in self.fetch("GET", self.url(entity))}

    def insert(self, entity, record):
        return self.fetch("POST", self.url(entity), json=record)

    def change(self, entity, record_id, **fields):
        return self.fetch("PATCH", self.url(entity, record_id), json=fields)

    def remove(self, entity, record_id):
        self.fetch("DELETE", self.url(entity, record_id))

    def wipe(self):
        for entity in reversed(self.endpoints):
            for record_id in self.records(entity):
                self.remove(entity, record_id)
