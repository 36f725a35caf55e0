"""A server behind a storm, in a process of its own: ``Wire`` starts it and asks it.

``python -m tests.torture.wire JSON`` answers commands on its standard input, a line of JSON each.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs

from bytelyst_sync.testing import SyncServer
from tests.torture.batch_face import BatchFace
from tests.torture.fault_schedule import Storm
from tests.torture.proxy import FaultProxy
from tests.torture.watchdog import Pulse
from tests.typed import present

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Wire"]


class Wire:
    """The process. Any thread may ask; ``_lock`` keeps a question and its answer together."""

    def __init__(self, **settings: object) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.wire", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self.ask("port")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            present(self._process.stdin).close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            present(self._process.stdout).close()

    def ask(self, what: str, value: Any = None) -> Any:
        """One command and its answer."""
        with self._lock:
            stdin = present(self._process.stdin)
            stdin.write(json.dumps([what, value]) + "\n")
            stdin.flush()
            return json.loads(present(self._process.stdout).readline())

    def pulse(self) -> Pulse:
        """For the watchdog."""
        return Pulse(*self.ask("pulse"))


class Answers:
    """The commands, on the process's own server and proxy."""

    def __init__(
        self, server: SyncServer, storm: Storm, settings: dict[str, Any], time_of_day: deque[float]
    ) -> None:
        self._server = server
        self._time_of_day = time_of_day
        self._storm = storm
        rng = random.Random(settings["seed"] + 1)
        self._batch = BatchFace(rng, settings["rate"] / 4) if settings.get("batch") else None
        self._proxy = FaultProxy(("127.0.0.1", server.port), storm, batch=self._batch)

    def port(self, _: object) -> int:
        """Where it listens."""
        return self._proxy.port

    def pulse(self, _: object) -> list[float]:
        """What the watchdog wants to know."""
        return list(attrs.astuple(self._proxy.pulse()))

    def rate(self, value: Any) -> None:
        """From now on, this share of the requests meets a fault."""
        self._storm.rate = value
        if self._batch is not None:
            self._batch.rate = value / 4

    def refuse(self, _: object) -> None:
        """Connections are refused."""
        self._proxy.refuse()

    def admit(self, _: object) -> None:
        """And accepted again."""
        self._proxy.admit()

    def cut(self, _: object) -> None:
        """Live connections are reset."""
        self._proxy.cut()

    def tallies(self, _: object) -> dict[str, object]:
        """Figures."""
        batch = self._batch
        return {
            "requests": self._proxy.requests,
            "faults": dict(self._proxy.faults),
            "loops": self._storm.begun_loops,
            "batches": batch.batches if batch else 0,
            "in batches": batch.operations if batch else 0,
            "part faults": batch.part_faults if batch else 0,
        }

    def journal(self, _: object) -> list[list[object]]:
        """What the server applied: collection, id, kind, key, and the number that was sent."""
        return [
            [each.collection, each.id, each.kind, each.key, (each.data or {}).get("n")]
            for each in self._server.journal
        ]

    def records(self, collection: str) -> dict[str, dict[str, Any]]:
        """What the server holds."""
        return self._server.records(collection)

    def edit(self, value: Any) -> None:
        """Somebody else's edit of a record."""
        collection, key, number = value
        self._server.put(collection, {"id": key, "theirs": number})

    def put(self, value: Any) -> Any:
        """Somebody else's new record, or a new state of one; returns its id."""
        collection, record = value
        return self._server.put(collection, record)["id"]

    def remove(self, value: Any) -> None:
        """Somebody else deletes a record."""
        self._server.remove(*value)

    def time_of_day(self, value: float) -> None:
        """From now on the server's clock stands at this time."""
        self._time_of_day.append(value)

    def close(self) -> None:
        """Ends the proxy."""
        self._proxy.close()


def main(settings: dict[str, Any]) -> None:
    """Serves until the standard input ends."""
    time_of_day: deque[float] = deque(maxlen=1)
    with SyncServer(
        idempotency=settings.get("idempotency", True),
        id_source=settings.get("id_source", "client"),
        page_size=50,
        clock=lambda: time_of_day[0] if time_of_day else time.time(),
    ) as server:
        storm = Storm(
            random.Random(settings["seed"]),
            settings["rate"],
            stall_s=settings["stall_s"],
            lates=settings.get("lates", True),
        )
        answers = Answers(server, storm, settings, time_of_day)
        for line in sys.stdin:
            what, value = json.loads(line)
            sys.stdout.write(json.dumps(getattr(answers, what)(value)) + "\n")
            sys.stdout.flush()
        answers.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
