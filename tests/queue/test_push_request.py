"""A push's arguments, checked and encoded."""

import json
import re
import uuid
from typing import Any

import pytest

from bytelyst_sync.config.entity import Entity, compile_entities
from bytelyst_sync.config.settings import EntityConfig, SyncConfig
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import Json, SyncOperation
from bytelyst_sync.queue.push_request import PushRequest, as_operation
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.ids import is_local
from tests.typed import present

CREATE, UPDATE, DELETE = SyncOperation.CREATE, SyncOperation.UPDATE, SyncOperation.DELETE
NOW = 1_700_000_000.5


def entity(**settings: Any) -> Entity:
    config = SyncConfig(
        base_url="https://api.example.com",
        entities={"notes": EntityConfig("/notes", **settings)},
        storage=":memory:",
    )
    return compile_entities(config)["notes"]


@pytest.mark.parametrize("operation", SyncOperation)
def test_an_operation_by_value_and_by_name(operation: SyncOperation) -> None:
    assert as_operation(operation) is operation
    assert as_operation(operation.value) is operation


@pytest.mark.parametrize("operation", ["upsert", "CREATE", "", None, 7, [], {}])
def test_a_wrong_operation(operation: str | int | list[Any] | Json | None) -> None:
    with pytest.raises(ValueError, match="'create', 'update', 'delete'") as caught:
        as_operation(operation)
    assert repr(operation) in str(caught.value)


@pytest.mark.parametrize("operation", SyncOperation)
@pytest.mark.parametrize("given", ["7", 7], ids=["a string", "a number"])
def test_an_id_is_a_key_and_keeps_its_type(operation: SyncOperation, given: str | int) -> None:
    request = PushRequest.of(entity(), operation, {"id": given, "title": "t"}, NOW)
    key, plain = request.record, request.data
    assert key == "7"
    assert plain == {"id": given, "title": "t"}
    assert type(plain["id"]) is type(given)


def test_the_id_is_in_the_field_that_the_entity_names() -> None:
    request = PushRequest.of(entity(id_field="uid"), CREATE, {"id": "1", "uid": "2"}, NOW)
    key, plain = request.record, request.data
    assert key == "2"
    assert plain == {"id": "1", "uid": "2"}


def test_an_id_is_encoded_before_it_is_a_key() -> None:
    made = uuid.uuid4()
    request = PushRequest.of(entity(), CREATE, {"id": made}, NOW)
    key, plain = request.record, request.data
    assert key == plain["id"] == str(made)


@pytest.mark.parametrize("data", [{"title": "t"}, {"id": None, "title": "t"}])
def test_a_create_without_an_id_gets_a_uuid(data: Json) -> None:
    request = PushRequest.of(entity(), CREATE, data, NOW)
    key, plain = request.record, request.data
    assert str(uuid.UUID(key)) == key
    assert plain == {"id": key, "title": "t"}
    assert PushRequest.of(entity(), CREATE, data, NOW).record != key


def test_a_create_without_an_id_gets_a_local_one_where_the_server_gives_them() -> None:
    request = PushRequest.of(entity(id_source="server"), CREATE, {"title": "t"}, NOW)
    key, plain = request.record, request.data
    assert is_local(key)
    assert plain == {"id": key, "title": "t"}


@pytest.mark.parametrize("operation", [UPDATE, DELETE], ids=str)
@pytest.mark.parametrize("data", [{}, {"id": None}, {"title": "t"}])
def test_an_update_and_a_delete_need_an_id(operation: SyncOperation, data: Json) -> None:
    message = re.escape(f"notes: {operation} needs the record's id at $.uid")
    with pytest.raises(InvalidDataError, match=message) as caught:
        PushRequest.of(entity(id_field="uid"), operation, data, NOW)
    assert caught.value.path == "$.uid"
    assert caught.value.entity == "notes"


@pytest.mark.parametrize("operation", SyncOperation, ids=str)
def test_a_bad_id_is_refused(operation: SyncOperation) -> None:
    with pytest.raises(InvalidDataError, match="is empty; leave the field out") as caught:
        PushRequest.of(entity(), operation, {"id": ""}, NOW)
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
def test_only_creates_without_an_id_have_a_digest(
    dedup: str, operation: SyncOperation, data: Json, has: bool
) -> None:
    digest = PushRequest.of(entity(dedup=dedup), operation, data, NOW).digest
    assert (digest is not None) is has


def test_equal_content_has_an_equal_digest_whatever_its_id() -> None:
    kind = entity(dedup="content")
    one = PushRequest.of(kind, CREATE, {"a": 1, "b": (2,)}, NOW)
    other = PushRequest.of(kind, CREATE, {"b": [2], "a": 1, "id": None}, NOW)
    assert one.digest == other.digest
    assert one.record != other.record


@pytest.mark.parametrize("operation", SyncOperation, ids=str)
def test_the_callers_data_is_left_alone(operation: SyncOperation) -> None:
    data = {"id": "7", "tags": ["a"]}
    plain = PushRequest.of(entity(), operation, data, NOW).data
    assert data == {"id": "7", "tags": ["a"]}
    assert plain["tags"] is not data["tags"]
    without = {"tags": ["a"]}
    PushRequest.of(entity(), CREATE, without, NOW)
    assert without == {"tags": ["a"]}


@pytest.mark.parametrize(
    "data", [{"id": "7", "title": "t"}, {"title": "ä"}, {"id": 7, "tags": ("a",)}]
)
def test_the_text_says_what_the_data_says(data: dict[str, Any]) -> None:
    ready = PushRequest.of(entity(), CREATE, data, NOW)
    assert json.loads(present(ready.text)) == ready.data
    assert ready.text == dumps(ready.data)
    assert ready.id_is_new is ("id" not in data)
