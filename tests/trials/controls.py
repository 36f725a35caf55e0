"""The same kills and faults with other SDKs, which keep their events in memory: they lose some."""

import importlib
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs

from tests.torture.fork_server import ForkServer
from tests.trials import control_work
from tests.trials.kills import Size

__all__ = ["run"]


class Ingesting(ThreadingHTTPServer):
    chance: random.Random

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: set[str] = set()


class Ingestor(BaseHTTPRequestHandler):
    """Takes batches of both SDKs. A tenth of the requests each is cut off before and after it
    was processed, and answered with 503.
    """

    server: Ingesting

    def do_POST(self) -> None:
        """A batch of events."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fate = self.server.chance.random()
        if fate < 0.1:
            self.close_connection = True
            return
        if fate < 0.2:
            self.send_error(503)
            return
        self.server.seen |= set(units_in(json.loads(body)))
        if fate < 0.3:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self) -> None:
        """The features that GrowthBook's SDK asks for."""
        body = b'{"status": 200, "features": {}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


def units_in(body: object) -> Iterator[str]:
    """The units whose exposures are in a batch."""
    if isinstance(body, dict):
        yield from (each["distinct_id"] for each in body.get("batch", []))
    elif isinstance(body, list):
        for each in body:
            if each["event_name"] == "$$experiment_viewed":
                yield each["device_id"]


@contextmanager
def ingestor(seed: int) -> Iterator[Ingesting]:
    server = Ingesting(("127.0.0.1", 0), Ingestor)
    server.chance = random.Random(seed)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(name: str, folder: Path, size: Size) -> dict[str, object]:
    """How many of the exposures that the SDK took arrived."""
    chance = random.Random(size.seed)
    importlib.import_module(name)  # once, before the processes are forked
    with ForkServer() as fork_server, ingestor(size.seed) as server:
        url = f"http://127.0.0.1:{server.server_port}"

        def start(process: int) -> int:
            found: int = fork_server.start(
                control_work.live, name, url, str(folder), process, attrs.asdict(size)
            )
            return found

        living = {process: start(process) for process in range(size.processes)}
        kills = 0
        while noted(folder) < size.units:
            time.sleep(chance.random() * size.longest_life_s)
            process = chance.randrange(size.processes)
            kills += fork_server.kill(living[process]) != 0
            living[process] = start(process)
        for pid in living.values():
            fork_server.reap(pid)
        arrived = len(server.seen)
    return {
        "units": size.units,
        "kills": kills,
        "arrived": arrived,
        "lost": (size.units - arrived) / size.units,
    }


def noted(folder: Path) -> int:
    """How many exposures the SDK took."""
    found: set[bytes] = set()
    for path in folder.glob("noted-*"):
        found |= set(path.read_bytes().split())
    return len(found)
