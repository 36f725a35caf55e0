"""What a refusal says, in the form in which each kind of server says it."""

from collections.abc import Callable

import pytest

from bytelyst_sync import Dialect, SyncEngine
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.server_messages import message_in
from tests.protocol.loopback import Loopback
from tests.typed import present

BODIES = {
    "a message": ({"message": "taken"}, "taken"),
    "an error that is a text": ({"error": "taken"}, "taken"),
    "a detail": ({"detail": "Not found."}, "Not found."),
    "a text": ("taken", "taken"),
    "OData": ({"error": {"code": "409", "message": "taken", "target": "name"}}, "taken"),
    "Strapi": (
        {"data": None, "error": {"status": 400, "name": "ValidationError", "message": "taken"}},
        "taken",
    ),
    "Google": ({"error": {"code": 400, "message": "taken", "status": "INVALID"}}, "taken"),
    "problem+json": (
        {"type": "https://e.com/p", "title": "Invalid", "status": 422, "detail": "taken"},
        "taken",
    ),
    "a problem without detail": ({"type": "about:blank", "title": "Invalid"}, "Invalid"),
    "ASP.NET": (
        {"title": "Invalid", "status": 400, "errors": {"Name": ["is taken", "is short"]}},
        "Invalid; Name: is taken; Name: is short",
    ),
    "JSON:API": (
        {
            "errors": [
                {"detail": "taken", "source": {"pointer": "/data/attributes/name"}, "code": "u"},
                {"title": "Conflict"},
            ]
        },
        "name: taken; Conflict",
    ),
    "Directus": (
        {"errors": [{"message": "taken", "extensions": {"code": "RECORD_NOT_UNIQUE"}}]},
        "taken",
    ),
    "Django REST Framework": (
        {"name": ["taken"], "lines": [{}, {"count": ["too many"]}], "non_field_errors": ["no"]},
        "name: taken; lines: count: too many; non_field_errors: no",
    ),
    "Jira": ({"errorMessages": [], "errors": {"name": "taken"}}, "name: taken"),
    "Jira, without a field": ({"errorMessages": ["taken"], "errors": {}}, "errorMessages: taken"),
    "Shopify": (
        {"errors": {"product": "Required parameter missing"}},
        "product: Required parameter missing",
    ),
    "Frappe": (
        {"exception": "frappe.exceptions.MandatoryError: title", "exc_type": "MandatoryError"},
        "frappe.exceptions.MandatoryError: title",
    ),
    "Contentful": (
        {
            "sys": {"type": "Error", "id": "ValidationFailed"},
            "message": "Validation error",
            "details": {"errors": [{"name": "required", "details": "is required", "path": ["a"]}]},
        },
        "Validation error; errors: a: is required",
    ),
    "Salesforce": ([{"message": "taken", "errorCode": "DUPLICATE_VALUE"}], "taken"),
    "a list of texts": (["taken", "short"], "taken; short"),
    "FastAPI": (
        {"detail": [{"type": "missing", "loc": ["body", "name"], "msg": "Field required"}]},
        "body.name: Field required",
    ),
    "PocketBase": (
        {"status": 400, "message": "Failed.", "data": {"name": {"code": "x", "message": "taken"}}},
        "Failed.; name: taken",
    ),
    "PostgREST": (
        {"code": "23505", "details": "Key (name)=(a)", "hint": None, "message": "duplicate key"},
        "duplicate key",
    ),
    "SCIM": (
        {"schemas": ["urn:…:Error"], "status": "409", "scimType": "uniqueness", "detail": "taken"},
        "taken",
    ),
    "Feathers": (
        {"name": "BadRequest", "message": "taken", "code": 400, "className": "bad-request"},
        "taken",
    ),
    "Flask-AppBuilder": ({"message": {"title": ["Missing data."]}}, "title: Missing data."),
    "nothing that is known": ({"code": 7, "ok": False}, ""),
    "a record": ({"id": "7", "name": "x"}, ""),
    "far too deep": ({"error": {"error": {"error": {"error": {"error": {"error": "x"}}}}}}, ""),
}


@pytest.mark.parametrize(("body", "message"), BODIES.values(), ids=BODIES)
def test_the_message_in(body: Json | str | list[str], message: str) -> None:
    assert message_in(body) == message


def test_it_is_what_a_failed_item_shows(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = loopback(lambda request: (422, BODIES["JSON:API"][0]))
    engine = connect(api, Dialect())
    engine.push("notes", {"id": "7"})
    assert not engine.flush(timeout=10).success
    (failed,) = engine.failed()
    assert present(failed.last_error) == (
        "create of notes/7 rejected: HTTP 422 'name: taken; Conflict'; see engine.failed()"
    )
