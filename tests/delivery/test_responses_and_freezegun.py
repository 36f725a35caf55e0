"""The tools that users test their programs with: `responses` and `freezegun`."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from freezegun import freeze_time
from requests.exceptions import ChunkedEncodingError, ConnectTimeout, ReadTimeout
from requests.models import PreparedRequest
from responses import matchers

from bytelyst_sync import ItemState, SyncEngine, SyncStatus
from bytelyst_sync.testing import Reply, SyncServer
from tests.typed import T, present

BASE = "https://api.example.com"
NOTE = {"id": "1", "title": "first"}
NOON = datetime(2031, 5, 1, 12, tzinfo=timezone.utc)


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def outside(held: Callable[..., SyncEngine]) -> SyncEngine:
    """An engine for an https API that is only there in `responses`."""
    return held(base_url=BASE)


# --- responses


def test_a_cycle_with_responses(mocked: responses.RequestsMock, outside: SyncEngine) -> None:
    mocked.post(f"{BASE}/notes", json={**NOTE, "version": 1}, status=201)
    item = outside.push("notes", NOTE)
    result = outside.flush(timeout=10)
    assert (result.success, result.pushed) == (True, 1)
    sent = only(mocked.calls).request
    assert json.loads(sent.body or b"") == NOTE
    assert sent.headers["Idempotency-Key"] == item.id
    assert sent.headers["Content-Type"] == "application/json"
    assert outside.get("notes", "1") == {**NOTE, "version": 1}


def test_matchers_of_responses_see_the_body_and_the_headers(
    mocked: responses.RequestsMock, held: Callable[..., SyncEngine]
) -> None:
    engine = held(base_url=BASE, auth=lambda: "token", headers={"X-App": "demo"})
    mocked.patch(
        f"{BASE}/notes/1",
        match=[
            matchers.json_params_matcher({"id": "1", "title": "x"}),
            matchers.header_matcher({"Authorization": "Bearer token", "X-App": "demo"}),
        ],
        json={"id": "1", "title": "x"},
    )
    engine.push("notes", {"id": "1", "title": "x"}, "update")
    assert engine.flush(timeout=10).success


@pytest.mark.parametrize("workers", [1, 4])
def test_sender_threads_are_mocked_too(
    mocked: responses.RequestsMock, held: Callable[..., SyncEngine], workers: int
) -> None:
    def stored(request: PreparedRequest) -> Any:
        return 201, {}, request.body

    mocked.add_callback(responses.POST, f"{BASE}/notes", callback=stored)
    engine = held(base_url=BASE, workers=workers)
    engine.push_many("notes", [{"id": n} for n in range(30)])
    assert engine.flush(timeout=10).success
    assert sorted(json.loads(call.request.body or b"")["id"] for call in mocked.calls) == list(
        range(30)
    )


def test_a_mock_that_begins_after_the_engine_did_is_seen(held: Callable[..., SyncEngine]) -> None:
    engine = held(base_url=BASE)
    engine.start()
    for number in range(2):
        with responses.RequestsMock() as mock:
            mock.post(f"{BASE}/notes", status=204)
            engine.push("notes", {"id": number})
            assert engine.flush(timeout=10).success
            assert len(mock.calls) == 1


@pytest.mark.parametrize(
    ("raised", "offline"),
    [
        (requests.ReadTimeout("read timed out"), False),
        (requests.ConnectTimeout("connect timed out"), True),
        (requests.exceptions.ChunkedEncodingError("cut off"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exceptions_given_to_responses_mean_what_they_mean(
    mocked: responses.RequestsMock,
    outside: SyncEngine,
    raised: ReadTimeout | ConnectTimeout | ChunkedEncodingError,
    offline: bool,
) -> None:
    mocked.post(f"{BASE}/notes", body=raised)
    outside.push("notes", NOTE)
    result = outside.flush(timeout=10)
    assert (result.success, result.offline) == (False, offline)
    assert only(outside.queue()).retry_count == 0


def test_an_url_that_is_not_mocked_delivers_nothing(outside: SyncEngine) -> None:
    with responses.RequestsMock():
        outside.push("notes", NOTE)
        result = outside.flush(timeout=10)
    assert (result.success, result.pushed, result.remaining) == (False, 0, 1)
    assert only(outside.queue()).last_error


def test_a_sequence_of_answers_is_gone_through(
    mocked: responses.RequestsMock, outside: SyncEngine, drain: Callable[..., int]
) -> None:
    for status in (500, 503, 502):
        mocked.post(f"{BASE}/notes", status=status)
    mocked.post(f"{BASE}/notes", json=NOTE, status=201)
    item = outside.push("notes", NOTE)
    assert drain(outside) == 0
    assert outside.wait(item, timeout=10) is ItemState.DELIVERED
    assert {call.request.headers["Idempotency-Key"] for call in mocked.calls} == {item.id}


def test_no_json_over_https_is_a_mapping_error_and_no_portal(
    mocked: responses.RequestsMock, outside: SyncEngine
) -> None:
    mocked.post(f"{BASE}/notes", body="<html>hello</html>", content_type="text/html")
    outside.push("notes", NOTE)
    result = outside.flush(timeout=10)
    assert (result.success, result.offline, result.errors) == (False, False, 1)
    item = only(outside.failed())
    assert "record" in present(item.last_error)
    assert "answer" in present(item.last_error)


def test_a_redirect_to_another_host_over_https_is_no_portal(
    mocked: responses.RequestsMock, outside: SyncEngine
) -> None:
    elsewhere = "https://elsewhere.example"
    mocked.post(f"{BASE}/notes", status=307, headers={"Location": f"{elsewhere}/notes?k=v"})
    outside.push("notes", NOTE)
    result = outside.flush(timeout=10)
    assert (result.success, result.offline, result.pushed) == (False, False, 0)
    assert len(mocked.calls) == 1
    reported: list[Any] = [item.last_error for item in (*outside.queue(), *outside.failed())]
    assert elsewhere in only(reported)
    assert "k=v" not in only(reported)


def test_a_pull_with_responses(mocked: responses.RequestsMock, outside: SyncEngine) -> None:
    page = {"items": [{"id": "9", "title": "theirs"}], "cursor": "a+b", "has_more": False}
    mocked.get(f"{BASE}/notes", json=page)
    assert outside.pull("notes", timeout=10).pulled == 1
    assert present(outside.get("notes", "9"))["title"] == "theirs"
    outside.pull("notes", timeout=10)
    assert getattr(mocked.calls[1].request, "params", None) == {"since": "a+b"}


# --- freezegun


def test_a_whole_cycle_under_frozen_time(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    with freeze_time(NOON):
        engine = make()
        item = engine.push("notes", NOTE)
        assert engine.flush(timeout=10).success
        assert engine.wait(item, timeout=10) is ItemState.DELIVERED
        assert item.timestamp == NOON
        assert engine.status.last_sync == NOON
        assert engine.status.status is SyncStatus.IDLE
        server.put("notes", {"id": "2", "title": "theirs"})
        assert engine.pull(timeout=10).success
        engine.push("notes", {"id": "1", "title": "second"}, "update")
        assert engine.full_sync(timeout=10).success
        engine.delete("notes", "1")
        result = engine.flush(timeout=10)
        assert (result.success, result.timestamp) == (True, NOON)
        assert engine.close()
    assert [effect.kind for effect in server.journal if effect.by == "http"] == [
        "create",
        "update",
        "delete",
    ]


@freeze_time(NOON)
def test_frozen_time_as_a_decorator_on_a_file(
    make: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    engine = make(storage=tmp_path / "queue.db")
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    assert engine.close()
    again = make(storage=tmp_path / "queue.db")
    assert present(again.get("notes", "1"))["title"] == "first"
    assert again.close()


def test_a_timeout_ends_under_frozen_time(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    with freeze_time(NOON):
        engine = held()
        item = engine.push("notes", NOTE)
        assert engine.wait(item, timeout=0.05) is ItemState.PENDING
        server.script(Reply(503, headers={"Retry-After": "60"}), match="POST")
        assert engine.flush(timeout=0.5).remaining == 1
        assert engine.close()


def test_an_engine_lives_through_time_frozen_and_thawed(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    engine.push("notes", {"id": "before"})
    assert engine.flush(timeout=10).success
    with freeze_time(NOON):
        engine.push("notes", {"id": "inside"})
        assert engine.flush(timeout=10).success
    engine.push("notes", {"id": "after"})
    assert engine.flush(timeout=10).success
    assert list(server.records("notes")) == ["before", "inside", "after"]


def test_retries_come_when_frozen_time_is_moved(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(Reply(500, headers={"Retry-After": "30"}), match="POST")
    with freeze_time(NOON) as clock:
        engine = held(retry_delay=60.0, max_retry_delay=60.0)
        engine.push("notes", NOTE)
        engine.flush(timeout=10)
        due = only(engine.queue()).next_attempt
        assert due == NOON + timedelta(seconds=30)
        clock.move_to(due - timedelta(seconds=1))
        assert engine.flush(timeout=10).remaining == 1
        clock.move_to(due + timedelta(seconds=1))
        assert engine.flush(timeout=10).success
        assert engine.close()


def test_both_at_once(mocked: responses.RequestsMock, outside: SyncEngine) -> None:
    mocked.post(f"{BASE}/notes", json=NOTE, status=201)
    with freeze_time(NOON):
        outside.push("notes", NOTE)
        assert outside.flush(timeout=10).timestamp == NOON
        assert outside.close()
