"""What Django REST Framework does, as ``Dialect.drf()`` takes it."""

import socket
from datetime import datetime
from typing import Any

import pytest

from tests.servers.drf import Drf


@pytest.fixture
def drf(drf_server: Drf) -> Drf:
    return drf_server


def ids(page: dict[str, Any]) -> list[int]:
    return [record["id"] for record in page["results"]]


def test_the_server_gives_the_id_and_the_time(drf: Drf) -> None:
    sent = {"id": 77, "title": "x", "updated_at": "2000-01-01T00:00:00Z", "unknown": 1}
    answer = drf.request("POST", "/projects/", json=sent)
    stored = answer.json()
    assert answer.status_code == 201
    assert stored["id"] == 1
    assert set(stored) == {"id", "title", "code", "notes", "done", "updated_at"}
    assert stored["updated_at"].endswith("Z")
    assert datetime.fromisoformat(stored["updated_at"].replace("Z", "+00:00")).year > 2000
    assert "ETag" not in answer.headers


def test_a_create_sent_twice_is_two_records(drf: Drf) -> None:
    headers = {"Idempotency-Key": "the same"}
    for _ in range(2):
        drf.fetch("POST", "/projects/", json={"title": "x"}, headers=headers)
    assert set(drf.records("projects")) == {"1", "2"}


def test_what_is_not_valid_is_answered_400_by_field(drf: Drf) -> None:
    drf.insert("projects", {"title": "x", "code": "taken"})

    def refusal(path: str, record: dict[str, Any]) -> Any:
        answer = drf.request("POST", path, json=record)
        assert answer.status_code == 400
        return answer.json()

    assert refusal("/projects/", {"title": "y", "code": "taken"}) == {
        "code": ["project with this code already exists."]
    }
    assert refusal("/projects/", {}) == {"title": ["This field is required."]}
    assert refusal("/tasks/", {"title": "x", "project": 99}) == {
        "project": ['Invalid pk "99" - object does not exist.']
    }
    assert refusal("/tasks/", {"title": "x", "project": "not yet known"}) == {
        "project": ["Incorrect type. Expected pk value, received str."]
    }


def test_a_parent_may_be_named_by_its_id_as_text(drf: Drf) -> None:
    drf.insert("projects", {"title": "x"})
    assert drf.insert("tasks", {"title": "x", "project": "1"})["project"] == 1


def test_a_patch_answers_the_whole_record_and_knows_no_versions(drf: Drf) -> None:
    before = drf.insert("projects", {"title": "x", "notes": "n"})
    headers = {"If-Match": '"stale"'}
    answer = drf.request("PATCH", "/projects/1/", json={"done": True}, headers=headers)
    after = answer.json()
    assert answer.status_code == 200
    assert after == {**before, "done": True, "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]


def test_a_put_wants_every_required_field(drf: Drf) -> None:
    drf.insert("projects", {"title": "x", "notes": "n"})
    assert drf.request("PUT", "/projects/1/", json={"done": True}).status_code == 400
    answer = drf.request("PUT", "/projects/1/", json={"title": "y"})
    assert (answer.status_code, answer.json()["notes"]) == (200, "n")


def test_a_merge_patch_is_refused(drf: Drf) -> None:
    drf.insert("projects", {"title": "x"})
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = drf.request("PATCH", "/projects/1/", data='{"title": "y"}', headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("name", ["99", "text"])
def test_what_is_not_there_is_answered_404(drf: Drf, method: str, name: str) -> None:
    body = {"title": "x"} if method in {"PATCH", "PUT"} else None
    assert drf.request(method, f"/projects/{name}/", json=body).status_code == 404


def test_a_delete_is_answered_204_then_404_and_takes_the_children_along(drf: Drf) -> None:
    drf.insert("projects", {"title": "x"})
    drf.insert("tasks", {"title": "x", "project": 1})
    answers = [drf.request("DELETE", "/projects/1/") for _ in range(2)]
    assert [each.status_code for each in answers] == [204, 404]
    assert answers[0].content == b""
    assert drf.records("tasks") == {}


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_without_the_slash_at_the_end_it_redirects(drf: Drf, method: str) -> None:
    body = {"title": "x"} if method in {"POST", "PATCH"} else None
    answer = drf.request(method, "/projects", json=body, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, "/api/projects/")


def test_a_post_that_follows_such_a_redirect_has_become_a_read(drf: Drf) -> None:
    answer = drf.request("POST", "/projects", json={"title": "x"})
    assert (answer.status_code, answer.json()["count"]) == (200, 0)


def test_pages_are_numbered_and_linked(drf: Drf) -> None:
    for _ in range(7):
        drf.insert("projects", {"title": "x"})
    first = drf.fetch("GET", "/projects/")
    assert set(first) == {"count", "next", "previous", "results"}
    assert (first["count"], ids(first)) == (7, [1, 2, 3, 4, 5])
    assert first["next"] == f"{drf.base_url}/projects/?page=2"
    last = drf.fetch("GET", first["next"])
    assert (ids(last), last["next"]) == ([6, 7], None)
    beyond = drf.request("GET", "/projects/", params={"page": 3})
    assert (beyond.status_code, beyond.json()) == (404, {"detail": "Invalid page."})


def test_a_page_of_nothing_is_empty(drf: Drf) -> None:
    assert drf.fetch("GET", "/projects/")["results"] == []


def test_updated_after_is_inclusive_and_kept_on_the_next_page(drf: Drf) -> None:
    stored = [drf.insert("projects", {"title": "x"}) for _ in range(4)]
    since = stored[1]["updated_at"]
    for text in (since, since.replace("Z", "+00:00")):
        query = {"updated_after": text, "page_size": 2}
        page = drf.fetch("GET", "/projects/", params=query)
        assert ids(page) == [2, 3]
        assert ids(drf.fetch("GET", page["next"])) == [4]


@pytest.mark.parametrize("text", ["junk", "2026-01-01T00:00:00 00:00"])
def test_a_time_that_is_none_is_refused(drf: Drf, text: str) -> None:
    """The second one is what an offset becomes whose plus sign is not encoded."""
    answer = drf.request("GET", "/projects/", params={"updated_after": text})
    assert answer.status_code == 400
    assert answer.json() == {"updated_after": ["Enter a valid date/time."]}


def test_a_change_between_two_pages_hides_a_record_from_the_second(drf: Drf) -> None:
    for _ in range(4):
        drf.insert("projects", {"title": "x"})
    first = drf.fetch("GET", "/projects/", params={"page_size": 2})
    drf.change("projects", 1, title="moves to the end")
    second = drf.fetch("GET", first["next"])
    assert ids(first) + ids(second) == [1, 2, 4, 1]


def test_the_answer_to_head_has_a_body(drf: Drf) -> None:
    """Django leaves that to the server, and this one sends what it is given."""
    with socket.create_connection(("127.0.0.1", drf.port), timeout=10) as line:
        line.sendall(b"HEAD /api/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: line.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body.startswith(b'{"projects":')
