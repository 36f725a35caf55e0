"""What the real servers share: each is a process of its own on a port of loopback.

A server leads a process group, which ends with it. Beside it runs a shell that waits for the end of
a pipe from the tests: however they end, killed included, no server outlives them.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import requests

from tests.typed import present

HERE = Path(__file__).parent
NODE_MODULES = HERE.parents[1] / ".node" / "node_modules"

READY_S = 20.0
END_S = 5.0
POLL_S = 0.02
PORTS = range(15_000, 30_000)
"""Below the ports that connections are given: nobody takes a stopped server's port meanwhile."""

GUARDED = 'exec 3<&0 </dev/null; { read -r _; kill -KILL 0; } <&3 & exec 3<&-; exec "$@"'


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def missing_from_node(package: str) -> str | None:
    """Why a server of this npm package cannot run here; None if it can."""
    if shutil.which("node") is None:
        return f"{package} needs node, which is not on PATH"
    if not (NODE_MODULES / package).is_dir():
        return f"{package} needs what `make servers` installs with npm"
    return None


class NotReadyError(Exception):
    """A server ended, or did not answer in time; with what it wrote."""


class RealServer(ABC):
    """A server in a process of its own, and a plain client beside the package.

    ``folder`` is its own, and holds its data and its output.
    """

    name: ClassVar[str]
    endpoints: ClassVar[dict[str, str]]
    auth: ClassVar[tuple[str, str] | None] = None
    keeps_data: ClassVar[bool] = True
    root: ClassVar[str] = ""
    """The path of ``base_url``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "output.txt"
        self.log.touch()

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why it cannot run here; None if it can."""

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it, on ``self.port``."""

    def environment(self) -> dict[str, str]:
        """What its environment has beside the tests' own."""
        return {}

    def prepare(self) -> None:  # noqa: B027 - most have nothing to do
        """What is to do once it answers; a restart does it too."""

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.root}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def output(self, start: int = 0) -> str:
        """What it wrote, from that byte on."""
        return self.log.read_bytes()[start:].decode(errors="replace")

    # Its life

    def start(self) -> None:
        """Returns once it answers; takes another port if this one was taken in between."""
        try:
            self._launch()
        except NotReadyError:
            self.port = free_port()
            self._launch()

    def stop(self, *, kill: bool = False) -> None:
        """Ends it: SIGTERM, or SIGKILL at once. The port and the data stay for a ``restart``."""
        process, self.process = self.process, None
        if process is None:
            return
        if not kill:
            self._signal(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
        self._signal(process, signal.SIGKILL)
        process.wait(END_S)
        present(process.stdin).close()

    def restart(self, *, kill: bool = False) -> None:
        """On the same port, with its data if it keeps it."""
        self.stop(kill=kill)
        self._launch()

    def _launch(self) -> None:
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", GUARDED, self.name, *self.command()],
                cwd=self.folder,
                env={**os.environ, **self.environment()},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
            self.prepare()
        except BaseException:
            self.stop(kill=True)
            raise

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + READY_S
        pause = threading.Event()
        while self.running and time.monotonic() < deadline:
            if self._answers():
                return
            pause.wait(POLL_S)
        raise NotReadyError(f"{self.name} did not start. It wrote:\n{self.output()}")

    def _answers(self) -> bool:
        try:
            requests.get(f"{self.base_url}/", timeout=END_S)
        except requests.RequestException:
            return False
        return self.running  # or else it was another program

    def _signal(self, process: subprocess.Popen[bytes], number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    # The plain client

    def url(self, entity: str, record_id: object = None) -> str:
        """Of a collection, or of a record."""
        tail = "" if record_id is None else f"/{quote(str(record_id), safe='')}"
        return f"{self.base_url}{self.endpoints[entity]}{tail}"

    def request(self, method: str, url: str, **more: Any) -> requests.Response:
        """The answer, whatever its status; a path is taken from ``base_url`` on."""
        if url.startswith("/"):
            url = self.base_url + url
        return requests.request(method, url, auth=self.auth, timeout=READY_S, **more)

    def fetch(self, method: str, url: str, **more: Any) -> Any:
        """The answer's JSON; an error status raises."""
        answer = self.request(method, url, **more)
        assert answer.ok, f"{method} {url}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    @abstractmethod
    def records(self, entity: str) -> dict[str, dict[str, Any]]:
        """All living records as the server shows them, by id."""

    @abstractmethod
    def insert(self, entity: str, record: dict[str, Any]) -> dict[str, Any]:
        """Returns the record as stored."""

    @abstractmethod
    def change(self, entity: str, record_id: object, **fields: Any) -> dict[str, Any]:
        """Overwrites these fields, whatever is there; returns the record as stored."""

    @abstractmethod
    def remove(self, entity: str, record_id: object) -> None:
        """Deletes the record, whatever is there."""

    @abstractmethod
    def wipe(self) -> None:
        """Empties both entities; the process goes on."""
