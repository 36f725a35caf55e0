"""A dialect's fields: their defaults, what they take, and what is said of a wrong value."""

import re

import attrs
import pytest

from bytelyst_sync import ConfigError, Dialect, SyncOperation

DEFAULTS = {
    # SPEC §8
    "create": "POST {endpoint}",
    "update": "PATCH {endpoint}/{id}",
    "delete": "DELETE {endpoint}/{id}",
    "read": "GET {endpoint}/{id}",
    "pull": "GET {endpoint}",
    "patch": "shallow",
    "content_type": "application/json",
    "answer": "json",
    "body": "",
    "extra": {},
    "record": "",
    "partial_answer": False,
    "id_in_answer": None,
    "items": "items",
    "item": "",
    "query": {},
    "since": ("since", "{cursor}"),
    "first_cursor": None,
    "cursor": "body:cursor",
    "next_page": "more:has_more",
    "version": ("header:ETag", "field:version"),
    "send_version": "header:If-Match",
    "quote_version": False,
    "current": ("current", ""),
    "conflict": (409, 412),
    "gone": (404, 410),
    "exists": (),
    "tombstone": "deleted",
    "server_fields": (),
    "updated_at": ("updatedAt", "updated_at"),
    "idempotency": "Idempotency-Key",
    "headers": {},
}


@pytest.mark.parametrize("field", DEFAULTS)
def test_the_default_of(field):
    assert getattr(Dialect(), field) == DEFAULTS[field]


def test_there_are_no_other_fields():
    assert {field.name for field in attrs.fields(Dialect)} <= set(DEFAULTS)


def test_rest_is_the_default():
    assert Dialect.rest() == Dialect()


GOOD = {
    # of each field: what is given, and what is kept
    "create": [
        ("PUT {endpoint}/{id}", "PUT {endpoint}/{id}"),
        ("POST {endpoint}/-/insert", "POST {endpoint}/-/insert"),
    ],
    "update": [("POST {endpoint}/{id}/-/update", "POST {endpoint}/{id}/-/update")],
    "pull": [("GET {endpoint}/_changes", "GET {endpoint}/_changes"), ("GET /all", "GET /all")],
    "patch": [("merge-patch", "merge-patch"), ("full", "full")],
    "content_type": [("application/merge-patch+json", "application/merge-patch+json")],
    "answer": [("any", "any")],
    "body": [
        ("data", "data"),
        ({"create": "row", "update": "update"}, {"create": "row", "update": "update"}),
    ],
    "extra": [({"return": True}, {"return": True})],
    "record": [("data", "data"), ("rows.0", "rows.0")],
    "id_in_answer": [("objectId", "objectId")],
    "items": [("", ""), ("results", "results")],
    "item": [("doc", "doc")],
    "query": [({"_sort": "x", "_limit": 10}, {"_sort": "x", "_limit": 10})],
    "since": [
        (["where", "{cursor}"], ("where", "{cursor}")),
        (
            ("where", '{{"_updated":{{"$gte":"{cursor}"}}}}'),
            ("where", '{{"_updated":{{"$gte":"{cursor}"}}}}'),
        ),
        (None, None),
    ],
    "first_cursor": [('"0"', '"0"'), ("0", "0")],
    "cursor": [
        ("header:ETag", "header:ETag"),
        ("max:updated_at", "max:updated_at"),
        (None, None),
    ],
    "next_page": [
        ("url:next", "url:next"),
        ("header:Next-Page", "header:Next-Page"),
        ("rel:next", "rel:next"),
        ("page:_page", "page:_page"),
        ("offset:skip", "offset:skip"),
        ("full:limit", "full:limit"),
        (None, None),
    ],
    "version": [
        ("field:_rev", ("field:_rev",)),
        (["field:_rev", "header:ETag"], ("field:_rev", "header:ETag")),
        (None, ()),
    ],
    "send_version": [
        ("body:_rev", "body:_rev"),
        ("query:rev", "query:rev"),
        (
            {"update": "body:_rev", "delete": "query:rev", "create": None},
            {"update": "body:_rev", "delete": "query:rev", "create": None},
        ),
        (None, None),
    ],
    "current": [("details.existing", ("details.existing",)), (None, ())],
    "conflict": [(409, (409,)), ([409, 422], (409, 422))],
    "gone": [((404,), (404,)), ((), ())],
    "exists": [
        ([[500, "duplicate id"], (200, None)], ((500, "duplicate id"), (200, None))),
    ],
    "tombstone": [(None, None), ("_deleted", "_deleted")],
    "server_fields": [(["_id", "_etag"], ("_id", "_etag")), ("_id", ("_id",))],
    "updated_at": [("changed", ("changed",)), (None, ())],
    "idempotency": [(None, None), ("X-Request-Key", "X-Request-Key")],
    "headers": [({"Prefer": "return=representation"}, {"Prefer": "return=representation"})],
}


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        pytest.param(field, given, kept, id=f"{field}={given!r}")
        for field, rows in GOOD.items()
        for given, kept in rows
    ],
)
def test_a_good_value(field, given, kept):
    assert getattr(Dialect(**{field: given}), field) == kept
    assert getattr(Dialect().evolve(**{field: given}), field) == kept


WRONG = {
    # field: (values, what the message says is allowed)
    "create": (
        ["FETCH {endpoint}", "post {endpoint}", "{endpoint}", "POST", "", None, 7],
        "POST {endpoint}",
    ),
    "update": (
        ["PATCH {endpoint}/{uid}", "PATCH  {endpoint}", "PATCH {endpoint}/{}"],
        "PATCH {endpoint}/{id}",
    ),
    "delete": (["DELETE {endpoint} {id}", ["DELETE", "x"]], "a method and a path"),
    "read": (["READ {endpoint}"], "a method and a path"),
    "pull": ([None], "a method and a path"),
    "patch": (["merge", "", None, []], "'merge-patch'"),
    "content_type": ([None, 7], "a string"),
    "answer": (["xml", None], "'any'"),
    "body": ([None, 7, ["data"]], "a key, or a dict"),
    "extra": ([None, "x", {1: 2}, [("a", 1)]], "a dict"),
    "record": ([None, 7], "a string"),
    "partial_answer": (["yes", 1, None], "True or False"),
    "id_in_answer": ([7, ["id"]], "a string or None"),
    "items": ([None, 7], "a string"),
    "item": ([None, 7], "a string"),
    "query": ([None, "a=1", {1: 2}], "a dict"),
    "since": (["since", ("since",), ("since", "now"), ("a", "b", "{cursor}"), 7], "{cursor}"),
    "first_cursor": ([0, 7], "a string or None"),
    "cursor": (["cursor", "body:", "query:x", 7, ""], '"max:NAME"'),
    "next_page": (["next", "url:", "link:next", 7], '"rel:NAME"'),
    "version": (["ETag", "header:", "body:_rev", 7, ["field:v", 7]], ""),
    "send_version": (
        ["If-Match", "header:", "field:v", 7, {"update": "If-Match"}, {"update": 7}],
        '"header:NAME"',
    ),
    "quote_version": (["yes", 1, None], "True or False"),
    "current": ([7, [None]], "strings"),
    "conflict": (["409", [99], [600], [True], [409, "412"], 4.5], "HTTP statuses"),
    "gone": (["404", [0], [None]], "HTTP statuses"),
    "exists": (
        ["409", [409], [(409,)], [("409", None)], [(409, 7)], [(409, "(")], [(True, None)], None],
        "a status and a pattern",
    ),
    "tombstone": ([True, 7], "a string or None"),
    "server_fields": ([7, [None]], "strings"),
    "updated_at": ([7, [7]], "strings"),
    "idempotency": ([True, 7], "a string or None"),
    "headers": ([None, "X: y", {1: "x"}, {"X": 7}, {"X": "a\r\nY: b"}], ""),
}


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        pytest.param(field, value, allowed, id=f"{field}={value!r}")
        for field, (values, allowed) in WRONG.items()
        for value in values
    ],
)
def test_a_wrong_value_names_the_field_the_value_and_what_is_allowed(field, value, allowed):
    message = f"Dialect.{field} is .*; allowed: .*{re.escape(allowed)}"
    with pytest.raises(ConfigError, match=message) as caught:
        Dialect(**{field: value})
    assert caught.value.field == field
    with pytest.raises(ConfigError, match=message):
        Dialect().evolve(**{field: value})


# what a template's braces mean is only known when it is filled; a wrong one must not wait for that
@pytest.mark.parametrize(
    "template",
    ['{"$gte":"{cursor}"}', "{cursor}{other}", "{cursor", "{cursor}}", "{cursor!x}", "{{cursor}}"],
)
def test_a_template_that_cannot_be_filled(template):
    with pytest.raises(ConfigError, match=r"Dialect.since is .*\{cursor\}"):
        Dialect(since=("where", template))


@pytest.mark.parametrize("field", ["body", "send_version"])
def test_a_dict_per_operation_names_operations(field):
    good = {"body": "row", "send_version": "body:_rev"}[field]
    with pytest.raises(ConfigError, match=f"Dialect.{field} is .*upsert"):
        Dialect(**{field: {"upsert": good}})


def test_evolve_names_the_fields_there_are():
    with pytest.raises(ConfigError, match=r"Dialect.itmes is 'x'; allowed: the fields .*items"):
        Dialect().evolve(itmes="x")


def test_evolve_changes_a_copy():
    one = Dialect()
    other = one.evolve(items="results")
    assert (one.items, other.items) == ("items", "results")
    assert other.evolve(items="items") == one


def test_a_dialect_is_frozen_and_takes_keywords_only():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Dialect().items = "results"
    with pytest.raises(TypeError, match="positional"):
        Dialect("POST {endpoint}")


def test_the_callers_dicts_are_not_aliased():
    given = {"create": "body:x"}
    fields = ("extra", "query", "headers", "body", "send_version")
    dialect = Dialect(**dict.fromkeys(fields, given))
    given["update"] = "body:y"
    for field in fields:
        assert getattr(dialect, field) == {"create": "body:x"}


@pytest.mark.parametrize("field", ["headers", "extra", "query"])
def test_the_repr_shows_no_secret(field):
    assert "s3cret" not in repr(Dialect(**{field: {"api_key": "s3cret"}}))


def test_a_header_of_a_wrong_kind_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        Dialect(headers={"X-Key": b"s3cret"})
    assert "s3cret" not in str(caught.value)


WRAPPED = {
    # body, operation, the body that is written
    "bare": ("", "create", {"v": 1, "id": "7"}),
    "wrapped": ("data", "create", {"v": 1, "data": {"id": "7"}}),
    "for this operation": ({"create": "row"}, "create", {"v": 1, "row": {"id": "7"}}),
    "for another operation": ({"create": "row"}, "update", {"v": 1, "id": "7"}),
}


@pytest.mark.parametrize(("body", "operation", "written"), WRAPPED.values(), ids=WRAPPED)
def test_what_is_written(body, operation, written):
    dialect = Dialect(body=body, extra={"v": 1})
    assert dialect.encode(SyncOperation(operation), {"id": "7"}) == written


def test_where_a_version_is_sent():
    assert Dialect().version_place("delete") == "header:If-Match"
    by_operation = Dialect(send_version={"update": "body:_rev"})
    assert by_operation.version_place("update") == "body:_rev"
    assert by_operation.version_place("delete") is None


def test_the_preset_that_ships():
    assert Dialect.rest() == Dialect()
