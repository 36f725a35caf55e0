"""What json-server 0.17 does, as ``Dialect.json_server()`` takes it."""

import json
import threading
import time
from collections.abc import Collection

import pytest

from tests.servers.json_server import JsonServer

BOUND_S = 10.0


@pytest.fixture
def server(json_server: JsonServer) -> JsonServer:
    return json_server


def test_an_id_is_kept_as_sent_or_given_as_the_next_number(server: JsonServer) -> None:
    first = server.request("POST", "/tasks", json={"title": "first"})
    assert (first.status_code, first.json()) == (201, {"id": 1, "title": "first"})
    assert first.headers["Location"] == f"{server.base_url}/tasks/1"
    assert server.insert("tasks", {"id": "own", "title": "x"}) == {"id": "own", "title": "x"}
    assert server.insert("tasks", {"id": None}) == {"id": 2}


@pytest.mark.parametrize("again", ["own", 7, "7"])
def test_a_create_of_what_exists_is_a_server_error(server: JsonServer, again: int | str) -> None:
    server.insert("tasks", {"id": "own"})
    server.insert("tasks", {"id": 7})
    answer = server.request("POST", "/tasks", json={"id": again, "title": "again"})
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.text.startswith("Error: Insert failed, duplicate id\n")
    assert server.records("tasks") == {"own": {"id": "own"}, "7": {"id": 7}}


def test_a_patch_is_shallow_and_answers_the_whole_record(server: JsonServer) -> None:
    server.insert("tasks", {"id": "a", "title": "x", "tags": {"a": 1}})
    answer = server.request("PATCH", "/tasks/a", json={"id": "b", "tags": {"b": 2}, "title": None})
    assert answer.status_code == 200
    assert answer.json() == {"id": "a", "title": None, "tags": {"b": 2}}


def test_a_put_replaces(server: JsonServer) -> None:
    server.insert("tasks", {"id": "a", "title": "x", "done": True})
    answer = server.request("PUT", "/tasks/a", json={"title": "y"})
    assert (answer.status_code, answer.json()) == (200, {"id": "a", "title": "y"})


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_what_is_not_there_is_answered_404(server: JsonServer, method: str) -> None:
    body = {"title": "x"} if method in {"PATCH", "PUT"} else None
    answer = server.request(method, "/tasks/never", json=body)
    assert (answer.status_code, answer.json()) == (404, {})
    assert server.records("tasks") == {}


def test_a_delete_answers_an_empty_object_and_the_next_one_404(server: JsonServer) -> None:
    server.insert("tasks", {"id": "a"})
    answers = [server.request("DELETE", "/tasks/a") for _ in range(2)]
    assert [(each.status_code, each.json()) for each in answers] == [(200, {}), (404, {})]


def test_there_are_no_versions(server: JsonServer) -> None:
    server.insert("tasks", {"id": "a"})
    stale = {"If-Match": '"stale"'}
    changed = server.request("PATCH", "/tasks/a", json={"title": "x"}, headers=stale)
    assert changed.status_code == 200
    assert changed.headers["ETag"].startswith('W/"')  # of the text, and for reads only
    assert server.request("DELETE", "/tasks/a", headers=stale).status_code == 200


def test_another_content_type_is_not_read(server: JsonServer) -> None:
    server.insert("tasks", {"id": "a", "title": "x"})
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = server.request("PATCH", "/tasks/a", data='{"title": "y"}', headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (200, "x")


@pytest.mark.parametrize(("field", "left"), [("projectId", {}), ("project", {"t"})])
def test_a_deleted_record_takes_along_what_points_to_it_by_its_own_naming(
    server: JsonServer, field: str, left: Collection[str]
) -> None:
    server.insert("projects", {"id": "p"})
    server.insert("tasks", {"id": "t", field: "p"})
    server.remove("projects", "p")
    assert set(server.records("tasks")) == set(left)


def test_a_list_is_bare_and_whole_in_the_order_of_creation(server: JsonServer) -> None:
    for number in range(15):
        server.insert("tasks", {"id": f"n{number}"})
    answer = server.request("GET", "/tasks", params={"since": "whenever"})
    assert answer.json() == [{"id": f"n{number}"} for number in range(15)]
    assert "Link" not in answer.headers
    assert "X-Total-Count" not in answer.headers


def test_pages_are_numbered_and_linked(server: JsonServer) -> None:
    for number in range(5):
        server.insert("tasks", {"id": f"n{number}"})
    first = server.request("GET", "/tasks", params={"_page": 1, "_limit": 2})
    assert [record["id"] for record in first.json()] == ["n0", "n1"]
    assert first.headers["X-Total-Count"] == "5"
    assert first.links["next"]["url"] == f"{server.base_url}/tasks?_page=2&_limit=2"

    last = server.request("GET", "/tasks", params={"_page": 3, "_limit": 2})
    assert [record["id"] for record in last.json()] == ["n4"]
    assert set(last.links) == {"first", "prev", "last"}

    beyond = server.request("GET", "/tasks", params={"_page": 4, "_limit": 2})
    assert (beyond.status_code, beyond.json(), beyond.headers["Link"]) == (200, [], "")
    assert len(server.fetch("GET", "/tasks", params={"_limit": 2})) == 2


def test_without_a_limit_a_page_holds_ten(server: JsonServer) -> None:
    for number in range(11):
        server.insert("tasks", {"id": f"n{number}"})
    assert len(server.fetch("GET", "/tasks", params={"_page": 1})) == 10


def test_a_field_is_compared_if_asked(server: JsonServer) -> None:
    for day in ("01", "02", "03"):
        server.insert("tasks", {"id": day, "updatedAt": f"2026-01-{day}T00:00:00Z"})
    query = {"updatedAt_gte": "2026-01-02T00:00:00Z", "_sort": "updatedAt", "_order": "desc"}
    assert [record["id"] for record in server.fetch("GET", "/tasks", params=query)] == ["03", "02"]


def test_writes_reach_the_file_without_watching_it(server: JsonServer) -> None:
    server.insert("tasks", {"id": "a"})
    deadline = time.monotonic() + BOUND_S
    pause = threading.Event()
    while json.loads(server.file.read_text()) != {"projects": [], "tasks": [{"id": "a"}]}:
        assert time.monotonic() < deadline
        pause.wait(0.01)
