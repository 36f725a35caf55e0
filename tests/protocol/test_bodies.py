"""Bodies by templates, and fields that stand elsewhere; servers on loopback."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytelyst_sync import ConfigError, Dialect, EntityConfig, SyncConfig, SyncEngine
from bytelyst_sync.config.entity import compile_entities
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.record_shape import RecordShape, WriteContext
from bytelyst_sync.testing import Seen
from tests.protocol.loopback import Loopback
from tests.typed import present

JSON_API = {
    "data": {
        "type": "{entity}",
        "id": "{id}",
        "attributes": "{record}",
        "relationships": {"project": {"data": {"type": "projects", "id": "{project_id}"}}},
    }
}
FIELDS = {"*": "attributes", "project_id": "relationships.project.data.id"}
PAGE: Json = {"cursor": None, "since": None, "next_page": None, "version": None}
STORED = object()


def api_of(loopback: Callable[..., Loopback], *answers: Any) -> Loopback:
    """Answers in turn, the last one for ever; ``STORED``: what was sent."""
    script = list(answers)

    def handle(request: Seen) -> tuple[int, dict[str, Any] | None]:
        found = script.pop(0) if len(script) > 1 else script[0]
        return (200, request.body) if found is STORED else found

    return loopback(handle)


def shape(dialect: Dialect, **entity: Any) -> RecordShape:
    """The shape of ``notes``, without a server."""
    config = SyncConfig(
        base_url="http://server.invalid",
        entities={"notes": EntityConfig("/notes", **entity), "projects": "/projects"},
        storage=":memory:",
        dialect=dialect,
    )
    return RecordShape(compile_entities(config)["notes"])


CONTEXT = WriteContext(record_id="7", time=1715000000.1234, idempotency_key="k")
UNNAMED = WriteContext(record_id=None, time=0.0, idempotency_key="k")

WRITTEN = {
    # the template, the record, the body
    "the record": ({"data": "{record}"}, {"id": "7", "a": 1}, {"data": {"id": "7", "a": 1}}),
    "without its id": ({"row": "{fields}"}, {"id": "7", "a": 1}, {"row": {"a": 1}}),
    "at the top": ("{fields}", {"id": "7", "a": 1}, {"a": 1}),
    "what has a place of its own stands there alone": (
        {"key": "{id}", "head": {"t": "{title}"}, "rest": "{record}"},
        {"id": "7", "title": "x", "a": None},
        {"key": "7", "head": {"t": "x"}, "rest": {"a": None}},
    ),
    "beside fixed members": (
        {"*": "{record}", "kind": "note", "deep": [1, {"x": None}]},
        {"id": "7", "a": 1},
        {"id": "7", "a": 1, "kind": "note", "deep": [1, {"x": None}]},
    ),
    "inside of a text": (
        {"link": "/projects/{project}/", "n": "{n}"},
        {"id": "7", "project": 3, "n": 4},
        {"link": "/projects/3/", "n": 4},
    ),
    "what is not written is left out": (
        {"a": "{a}", "head": {"b": "{b}", "fixed": 1}, "list": ["{b}"], "link": "/x/{b}"},
        {"id": "7", "a": 1},
        {"a": 1},
    ),
    "words": (
        {"*": "{record}", "at": "{now}", "ref": "{idempotency_key}", "kind": "{entity}"},
        {"id": "7"},
        {"id": "7", "at": "2024-05-06T12:53:20.123Z", "ref": "k", "kind": "notes"},
    ),
    "a document": (
        JSON_API,
        {"id": "7", "title": "x", "project_id": "p"},
        {
            "data": {
                "type": "notes",
                "id": "7",
                "attributes": {"title": "x"},
                "relationships": {"project": {"data": {"type": "projects", "id": "p"}}},
            }
        },
    ),
    "a reference to nothing": (
        JSON_API,
        {"id": "7", "project_id": None},
        {
            "data": {
                "type": "notes",
                "id": "7",
                "attributes": {},
                "relationships": {"project": {"data": None}},
            }
        },
    ),
    "a null that is no reference": (
        {"data": {"kind": "x", "title": "{title}"}},
        {"id": "7", "title": None},
        {"data": {"kind": "x", "title": None}},
    ),
}


@pytest.mark.parametrize(("template", "record", "body"), WRITTEN.values(), ids=WRITTEN)
def test_a_body(template: dict[str, Any] | str, record: Json, body: dict[str, Any]) -> None:
    made = shape(Dialect(body={"update": template}), references={"project_id": "projects"})
    assert made.body("update", record, CONTEXT) == body


def test_one_template_for_all_and_the_id_of_a_create_is_the_servers() -> None:
    made = shape(Dialect(body=JSON_API, extra={"v": 2}, fields=FIELDS), id_source="server")
    body = made.body("create", {"title": "x"}, UNNAMED)
    assert body == {"v": 2, "data": {"type": "notes", "attributes": {"title": "x"}}}


def test_a_field_without_a_place_is_rejected_and_not_lost(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = api_of(loopback, (200, None))
    engine = connect(api, Dialect(body={"create": {"title": "{titel}"}}))
    engine.push("notes", {"id": "7", "title": "x"})
    assert not engine.flush(timeout=10).success
    (failed,) = engine.failed()
    assert "no place for the field 'title'" in present(failed.last_error)
    assert "`body`" in present(failed.last_error)
    assert api.requests == []


def test_a_field_outside_of_the_rest_needs_a_place_in_the_template(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    body = {"data": {"id": "{id}", "attributes": "{record}"}}
    engine = connect(api_of(loopback, (200, None)), Dialect(body=body, fields=FIELDS))
    engine.push("notes", {"id": "7", "project_id": "p"})
    assert not engine.flush(timeout=10).success
    assert "'project_id'" in present(next(engine.failed()).last_error)


def test_a_soft_delete_has_the_time_of_the_delete_at_every_try(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    gone = {"id": "7", "title": "x", "deleted_at": "2024-01-01T00:00:00Z"}
    listed = {"items": [{"id": "7", "title": "x", "deleted_at": None}]}
    api = api_of(loopback, (200, listed), (500, None), (500, None), (200, gone))
    dialect = Dialect(
        **PAGE,
        delete="PATCH {endpoint}/{id}",
        body={"delete": {"deleted_at": "{now}"}},
        tombstone="deleted_at",
    )
    engine = connect(api, dialect)
    assert engine.pull().success
    item = present(engine.delete("notes", "7"))
    while engine.queue_length:
        assert not list(engine.failed())
        engine.flush(timeout=10)
    assert engine.get("notes", "7") is None
    sent = [request for request in api.requests if request.method == "PATCH"]
    at = item.timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert [request.body for request in sent] == [{"deleted_at": at}] * 3
    assert {request.path for request in sent} == {"/notes/7"}


# --- fields

READ = {
    # fields, what the server shows, the record
    "none": ({}, {"id": "7", "a": {"b": 1}}, {"id": "7", "a": {"b": 1}}),
    "a path": (
        {"project_id": "project.id", "title": "title.raw"},
        {"id": "7", "project": {"id": 3, "name": "p"}, "title": {"raw": "x"}},
        {"id": "7", "project": {"name": "p"}, "project_id": 3, "title": "x"},
    ),
    "all others": (
        FIELDS,
        {
            "type": "notes",
            "id": "7",
            "attributes": {"title": "x", "n": None},
            "relationships": {"project": {"data": {"type": "projects", "id": "p"}}},
        },
        {"id": "7", "title": "x", "n": None, "project_id": "p"},
    ),
    "below a null": (
        FIELDS,
        {"id": "7", "attributes": {}, "relationships": {"project": {"data": None}}},
        {"id": "7", "project_id": None},
    ),
    "what is not there": (FIELDS, {"id": "7", "attributes": {"a": 1}}, {"id": "7", "a": 1}),
    "another name among the others": (
        {"*": "attributes", "due": "attributes.due-date"},
        {"id": "7", "attributes": {"due-date": "d", "a": 1}},
        {"id": "7", "due": "d", "a": 1},
    ),
    "the id elsewhere": (
        {"*": "fields", "id": "sys.id", "rev": "sys.rev"},
        {"sys": {"id": "7", "rev": 2, "x": 1}, "fields": {"a": 1}},
        {"id": "7", "rev": 2, "a": 1},
    ),
    "elements of a list": (
        {"tags": "tags[].id", "mail": "emails.0.value"},
        {"id": "7", "tags": [{"id": 1}, {"id": 2}], "emails": [{"value": "m"}]},
        {"id": "7", "tags": [1, 2], "mail": "m"},
    ),
}


@pytest.mark.parametrize(("fields", "shown", "record"), READ.values(), ids=READ)
def test_a_record_is_read_and_put_back(fields: Json, shown: Json, record: Json) -> None:
    made = shape(Dialect(fields=fields))
    before = copy.deepcopy(shown)
    found = made.read(shown)
    assert {name: each for name, each in found.items() if name != "emails"} == record
    assert shown == before
    assert made.read(made.body("update", found, CONTEXT)) == found


NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | st.text("xy", max_size=2),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)


@given(
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.dictionaries(st.sampled_from(["f", "g"]), PATHS, max_size=2),
    st.sampled_from(["", "rest", "a"]),
)
def test_what_is_written_is_read_again(record: Json, fields: Json, rest: str) -> None:
    """Whatever stands where: what is read of what was written is what was written."""
    places = list(fields.values())
    inside = {
        path for path in places if any(path != each and each.startswith(path) for each in places)
    }
    if inside or len(set(places)) < len(places):
        return  # two fields in one place
    made = shape(Dialect(fields={**fields, "*": rest} if rest else fields))
    shown = {"id": "7", "rest": dict(record), **record}
    found = made.read(shown)
    assert made.read(made.body("update", found, CONTEXT)) == found


def test_fields_in_every_answer(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    def shown(number: str, title: str, **attributes: bool) -> Json:
        return {"id": number, "attributes": {"title": title, **attributes}}

    api = api_of(
        loopback,
        (200, {"data": [shown("1", "one"), shown("2", "two", gone=True)]}),
        (200, {"data": shown("1", "said by the server")}),
        (409, {"errors": [], "data": shown("1", "theirs")}),
        (200, {"data": shown("1", "read")}),
    )
    dialect = Dialect(
        **PAGE,
        items="data",
        record="data",
        current="data",
        fields={"*": "attributes"},
        body={"update": {"data": {"id": "{id}", "attributes": "{record}"}}},
        tombstone="gone",
    )
    engine = connect(api, dialect)
    assert engine.pull().success
    assert list(engine.records("notes")) == [{"id": "1", "title": "one"}]
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    assert engine.flush(timeout=10).success
    assert api.requests[-1].body == {"data": {"id": "1", "attributes": {"title": "mine"}}}
    assert present(engine.get("notes", "1"))["title"] == "said by the server"
    engine.push("notes", {"id": "1", "title": "mine again"}, "update")
    assert engine.flush(timeout=10).conflicts == 1
    assert present(engine.get("notes", "1"))["title"] == "theirs"


def test_fields_are_written_back_without_a_template(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = api_of(loopback, STORED)
    engine = connect(
        api, Dialect(**PAGE, fields={"project_id": "project.id"}, body="data", record="data")
    )
    engine.push("notes", {"id": "7", "title": "x", "project_id": 3})
    assert engine.flush(timeout=10).success
    assert api.requests[0].body == {"data": {"id": "7", "title": "x", "project": {"id": 3}}}
    assert engine.get("notes", "7") == {"id": "7", "title": "x", "project_id": 3}


def test_a_value_that_its_place_cannot_take_is_rejected(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = api_of(loopback, (200, None))
    engine = connect(api, Dialect(fields={"tags": "tags[].id"}))
    engine.push("notes", {"id": "7", "tags": "a"})
    assert not engine.flush(timeout=10).success
    assert "the field 'tags' cannot be written to `tags[].id`" in present(
        next(engine.failed()).last_error
    )
    assert api.requests == []


@pytest.mark.parametrize(
    "body",
    [None, 7, ["data"], {"read": "x"}, {"a": object()}, {"create": {"a": object()}}],
)
def test_a_body_that_is_none(body: int | list[str] | dict[str, object] | None) -> None:
    with pytest.raises(ConfigError, match=r'Dialect.body is .*"\{record\}"'):
        Dialect(body=body)
