"""order="strict": one line over all entities."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import (
    ConfigError,
    EntityConfig,
    OfflineError,
    Request,
    SyncConfig,
    SyncEngine,
    SyncItem,
)
from bytelyst_sync.http.transport import Response
from tests.typed import NewEngine, present

ENTITIES = {"notes": "/notes", "tasks": "/tasks"}


class Api:
    """Answers 204, and what ``answers`` says for a record; ``sent`` are the records in order."""

    def __init__(self) -> None:
        self.answers: dict[Any, Any] = {}
        self.sent: list[Any] = []

    def send(self, request: Request) -> Response:
        record = request.url.rpartition("/")[2]
        self.sent.append(record)
        answer = self.answers.get(record, 204)
        if isinstance(answer, Exception):
            raise answer
        headers = {"content-type": "application/json"}
        body = b"" if answer == 204 else b'{"detail": "no"}'
        return Response(answer, headers, body, request.url)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def strict(new_engine: NewEngine, api: Api) -> Callable[..., SyncEngine]:
    def make(**options: Any) -> SyncEngine:
        return new_engine(
            entities=ENTITIES, order="strict", transport=api, max_retries=0, **options
        )

    return make


def update(engine: SyncEngine, entity: str, record: str, **fields: Any) -> SyncItem:
    return engine.push(entity, {"id": record, **fields}, "update")


def test_items_of_all_entities_are_sent_in_the_order_pushed(
    strict: Callable[..., SyncEngine], api: Api
) -> None:
    engine = strict()
    for number in range(12):
        update(engine, ("notes", "tasks")[number % 2], f"r{number}")
    assert engine.flush(timeout=10).pushed == 12
    assert api.sent == [f"r{number}" for number in range(12)]


def test_nothing_is_merged_past_an_item_between(strict: Callable[..., SyncEngine]) -> None:
    engine = strict()
    update(engine, "notes", "a", n=1)
    update(engine, "notes", "a", n=2)
    update(engine, "tasks", "b")
    update(engine, "notes", "a", n=3)
    assert [(item.record_id, item.data.get("n")) for item in engine.queue()] == [
        ("a", 2),
        ("b", None),
        ("a", 3),
    ]


def test_a_failed_item_stops_the_line_until_it_is_decided(
    strict: Callable[..., SyncEngine], api: Api
) -> None:
    engine = strict()
    api.answers["a"] = 422
    first = update(engine, "notes", "a", n=1)
    update(engine, "tasks", "b")
    assert not engine.flush(timeout=10).success
    assert "b" not in api.sent
    status = engine.status
    assert (status.status, status.reason) == ("error", "blocked")
    assert "update of notes/a holds up all items behind it" in present(status.last_error)
    update(engine, "notes", "a", n=2)
    assert [item.id for item in engine.failed()] == [first.id]
    engine.flush(timeout=10)
    assert "b" not in api.sent
    del api.answers["a"]
    assert engine.reprocess_failed() == 1
    assert engine.flush(timeout=10).success
    assert api.sent[-3:] == ["a", "b", "a"]


def test_discarding_it_moves_the_line(strict: Callable[..., SyncEngine], api: Api) -> None:
    engine = strict()
    api.answers["a"] = 422
    update(engine, "notes", "a")
    update(engine, "tasks", "b")
    engine.flush(timeout=10)
    assert engine.discard_failed() == 1
    assert engine.flush(timeout=10).success
    assert engine.status.reason is None


def test_a_retried_item_is_not_overtaken(strict: Callable[..., SyncEngine], api: Api) -> None:
    engine = strict(retry_delay=60.0, max_retry_delay=60.0)
    api.answers["a"] = OfflineError("no network")
    update(engine, "notes", "a")
    update(engine, "tasks", "b")
    engine.flush(timeout=10)
    assert set(api.sent) == {"a"}


def test_an_item_of_an_unknown_entity_stops_the_line(
    new_engine: NewEngine, strict: Callable[..., SyncEngine], api: Api, tmp_path: Path
) -> None:
    path = tmp_path / "app.db"
    first = new_engine(
        entities={**ENTITIES, "old": "/old"}, order="strict", storage=path, transport=api
    )
    update(first, "old", "o")
    first.close()
    engine = strict(storage=path)
    update(engine, "notes", "a")
    engine.flush(timeout=10)
    assert api.sent == []
    assert engine.status.reason == "blocked"


def test_an_expired_item_has_left_the_line(strict: Callable[..., SyncEngine], api: Api) -> None:
    engine = strict()
    engine.push("notes", {"id": "a"}, "update", expires=-1)
    update(engine, "tasks", "b")
    engine.flush(timeout=10)
    assert api.sent == ["b"]


@pytest.mark.parametrize(("order", "other"), [("strict", "record"), ("record", "strict")])
def test_the_order_is_stored(new_engine: NewEngine, tmp_path: Path, order: str, other: str) -> None:
    path = tmp_path / "app.db"
    engine = new_engine(order=order, storage=path)
    engine.push("notes", {"id": "a"})
    engine.close()
    second = new_engine(order=other, storage=path)
    with pytest.raises(ConfigError, match=f"kept with order='{order}'") as caught:
        second.push("notes", {"id": "b"})
    assert caught.value.field == "order"
    third = new_engine(order=order, storage=path)
    assert [item.record_id for item in third.queue()] == ["a"]


def test_there_is_one_worker() -> None:
    with pytest.raises(ConfigError, match="1 with order='strict'"):
        SyncConfig(
            base_url="http://a.invalid",
            entities={"notes": EntityConfig("/notes")},
            storage=":memory:",
            order="strict",
            workers=2,
        )


def test_an_equal_create_is_merged_with_the_last_item_of_the_line_alone(
    new_engine: NewEngine, api: Api
) -> None:
    texts = EntityConfig("/texts", dedup="content")
    entities = {"texts": texts, "notes": "/notes"}
    engine = new_engine(entities=entities, order="strict", transport=api)
    engine.pause()
    first = engine.push("texts", {"a": 1})
    assert engine.push("texts", {"a": 1}).id == first.id
    update(engine, "notes", "1")
    assert engine.push("texts", {"a": 1}).id != first.id
    assert engine.queue_length == 3
