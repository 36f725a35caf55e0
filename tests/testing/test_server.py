"""`SyncServer` through real sockets: the default API, its faults, its memory."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.models import Response
from requests.sessions import Session

from bytelyst_sync import testing
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Drop, DropAnswer, Reply, Stall, SyncServer, Truncate
from tests.typed import present

ROOT = Path(__file__).parents[2]
CUT = requests.exceptions.ConnectionError


@pytest.fixture
def http_session() -> Iterator[Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def call(server: SyncServer, http_session: Session) -> Callable[..., Response]:
    """Sends a request to `server`; keyword `json` or `data` is the body."""

    def send(method: str, path: str, **options: Any) -> Response:
        options.setdefault("timeout", 10)
        return http_session.request(method, server.url + path, **options)

    return send


def in_thread(work: Callable[..., object]) -> tuple[threading.Thread, list[Any]]:
    """Run `work` beside the test; gives the thread and the list that its result lands in."""
    results = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - handed to the test
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


# records


def test_create_answers_with_the_record_its_version_and_its_time(
    server: SyncServer, call: Callable[..., Response]
) -> None:
    answer = call("POST", "/notes", json={"id": "7", "title": "x", "version": 99})
    assert answer.status_code == 201
    record = answer.json()
    assert record["id"] == "7"
    assert record["title"] == "x"
    assert record["version"] == 1
    assert record["updatedAt"].endswith("Z")
    assert answer.headers["ETag"] == '"1"'
    assert server.records("notes") == {"7": record}


def test_create_without_an_id_is_refused_where_clients_give_ids(
    call: Callable[..., Response], server: SyncServer
) -> None:
    for body in ({"title": "x"}, {"id": ""}, {"id": None}, {"id": True}, {"id": 1.5}):
        answer = call("POST", "/notes", json=body)
        assert answer.status_code == 400
        assert "id" in answer.json()["error"]
    assert server.journal == []


def test_create_of_an_existing_id_is_a_conflict_that_shows_the_current_record(
    call: Callable[..., Response],
) -> None:
    first = call("POST", "/notes", json={"id": 7, "title": "first"}).json()
    second = call("POST", "/notes", json={"id": "7", "title": "second"})
    assert second.status_code == 409
    assert second.json()["current"] == first
    assert first["id"] == 7


def test_server_ids_count_per_collection_and_ignore_the_clients(http_session: Session) -> None:
    with SyncServer(id_source="server") as server:
        bodies = [("notes", {"id": "mine", "a": 1}), ("notes", {"a": 2}), ("tasks", {})]
        ids = [http_session.post(f"{server.url}/{name}", json=b).json()["id"] for name, b in bodies]
        assert ids == [1, 2, 1]
        assert list(server.records("notes")) == ["1", "2"]
        assert [effect.data for effect in server.journal] == [body for _, body in bodies]


def test_patch_merges_shallowly_and_raises_the_version(call: Callable[..., Response]) -> None:
    call("POST", "/notes", json={"id": "7", "a": {"x": 1}, "b": 2})
    answer = call("PATCH", "/notes/7", json={"a": {"y": 1}, "version": 50, "id": "8"})
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"2"'
    record = answer.json()
    assert (record["id"], record["a"], record["b"], record["version"]) == ("7", {"y": 1}, 2, 2)


def test_absent_is_404_and_deleted_is_410(call: Callable[..., Response]) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        assert call(method, "/notes/7", json={}).status_code == 404
    call("POST", "/notes", json={"id": "7"})
    assert call("DELETE", "/notes/7").status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert call(method, "/notes/7", json={}).status_code == 410
    assert call("PUT", "/notes/7", json={}, headers={"If-Match": "*"}).status_code == 410
    assert call("PUT", "/notes/8", json={}, headers={"If-Match": '"1"'}).status_code == 404


def test_put_creates_or_replaces(call: Callable[..., Response]) -> None:
    created = call("PUT", "/notes/7", json={"a": 1})
    assert (created.status_code, created.json()["id"]) == (201, "7")
    replaced = call("PUT", "/notes/7", json={"b": 2})
    assert replaced.status_code == 200
    assert "a" not in replaced.json()
    refused = call("PUT", "/notes/7", json={"c": 3}, headers={"If-None-Match": "*"})
    assert refused.status_code == 412
    assert refused.json()["current"] == replaced.json()
    fresh = call("PUT", "/notes/8", json={}, headers={"If-None-Match": "*"})
    assert fresh.status_code == 201


def test_a_record_created_again_goes_on_counting_versions(call: Callable[..., Response]) -> None:
    call("POST", "/notes", json={"id": "7"})
    call("DELETE", "/notes/7")
    assert call("POST", "/notes", json={"id": "7"}).json()["version"] == 3


@pytest.mark.parametrize("tag", ['"1"', "1", 'W/"1"', "*", '"5", "1"'])
def test_if_match_lets_the_current_version_through(call: Callable[..., Response], tag: str) -> None:
    call("POST", "/notes", json={"id": "7"})
    assert call("PATCH", "/notes/7", json={}, headers={"If-Match": tag}).status_code == 200


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_if_match_refuses_another_version_and_shows_the_current_one(
    call: Callable[..., Response], server: SyncServer, method: str
) -> None:
    current = call("POST", "/notes", json={"id": "7"}).json()
    answer = call(method, "/notes/7", json={}, headers={"If-Match": '"3"'})
    assert answer.status_code == 412
    assert answer.json()["current"] == current
    assert len(server.journal) == 1


def test_versions_can_be_turned_off(http_session: Session) -> None:
    with SyncServer(versions=False) as server:
        answer = http_session.post(f"{server.url}/notes", json={"id": "7", "version": "mine"})
        assert answer.json() == {"id": "7", "version": "mine"}
        assert "ETag" not in answer.headers
        headers = {"If-Match": '"9"'}
        assert http_session.delete(f"{server.url}/notes/7", headers=headers).status_code == 204


@pytest.mark.parametrize("record_id", ["a/b", "ü ?#", "../x", "日本", "%2F", "a+b", '"'])
def test_any_text_is_an_id_as_one_percent_encoded_segment(
    call: Callable[..., Response], server: SyncServer, record_id: str
) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in record_id.encode())
    assert call("PUT", f"/notes/{encoded}", json={}).status_code == 201
    assert list(server.records("notes")) == [record_id]
    assert call("GET", f"/notes/{encoded}").json()["id"] == record_id


def test_what_is_no_record_or_collection_is_refused(call: Callable[..., Response]) -> None:
    wrong = [
        ("GET", "/", 404),
        ("GET", "/notes/", 404),
        ("GET", "/notes/7/8", 404),
        ("GET", "/notes/%FF", 400),
        ("DELETE", "/notes", 405),
        ("POST", "/notes/7", 405),
    ]
    for method, path, status in wrong:
        assert call(method, path, json={}).status_code == status
    for body in (b"", b"[1]", b"{", b'{"id": NaN}', b"\xff"):
        assert call("POST", "/notes", data=body).status_code == 400


def test_head_is_answered_everywhere(call: Callable[..., Response]) -> None:
    for path in ("", "/", "/notes", "/notes/absent"):
        answer = call("HEAD", path)
        assert answer.status_code == 204
        assert answer.content == b""


def test_collections_can_be_limited(http_session: Session) -> None:
    with SyncServer(collections={"notes"}) as server:
        assert http_session.get(f"{server.url}/notes").status_code == 200
        assert http_session.get(f"{server.url}/tasks").status_code == 404


def test_date_and_updated_at_follow_the_clock(http_session: Session) -> None:
    with SyncServer(clock=lambda: 86_400.25) as server:
        answer = http_session.post(f"{server.url}/notes", json={"id": "7"})
        assert email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp() == 86_400
        assert answer.json()["updatedAt"] == "1970-01-02T00:00:00.250000Z"
        assert server.journal[0].at == server.requests[0].at == 86_400.25
        assert server.put("notes", {"id": "7"}, at=0)["updatedAt"] == "1970-01-01T00:00:00.000000Z"


# pull


def test_pull_pages_in_order_of_change_and_then_brings_only_news(
    call: Callable[..., Response], server: SyncServer
) -> None:
    for number in range(5):
        server.put("notes", {"id": str(number)})
    server.patch("notes", "0", {"a": 1})
    seen: list[Any] = []
    since: dict[Any, Any] = {}
    pages = 0
    while True:
        page = call("GET", "/notes", params={"limit": 2, **since}).json()
        seen += [record["id"] for record in page["items"]]
        since, pages = {"since": page["cursor"]}, pages + 1
        if not page["has_more"]:
            break
    assert (seen, pages) == (["1", "2", "3", "4", "0"], 3)
    assert call("GET", "/notes", params=since).json() == {
        "items": [],
        "cursor": since["since"],
        "has_more": False,
    }
    server.remove("notes", "3")
    server.put("notes", {"id": "9"})
    items = call("GET", "/notes", params=since).json()["items"]
    assert items[0] == {"id": "3", "deleted": True}
    assert items[1]["id"] == "9"


def test_a_pull_without_cursor_brings_no_tombstones(
    call: Callable[..., Response], server: SyncServer
) -> None:
    server.put("notes", {"id": "1"})
    server.put("notes", {"id": "2"})
    server.remove("notes", "1")
    items = call("GET", "/notes").json()["items"]
    assert [record["id"] for record in items] == ["2"]


def test_a_page_is_never_longer_than_the_server_allows(http_session: Session) -> None:
    with SyncServer(page_size=2) as server:
        for number in range(3):
            server.put("notes", {"id": number})
        for params in ({}, {"limit": 50}):
            page = http_session.get(f"{server.url}/notes", params=params).json()
            assert (len(page["items"]), page["has_more"]) == (2, True)


def test_other_parameters_filter_by_equality_and_let_tombstones_through(
    call: Callable[..., Response], server: SyncServer
) -> None:
    start = call("GET", "/notes").json()["cursor"]
    server.put("notes", {"id": 1, "done": True, "owner": 5})
    server.put("notes", {"id": 2, "done": False, "owner": 5})
    server.put("notes", {"id": 3})
    server.remove("notes", 3)

    def ids(**params: Any) -> list[int]:
        return [record["id"] for record in call("GET", "/notes", params=params).json()["items"]]

    assert ids(done="true") == [1]
    assert ids(owner=5) == [1, 2]
    assert ids(owner=5, done="false") == [2]
    assert ids(nothing="") == []
    assert ids(owner=6, since=start) == [3]


def test_a_filtered_pull_pages_without_gaps(
    call: Callable[..., Response], server: SyncServer
) -> None:
    for number in range(6):
        server.put("notes", {"id": number, "even": number % 2 == 0})
    page = call("GET", "/notes", params={"even": "true", "limit": 2}).json()
    assert page["has_more"]
    rest = {"even": "true", "limit": 2, "since": page["cursor"]}
    assert [record["id"] for record in call("GET", "/notes", params=rest).json()["items"]] == [4]


def test_garbage_cursors_are_400_and_expired_ones_410(
    call: Callable[..., Response], server: SyncServer
) -> None:
    server.put("notes", {"id": 1})
    old = call("GET", "/notes").json()["cursor"]
    for garbage in ("x", "!!", "é", base64.urlsafe_b64encode(b"no number:").decode()):
        assert call("GET", "/notes", params={"since": garbage}).status_code == 400
    for limit in ("0", "-1", "x", ""):
        assert call("GET", "/notes", params={"limit": limit}).status_code == 400
    server.expire_cursors()
    assert call("GET", "/notes", params={"since": old}).status_code == 410
    fresh = call("GET", "/notes").json()
    assert len(fresh["items"]) == 1
    assert call("GET", "/notes", params={"since": fresh["cursor"]}).status_code == 200
    server.wipe()
    assert call("GET", "/notes", params={"since": fresh["cursor"]}).status_code == 410
    assert call("GET", "/notes").json()["items"] == []
    assert server.journal == []


# idempotency


def test_a_repeated_key_replays_the_answer_and_has_one_effect(
    call: Callable[..., Response], server: SyncServer
) -> None:
    request = {"json": {"id": "7", "a": 1}, "headers": {"Idempotency-Key": "k1"}}
    first, second = call("POST", "/notes", **request), call("POST", "/notes", **request)
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.headers["Idempotent-Replayed"] == "true"
    assert [effect.key for effect in server.journal] == ["k1"]


def test_a_refusal_is_replayed_too(call: Callable[..., Response], server: SyncServer) -> None:
    request = {"json": {"a": 1}, "headers": {"Idempotency-Key": "k1"}}
    assert call("PATCH", "/notes/7", **request).status_code == 404
    server.put("notes", {"id": "7"})
    assert call("PATCH", "/notes/7", **request).status_code == 404


def test_a_key_with_other_content_is_422(call: Callable[..., Response]) -> None:
    headers = {"Idempotency-Key": "k1"}
    call("POST", "/notes", json={"id": "7"}, headers=headers)
    for method, path, body in (
        ("POST", "/notes", {"id": "8"}),
        ("POST", "/tasks", {"id": "7"}),
        ("PUT", "/notes", {"id": "7"}),
    ):
        assert call(method, path, json=body, headers=headers).status_code == 422


def test_injected_answers_and_401_are_not_remembered(
    call: Callable[..., Response], server: SyncServer
) -> None:
    request = {"json": {"id": "7"}, "headers": {"Idempotency-Key": "k1"}}
    server.script(Reply(500))
    server.token = "secret"
    assert call("POST", "/notes", **request).status_code == 500
    assert call("POST", "/notes", **request).status_code == 401
    server.token = None
    assert call("POST", "/notes", **request).status_code == 201


def test_a_key_in_progress_is_409_until_the_first_request_is_done(
    server: SyncServer, call: Callable[..., Response]
) -> None:
    server.script(Stall(30))
    request: Json = {"json": {"id": "7"}, "headers": {"Idempotency-Key": "k1"}}
    thread, results = in_thread(lambda: requests.post(f"{server.url}/notes", timeout=10, **request))
    assert server.wait_for(lambda: server.in_flight)
    assert server.in_flight[0].headers["idempotency-key"] == "k1"
    busy = call("POST", "/notes", **request)
    assert busy.status_code == 409
    assert "current" not in busy.json()
    server.stop()
    thread.join(5)
    assert isinstance(results[0], CUT)
    assert server.journal == []
    server.start()
    assert call("POST", "/notes", **request).status_code == 201


def test_idempotency_can_be_turned_off(http_session: Session) -> None:
    with SyncServer(idempotency=False) as server:
        request: Json = {"json": {"id": "7"}, "headers": {"Idempotency-Key": "k1"}}
        codes = [http_session.post(f"{server.url}/notes", **request).status_code for _ in "ab"]
        assert codes == [201, 409]
        assert server.journal[0].key == "k1"


# tokens and hooks


def test_tokens_may_change_while_it_runs(call: Callable[..., Response], server: SyncServer) -> None:
    server.token = "one"
    assert call("GET", "/notes").status_code == 401
    assert call("GET", "/notes").headers["WWW-Authenticate"] == "Bearer"
    one, two = ({"Authorization": f"Bearer {token}"} for token in ("one", "two"))
    assert call("GET", "/notes", headers=one).status_code == 200
    server.token = {"two", "three"}
    assert call("GET", "/notes", headers=one).status_code == 401
    assert call("GET", "/notes", headers=two).status_code == 200


def test_the_reject_hook_answers_before_processing(
    call: Callable[..., Response], server: SyncServer
) -> None:
    server.reject = lambda seen: (
        Reply(422, {"error": "no title"}) if seen.method == "POST" and not seen.body else None
    )
    assert call("POST", "/notes", json={}).json() == {"error": "no title"}
    assert call("POST", "/notes", json={"id": "7"}).status_code == 201
    assert [seen.status for seen in server.requests] == [422, 201]


# what tests look at


def test_the_journal_tells_every_effect(call: Callable[..., Response], server: SyncServer) -> None:
    call("POST", "/notes", json={"id": 7, "a": 1}, headers={"Idempotency-Key": "k1"})
    server.patch("notes", 7, {"a": 2})
    call("PUT", "/notes/7", json={"b": 3})
    call("DELETE", "/notes/7")
    journal = server.journal
    assert [(effect.kind, effect.by) for effect in journal] == [
        ("create", "http"),
        ("update", "other"),
        ("replace", "http"),
        ("delete", "http"),
    ]
    assert {(effect.collection, effect.id) for effect in journal} == {("notes", "7")}
    assert [effect.key for effect in journal] == ["k1", None, None, None]
    assert journal[2].data == {"b": 3}
    for earlier, later in itertools.pairwise(journal):
        assert later.before == earlier.after
    assert (journal[0].before, journal[3].after) == (None, None)


def test_requests_are_recorded_as_they_came(
    call: Callable[..., Response], server: SyncServer
) -> None:
    call("POST", "/no%C3%A4?a=1&b=", data=b"\x00raw", headers={"X-Thing": "v"})
    seen = server.requests[0]
    assert (seen.method, seen.path, seen.query) == ("POST", "/no%C3%A4", {"a": "1", "b": ""})
    assert seen.headers["x-thing"] == "v"
    assert (seen.body, seen.content, seen.status) == (b"\x00raw", b"\x00raw", 400)
    call("GET", "/notes")
    assert server.requests[1].body is None


def test_direct_changes_of_what_is_not_there_raise(server: SyncServer) -> None:
    with pytest.raises(KeyError, match="notes/7 is not there"):
        server.patch("notes", "7", {})
    with pytest.raises(KeyError):
        server.remove("notes", "7")
    assert [server.put("tasks", {})["id"] for _ in "ab"] == [1, 2]
    mine: Json = {"id": "7", "tags": []}
    server.put("notes", mine)
    mine["tags"].append("x")
    assert server.records("notes")["7"]["tags"] == []


def test_wait_for_is_bounded_and_wakes_up(
    server: SyncServer, call: Callable[..., Response]
) -> None:
    assert not server.wait_for(lambda: server.journal, timeout=0.01)
    thread, results = in_thread(lambda: server.wait_for(lambda: len(server.journal) == 2))
    call("POST", "/notes", json={"id": "7"})
    server.put("notes", {"id": "8"})
    thread.join(5)
    assert results == [True]


# faults


def test_scripted_faults_are_taken_in_order_by_the_requests_that_fit(
    call: Callable[..., Response], server: SyncServer
) -> None:
    server.script(Reply(500), None, Reply(503, "busy", {"Retry-After": "1"}), match="POST /notes")
    server.script(Reply(418), match=lambda seen: seen.query.get("tea") == "1")
    codes = [
        call(method, path, json={"id": path + str(number)}).status_code
        for number, (method, path) in enumerate(
            [
                ("GET", "/notes"),
                ("POST", "/notesbook"),
                ("POST", "/notes"),
                ("POST", "/notes"),
                ("GET", "/notes?tea=1"),
            ]
        )
    ]
    assert codes == [200, 201, 500, 201, 418]
    busy = call("POST", "/notes", json={"id": "x"})
    assert (busy.status_code, busy.text, busy.headers["Retry-After"]) == (503, "busy", "1")
    assert call("POST", "/notes", json={"id": "x"}).status_code == 201


def test_a_path_in_a_match_takes_what_is_below_it(
    call: Callable[..., Response], server: SyncServer
) -> None:
    server.always(Reply(500), match="GET /notes")
    assert call("GET", "/notes/7").status_code == 500
    assert call("GET", "/tasks").status_code == 200


def test_standing_faults_hold_until_they_are_cleared(
    call: Callable[..., Response], server: SyncServer
) -> None:
    server.always(Reply(500, headers={"Content-Type": "text/html"}))
    server.script(Reply(502))
    assert [call("GET", "/notes").status_code for _ in "abc"] == [502, 500, 500]
    server.clear_script()
    assert call("GET", "/notes").status_code == 200


def test_a_reply_to_head_has_no_body(call: Callable[..., Response], server: SyncServer) -> None:
    server.script(Reply(200, "<html>", {"Content-Type": "text/html"}))
    assert call("HEAD", "/").headers["Content-Type"] == "text/html"
    assert call("GET", "/notes").status_code == 200


def test_drop_resets_before_processing(server: SyncServer) -> None:
    server.script(Drop())
    body = b"POST /notes HTTP/1.1\r\nContent-Length: 10\r\n\r\n" + b'{"id":"7"}'
    with socket.create_connection((server.host, server.port), timeout=5) as raw:
        raw.sendall(body)
        with pytest.raises(ConnectionResetError):
            raw.recv(1)
    assert server.wait_for(lambda: server.requests)
    assert server.requests[0].status == 0
    assert server.journal == []


def test_lose_processes_and_gives_no_answer(
    call: Callable[..., Response], server: SyncServer
) -> None:
    server.script(DropAnswer())
    request = {"json": {"id": "7"}, "headers": {"Idempotency-Key": "k1"}}
    with pytest.raises(CUT):
        call("POST", "/notes", **request)
    assert len(server.journal) == 1
    assert call("POST", "/notes", **request).status_code == 201
    assert len(server.journal) == 1


def test_truncate_processes_and_sends_half_a_body(server: SyncServer) -> None:
    server.script(Truncate())
    connection = http.client.HTTPConnection(server.host, server.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("POST", "/notes", b'{"id":"7"}')
        answer = connection.getresponse()
        assert answer.status == 201
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
    declared = int(answer.headers["Content-Length"])
    assert len(caught.value.partial) == declared // 2
    assert len(server.journal) == 1


def test_stall_goes_on_normally_after_a_while(
    call: Callable[..., Response], server: SyncServer
) -> None:
    server.script(Stall(0.05))
    started = time.monotonic()
    assert call("POST", "/notes", json={"id": "7"}).status_code == 201
    assert time.monotonic() - started >= 0.05


def test_a_stalled_request_is_processed_though_its_client_has_left(
    call: Callable[..., Response], server: SyncServer
) -> None:
    server.script(Stall(0.2))
    with pytest.raises(requests.exceptions.ReadTimeout):
        call("POST", "/notes", json={"id": "7"}, timeout=0.05)
    assert server.journal == []
    assert server.wait_for(lambda: server.journal)


def test_latency_holds_every_answer_up(call: Callable[..., Response], server: SyncServer) -> None:
    server.latency_s = 0.02
    started = time.monotonic()
    call("GET", "/notes")
    call("GET", "/notes")
    assert time.monotonic() - started >= 0.04


# the life of the server


def test_stop_cuts_live_connections_and_start_serves_on_the_same_port(
    call: Callable[..., Response], server: SyncServer
) -> None:
    call("POST", "/notes", json={"id": "7"})
    port = server.port
    with socket.create_connection((server.host, port), timeout=5) as idle:
        idle.sendall(b"HEAD / HTTP/1.1\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 204")
        server.stop()
        server.stop()
        assert idle.recv(1) == b""
    with pytest.raises(CUT):
        call("GET", "/notes")
    server.start()
    server.start()
    assert server.port == port
    assert call("GET", "/notes/7").status_code == 200


def test_stop_leaves_no_thread_even_while_requests_stall(server: SyncServer) -> None:
    server.always(Stall(60))
    threads = [in_thread(lambda: requests.get(f"{server.url}/n", timeout=10))[0] for _ in range(3)]
    assert server.wait_for(lambda: len(server.in_flight) == 3)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 3
    assert [t.name for t in threading.enumerate() if t.name.startswith("bytelyst-test")] == []
    for thread in threads:
        thread.join(5)


def test_an_outage_refuses_connections_and_keeps_the_state(
    call: Callable[..., Response], server: SyncServer
) -> None:
    call("POST", "/notes", json={"id": "7"})
    with server.outage():
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((server.host, server.port), timeout=5)
    assert call("GET", "/notes/7").status_code == 200


def test_connections_are_kept_alive_and_closed_when_asked(server: SyncServer) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=5)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/notes")
            connection.getresponse().read()
            kept = connection.sock
            assert kept is not None
        connection.request("GET", "/notes", headers={"Connection": "close"})
        answer = connection.getresponse()
        assert answer.headers["Connection"] == "close"
        answer.read()
        assert connection.sock is None


def test_chunked_bodies_and_expect_continue_are_understood(
    call: Callable[..., Response], server: SyncServer
) -> None:
    assert call("POST", "/notes", data=iter([b'{"id"', b':"7"}'])).status_code == 201
    head = b"POST /notes HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"
    with socket.create_connection((server.host, server.port), timeout=5) as raw:
        raw.sendall(head)
        assert raw.recv(100).startswith(b"HTTP/1.1 100")
        raw.sendall(b'{"id":"8"}')
        assert raw.recv(100).startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize("sent", [b"hello\r\n", b"GET / FTP/1\r\n\r\n", b"GET / HTTP/1.1\r\nx\r\n"])
def test_what_is_no_http_is_told_so(server: SyncServer, sent: bytes) -> None:
    with socket.create_connection((server.host, server.port), timeout=5) as raw:
        raw.sendall(sent)
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


def test_many_threads_at_once_lose_nothing(server: SyncServer) -> None:
    def post(name: int) -> None:
        with requests.Session() as session:
            for number in range(25):
                session.post(f"{server.url}/notes", json={"id": f"{name}-{number}"}, timeout=10)

    threads = [in_thread(lambda name=name: post(name))[0] for name in range(8)]
    for thread in threads:
        thread.join(30)
    assert len(server.records("notes")) == len(server.journal) == len(server.requests) == 200
    assert {seen.status for seen in server.requests} == {201}


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="id_source='both'"):
        SyncServer(id_source="both")
    with pytest.raises(ValueError, match="page_size=0"):
        SyncServer(page_size=0)


def test_every_export_exists() -> None:
    for name in testing.__all__:
        current = testing._FORMER_NAMES.get(name, name)
        assert getattr(testing, name).__name__ == current
        assert name in dir(testing)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        testing.Nothing  # noqa: B018 - reading it is the test


# state


def test_state_survives_a_restart(tmp_path: Path, http_session: Session) -> None:
    path = tmp_path / "state.jsonl"
    request: Json = {"json": {"id": "7", "a": "ü"}, "headers": {"Idempotency-Key": "k1"}}
    with SyncServer(state=path) as server:
        first = http_session.post(f"{server.url}/notes", **request)
        cursor = http_session.get(f"{server.url}/notes").json()["cursor"]
        http_session.put(f"{server.url}/notes/8", json={}, headers={"Idempotency-Key": "k2"})
        http_session.delete(f"{server.url}/notes/8")
        server.patch("notes", "7", {"b": 1})
        journal, records = server.journal, server.records("notes")
    with path.open("ab") as file:
        file.write(b'{"effect": {"half')
    with SyncServer(state=path) as server:
        assert server.journal == journal
        assert server.records("notes") == records
        again = http_session.post(f"{server.url}/notes", **request)
        assert (again.status_code, again.content) == (201, first.content)
        news = http_session.get(f"{server.url}/notes", params={"since": cursor}).json()["items"]
        assert news == [{"id": "8", "deleted": True}, records["7"]]
        server.put("notes", {"id": "9"})
    with SyncServer(state=path) as server:
        assert list(server.records("notes")) == ["7", "9"]
        server.wipe()
    with SyncServer(state=path) as server:
        assert server.journal == []


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server as a process of its own, and its url."""
    command = [sys.executable, "-m", "bytelyst_sync.testing.server", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    with process:
        try:
            line = present(process.stdout).readline().split()
            assert line[:2] == ["listening", "on"]
            yield process, line[2]
        finally:
            if process.poll() is None:
                process.kill()


def test_state_survives_sigkill(tmp_path: Path, http_session: Session) -> None:
    arguments = ("--state", str(tmp_path / "state"), "--id-source", "server", "--token", "t")
    headers = {"Authorization": "Bearer t"}
    acknowledged = {}
    with program(*arguments) as (process, url):
        assert http_session.get(f"{url}/notes").status_code == 401
        for number in range(20):
            answer = http_session.post(
                f"{url}/notes",
                json={"n": number},
                headers={**headers, "Idempotency-Key": f"k{number}"},
            )
            acknowledged[f"k{number}"] = answer.content
        process.kill()
    with program(*arguments) as (_, url):
        for key, content in acknowledged.items():
            again = http_session.post(
                f"{url}/notes",
                json={"n": int(key[1:])},
                headers={**headers, "Idempotency-Key": key},
            )
            assert again.content == content
        assert len(http_session.get(f"{url}/notes", headers=headers).json()["items"]) == 20
        assert http_session.post(f"{url}/notes", json={}, headers=headers).json()["id"] == 21


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_ends_well_on_a_signal(number: signal.Signals) -> None:
    with program("--latency-ms", "1") as (process, _):
        process.send_signal(number)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "70000"], "--port 70000"),
        (["--port", "x"], "invalid int value"),
        (["--latency-ms", "-1"], "--latency-ms -1"),
        (["--latency-ms", "nan"], "--latency-ms nan"),
        (["--id-source", "both"], "invalid choice"),
    ],
)
def test_bad_flags_are_named(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from bytelyst_sync.testing.server import main  # noqa: PLC0415 - the name stays out of the way

    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_damaged_state_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text(json.dumps({"epoch": "x"}) + "\nnot json\n")
    command = [sys.executable, "-m", "bytelyst_sync.testing.server", "--state", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "cannot serve" in done.stderr
