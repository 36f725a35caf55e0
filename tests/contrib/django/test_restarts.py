"""The database goes away while workers deliver: it is restarted, and so is the pooler before it."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import Error as DatabaseError
from django.db import connections, transaction

from bytelyst_sync import SyncEngine
from bytelyst_sync.errors import StorageError
from bytelyst_sync.testing import DropAnswer, SyncServer
from tests.contrib.database_servers import PgBouncer, PostgreSQL
from tests.contrib.django.conftest import (
    DEFAULTS,
    PROGRAM,
    ROOT,
    DatabaseSettings,
    Engines,
    StartWorker,
)
from tests.typed import Eventually, present

BOUND_S = 60.0
RECORDS = 8
STEPS = 12


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[dict[str, PostgreSQL | PgBouncer]]:
    """A PostgreSQL and a pgbouncer of this test alone."""
    for kind in (PostgreSQL, PgBouncer):
        if reason := kind.missing():
            pytest.skip(reason)
    with PostgreSQL(tmp_path) as postgresql, PgBouncer(tmp_path, postgresql) as pgbouncer:
        yield {"postgresql": postgresql, "pgbouncer": pgbouncer}


@pytest.fixture
def shared_database(
    own_servers: dict[str, PostgreSQL | PgBouncer], request: pytest.FixtureRequest
) -> Iterator[str]:
    """The alias of a database behind the server that is restarted."""
    name = f"own_{request.param}"
    found = own_servers[request.param].settings("own")
    connections.databases[name] = {**DEFAULTS, **found}
    call_command("migrate", database=name, verbosity=0)
    yield name
    connections[name].close()
    del connections[name], connections.databases[name]


class Pusher(threading.Thread):
    """Pushes each step of all records in one transaction, and again if that failed."""

    def __init__(self, engine: SyncEngine, alias: str) -> None:
        super().__init__()
        self.engine, self.alias = engine, alias
        self.step = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while self.step < STEPS:
                self.try_step()
        except Exception as error:  # noqa: BLE001 - shown by the test
            self.error = error
        finally:
            connections[self.alias].close()

    def try_step(self) -> None:
        mark = f"{self.step}-{random.randrange(10**9)}"
        try:
            with transaction.atomic(using=self.alias):
                for record in random.sample(range(RECORDS), RECORDS):
                    data = {"id": str(record), "step": self.step, "mark": mark}
                    self.engine.push("notes", data)
        except (StorageError, DatabaseError):
            # the outcome of a COMMIT may be unknown: the next one pushes the same step again
            connections[self.alias].close()
            time.sleep(0.05)
            return
        self.step += 1
        time.sleep(0.05)


@pytest.mark.timeout(240)  # it starts programs and servers
@pytest.mark.parametrize("shared_database", ["postgresql", "pgbouncer"], indirect=True)
def test_workers_go_on_when_their_database_is_back(
    shared_database: str,
    own_servers: dict[str, PostgreSQL | PgBouncer],
    engines: Engines,
    start_worker: StartWorker,
    eventually: Eventually,
) -> None:
    restarted = own_servers[shared_database.removeprefix("own_")]
    with SyncServer() as server:
        server.script(*[DropAnswer(), None, None] * 3)
        web = engines(shared_database, None, base_url=server.url)
        workers = [start_worker(server.url) for _ in range(2)]
        pusher = Pusher(web, shared_database)
        pusher.start()
        # PostgreSQL ends as after a crash at SIGQUIT, and recovers
        for way, after in ((restarted.stop_signal, STEPS // 4), (signal.SIGQUIT, STEPS // 2)):
            assert eventually(lambda after=after: pusher.step >= after or pusher.error, BOUND_S)
            assert pusher.error is None
            assert server.wait_for(lambda: server.requests, BOUND_S)
            restarted.stop_signal = way
            restarted.stop()
            time.sleep(0.5)
            restarted.launch()
        pusher.join(BOUND_S)
        assert (pusher.error, pusher.step) == (None, STEPS)
        assert [each.poll() for each in workers] == [None, None]
        connections[shared_database].close()  # it was opened before the restarts
        # a flush in which an answer was lost says so
        assert eventually(lambda: web.flush(timeout=BOUND_S).success, BOUND_S)
        there = server.records("notes")
        assert {row["step"] for row in there.values()} == {STEPS - 1}
        assert len({row["mark"] for row in there.values()}) == 1
        assert set(Counter(each.key for each in server.journal).values()) == {1}
        for record in there:
            steps = [present(each.data)["step"] for each in server.journal if each.id == record]
            assert steps == sorted(steps)


# --- a database that is not there when a worker starts


@pytest.fixture
def stopped_server(
    own_servers: dict[str, PostgreSQL | PgBouncer],
) -> Iterator[PostgreSQL | PgBouncer]:
    """A PostgreSQL with the queue's tables, which does not run; its alias is ``not_running``."""
    name, server = "not_running", own_servers["postgresql"]
    connections.databases[name] = {**DEFAULTS, **server.settings("own")}
    call_command("migrate", database=name, verbosity=0)
    connections[name].close()
    server.stop()
    yield server
    connections[name].close()
    del connections[name], connections.databases[name]


@pytest.fixture
def new_worker(
    stopped_server: PostgreSQL | PgBouncer, database_settings: DatabaseSettings
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a worker of that database, whose output is one stream. ``port``: of another server."""
    started = []

    def start(
        url: str = "http://127.0.0.1:9", port: int | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        queue = {"BASE_URL": url, "ENTITIES": {"notes": "/notes"}, "PROBE": None}
        database = database_settings("not_running")
        if port is not None:
            database.update(PORT=str(port), OPTIONS={})
        given = {"database": database, "queue": queue, "margin": 10.0, "options": options}
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str], text: str) -> str:
    """The next line of a process with this text."""
    return next(line for line in present(process.stdout) if text in line)


@pytest.mark.timeout(240)  # it starts programs and servers
def test_a_worker_waits_for_its_database(
    stopped_server: PostgreSQL | PgBouncer,
    new_worker: Callable[..., subprocess.Popen[str]],
    engines: Engines,
) -> None:
    with SyncServer() as server:
        worker = new_worker(server.url)
        first = next_line(worker, "not delivered yet")
        assert "the database 'default' cannot be reached (" in first
        assert "next try in 0.5 s" in first
        assert "next try in 1 s" in next_line(worker, "not delivered yet")
        stopped_server.launch()
        assert server.url in next_line(worker, "is delivered to")
        web = engines("not_running", None, base_url=server.url)
        item = web.push("notes", {"id": "1"})
        assert web.wait(item, timeout=BOUND_S) == "delivered"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(BOUND_S) == 0


@pytest.mark.timeout(240)  # it starts programs and servers
def test_a_signal_ends_a_worker_that_waits_for_its_database(
    new_worker: Callable[..., subprocess.Popen[str]],
) -> None:
    worker = new_worker()
    next_line(worker, "not delivered yet")
    worker.send_signal(signal.SIGTERM)
    assert "ending" in next_line(worker, "ending")
    assert worker.wait(BOUND_S) == 0


@pytest.mark.timeout(240)  # it starts programs and servers
def test_a_signal_ends_a_worker_whose_database_does_not_answer(
    new_worker: Callable[..., subprocess.Popen[str]],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(BOUND_S)
        worker = new_worker(port=silent.getsockname()[1])
        connection, _ = silent.accept()
        with connection:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(BOUND_S) == 0


@pytest.mark.timeout(240)  # it starts programs and servers
def test_a_worker_that_shall_not_wait_ends_with_the_reason(
    new_worker: Callable[..., subprocess.Popen[str]],
) -> None:
    worker = new_worker(no_wait=True)
    output, _ = worker.communicate(timeout=BOUND_S)
    assert worker.returncode != 0
    assert "the database 'default' cannot be used now" in output
