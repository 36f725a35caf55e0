"""Wake-ups by notifications of PostgreSQL: proven by an echo, after the commit, on the leading
edge; without them, workers look by themselves.
"""

import contextlib
import io
import logging
import socket
import threading
from typing import Any, NoReturn, Protocol

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connections, transaction
from django.test import override_settings

from bytelyst_sync import SyncEngine
from bytelyst_sync.contrib.django import news
from bytelyst_sync.contrib.django import storage as storage_module
from bytelyst_sync.contrib.django.engines import read_settings
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.errors import ConfigError, StorageError
from bytelyst_sync.http.transport import Transport
from tests.conftest import Wire
from tests.contrib.database_servers import PostgreSQL
from tests.contrib.django.conftest import Engines, NewDatabase
from tests.typed import Eventually, InThread, present

BOUND_S = 30.0
NEVER_S = 3600.0


@pytest.fixture
def postgresql(new_database: NewDatabase) -> str:
    return new_database("postgresql")


@pytest.fixture
def pooled(new_database: NewDatabase) -> str:
    """An alias that leads through pgbouncer in transaction mode."""
    return new_database("pgbouncer")


@pytest.fixture
def past_the_pooler(pooled: str, postgresql_server: PostgreSQL) -> str:
    name = connections.databases[pooled]["NAME"]
    return f"host=127.0.0.1 port={postgresql_server.port} user=tests password=secret dbname={name}"


@pytest.fixture
def rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that hear of pushes never look by themselves."""
    monkeypatch.setattr(storage_module, "_POLL_IF_NOTIFIED_S", NEVER_S)
    monkeypatch.setattr(news, "_PROVE_EVERY_S", NEVER_S)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listeners prove several times a second that they hear."""
    monkeypatch.setattr(news, "_PROVE_EVERY_S", 0.2)
    monkeypatch.setattr(news, "_ECHO_WITHIN_S", 1.0)


def storage_of(engine: SyncEngine) -> DjangoStorage:
    storage = engine.config.storage
    assert isinstance(storage, DjangoStorage)
    return storage


class NewWorker(Protocol):
    def __call__(
        self, alias: str, wire: Transport, listen: str | None = ..., *, receives: bool = ...
    ) -> SyncEngine: ...


@pytest.fixture
def new_worker(engines: Engines, eventually: Eventually) -> NewWorker:
    def make(
        alias: str, wire: Transport | None, listen: str | None = None, *, receives: bool = True
    ) -> SyncEngine:
        engine = engines(alias, wire, deliver=True, listen=listen, lease_s=3 * NEVER_S)
        engine.start()
        storage = storage_of(engine)
        if receives:
            assert eventually(lambda: storage.poll_s == storage_module._POLL_IF_NOTIFIED_S, BOUND_S)
        else:
            assert eventually(lambda: storage.listen_problem, BOUND_S)
        return engine

    return make


# --- workers that hear


def test_a_push_of_another_process_wakes_the_worker(
    postgresql: str,
    new_worker: NewWorker,
    engines: Engines,
    wire: Wire,
    rarely: None,
    eventually: Eventually,
) -> None:
    worker = new_worker(postgresql, wire)._core.running().worker
    web = engines(postgresql, None)
    for number in range(3):
        assert eventually(lambda: worker._idle and not worker._woken_by_others, BOUND_S)
        item = web.push("notes", {"id": str(number)})
        assert web.wait(item, timeout=BOUND_S) == "delivered"


def test_other_changes_of_the_queue_wake_the_worker(
    postgresql: str,
    new_worker: NewWorker,
    engines: Engines,
    wire: Wire,
    rarely: None,
    eventually: Eventually,
) -> None:
    worker = new_worker(postgresql, wire)
    web = engines(postgresql, None)
    wire.online = False
    item = web.push("notes", {"id": "1"})
    assert eventually(lambda: worker.status.status == "offline", BOUND_S)
    worker.pause()
    wire.online = True
    assert web.cancel(item)
    assert web.wait(item, timeout=0) == "cancelled"
    worker.resume()
    last = web.push("notes", {"id": "2"})
    assert web.wait(last, timeout=BOUND_S) == "delivered"


def test_a_push_that_is_debounced_just_after_a_look_is_found(
    postgresql: str,
    new_worker: NewWorker,
    engines: Engines,
    wire: Wire,
    rarely: None,
    monkeypatch: pytest.MonkeyPatch,
    in_thread: InThread,
    eventually: Eventually,
) -> None:
    """The second push notifies nobody, and comes after the last look of the worker."""
    worker = new_worker(postgresql, wire)
    web = engines(postgresql, None)
    monkeypatch.setattr(news, "_QUIET_S", NEVER_S)
    storage_of(web)._notifier._sent_at = -NEVER_S
    running = worker._core.running().worker
    finish, pushed = running._finish_round, []

    def push() -> None:
        pushed.append(web.push("notes", {"id": "2"}))

    def finish_round(blocked_for: float | None) -> float:
        wait = finish(blocked_for)
        if wire.store.records("notes") and not pushed:
            in_thread(push)()
        return wait

    monkeypatch.setattr(running, "_finish_round", finish_round)
    first = web.push("notes", {"id": "1"})
    assert web.wait(first, timeout=BOUND_S) == "delivered"
    assert eventually(lambda: pushed, BOUND_S)
    assert web.wait(pushed[0], timeout=BOUND_S) == "delivered"


def test_a_thread_that_pushes_much_notifies_on_the_leading_edge(
    postgresql: str, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    monkeypatch.setattr(news, "_notify", lambda _, text: sent.append(text))
    monkeypatch.setattr(news, "_QUIET_S", NEVER_S)
    web = engines(postgresql, None)
    storage_of(web)._notifier._sent_at = -NEVER_S
    for number in range(5):
        web.push("notes", {"id": str(number)})
    assert sent == ["news default"]


def test_a_push_notifies_after_the_outermost_commit(
    postgresql: str, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    monkeypatch.setattr(news, "_notify", lambda _, text: sent.append(text))
    monkeypatch.setattr(news, "_QUIET_S", 0.0)
    web = engines(postgresql, None)
    with transaction.atomic(using=postgresql):
        with transaction.atomic(using=postgresql):
            web.push("notes", {"id": "1"})
        assert sent == []
    assert sent == ["news default"]
    with contextlib.suppress(LookupError), transaction.atomic(using=postgresql):
        web.push("notes", {"id": "2"})
        raise LookupError
    assert sent == ["news default"]


def test_a_notification_that_fails_harms_no_push(
    postgresql: str, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise StorageError("the database is away")

    monkeypatch.setattr(news, "_notify", fails)
    web = engines(postgresql, None)
    web.push("notes", {"id": "1"})
    assert web.queue_length == 1


def test_a_worker_hears_only_of_its_own_queue(
    postgresql: str, new_worker: NewWorker, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = new_worker(postgresql, wire)
    woken = []
    monkeypatch.setattr(storage_of(worker)._listener, "_wake", lambda: woken.append(1))
    other = DjangoStorage(using=postgresql, queue="other")
    arrived = threading.Event()
    listener = other.listen(arrived.set)
    assert arrived.wait(BOUND_S)  # it hears
    arrived.clear()
    other.notify()
    assert arrived.wait(BOUND_S)
    assert woken == []
    present(listener).close()
    other.close()


# --- workers that are deaf


def test_through_a_pooler_a_worker_is_deaf_says_so_and_looks_every_second(
    pooled: str,
    new_worker: NewWorker,
    engines: Engines,
    wire: Wire,
    caplog: pytest.LogCaptureFixture,
    quickly: None,
) -> None:
    with caplog.at_level(logging.WARNING, "bytelyst_sync"):
        worker = new_worker(pooled, wire, receives=False)
    assert storage_of(worker).poll_s == 1.0
    for said in (caplog.text, present(worker.status.last_error)):
        assert "notifications of pushes do not arrive on database 'pgbouncer'" in said
        assert "Set LISTEN to" in said
    web = engines(pooled, None)
    item = web.push("notes", {"id": "1"})
    assert web.wait(item, timeout=BOUND_S) == "delivered"
    assert caplog.text.count("do not arrive") == 1


def test_past_the_pooler_it_hears(
    pooled: str,
    past_the_pooler: str,
    new_worker: NewWorker,
    engines: Engines,
    wire: Wire,
    rarely: None,
) -> None:
    worker = new_worker(pooled, wire, past_the_pooler)
    assert worker.status.last_error is None
    web = engines(pooled, None)
    item = web.push("notes", {"id": "1"})
    assert web.wait(item, timeout=BOUND_S) == "delivered"


def test_an_alias_may_lead_past_the_pooler(
    pooled: str,
    past_the_pooler: str,
    postgresql_server: PostgreSQL,
    new_worker: NewWorker,
    wire: Wire,
) -> None:
    direct = {**connections.databases[pooled], "PORT": str(postgresql_server.port)}
    connections.databases["direct"] = direct
    try:
        new_worker(pooled, wire, "direct").close()
    finally:
        del connections.databases["direct"]


def test_another_database_is_found_out(
    pooled: str,
    past_the_pooler: str,
    new_worker: NewWorker,
    wire: Wire,
    caplog: pytest.LogCaptureFixture,
    quickly: None,
) -> None:
    elsewhere = past_the_pooler.partition(" dbname=")[0] + " dbname=postgres"
    with caplog.at_level(logging.WARNING, "bytelyst_sync"):
        worker = new_worker(pooled, wire, elsewhere, receives=False)
    for said in (caplog.text, present(worker.status.last_error)):
        assert "the one in LISTEN" in said
        assert "secret" not in said


def test_without_psycopg_it_says_what_to_install(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> NoReturn:
        raise ImportError(name)

    monkeypatch.setattr(news, "import_module", missing)
    storage = DjangoStorage(using=postgresql)
    assert "pip install psycopg" in present(storage.find_listen_problem())
    storage.close()


def listening_sessions(postgresql_server: PostgreSQL) -> set[int]:
    query = "SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN bytelyst_sync'"
    return {pid for (pid,) in postgresql_server.execute(query)}


def test_a_connection_that_is_cut_is_replaced(
    postgresql: str,
    postgresql_server: PostgreSQL,
    new_worker: NewWorker,
    engines: Engines,
    wire: Wire,
    rarely: None,
    eventually: Eventually,
) -> None:
    worker = new_worker(postgresql, wire)
    (before,) = listening_sessions(postgresql_server)
    postgresql_server.execute(f"SELECT pg_terminate_backend({before})")
    assert eventually(lambda: listening_sessions(postgresql_server) - {before}, BOUND_S)
    assert eventually(lambda: present(storage_of(worker)._listener).receives, BOUND_S)
    web = engines(postgresql, None)
    item = web.push("notes", {"id": "1"})
    assert web.wait(item, timeout=BOUND_S) == "delivered"


class BlackHole(threading.Thread):
    """Passes bytes between a client and a server, until it swallows them."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.target = port
        self.dark = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets = [self.listener]

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self.sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self.copy, args=pair, daemon=True).start()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while some := source.recv(65536):
                if not self.dark:
                    target.sendall(some)

    def close(self) -> None:
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def test_a_connection_that_is_dead_without_a_word_is_found_out(
    pooled: str,
    past_the_pooler: str,
    postgresql_server: PostgreSQL,
    new_worker: NewWorker,
    engines: Engines,
    wire: Wire,
    quickly: None,
    eventually: Eventually,
) -> None:
    hole = BlackHole(postgresql_server.port)
    hole.start()
    listen = past_the_pooler.replace(f"port={postgresql_server.port}", f"port={hole.port}")
    worker = new_worker(pooled, wire, f"{listen} connect_timeout=2")
    hole.dark = True
    storage = storage_of(worker)
    assert eventually(lambda: storage.listen_problem is not None and storage.poll_s == 1.0, BOUND_S)
    web = engines(pooled, None)
    item = web.push("notes", {"id": "1"})
    assert web.wait(item, timeout=BOUND_S) == "delivered"
    hole.dark = False
    assert eventually(lambda: storage.listen_problem is None and storage.poll_s == 5.0, BOUND_S)
    assert worker.close()
    hole.close()


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_databases_without_notifications_are_looked_at_every_second(
    kind: str, new_database: NewDatabase
) -> None:
    storage = DjangoStorage(using=new_database(kind))
    storage.notify()
    assert storage.listen(lambda: None) is None
    assert (storage.poll_s, storage.listen_problem, storage.find_listen_problem()) == (
        1.0,
        None,
        None,
    )
    storage.close()


def test_an_engine_that_delivers_nothing_by_itself_starts_no_listener(
    postgresql: str, engines: Engines, wire: Wire
) -> None:
    web = engines(postgresql, wire)
    web.push("notes", {"id": "1"})
    assert web.flush(timeout=BOUND_S).success
    assert storage_of(web)._listener is None


def test_the_command_and_the_check_say_that_workers_are_deaf(
    pooled: str, past_the_pooler: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = {"BASE_URL": "http://server.test", "ENTITIES": {"notes": "/notes"}, "USING": pooled}
    for listen, is_deaf in ((None, True), (past_the_pooler, False)):
        output = io.StringIO()
        with override_settings(BYTELYST_SYNC={"default": {**queue, "LISTEN": listen}}):
            call_command("sync_status", stdout=output)
            found = [each.id for each in run_checks(tags=["database"], databases=[pooled])]
        assert ("workers do not hear of pushes" in output.getvalue()) is is_deaf
        assert ("bytelyst_sync.W012" in found) is is_deaf


WRONG = {
    "no such alias": (
        "nowhere",
        "postgresql",
        "listen is 'nowhere'; allowed: one of the databases",
    ),
    "no text": (5432, "postgresql", "listen is 5432; allowed"),
    "a database without": (
        "host=x",
        "sqlite",
        "listen is for PostgreSQL; database 'sqlite' has no",
    ),
}


@pytest.mark.parametrize(("listen", "kind", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_named(
    listen: Any, kind: str, message: str, new_database: NewDatabase
) -> None:
    alias = new_database(kind)
    queue = {"BASE_URL": "http://server.test", "ENTITIES": {"notes": "/notes"}, "USING": alias}
    with (
        override_settings(BYTELYST_SYNC={"default": {**queue, "LISTEN": listen}}),
        pytest.raises(ConfigError, match=message),
    ):
        read_settings("default")


def test_if_there_are_no_more_threads_the_worker_goes_on(
    postgresql: str, new_worker: NewWorker, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def fails(thread: threading.Thread) -> None:
        if thread.name == "bytelyst-sync-listen":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails)
    worker = new_worker(postgresql, wire, receives=False)
    assert worker.wait(worker.push("notes", {"id": "1"}), timeout=BOUND_S) == "delivered"
    assert "can't start new thread" in present(storage_of(worker).listen_problem)
    assert worker.close()


def test_closing_ends_the_listener(postgresql: str, new_worker: NewWorker, wire: Wire) -> None:
    worker = new_worker(postgresql, wire)
    thread = present(storage_of(worker)._listener)._thread
    assert worker.close()
    assert not thread.is_alive()
