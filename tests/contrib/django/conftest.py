"""Django in the test process, with the databases that a queue may be kept in."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import django
import pytest
from django.conf import settings

from bytelyst_sync.http.transport import Transport
from tests.contrib.database_servers import DatabaseServer, MariaDB, PgBouncer, PostgreSQL
from tests.typed import present

if not settings.configured:
    settings.configure(
        SECRET_KEY="tests",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "django.contrib.messages",
            "django.contrib.admin",
            "bytelyst_sync.contrib.django",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        ROOT_URLCONF="tests.contrib.django.urls",
        STATIC_URL="/static/",
        ALLOWED_HOSTS=["*"],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()

from django.core.management import call_command
from django.db import connections

from bytelyst_sync import SyncConfig, SyncEngine
from bytelyst_sync.contrib.django.storage import DjangoStorage
from tests.contrib.django.admin_site import new_user, stage  # noqa: F401 - fixtures
from tests.dashboard.conftest import browser, window  # noqa: F401 - fixtures

PROGRAM = Path(__file__).with_name("worker_program.py")
ROOT = Path(__file__).parents[3]
LEASE_S = 3.0
KINDS = ("sqlite", "postgresql", "pgbouncer", "mariadb")
SQLITE = {"ENGINE": "django.db.backends.sqlite3"}
SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
}
DEFAULTS = {
    "ATOMIC_REQUESTS": False,
    "AUTOCOMMIT": True,
    "CONN_MAX_AGE": 0,
    "CONN_HEALTH_CHECKS": False,
    "OPTIONS": {},
    "TIME_ZONE": None,
    "NAME": "",
    "USER": "",
    "PASSWORD": "",
    "HOST": "",
    "PORT": "",
    "TEST": {"CHARSET": None, "COLLATION": None, "MIGRATE": True, "MIRROR": None, "NAME": None},
}


NewDatabase = Callable[[str], str]
"""Given a kind, gives an alias."""
DatabaseSettings = Callable[[str], dict[str, Any]]


class Engines(Protocol):
    def __call__(
        self,
        alias: str,
        wire: Transport | None,
        *,
        deliver: bool = ...,
        lease_s: float = ...,
        listen: str | None = ...,
        **settings: Any,
    ) -> SyncEngine: ...


class StartWorker(Protocol):
    def __call__(self, url: str, **settings: Any) -> subprocess.Popen[str]: ...


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The name of this process of pytest-xdist, if that runs."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "master"))


def server_fixture(kind: type[PostgreSQL] | type[MariaDB]) -> Any:
    @pytest.fixture(scope="session", name=f"{kind.name}_server")
    def server(shared_folder: Path) -> Iterator[DatabaseServer]:
        if reason := kind.missing():
            pytest.skip(reason)
        with kind(shared_folder) as started:
            yield started

    return server


postgresql_server = server_fixture(PostgreSQL)
mariadb_server = server_fixture(MariaDB)


@pytest.fixture(scope="session")
def pgbouncer_server(shared_folder: Path, postgresql_server: PostgreSQL) -> Iterator[PgBouncer]:
    if reason := PgBouncer.missing():
        pytest.skip(reason)
    with PgBouncer(shared_folder, postgresql_server) as started:
        yield started


@pytest.fixture(scope="session")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[NewDatabase]:
    """``databases(kind)``: the alias of a database with the queue's tables, for this process."""
    made: dict[str, dict[str, Any]] = {}

    def get(kind: str) -> str:
        if kind not in made:
            if kind == "sqlite":
                path = tmp_path_factory.mktemp("django") / "queue.sqlite3"
                found = {**SQLITE, "NAME": str(path), "OPTIONS": SQLITE_OPTIONS}
            else:
                server = request.getfixturevalue(f"{kind}_server")
                found = server.settings(f"{kind}_{worker_id}")
            connections.databases[kind] = {**DEFAULTS, **found}
            call_command("migrate", database=kind, verbosity=0)
            made[kind] = found
        return kind

    yield get
    for kind in made:
        connections[kind].close()
        del connections.databases[kind]


@pytest.fixture
def new_database(databases: NewDatabase) -> Iterator[NewDatabase]:
    """``new_database(kind)``: the alias of a database with empty tables."""
    used: list[str] = []

    def get(kind: str) -> str:
        alias = databases(kind)
        empty(alias)
        used.append(alias)
        return alias

    yield get
    for alias in used:
        connections[alias].close()


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, new_database: NewDatabase) -> str:
    """The alias of each database in turn."""
    return new_database(request.param)


@pytest.fixture(params=KINDS[1:])
def server_database(request: pytest.FixtureRequest, new_database: NewDatabase) -> str:
    """Those that many sessions write to at once."""
    return new_database(request.param)


@pytest.fixture
def sqlite_database(new_database: NewDatabase) -> str:
    return new_database("sqlite")


def empty(alias: str) -> None:
    tables = connections[alias].introspection.table_names()
    with connections[alias].cursor() as cursor:
        for table in tables:
            if table.startswith("bytelyst_sync_"):
                cursor.execute(f"DELETE FROM {table}")


@pytest.fixture
def engines() -> Iterator[Engines]:
    made: list[SyncEngine] = []

    def make(
        alias: str,
        wire: Transport | None,
        *,
        deliver: bool = False,
        lease_s: float = 70.0,
        listen: str | None = None,
        **settings: Any,
    ) -> SyncEngine:
        storage = DjangoStorage(using=alias, lease_s=lease_s, listen=listen)
        chosen: dict[str, Any] = {
            "base_url": "http://server.test",
            "entities": {"notes": "/notes", "tasks": "/tasks"},
            "probe": None,
            "retry_delay": 0.01,
            "max_retry_delay": 0.1,
            "exit_timeout": 0.0,
            **settings,
        }
        config = SyncConfig(storage=storage, transport=wire, auto_flush=deliver, **chosen)
        engine = SyncEngine(config)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def database_settings() -> DatabaseSettings:
    """What a program of its own needs to reach a database."""
    names = ("ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS")
    return lambda alias: {name: connections.databases[alias][name] for name in names}


@pytest.fixture(params=["postgresql", "mariadb"])
def shared_database(request: pytest.FixtureRequest, new_database: NewDatabase) -> str:
    """Of the servers themselves: a pooler adds nothing to what processes do."""
    return new_database(request.param)


@pytest.fixture
def start_worker(
    shared_database: str, database_settings: DatabaseSettings
) -> Iterator[StartWorker]:
    """Starts ``manage.py sync_worker`` in processes of their own."""
    started: list[subprocess.Popen[str]] = []
    database = database_settings(shared_database)

    def start(url: str, **settings: Any) -> subprocess.Popen[str]:
        queue = {
            "BASE_URL": url,
            "ENTITIES": {"notes": "/notes"},
            "REQUEST_DEADLINE": 1.0,
            "PROBE": None,
            "RETRY_DELAY": 0.05,
            "MAX_RETRY_DELAY": 0.2,
            **settings,
        }
        given = {"database": database, "queue": queue, "margin": LEASE_S - 1.0}
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(given)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert present(process.stdout).readline().startswith("queue 'default'")
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
