"""Programs of their own, and a server that outlives them."""

import json
import os
import subprocess
import sys
import threading
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
        self.process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )

    def line(self):
        """The next line, without its end; an error if there is none within the bound."""
        timer = threading.Timer(BOUND_S, self.process.kill)
        timer.start()
        try:
            text = self.process.stdout.readline()
        finally:
            timer.cancel()
        assert text.endswith("\n"), self.finish()
        return text[:-1]

    def finish(self, timeout=BOUND_S):
        """(exit status, rest of the output, errors) once it ends by itself."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def kill(self):
        """SIGKILL; returns what it had still written."""
        self.process.kill()
        return self.process.communicate(timeout=BOUND_S)[0]


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
        program.process.kill()
        program.process.communicate()


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
