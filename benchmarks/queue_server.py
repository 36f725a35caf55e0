"""What the suite ``django_queue`` runs on: a PostgreSQL of its own, and processes beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.contrib.database_servers import PostgreSQL

__all__ = ["Api", "database_server", "worker_processes"]

WITHIN_S = 1800.0
"""How long a queue may take to drain."""
_LOOK_S = 0.02
OPTIONS = {
    "fsync": "on",
    "max_connections": 200,
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "autovacuum_naptime": "5s",
}
"""Commits are synced, as they are by default; the servers of the tests do not sync."""


@contextmanager
def database_server(folder: Path) -> Iterator[Any]:
    """A server that ends with the block; its database's settings for Django."""
    if reason := PostgreSQL.missing():
        raise RuntimeError(reason)
    made = PostgreSQL(folder)
    made.options = OPTIONS
    with made as server:
        yield server


@contextmanager
def worker_processes(kind: str, number: int, settings: dict[str, Any]) -> Iterator[None]:
    """Processes of ``queue_workers``, all of them ready. They are killed at the end."""
    program = "from benchmarks.queue_workers import main; main()"
    command = [sys.executable, "-c", program, kind, json.dumps(settings)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(number)
    ]
    try:
        for each in started:
            assert each.stdout is not None
            if each.stdout.readline() != "ready\n":
                raise RuntimeError(f"a process of {kind} ended with {each.wait()}")
        yield
    finally:
        for each in started:
            each.kill()
        for each in started:
            each.communicate()


class Api:
    """The server that is sent to."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path) as answer:  # noqa: S310 - of this machine
            return json.load(answer)

    def reset(self) -> None:
        """Forgets what was sent."""
        self._get("/told")
        self._get("/latest")

    def wait_for(self, writes: int) -> int:
        """Waits until at least so many more writes have been answered; returns how many."""
        seen = 0
        deadline = time.monotonic() + WITHIN_S
        while seen < writes:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{seen} of {writes} items were sent in {WITHIN_S:g} s")
            seen += self._get("/told").get("201", 0)
            time.sleep(_LOOK_S)
        return seen

    def latest(self) -> tuple[dict[str, int], int]:
        """The last number for each address, and how often a lower one came after a higher one."""
        found = self._get("/latest")
        return found["latest"], found["late"]
