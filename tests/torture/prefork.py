"""A web server with several processes, gunicorn, and people who use it."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.torture.harness import check

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Gunicorn", "Visitor"]

BOUND_S = 20.0


class Gunicorn:
    """The application of ``wsgi.py``, served by several processes; a context manager."""

    def __init__(
        self, url: str, queue: Path, log: Path, *, preload: bool, workers: int = 3
    ) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._socket.getsockname()[1]
        descriptor = self._socket.fileno()
        self._log = log.open("wb")
        command = [sys.executable, "-m", "gunicorn", "tests.torture.wsgi:make()"]
        command += ["--bind", f"fd://{descriptor}", "--workers", str(workers), "--threads", "3"]
        command += ["--worker-class", "gthread", "--graceful-timeout", "5"]
        # its thread in the master, amid forks, hangs the master's end now and then
        command += ["--no-control-socket"]
        command += ["--preload"] if preload else []
        busy = {"TORTURE_BUSY": "1"} if preload else {}
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "TORTURE_URL": url, "TORTURE_QUEUE": str(queue), **busy},
            pass_fds=[descriptor],
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._socket.close()
        self._log.close()

    def reload(self) -> None:
        """Has all its workers replaced, gracefully."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> float:
        """SIGTERM; returns the seconds until it ended."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(BOUND_S)
        except subprocess.TimeoutExpired:
            check(False, f"the web server ends within {BOUND_S:g} s of a SIGTERM")
        return time.monotonic() - began


class Visitor(threading.Thread):
    """Asks for one page after another; each is a push. ``acknowledged`` are those answered."""

    def __init__(self, port: int, first: int, slot: str, stop: threading.Event, seed: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.number = first
        self.slot = slot
        self.acknowledged: list[int] = []
        self.pids: list[int] = []
        self.broken = 0
        self.slowest_s = self.slowest_push_s = 0.0
        self.refused: list[int] = []
        self._stop_asked = stop
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._stop_asked.is_set():
            self._visit()
            self._stop_asked.wait(self._chance.random() * 0.01)

    def _visit(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=BOUND_S)
        began = time.monotonic()
        try:
            connection.request("GET", f"/{self.number}/{self.slot}")
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self.broken += 1  # its worker was killed: nobody knows whether it was pushed
        else:
            if answer.status == 200:
                self.acknowledged.append(self.number)
                pid, took = body.split()
                self.pids.append(int(pid))
                self.slowest_push_s = max(self.slowest_push_s, float(took))
            else:
                self.refused.append(answer.status)
        finally:
            connection.close()
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.number += 1
