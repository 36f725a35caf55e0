"""What the tests of this room share: an SQLite store, and programs in processes of their own."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync.storage.sqlite.store import SQLiteStorage
from tests.typed import present

_POSIX = ["test_full_disk.py", "test_posix.py", "test_processes.py"]
collect_ignore = [] if os.name == "posix" else _POSIX

ROOT = Path(__file__).parents[2]
RELEASES = Path(__file__).parent / "releases"
_TIMES = {
    "items": ("time", "due"),
    "conflicts": ("local_time", "remote_time", "closed_time"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def storage(path: Path) -> Iterator[SQLiteStorage]:
    storage = SQLiteStorage(path, busy_timeout_s=5.0)
    yield storage
    storage.close()


def pragma(storage: SQLiteStorage, name: str) -> str | int:
    """The value of a pragma on the writer's connection of an SQLite store."""
    storage.write(lambda tx: None)
    found: str | int = (
        present(present(storage._file.database).writer).execute(f"PRAGMA {name}").fetchone()[0]
    )
    return found


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program with arguments; what is left of it is killed at the end."""
    started = []

    def start(text: str, *arguments: str | Path | int) -> subprocess.Popen[str]:
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
def run_python(
    start_python: Callable[..., subprocess.Popen[str]],
) -> Callable[..., list[int | list[int]]]:
    """Runs a program to its end and gives the JSON that it printed last."""

    def run(text: str, *arguments: Any) -> list[int | list[int]]:
        process = start_python(text, *arguments)
        printed, _ = process.communicate(timeout=50)
        assert process.returncode == 0, printed
        found: list[int | list[int]] = json.loads(printed.splitlines()[-1])
        return found

    return run


@pytest.fixture
def restore() -> Callable[[str, Path], None]:
    """Writes the store of a release to a path; its times are moved so that all is due now."""

    def write(dump: str, path: Path) -> None:
        path.touch(0o600)
        with closing(sqlite3.connect(path)) as database:
            database.executescript((RELEASES / dump).read_text())
            later = time.time() - database.execute("SELECT max(due) FROM items").fetchone()[0]
            for table, columns in _TIMES.items():
                for column in columns:
                    database.execute(f"UPDATE {table} SET {column}={column}+?", (later,))
            database.commit()

    return write


@pytest.fixture
def release_key() -> str:
    """What the encrypted stores of the releases are encrypted with."""
    return "x2u9d0kTQh1nqZ7fJ0m8yQy4mC3n1oT8g0rS5b6VwYI="
