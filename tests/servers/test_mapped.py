"""Real servers that are mapped by configuration alone: whatever each offers works, and nothing ends
in success with something missing.
"""

import contextlib
import itertools
import time
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import attrs
import pytest

from bytelyst_sync import Dialect, EntityConfig, SyncEngine, SyncResult, create_sync_engine
from bytelyst_sync.testing import DropAnswer, FaultProxy, Reply
from tests.servers.conftest import GetServer
from tests.servers.mapped import (
    MAPPED,
    VARIED,
    Cap,
    FastApi,
    FlaskAppBuilder,
    JsonApi,
    Keyed,
    MappedServer,
    Scim,
)
from tests.typed import present

BOUND_S = 20.0


@pytest.fixture(params=MAPPED, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, get_server: GetServer) -> MappedServer:
    kind: type[MappedServer] = request.param
    return get_server(kind)


class Connect(Protocol):
    def __call__(self, server: MappedServer, **settings: Any) -> SyncEngine: ...


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Engines on a server, which deliver only in ``flush``."""
    with contextlib.ExitStack() as stack:

        def make(server: MappedServer, **settings: Any) -> SyncEngine:
            mapping = server.mapping
            entities = {
                name: EntityConfig(
                    endpoint,
                    id_field=mapping.id_field,
                    id_source=mapping.id_source,
                    page_size=mapping.page_size,
                    references={mapping.reference: "projects"} if name == "tasks" else {},
                )
                for name, endpoint in server.endpoints.items()
            }
            options = {
                "base_url": server.base_url,
                "entities": entities,
                "storage": ":memory:",
                "dialect": mapping.dialect,
                "auto_flush": False,
                "probe": None,
                "retry_delay": 0.01,
                "max_retry_delay": 0.05,
                "timeout": BOUND_S,
                "session_factory": server.session,
                **settings,
            }
            engine = create_sync_engine(**options)
            stack.callback(engine.close)
            return engine

        yield make


numbers = itertools.count(1)


def record(server: MappedServer, title: str, **more: object) -> dict[str, Any]:
    """A new record, as a program pushes it."""
    mapping = server.mapping
    made = {mapping.title: title, **more}
    if mapping.id_source == "client":
        made[mapping.id_field] = str(uuid.uuid4())
    if server.name == "scim":
        made["userName"] = f"user{next(numbers)}"
    return made


def sync(engine: SyncEngine) -> SyncResult:
    result = engine.full_sync(timeout=BOUND_S)
    assert result.success, (result, engine.status.last_error, [*engine.failed()])
    return result


def titles(server: MappedServer, engine: SyncEngine, entity: str) -> list[str]:
    return sorted(each[server.mapping.title] for each in engine.records(entity))


def held(server: MappedServer, entity: str) -> list[str]:
    return sorted(each[server.mapping.title] for each in server.records(entity).values())


def test_records_go_there_and_come_back(server: MappedServer, connect: Connect) -> None:
    engine, other = connect(server), connect(server)
    entity = server.mapping.entities[0]
    items = [engine.push(entity, record(server, f"n{number}")) for number in range(12)]
    sync(engine)
    expected = sorted(f"n{number}" for number in range(12))
    assert held(server, entity) == expected
    sync(other)
    assert titles(server, other, entity) == expected, "all of its pages were read"

    changed = engine.wait(items[3], timeout=BOUND_S)
    assert changed == "delivered"
    key = next(
        str(each[server.mapping.id_field])
        for each in engine.records(entity)
        if each[server.mapping.title] == "n3"
    )
    engine.update(entity, key, {server.mapping.title: "changed"})
    sync(engine)
    assert "changed" in held(server, entity)
    sync(other)
    assert present(other.get(entity, key))[server.mapping.title] == "changed"

    engine.delete(entity, key)
    sync(engine)
    assert "changed" not in held(server, entity)
    sync(other)
    if not server.mapping.tombstones:
        assert other.reconcile(entity).success
    assert titles(server, other, entity) == held(server, entity)
    assert len(held(server, entity)) == 11


def test_what_others_did_is_seen(server: MappedServer, connect: Connect) -> None:
    engine = connect(server)
    entity = server.mapping.entities[0]
    engine.push(entity, record(server, "mine"))
    sync(engine)
    (key,) = server.records(entity)
    server.change(entity, key, **{server.mapping.title: "theirs"})
    sync(engine)
    assert titles(server, engine, entity) == ["theirs"]
    server.remove(entity, key)
    sync(engine)
    assert engine.reconcile(entity).success
    assert titles(server, engine, entity) == []


def test_a_conflict_is_no_lost_update(server: MappedServer, connect: Connect) -> None:
    engine = connect(server, conflict="manual")
    entity = server.mapping.entities[0]
    engine.push(entity, record(server, "base"))
    sync(engine)
    (key,) = server.records(entity)
    server.change(entity, key, **{server.mapping.title: "theirs"})
    engine.update(entity, key, {server.mapping.title: "mine"})
    result = engine.flush(timeout=BOUND_S)
    assert (result.conflicts, result.parked) == (1, 1)
    assert held(server, entity) == ["theirs"]
    (conflict,) = engine.conflicts()
    engine.resolve(conflict, "local")
    sync(engine)
    assert held(server, entity) == ["mine"]


def test_a_reference_is_followed_set_to_nothing_and_seen(
    server: MappedServer, connect: Connect
) -> None:
    field = server.mapping.reference
    if field is None:
        assert server.mapping.entities == ("users",), "it has one kind of record"
        return
    engine, other = connect(server), connect(server)
    project = engine.push("projects", record(server, "p"))
    engine.push("tasks", record(server, "t", **{field: project.record_id}))
    sync(engine)
    (real,) = server.records("projects")
    for each in (engine, other):
        sync(each)
        assert [str(task[field]) for task in each.records("tasks")] == [real]
    (task,) = other.records("tasks")
    engine.update("tasks", str(task[server.mapping.id_field]), {field: None})
    sync(engine)
    sync(other)
    (task,) = other.records("tasks")
    assert task[field] is None


def test_a_refusal_says_what_the_server_said(server: MappedServer, connect: Connect) -> None:
    engine = connect(server)
    entity = server.mapping.entities[0]
    bad = record(server, "x")
    bad[server.mapping.title] = None if server.name != "feathers" else ""
    if server.name == "scim":
        bad["userName"] = None
    engine.push(entity, bad)
    assert not engine.flush(timeout=BOUND_S).success
    (failed,) = engine.failed()
    words = {
        "json_api": "title: This field may not be null.",
        "odata": "NOT NULL constraint failed: my_projects.title",
        "feathers": "title is missing",
        "fastapi": "body.title: Input should be a valid string",
        "scim": "userName",
        "flask_appbuilder": "title: Field may not be null.",
        "keyed": "body.title: Input should be a valid string",
    }
    assert words[server.name] in present(failed.last_error)


@pytest.mark.parametrize("kind", VARIED, ids=lambda kind: kind.name)
def test_another_way_to_say_the_same(
    get_server: GetServer, connect: Connect, kind: type[MappedServer]
) -> None:
    server = get_server(kind)
    engine, other = connect(server), connect(server)
    engine.push_many("projects", [record(server, f"n{number}") for number in range(9)])
    sync(engine)
    sync(other)
    assert titles(server, other, "projects") == held(server, "projects")
    assert len(held(server, "projects")) == 9
    first = next(iter(server.records("projects")))
    server.remove("projects", first)
    sync(other)
    assert other.reconcile("projects").success
    assert titles(server, other, "projects") == held(server, "projects")
    assert len(held(server, "projects")) == 8


DEPRECATED = {"extra"}
"""``body`` says it; ``tests/protocol`` tests that the old name still works."""


def test_every_field_of_a_dialect_is_used_by_a_real_server() -> None:
    default = Dialect()
    dialects = [kind.mapping.dialect for kind in (*MAPPED, *VARIED, Scim)]
    dialects += [Dialect.kinto(), Dialect.drf(), Dialect.json_server(), Dialect.couchdb()]
    unused = {
        field.name
        for field in attrs.fields(Dialect)
        if all(getattr(each, field.name) == getattr(default, field.name) for each in dialects)
    }
    assert unused == DEPRECATED
    assert any(each.idempotency for each in dialects), "one of them knows keys"


# --- what one of them has


def test_a_lost_create_is_looked_for_and_not_made_twice(
    get_server: GetServer, connect: Connect
) -> None:
    server = get_server(FlaskAppBuilder)
    with FaultProxy(server.base_url) as proxy:
        proxy.script(DropAnswer(), match="POST /api/v1/projects")
        engine = connect(server, base_url=proxy.url, request_deadline=1.0)
        engine.push("projects", {"title": "once"})
        deadline = time.monotonic() + BOUND_S
        while engine.queue_length and time.monotonic() < deadline:
            engine.flush(timeout=BOUND_S)
            time.sleep(0.05)
        assert held(server, "projects") == ["once"]
        assert sum(seen.method == "POST" for seen in proxy.requests) == 1
        assert any("client_ref" in seen.target for seen in proxy.requests), "it was looked for"
        assert titles(server, engine, "projects") == ["once"]


def test_a_not_found_that_a_proxy_answered_is_confirmed_where_the_dialect_says(
    get_server: GetServer, connect: Connect
) -> None:
    server = get_server(FlaskAppBuilder)
    with FaultProxy(server.base_url) as proxy:
        engine = connect(server, base_url=proxy.url)
        engine.push("projects", {"title": "base"})
        sync(engine)
        (key,) = server.records("projects")
        engine.update("projects", key, {"title": "mine"})
        proxy.script(Reply(404, "<html>no such site</html>"), match="PUT /api/v1/projects")
        sync(engine)
        assert held(server, "projects") == ["mine"]
        assert any(seen.path.endswith("/projects/_info") for seen in proxy.requests)


def test_the_later_of_two_writers_wins_though_times_have_no_zone(
    get_server: GetServer, connect: Connect
) -> None:
    """The server writes the time of Berlin; without ``time_zone`` it would be hours later."""
    server = get_server(FlaskAppBuilder)
    engine = connect(server, conflict="last-write-wins")
    engine.push("projects", {"title": "base"})
    sync(engine)
    (key,) = server.records("projects")
    server.change("projects", key, title="theirs")
    time.sleep(1.1)  # the offset of the server's clock is known to a second
    engine.update("projects", key, {"title": "mine"})
    sync(engine)
    assert held(server, "projects") == ["mine"]


def test_a_session_that_expired_is_opened_again(get_server: GetServer, connect: Connect) -> None:
    server = get_server(JsonApi)
    engine = connect(server)
    engine.push("projects", {"title": "one"})
    sync(engine)
    server.forget_sessions()
    engine.push("projects", {"title": "two"})
    sync(engine)
    assert held(server, "projects") == ["one", "two"]


def test_odata_takes_batches_whose_headers_it_compares_in_lower_case(
    get_server: GetServer, connect: Connect
) -> None:
    server = get_server(Cap)
    start = server.log.stat().st_size
    engine = connect(server)
    engine.push_many("projects", [record(server, f"n{number}") for number in range(6)])
    sync(engine)
    for each in list(engine.records("projects")):
        engine.update("projects", each["ID"], {"title": "changed"})
    sync(engine)
    assert held(server, "projects") == ["changed"] * 6
    asked = [line for line in server.output(start).splitlines() if line.startswith("[odata]")]
    assert sum("POST /odata/$batch" in line for line in asked) == 2
    assert not any(line.startswith("[odata] - PATCH /odata/projects(") for line in asked[:1])


def test_a_deleted_record_is_brought_back(get_server: GetServer, connect: Connect) -> None:
    server = get_server(FastApi)
    engine = connect(server)
    made = record(server, "first")
    engine.push("projects", made)
    sync(engine)
    engine.delete("projects", made["id"])
    sync(engine)
    assert held(server, "projects") == []
    engine.push("projects", {**made, "title": "again"})
    sync(engine)
    assert held(server, "projects") == ["again"]
    assert server.records("projects")[made["id"]]["deleted_at"] is None


def test_a_create_whose_answer_was_lost_is_recognised_by_its_key(
    get_server: GetServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server = get_server(Keyed)
    with FaultProxy(server.base_url) as proxy:
        proxy.script(DropAnswer(), match="POST /projects")
        engine = connect(server, base_url=proxy.url)
        engine.push("projects", {"title": "once"})
        engine.flush(timeout=BOUND_S)
        sync(engine)
        assert held(server, "projects") == ["once"]
        posts = [seen for seen in proxy.requests if seen.method == "POST"]
        assert len(posts) == 2
        assert len({seen.headers["idempotency-key"] for seen in posts}) == 1
        assert titles(server, engine, "projects") == ["once"]
    assert "key_lifetime" not in caplog.text


def test_a_key_that_the_server_has_forgotten_is_no_protection(
    get_server: GetServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``key_lifetime`` the engine knows, and says so; nothing else would show it."""
    server = get_server(Keyed)
    dialect = server.mapping.dialect.evolve(key_lifetime=1e-6)
    with FaultProxy(server.base_url) as proxy:
        proxy.script(DropAnswer(), match="POST /projects")
        engine = connect(server, base_url=proxy.url, dialect=dialect)
        engine.push("projects", {"title": "twice"})
        engine.flush(timeout=BOUND_S)
        server.forget_keys()
        sync(engine)
        assert held(server, "projects") == ["twice", "twice"]
    assert "later than key_lifetime" in caplog.text


def test_a_record_that_is_told_gone_by_another_status_is_gone(
    get_server: GetServer, connect: Connect
) -> None:
    server = get_server(Keyed)
    engine = connect(server)
    engine.push("projects", {"title": "mine"})
    sync(engine)
    (key,) = server.records("projects")
    server.remove("projects", key)
    engine.update("projects", key, {"title": "edited"})
    result = engine.flush(timeout=BOUND_S)
    assert (result.success, result.conflicts) == (True, 1)
    (settled,) = engine.settled_conflicts()
    assert settled.remote is None
    assert titles(server, engine, "projects") == []
