"""Answers to writes with status 2xx that are no success: an error in the body, another id in it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync import ConfigError, Dialect, EntityConfig, Request, SyncEngine
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json, OperationName
from tests.typed import NewEngine, present

BARE = {"idempotency": None, "version": None, "send_version": None}


class Api:
    """A transport: one answer for each method."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers
        self.requests: list[Any] = []

    def send(self, request: Request) -> Response:
        self.requests.append(request)
        status, body, headers = (*self._answers[request.method], {})[:3]
        raw = b"" if body is None else json.dumps(body).encode()
        return Response(status, headers, raw, request.url)


@pytest.fixture
def connect(new_engine: NewEngine) -> Callable[..., SyncEngine]:
    def make(api: Api, *, entity: None = None, **fields: Any) -> SyncEngine:
        entities = {"notes": EntityConfig("/notes", **(entity or {}))}
        return new_engine(
            "http://server.invalid/api",
            transport=api,
            entities=entities,
            dialect=Dialect(**{**BARE, **fields}),
        )

    return make


REFUSALS = {
    "success": {"success": False, "message": "title too long"},
    "ok": {"ok": False, "error": "title too long"},
    "status": {"status": "error", "message": "title too long"},
    "error": {"error": {"message": "title too long"}},
    "errors": {"data": None, "errors": [{"message": "title too long"}]},
}


@pytest.mark.parametrize("place", REFUSALS)
def test_an_error_in_a_2xx_answer_to_a_create_is_no_success(
    connect: Callable[..., SyncEngine], place: str
) -> None:
    engine = connect(Api(POST=(200, REFUSALS[place])))
    engine.push("notes", {"id": "7", "title": "x"})
    result = engine.flush()
    assert not result.success
    (failed,) = engine.failed()
    assert f"the answer says that the write failed (`{place}`): title too long" in present(
        failed.last_error
    )
    assert "answers=((200, " in present(failed.last_error)


@pytest.mark.parametrize("place", REFUSALS)
@pytest.mark.parametrize("operation", ["update", "delete"])
def test_an_error_in_a_2xx_answer_keeps_the_edit(
    connect: Callable[..., SyncEngine], place: str, operation: OperationName
) -> None:
    answer = (200, REFUSALS[place])
    engine = connect(Api(POST=(201, {"id": "7", "title": "x"}), PATCH=answer, DELETE=answer))
    engine.push("notes", {"id": "7", "title": "x"})
    assert engine.flush().success
    data = {"id": "7", "title": "y"} if operation == "update" else {"id": "7"}
    engine.push("notes", data, operation)
    assert not engine.flush().success
    assert engine.status.reason == "mapping"
    assert f"(`{place}`): title too long" in present(engine.status.last_error)


@pytest.mark.parametrize("place", ["success", "ok", "status"])
def test_the_pattern_that_the_error_suggests_matches(
    connect: Callable[..., SyncEngine], place: str
) -> None:
    """As an answer that is refused for good: the item failed, and may be repaired."""
    answer = (200, REFUSALS[place])
    engine = connect(Api(POST=answer))
    engine.push("notes", {"id": "7", "title": "x"})
    engine.flush()
    (failed,) = engine.failed()
    suggested = present(failed.last_error).partition("answers=")[2].partition('; "delivered"')[0]
    again = connect(Api(POST=answer), answers=eval(suggested))  # it is shown to be copied
    again.push("notes", {"id": "7", "title": "x"})
    again.flush()
    (failed,) = again.failed()
    assert present(failed.last_error).endswith("HTTP 200 'title too long'; see engine.failed()")


@pytest.mark.parametrize(
    "body",
    [
        {"success": True},
        {"error": None, "errors": [], "status": "ok"},
        {"id": "7", "title": "x", "error": "a field of the record"},
        {"status": "open"},
        [],
        None,
    ],
)
def test_what_is_no_refusal_is_delivered(
    connect: Callable[..., SyncEngine], body: Json | list[Any] | None
) -> None:
    engine = connect(Api(POST=(200, body)))
    engine.push("notes", {"id": "7", "title": "x"})
    assert engine.flush().success


def test_an_answer_that_the_dialect_calls_delivered_is(connect: Callable[..., SyncEngine]) -> None:
    engine = connect(
        Api(POST=(200, {"error": "none, thank you"})), answers=((200, "thank you", "delivered"),)
    )
    engine.push("notes", {"id": "7", "title": "x"})
    assert engine.flush().success


@pytest.mark.parametrize("name", ["data", "result", "note", "notes"])
def test_another_id_in_a_wrapper_is_told(connect: Callable[..., SyncEngine], name: str) -> None:
    api = Api(POST=(201, {name: {"id": 100, "title": "x"}}))
    engine = connect(api)
    engine.push("notes", {"id": "7", "title": "x"})
    assert not engine.flush().success
    (failed,) = engine.failed()
    assert f"another record, '100' in `{name}`" in present(failed.last_error)
    assert f"record={name!r}" in present(failed.last_error)
    assert 'id_source="server"' in present(failed.last_error)
    assert len(api.requests) == 1, "it is not made twice"


@pytest.mark.parametrize(
    "location", ["/api/notes/100", "/api/notes/100/", "http://server.invalid/api/notes/100"]
)
def test_another_id_in_location_is_told(connect: Callable[..., SyncEngine], location: str) -> None:
    api = Api(POST=(201, None, {"location": location}))
    engine = connect(api)
    engine.push("notes", {"id": "7", "title": "x"})
    assert not engine.flush().success
    (failed,) = engine.failed()
    assert "another record, '100' in `Location`" in present(failed.last_error)
    assert 'id_source="server"' in present(failed.last_error)


@pytest.mark.parametrize(
    ("body", "location"),
    [
        ({"data": {"id": "7"}}, "/api/notes/7"),
        ({"data": {"id": "7"}}, "/api/operations/100"),
        ({"author": {"id": 100}}, ""),
        ({"data": {"id": None}}, ""),
        ({"data": [{"id": 100}]}, "/api/notes"),
    ],
)
def test_the_same_id_or_something_else_is_no_problem(
    connect: Callable[..., SyncEngine], body: Json, location: str
) -> None:
    engine = connect(Api(POST=(201, body, {"location": location})))
    engine.push("notes", {"id": "7", "title": "x"})
    assert engine.flush().success


def test_a_read_that_brings_another_record_says_so(connect: Callable[..., SyncEngine]) -> None:
    api = Api(POST=(201, {"id": "a", "title": "x"}), GET=(200, {"id": "A", "title": "x"}))
    engine = connect(api, check_before_write=True)
    engine.push("notes", {"id": "a", "title": "x"})
    assert engine.flush().success
    engine.update("notes", "a", {"title": "y"})
    assert not engine.flush().success
    assert "the answer is about another record, 'A'" in present(engine.status.last_error)


@pytest.mark.parametrize("mark", ["deleted_at", "meta.deleted_at", "state=trash"])
def test_a_mark_that_is_never_sent_cannot_be_taken_away(mark: str) -> None:
    name = mark.partition("=")[0].partition(".")[0]
    with pytest.raises(ConfigError, match=r"revive is 'update'.*`server_fields` says") as raised:
        Dialect(tombstone=mark, revive="update", server_fields=("updated_at", name))
    assert raised.value.field == "revive"
