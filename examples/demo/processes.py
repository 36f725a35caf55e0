"""The child processes of the demo: they are told what to do, listened to, and killed.

A reader thread per child, `Child._read`, owns its end of the child's standard output and appends
what it reads to ``_lines`` under ``_heard``; everything else runs on the caller's thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
HERE = Path(__file__).parent

Event = dict[str, Any]


class DemoError(Exception):
    """A process did not do what it should have done in time."""


class Child:
    """A process and the lines it has printed, until it is closed."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        self._heard = threading.Condition()
        self._lines: list[str] = []
        self._expected = 0
        self._ended = False
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 (this very Python)
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
                env={**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
            )
        self._reader = threading.Thread(target=self._read, name=f"demo-{name}", daemon=True)
        self._reader.start()

    def tell(self, text: str) -> None:
        """Give the child one line on its standard input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{text}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._trouble(f"ended before it could be told {text!r}") from error

    def expect(
        self,
        wanted: Callable[[str], bool],
        what: str,
        *,
        meanwhile: Callable[[str], None] | None = None,
    ) -> str:
        """Wait for a line that is wanted, behind the last one that was, and return it.

        It is given up after `PATIENCE_S` of silence. `meanwhile` is called with the latest line
        whenever others have come.
        """
        while lines := self._lines_from(self._expected, PATIENCE_S):
            for line in lines:
                self._expected += 1
                if wanted(line):
                    return line
            if meanwhile is not None:
                meanwhile(lines[-1])
        raise self._trouble(f"ended, or was silent for {PATIENCE_S:.0f} s, before: {what}")

    def lines(self) -> list[str]:
        """Everything it has printed so far."""
        return self._lines_from(0, patience_s=0.0)

    def close(self) -> None:
        """Kill it as the kernel would, if it still runs, and read what it had said before."""
        self._process.kill()
        self.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def join(self) -> int:
        """Wait for its end and the end of its output; return its exit code."""
        try:
            code = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise self._trouble(f"did not end in {PATIENCE_S:.0f} s") from error
        self._reader.join(PATIENCE_S)
        return code

    def end(self) -> None:
        """Close its standard input, on which it is to end by itself, without an error."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self.join()
        if code != 0:
            raise self._trouble(f"ended with code {code}")

    def _lines_from(self, number: int, patience_s: float) -> list[str]:
        """Wait for more than `number` lines and return the others: none at its end or too late."""
        with self._heard:
            self._heard.wait_for(lambda: len(self._lines) > number or self._ended, patience_s)
            return self._lines[number:]

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                with self._heard:
                    self._lines.append(line.rstrip("\n"))
                    self._heard.notify_all()
        finally:
            with self._heard:
                self._ended = True
                self._heard.notify_all()

    def _trouble(self, text: str) -> DemoError:
        tail = self._log.read_text("utf-8", "replace").strip().splitlines()[-15:]
        return DemoError("\n    ".join([f"{self.name}: {text}", *tail]))


class Server:
    """A REST API that can be away, come back on the same port with its records, and be killed."""

    def __init__(self, folder: Path, *, latency_ms: int) -> None:
        self.state = folder / "server.state"
        self._folder = folder
        self._latency_ms = latency_ms
        self._placeholder: socket.socket | None = None
        self._child: Child | None = None
        self.port = self._take_a_port()

    @property
    def url(self) -> str:
        """Where it listens when it is up."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Start the process and wait until it listens."""
        self._release()
        arguments = ["-m", "bytelyst_sync.testing.server", "--port", str(self.port)]
        arguments += ["--state", str(self.state), "--latency-ms", str(self._latency_ms)]
        self._child = Child("server", arguments, self._folder / "server.log")
        self._child.expect(
            lambda line: re.match("listening on http", line) is not None, "listening on ..."
        )

    def down(self) -> None:
        """Kill the process, whatever it is doing; what it has answered is in its state file."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def close(self) -> None:
        """Leave nothing behind."""
        self.down()
        self._release()

    def _take_a_port(self) -> int:
        """Hold a port, refusing connections, until the server is started for the first time.

        It is below those that systems hand out by themselves, so that it is not lost to a
        stranger while the server is away.
        """
        for port in random.sample(range(20_000, 32_000), 100):
            placeholder = socket.socket()
            try:
                placeholder.bind(("127.0.0.1", port))
            except OSError:
                placeholder.close()
            else:
                self._placeholder = placeholder
                return port
        raise DemoError("no free port between 20000 and 32000")

    def _release(self) -> None:
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None


class Client(Child):
    """A program with a database of its own; speaks in events, one JSON object a line."""

    def __init__(
        self, folder: Path, url: str, *, program: str = "field_client.py", name: str = "client"
    ) -> None:
        super().__init__(
            name, [str(HERE / program), url, str(folder / f"{name}.db")], folder / f"{name}.log"
        )

    def expect_event(
        self,
        name: str,
        *,
        where: Callable[[Event], bool] = lambda _: True,
        meanwhile: Callable[[Event], None] = lambda _: None,
    ) -> Event:
        """Wait for the next event of this name, and return it."""

        def wanted(line: str) -> bool:
            event = json.loads(line)
            return event["event"] == name and where(event)

        line = self.expect(wanted, name, meanwhile=lambda line: meanwhile(json.loads(line)))
        return json.loads(line)

    def said(self, name: str) -> bool:
        """Whether an event of this name has come, expected or not."""
        return any(event["event"] == name for event in self.events())

    def events(self) -> list[Event]:
        """All its events so far."""
        return [json.loads(line) for line in self.lines()]
