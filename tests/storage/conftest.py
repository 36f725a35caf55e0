"""Programs of their own, for what takes another process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

collect_ignore = [] if os.name == "posix" else ["test_posix.py", "test_processes.py"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start_python():
    """Starts a program with arguments; what is left of it is killed at the end."""
    started = []

    def start(text, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", text, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run_python(start_python):
    """Runs a program to its end and gives the JSON that it printed last."""

    def run(text, *arguments):
        process = start_python(text, *arguments)
        printed, _ = process.communicate(timeout=50)
        assert process.returncode == 0, printed
        return json.loads(printed.splitlines()[-1])

    return run
