"""Programs of their own, and a server that outlives them."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from bytelyst_sync.testing import SyncServer

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BOUND_S = 20.0
"""Longer than anything here takes, on however slow a machine."""


class Program:
    """A Python program under way; its standard output is read line by line."""

    def __init__(self, *arguments, stdin=None):
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
    def bounded(self):
        """Kills it if the block takes longer than anything may."""
        timer = threading.Timer(BOUND_S, self.process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def line(self):
        """The next line, without its end; an error if there is none."""
        with self.bounded():
            text = self.process.stdout.readline()
        assert text.endswith("\n"), self.finish()
        return text[:-1]

    def finish(self):
        """(exit status, rest of the output, errors) once it ends by itself."""
        with self.bounded():
            rest = self.process.stdout.read()
            status = self.process.wait()
        self.errors.seek(0)
        return status, rest, self.errors.read()

    def kill(self):
        """SIGKILL; returns what it had still written."""
        self.process.kill()
        return self.finish()[1]

    def close(self):
        """Kills it, if it still runs, and lets go of it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()


class Client(Program):
    """An engine in a process of its own (``client.py``), called line by line."""

    def __init__(self, **settings):
        super().__init__(HERE / "client.py", json.dumps(settings), stdin=subprocess.PIPE)
        assert self.line() == "ready"

    def begin(self, call, *arguments, **named):
        """Has it called; ``end`` gives the result."""
        self.process.stdin.write(json.dumps([call, arguments, named]) + "\n")
        self.process.stdin.flush()

    def end(self):
        return json.loads(self.line())

    def __call__(self, call, *arguments, **named):
        self.begin(call, *arguments, **named)
        return self.end()


@pytest.fixture
def started():
    """What was started; killed at the end, if it still runs."""
    programs = []
    yield programs
    for program in programs:
        program.close()


@pytest.fixture
def run_script(tmp_path, started):
    """Starts a program given as text, from a file, as ``spawn`` wants it."""

    def run(text, *arguments):
        path = tmp_path / f"script{len(started)}.py"
        path.write_text(text)
        started.append(Program(path, *arguments))
        return started[-1]

    return run


@pytest.fixture
def start_program(started):
    """Starts one of the programs that lie here, or a module (``-m``)."""

    def start(name, *arguments):
        started.append(Program(*([name] if name == "-m" else [HERE / name]), *arguments))
        return started[-1]

    return start


@pytest.fixture
def make_client(started):
    def make(**settings):
        started.append(Client(**settings))
        return started[-1]

    return make


@pytest.fixture
def server():
    with SyncServer() as running:
        yield running


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.db"
