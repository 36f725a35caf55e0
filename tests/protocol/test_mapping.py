"""The fields of a dialect, one by one, in process: which request a field makes, and how it
reads an answer. How fields combine is in ``test_combinations.py``.
"""

import json
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest

from bytelyst_sync import Dialect, EntityConfig, Request, SyncItem, TransportError
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json, OperationName
from tests.conftest import Scripted
from tests.typed import NewEngine, NewPage, present

HELD = {"id": "7", "title": "old", "version": 3, "_rev": "3-a", "tags": {"a": 1}}
NEW = {"id": "7", "title": "new"}
EDIT = {"id": "7", "title": "new"}


def reply(
    status: int = 200, body: bytes | Json | list[Json] | None = None, **headers: str
) -> Response:
    content = (
        b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    )
    return Response(
        status, {name.replace("_", "-"): each for name, each in headers.items()}, content
    )


def shown(request: Request) -> tuple[str, Json | None]:
    """A request as a row of a table says it: method and target, and the body."""
    parts = urlsplit(request.url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return f"{request.method} {target}", None if request.body is None else json.loads(request.body)


def lower(request: Request) -> Json:
    return {name.lower(): value for name, value in request.headers.items()}


def query(request: Request) -> Json:
    return {name: each[0] for name, each in parse_qs(urlsplit(request.url).query).items()}


class Speech:
    """An engine that holds ``held``, and what it and a scripted server say to each other.

    What failed is not tried again within a test, but with a short ``retry_delay``.
    """

    def __init__(
        self,
        new_engine: NewEngine,
        scripted: type[Scripted],
        page: NewPage,
        dialect: Dialect,
        answers: tuple[Response, ...],
        *,
        held: Json | None = None,
        retry_delay: float = 100.0,
        **entity: Any,
    ) -> None:
        self.wire = scripted(*([] if held is None else [page(held)]), *(answers or [reply()]))
        entities = {"notes": EntityConfig("/notes", **entity)}
        self.engine = new_engine(
            transport=self.wire,
            dialect=dialect,
            entities=entities,
            retry_delay=retry_delay,
            max_retry_delay=retry_delay,
        )
        if held is not None:
            assert self.engine.pull().success
        self.start = len(self.wire.requests)

    def push(self, data: Json, operation: OperationName = "create") -> SyncItem | None:
        """Pushes, and delivers."""
        item = self.engine.push("notes", data, operation)
        self.result = self.engine.flush(timeout=10)
        return item

    @property
    def requests(self) -> list[Request]:
        """What was asked since it began."""
        return self.wire.requests[self.start :]

    @property
    def said(self) -> list[tuple[str, Json | None]]:
        return [shown(request) for request in self.requests]

    @property
    def view(self) -> Json:
        return {str(each["id"]): each for each in self.engine.records("notes")}


@pytest.fixture
def speech(new_engine: NewEngine, scripted: type[Scripted], page: NewPage) -> Callable[..., Speech]:
    """``speech(dialect, answer, ..., held=record)``; most other options are the entity's."""

    def begin(dialect: Dialect, *answers: Response, **options: Any) -> Speech:
        return Speech(new_engine, scripted, page, dialect, answers, **options)

    return begin


# writes: the request that a field makes

NESTED = {"id": "7", "tags": {"b": 2, "a": None}}
WRITES = {
    # fields, operation, data, request line, body, headers (None: not there)
    "create": ({}, "create", NEW, "POST /notes", NEW, {"content-type": "application/json"}),
    "create, no condition": ({}, "create", NEW, "POST /notes", NEW, {"if-none-match": None}),
    "create=PUT": (
        {"create": "PUT {endpoint}/{id}"},
        "create",
        NEW,
        "PUT /notes/7",
        NEW,
        {"if-none-match": "*"},
    ),
    "create=POST elsewhere": (
        {"create": "POST {endpoint}/-/insert"},
        "create",
        NEW,
        "POST /notes/-/insert",
        NEW,
        {"if-none-match": None},
    ),
    "update": ({}, "update", EDIT, "PATCH /notes/7", EDIT, {"if-none-match": None}),
    "update=POST": (
        {"update": "POST {endpoint}/{id}/-/update"},
        "update",
        EDIT,
        "POST /notes/7/-/update",
        EDIT,
        {},
    ),
    "update, the id in the body": (
        {"update": "MERGE {endpoint}"},
        "update",
        EDIT,
        "MERGE /notes",
        EDIT,
        {},
    ),
    "update, outside of the endpoint": (
        {"update": "POST /rpc/update?of={id}"},
        "update",
        EDIT,
        "POST /rpc/update?of=7",
        EDIT,
        {},
    ),
    "delete": ({}, "delete", {"id": "7"}, "DELETE /notes/7", None, {"content-type": None}),
    "delete=POST": (
        {"delete": "POST {endpoint}/{id}/-/delete"},
        "delete",
        {"id": "7"},
        "POST /notes/7/-/delete",
        {},
        {"content-type": "application/json"},
    ),
    "delete, the id in the body": (
        {"delete": "POST {endpoint}/-/delete"},
        "delete",
        {"id": "7"},
        "POST /notes/-/delete",
        {"id": "7"},
        {},
    ),
    "an id that a URL would misread": (
        {},
        "update",
        {"id": "a/b?ü", "title": "new"},
        "PATCH /notes/a%2Fb%3F%C3%BC",
        {"id": "a/b?ü", "title": "new"},
        {},
    ),
    "patch=shallow": ({}, "update", NESTED, "PATCH /notes/7", NESTED, {}),
    "patch=merge-patch": (
        {"patch": "merge-patch"},
        "update",
        NESTED,
        "PATCH /notes/7",
        NESTED,
        {"content-type": "application/json"},
    ),
    "patch=full": (
        {"patch": "full", "update": "PUT {endpoint}/{id}"},
        "update",
        EDIT,
        "PUT /notes/7",
        {**HELD, "title": "new"},
        {},
    ),
    "content_type": (
        {"content_type": "application/merge-patch+json"},
        "update",
        EDIT,
        "PATCH /notes/7",
        EDIT,
        {"content-type": "application/merge-patch+json"},
    ),
    "content_type, of this operation": (
        {"content_type": {"update": "application/merge-patch+json"}},
        "update",
        EDIT,
        "PATCH /notes/7",
        EDIT,
        {"content-type": "application/merge-patch+json"},
    ),
    "content_type, of another operation": (
        {"content_type": {"update": "application/merge-patch+json"}},
        "create",
        NEW,
        "POST /notes",
        NEW,
        {"content-type": "application/json"},
    ),
    "body": ({"body": "data"}, "create", NEW, "POST /notes", {"data": NEW}, {}),
    "body, of this operation": (
        {"body": {"create": "row", "update": "change"}},
        "update",
        EDIT,
        "PATCH /notes/7",
        {"change": EDIT},
        {},
    ),
    "body, of other operations": (
        {"body": {"create": "row"}},
        "update",
        EDIT,
        "PATCH /notes/7",
        EDIT,
        {},
    ),
    "body, a delete's": (
        {"body": "data", "delete": "POST {endpoint}/-/delete"},
        "delete",
        {"id": "7"},
        "POST /notes/-/delete",
        {"data": {"id": "7"}},
        {},
    ),
    "extra": ({"extra": {"v": 1}}, "create", NEW, "POST /notes", {"v": 1, **NEW}, {}),
    "extra beside body": (
        {"extra": {"v": 1}, "body": "data"},
        "update",
        EDIT,
        "PATCH /notes/7",
        {"v": 1, "data": EDIT},
        {},
    ),
    "extra, where a delete has no body": (
        {"extra": {"v": 1}},
        "delete",
        {"id": "7"},
        "DELETE /notes/7",
        None,
        {},
    ),
    "send_version": ({}, "update", EDIT, "PATCH /notes/7", EDIT, {"if-match": "3"}),
    "send_version, a delete's": (
        {},
        "delete",
        {"id": "7"},
        "DELETE /notes/7",
        None,
        {"if-match": "3"},
    ),
    "send_version, never a create's": (
        {"send_version": "body:_rev"},
        "create",
        {"id": "8"},
        "POST /notes",
        {"id": "8"},
        {"if-match": None},
    ),
    "quote_version": (
        {"quote_version": True},
        "update",
        EDIT,
        "PATCH /notes/7",
        EDIT,
        {"if-match": '"3"'},
    ),
    "send_version=another header": (
        {"send_version": "header:X-Base"},
        "update",
        EDIT,
        "PATCH /notes/7",
        EDIT,
        {"x-base": "3", "if-match": None},
    ),
    "send_version=body": (
        {"version": "field:_rev", "send_version": "body:_rev"},
        "update",
        EDIT,
        "PATCH /notes/7",
        {**EDIT, "_rev": "3-a"},
        {"if-match": None},
    ),
    "send_version=body, a number stays one": (
        {"send_version": "body:base"},
        "update",
        EDIT,
        "PATCH /notes/7",
        {**EDIT, "base": 3},
        {},
    ),
    "send_version=body, inside of what wraps it": (
        {"send_version": "body:base", "body": "data"},
        "update",
        EDIT,
        "PATCH /notes/7",
        {"data": {**EDIT, "base": 3}},
        {},
    ),
    "send_version=body, though the server owns the field": (
        {"send_version": "body:version", "server_fields": "version"},
        "update",
        EDIT,
        "PATCH /notes/7",
        {**EDIT, "version": 3},
        {},
    ),
    "send_version=body, a delete's": (
        {"send_version": "body:base"},
        "delete",
        {"id": "7"},
        "DELETE /notes/7",
        {"base": 3},
        {"content-type": "application/json"},
    ),
    "send_version=query": (
        {"version": "field:_rev", "send_version": "query:rev"},
        "delete",
        {"id": "7"},
        "DELETE /notes/7?rev=3-a",
        None,
        {"if-match": None},
    ),
    "send_version=query, beside another parameter": (
        {"send_version": "query:rev", "update": "PATCH {endpoint}?id={id}"},
        "update",
        EDIT,
        "PATCH /notes?id=7&rev=3",
        EDIT,
        {},
    ),
    "send_version, of this operation": (
        {"send_version": {"update": "body:base", "delete": "query:rev"}},
        "update",
        EDIT,
        "PATCH /notes/7",
        {**EDIT, "base": 3},
        {"if-match": None},
    ),
    "send_version, of other operations": (
        {"send_version": {"update": "body:base"}},
        "delete",
        {"id": "7"},
        "DELETE /notes/7",
        None,
        {"if-match": None},
    ),
    "send_version=None": (
        {"send_version": None},
        "update",
        EDIT,
        "PATCH /notes/7",
        EDIT,
        {"if-match": None},
    ),
    "version=None": (
        {"version": None},
        "update",
        EDIT,
        "PATCH /notes/7",
        EDIT,
        {"if-match": None},
    ),
    "server_fields are never sent": (
        {"server_fields": ("seen", "by")},
        "create",
        {**NEW, "seen": 1, "by": "me"},
        "POST /notes",
        NEW,
        {},
    ),
    "server_fields, of the whole record": (
        {"server_fields": ("version", "_rev"), "patch": "full", "update": "PUT {endpoint}/{id}"},
        "update",
        EDIT,
        "PUT /notes/7",
        {"id": "7", "title": "new", "tags": {"a": 1}},
        {},
    ),
    "idempotency=None": (
        {"idempotency": None},
        "create",
        NEW,
        "POST /notes",
        NEW,
        {"idempotency-key": None},
    ),
    "headers": (
        {"headers": {"Prefer": "return=representation"}},
        "delete",
        {"id": "7"},
        "DELETE /notes/7",
        None,
        {"prefer": "return=representation"},
    ),
}


@pytest.mark.parametrize(
    ("fields", "operation", "data", "line", "body", "headers"), WRITES.values(), ids=WRITES
)
def test_a_write(
    speech: Callable[..., Speech],
    fields: dict[str, Any],
    operation: Literal["create", "update", "delete"],
    data: Json,
    line: str,
    body: Json | None,
    headers: dict[str, str],
) -> None:
    creates = operation == "create"
    talk = speech(Dialect(**fields), held={**HELD, "id": "6" if creates else data["id"]})
    if operation == "update" and "full" in fields.values():
        talk = speech(Dialect(**fields), held=HELD)
    talk.push(data, operation)
    assert talk.said == [(line, body)]
    sent = lower(talk.requests[0])
    assert {name: sent.get(name) for name in headers} == headers
    assert talk.result.success


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-Request-Key"])
@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_idempotency_is_the_items_id(
    speech: Callable[..., Speech], header: str, operation: Literal["create", "update", "delete"]
) -> None:
    talk = speech(Dialect(idempotency=header), held=None if operation == "create" else HELD)
    item = present(talk.push(NEW, operation))
    assert lower(talk.requests[0])[header.lower()] == item.id


def test_headers_go_with_every_request_and_before_the_engines_own(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    wire = scripted(page(HELD), reply(412), reply(200, {**HELD, "title": "theirs", "version": 4}))
    engine = new_engine(
        transport=wire,
        headers={"Prefer": "engine", "X-Engine": "1"},
        dialect=Dialect(headers={"Prefer": "dialect"}),
    )
    engine.pull()
    engine.push("notes", EDIT, "update")
    engine.flush()
    assert [request.method for request in wire.requests] == ["GET", "PATCH", "GET"]
    for request in wire.requests:
        assert lower(request).items() >= {"prefer": "dialect", "x-engine": "1"}.items()


READS = {
    # read, the request line
    "read": ("GET {endpoint}/{id}", "GET /notes/7"),
    "read, elsewhere": ("POST /-/get/{id}", "POST /-/get/7"),
    "read, by a parameter": ("GET {endpoint}?id={id}", "GET /notes?id=7"),
}


@pytest.mark.parametrize(("read", "line"), READS.values(), ids=READS)
def test_a_read(speech: Callable[..., Speech], read: str, line: str) -> None:
    theirs = {**HELD, "title": "theirs", "version": 4}
    talk = speech(Dialect(read=read, current=None), reply(412), reply(200, theirs), held=HELD)
    talk.push(EDIT, "update")
    assert talk.said[1:] == [(line, None)]
    assert talk.view["7"] == theirs
    assert talk.result.conflicts == 1


FIRST_READ = {
    # fields, operation, the write that follows the reading
    "patch=full": ({"patch": "full"}, "update", ("PATCH /notes/7", {**HELD, "title": "new"})),
    "send_version=body": (
        {"send_version": "body:base"},
        "update",
        ("PATCH /notes/7", {**EDIT, "base": 3}),
    ),
    "send_version=query": (
        {"send_version": "query:rev"},
        "delete",
        ("DELETE /notes/7?rev=3", None),
    ),
}


@pytest.mark.parametrize(("fields", "operation", "written"), FIRST_READ.values(), ids=FIRST_READ)
def test_what_is_part_of_the_request_is_read_first(
    speech: Callable[..., Speech],
    fields: Json,
    operation: Literal["create", "update", "delete"],
    written: tuple[str, Json | None],
) -> None:
    talk = speech(Dialect(**fields), reply(200, HELD), reply())
    talk.push(EDIT, operation)
    assert talk.said == [("GET /notes/7", None), written]
    assert talk.result.success


@pytest.mark.parametrize(("fields", "operation", "written"), FIRST_READ.values(), ids=FIRST_READ)
def test_what_cannot_be_read_is_not_written(
    speech: Callable[..., Speech],
    fields: Json,
    operation: Literal["create", "update", "delete"],
    written: tuple[str, Json | None],
) -> None:
    talk = speech(Dialect(**fields), reply(503))
    talk.push(EDIT, operation)
    assert talk.said == [("GET /notes/7", None)]
    assert next(talk.engine.queue()).state == "pending"


def test_a_condition_alone_needs_no_reading(speech: Callable[..., Speech]) -> None:
    talk = speech(Dialect())
    talk.push(EDIT, "update")
    assert talk.said == [("PATCH /notes/7", EDIT)]
    assert "if-match" not in lower(talk.requests[0])


def test_a_full_update_is_fixed_at_its_first_send(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pull brings while the outcome is unknown changes neither the body nor the key."""
    monkeypatch.setattr(random, "random", lambda: 0.5)
    theirs = {**HELD, "tags": {"b": 2}, "version": 4}
    listings = iter([page(HELD), page(theirs, cursor="c2")])
    writes = []

    def answer(request: Request) -> Response | TransportError:
        if request.method == "GET":
            return next(listings)
        writes.append(request)
        if len(writes) == 1:
            return TransportError("lost")
        return reply(200, {**HELD, "title": "new", "version": 5})

    engine = new_engine(
        transport=scripted(answer),
        dialect=Dialect(patch="full", update="PUT {endpoint}/{id}"),
        retry_delay=0.05,
        max_retry_delay=0.05,
    )
    engine.pull()
    item = engine.push("notes", EDIT, "update")
    engine.flush()
    engine.pull()
    while engine.flush().remaining:
        engine.wait(item, timeout=0.01)
    first, second = writes
    assert shown(first) == shown(second) == ("PUT /notes/7", {**HELD, "title": "new"})
    assert lower(first)["idempotency-key"] == lower(second)["idempotency-key"] == item.id
    assert lower(first)["if-match"] == lower(second)["if-match"] == "3"


# answers to writes

TEXT = b"OK, done"
ANSWERED = {
    # fields, the answer to an update of HELD, the record in the view
    "record": ({}, {**HELD, "title": "as stored"}, {**HELD, "title": "as stored"}),
    "record=data": (
        {"record": "data"},
        {"data": {**HELD, "title": "as stored"}},
        {**HELD, "title": "as stored"},
    ),
    "record=rows.0": (
        {"record": "rows.0"},
        {"rows": [{**HELD, "title": "as stored"}]},
        {**HELD, "title": "as stored"},
    ),
    "record, where there is none": (
        {"record": "data"},
        {"title": "as stored"},
        {**HELD, "title": "new"},
    ),
    "record, another's": ({}, {**HELD, "id": "8"}, {**HELD, "title": "new"}),
    "nothing": ({}, None, {**HELD, "title": "new"}),
    "a partial answer, unannounced": (
        {},
        {"id": "7", "title": "as stored"},
        {"id": "7", "title": "as stored"},
    ),
    "partial_answer": (
        {"partial_answer": True},
        {"title": "as stored", "n": 1},
        {**HELD, "title": "as stored", "n": 1},
    ),
    "partial_answer at record": (
        {"partial_answer": True, "record": "rows.0"},
        {"rows": [{"n": 1}]},
        {**HELD, "title": "new", "n": 1},
    ),
    "answer=any": ({"answer": "any"}, TEXT, {**HELD, "title": "new"}),
    "answer=any, and JSON": (
        {"answer": "any"},
        {**HELD, "title": "as stored"},
        {**HELD, "title": "as stored"},
    ),
    "patch=merge-patch, folded as the server does": (
        {"patch": "merge-patch"},
        None,
        {**HELD, "title": "new", "tags": {"a": 1, "b": 2}},
    ),
    "patch=shallow, folded as the server does": (
        {},
        None,
        {**HELD, "title": "new", "tags": {"b": 2}},
    ),
}


@pytest.mark.parametrize(("fields", "body", "state"), ANSWERED.values(), ids=ANSWERED)
def test_the_answer_to_a_write(
    speech: Callable[..., Speech], fields: Json, body: Json | bytes | None, state: Json
) -> None:
    talk = speech(Dialect(**fields), reply(200, body), held=HELD)
    tags = {} if state.get("tags", {"a": 1}) == {"a": 1} else {"tags": {"b": 2}}
    talk.push({**EDIT, **tags}, "update")
    assert talk.result.success
    assert talk.view == {"7": state}


def test_an_answer_that_is_no_json_is_no_delivery(speech: Callable[..., Speech]) -> None:
    talk = speech(Dialect(), reply(200, TEXT), held=HELD)
    talk.push(EDIT, "update")
    assert (talk.result.success, talk.result.offline, talk.engine.queue_length) == (False, True, 1)


VERSIONS = {
    # version, the answer to a create, what the next update says in If-Match
    "header": ({}, {"id": "7"}, {"etag": '"e1"'}, '"e1"'),
    "header, a weak one": ({}, {"id": "7"}, {"etag": 'W/"e1"'}, 'W/"e1"'),
    "the field after it": ({}, {"id": "7", "version": 5}, {}, "5"),
    "in their order": ({}, {"id": "7", "version": 5}, {"etag": '"e1"'}, '"e1"'),
    "in their other order": (
        {"version": ("field:version", "header:ETag")},
        {"id": "7", "version": 5},
        {"etag": '"e1"'},
        "5",
    ),
    "another header": ({"version": "header:X-Rev"}, None, {"x-rev": "r1"}, "r1"),
    "field": ({"version": "field:_rev"}, {"id": "7", "_rev": "1-a"}, {}, "1-a"),
    "field, a path": ({"version": "field:m.rev"}, {"id": "7", "m": {"rev": 9}}, {}, "9"),
    "field, in the record": (
        {"version": "field:_rev", "record": "data"},
        {"_rev": "no", "data": {"id": "7", "_rev": "1-a"}},
        {},
        "1-a",
    ),
    "answer": ({"version": "answer:rev"}, {"ok": True, "rev": "1-a"}, {}, "1-a"),
    "answer, a path": ({"version": "answer:m.rev"}, {"m": {"rev": 9}}, {}, "9"),
    "answer, beside the record": (
        {"version": "answer:rev", "record": "data"},
        {"rev": "1-a", "data": {"id": "7", "rev": "no"}},
        {},
        "1-a",
    ),
    "answer, after the field": (
        {"version": ("field:_rev", "answer:rev")},
        {"id": "7", "rev": "1-a"},
        {},
        "1-a",
    ),
    "None": ({"version": None}, {"id": "7", "version": 5}, {"etag": '"e1"'}, None),
    "what is no version is none": ({}, {"id": "7", "version": True}, {}, None),
    "nothing at all": ({}, None, {}, None),
}


@pytest.mark.parametrize(
    ("fields", "body", "headers", "sent"),
    VERSIONS.values(),
    ids=[f"version: {e}" for e in VERSIONS],
)
def test_where_versions_come_from(
    speech: Callable[..., Speech],
    fields: Json,
    body: Json | None,
    headers: dict[str, str],
    sent: str | None,
) -> None:
    talk = speech(Dialect(**fields), reply(201, body, **headers), reply())
    talk.push(NEW)
    talk.push(EDIT, "update")
    assert lower(talk.requests[1]).get("if-match") == sent


@pytest.mark.parametrize("version", ["3\r\nX-Evil: 1", "3\n", "\u20ac", "\x00", " "])
@pytest.mark.parametrize("operation", ["update", "delete"])
def test_a_version_that_no_header_can_carry_sends_nothing_unconditionally(
    speech: Callable[..., Speech], version: str, operation: Literal["create", "update", "delete"]
) -> None:
    talk = speech(Dialect(), reply(201, {"id": "7", "version": version}), reply())
    talk.push(NEW)
    talk.push(EDIT, operation)
    assert len(talk.requests) == 1
    (failed,) = talk.engine.failed()
    assert "If-Match" in present(failed.last_error)
    assert "send_version" in present(failed.last_error)


@pytest.mark.parametrize("place", ["query:rev", "body:rev"])
def test_a_query_and_a_body_carry_any_version(speech: Callable[..., Speech], place: str) -> None:
    dialect = Dialect(version="field:version", send_version=place)
    talk = speech(dialect, reply(201, {"id": "7", "version": "3\r\n\u20ac"}), reply())
    talk.push(NEW)
    talk.push(EDIT, "update")
    assert list(talk.engine.failed()) == []
    assert len(talk.requests) == 2


SERVER_IDS = {
    # fields, the entity's id_field, the answer to a create, the id
    "the entity's id_field": ({}, "id", {"id": 41, "title": "new"}, 41),
    "another id_field": ({}, "uid", {"uid": "x1"}, "x1"),
    "id_in_answer": ({"id_in_answer": "objectId"}, "id", {"objectId": "x1"}, "x1"),
    "id_in_answer, in the record": (
        {"id_in_answer": "objectId", "record": "data"},
        "id",
        {"data": {"objectId": "x1"}},
        "x1",
    ),
    "id_in_answer, beside the record": (
        {"id_in_answer": "meta.key", "record": "data"},
        "id",
        {"meta": {"key": 5}, "data": {"title": "new"}},
        5,
    ),
}


@pytest.mark.parametrize(
    ("fields", "id_field", "body", "found"), SERVER_IDS.values(), ids=SERVER_IDS
)
def test_where_a_server_given_id_is(
    speech: Callable[..., Speech], fields: Json, id_field: str, body: Json, found: int | str
) -> None:
    options = {"id_field": id_field, "id_source": "server"}
    talk = speech(Dialect(**fields), reply(201, body), reply(), **options)
    item = present(talk.push({"title": "new"}))
    assert talk.said == [("POST /notes", {"title": "new"})], "no id goes out"
    (record,) = talk.engine.records("notes")
    assert record[id_field] == found
    assert record["title"] == "new"
    assert talk.engine.get("notes", item.record_id) == talk.engine.get("notes", found) == record
    talk.push({id_field: found, "title": "newer"}, "update")
    assert talk.said[1][0] == f"PATCH /notes/{found}"


def test_a_create_whose_answer_names_no_id_is_told_in_plain_words(
    speech: Callable[..., Speech],
) -> None:
    talk = speech(
        Dialect(id_in_answer="objectId", record="data"),
        reply(201, {"data": {"title": "new"}, "meta": {}}),
        id_source="server",
    )
    talk.push({"title": "new"})
    (item,) = talk.engine.failed()
    assert item.last_error == (
        f"create of notes/{item.record_id} failed: `id_in_answer` was expected at `objectId`: the "
        "new record's id; what came is an object with keys `data`, `meta`; the record was probably "
        "created; see engine.failed()"
    )


def test_a_create_whose_id_is_in_a_member_says_where_and_what_to_do(
    speech: Callable[..., Speech], caplog: pytest.LogCaptureFixture
) -> None:
    talk = speech(Dialect(), reply(201, {"meta": {"n": 1}, "data": {"id": 7}}), id_source="server")
    talk.push({"title": "new"})
    (item,) = talk.engine.failed()
    assert present(item.last_error).endswith(
        "`id_in_answer` was expected at `id`: the new record's id; what came is an object with "
        "keys `meta`, `data`; the record was probably created, and has its id in `data`: say "
        "record='data'; see engine.failed()"
    )
    (line,) = [each.getMessage() for each in caplog.records if " failed" in each.getMessage()]
    assert line.endswith(
        f"the record was probably created, so pull, then discard_failed([{item.id!r}]); "
        f"reprocess_failed([{item.id!r}]) may create a second one"
    )


def test_a_create_that_is_refused_may_be_reprocessed(
    speech: Callable[..., Speech], caplog: pytest.LogCaptureFixture
) -> None:
    talk = speech(Dialect(), reply(422, {"error": "no"}), id_source="server")
    talk.push({"title": "new"})
    (line,) = [each.getMessage() for each in caplog.records if " failed" in each.getMessage()]
    assert line.endswith("reprocess_failed() sends it again, discard_failed() drops it")


@pytest.mark.parametrize("given", ["..", "a/../b", "a\x00", "\ud800"])
def test_an_id_that_no_url_can_carry_is_no_new_records_id(
    speech: Callable[..., Speech], given: str
) -> None:
    body = json.dumps({"id": given}).encode()
    talk = speech(Dialect(), reply(201, body), id_source="server")
    item = present(talk.push({"title": "new"}))
    (waiting,) = talk.engine.failed()
    assert "`id_in_answer`: the id at `id` has " in present(waiting.last_error)
    talk.push({"id": item.record_id, "title": "newer"}, "update")
    assert {line for line, _ in talk.said} == {"POST /notes"}, "nothing was asked for by it"


# conflicts

THEIRS = {**HELD, "title": "theirs", "version": 4}
CURRENT = {
    # fields, the body of the 412, whether the record is read
    "current": ({}, {"current": THEIRS}, False),
    "the body itself": ({}, THEIRS, False),
    "a path": ({"current": "details.existing"}, {"details": {"existing": THEIRS}}, False),
    "paths in order": ({"current": ("a", "b")}, {"a": {"id": "8"}, "b": THEIRS}, False),
    "None": ({"current": None}, {"current": THEIRS}, True),
    "nothing there": ({"current": "details.existing"}, {"current": THEIRS}, True),
    "another's": ({}, {"current": {**THEIRS, "id": "8"}}, True),
    "no body": ({}, None, True),
}


@pytest.mark.parametrize("status", [409, 412])
@pytest.mark.parametrize(("fields", "body", "read"), CURRENT.values(), ids=CURRENT)
def test_where_the_current_record_is(
    speech: Callable[..., Speech],
    fields: Json,
    body: Json | None,
    read: bool,
    status: int,
) -> None:
    talk = speech(Dialect(**fields), reply(status, body), reply(200, THEIRS), held=HELD)
    talk.push(EDIT, "update")
    assert [line for line, _ in talk.said] == ["PATCH /notes/7", *["GET /notes/7"] * read]
    assert talk.view == {"7": THEIRS}
    assert (talk.result.conflicts, talk.engine.queue_length) == (1, 0)


@pytest.mark.parametrize("status", [409, 412])
def test_a_page_for_a_conflict_is_confirmed_before_the_record_is_read(
    speech: Callable[..., Speech], status: int
) -> None:
    page = reply(status, b"<html>conflict</html>")
    listing = reply(200, {"items": [THEIRS], "has_more": False})
    talk = speech(Dialect(), page, listing, page, reply(200, THEIRS), held=HELD)
    talk.push(EDIT, "update")
    edit, read = "PATCH /notes/7", "GET /notes/7"
    assert [line.partition("?")[0] for line, _ in talk.said] == [edit, "GET /notes", edit, read]
    assert talk.view == {"7": THEIRS}
    assert (talk.result.conflicts, talk.engine.queue_length) == (1, 0)


def test_the_version_of_the_current_record_is_what_goes_on_with(
    speech: Callable[..., Speech],
) -> None:
    talk = speech(
        Dialect(version=("header:ETag", "field:version")),
        reply(412, {"current": {**THEIRS, "version": 4}}),
        reply(200, {**THEIRS, "title": "new", "version": 5}),
        held=HELD,
        conflict="client-wins",
    )
    talk.push(EDIT, "update")
    assert [lower(request)["if-match"] for request in talk.requests] == ["3", "4"]


STATUSES = {
    # fields, operation, status, what becomes of it
    "conflict: 409": ({}, "update", 409, "conflict"),
    "conflict: 412": ({}, "delete", 412, "conflict"),
    "conflict=422": ({"conflict": 422}, "update", 422, "conflict"),
    "conflict=422, and 412 no more": ({"conflict": 422}, "update", 412, "failed"),
    "gone: 404 to a delete": ({}, "delete", 404, "deleted"),
    "gone: 410 to a delete": ({}, "delete", 410, "deleted"),
    "gone: 404 to an update": ({}, "update", 404, "lost"),
    "gone: 410 to an update": ({}, "update", 410, "lost"),
    "gone=403": ({"gone": 403}, "delete", 403, "deleted"),
    "gone=403, and 404 no more": ({"gone": 403}, "delete", 404, "failed"),
}


@pytest.mark.parametrize(
    ("fields", "operation", "status", "outcome"), STATUSES.values(), ids=STATUSES
)
def test_statuses(
    speech: Callable[..., Speech],
    fields: Json,
    operation: Literal["create", "update", "delete"],
    status: int,
    outcome: str,
) -> None:
    said = reply(status, {"current": THEIRS})
    # that a record is gone is confirmed by the listing, and by a second try
    more = [listing({"items": []}), said] if outcome in ("lost", "deleted") else []
    talk = speech(Dialect(**fields), said, *more, held=HELD)
    talk.push(EDIT, operation)
    conflicts = {"conflict": 1, "lost": 1}.get(outcome, 0)
    assert talk.result.conflicts == conflicts
    assert len(list(talk.engine.failed())) == (outcome == "failed")
    seen = {"deleted": {}, "lost": {}, "conflict": {"7": THEIRS}}
    if outcome in seen:
        assert talk.view == seen[outcome]


EXISTS = {
    # fields, the answer to the create, whether it is taken for "already there"
    "a status and a pattern": (
        {"exists": ((500, "duplicate id"),)},
        reply(500, b"Error: Insert failed, duplicate id"),
        True,
    ),
    "in the JSON": ({"exists": ((400, "taken"),)}, reply(400, {"id": ["taken"]}), True),
    "any body": ({"exists": ((200, None),)}, reply(200, {**NEW, "title": "theirs"}), True),
    "another status": ({"exists": ((500, "duplicate id"),)}, reply(502, b"duplicate id"), False),
    "another body": ({"exists": ((500, "duplicate id"),)}, reply(500, b"a bug"), False),
}


@pytest.mark.parametrize(("fields", "answer", "there"), EXISTS.values(), ids=EXISTS)
def test_exists(
    speech: Callable[..., Speech],
    fields: Json,
    answer: Response,
    there: bool,
) -> None:
    talk = speech(Dialect(**fields, current=None), answer, reply(200, {**NEW, "title": "theirs"}))
    talk.push(NEW)
    assert talk.said[0] == ("POST /notes", NEW)
    assert ("GET /notes/7", None) in talk.said[1:] if there else talk.result.errors == 1
    assert talk.result.conflicts == there


def test_exists_of_what_was_sent_is_our_own(speech: Callable[..., Speech]) -> None:
    """The first answer was lost; what is there already is compared, and is what was sent."""
    talk = speech(
        Dialect(exists=((500, "duplicate id"),)),
        TransportError("lost"),
        reply(500, b"duplicate id"),
        reply(200, {**NEW, "extra": 1}),
        retry_delay=1e-5,
    )
    item = present(talk.push(NEW))
    while talk.engine.flush().remaining:
        talk.engine.wait(item, timeout=0.01)
    assert next(talk.engine.conflicts(resolved=True), None) is None
    assert [line for line, _ in talk.said] == ["POST /notes", "POST /notes", "GET /notes/7"]
    assert talk.view == {"7": {**NEW, "extra": 1}}


CHECKED = {
    # operation, the reading, whether the write follows
    "unchanged": ("update", reply(200, HELD), True),
    "unchanged, before a delete": ("delete", reply(200, HELD), True),
    "changed": ("update", reply(200, THEIRS), False),
    "changed, before a delete": ("delete", reply(200, THEIRS), False),
    "gone": ("update", reply(404), False),
    "a tombstone": ("update", reply(200, {"id": "7", "deleted": True}), False),
    "not to be had": ("update", reply(500), False),
}


@pytest.mark.parametrize(("operation", "reading", "follows"), CHECKED.values(), ids=CHECKED)
def test_check_before_write(
    speech: Callable[..., Speech],
    operation: Literal["create", "update", "delete"],
    reading: Response,
    follows: bool,
) -> None:
    dialect = Dialect(check_before_write=True, version=None, send_version=None)
    # that a record which was there is gone must be confirmed: by its listing, and once more
    confirmation = (reply(200, []), reading) if reading.status == 404 else ()
    talk = speech(dialect, reading, *confirmation, reply(), held=HELD)
    talk.push(EDIT, operation)
    writes = [line for line, _ in talk.said if not line.startswith("GET")]
    verb = "PATCH" if operation == "update" else "DELETE"
    assert talk.said[0] == ("GET /notes/7", None)
    failed = reading.status == 500
    assert writes == [f"{verb} /notes/7"] * follows
    assert talk.result.conflicts == (not follows and not failed)
    assert talk.engine.queue_length == failed


def test_a_change_of_what_the_server_owns_is_none(speech: Callable[..., Speech]) -> None:
    dialect = Dialect(
        check_before_write=True, version=None, send_version=None, server_fields="seen"
    )
    talk = speech(dialect, reply(200, {**HELD, "seen": 9}), reply(), held={**HELD, "seen": 1})
    talk.push(EDIT, "update")
    assert [line for line, _ in talk.said] == ["GET /notes/7", "PATCH /notes/7"]
    assert talk.result.conflicts == 0


def test_a_create_and_what_is_not_known_are_not_checked(speech: Callable[..., Speech]) -> None:
    dialect = Dialect(check_before_write=True, version=None, send_version=None)
    talk = speech(dialect)
    talk.push(NEW)
    talk.push({"id": "9", "title": "x"}, "update")
    assert [line for line, _ in talk.said] == ["POST /notes", "PATCH /notes/9"]


def at_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


PAST, FUTURE = 978_307_200, 4_102_444_800
TIMES = {
    # fields, the field of the record, its value
    "updatedAt": ({}, "updatedAt", at_time),
    "updated_at": ({}, "updated_at", at_time),
    "another": ({"updated_at": "changed"}, "changed", at_time),
    "epoch seconds": ({"updated_at": "changed"}, "changed", float),
    "epoch milliseconds": ({"updated_at": "changed"}, "changed", lambda each: each * 1000),
}


@pytest.mark.parametrize(("when", "winner"), [(PAST, "new"), (FUTURE, "theirs")])
@pytest.mark.parametrize(("fields", "name", "spell"), TIMES.values(), ids=TIMES)
def test_updated_at_says_who_wrote_last(
    speech: Callable[..., Speech],
    fields: Json,
    name: str,
    spell: type[float] | Callable[..., object],
    when: int,
    winner: str,
) -> None:
    theirs = {**THEIRS, name: spell(when)}
    mine = {**theirs, "title": "new", "version": 5}
    talk = speech(
        Dialect(**fields),
        reply(412, theirs),
        reply(200, mine),
        held=HELD,
        conflict="last-write-wins",
    )
    talk.push(EDIT, "update")
    assert talk.view["7"]["title"] == winner
    assert len(talk.requests) == (2 if winner == "new" else 1)


def test_updated_at_is_no_difference(speech: Callable[..., Speech]) -> None:
    theirs = {**HELD, "title": "new", "changed": FUTURE}
    talk = speech(Dialect(updated_at="changed"), reply(412, theirs), held=HELD)
    talk.push(EDIT, "update")
    assert (talk.result.conflicts, talk.engine.queue_length) == (0, 0)


# pulls


def listing(body: Json | bytes, **headers: str) -> Response:
    return reply(200, body, **headers)


PAGES = {
    # fields, the body of a page, the records
    "items": ({}, {"items": [HELD], "cursor": "1"}, {"7": HELD}),
    "items=results": ({"items": "results"}, {"results": [HELD], "cursor": "1"}, {"7": HELD}),
    "items at a path": (
        {"items": "data.rows"},
        {"data": {"rows": [HELD]}, "cursor": "1"},
        {"7": HELD},
    ),
    "items: the body is the list": (
        {"items": "", "cursor": None, "since": None, "next_page": None},
        [HELD],
        {"7": HELD},
    ),
    "item=doc": (
        {"item": "doc"},
        {"items": [{"seq": 1, "doc": HELD}], "cursor": "1"},
        {"7": HELD},
    ),
    "item at a path": (
        {"item": "change.to"},
        {"items": [{"change": {"to": HELD}}], "cursor": "1"},
        {"7": HELD},
    ),
    "tombstone": (
        {},
        {"items": [HELD, {"id": "8", "deleted": True}], "cursor": "1"},
        {"7": HELD},
    ),
    "tombstone, false": (
        {},
        {"items": [{**HELD, "deleted": False}], "cursor": "1"},
        {"7": {**HELD, "deleted": False}},
    ),
    "tombstone, as databases say it": (
        {"tombstone": "is_deleted"},
        {"items": [{**HELD, "is_deleted": 0}, {"id": "8", "is_deleted": 1}], "cursor": "1"},
        {"7": {**HELD, "is_deleted": 0}},
    ),
    "tombstone, a path": (
        {"tombstone": "meta.gone"},
        {"items": [HELD, {"id": "8", "meta": {"gone": True}}], "cursor": "1"},
        {"7": HELD},
    ),
    "tombstone, in the element": (
        {"tombstone": "_deleted", "item": "doc"},
        {"items": [{"doc": HELD}, {"id": "8", "_deleted": True, "doc": None}], "cursor": "1"},
        {"7": HELD},
    ),
    "tombstone, in the element beside the record": (
        {"tombstone": "_deleted", "item": "doc"},
        {"items": [{"doc": HELD}, {"_deleted": True, "doc": {"id": "8"}}], "cursor": "1"},
        {"7": HELD},
    ),
    "tombstone=None": (
        {"tombstone": None},
        {"items": [{**HELD, "deleted": True}], "cursor": "1"},
        {"7": {**HELD, "deleted": True}},
    ),
    "skip_ids": (
        {"skip_ids": "_design/"},
        {"items": [{"id": "_design/views"}, HELD, {"id": "_design"}], "cursor": "1"},
        {"7": HELD, "_design": {"id": "_design"}},
    ),
    "skip_ids=None": (
        {},
        {"items": [{"id": "_design/views"}], "cursor": "1"},
        {"_design/views": {"id": "_design/views"}},
    ),
    "unknown fields are kept": (
        {},
        {"items": [{"id": 7, "x": [{"y": None}]}], "cursor": 1, "other": {}},
        {"7": {"id": 7, "x": [{"y": None}]}},
    ),
}


@pytest.mark.parametrize(("fields", "body", "records"), PAGES.values(), ids=PAGES)
def test_a_page(
    speech: Callable[..., Speech],
    page: NewPage,
    fields: Json,
    body: Any,
    records: Json,
) -> None:
    talk = speech(Dialect(**fields), listing(body))
    assert talk.engine.pull().success
    assert talk.view == records


@pytest.mark.parametrize("given", ["..", "a/../b", "a\x00", "\ud800"])
def test_a_record_whose_id_no_url_can_carry_is_left_out_and_told_of(
    speech: Callable[..., Speech], caplog: pytest.LogCaptureFixture, given: str
) -> None:
    body = json.dumps({"items": [{"id": given}, HELD], "cursor": "1"}).encode()
    talk = speech(Dialect(), listing(body))
    result = talk.engine.pull()
    assert (result.success, result.errors) == (False, 1)
    assert talk.view == {"7": HELD}
    assert "row(s) skipped, the others taken: its id " in present(talk.engine.status.last_error)
    assert "row(s) of a pull were skipped" in caplog.text


def test_what_is_skipped_counts_for_the_length_of_a_page_and_for_the_cursor(
    speech: Callable[..., Speech],
) -> None:
    talk = speech(
        Dialect(skip_ids="_", next_page="full:limit", query={"limit": 2}, cursor="max:rank"),
        listing({"items": [{"id": "1", "rank": 1}, {"id": "_x", "rank": 2}]}),
        listing({"items": [{"id": "3", "rank": 3}]}),
    )
    assert talk.engine.pull().success
    assert set(talk.view) == {"1", "3"}
    assert [query(request).get("since") for request in talk.requests] == [None, "2"]


def test_a_tombstone_takes_a_held_record_away(speech: Callable[..., Speech], page: NewPage) -> None:
    talk = speech(Dialect(), page({"id": "7", "deleted": True}, cursor="c2"), held=HELD)
    assert talk.engine.pull().pulled == 1
    assert talk.view == {}


PULLS = {
    # fields, the entity's options, the queries of two pulls
    "since": ({}, {}, {}, {"since": "c1"}),
    "query": (
        {"query": {"_sort": "-x", "flag": True, "n": 3}},
        {},
        {"_sort": "-x", "flag": "true", "n": "3"},
        {"_sort": "-x", "flag": "true", "n": "3", "since": "c1"},
    ),
    "query, and params over it": (
        {"query": {"a": "1", "b": "1"}},
        {"params": {"b": "2"}},
        {"a": "1", "b": "2"},
        {"a": "1", "b": "2", "since": "c1"},
    ),
    "since, a template": (
        {"since": ("where", '{{"_updated":{{"$gte":"{cursor}"}}}}')},
        {},
        {},
        {"where": '{"_updated":{"$gte":"c1"}}'},
    ),
    "since=None": ({"since": None}, {}, {}, {}),
    "first_cursor": ({"first_cursor": '"0"'}, {}, {"since": '"0"'}, {"since": "c1"}),
    "first_cursor in a template": (
        {"since": ("q", "[{cursor}]"), "first_cursor": "0"},
        {},
        {"q": "[0]"},
        {"q": "[c1]"},
    ),
    "page_size": ({}, {"page_size": 7}, {"limit": "7"}, {"limit": "7", "since": "c1"}),
    "page_size, by its name": (
        {"page_size": "per_page"},
        {"page_size": 7},
        {"per_page": "7"},
        {"per_page": "7", "since": "c1"},
    ),
    "page_size over query": (
        {"page_size": "n", "query": {"n": 1000}},
        {"page_size": 7},
        {"n": "7"},
        {"n": "7", "since": "c1"},
    ),
    "page_size of full:": (
        {"next_page": "full:top"},
        {"page_size": 7},
        {"top": "7"},
        {"top": "7", "since": "c1"},
    ),
    "page numbers begin with one": (
        {"next_page": "page:_page", "start": 1},
        {},
        {"_page": "1"},
        {"_page": "1", "since": "c1"},
    ),
    "offsets begin with none": ({"next_page": "offset:skip"}, {}, {}, {"since": "c1"}),
}


@pytest.mark.parametrize(("fields", "entity", "first", "second"), PULLS.values(), ids=PULLS)
def test_the_query_of_a_pull(
    speech: Callable[..., Speech],
    page: NewPage,
    fields: dict[str, Any],
    entity: Json,
    first: Json,
    second: Json,
) -> None:
    talk = speech(Dialect(**fields), page(), **entity)
    assert talk.engine.pull().success
    assert talk.engine.pull().success
    assert [query(request) for request in talk.requests] == [first, second]


def test_pull_is_any_method_and_path(speech: Callable[..., Speech], page: NewPage) -> None:
    talk = speech(Dialect(pull="SEARCH {endpoint}/_changes?x=1"), page())
    assert talk.engine.pull().success
    assert talk.engine.pull().success
    assert talk.said == [
        ("SEARCH /notes/_changes?x=1", None),
        ("SEARCH /notes/_changes?x=1&since=c1", None),
    ]


CURSORS = {
    # cursor, the answer to the first pull, what the second says
    "body": ("body:cursor", listing({"items": [], "cursor": "c9"}), "c9"),
    "body, a number": ("body:last_seq", listing({"items": [], "last_seq": 12}), "12"),
    "body, a path": ("body:meta.at", listing({"items": [], "meta": {"at": "c9"}}), "c9"),
    "header": ("header:ETag", listing({"items": []}, etag='"99"'), '"99"'),
    "header, of any name": ("header:X-Position", listing({"items": []}, x_position="p"), "p"),
    "max, of numbers": (
        "max:rank",
        listing({"items": [{"id": "1", "rank": 9}, {"id": "2", "rank": 10}, {"id": "3"}]}),
        "10",
    ),
    "max, of digits in strings": (
        "max:rank",
        listing({"items": [{"id": "1", "rank": "10"}, {"id": "2", "rank": "9"}]}),
        "10",
    ),
    "max, of times": (
        "max:at",
        listing(
            {
                "items": [
                    {"id": "1", "at": "2024-01-01T10:00:00.5Z"},
                    {"id": "2", "at": "2024-01-01T10:00:00Z"},
                ]
            }
        ),
        "2024-01-01T10:00:00.5Z",
    ),
    "max, of times in other zones": (
        "max:at",
        listing(
            {
                "items": [
                    {"id": "1", "at": "2024-01-01T10:00:00+02:00"},
                    {"id": "2", "at": "2024-01-01T09:00:00+00:00"},
                ]
            }
        ),
        "2024-01-01T09:00:00+00:00",
    ),
    "max, a path": ("max:m.at", listing({"items": [{"id": "1", "m": {"at": 5}}]}), "5"),
    "max, of tombstones too": (
        "max:rank",
        listing({"items": [{"id": "1", "rank": 5}, {"id": "2", "rank": 6, "deleted": True}]}),
        "6",
    ),
    "max, of nothing": ("max:rank", listing({"items": []}), None),
    "None": (None, listing({"items": [], "cursor": "c9"}), None),
}


@pytest.mark.parametrize(
    ("cursor", "first", "since"), CURSORS.values(), ids=[f"cursor: {each}" for each in CURSORS]
)
def test_where_the_cursor_is(
    speech: Callable[..., Speech], cursor: str | None, first: Response, since: str | None
) -> None:
    talk = speech(Dialect(cursor=cursor, next_page=None), first)
    assert talk.engine.pull().success
    assert talk.engine.pull().success
    assert [query(request).get("since") for request in talk.requests] == [None, since]


def test_the_largest_cursor_is_kept_when_a_later_pull_brings_less(
    speech: Callable[..., Speech],
) -> None:
    talk = speech(
        Dialect(cursor="max:rank", next_page=None),
        listing({"items": [{"id": "1", "rank": 10}]}),
        listing({"items": [{"id": "1", "rank": 9}]}),
        listing({"items": []}),
    )
    for _ in range(4):
        assert talk.engine.pull().success
    assert [query(request).get("since") for request in talk.requests] == [None, "10", "10", "10"]


ONE, TWO, THREE, FOUR, FIVE = ({"id": each, "rank": int(each)} for each in "12345")
NEXT = {
    # fields, the pages in order, the targets that are asked for
    "more": (
        {},
        [
            listing({"items": [ONE], "cursor": "a", "has_more": True}),
            listing({"items": [TWO], "cursor": "b", "has_more": False}),
        ],
        ["/notes", "/notes?since=a"],
    ),
    "more, another flag": (
        {"next_page": "more:meta.more"},
        [
            listing({"items": [ONE], "cursor": "a", "meta": {"more": True}}),
            listing({"items": [TWO], "cursor": "b", "meta": {"more": False}}),
        ],
        ["/notes", "/notes?since=a"],
    ),
    "more, with a cursor in a header": (
        {"cursor": "header:X-Position"},
        [
            listing({"items": [ONE], "has_more": True}, x_position="a"),
            listing({"items": [TWO], "has_more": True}, x_position="b"),
            listing({"items": [THREE], "has_more": False}, x_position="c"),
        ],
        ["/notes", "/notes?since=a", "/notes?since=b"],
    ),
    "more, with the largest value for a cursor": (
        {"cursor": "max:rank"},
        [
            listing({"items": [ONE, TWO], "has_more": True}),
            listing({"items": [TWO, THREE], "has_more": False}),
        ],
        ["/notes", "/notes?since=2"],
    ),
    "url": (
        {"next_page": "url:links.next"},
        [
            listing({"items": [ONE], "cursor": "z", "links": {"next": "/notes?p=2"}}),
            listing({"items": [TWO], "cursor": "z", "links": {"next": None}}),
        ],
        ["/notes", "/notes?p=2"],
    ),
    "header": (
        {"next_page": "header:Next-Page"},
        [
            listing({"items": [ONE], "cursor": "z"}, next_page="http://server.invalid/notes?p=2"),
            listing({"items": [TWO], "cursor": "z"}),
        ],
        ["/notes", "/notes?p=2"],
    ),
    "rel": (
        {"next_page": "rel:next"},
        [
            listing(
                {"items": [ONE], "cursor": "z"},
                link='</notes?p=9>; rel="last", </notes?p=2>; title="a, b"; rel="next"',
            ),
            listing({"items": [TWO], "cursor": "z"}, link='</notes?p=1>; rel="prev"'),
        ],
        ["/notes", "/notes?p=2"],
    ),
    "page, repeated until nothing is new": (
        {"next_page": "page:_page", "start": 1},
        [
            listing({"items": [ONE], "cursor": "z"}),
            listing({"items": [TWO], "cursor": "z"}),
            listing({"items": [], "cursor": "z"}),
        ]
        * 2,
        ["/notes?_page=1", "/notes?_page=2", "/notes?_page=3"] * 2,
    ),
    "offset, repeated until nothing is new": (
        {"next_page": "offset:skip"},
        [
            listing({"items": [ONE, TWO], "cursor": "z"}),
            listing({"items": [THREE], "cursor": "z"}),
            listing({"items": [], "cursor": "z"}),
        ]
        * 2,
        ["/notes", "/notes?skip=2", "/notes?skip=3"] * 2,
    ),
    "full": (
        {"next_page": "full:limit", "query": {"limit": 2}},
        [
            listing({"items": [ONE, TWO], "cursor": "a"}),
            listing({"items": [THREE], "cursor": "b"}),
        ],
        ["/notes?limit=2", "/notes?limit=2&since=a"],
    ),
    "full, with a cursor in a header": (
        {"next_page": "full:limit", "query": {"limit": 2}, "cursor": "header:X-Position"},
        [
            listing({"items": [ONE, TWO]}, x_position="a"),
            listing({"items": [THREE, FOUR]}, x_position="b"),
            listing({"items": [FIVE]}, x_position="c"),
        ],
        ["/notes?limit=2", "/notes?limit=2&since=a", "/notes?limit=2&since=b"],
    ),
    "None": (
        {"next_page": None},
        [listing({"items": [ONE], "cursor": "a"})],
        ["/notes"],
    ),
}


@pytest.mark.parametrize(
    ("fields", "pages", "targets"), NEXT.values(), ids=[f"next_page: {each}" for each in NEXT]
)
def test_the_next_page(
    speech: Callable[..., Speech], fields: Json, pages: list[Response], targets: list[str]
) -> None:
    talk = speech(Dialect(**fields), *pages)
    assert talk.engine.pull().success, talk.engine.status.last_error
    assert [line for line, _ in talk.said] == [f"GET {each}" for each in targets]
    named = {each["id"] for answer in pages for each in json.loads(answer.body)["items"]}
    assert set(talk.view) == named


COMMITTED = {
    # fields, what the page before the failing one says, what the next pull asks for
    "more: carries a resume point": (
        {},
        listing({"items": [ONE], "cursor": "a", "has_more": True}),
        "/notes?since=a",
    ),
    "full: carries one too": (
        {"next_page": "full:limit", "query": {"limit": 1}},
        listing({"items": [ONE], "cursor": "a"}),
        "/notes?limit=1&since=a",
    ),
    "url: begins anew": (
        {"next_page": "url:next"},
        listing({"items": [ONE], "cursor": "a", "next": "/notes?p=2"}),
        "/notes",
    ),
    "page: begins anew": (
        {"next_page": "page:p"},
        listing({"items": [ONE], "cursor": "a"}),
        "/notes?p=1",
    ),
}


@pytest.mark.parametrize(("fields", "first", "again"), COMMITTED.values(), ids=COMMITTED)
def test_where_a_pull_that_was_cut_off_goes_on(
    speech: Callable[..., Speech], fields: Json, first: Response, again: str
) -> None:
    end = listing({"items": [], "cursor": "a"})
    talk = speech(Dialect(**fields), first, reply(500), end)
    assert not talk.engine.pull().success
    assert talk.engine.pull().success
    assert talk.said[2][0] == f"GET {again}"


def test_links_and_the_largest_value_are_gone_through_again_while_rows_move(
    speech: Callable[..., Speech],
) -> None:
    """While the first page was on its way a row of the second moved to a page before it."""
    moved = {"id": "2", "rank": 5}
    talk = speech(
        Dialect(next_page="url:next", cursor="max:rank"),
        listing({"items": [ONE], "next": "/notes?p=2"}),
        listing({"items": [THREE], "next": None}),
        listing({"items": [ONE, moved], "next": "/notes?p=2"}),
        listing({"items": [THREE], "next": None}),
    )
    talk.wire.answers += [talk.wire.answers[-2], talk.wire.answers[-1]]
    assert talk.engine.pull().success
    assert set(talk.view) == {"1", "2", "3"}
    assert len(talk.requests) == 6, "the third pass brought nothing new"


@pytest.mark.parametrize("cursor", ["body:cursor", "header:ETag"])
def test_links_of_a_server_that_keeps_the_order_are_followed_once(
    speech: Callable[..., Speech], cursor: str
) -> None:
    talk = speech(
        Dialect(next_page="url:next", cursor=cursor),
        listing({"items": [ONE], "next": "/notes?p=2", "cursor": "9"}, etag="9"),
        listing({"items": [TWO], "next": None, "cursor": "9"}, etag="9"),
    )
    assert talk.engine.pull().success
    assert len(talk.requests) == 2


def test_one_page_is_asked_for_once_however_it_is_paged(speech: Callable[..., Speech]) -> None:
    talk = speech(
        Dialect(next_page="url:next", cursor="max:rank"), listing({"items": [ONE], "next": None})
    )
    assert talk.engine.pull().success
    assert len(talk.requests) == 1


# what does not fit, in plain words

MISFITS = {
    # fields, the answer to a pull, what is said
    "items": (
        {"items": "results"},
        listing({"data": [], "meta": {}}),
        (
            "`items` was expected at `results`: a list; what came is an object with keys "
            "`data`, `meta`"
        ),
    ),
    "items, of another kind": (
        {},
        listing({"items": {"7": {}}}),
        "`items` was expected at `items`: a list; what came is an object with keys `items`",
    ),
    "items, the body": (
        {"items": ""},
        listing({}),
        "`items` was expected at the top of the body: a list; what came is an empty object",
    ),
    "item": (
        {"item": "doc"},
        listing({"items": [{"id": "1", "value": 7}], "cursor": "1"}),
        (
            "`item` was expected at `doc`: a record with the field `id` (`id_field`); "
            "what came is an object with keys `id`, `value`"
        ),
    ),
    "item, without its id": (
        {},
        listing({"items": [{"uid": "1"}], "cursor": "1"}),
        (
            "`item` was expected at the top of the body: a record with the field `id` (`id_field`)"
            "; what came is an object with keys `uid`"
        ),
    ),
    "item, a text": (
        {},
        listing({"items": ["secret"], "cursor": "1"}),
        (
            "`item` was expected at the top of the body: a record with the field `id` (`id_field`)"
            "; what came is a string"
        ),
    ),
    "cursor": (
        {"cursor": "body:meta.next"},
        listing({"items": [], "meta": {}}),
        (
            "`cursor` was expected at `meta.next`: a string or number; what came is an object with "
            "keys `items`, `meta`"
        ),
    ),
}


@pytest.mark.parametrize(("fields", "answer", "said"), MISFITS.values(), ids=MISFITS)
def test_a_page_that_does_not_fit(
    speech: Callable[..., Speech], fields: Json, answer: Response, said: str
) -> None:
    talk = speech(Dialect(**fields), answer)
    assert talk.engine.pull().errors == 1
    assert talk.engine.status.last_error == f"notes: {said}"
    assert "secret" not in talk.engine.status.last_error


def test_a_reading_that_does_not_fit(speech: Callable[..., Speech]) -> None:
    talk = speech(
        Dialect(record="data", current=None),
        reply(412),
        reply(200, {"result": HELD, "took": 3}),
        held=HELD,
    )
    talk.push(EDIT, "update")
    error = present(talk.engine.status.last_error)
    assert (
        "`record` was expected at `data`: a record; what came is an object with keys "
        "`result`, `took`"
    ) in error
    assert 'Dialect(answer="any")' not in error, "a reading must be JSON, whatever it says"


# steps of a subclass


class Stepping(Dialect):
    """Steps that each leave a mark; ``boom`` in the data makes them raise."""

    def encode(self, operation: str, record: Json) -> list[str | Json]:
        if record.get("title") == "boom":
            raise KeyError("boom")
        return [operation, {**record, "via": "encode"}]

    def decode(self, found: Json) -> Json | None:
        if isinstance(found, dict) and "wrapped" in found:
            result: Json | None = found["wrapped"]
            return result
        return None if found == {"skip": True} else found

    def classify(
        self, operation: str, status: int, body: Any, headers: Mapping[str, str]
    ) -> str | None:
        said = (body or {}).get("code") if isinstance(body, dict) else None
        return headers.get("x-means") or said

    def next_page(self, body: dict[str, Any], headers: dict[str, str]) -> str | None:  # type: ignore[override]  # the documented way
        return body.get("following") and f"/notes?at={body['following']}"


def test_encode(speech: Callable[..., Speech]) -> None:
    talk = speech(Stepping())
    talk.push(NEW)
    talk.push({"id": "7"}, "delete")
    assert talk.said == [
        ("POST /notes", ["create", {**NEW, "via": "encode"}]),
        ("DELETE /notes/7", None),
    ]


def test_encode_that_raises_rejects_the_item_and_nothing_is_sent(
    speech: Callable[..., Speech],
) -> None:
    talk = speech(Stepping())
    talk.push({"id": "7", "title": "boom"})
    (item,) = talk.engine.failed()
    assert present(item.last_error).startswith(
        "create of notes/7 failed: `encode` of Stepping raised KeyError in "
    )
    assert "boom" not in present(item.last_error)
    assert talk.said == []
    talk.engine.reprocess_failed([item.id], data={"id": "7", "title": "repaired"})
    assert talk.engine.flush().success


def test_decode(speech: Callable[..., Speech]) -> None:
    page = listing({"items": [{"wrapped": HELD}, {"skip": True}], "cursor": "1"})
    talk = speech(
        Stepping(),
        page,
        page,  # asked for one row, to see whether `next_page` names a page then
        reply(412, {"current": {"wrapped": THEIRS}}),
        reply(200, {"wrapped": HELD}),
    )
    assert talk.engine.pull().success
    assert talk.view == {"7": HELD}
    talk.push(EDIT, "update")
    assert talk.view == {"7": THEIRS}
    talk.push({"id": "8", "title": "x"})
    assert talk.view["8"] == {"id": "8", "title": "x"}, "another's record is none"


CLASSIFIED = {
    # the word, what becomes of the update that it is said of
    "delivered": "delivered",
    "conflict": "conflict",
    "gone": "conflict",
    "busy": "pending",
    "retry": "pending",
    "rejected": "failed",
    "credentials": "pending",
    "offline": "pending",
}


@pytest.mark.parametrize("status", [200, 418, 500])
@pytest.mark.parametrize(("word", "outcome"), CLASSIFIED.items())
def test_classify(
    new_engine: NewEngine,
    scripted: type[Scripted],
    page: NewPage,
    word: str,
    outcome: str,
    status: int,
) -> None:
    wire = scripted(page(HELD), reply(status, {"code": word}), reply(200, THEIRS))
    engine = new_engine(transport=wire, dialect=Stepping(), retry_delay=50.0, max_retry_delay=50.0)
    engine.pull()
    item = engine.push("notes", EDIT, "update")
    result = engine.flush(timeout=10)
    assert engine.wait(item, timeout=0) == outcome
    assert result.conflicts == (outcome == "conflict")
    assert result.offline == (word == "offline")
    assert engine.is_online == (word != "offline")


def test_classify_of_gone_to_a_delete_is_delivered(speech: Callable[..., Speech]) -> None:
    talk = speech(Stepping(), reply(200, {"code": "gone"}), held=HELD)
    item = present(talk.push({"id": "7"}, "delete"))
    assert talk.engine.wait(item, timeout=0) == "delivered"
    assert talk.view == {}


def test_classify_sees_lower_case_headers(speech: Callable[..., Speech]) -> None:
    talk = speech(Stepping(), reply(200, None, x_means="rejected"), held=HELD)
    item = present(talk.push(EDIT, "update"))
    assert talk.engine.wait(item, timeout=0) == "failed"


def test_classify_of_a_reading_and_of_a_page(speech: Callable[..., Speech]) -> None:
    talk = speech(Stepping(current=None), reply(412), reply(200, {"code": "gone"}), held=HELD)
    talk.push(EDIT, "update")
    assert talk.view == {}
    assert talk.result.conflicts == 1
    talk = speech(Stepping(), reply(200, {"items": [], "cursor": "1", "code": "busy"}))
    assert talk.engine.pull().errors == 1


def test_a_word_that_classify_does_not_know_is_told(speech: Callable[..., Speech]) -> None:
    talk = speech(Stepping(), reply(200, {"code": "fine"}), held=HELD)
    talk.push(EDIT, "update")
    (item,) = talk.engine.queue()
    assert present(item.last_error).startswith(
        "update of notes/7 failed: `classify` of Stepping returned 'fine'; it knows deli"
    )
    assert item.retry_count == 0


def test_next_page(speech: Callable[..., Speech]) -> None:
    talk = speech(
        Stepping(next_page="url:never", cursor="body:cursor"),
        listing({"items": [ONE], "cursor": "z", "following": "b c", "never": "/no"}),
        listing({"items": [TWO], "cursor": "z"}),
    )
    assert talk.engine.pull().success
    assert set(talk.view) == {"1", "2"}
    assert talk.said[0][0] == "GET /notes"
    assert query(talk.requests[1]) == {"at": "b c"}


class Breaking(Dialect):
    def next_page(self, body: Json, headers: dict[str, str]) -> Any:  # type: ignore[override]  # the documented way
        return body["nothing of the kind"]


def test_next_page_that_raises_is_told(speech: Callable[..., Speech]) -> None:
    talk = speech(Breaking(), listing({"items": [ONE], "cursor": "z"}))
    assert talk.engine.pull().errors == 1
    told = present(talk.engine.status.last_error)
    assert told.startswith("notes: `next_page` of Breaking raised KeyError in ")
    assert "nothing of the kind" not in told


class Undecoding(Dialect):
    def decode(self, found: Json) -> None:
        raise ValueError("what is that?")


def test_decode_that_raises_leaves_the_outcome_of_a_write_unknown(
    speech: Callable[..., Speech],
) -> None:
    talk = speech(Undecoding(), reply(200, NEW))
    item = present(talk.push(NEW))
    (queued,) = talk.engine.queue()
    assert queued.id == item.id
    assert "notes/7 failed: `decode` of Undecoding raised ValueError in " in present(
        queued.last_error
    )
    assert "what is that?" not in present(queued.last_error)
    assert not talk.engine.cancel(queued), "it is frozen"
