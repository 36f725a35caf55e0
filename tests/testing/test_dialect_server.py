"""``SyncServer(dialect=...)``: every preset, and many other mappings, through the main flows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
import requests

from bytelyst_sync import BatchFormat, Dialect, EntityConfig, SyncEngine, SyncItem
from bytelyst_sync.config import env
from bytelyst_sync.model import Json
from bytelyst_sync.testing import (
    Drop,
    DropAnswer,
    EngineFactory,
    FakeServer,
    Lose,
    Reply,
    SyncServer,
    Truncate,
)
from tests.typed import present

BOUND_S = 20.0
NOTES = EntityConfig("/notes")


@attrs.frozen
class Mapping:
    """A dialect, and an entity that fits it."""

    dialect: Dialect
    entity: EntityConfig = NOTES

    @property
    def id_field(self) -> str:
        return self.entity.id_field

    @property
    def server_ids(self) -> bool:
        return self.entity.id_source == "server"


class Shouting(Dialect):
    """A subclass whose steps are each other's inverse."""

    def encode(self, operation: str, record: Json) -> Json:
        return {"row": {name.upper(): value for name, value in record.items()}}

    def decode(self, found: Json) -> Json:
        return {name.lower(): value for name, value in found.items()}


KINTO = EntityConfig("/buckets/default/collections/notes/records")
COUCHDB = EntityConfig("/notes", id_field="_id")
SERVER_IDS = EntityConfig("/notes", id_source="server")
PRESETS = {
    "rest": Mapping(Dialect.rest()),
    "kinto": Mapping(Dialect.kinto(), KINTO),
    "drf": Mapping(Dialect.drf()),
    "json_server": Mapping(Dialect.json_server()),
    "couchdb": Mapping(Dialect.couchdb(), COUCHDB),
    "json_api": Mapping(Dialect.json_api()),
    "odata": Mapping(Dialect.odata()),
    "postgrest": Mapping(Dialect.postgrest()),
    "strapi": Mapping(Dialect.strapi(), EntityConfig("/api/notes", id_source="server")),
    "pocketbase": Mapping(Dialect.pocketbase(), EntityConfig("/api/collections/notes/records")),
    "directus": Mapping(Dialect.directus(), EntityConfig("/items/notes")),
}
JSON_API = {"data": {"type": "notes", "id": "{id}", "attributes": "{fields}"}}
MAPPINGS = PRESETS | {
    "rest, server ids": Mapping(Dialect.rest(), SERVER_IDS),
    "drf, server ids": Mapping(Dialect.drf(), SERVER_IDS),
    "kinto, one by one": Mapping(Dialect.kinto().evolve(batch=None), KINTO),
    "couchdb, small pages": Mapping(
        Dialect.couchdb().evolve(query={"include_docs": "true", "limit": 3}, batch=None), COUCHDB
    ),
    "merge-patch": Mapping(
        Dialect(patch="merge-patch", content_type="application/merge-patch+json")
    ),
    "numbered pages": Mapping(
        Dialect(
            items="data.list",
            item="row",
            next_page="page:p",
            total="meta.count",
            cursor="max:changed.at",
            since=("from", "ge:{cursor}"),
            updated_at="changed.at",
            version="field:rev",
            send_version="query:rev",
            query={"sort": "changed"},
            tombstone="deletedAt",
        )
    ),
    "links for the next pull": Mapping(
        Dialect(next_page="url:next", since=None, cursor="url:delta")
    ),
    "a listing by POST": Mapping(
        Dialect(
            pull="POST {endpoint}/search",
            next_page="token:next",
            query={"after": "{token}", "from": "at {cursor}"},
            since=None,
        )
    ),
    "pages from 0": Mapping(
        Dialect(
            items="content",
            query={"q": "(page:{page},size:{limit},since:'{cursor}')", "sort": "x"},
            first_cursor="1970-01-01",
            start=0,
            next_page="page:page",
            cursor="max:meta.lastModified",
            updated_at="meta.lastModified",
            total="header:X-Total-Count",
            version="field:meta.version",
            tombstone="status=trash",
        ),
        EntityConfig("/notes", page_size=3),
    ),
    "offsets": Mapping(
        Dialect(items="", next_page="offset:skip", cursor=None, since=None, tombstone=None)
    ),
    "tokens and soft deletes": Mapping(
        Dialect(
            items="items",
            query={"after": "{token}", "updated_since": "{cursor}"},
            next_page="token:next.token",
            cursor="max:updated_at",
            updated_at="updated_at",
            delete="PATCH {endpoint}/{id}",
            body={"delete": {"deleted_at": "{now}"}},
            tombstone="deleted_at",
            version="header:ETag",
        )
    ),
    "json:api": Mapping(
        Dialect(
            content_type="application/vnd.api+json",
            body={"create": JSON_API, "update": JSON_API},
            fields={"id": "id", "*": "attributes"},
            record="data",
            items="data",
            next_page="url:links.next",
            cursor=None,
            since=None,
            tombstone=None,
            version="field:version",
            current="data",
        ),
    ),
    "json:api, server ids": Mapping(
        Dialect(
            body=JSON_API,
            fields={"id": "id", "*": "attributes"},
            record="data",
            items="data",
            next_page="rel:next",
            cursor="header:X-Cursor",
            version="header:ETag",
            delete="DELETE {endpoint}/{id}",
        ),
        SERVER_IDS,
    ),
    "odata, ids as texts": Mapping(
        Dialect(
            create="POST {endpoint}",
            update="PATCH {endpoint}('{id}')",
            delete="DELETE {endpoint}('{id}')",
            read="GET {endpoint}('{id}')",
            items="value",
            next_page="url:@odata.nextLink",
            query={"$orderby": "modifiedAt"},
            since=("$filter", "modifiedAt ge {cursor}"),
            cursor="max:modifiedAt",
            updated_at="modifiedAt",
            version=("header:ETag", "field:@odata.etag"),
            tombstone=None,
        )
    ),
    "queries for ids": Mapping(
        Dialect(
            update="PATCH {endpoint}?id=eq.{id}",
            delete="DELETE {endpoint}?id=eq.{id}",
            read="GET {endpoint}?id=eq.{id}",
            items="",
            record="0",
            query={"order": "updated_at,id", "limit": 3},
            since=("updated_at", "gte.{cursor}"),
            cursor="max:updated_at",
            next_page="full:limit",
            tombstone=None,
            version="field:version",
            send_version="header:If-Match",
            current="0",
        )
    ),
    "one address for all": Mapping(
        Dialect(
            create="POST rpc/{endpoint}/put",
            update="POST rpc/{endpoint}/change/{id}",
            delete="POST rpc/{endpoint}/drop",
            read="POST rpc/{endpoint}/get/{id}",
            pull="GET rpc/{endpoint}/list",
            body={"create": "row", "update": "changes", "delete": "row"},
            extra={"api": 2},
            record="result.row",
            items="result.rows",
            cursor="body:result.cursor",
            next_page="more:result.more",
            send_version="body:rev",
            version="field:rev",
            conflict=409,
            gone=404,
            current="result.row",
            answers=((410, None, "rejected"),),
        )
    ),
    "partial answers": Mapping(Dialect(partial_answer=True, version="field:meta.version")),
    "a subclass": Mapping(
        Shouting(
            record="row",
            body="row",
            version="header:ETag",
            items="rows",
            current="row",
            updated_at="updatedat",
        )
    ),
}
FLAT = [name for name, each in MAPPINGS.items() if not each.server_ids]
PROTECTED = [
    name
    for name, each in MAPPINGS.items()
    if not each.server_ids or each.dialect.idempotency is not None
]
"""Those that create a record once, whatever is lost on the way."""


def test_every_preset_is_here() -> None:
    assert set(PRESETS) == set(env.PRESETS)


@pytest.fixture(params=MAPPINGS)
def mapping(request: pytest.FixtureRequest) -> Mapping:
    return MAPPINGS[request.param]


@pytest.fixture
def server(mapping: Mapping) -> Iterator[SyncServer]:
    entities = {"notes": mapping.entity}
    with SyncServer(dialect=mapping.dialect, entities=entities, page_size=3) as running:
        yield running


@pytest.fixture
def make(mapping: Mapping, server: SyncServer) -> Iterator[Callable[..., SyncEngine]]:
    with EngineFactory(server.url) as factory:

        def engine(**settings: Any) -> SyncEngine:
            settings.setdefault("conflict", "merge")
            return factory(entities={"notes": mapping.entity}, dialect=mapping.dialect, **settings)

        yield engine


def reported(engine: SyncEngine) -> str:
    return f"{engine.status.last_error} {[each.last_error for each in engine.failed()]}"


def synced(engine: SyncEngine) -> None:
    result = engine.full_sync(timeout=BOUND_S)
    assert result.success, (result, reported(engine))


def delivered(engine: SyncEngine, item: SyncItem) -> None:
    assert engine.wait(item, BOUND_S) == "delivered", reported(engine)


def created(engine: SyncEngine, mapping: Mapping, **fields: Any) -> str | int:
    """Delivers a create; returns the id."""
    data = fields if mapping.server_ids else {mapping.id_field: "a b/ü", **fields}
    item = engine.push("notes", data)
    delivered(engine, item)
    (record,) = engine.records("notes")
    found: str | int = record[mapping.id_field]
    return found


def test_create_update_delete(
    make: Callable[..., SyncEngine], server: SyncServer, mapping: Mapping
) -> None:
    engine = make()
    key = created(engine, mapping, title="first", done=False)
    assert server.records("notes")[str(key)]["title"] == "first"
    delivered(engine, engine.update("notes", key, {"title": "second"}))
    stored = server.records("notes")[str(key)]
    assert (stored["title"], stored["done"]) == ("second", False)
    synced(engine)
    assert present(engine.get("notes", key))["title"] == "second"
    delivered(engine, present(engine.delete("notes", key)))
    assert server.records("notes") == {}
    synced(engine)
    assert engine.count("notes") == 0
    assert server.journal[0].kind == "create"
    assert len(server.journal) == 3


def test_both_sides_changed(
    make: Callable[..., SyncEngine], server: SyncServer, mapping: Mapping
) -> None:
    engine = make()
    key = created(engine, mapping, title="a", done=False)
    synced(engine)
    engine.pause()
    server.patch("notes", key, {"title": "theirs"})
    item = engine.update("notes", key, {"done": True})
    engine.resume()
    delivered(engine, item)
    synced(engine)
    stored = server.records("notes")[str(key)]
    assert (stored["title"], stored["done"]) == ("theirs", True), reported(engine)
    assert present(engine.get("notes", key))["title"] == "theirs"


def test_pages(make: Callable[..., SyncEngine], server: SyncServer, mapping: Mapping) -> None:
    for number in range(7):
        server.put("notes", {mapping.id_field: str(number), "n": number})
    engine = make()
    synced(engine)
    if mapping.dialect.paging[0] and "limit" not in mapping.dialect.query:
        verb = mapping.dialect.pull.partition(" ")[0]
        assert len([seen for seen in server.requests if seen.method == verb]) > 2
    assert sorted(each["n"] for each in engine.records("notes")) == list(range(7))
    server.put("notes", {mapping.id_field: "3", "n": 33})
    synced(engine)
    assert sorted(each["n"] for each in engine.records("notes")) == [0, 1, 2, 4, 5, 6, 33]


def test_deletes_arrive(
    make: Callable[..., SyncEngine], server: SyncServer, mapping: Mapping
) -> None:
    server.put("notes", {mapping.id_field: "1", "n": 1})
    server.put("notes", {mapping.id_field: "2", "n": 2})
    engine = make()
    synced(engine)
    server.remove("notes", "1")
    synced(engine)
    if mapping.dialect.tombstone is None:
        engine.reconcile("notes")
    assert [each["n"] for each in engine.records("notes")] == [2]


@pytest.mark.parametrize("fault", [Drop(), DropAnswer(), Truncate(), Reply(502)])
@pytest.mark.parametrize("mapping", PROTECTED, indirect=True)
def test_an_answer_is_lost(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    mapping: Mapping,
    fault: Drop | Lose | Truncate | Reply,
) -> None:
    engine = make()
    server.script(fault, match=lambda seen: seen.method in ("POST", "PUT"))
    key = created(engine, mapping, title="once")
    assert [effect.id for effect in server.journal] == [str(key)]


def test_a_cursor_expires(
    make: Callable[..., SyncEngine], server: SyncServer, mapping: Mapping
) -> None:
    for number in range(2):
        server.put("notes", {mapping.id_field: str(number), "n": number})
    engine = make()
    synced(engine)
    server.remove("notes", "0")
    server.expire_cursors()
    synced(engine)
    if not mapping.dialect.tombstone or (mapping.dialect.cursor or "").startswith("max:"):
        engine.reconcile("notes")
    assert [each["n"] for each in engine.records("notes")] == [1]


def test_a_deleted_record_is_brought_back() -> None:
    dialect = Dialect(revive="update", tombstone="deleted_at", version="field:version")
    entities = {"notes": NOTES}
    with SyncServer(dialect=dialect, entities=entities) as server, EngineFactory(server.url) as of:
        engine = of(entities=entities, dialect=dialect)
        delivered(engine, engine.create("notes", {"id": "1", "title": "first"}))
        delivered(engine, present(engine.delete("notes", "1")))
        synced(engine)
        delivered(engine, engine.create("notes", {"id": "1", "title": "second"}))
        assert server.records("notes")["1"]["title"] == "second"
        synced(engine)
        assert present(engine.get("notes", "1"))["title"] == "second"


# --- many in one request

KEYED = BatchFormat(
    endpoint="POST {endpoint}/$batch",
    operations="ops",
    operation={
        "create": {"op": "add", "no": "{number}", "key": "{key}", "row": "{body}"},
        "update": {"op": "set", "no": "{number}", "key": "{key}", "id": "{id}", "row": "{body}"},
    },
    answers="results",
    match="no",
    status="code",
    headers=None,
    body="row",
)
BATCHED = {
    "kinto": Mapping(Dialect.kinto(), KINTO),
    "couchdb": Mapping(Dialect.couchdb(), COUCHDB),
    "numbered": Mapping(Dialect(batch=KEYED)),
    "numbered, server ids": Mapping(Dialect(batch=KEYED), SERVER_IDS),
}


@pytest.fixture(params=BATCHED)
def batched(request: pytest.FixtureRequest) -> Mapping:
    return BATCHED[request.param]


def test_many_in_one_request(batched: Mapping) -> None:
    entities = {"notes": batched.entity}
    with (
        SyncServer(dialect=batched.dialect, entities=entities) as server,
        EngineFactory(server.url) as factory,
    ):
        engine = factory(entities=entities, dialect=batched.dialect, conflict="client-wins")
        engine.pause()
        items = engine.push_many("notes", [{"title": f"{number}"} for number in range(5)])
        engine.resume()
        for item in items:
            delivered(engine, item)
        assert [seen.method for seen in server.requests] == ["POST"]
        titles = {each["title"] for each in server.records("notes").values()}
        assert titles == {"0", "1", "2", "3", "4"}
        keys = [record[batched.id_field] for record in engine.records("notes")]
        server.patch("notes", keys[0], {"title": "theirs"})
        engine.pause()
        changes = [{batched.id_field: key, "done": True} for key in keys]
        items = engine.push_many("notes", changes, "update")
        server.script(DropAnswer(), match="POST")
        engine.resume()
        for item in items:
            delivered(engine, item)
        assert all(each["done"] for each in server.records("notes").values())


# --- the other face, and other ways to make one


@pytest.mark.parametrize("name", PRESETS)
def test_without_sockets(name: str) -> None:
    mapping = PRESETS[name]
    entities = {"notes": mapping.entity}
    base = "https://api.example.com/v1"
    with FakeServer(base, dialect=mapping.dialect, entities=entities) as api:
        with EngineFactory(base) as factory:
            engine = factory(entities=entities, dialect=mapping.dialect)
            api.put("notes", {mapping.id_field: "1", "title": "theirs"})
            item = engine.push("notes", {mapping.id_field: "2", "title": "ours"})
            delivered(engine, item)
            synced(engine)
            assert present(engine.get("notes", "1"))["title"] == "theirs"
        assert api.records("notes")["2"]["title"] == "ours"


@pytest.mark.parametrize("id_source", ["client", "server"])
def test_any_name_is_a_collection(id_source: Literal["client", "server"]) -> None:
    dialect = Dialect.drf()
    with (
        SyncServer(dialect=dialect, id_source=id_source) as server,
        EngineFactory(server.url) as factory,
    ):
        entities = {
            name: EntityConfig(f"/{name}", id_source=id_source) for name in ("notes", "tasks")
        }
        engine = factory(entities=entities, dialect=dialect)
        for name in entities:
            delivered(engine, engine.push(name, {"title": name}))
        synced(engine)
        assert [list(server.records(name)) != [] for name in entities] == [True, True]


def test_an_entity_with_a_dialect_of_its_own() -> None:
    entities: Json = {"notes": "/notes", "books": EntityConfig("/api/books", dialect=Dialect.drf())}
    with SyncServer(entities=entities) as server, EngineFactory(server.url) as factory:
        engine = factory(entities=entities)
        delivered(engine, engine.push("books", {"id": "1"}))
        delivered(engine, engine.push("notes", {"id": "1"}))
        assert [seen.target for seen in server.requests if seen.method == "POST"] == [
            "/api/books/",
            "/notes",
        ]


def test_it_remembers_in_a_file(tmp_path: Path) -> None:
    settings: Json = {"dialect": Dialect.couchdb(), "entities": {"notes": COUCHDB}}
    with SyncServer(state=tmp_path / "log", **settings) as server:
        server.put("notes", {"_id": "1", "n": 1})
        server.put("notes", {"_id": "2", "n": 2})
        server.remove("notes", "2")
    with SyncServer(state=tmp_path / "log", **settings) as server:
        assert server.records("notes")["1"]["n"] == 1
        answer = requests.get(f"{server.url}/notes/2", timeout=BOUND_S)
        assert answer.status_code == 410


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/", None, 404, "nothing is at GET /"),
        ("GET", "/elsewhere", None, 404, "nothing is at GET /elsewhere"),
        ("POST", "/notes", {"title": "x"}, 400, "the record needs its id"),
        ("POST", "/notes", {"data": [1]}, 400, "something else where an object is expected"),
        ("POST", "/notes", {"data": {"type": "tasks"}}, 400, "where 'notes' is expected"),
        ("POST", "/notes", {"data": {"type": "notes"}}, 400, "the record needs its id"),
        ("GET", "/notes/1", None, 404, "there is no such record"),
        ("GET", "/notes?page=x", None, 400, "page='x': must be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(
    method: str, path: str, body: Json | None, status: int, error: str
) -> None:
    dialect = MAPPINGS["json:api"].dialect.evolve(next_page="page:page")
    with SyncServer(dialect=dialect, entities={"notes": "/notes"}) as server:
        answer = requests.request(method, server.url + path, json=body, timeout=BOUND_S)
    assert answer.status_code == status
    assert error in answer.json()["error"]


def test_an_unknown_entity_is_said() -> None:
    with SyncServer(entities={"notes": "/notes"}) as server, pytest.raises(KeyError, match="notes"):
        server.put("tasks", {"id": "1"})


def test_a_record_is_looked_up_by_the_key_of_its_create() -> None:
    dialect = Dialect(
        body={"create": {"row": "{record}", "ref": "{idempotency_key}"}},
        lookup="GET {endpoint}?ref={key}",
        items="",
    )
    with SyncServer(dialect=dialect, entities={"notes": SERVER_IDS}) as server:
        body, key = {"row": {"title": "x"}, "ref": "k 1"}, {"Idempotency-Key": "k 1"}
        made = requests.post(f"{server.url}/notes", json=body, headers=key, timeout=BOUND_S).json()
        again = requests.post(f"{server.url}/notes", json=body, headers=key, timeout=BOUND_S)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert len(server.journal) == 1
        assert requests.get(f"{server.url}/notes?ref=k%201", timeout=BOUND_S).json() == [made]
        assert requests.get(f"{server.url}/notes?ref=other", timeout=BOUND_S).json() == []


def test_a_filter_of_the_pull_is_kept() -> None:
    entity = EntityConfig("/notes", params={"owner": "me"})
    with SyncServer(dialect=Dialect.drf(), entities={"notes": entity}) as server:
        for number, owner in enumerate(["me", "you", "me"]):
            server.put("notes", {"id": str(number), "owner": owner})
        with EngineFactory(server.url) as factory:
            engine = factory(entities={"notes": entity}, dialect=Dialect.drf())
            synced(engine)
            assert sorted(each["id"] for each in engine.records("notes")) == ["0", "2"]
