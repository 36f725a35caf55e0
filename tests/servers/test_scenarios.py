"""The same scenarios through each dialect, against the real server of each.

What a server cannot do is in its ``Manner``: a scenario that needs it takes the way that is left.
"""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol

import attrs
import pytest

from bytelyst_sync import (
    Conflict,
    Dialect,
    EntityConfig,
    RecordChange,
    Request,
    Response,
    SyncEngine,
    SyncItem,
    SyncResult,
    TransportError,
    create_sync_engine,
)
from bytelyst_sync.http.requests_transport import HttpTransport
from tests.servers.conftest import GetServer
from tests.servers.couchdb import CouchDB
from tests.servers.drf import Drf
from tests.servers.json_server import JsonServer
from tests.servers.kinto import Kinto
from tests.servers.process import RealServer
from tests.typed import T, present

BOUND_S = 20.0
STRATEGIES = ["server-wins", "client-wins", "last-write-wins", "merge", "manual"]


@attrs.frozen
class Manner:
    """How a kind of server is spoken to, and what it has."""

    dialect: Dialect
    server_ids: Dialect
    """The same where the server gives the ids."""
    id_field: str = "id"
    id_source: Literal["client", "server"] = "client"
    tombstones: bool = False
    lists_all: bool = False
    """Each pull lists everything, and so finds deletes without tombstones."""
    batch: bool = False
    times: bool = False
    """Its records say when they changed."""


MANNERS = {
    Kinto: Manner(
        Dialect.kinto(),
        Dialect.kinto().evolve(create="POST {endpoint}"),
        tombstones=True,
        batch=True,
        times=True,
    ),
    Drf: Manner(Dialect.drf(), Dialect.drf(), id_source="server", times=True),
    JsonServer: Manner(Dialect.json_server(), Dialect.json_server(), lists_all=True),
    CouchDB: Manner(
        Dialect.couchdb(),
        Dialect.couchdb().evolve(create="POST {endpoint}", id_in_answer="id", batch=None),
        id_field="_id",
        tombstones=True,
        batch=True,
    ),
}
each_with_batches = pytest.mark.parametrize(
    "kind", [kind for kind, manner in MANNERS.items() if manner.batch], ids=lambda kind: kind.name
)
each_with_own_ids = pytest.mark.parametrize(
    "kind",
    [kind for kind, manner in MANNERS.items() if manner.id_source == "client"],
    ids=lambda kind: kind.name,
)


class Counting:
    """The real transport, with a count of the requests by method."""

    def __init__(self, auth: tuple[str, str] | None) -> None:
        self.real = HttpTransport(auth=auth)
        self.requests: Counter[str] = Counter()

    def send(self, request: Request) -> Response:
        self.requests[request.method] += 1
        return self.real.send(request)

    def close(self) -> None:
        self.real.close()


class Connect(Protocol):
    def __call__(
        self,
        server: RealServer,
        *,
        dialect: Dialect | None = ...,
        id_source: Literal["client", "server"] | None = ...,
        entity: dict[str, Any] | None = ...,
        **settings: Any,
    ) -> SyncEngine: ...


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes engines on a server, delivering only in ``flush`` unless told."""
    with contextlib.ExitStack() as stack:

        def make(
            server: RealServer,
            *,
            dialect: Dialect | None = None,
            id_source: Literal["client", "server"] | None = None,
            entity: dict[str, Any] | None = None,
            **settings: Any,
        ) -> SyncEngine:
            manner = MANNERS[type(server)]
            entities = {
                name: EntityConfig(
                    endpoint,
                    id_field=manner.id_field,
                    id_source=id_source or manner.id_source,
                    references={"project": "projects"} if name == "tasks" else {},
                    **(entity or {}),
                )
                for name, endpoint in server.endpoints.items()
            }
            options = {
                "base_url": server.base_url,
                "auth": server.auth,
                "entities": entities,
                "storage": ":memory:",
                "dialect": dialect or manner.dialect,
                "auto_flush": False,
                "probe": None,
                "retry_delay": 0.01,
                "max_retry_delay": 0.05,
                "timeout": 10.0,
                **settings,
            }
            engine = create_sync_engine(**options)
            stack.callback(engine.close)
            return engine

        yield make


def manner_of(server: RealServer) -> Manner:
    return MANNERS[type(server)]


def id_of(server: RealServer, record: dict[str, Any] | None) -> str:
    return str(present(record)[manner_of(server).id_field])


def titles(records: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(record["title"] for record in records)


def view(engine: SyncEngine, entity: str = "projects") -> list[str]:
    return titles(engine.records(entity))


def held(server: RealServer, entity: str = "projects") -> list[str]:
    return titles(server.records(entity).values())


def edit(engine: SyncEngine, server: RealServer, record_id: str, **fields: object) -> SyncItem:
    return engine.push("projects", {manner_of(server).id_field: record_id, **fields}, "update")


def flush(engine: SyncEngine) -> SyncResult:
    result = engine.flush(timeout=BOUND_S)
    assert result.success, ([item.last_error for item in engine.failed()], engine.status)
    return result


def pull(engine: SyncEngine, *, deletes: Manner | None = None) -> SyncResult:
    """Pulls; where deletes are to be found and a server has no tombstones, compares all ids."""
    result = engine.pull(timeout=BOUND_S)
    assert result.success, engine.status.last_error
    if deletes is not None and not (deletes.tombstones or deletes.lists_all):
        assert engine.reconcile("projects").success
    return result


def wait_until(holds: Callable[[], T]) -> T:
    deadline = time.monotonic() + BOUND_S
    pause = threading.Event()
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come to pass in time"
        pause.wait(0.01)
    return found


def shared_record(server: RealServer, engine: SyncEngine, **fields: object) -> str:
    """A record that the server and the engine both have; its id."""
    record = server.insert("projects", {"title": "base", "notes": "base", **fields})
    pull(engine)
    assert present(engine.get("projects", id_of(server, record)))["title"] == "base"
    return id_of(server, record)


# --- create, update, delete


def test_create_update_and_delete_online(real_server: RealServer, connect: Connect) -> None:
    engine = connect(real_server, auto_flush=True)
    item = engine.push("projects", {"title": "created"})
    assert engine.wait(item, BOUND_S) == "delivered"
    assert held(real_server) == ["created"]
    record_id = id_of(real_server, engine.get("projects", item.record_id))
    assert real_server.records("projects").keys() == {record_id}

    assert engine.wait(edit(engine, real_server, record_id, title="changed"), BOUND_S)
    wait_until(lambda: held(real_server) == ["changed"])
    engine.wait(present(engine.delete("projects", record_id)), BOUND_S)
    wait_until(lambda: held(real_server) == [])
    assert engine.get("projects", record_id) is None
    assert engine.queue_length == 0


def test_create_update_and_delete_offline(real_server: RealServer, connect: Connect) -> None:
    engine = connect(real_server)
    kept, dropped = (
        shared_record(real_server, engine, title="base"),
        shared_record(real_server, engine, title="base"),
    )
    real_server.stop()
    engine.push("projects", {"title": "written offline"})
    edit(engine, real_server, kept, title="edited offline")
    engine.delete("projects", dropped)
    result = engine.flush(timeout=BOUND_S)
    assert result.offline
    assert result.remaining == 3
    assert view(engine) == ["edited offline", "written offline"]

    real_server.start()
    flush(engine)
    if real_server.keeps_data:
        assert held(real_server) == ["edited offline", "written offline"]
        pull(engine, deletes=manner_of(real_server))
        assert view(engine) == ["edited offline", "written offline"]
    else:
        # the record that was edited is gone there, and the server wins
        assert held(real_server) == view(engine) == ["written offline"]


def test_what_comes_back_is_no_news(real_server: RealServer, connect: Connect) -> None:
    engine = connect(real_server)
    changes: list[RecordChange] = []
    item = engine.push("projects", {"title": "mine"})
    flush(engine)
    edit(
        engine,
        real_server,
        id_of(real_server, engine.get("projects", item.record_id)),
        title="still mine",
    )
    flush(engine)
    engine.on_change(changes.append)
    assert pull(engine).conflicts == 0
    assert pull(engine).conflicts == 0
    assert [change for change in changes if present(change.after)["title"] != "still mine"] == []
    assert view(engine) == ["still mine"]


# --- the server goes away


def test_the_server_is_killed_and_started_again_in_the_middle(
    real_server: RealServer, connect: Connect
) -> None:
    """What is not delivered yet is delivered after; what may have been is not doubled where the
    client names the record.
    """
    engine = connect(real_server, auto_flush=True, timeout=5.0)
    before = [engine.push("projects", {"title": f"t{n:03}"}) for n in range(60)]
    wait_until(lambda: engine.queue_length < 60)
    real_server.stop(kill=True)
    left = engine.queue_length
    after = [engine.push("projects", {"title": f"t{n:03}"}) for n in range(60, 80)]
    wait_until(lambda: not engine.is_online or engine.queue_length == 20)
    real_server.start()
    wait_until(lambda: engine.flush(timeout=BOUND_S).remaining == 0)
    assert {engine.wait(item, BOUND_S) for item in before + after} == {"delivered"}

    wanted = [f"t{n:03}" for n in range(80)]
    found = held(real_server)
    if manner_of(real_server).id_source == "server":
        # at least once, and no more than what was under way
        assert sorted(set(found)) == wanted
        assert len(found) <= len(wanted) + 1
    elif real_server.keeps_data and not isinstance(real_server, JsonServer):
        assert found == wanted
    else:
        # what had been answered is the server's to lose
        assert sorted(set(found)) == found
        assert set(found) >= {f"t{n:03}" for n in range(60, 80)}
        assert len(found) >= 20 + left - 25
        pull(engine)
        if not real_server.keeps_data:
            assert view(engine) == found


def test_a_server_that_was_wiped_is_found_by_comparing_ids(
    kinto_server: Kinto, connect: Connect
) -> None:
    """Kinto's cursors are times, and go on after it has lost all; only the ids tell."""
    engine = connect(kinto_server)
    for n in range(3):
        kinto_server.insert("projects", {"title": f"old {n}"})
    pull(engine)
    engine.push("projects", {"title": "queued"})
    kinto_server.restart(kill=True)
    kinto_server.insert("projects", {"title": "new"})
    assert engine.reconcile("projects").success
    assert view(engine) == ["new", "queued"]
    flush(engine)
    assert held(kinto_server) == ["new", "queued"]


# --- conflicts

BOTH_EDIT = {
    # what each strategy makes of {"title": "mine"} here and {"title": "theirs", "notes": "theirs"}
    # there, which is the earlier one
    "server-wins": {"title": "theirs", "notes": "theirs"},
    "client-wins": {"title": "mine", "notes": "theirs"},
    "last-write-wins": {"title": "mine", "notes": "theirs"},
    "merge": {"title": "mine", "notes": "theirs"},
    "manual": {"title": "asked", "notes": "theirs"},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_both_edit_a_record(real_server: RealServer, connect: Connect, strategy: str) -> None:
    def ask(conflict: Conflict) -> dict[str, Any]:
        assert present(conflict.local)["title"] == "mine"
        remote = present(conflict.remote)
        assert remote["title"] == "theirs"
        assert "title" in conflict.fields
        return {**remote, "title": "asked"}

    settings: dict[str, Any] = {"on_conflict": ask} if strategy == "manual" else {}
    engine = connect(real_server, conflict=strategy, **settings)
    record_id = shared_record(real_server, engine)
    real_server.change("projects", record_id, title="theirs", notes="theirs")
    threading.Event().wait(0.02)  # the clocks of both sides have moved on
    edit(engine, real_server, record_id, title="mine")
    result = flush(engine)
    assert result.conflicts == 1
    expected = BOTH_EDIT[strategy]
    if not manner_of(real_server).times and strategy in ("last-write-wins", "merge"):
        # a missing time: the server's side counts as the later one
        expected = BOTH_EDIT["server-wins"]
    stored = real_server.records("projects")[record_id]
    assert {name: stored[name] for name in expected} == expected
    seen = present(engine.get("projects", record_id))
    assert {name: seen[name] for name in expected} == expected
    [settled] = engine.conflicts(resolved=True)
    assert settled.record_id == record_id


def test_a_conflict_that_is_parked_and_resolved(real_server: RealServer, connect: Connect) -> None:
    engine = connect(real_server, conflict="manual")
    record_id = shared_record(real_server, engine)
    real_server.change("projects", record_id, title="theirs")
    edit(engine, real_server, record_id, title="mine")
    assert not engine.flush(timeout=BOUND_S).success
    [conflict] = engine.conflicts()
    engine.push("projects", {"title": "another is not held up"})
    engine.flush(timeout=BOUND_S)
    assert held(real_server) == ["another is not held up", "theirs"]
    engine.resolve(conflict, "local")
    flush(engine)
    assert held(real_server) == view(engine) == ["another is not held up", "mine"]


def test_one_edits_different_fields(real_server: RealServer, connect: Connect) -> None:
    engine = connect(real_server, conflict="merge")
    record_id = shared_record(real_server, engine)
    real_server.change("projects", record_id, notes="theirs")
    edit(engine, real_server, record_id, title="mine")
    flush(engine)
    stored = real_server.records("projects")[record_id]
    assert (stored["title"], stored["notes"]) == ("mine", "theirs")


@pytest.mark.parametrize("strategy", ["server-wins", "client-wins", "merge"])
def test_an_edit_here_and_a_delete_there(
    real_server: RealServer, connect: Connect, strategy: str
) -> None:
    engine = connect(real_server, conflict=strategy)
    record_id = shared_record(real_server, engine)
    real_server.remove("projects", record_id)
    edit(engine, real_server, record_id, title="mine")
    result = flush(engine)
    assert result.conflicts == 1
    if strategy == "server-wins":
        assert held(real_server) == view(engine) == []
    else:
        [stored] = real_server.records("projects").values()
        assert (stored["title"], stored["notes"]) == ("mine", "base")
        assert view(engine) == ["mine"]


@pytest.mark.parametrize("strategy", ["server-wins", "client-wins", "merge"])
def test_a_delete_here_and_an_edit_there(
    real_server: RealServer, connect: Connect, strategy: str
) -> None:
    engine = connect(real_server, conflict=strategy)
    record_id = shared_record(real_server, engine)
    real_server.change("projects", record_id, title="theirs")
    engine.delete("projects", record_id)
    assert flush(engine).conflicts == 1
    expected = [] if strategy == "client-wins" else ["theirs"]
    assert held(real_server) == view(engine) == expected


def test_both_delete(real_server: RealServer, connect: Connect) -> None:
    engine = connect(real_server)
    record_id = shared_record(real_server, engine)
    real_server.remove("projects", record_id)
    engine.delete("projects", record_id)
    assert flush(engine).conflicts == 0
    assert view(engine) == []


@each_with_own_ids
def test_both_create_the_same_id(
    get_server: GetServer, connect: Connect, kind: type[RealServer]
) -> None:
    server = get_server(kind)
    engine = connect(server, conflict="client-wins")
    record = {manner_of(server).id_field: "same", "title": "theirs", "notes": "theirs"}
    server.insert("projects", record)
    engine.push("projects", {**record, "title": "mine"})
    assert flush(engine).conflicts == 1
    [stored] = server.records("projects").values()
    assert stored["title"] == "mine"


@each_with_own_ids
def test_a_create_whose_answer_was_lost_is_recognised(
    get_server: GetServer, connect: Connect, kind: type[RealServer]
) -> None:
    """The client names the record: the second try finds what the first one made."""
    server = get_server(kind)
    transport = Counting(server.auth)
    send = transport.send
    lost: list[Request] = []

    def lose_the_first(request: Request) -> Response:
        answer = send(request)
        if request.method in ("POST", "PUT") and not lost:
            lost.append(request)
            raise TransportError("the answer was lost")
        return answer

    transport.send = lose_the_first  # type: ignore[method-assign]  # around the original
    engine = connect(server, transport=transport)
    engine.push("projects", {"title": "once"})
    wait_until(lambda: engine.flush(timeout=BOUND_S).remaining == 0)
    assert lost
    assert held(server) == view(engine) == ["once"]
    assert not list(engine.conflicts(resolved=True))


# --- pull


def test_a_pull_of_several_pages_then_of_what_is_new(
    real_server: RealServer, connect: Connect
) -> None:
    engine = connect(real_server, entity={"page_size": 5})
    made = [real_server.insert("projects", {"title": f"p{n:02}"}) for n in range(23)]
    assert pull(engine).pulled == 23
    assert view(engine) == [f"p{n:02}" for n in range(23)]
    for record in made[3:6]:
        real_server.change("projects", id_of(real_server, record), title="changed")
    real_server.insert("projects", {"title": "new"})
    assert pull(engine).pulled == 4
    assert view(engine).count("changed") == 3
    assert pull(engine).pulled == 0


def test_deletes_are_found(real_server: RealServer, connect: Connect) -> None:
    engine = connect(real_server, entity={"page_size": 4})
    made = [real_server.insert("projects", {"title": f"p{n}"}) for n in range(9)]
    pull(engine)
    for record in made[::2]:
        real_server.remove("projects", id_of(real_server, record))
    pull(engine, deletes=manner_of(real_server))
    assert view(engine) == [f"p{n}" for n in range(1, 9, 2)]


def test_deletes_are_found_in_the_background(drf_server: Drf, connect: Connect) -> None:
    """Where there are no tombstones, by a reconciliation now and then."""
    engine = connect(
        drf_server, auto_flush=True, pull_interval=0.1, entity={"reconcile_interval": 0.1}
    )
    record = drf_server.insert("projects", {"title": "p"})
    engine.start()
    wait_until(lambda: view(engine) == ["p"])
    drf_server.remove("projects", id_of(drf_server, record))
    wait_until(lambda: view(engine) == [])


def test_an_edit_is_kept_while_its_record_is_pulled(
    real_server: RealServer, connect: Connect
) -> None:
    engine = connect(real_server, conflict="merge")
    record_id = shared_record(real_server, engine)
    edit(engine, real_server, record_id, title="mine")
    real_server.change("projects", record_id, notes="theirs")
    pull(engine)
    seen = present(engine.get("projects", record_id))
    assert (seen["title"], seen["notes"]) == ("mine", "theirs")
    flush(engine)
    stored = real_server.records("projects")[record_id]
    assert (stored["title"], stored["notes"]) == ("mine", "theirs")


def test_rows_that_move_between_pages_are_not_lost(drf_server: Drf, connect: Connect) -> None:
    """A record of the first page that is changed while pages are read moves to the last one, and
    another one slips into its place.
    """
    made = [drf_server.insert("projects", {"title": f"p{n:02}"}) for n in range(12)]
    transport = Counting(drf_server.auth)
    send = transport.send

    def meddle(request: Request) -> Response:
        answer = send(request)
        if transport.requests["GET"] == 1:
            drf_server.change("projects", id_of(drf_server, made[0]), title="moved")
        return answer

    transport.send = meddle  # type: ignore[method-assign]  # around the original
    engine = connect(drf_server, transport=transport, entity={"page_size": 5})
    pull(engine)
    assert view(engine) == ["moved", *[f"p{n:02}" for n in range(1, 12)]]


# --- ids of the server's


def test_ids_that_the_server_gives_and_references_to_them(
    real_server: RealServer, connect: Connect
) -> None:
    engine = connect(real_server, dialect=manner_of(real_server).server_ids, id_source="server")
    project = engine.push("projects", {"title": "parent"})
    engine.push("tasks", {"title": "child", "project": project.record_id})
    edit(engine, real_server, project.record_id, title="parent, renamed")
    flush(engine)
    [parent] = real_server.records("projects").values()
    [child] = real_server.records("tasks").values()
    assert parent["title"] == "parent, renamed"
    assert str(child["project"]) == id_of(real_server, parent) != project.record_id
    by_local = engine.get("projects", project.record_id)
    assert by_local == engine.get("projects", id_of(real_server, parent))
    pull(engine)
    assert view(engine) == ["parent, renamed"]
    assert view(engine, "tasks") == ["child"]
    engine.delete("projects", project.record_id)
    flush(engine)
    assert held(real_server) == []


# --- batches


@each_with_batches
def test_a_batch_takes_a_fraction_of_the_requests(
    get_server: GetServer, connect: Connect, kind: type[RealServer]
) -> None:
    server = get_server(kind)
    transport = Counting(server.auth)
    engine = connect(server, transport=transport)
    engine.push_many("projects", [{"title": f"t{n:03}"} for n in range(200)])
    flush(engine)
    assert held(server) == [f"t{n:03}" for n in range(200)]
    assert transport.requests.total() <= 200 / present(manner_of(server).dialect.batch).size + 1
    for record in list(engine.records("projects")):
        edit(engine, server, id_of(server, record), title="changed")
    flush(engine)
    assert set(held(server)) == {"changed"}
    for record in list(engine.records("projects"))[:100]:
        engine.delete("projects", id_of(server, record))
    flush(engine)
    assert len(held(server)) == 100
    assert transport.requests.total() <= 500 / present(manner_of(server).dialect.batch).size + 3
    assert pull(engine).conflicts == 0
    assert len(view(engine)) == 100


@each_with_batches
def test_conflicts_in_a_batch_are_each_decided(
    get_server: GetServer, connect: Connect, kind: type[RealServer]
) -> None:
    server = get_server(kind)
    engine = connect(server, conflict="merge")
    made = [server.insert("projects", {"title": f"t{n}", "notes": "base"}) for n in range(10)]
    pull(engine)
    for record in made[:4]:
        server.change("projects", id_of(server, record), notes="theirs")
    for record in made[:8]:
        edit(engine, server, id_of(server, record), title="mine")
    assert flush(engine).conflicts == 4
    stored = server.records("projects").values()
    assert Counter((each["title"] == "mine", each["notes"]) for each in stored) == {
        (True, "theirs"): 4,
        (True, "base"): 4,
        (False, "base"): 2,
    }


POISON: dict[type[RealServer], dict[str, Any]] = {
    Kinto: {"id": "no id?"},
    CouchDB: {"_no_such_member": 1},
}


@each_with_batches
def test_a_poison_item_does_not_sink_its_batch(
    get_server: GetServer, connect: Connect, kind: type[RealServer]
) -> None:
    server = get_server(kind)
    engine = connect(server, max_retries=1)
    for n in range(10):
        engine.push("projects", {"title": f"t{n}"})
    engine.push("projects", {"title": "poison", **POISON[kind]})
    for n in range(10, 20):
        engine.push("projects", {"title": f"t{n}"})
    [failed] = wait_until(
        lambda: list(engine.failed()) if engine.flush(timeout=BOUND_S).remaining <= 1 else []
    )
    assert len(held(server)) == 20
    assert failed.data["title"] == "poison"


# --- two programs


def test_two_clients_end_up_equal(real_server: RealServer, connect: Connect) -> None:
    chance = random.Random(7)
    manner = manner_of(real_server)
    clients = [connect(real_server, conflict="merge") for _ in range(2)]
    for n in range(8):
        real_server.insert("projects", {"title": f"t{n}", "notes": ""})
    for client in clients:
        pull(client)
    for _ in range(6):
        for number, client in enumerate(clients):
            for record in chance.sample(list(client.records("projects")), 3):
                change = chance.choice(["title", "notes"])
                edit(
                    client,
                    real_server,
                    id_of(real_server, record),
                    **{change: f"{change} of {number}, {chance.random():.3f}"},
                )
            if chance.random() < 0.5:
                client.push("projects", {"title": f"new of {number}", "notes": ""})
        for client in chance.sample(clients, 2):
            assert client.full_sync(timeout=BOUND_S).success
    for client in clients * 2:
        assert client.full_sync(timeout=BOUND_S).success
        assert client.reconcile("projects").success
    stored = {
        record_id: (record["title"], record["notes"])
        for record_id, record in real_server.records("projects").items()
    }
    for client in clients:
        seen = {
            str(record[manner.id_field]): (record["title"], record["notes"])
            for record in client.records("projects")
        }
        assert seen == stored
