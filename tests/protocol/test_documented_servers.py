"""Presets of servers that cannot be installed here: what they ask for, and how they take answers
of their documentation.
"""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from bytelyst_sync import Dialect, SyncEngine
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Seen
from tests.protocol.loopback import Loopback
from tests.typed import NewEngine, present


@attrs.frozen
class Server:
    """What a preset says to a server, and what it hears."""

    dialect: Dialect
    endpoint: str
    listing: list[Any]
    """For each page: what is asked for, and the answer."""
    reading: tuple[Any, ...]
    """Of the record ``title: one``: the target, and the answer."""
    update: tuple[Any, ...]
    """Of its title: the request line, the body, and the answer."""
    missing: tuple[Any, ...]
    """A delete of what is not there: the request line, and the answer."""
    refusal: tuple[Any, ...]
    """The answer to a create, and what is said of it."""
    again: str
    """What the next pull asks for first."""
    headers: dict[str, Any] = attrs.field(factory=dict)
    entity: dict[str, Any] = attrs.field(factory=dict)
    known: str = "a1"


def q(text: str) -> str:
    """A query as it goes out."""
    return text.replace("[", "%5B").replace("]", "%5D").replace("$", "%24")


ROW = {"id": "a1", "title": "one", "updated_at": "2024-05-06T07:08:09.123456+00:00"}
POSTGREST = Server(
    Dialect.postgrest(),
    "/notes",
    [
        ("/notes?order=updated_at.asc%2Cid.asc", (200, [ROW])),
        ("/notes?order=updated_at.asc%2Cid.asc&offset=1", (200, [])),
    ],
    ("/notes?id=eq.a1", (200, [ROW])),
    ("PATCH /notes?id=eq.a1", {"id": "a1", "title": "x"}, (200, [{**ROW, "title": "x"}])),
    ("DELETE /notes?id=eq.a1", (200, [])),
    (
        (
            409,
            {
                "code": "23505",
                "details": "Key (title)=(x) already exists.",
                "hint": None,
                "message": 'duplicate key value violates unique constraint "notes_title_key"',
            },
        ),
        "duplicate key value violates unique constraint",
    ),
    "/notes?order=updated_at.asc%2Cid.asc&updated_at=gte.2024-05-06T07%3A08%3A09.123456%2B00%3A00",
    headers={"prefer": "return=representation"},
)

DOCUMENT = {
    "id": 2,
    "documentId": "a1",
    "title": "one",
    "createdAt": "2024-05-06T07:08:09.123Z",
    "updatedAt": "2024-05-06T07:08:09.123Z",
    "publishedAt": "2024-05-06T07:08:09.123Z",
}
META = {"pagination": {"page": 1, "pageSize": 25, "pageCount": 1, "total": 1}}
STRAPI = Server(
    Dialect.strapi(),
    "/api/notes",
    [
        (
            q("/api/notes?sort=updatedAt%3Aasc&pagination[page]=1"),
            (200, {"data": [DOCUMENT], "meta": META}),
        )
    ],
    ("/api/notes/a1", (200, {"data": DOCUMENT, "meta": {}})),
    (
        "PUT /api/notes/a1",
        {"data": {"title": "x"}},
        (200, {"data": {**DOCUMENT, "title": "x"}, "meta": {}}),
    ),
    (
        "DELETE /api/notes/a1",
        (404, {"data": None, "error": {"status": 404, "name": "NotFoundError", "message": "No"}}),
    ),
    (
        (
            400,
            {
                "data": None,
                "error": {
                    "status": 400,
                    "name": "ValidationError",
                    "message": "This attribute must be unique",
                    "details": {"errors": [{"path": ["title"], "message": "must be unique"}]},
                },
            },
        ),
        "HTTP 400 'This attribute must be unique; errors: title: must be unique'",
    ),
    q("/api/notes?sort=updatedAt%3Aasc&filters[updatedAt][$gte]=2024-05-06T07%3A08%3A09.123Z"),
    entity={"id_source": "server"},
)

PB_ROW = {
    "collectionId": "a98f514eb05f454",
    "collectionName": "notes",
    "id": "a1",
    "created": "2022-06-25 11:03:45.876Z",
    "updated": "2022-06-25 11:03:50.052Z",
    "title": "one",
}
PB_PAGE = {"page": 1, "perPage": 30, "totalPages": 1, "totalItems": 1, "items": [PB_ROW]}
POCKETBASE = Server(
    Dialect.pocketbase(),
    "/api/collections/notes/records",
    [("/api/collections/notes/records?sort=updated%2Cid&page=1", (200, PB_PAGE))],
    ("/api/collections/notes/records/a1", (200, PB_ROW)),
    (
        "PATCH /api/collections/notes/records/a1",
        {"id": "a1", "title": "x"},
        (200, {**PB_ROW, "title": "x"}),
    ),
    (
        "DELETE /api/collections/notes/records/a1",
        (404, {"status": 404, "message": "The requested resource wasn't found.", "data": {}}),
    ),
    (
        (
            400,
            {
                "status": 400,
                "message": "Failed to create record.",
                "data": {
                    "title": {
                        "code": "validation_required",
                        "message": "Missing required value.",
                    }
                },
            },
        ),
        "HTTP 400 'Failed to create record.; title: Missing required value.'",
    ),
    "/api/collections/notes/records?sort=updated%2Cid"
    "&filter=updated%20%3E%3D%20%272022-06-25%2011%3A03%3A50.052Z%27&page=1",
)

FORBIDDEN = {
    "errors": [
        {
            "message": "You don't have permission to access this.",
            "extensions": {"code": "FORBIDDEN"},
        }
    ]
}
DIRECTUS_ROW = {"id": "a1", "title": "one", "date_updated": None}
DIRECTUS = Server(
    Dialect.directus(),
    "/items/notes",
    [
        (
            "/items/notes?sort=id&limit=100&meta=filter_count",
            (200, {"meta": {"filter_count": 1}, "data": [DIRECTUS_ROW]}),
        )
    ],
    ("/items/notes/a1", (200, {"data": DIRECTUS_ROW})),
    (
        "PATCH /items/notes/a1",
        {"id": "a1", "title": "x"},
        (200, {"data": {**DIRECTUS_ROW, "title": "x"}}),
    ),
    ("DELETE /items/notes/a1", (403, FORBIDDEN)),
    (
        (
            400,
            {
                "errors": [
                    {
                        "message": 'Validation failed for field "title". Value is required.',
                        "extensions": {"code": "FAILED_VALIDATION", "field": "title"},
                    }
                ]
            },
        ),
        "HTTP 400 'Validation failed for field \"title\". Value is required.'",
    ),
    "/items/notes?sort=id&limit=100&meta=filter_count",
)
SERVERS = {
    "postgrest": POSTGREST,
    "strapi": STRAPI,
    "pocketbase": POCKETBASE,
    "directus": DIRECTUS,
}


class Replay:
    """Answers what is asked for with what the documentation shows."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.gone = False

    def __call__(self, request: Seen) -> Any:
        target = request.head.split(b" ")[1].decode()
        line = f"{request.method} {target}"
        if line == self.server.update[0]:
            return self.server.update[2]
        if line == self.server.missing[0]:
            self.gone = True
            return self.server.missing[1]
        if request.method == "POST":
            return self.server.refusal[0]
        if target == self.server.reading[0]:
            return self.server.missing[1] if self.gone else self.server.reading[1]
        pages = dict(self.server.listing)
        return pages.get(target, self.server.listing[-1][1])


@pytest.fixture(params=list(SERVERS.values()), ids=list(SERVERS))
def documented(request: pytest.FixtureRequest) -> Server:
    found: Server = request.param
    return found


@pytest.fixture
def api(loopback: Callable[..., Loopback], documented: Server) -> Loopback:
    return loopback(Replay(documented))


@pytest.fixture
def engine(new_engine: NewEngine, api: Loopback, documented: Server) -> SyncEngine:
    entity = {"endpoint": documented.endpoint, **documented.entity}
    return new_engine(api.url, dialect=documented.dialect, entities={"notes": entity})


def test_a_listing_is_asked_for_and_read(
    engine: SyncEngine, api: Loopback, documented: Server
) -> None:
    assert engine.pull().success, engine.status.last_error
    assert api.said[: len(documented.listing)] == [f"GET {each}" for each, _ in documented.listing]
    assert [record["id"] for record in engine.records("notes")] == ["a1"]
    first = len(api.requests)
    assert engine.pull().success
    assert api.said[first].startswith(f"GET {documented.again}")
    for name, value in documented.headers.items():
        assert api.requests[0].headers[name] == value


def test_a_record_is_read_and_changed(
    engine: SyncEngine, api: Loopback, documented: Server
) -> None:
    assert engine.pull().success
    engine.update("notes", "a1", {"title": "x"})
    assert engine.flush(timeout=10).success
    line, body, _ = documented.update
    assert api.said[-2:] == [f"GET {documented.reading[0]}", line]
    assert api.requests[-1].body == body
    assert present(engine.get("notes", "a1"))["title"] == "x"


def test_a_delete_of_what_is_gone_is_delivered(
    engine: SyncEngine, api: Loopback, documented: Server
) -> None:
    assert engine.pull().success
    engine.delete("notes", "a1")
    assert engine.flush(timeout=10).success, engine.status.last_error
    assert documented.missing[0] in api.said
    assert engine.get("notes", "a1") is None


def test_a_refusal_is_told_in_the_servers_words(engine: SyncEngine, documented: Server) -> None:
    engine.push("notes", {"title": "x"})
    assert not engine.flush(timeout=10).success
    (failed,) = engine.failed()
    assert documented.refusal[1] in present(failed.last_error)


def test_an_update_that_matched_no_row_is_no_success(
    new_engine: NewEngine, loopback: Callable[..., Loopback]
) -> None:
    def handle(request: Seen) -> tuple[int, list[Json]]:
        if request.method == "PATCH":
            return 200, []
        return 200, [] if "id=eq" in request.head.decode() and patched else [ROW]

    patched = []
    api = loopback(handle)
    dialect = Dialect.postgrest().evolve(check_before_write=False, next_page=None)
    engine = new_engine(api.url, dialect=dialect, conflict="manual")
    assert engine.pull().success
    patched.append(True)
    engine.update("notes", "a1", {"title": "x"})
    result = engine.flush(timeout=10)
    assert (result.success, result.conflicts) == (False, 1)
    (conflict,) = engine.conflicts()
    assert conflict.remote is None
