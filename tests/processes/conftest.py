"""Programs of their own, and a server that outlives them."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.typed import present

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BOUND_S = 50.0
"""Ends what hangs: longer than anything here takes, on a machine with many times its load."""


class Program:
    """A Python program under way; its standard output is read line by line."""

    def __init__(self, *arguments: Path | str | int, stdin: int | None = None) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - close() closes it
        self.process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Kills it if the block takes longer than anything may."""
        timer = threading.Timer(BOUND_S, self.process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def line(self) -> str:
        """The next line, without its end; an error if there is none."""
        with self.bounded():
            text = present(self.process.stdout).readline()
        assert text.endswith("\n"), self.finish()
        return text[:-1]

    def finish(self) -> tuple[int, str, str]:
        """(exit status, rest of the output, errors) once it ends by itself."""
        with self.bounded():
            rest = present(self.process.stdout).read()
            status = self.process.wait()
        self.errors.seek(0)
        return status, rest, self.errors.read()

    def kill(self) -> str:
        """SIGKILL; returns what it had still written."""
        self.process.kill()
        return self.finish()[1]

    def close(self) -> None:
        """Kills it, if it still runs, and lets go of it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()


class Client(Program):
    """An engine in a process of its own (``client.py``), called line by line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(HERE / "client.py", json.dumps(settings), stdin=subprocess.PIPE)
        assert self.line() == "ready"

    def begin(self, call: str, *arguments: Any, **named: float) -> None:
        """Has it called; ``end`` gives the result."""
        present(self.process.stdin).write(json.dumps([call, arguments, named]) + "\n")
        present(self.process.stdin).flush()

    def end(self) -> Any:
        return json.loads(self.line())

    def __call__(self, call: str, *arguments: Any, **named: float) -> Any:
        self.begin(call, *arguments, **named)
        return self.end()


@pytest.fixture
def started() -> Iterator[list[Program]]:
    """What was started; killed at the end, if it still runs."""
    programs: list[Program] = []
    yield programs
    for program in programs:
        program.close()


@pytest.fixture
def run_script(tmp_path: Path, started: list[Program]) -> Callable[..., Program]:
    """Starts a program given as text, from a file, as ``spawn`` wants it."""

    def run(text: str, *arguments: Any) -> Program:
        path = tmp_path / f"script{len(started)}.py"
        path.write_text(text)
        started.append(Program(path, *arguments))
        return started[-1]

    return run


@pytest.fixture
def start_program(started: list[Program]) -> Callable[..., Program]:
    """Starts one of the programs that lie here, or a module (``-m``)."""

    def start(name: str, *arguments: Any) -> Program:
        started.append(Program(*([name] if name == "-m" else [HERE / name]), *arguments))
        return started[-1]

    return start


@pytest.fixture
def make_client(started: list[Program]) -> Callable[..., Client]:
    def make(**settings: Any) -> Client:
        client = Client(**settings)
        started.append(client)
        return client

    return make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"
