"""A push's arguments, checked and encoded."""

import json
import re
import uuid

import pytest

from bytelyst_sync.config import EntityConfig, SyncConfig
from bytelyst_sync.entity import compile_entities
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.rules.prepare import as_operation, prepared

CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE


def entity(**settings):
    config = SyncConfig(
        base_url="https://api.example.com",
        entities={"notes": EntityConfig("/notes", **settings)},
        storage=":memory:",
    )
    return compile_entities(config)["notes"]


@pytest.mark.parametrize("operation", SyncOperation)
def test_an_operation_by_value_and_by_name(operation):
    assert as_operation(operation) is operation
    assert as_operation(operation.value) is operation


@pytest.mark.parametrize("operation", ["upsert", "CREATE", "", None, 7, [], {}])
def test_a_wrong_operation(operation):
    with pytest.raises(ValueError, match="'create', 'update', 'delete'") as caught:
        as_operation(operation)
    assert repr(operation) in str(caught.value)


@pytest.mark.parametrize("operation", SyncOperation)
@pytest.mark.parametrize("given", ["7", 7], ids=["a string", "a number"])
def test_an_id_is_a_key_and_keeps_its_type(operation, given):
    key, plain, *_ = prepared(entity(), operation, {"id": given, "title": "t"})
    assert key == "7"
    assert plain == {"id": given, "title": "t"}
    assert type(plain["id"]) is type(given)


def test_the_id_is_in_the_field_that_the_entity_names():
    key, plain, *_ = prepared(entity(id_field="uid"), CREATE, {"id": "1", "uid": "2"})
    assert key == "2"
    assert plain == {"id": "1", "uid": "2"}


def test_an_id_is_encoded_before_it_is_a_key():
    made = uuid.uuid4()
    key, plain, *_ = prepared(entity(), CREATE, {"id": made})
    assert key == plain["id"] == str(made)


@pytest.mark.parametrize("data", [{"title": "t"}, {"id": None, "title": "t"}])
def test_a_create_without_an_id_gets_a_uuid(data):
    key, plain, *_ = prepared(entity(), CREATE, data)
    assert str(uuid.UUID(key)) == key
    assert plain == {"id": key, "title": "t"}
    assert prepared(entity(), CREATE, data)[0] != key


def test_a_create_without_an_id_gets_a_local_one_where_the_server_gives_them():
    key, plain, *_ = prepared(entity(id_source="server"), CREATE, {"title": "t"})
    assert is_local(key)
    assert plain == {"id": key, "title": "t"}


@pytest.mark.parametrize("operation", [UPDATE, DELETE], ids=str)
@pytest.mark.parametrize("data", [{}, {"id": None}, {"title": "t"}])
def test_an_update_and_a_delete_need_an_id(operation, data):
    message = re.escape(f"notes: {operation} needs the record's id at $.uid")
    with pytest.raises(InvalidDataError, match=message) as caught:
        prepared(entity(id_field="uid"), operation, data)
    assert caught.value.path == "$.uid"
    assert caught.value.entity == "notes"


@pytest.mark.parametrize("operation", SyncOperation, ids=str)
def test_a_bad_id_is_refused(operation):
    with pytest.raises(InvalidDataError, match="is empty; leave the field out") as caught:
        prepared(entity(), operation, {"id": ""})
    assert caught.value.path == "$.id"


DIGESTS = {
    # dedup, operation, data, whether it may collapse onto an equal create
    "content: a create without an id": ("content", CREATE, {"title": "t"}, True),
    "content: a create with an id": ("content", CREATE, {"id": "7", "title": "t"}, False),
    "content: an update": ("content", UPDATE, {"id": "7", "title": "t"}, False),
    "id: a create without an id": ("id", CREATE, {"title": "t"}, False),
    "none: a create without an id": ("none", CREATE, {"title": "t"}, False),
}


@pytest.mark.parametrize(("dedup", "operation", "data", "has"), DIGESTS.values(), ids=DIGESTS)
def test_a_digest_is_made_where_it_is_of_use(dedup, operation, data, has):
    digest = prepared(entity(dedup=dedup), operation, data).digest
    assert (digest is not None) is has


def test_equal_content_has_an_equal_digest_whatever_id_was_made():
    kind = entity(dedup="content")
    one = prepared(kind, CREATE, {"a": 1, "b": (2,)})
    other = prepared(kind, CREATE, {"b": [2], "a": 1, "id": None})
    assert one.digest == other.digest
    assert one.key != other.key


@pytest.mark.parametrize("operation", SyncOperation, ids=str)
def test_the_callers_data_is_left_alone(operation):
    data = {"id": "7", "tags": ["a"]}
    plain = prepared(entity(), operation, data)[1]
    assert data == {"id": "7", "tags": ["a"]}
    assert plain["tags"] is not data["tags"]
    without = {"tags": ["a"]}
    prepared(entity(), CREATE, without)
    assert without == {"tags": ["a"]}


@pytest.mark.parametrize(
    "data", [{"id": "7", "title": "t"}, {"title": "ä"}, {"id": 7, "tags": ("a",)}]
)
def test_the_text_says_what_the_data_says(data):
    ready = prepared(entity(), CREATE, data)
    assert json.loads(ready.text) == ready.data
    assert ready.text == dumps(ready.data)
    assert ready.made is ("id" not in data)
