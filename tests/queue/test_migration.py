"""schema_version and migrate: what an older program pushed."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, OfflineError, Request, SyncEngine, SyncItem
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from tests.typed import NewEngine, present

ENTITIES = {
    "projects": "/projects",
    "notes": EntityConfig("/notes", references={"project": "projects"}),
}
NOTHING: Json = {}


class Api:
    """Answers 204, or fails as ``error`` says; ``sent`` are the bodies by record."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.sent: dict[Any, Any] = {}

    def send(self, request: Request) -> Response:
        if self.error is not None:
            raise self.error
        self.sent[request.url.rpartition("/")[2]] = request.body
        return Response(204, {}, b"", request.url)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def program(new_engine: NewEngine, api: Api, tmp_path: Path) -> Callable[..., SyncEngine]:
    """``program(version, migrate)``: the program of that version on the one store."""

    def start(
        version: int, migrate: Callable[..., object] | None = None, **options: Any
    ) -> SyncEngine:
        return new_engine(
            entities=ENTITIES,
            storage=tmp_path / "app.db",
            schema_version=version,
            migrate=migrate,
            transport=api,
            **options,
        )

    return start


def rename(entity: str, version: int, data: Json) -> Json:
    """Version 2 calls the title ``name``."""
    assert version == 1
    if entity == "notes" and "title" in data:
        data["name"] = data.pop("title")
    return data


def update(engine: SyncEngine, record: str, **fields: Any) -> SyncItem:
    return engine.push("notes", {"id": record, **fields}, "update")


def test_queued_items_are_migrated_before_they_are_sent(
    program: Callable[..., SyncEngine], api: Api
) -> None:
    first = program(1)
    update(first, "a", title="x")
    first.push("notes", {"id": "b"}, "delete")
    first.close()
    second = program(2, rename)
    assert [item.data for item in second.queue()] == [{"id": "a", "name": "x"}, {"id": "b"}]
    assert second.flush(timeout=10).success
    assert b'"name"' in api.sent["a"]
    assert b"title" not in api.sent["a"]


def test_each_item_is_migrated_once(program: Callable[..., SyncEngine]) -> None:
    first = program(1)
    update(first, "a", title="x")
    first.close()
    second = program(2, rename)
    assert second.queue_length == 1
    second.close()
    third = program(2, lambda *_: 1 / 0)
    assert [item.data["name"] for item in third.queue()] == ["x"]
    assert list(third.failed()) == []


def test_failed_items_are_migrated_too(program: Callable[..., SyncEngine], api: Api) -> None:
    first = program(1, max_retries=0)
    update(first, "a", title="x")
    api.send = lambda request: Response(422, {}, b"{}", request.url)  # type: ignore[method-assign]  # replaced by the test
    first.flush(timeout=10)
    first.close()
    second = program(2, rename)
    (item,) = second.failed()
    assert item.data == {"id": "a", "name": "x"}


def test_frozen_items_are_sent_as_they_were(program: Callable[..., SyncEngine], api: Api) -> None:
    from bytelyst_sync import TransportError  # noqa: PLC0415

    first = program(1)
    update(first, "a", title="x")
    api.error = TransportError("lost")
    first.flush(timeout=10)
    first.close()
    api.error = None
    second = program(2, rename, retry_delay=1e-5)
    second.flush(timeout=10)
    second.flush(timeout=10)
    assert b'"title"' in api.sent["a"]


@pytest.mark.parametrize(
    ("migrate", "reason"),
    [
        (lambda *_: None, "migrate() returned None"),
        (lambda *_: NOTHING["secret"], "migrate() raised KeyError"),
        (lambda *_: sys.exit("secret"), "migrate() raised SystemExit"),
        (lambda *_: {"id": "z"}, "migrate() returned another id"),
        (lambda *_: {"id": "a", "n": float("nan")}, "migrate() raised InvalidDataError"),
    ],
    ids=["None", "raises", "exits", "another id", "bad data"],
)
def test_one_that_cannot_be_migrated_fails_with_the_reason(
    program: Callable[..., SyncEngine], api: Api, migrate: Callable[..., Json | None], reason: str
) -> None:
    first = program(1)
    update(first, "a", title="x")
    first.close()
    second = program(2, migrate)
    (item,) = second.failed()
    assert present(item.last_error).startswith(f"update of notes/a was not sent: {reason}")
    assert "secret" not in present(item.last_error)
    assert item.data == {"id": "a", "title": "x"}
    second.reprocess_failed(item, data={"id": "a", "name": "x"})
    assert second.flush(timeout=10).success
    assert b'"name"' in api.sent["a"]


def test_one_that_still_cannot_be_migrated_is_reported_once(
    program: Callable[..., SyncEngine], caplog: pytest.LogCaptureFixture
) -> None:
    first = program(1)
    update(first, "a", title="x")
    first.close()
    for _ in range(3):
        later = program(2, lambda *_: None)
        assert len(list(later.failed())) == 1
        later.close()
    lines = [each.getMessage() for each in caplog.records if "migrate()" in each.getMessage()]
    text = (
        "update of notes/a was not sent: migrate() returned None for data of schema version 1; "
        "repair its data with reprocess_failed(), or discard it"
    )
    assert lines == [text]


def test_items_of_a_higher_version_are_left_to_newer_programs(
    program: Callable[..., SyncEngine], api: Api
) -> None:
    newer = program(2, rename)
    for number in range(30):
        update(newer, f"new{number}", name="x")
    newer.close()
    older = program(1)
    update(older, "old", title="x")
    result = older.flush(timeout=10)
    assert list(api.sent) == ["old"]
    assert (result.pushed, result.remaining) == (1, 30)
    assert "newer version of this program" in present(older.status.last_error)
    older.close()
    again = program(2, rename)
    assert again.flush(timeout=10).pushed == 30


def test_what_an_older_program_pushes_beside_a_newer_one_is_migrated(
    program: Callable[..., SyncEngine], api: Api
) -> None:
    newer = program(2, rename)
    assert newer.queue_length == 0
    older = program(1)
    update(older, "a", title="x")
    assert newer.flush(timeout=10).success or newer.flush(timeout=10).success
    assert b'"name"' in api.sent["a"]


def test_versions_are_not_merged_with_each_other(program: Callable[..., SyncEngine]) -> None:
    newer = program(2, rename)
    update(newer, "a", name="x")
    older = program(1)
    update(older, "a", title="y")
    assert [item.data for item in older.queue()] == [
        {"id": "a", "name": "x"},
        {"id": "a", "title": "y"},
    ]


def test_references_of_migrated_data_are_followed(
    program: Callable[..., SyncEngine], api: Api
) -> None:
    first = program(1)
    api.error = OfflineError("no network")
    first.push("projects", {"id": "p"})
    first.push("notes", {"id": "n", "folder": "p"})
    first.close()

    def migrate(entity: str, version: int, data: Json) -> Json:
        if "folder" in data:
            data["project"] = data.pop("folder")
        return data

    second = program(2, migrate)
    assert not second.cancel(next(iter(second.queue())))  # the note refers to it
