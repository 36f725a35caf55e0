"""A dialect's fields: their defaults, what they take, and what is said of a wrong value."""

import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from bytelyst_sync import ConfigError, Dialect, SyncConfig
from bytelyst_sync.config.batch_format import BatchFormat, mentions
from bytelyst_sync.model import Json
from tests.typed import present

DEFAULTS: Json = {
    "create": "POST {endpoint}",
    "update": "PATCH {endpoint}/{id}",
    "delete": "DELETE {endpoint}/{id}",
    "read": "GET {endpoint}/{id}",
    "pull": "GET {endpoint}",
    "patch": "shallow",
    "content_type": "application/json",
    "accept": None,
    "answer": "json",
    "body": "",
    "extra": {},
    "fields": {},
    "record": "",
    "partial_answer": False,
    "id_in_answer": None,
    "items": "items",
    "item": "",
    "query": {},
    "page_size": "limit",
    "skip_ids": None,
    "since": ("since", "{cursor}"),
    "first_cursor": None,
    "cursor": "body:cursor",
    "next_page": "more:has_more",
    "start": None,
    "rebase_links": False,
    "version": ("header:ETag", "field:version"),
    "send_version": "header:If-Match",
    "quote_version": False,
    "current": ("current", ""),
    "conflict": (409, 412),
    "gone": (404, 410),
    "check_before_write": False,
    "exists": (),
    "answers": (),
    "confirm": None,
    "lookup": None,
    "key_lifetime": 86400.0,
    "time_zone": "UTC",
    "overlap": 0.0,
    "total": None,
    "tombstone": "deleted",
    "revive": None,
    "server_fields": (),
    "updated_at": ("updatedAt", "updated_at"),
    "idempotency": "Idempotency-Key",
    "batch": None,
    "headers": {},
}


def test_the_defaults() -> None:
    assert {field: getattr(Dialect(), field) for field in DEFAULTS} == DEFAULTS


def test_there_are_no_other_fields() -> None:
    assert {field.name for field in attrs.fields(Dialect)} == set(DEFAULTS)


def test_rest_is_the_default() -> None:
    assert Dialect.rest() == Dialect()


BULK = BatchFormat(endpoint="PUT {endpoint}/bulk", operations="")
GOOD: Json = {
    # of each field: what is given, and what is kept
    "create": [
        ("PUT {endpoint}/{id}", "PUT {endpoint}/{id}"),
        ("POST {endpoint}/-/insert", "POST {endpoint}/-/insert"),
    ],
    "update": [("POST {endpoint}/{id}/-/update", "POST {endpoint}/{id}/-/update")],
    "pull": [
        ("GET {endpoint}/_changes", "GET {endpoint}/_changes"),
        ("GET /all", "GET /all"),
        ("GET {endpoint}/{page}?s={limit}", "GET {endpoint}/{page}?s={limit}"),
    ],
    "patch": [("merge-patch", "merge-patch"), ("full", "full")],
    "delete": [("POST {endpoint}/-/delete", "POST {endpoint}/-/delete")],
    "read": [("GET {endpoint}?id={id}", "GET {endpoint}?id={id}")],
    "content_type": [
        ("application/merge-patch+json", "application/merge-patch+json"),
        (
            {"update": "application/merge-patch+json"},
            {"update": "application/merge-patch+json"},
        ),
    ],
    "accept": [(None, None), ("application/hal+json", "application/hal+json")],
    "answer": [("any", "any")],
    "body": [
        ("data", "data"),
        ({"create": "row", "update": "update"}, {"create": "row", "update": "update"}),
        ({"data": "{record}"}, {"data": "{record}"}),
        ({"delete": {"deleted_at": "{now}"}}, {"delete": {"deleted_at": "{now}"}}),
    ],
    "fields": [({"a": "b.c", "*": ""}, {"a": "b.c", "*": ""})],
    "extra": [({"return": True}, {"return": True})],
    "record": [("data", "data"), ("rows.0", "rows.0")],
    "partial_answer": [(True, True)],
    "id_in_answer": [("objectId", "objectId"), (None, None)],
    "items": [("", ""), ("results", "results")],
    "item": [("doc", "doc")],
    "query": [({"_sort": "x", "_limit": 10}, {"_sort": "x", "_limit": 10})],
    "page_size": [("per_page", "per_page")],
    "skip_ids": [("_design/", "_design/"), (None, None)],
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
        ("url:delta", "url:delta"),
        (None, None),
    ],
    "next_page": [
        ("url:next", "url:next"),
        ("header:Next-Page", "header:Next-Page"),
        ("rel:next", "rel:next"),
        ("page:_page", "page:_page"),
        ("offset:skip", "offset:skip"),
        ("full:limit", "full:limit"),
        ("token:meta.next", "token:meta.next"),
        ("page:", "page:"),
        (max, max),
        (None, None),
    ],
    "start": [(0, 0), (1, 1), (None, None)],
    "rebase_links": [(True, True)],
    "version": [
        ("field:_rev", ("field:_rev",)),
        (["field:_rev", "header:ETag"], ("field:_rev", "header:ETag")),
        (("field:_rev", "answer:rev"), ("field:_rev", "answer:rev")),
        ("answer:meta.rev", ("answer:meta.rev",)),
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
    "quote_version": [(True, True)],
    "current": [("details.existing", ("details.existing",)), (None, ())],
    "conflict": [(409, (409,)), ([409, 422], (409, 422))],
    "gone": [((404,), (404,)), ((), ())],
    "check_before_write": [(True, True)],
    "exists": [
        ([[500, "duplicate id"], (200, None)], ((500, "duplicate id"), (200, None))),
    ],
    "answers": [
        (
            [[403, "expired", "credentials"], (202, None, "delivered")],
            ((403, "expired", "credentials"), (202, None, "delivered")),
        ),
    ],
    "confirm": [
        ("GET {endpoint}?limit=1", "GET {endpoint}?limit=1"),
        ("HEAD /health", "HEAD /health"),
        (None, None),
    ],
    "lookup": [
        ("GET {endpoint}?client_ref={key}", "GET {endpoint}?client_ref={key}"),
        (None, None),
    ],
    "key_lifetime": [(3600, 3600), (0, 0)],
    "time_zone": [
        ("UTC", "UTC"),
        ("Europe/Berlin", "Europe/Berlin"),
        ("+05:30", "+05:30"),
        ("-03:00", "-03:00"),
    ],
    "overlap": [(2.5, 2.5)],
    "total": [(None, None), ("meta.count", "meta.count"), ("header:X-Total", "header:X-Total")],
    "tombstone": [(None, None), ("_deleted", "_deleted")],
    "server_fields": [(["_id", "_etag"], ("_id", "_etag")), ("_id", ("_id",))],
    "updated_at": [("changed", ("changed",)), (None, ())],
    "idempotency": [(None, None), ("X-Request-Key", "X-Request-Key")],
    "batch": [
        (BatchFormat(size=7), BatchFormat(size=7)),
        ({"size": 7}, BatchFormat(size=7)),
        ({"endpoint": "PUT {endpoint}/bulk", "operations": ""}, BULK),
    ],
    "headers": [({"Prefer": "return=representation"}, {"Prefer": "return=representation"})],
}


@pytest.mark.parametrize("field", GOOD)
def test_good_values(field: str) -> None:
    for given, kept in GOOD[field]:
        assert (given, getattr(Dialect(**{field: given}), field)) == (given, kept)
        assert (given, getattr(Dialect().evolve(**{field: given}), field)) == (given, kept)


WRONG: Json = {
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
    "pull": ([None, "GET {endpoint}/{id}", "GET {endpoint}?at={since}"], "a method and a path"),
    "patch": (["merge", "", None, []], "'merge-patch'"),
    "content_type": (
        [None, 7, "", "json", "application/json\r\nX: y", {"update": "json"}, {"update": None}],
        "a media type such as",
    ),
    "accept": ([7, "", "json", "a/b\r\nX: y"], "media types"),
    "answer": (["xml", None], "'any'"),
    "body": ([None, 7, ["data"]], "a key, a JSON template"),
    "fields": ([None, "a", {"a": 1}, {"a": ""}, {1: "a"}, {"*": "a[]"}], "fields to paths"),
    "extra": ([None, "x", {1: 2}, [("a", 1)]], "a dict"),
    "record": ([None, 7], "a string"),
    "partial_answer": (["yes", 1, None], "True or False"),
    "id_in_answer": ([7, ["id"]], "a string or None"),
    "items": ([7, ["items"]], "a string or None"),
    "item": ([None, 7], "a string"),
    "query": ([None, "a=1", {1: 2}], "a dict"),
    "page_size": ([None, 7], "a string"),
    "skip_ids": ([7, ["_design/"]], "a string or None"),
    "since": (["since", ("since",), ("since", "now"), ("a", "b", "{cursor}"), 7], "{cursor}"),
    "first_cursor": ([0, 7], "a string or None"),
    "cursor": (["cursor", "body:", "query:x", 7, ""], '"max:NAME"'),
    "next_page": (["next", "url:", "token:", "link:next", 7], '"rel:NAME"'),
    "start": ([-1, 2, "1", True], "a whole number from 0 to 1"),
    "rebase_links": (["yes", 1, None], "True or False"),
    "version": (
        ["ETag", "header:", "answer:", "body:_rev", 7, ["field:v", 7]],
        '"header:NAME", "field:NAME" or "answer:NAME", or None',
    ),
    "send_version": (
        ["If-Match", "header:", "field:v", 7, {"update": "If-Match"}, {"update": 7}],
        '"header:NAME"',
    ),
    "quote_version": (["yes", 1, None], "True or False"),
    "current": ([7, [None]], "strings"),
    "conflict": (["409", [99], [600], [True], [409, "412"], 4.5], "HTTP statuses"),
    "gone": (["404", [0], [None]], "HTTP statuses"),
    "check_before_write": (["yes", 1, None], "True or False"),
    "exists": (
        ["409", [409], [(409,)], [("409", None)], [(409, 7)], [(409, "(")], [(True, None)], None],
        "a status and a pattern",
    ),
    "answers": (
        [
            "403",
            [(403, "expired")],
            [(403, "(", "credentials")],
            [(403, 7, "credentials")],
            [("403", None, "credentials")],
            [(42, None, "gone")],
            [(403, None, "later")],
            None,
        ],
        "credentials",
    ),
    "confirm": (
        ["POST {endpoint}", "GET {endpoint}/{id}", "GET", "{endpoint}", "", 7],
        "GET {endpoint}?limit=1",
    ),
    "lookup": (
        ["GET {endpoint}", "POST {endpoint}/{key}", "GET {endpoint}?q={key}&a={b}", "", 7],
        "GET {endpoint}?client_ref={key}",
    ),
    "key_lifetime": ([-1, "5", True, None, float("nan"), float("inf")], "a number from 0"),
    "time_zone": (["", "Mars/Base", "+25:00", "2:00", "../UTC", "a\0b", None, 7], '"+02:00"'),
    "overlap": ([-1, "5", True, None], "a number from 0"),
    "total": (["", "header:", True, 7], '"header:NAME"'),
    "tombstone": ([True, 7], "a string or None"),
    "server_fields": ([7, [None]], "strings"),
    "updated_at": ([7, [7]], "strings"),
    "idempotency": ([True, 7], "a string or None"),
    "headers": ([None, "X: y", {1: "x"}, {"X": 7}, {"X": "a\r\nY: b"}], ""),
}


def refused(make: type[Dialect] | Callable[..., object], field: str, value: Any) -> ConfigError:
    """The error for this value."""
    try:
        make(**{field: value})
    except ConfigError as error:
        return error
    pytest.fail(f"{field}={value!r} was accepted", pytrace=False)


@pytest.mark.parametrize("field", WRONG)
def test_wrong_values_name_the_field_the_value_and_what_is_allowed(field: str) -> None:
    values, allowed = WRONG[field]
    message = f"Dialect.{field} is .*; allowed: .*{re.escape(allowed)}"
    for value in values:
        for make in (Dialect, Dialect().evolve):
            error = refused(make, field, value)
            assert error.field == field
            assert re.search(message, str(error)), str(error)


# what a template's braces mean is only known when it is filled; a wrong one must not wait for that
@pytest.mark.parametrize(
    "template",
    ['{"$gte":"{cursor}"}', "{cursor}{other}", "{cursor", "{cursor}}", "{cursor!x}", "{{cursor}}"],
)
def test_a_template_that_cannot_be_filled(template: str) -> None:
    with pytest.raises(ConfigError, match=r"Dialect.since is .*\{cursor\}"):
        Dialect(since=("where", template))


@pytest.mark.parametrize(
    ("field", "good"),
    [("body", "row"), ("send_version", "body:_rev"), ("content_type", "application/json")],
)
def test_a_dict_per_operation_names_operations(field: str, good: str) -> None:
    wrong: Json = {field: {"upsert": good}}
    with pytest.raises(ConfigError, match=f"Dialect.{field} is .*upsert"):
        Dialect(**wrong)


def test_evolve_names_the_fields_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"Dialect.itmes is 'x'; allowed: the fields .*items.*mean items\?"
    ):
        Dialect().evolve(itmes="x")


def test_evolve_changes_a_copy() -> None:
    one = Dialect()
    other = one.evolve(items="results")
    assert (one.items, other.items) == ("items", "results")
    assert other.evolve(items="items") == one


def test_a_dialect_is_frozen_and_takes_keywords_only() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Dialect().items = "results"  # type: ignore[misc]  # wrong on purpose
    with pytest.raises(TypeError, match="positional"):
        Dialect("POST {endpoint}")  # type: ignore[call-arg]  # wrong on purpose


def test_the_callers_dicts_are_not_aliased() -> None:
    given: Json = {"create": "body:x/y"}
    fields = ("extra", "query", "headers", "body", "send_version", "content_type")
    settings: Json = dict.fromkeys(fields, given)
    dialect = Dialect(**settings)
    given["update"] = "body:z/z"
    for field in fields:
        assert getattr(dialect, field) == {"create": "body:x/y"}


@pytest.mark.parametrize("field", ["headers", "extra", "query"])
def test_the_repr_shows_no_secret(field: str) -> None:
    fields: Json = {field: {"api_key": "s3cret"}}
    assert "s3cret" not in repr(Dialect(**fields))


def test_a_deprecated_field_is_accepted_and_the_warning_names_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match=r"Dialect.extra is deprecated: .*`body`") as caught:
        dialect = Dialect(extra={"v": 1})
    assert dialect.extra == {"v": 1}
    assert caught[0].filename == __file__, "the warning is shown where the dialect is made"


def test_a_header_of_a_wrong_kind_is_not_shown() -> None:
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
def test_what_is_written(body: str | Json, operation: str, written: Json) -> None:
    dialect = Dialect(body=body, extra={"v": 1})
    assert dialect.encode(operation, {"id": "7"}) == written


BY_OPERATION = {
    # field, value, the method that looks it up, create, update, delete
    "send_version, one for all": (
        "send_version",
        "header:If-Match",
        "version_place",
        ("header:If-Match", "header:If-Match", "header:If-Match"),
    ),
    "send_version, each its own": (
        "send_version",
        {"update": "body:_rev", "delete": "query:rev"},
        "version_place",
        (None, "body:_rev", "query:rev"),
    ),
    "send_version, none": ("send_version", None, "version_place", (None, None, None)),
    "content_type, one for all": (
        "content_type",
        "application/vnd.api+json",
        "media_type",
        ("application/vnd.api+json",) * 3,
    ),
    "content_type, each its own": (
        "content_type",
        {"update": "application/merge-patch+json"},
        "media_type",
        ("application/json", "application/merge-patch+json", "application/json"),
    ),
    "body, one for all": ("body", "data", "wrapper", ("data", "data", "data")),
    "body, each its own": (
        "body",
        {"create": "row", "update": "change"},
        "wrapper",
        ("row", "change", ""),
    ),
}


@pytest.mark.parametrize(
    ("field", "value", "look_up", "found"), BY_OPERATION.values(), ids=BY_OPERATION
)
def test_what_may_differ_by_operation(
    field: str,
    value: Any,
    look_up: str,
    found: tuple[str | None, str | None, str | None],
) -> None:
    method = getattr(Dialect(**{field: value}), look_up)
    assert tuple(method(each) for each in ("create", "update", "delete")) == found


# batches


BATCH_DEFAULTS = {
    "endpoint": "POST /batch",
    "operations": "requests",
    "operation": {
        "method": "{method}",
        "path": "{path}",
        "headers": "{headers}",
        "body": "{body}",
    },
    "extra": {},
    "answers": "responses",
    "match": None,
    "status": "status",
    "headers": "headers",
    "body": "body",
    "error": None,
    "error_statuses": {},
    "size": 100,
}


def test_the_defaults_of_a_batch_format() -> None:
    assert {field: getattr(BatchFormat(), field) for field in BATCH_DEFAULTS} == BATCH_DEFAULTS


def test_a_batch_format_has_no_other_fields() -> None:
    assert {field.name for field in attrs.fields(BatchFormat)} == set(BATCH_DEFAULTS)


PLACEHOLDERS = (
    "method",
    "path",
    "absolute_path",
    "headers",
    "body",
    "id",
    "version",
    "key",
    "number",
)


def test_a_template_may_name_whatever_a_single_request_would_say() -> None:
    template = {"all": [f"{{{each}}}" for each in PLACEHOLDERS], "fixed": [1, True, None, "x {y}"]}
    shape = BatchFormat(operation=template)
    assert shape.operation == template
    assert all(mentions(template, each) for each in PLACEHOLDERS)
    assert shape.carries_keys
    assert all(shape.is_numbered(operation) for operation in ("create", "update", "delete"))
    assert not mentions(BatchFormat().operation, "key")
    assert not mentions({"k": "my {key}"}, "key"), "it is the whole text, or none"
    assert not BatchFormat().is_numbered("create")


def test_a_template_for_each_operation() -> None:
    shape = BatchFormat(operation={"create": {"add": "{body}"}, "delete": None})
    assert shape.template("create") == {"add": "{body}"}
    assert shape.template("update") is shape.template("delete") is None
    assert BatchFormat(operation="{body}").template("update") == "{body}"


WRONG_BATCH: Json = {
    "endpoint": (["/batch", "POST", None, "POST {endpoint}/{uid}"], "a method and a path"),
    "operations": ([None, 7], "a string"),
    "operation": (
        ["{what}", {"m": "{verb}"}, {"create": "{verb}"}, [{"a": "{}"}], {1: "x"}, object()],
        '"{method}", "{path}"',
    ),
    "extra": ([None, "x", {1: 2}], "a dict"),
    "answers": ([None, 7], "a string"),
    "match": ([7], "a string or None"),
    "status": ([7], "a string or None"),
    "headers": ([7], "a string or None"),
    "body": ([None, 7], "a string"),
    "error": ([7], "a string or None"),
    "error_statuses": (
        [None, {"conflict": "409"}, {"conflict": 99}, {"conflict": True}, {409: 409}],
        '{"conflict": 409}',
    ),
    "size": ([0, -1, 10_001, 2.5, "10", True, None], "a whole number from 1 to 10000"),
}


@pytest.mark.parametrize("field", WRONG_BATCH)
def test_wrong_values_in_a_batch_format(field: str) -> None:
    values, allowed = WRONG_BATCH[field]
    message = f"BatchFormat.{field} is .*; allowed: .*{re.escape(allowed)}"
    for value in values:
        error = refused(BatchFormat, field, value)
        assert error.field == field
        assert re.search(message, str(error)), str(error)
        within = refused(Dialect, "batch", {field: value})
        assert re.search(message, str(within)), str(within)


@pytest.mark.parametrize("both", [{"error": "error"}, {"status": None}], ids=["both", "neither"])
def test_an_answer_of_a_batch_has_a_status_or_an_error(both: Json) -> None:
    with pytest.raises(ConfigError, match=r"BatchFormat\.status is .*error=\.\.\."):
        BatchFormat(**both)


def test_a_batch_format_names_the_fields_there_are() -> None:
    with pytest.raises(ConfigError, match=r"BatchFormat\.sizes .*the fields .*size"):
        Dialect(batch={"sizes": 7})


@pytest.mark.parametrize("batch", [True, 7, "kinto", ["POST /batch"]])
def test_a_batch_that_is_none(batch: int | str | list[str]) -> None:
    with pytest.raises(ConfigError, match=r"Dialect\.batch is .*; allowed: ") as caught:
        Dialect(batch=batch)
    assert caught.value.field == "batch"


KEYLESS = {"method": "{method}", "path": "{path}", "body": "{body}"}


@pytest.mark.parametrize(
    "template",
    [KEYLESS, {"create": KEYLESS}, {"create": {**KEYLESS, "key": "{key}"}, "update": KEYLESS}],
    ids=["for all", "for one", "for one of two"],
)
def test_where_an_api_knows_keys_a_batch_has_a_place_for_them(template: Json) -> None:
    batch = BatchFormat(operation=template)
    with pytest.raises(ConfigError, match=r"Dialect\.idempotency .*\{headers\}.*\{key\}") as caught:
        Dialect(batch=batch)
    assert caught.value.field == "idempotency"
    with pytest.raises(ConfigError, match="idempotency"):
        Dialect(batch=batch, idempotency=None, send_version=None).evolve(idempotency="X-Key")
    assert Dialect(batch=batch, idempotency=None, send_version=None).batch is batch


@pytest.mark.parametrize("place", ["{headers}", "{key}"])
def test_a_place_for_a_key(place: str) -> None:
    batch = {"operation": {**KEYLESS, "more": ["{version}", {"here": place}]}}
    assert present(Dialect(batch=batch).batch).carries_keys


# presets


REST = {field.name: getattr(Dialect(), field.name) for field in attrs.fields(Dialect)}
PRESETS = {
    # what differs from the default
    "rest": {},
    "kinto": {
        "create": "PUT {endpoint}/{id}",
        "body": "data",
        "record": "data",
        "items": "data",
        "query": {"_sort": "last_modified"},
        "page_size": "_limit",
        "since": ("_since", "{cursor}"),
        "cursor": "header:ETag",
        "next_page": "header:Next-Page",
        "version": ("field:last_modified",),
        "quote_version": True,
        "current": ("details.existing",),
        "server_fields": ("last_modified",),
        "updated_at": ("last_modified",),
        "idempotency": None,
        "batch": BatchFormat.kinto(),
    },
    "drf": {
        "create": "POST {endpoint}/",
        "update": "PATCH {endpoint}/{id}/",
        "delete": "DELETE {endpoint}/{id}/",
        "read": "GET {endpoint}/{id}/",
        "pull": "GET {endpoint}/",
        "items": "results",
        "page_size": "page_size",
        "since": ("updated_after", "{cursor}"),
        "cursor": "max:updated_at",
        "next_page": "url:next",
        "version": (),
        "send_version": None,
        "current": (),
        "check_before_write": True,
        "tombstone": None,
        "server_fields": ("updated_at",),
        "idempotency": None,
    },
    "json_server": {
        "items": "",
        "query": {"_page": 1, "_limit": 1000},
        "page_size": "_limit",
        "since": None,
        "cursor": None,
        "next_page": "rel:next",
        "version": (),
        "send_version": None,
        "current": (),
        "check_before_write": True,
        "exists": ((500, "duplicate id"),),
        "tombstone": None,
        "idempotency": None,
    },
    "couchdb": {
        "create": "PUT {endpoint}/{id}",
        "update": "PUT {endpoint}/{id}",
        "pull": "GET {endpoint}/_changes",
        "patch": "full",
        "items": "results",
        "item": "doc",
        "query": {"include_docs": "true", "limit": 1000},
        "cursor": "body:last_seq",
        "next_page": "full:limit",
        "version": ("field:_rev", "answer:rev"),
        "send_version": {"update": "body:_rev", "delete": "query:rev"},
        "current": (),
        "tombstone": "_deleted",
        "skip_ids": "_design/",
        "idempotency": None,
        "batch": BatchFormat.couchdb(),
    },
}


def differing(dialect: object) -> dict[str, Any]:
    fields = {field.name: getattr(dialect, field.name) for field in attrs.fields(Dialect)}
    return {name: value for name, value in fields.items() if value != REST[name]}


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_preset_says_otherwise(preset: str) -> None:
    found = differing(getattr(Dialect, preset)())
    if preset == "drf":
        ((status, pattern),) = found.pop("exists")
        assert status == 400
        taken = '{"id": ["note with this id already exists."]}'
        assert re.search(pattern, taken)
        assert re.search(pattern, '{"uuid": ["This field must be unique."]}')
        assert not re.search(pattern, '{"title": ["note with this title already exists."]}')
    assert found == PRESETS[preset]


SETTINGS = {
    "base_url": "http://server.invalid",
    "entities": {"notes": "/notes"},
    "storage": ":memory:",
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_by_its_name(preset: str) -> None:
    config = SyncConfig.from_mapping({**SETTINGS, "dialect": preset})
    assert config.dialect == getattr(Dialect, preset)()
    named = SyncConfig.from_mapping({**SETTINGS, "dialect": {"preset": preset}})
    assert named.dialect == config.dialect


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_with_other_fields(preset: str) -> None:
    given = {"preset": preset, "tombstone": "gone", "headers": {"X-Team": "a"}}
    made = SyncConfig.from_mapping({**SETTINGS, "dialect": given}).dialect
    original = getattr(Dialect, preset)()
    assert (made.tombstone, made.headers) == ("gone", {"X-Team": "a"})
    assert made == original.evolve(tombstone="gone", headers={"X-Team": "a"})
    assert type(made) is type(original)
    assert given["preset"] == preset, "the caller's dict is left as it was"


@pytest.mark.parametrize(
    "preset", ["json_api", "odata", "postgrest", "strapi", "pocketbase", "directus"]
)
def test_a_preset_for_a_family_of_servers_by_its_name(preset: str) -> None:
    given = {"preset": preset, "items": "rows"}
    made = SyncConfig.from_mapping({**SETTINGS, "dialect": given}).dialect
    assert made == getattr(Dialect, preset)().evolve(items="rows")


def test_presets_of_json_api_and_odata_are_told_names() -> None:
    dialect = Dialect.json_api("articles", {"author": "people"})
    body: Any = dialect.body
    written = body["create"]["data"]
    assert written["type"] == "articles"
    assert written["relationships"] == {"author": {"data": {"type": "people", "id": "{author}"}}}
    assert dialect.fields == {"*": "attributes", "author": "relationships.author.data.id"}
    assert Dialect.odata("changed_on").cursor == "max:changed_on"
    everything = Dialect.odata(None)
    assert (everything.cursor, everything.query) == (None, {"$count": "true"})


def test_fields_without_a_preset_change_the_default() -> None:
    made = SyncConfig.from_mapping({**SETTINGS, "dialect": {"items": "rows", "since": None}})
    assert made.dialect == Dialect(items="rows", since=None)


def test_a_batch_in_a_mapping() -> None:
    dialect = {"preset": "couchdb", "batch": {"size": 3, "endpoint": "POST {endpoint}/bulk"}}
    made = SyncConfig.from_mapping({**SETTINGS, "dialect": dialect}).dialect
    assert made.batch == BatchFormat(size=3, endpoint="POST {endpoint}/bulk")


def test_an_entity_of_its_own_dialect_in_a_mapping() -> None:
    config = SyncConfig.from_env(
        {
            "BYTELYST_SYNC_DIALECT": "drf",
            "BYTELYST_SYNC_BASE_URL": "http://server.invalid",
            "BYTELYST_SYNC_ENTITIES": '{"notes": {"endpoint": "/n", "dialect": "kinto"}}',
            "BYTELYST_SYNC_STORAGE": ":memory:",
        }
    )
    assert config.dialect == Dialect.drf()
    assert config.entities["notes"].dialect == Dialect.kinto()


@pytest.mark.parametrize("dialect", ["soap", {"preset": "soap"}, {"preset": None}])
def test_an_unknown_preset_names_those_there_are(dialect: str | Json) -> None:
    with pytest.raises(
        ConfigError, match="'rest', 'kinto', 'drf', 'json_server', 'couchdb', 'json_api'"
    ):
        SyncConfig.from_mapping({**SETTINGS, "dialect": dialect})


def test_a_wrong_field_beside_a_preset_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Dialect\.itmes"):
        SyncConfig.from_mapping({**SETTINGS, "dialect": {"preset": "kinto", "itmes": "x"}})


# steps


class Speaking(Dialect):
    """Steps, and nothing else."""

    def encode(self, operation: str, record: Json) -> Any:
        return [operation, record]

    def decode(self, found: int) -> Json:
        return {"decoded": found}

    def classify(self, operation: str, status: int, body: Any, headers: Any) -> Any:
        return "gone" if body == {"code": 7} else None

    def next_page(self, body: Json, headers: dict[str, str]) -> str:  # type: ignore[override]  # the documented way
        return f"{self.items}/{body['after']}/{headers['x-page']}"


class Derived(Speaking):
    """Overrides one of them once more."""

    def next_page(self, body: Json, headers: dict[str, str]) -> str:  # type: ignore[override]  # the documented way
        step: Any = super().next_page_step
        return f"derived:{step(body, headers)}"


class Silent(Speaking):
    """Says nothing of its own."""


@attrs.frozen(kw_only=True)
class Extended(Dialect):
    """A field of its own, which its step looks at."""

    tail: str = "!"

    def next_page(self, body: Json, headers: dict[str, str]) -> str:  # type: ignore[override]  # the documented way
        found: str = body["after"] + self.tail
        return found


@attrs.frozen(kw_only=True, slots=False)
class Loose(Dialect):
    tail: str = "!"

    def next_page(self, body: Json, headers: dict[str, str]) -> str:  # type: ignore[override]  # the documented way
        found: str = body["after"] + self.tail
        return found


class DerivedFromExtended(Extended):
    """A plain one of a decorated one."""


@attrs.frozen(kw_only=True)
class TwiceExtended(Extended):
    end: str = "."

    def next_page(self, body: Json, headers: dict[str, str]) -> str:  # type: ignore[override]  # the documented way
        found: str = body["after"] + self.tail + self.end
        return found


STEPS = {
    # the class, fields, what its step makes of a page
    "plain": (Speaking, {}, "items/9/p"),
    "plain, of a plain one": (Derived, {"items": "rows"}, "derived:rows/9/p"),
    "plain, with nothing of its own": (Silent, {}, "items/9/p"),
    "decorated": (Extended, {"tail": "?"}, "9?"),
    "decorated, without slots": (Loose, {"tail": "?"}, "9?"),
    "plain, of a decorated one": (DerivedFromExtended, {"tail": "?"}, "9?"),
    "decorated, of a decorated one": (TwiceExtended, {"tail": "?"}, "9?."),
}


@pytest.mark.parametrize(("kind", "fields", "found"), STEPS.values(), ids=STEPS)
def test_the_next_page_step_and_the_field_of_its_name(kind: Any, fields: Json, found: str) -> None:
    made = kind(**fields)
    assert made.next_page == "more:has_more", "the field keeps its place"
    assert made.next_page_step({"after": "9"}, {"x-page": "p"}) == found
    assert made.evolve(next_page="rel:next").next_page == "rel:next"
    assert made.evolve(next_page=None).next_page_step({"after": "9"}, {"x-page": "p"}) == found
    with pytest.raises(ConfigError, match=r"Dialect\.next_page"):
        kind(next_page="next")


@pytest.mark.parametrize("kind", [each[0] for each in STEPS.values()])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_of_a_subclass_is_one_of_it(kind: object, preset: str) -> None:
    made = getattr(kind, preset)()
    assert type(made) is kind
    assert differing(made) == differing(getattr(Dialect, preset)())


@pytest.mark.parametrize("kind", [each[0] for each in STEPS.values()])
def test_evolve_keeps_the_class(kind: Any) -> None:
    made = kind(items="rows").evolve(tombstone=None)
    assert type(made) is kind
    assert (made.items, made.tombstone) == ("rows", None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.items = "x"


def test_the_default_has_no_step_for_pages_and_its_others_say_nothing() -> None:
    assert Dialect().next_page_step is None
    assert Dialect().decode(7) == 7
    assert Dialect().classify("update", 500, None, {}) is None
    assert Speaking().decode(7) == {"decoded": 7}


def test_steps_are_the_class_s_own() -> None:
    assert Speaking().next_page_step is not None
    assert Dialect().next_page_step is None
    assert Dialect().next_page == "more:has_more"
