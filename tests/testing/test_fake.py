"""`FakeServer` does what `SyncServer` does, and what only it can do."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import urllib3
from requests.models import Response

from bytelyst_sync import ItemState, SyncEngine, create_sync_engine
from bytelyst_sync.model import Json
from bytelyst_sync.testing import (
    Drop,
    DropAnswer,
    FakeServer,
    Lose,
    ManualClock,
    Reply,
    Stall,
    SyncServer,
    Truncate,
)
from tests.typed import present

BASE = "https://api.example.com"
NOTE = {"id": "1", "title": "first"}
PATIENCE_S = 10.0


def same(face: str, **settings: Any) -> FakeServer | SyncServer:
    return FakeServer(BASE, **settings) if face == "fake" else SyncServer(**settings)


@pytest.fixture(params=["fake", "loopback"])
def face(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def api(face: str, clock: ManualClock) -> Iterator[FakeServer | SyncServer]:
    with same(face, clock=clock.wall) as running:
        yield running


@pytest.fixture
def make(api: FakeServer | SyncServer) -> Iterator[Callable[..., SyncEngine]]:
    engines = []

    def build(**settings: Any) -> SyncEngine:
        defaults = {
            "base_url": api.url,
            "entities": {"notes": "/notes"},
            "storage": ":memory:",
            "probe": None,
            "auto_flush": False,
            "timeout": (2.0, 5.0),
        }
        engines.append(create_sync_engine(**{**defaults, **settings}))
        return engines[-1]

    yield build
    assert [engine.close() for engine in engines] == [True] * len(engines)


@pytest.fixture
def call(api: FakeServer | SyncServer) -> Iterator[Callable[..., Response | None]]:
    """A request by hand; `None` in place of an answer that did not come."""
    with requests.Session() as session:
        session.trust_env = False

        def send(method: str, path: str, timeout: int = 5, **options: Any) -> Response | None:
            try:
                return session.request(method, api.url + path, timeout=timeout, **options)
            except requests.RequestException:
                return None

        yield send


# --- one behaviour: each of these runs on both faces

ANSWERED: list[tuple[str, str, Json]] = [
    ("POST", "/notes", {"json": {**NOTE, "é": "ü"}}),
    ("POST", "/notes", {"json": NOTE}),
    ("GET", "/notes/1", {}),
    ("HEAD", "/", {}),
    ("GET", "/notes", {}),
    ("GET", "/notes?since=&limit=1", {}),
    ("PATCH", "/notes/1", {"json": {"title": "x"}, "headers": {"If-Match": '"9"'}}),
    ("PATCH", "/notes/1", {"json": {"title": "x"}, "headers": {"If-Match": '"1"'}}),
    ("PUT", "/notes/a%20b%2Fc", {"json": {"id": "a b/c"}}),
    ("GET", "/notes/a%20b%2Fc", {}),
    ("POST", "/notes", {"data": b"{no json"}),
    ("POST", "/notes", {"data": iter([b'{"id": ', b'"chunks"}'])}),
    ("DELETE", "/notes/1", {}),
    ("GET", "/notes/1", {}),
    ("OPTIONS", "/notes", {}),
    ("GET", "/", {}),
    ("GET", "", {}),
]


def shown(answer: Response) -> tuple[int, Json, bytes]:
    kept = ("etag", "date", "content-type", "content-length", "idempotent-replayed")
    headers = {name: answer.headers[name] for name in kept if name in answer.headers}
    body = answer.content
    if b"cursor" in body:  # names the store
        body = re.sub(rb'"cursor":"[^"]*"', b"", body)
        headers.pop("content-length", None)
    return answer.status_code, headers, body


def test_both_answer_alike(clock: ManualClock) -> None:
    reported: dict[Any, Any] = {}
    for face in ("fake", "loopback"):
        asked = [(m, p, dict(o)) for m, p, o in ANSWERED]
        # an iterator is spent by its first use
        asked[11][2]["data"] = (
            b'{"id": "chunks"}' if face == "fake" else iter([b'{"id": "chunks"}'])
        )
        with same(face, clock=clock.wall) as api, requests.Session() as session:
            session.trust_env = False
            answers = [session.request(m, api.url + p, timeout=5, **o) for m, p, o in asked]
            reported[face] = [shown(answer) for answer in answers]
            reported[face, "journal"] = api.journal
            reported[face, "paths"] = [(s.method, s.path, s.query, s.body) for s in api.requests]
    assert reported["fake"] == reported["loopback"]
    assert reported["fake", "journal"] == reported["loopback", "journal"]
    assert reported["fake", "paths"] == reported["loopback", "paths"]
    assert {status for status, _, _ in reported["fake"]} >= {
        200,
        201,
        204,
        400,
        404,
        405,
        409,
        410,
        412,
    }


def test_a_cycle(api: FakeServer | SyncServer, make: Callable[..., SyncEngine]) -> None:
    engine = make()
    item = engine.push("notes", NOTE)
    assert engine.flush(timeout=PATIENCE_S).success
    api.put("notes", {"id": "2", "title": "theirs"})
    api.patch("notes", "1", {"title": "changed"})
    assert engine.pull(timeout=PATIENCE_S).pulled == 2
    assert [record["title"] for record in engine.records("notes")] == ["changed", "theirs"]
    api.remove("notes", 2)
    assert engine.pull(timeout=PATIENCE_S).pulled == 1
    assert [effect.key for effect in api.journal] == [item.id, None, None, None]
    api.expire_cursors()
    assert engine.pull(timeout=PATIENCE_S).success
    api.wipe()
    assert (api.records("notes"), api.journal) == ({}, [])


@pytest.mark.parametrize(
    ("fault", "applied"),
    [
        (Reply(500), 0),
        (Drop(), 0),
        (DropAnswer(), 1),
        (Truncate(), 1),
        (Reply(429, headers={"Retry-After": "1"}), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_means_the_same(
    api: FakeServer | SyncServer,
    make: Callable[..., SyncEngine],
    clock: ManualClock,
    fault: Reply | Drop | Lose | Truncate,
    applied: int,
) -> None:
    engine = make(clock=clock, retry_delay=1.0, max_retry_delay=1.0)
    api.script(fault, match="POST")
    item = engine.push("notes", NOTE)
    result = engine.flush(timeout=PATIENCE_S)
    assert (result.success, result.offline, result.remaining) == (False, False, 1)
    assert len(api.journal) == applied
    (queued,) = engine.queue()
    assert queued.retry_count == 0
    clock.advance(1)
    assert engine.flush(timeout=PATIENCE_S).success
    assert engine.wait(item, timeout=PATIENCE_S) is ItemState.DELIVERED
    assert [effect.key for effect in api.journal] == [item.id]
    assert {seen.headers["idempotency-key"] for seen in api.requests} == {item.id}


def test_an_outage_is_being_offline(
    api: FakeServer | SyncServer, make: Callable[..., SyncEngine]
) -> None:
    engine = make()
    engine.push("notes", NOTE)
    with api.outage():
        result = engine.flush(timeout=PATIENCE_S)
        assert result.offline
        assert next(engine.queue()).retry_count == 0
        assert not engine.is_online
    assert engine.flush(timeout=PATIENCE_S).success
    assert [seen.method for seen in api.requests] == ["POST"]


def test_a_token_is_asked_for(
    api: FakeServer | SyncServer, make: Callable[..., SyncEngine]
) -> None:
    api.token = ("new", "newer")
    tokens = iter(["old", "new"])
    engine = make(auth=lambda: next(tokens))
    engine.push("notes", NOTE)
    assert engine.flush(timeout=PATIENCE_S).success
    assert [seen.status for seen in api.requests] == [401, 201]


def test_reject_sees_the_request(
    api: FakeServer | SyncServer, make: Callable[..., SyncEngine]
) -> None:
    api.reject = lambda seen: Reply(422, {"error": f"no {seen.body['title']}"})
    engine = make()
    engine.push("notes", NOTE)
    engine.flush(timeout=PATIENCE_S)
    assert "no first" in present(next(engine.failed()).last_error)
    assert api.journal == []


def test_standing_faults_and_their_end(
    api: FakeServer | SyncServer, call: Callable[..., Response | None]
) -> None:
    api.always(Reply(503), match="GET /notes")
    assert present(call("GET", "/notes")).status_code == 503
    assert present(call("GET", "/tasks")).status_code == 200
    api.clear_script()
    assert present(call("GET", "/notes")).status_code == 200


def test_a_key_is_in_progress_while_its_request_is(
    api: FakeServer | SyncServer, call: Callable[..., Response | None]
) -> None:
    api.script(Stall(PATIENCE_S), match="POST")
    key = {"Idempotency-Key": "k"}
    first = threading.Thread(target=call, args=("POST", "/notes", 1), kwargs={"headers": key})
    first.start()
    assert api.wait_for(lambda: api.in_flight)
    assert present(call("POST", "/notes", json=NOTE, headers=key)).status_code == 409
    first.join(PATIENCE_S)


def test_a_read_timeout_is_an_unknown_outcome(
    api: FakeServer | SyncServer, make: Callable[..., SyncEngine], clock: ManualClock
) -> None:
    engine = make(timeout=(1.0, 0.05), clock=clock)
    api.script(Stall(0.2), match="POST")
    item = engine.push("notes", NOTE)
    assert engine.flush(timeout=PATIENCE_S).errors == 1
    assert "timed out" in present(next(engine.queue()).last_error)
    assert api.wait_for(lambda: api.journal and not api.in_flight)
    api.latency_s = 0.0
    for _ in range(5):  # the next answer may be slow to come as well
        clock.advance(60)
        engine.flush(timeout=PATIENCE_S)
    assert engine.wait(item, timeout=PATIENCE_S) is ItemState.DELIVERED
    assert len(api.journal) == 1


def test_many_threads_at_once(
    api: FakeServer | SyncServer, make: Callable[..., SyncEngine]
) -> None:
    engine = make(workers=4)
    engine.push_many("notes", [{"id": str(number)} for number in range(60)])
    assert engine.flush(timeout=PATIENCE_S).success
    assert len(api.journal) == len(api.records("notes")) == 60


def test_what_is_kept_in_a_file_comes_back(face: str, tmp_path: Path) -> None:
    for number in range(2):
        with same(face, state=tmp_path / "kept.jsonl") as api:
            assert len(api.records("notes")) == number
            api.put("notes", {"id": str(number)})


def test_ids_of_the_server(face: str) -> None:
    with same(face, id_source="server") as api:
        assert requests.post(f"{api.url}/notes", json={}, timeout=5).json()["id"] == 1


# --- the fake alone


def test_nothing_but_the_api_is_there() -> None:
    with FakeServer(BASE), pytest.raises(requests.ConnectionError, match="by Responses"):
        requests.get("https://elsewhere.example/notes", timeout=5)


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1/notes"),
        ("https://API.example.com/v1/", "https://api.example.com/v1/notes"),
        ("http://localhost:8000", "http://localhost:8000/notes"),
        ("https://api.example.com/a b", "https://api.example.com/a%20b/notes"),
    ],
)
def test_the_api_may_be_below_a_path(base: str, path: str) -> None:
    with FakeServer(base) as api:
        api.put("notes", NOTE)
        assert len(requests.get(f"{api.url}/notes", timeout=5).json()["items"]) == 1
        assert requests.get(path, timeout=5).ok
        assert api.requests[-1].path == "/notes"


@pytest.mark.parametrize("url", ["https://api.example.com.evil/notes", "https://api.example.comx"])
def test_a_host_that_begins_alike_is_another(url: str) -> None:
    with FakeServer(BASE), pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


@pytest.mark.parametrize("url", ["", "api.example.com", "ftp://api.example.com", "https://"])
def test_an_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be a URL with http:// or https://"):
        FakeServer(url)


def test_the_same_again_keeps_its_records() -> None:
    api = FakeServer(BASE)
    with api:
        requests.put(f"{BASE}/notes/1", json=NOTE, timeout=5)
        with pytest.raises(RuntimeError, match="in use already"):
            api.__enter__()
    assert list(api.records("notes")) == ["1"]
    with api:
        assert requests.get(f"{BASE}/notes/1", timeout=5).ok


def test_it_is_over_when_its_block_is() -> None:
    with responses.RequestsMock() as outer:
        outer.get(f"{BASE}/notes", json={"items": "of the mock outside"})
        with FakeServer(BASE):
            assert requests.get(f"{BASE}/notes", timeout=5).json()["items"] == []
        assert "outside" in requests.get(f"{BASE}/notes", timeout=5).json()["items"]


def test_it_is_registered_beside_mocks_of_ones_own() -> None:
    with responses.RequestsMock() as mock:
        mock.get("https://elsewhere.example/", json="mine")
        mock.get(f"{BASE}/notes", json="once")
        api = FakeServer(BASE)
        api.register(mock)
        assert requests.get("https://elsewhere.example/", timeout=5).json() == "mine"
        assert requests.get(f"{BASE}/notes", timeout=5).json() == "once"
        assert requests.get(f"{BASE}/notes", timeout=5).json()["items"] == []
        assert len(mock.calls) == 3


@responses.activate
def test_it_is_registered_with_the_mock_that_is_there() -> None:
    api = FakeServer(BASE)
    api.register()
    assert requests.post(f"{BASE}/notes", json=NOTE, timeout=5).status_code == 201
    assert json.loads(responses.calls[0].request.body or b"") == NOTE


def test_a_mock_that_asserts_notices_that_it_was_not_asked() -> None:
    mock = responses.RequestsMock()
    FakeServer(BASE).register(mock)
    mock.start()
    with pytest.raises(AssertionError, match=r"Not all requests.*example"):
        mock.stop()


def test_what_still_waits_ends_with_the_block() -> None:
    ended = []

    def ask() -> None:
        try:
            requests.post(f"{BASE}/notes", json=NOTE, timeout=60)
        except requests.ConnectionError as error:
            ended.append(error)

    with FakeServer(BASE, latency_s=60.0) as api:
        thread = threading.Thread(target=ask)
        thread.start()
        assert api.wait_for(lambda: api.in_flight)
    thread.join(PATIENCE_S)
    assert len(ended) == 1
    assert api.journal == []


@pytest.mark.parametrize("timeout", [0.01, (5, 0.01), urllib3.Timeout(connect=5, read=0.01)])
def test_every_way_to_say_a_timeout(timeout: Any) -> None:
    with FakeServer(BASE, latency_s=60.0), pytest.raises(requests.ReadTimeout):
        requests.get(f"{BASE}/notes", timeout=timeout)


def test_latency_takes_its_time() -> None:
    with FakeServer(BASE, latency_s=0.05) as api:
        assert requests.post(f"{BASE}/notes", data='{"id": "1"}', timeout=None).ok
        assert api.records("notes")["1"]["id"] == "1"


def test_records_carry_the_time_of_the_clock(clock: ManualClock) -> None:
    with FakeServer(BASE, clock=clock.wall) as api:
        clock.advance(60)
        answer = requests.post(f"{BASE}/notes", json=NOTE, timeout=5)
        assert answer.json()["updatedAt"] == "2030-01-01T00:01:00.000000Z"
        assert answer.headers["Date"] == "Tue, 01 Jan 2030 00:01:00 GMT"
        assert api.requests[0].at == clock.wall()
