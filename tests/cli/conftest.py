"""The command line in this process, in one of its own, and at a terminal of its own."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.cli.app import root
from bytelyst_sync.model import Json
from bytelyst_sync.testing import SyncServer

ROOT = Path(__file__).parents[2]
BOUND_S = 20.0
"""Longer than anything here takes, on however slow a machine."""
TAKE_TERMINAL = (
    "import fcntl, runpy, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "runpy.run_module('bytelyst_sync', run_name='__main__')"
)
"""Makes the terminal the one that Ctrl-C comes from, and runs the command."""
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07)")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test, in an empty directory."""
    for name in list(os.environ):
        if name.startswith("BYTELYST_SYNC_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toml(tmp_path: Path, server: SyncServer) -> Callable[..., Path]:
    """Writes the configuration file; the lines go before its tables."""

    def write(
        *lines: str,
        entities: str = "notes = '/notes'\ntasks = '/tasks'",
        base_url: str | None = None,
        tail: str = "",
    ) -> Path:
        text = [f"base_url = '{base_url or server.url}'", "storage = 'app.db'", *lines]
        path = tmp_path / "bytelyst-sync.toml"
        path.write_text("\n".join([*text, "[entities]", entities, tail]) + "\n")
        return path

    write()
    return write


class Done:
    """What a run came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.out)
        return found

    @property
    def lines(self) -> list[Json]:
        return [json.loads(line) for line in self.out.splitlines()]

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


@pytest.fixture
def cli(toml: Callable[..., Path]) -> Callable[..., Done]:
    """Runs it in this process, with the expected exit code."""

    def run(*arguments: str, code: int = 0, stdin: str | None = None) -> Done:
        result = CliRunner().invoke(root, [str(each) for each in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        done = Done(result.exit_code, result.stdout, result.stderr)
        assert code is None or done.code == code, done
        assert "Traceback" not in done.err
        return done

    return run


def environment(**changes: Any) -> Json:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **changes}


@pytest.fixture
def spawn(toml: Callable[..., Path]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts it in a process of its own."""
    started = []

    def start(
        *arguments: str,
        python: tuple[str, ...] = ("-m", "bytelyst_sync"),
        env: Json | None = None,
        **streams: Any,
    ) -> subprocess.Popen[str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        process = subprocess.Popen(
            [sys.executable, *python, *map(str, arguments)],
            env=environment(**(env or {})),
            text=True,
            **streams,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class Terminal:
    """A program at a pseudo-terminal of its own; ``\\x03`` is Ctrl-C there."""

    def __init__(self, *arguments: str, env: Json | None = None) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(TERM="xterm-256color", **(env or {})),
            start_new_session=True,
        )
        os.close(slave)
        self.raw = ""

    @property
    def text(self) -> str:
        """Everything it has shown, without colours and moves of the cursor."""
        return ESCAPES.sub("", self.raw)

    def until(self, wanted: str, since: int = 0) -> None:
        """Reads on until this is shown."""
        deadline = time.monotonic() + BOUND_S
        while wanted not in self.text[since:]:
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.text!r}"
            if not self._read():
                pytest.fail(f"ended without {wanted!r}: {self.text!r}")

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.2)[0]:
            return True
        try:
            found = os.read(self._master, 65536)
        except OSError:  # what Linux says when the other side is closed
            return False
        self.raw += found.decode("utf-8", "replace")
        return bool(found)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def finish(self, insist: str = "") -> int:
        """Reads to its end; the exit code. While nothing comes, types ``insist``."""
        deadline = time.monotonic() + BOUND_S
        while True:
            before = len(self.raw)
            if not self._read():
                break
            if insist and len(self.raw) == before:
                self.type(insist)
            assert time.monotonic() < deadline, f"does not end: {self.text!r}"
        return self.process.wait(BOUND_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(toml: Callable[..., Path]) -> Iterator[Callable[..., Terminal]]:
    started = []

    def start(*arguments: Any, env: Json | None = None) -> Terminal:
        started.append(Terminal(*arguments, env=env))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def engine(server: SyncServer, tmp_path: Path) -> Iterator[SyncEngine]:
    """A program that uses the same store, in this process."""
    made = create_sync_engine(
        base_url=server.url,
        entities={"notes": "/notes", "tasks": "/tasks"},
        storage=str(tmp_path / "app.db"),
        auto_flush=False,
        conflict="manual",
        probe=None,
    )
    yield made
    made.close()
