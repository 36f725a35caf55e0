"""What Kinto does, as ``Dialect.kinto()`` takes it."""

from typing import Any

import pytest
import requests

from tests.servers.kinto import Kinto

PATH = "/buckets/default/collections/tasks/records"
UNIX_MS = 13
"""Digits of a time in milliseconds."""


@pytest.fixture
def kinto(kinto_server: Kinto) -> Kinto:
    return kinto_server


@pytest.fixture
def one(kinto: Kinto) -> tuple[str, dict[str, Any]]:
    """``(path, record)`` of a record that is there."""
    stored = kinto.insert("tasks", {"id": "one", "title": "there", "tags": {"a": 1, "b": 2}})
    return f"{PATH}/one", stored


def quoted(record: dict[str, Any]) -> str:
    return f'"{record["last_modified"]}"'


def test_a_create_is_wrapped_and_its_etag_is_the_time_of_change(kinto: Kinto) -> None:
    answer = kinto.request("POST", PATH, json={"data": {"title": "new"}})
    assert answer.status_code == 201
    stored = answer.json()["data"]
    assert set(stored) == {"id", "title", "last_modified"}
    assert len(str(stored["last_modified"])) == UNIX_MS
    assert answer.headers["ETag"] == quoted(stored)
    assert kinto.request("POST", PATH, json={"title": "bare"}).status_code == 400


def test_a_create_of_what_exists_is_answered_200_and_changes_nothing(
    kinto: Kinto, one: tuple[str, dict[str, Any]]
) -> None:
    _, stored = one
    answer = kinto.request("POST", PATH, json={"data": {"id": "one", "title": "again"}})
    assert (answer.status_code, answer.json()["data"]) == (200, stored)
    assert kinto.records("tasks") == {"one": stored}


@pytest.mark.parametrize(("method", "tail"), [("POST", ""), ("PUT", "/one")])
def test_with_if_none_match_a_create_of_what_exists_is_a_conflict(
    kinto: Kinto, one: tuple[str, dict[str, Any]], method: str, tail: str
) -> None:
    _, stored = one
    again = {"data": {"id": "one", "title": "again"}}
    answer = kinto.request(method, PATH + tail, json=again, headers={"If-None-Match": "*"})
    assert answer.status_code == 412
    assert answer.json()["details"]["existing"] == stored
    assert answer.headers["ETag"] == quoted(stored)


def test_a_put_creates_what_was_deleted_and_replaces_what_is_there(
    kinto: Kinto, one: tuple[str, dict[str, Any]]
) -> None:
    path, _ = one
    answer = kinto.request("PUT", path, json={"data": {"title": "whole"}})
    assert answer.status_code == 200
    assert "tags" not in answer.json()["data"]
    kinto.remove("tasks", "one")
    headers = {"If-None-Match": "*"}
    answer = kinto.request("PUT", path, json={"data": {"title": "back"}}, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("name", ["with space", "ümlaut", "-dash", "dot.ted"])
def test_ids_are_letters_digits_dashes_and_underscores(kinto: Kinto, name: str) -> None:
    answer = kinto.request("POST", PATH, json={"data": {"id": name}})
    assert answer.status_code == 400
    assert answer.json()["message"] == "path: Invalid object id"


def test_if_match_wants_the_version_in_quotes(
    kinto: Kinto, one: tuple[str, dict[str, Any]]
) -> None:
    path, stored = one
    change = {"data": {"title": "changed"}}
    bare = kinto.request("PATCH", path, json=change, headers={"If-Match": quoted(stored)[1:-1]})
    assert bare.status_code == 400
    answer = kinto.request("PATCH", path, json=change, headers={"If-Match": quoted(stored)})
    assert answer.status_code == 200
    assert answer.json()["data"]["title"] == "changed"
    assert answer.headers["ETag"] == quoted(answer.json()["data"]) != quoted(stored)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_stale_version_is_answered_with_the_current_record(
    kinto: Kinto, one: tuple[str, dict[str, Any]], method: str
) -> None:
    path, stored = one
    current = kinto.change("tasks", "one", title="newer")
    body = {"data": {"title": "mine"}} if method == "PATCH" else None
    answer = kinto.request(method, path, json=body, headers={"If-Match": quoted(stored)})
    assert answer.status_code == 412
    assert answer.json()["details"]["existing"] == current


def test_a_patch_is_shallow_and_a_merge_patch_goes_deep(
    kinto: Kinto, one: tuple[str, dict[str, Any]]
) -> None:
    path, _ = one
    shallow = kinto.request("PATCH", path, json={"data": {"tags": {"c": 3}, "title": None}})
    assert shallow.json()["data"].items() >= {"tags": {"c": 3}, "title": None}.items()

    merge = {"data": {"tags": {"c": None, "d": 4}, "title": None}}
    headers = {"Content-Type": "application/merge-patch+json"}
    deep = kinto.request("PATCH", path, json=merge, headers=headers).json()["data"]
    assert deep["tags"] == {"d": 4}
    assert "title" not in deep


def test_a_time_of_change_that_is_sent_does_not_count(
    kinto: Kinto, one: tuple[str, dict[str, Any]]
) -> None:
    path, stored = one
    change = {"data": {"title": "x", "last_modified": stored["last_modified"]}}
    answer = kinto.request("PATCH", path, json=change)
    assert answer.json()["data"]["last_modified"] > stored["last_modified"]


@pytest.mark.parametrize("headers", [{}, {"If-Match": '"1700000000000"'}])
@pytest.mark.parametrize("deleted", [False, True])
def test_what_is_not_there_is_answered_404(
    kinto: Kinto, one: tuple[str, dict[str, Any]], headers: dict[str, str], deleted: bool
) -> None:
    path = one[0] if deleted else f"{PATH}/never"
    if deleted:
        kinto.remove("tasks", "one")
    for method in ("GET", "PATCH", "DELETE"):
        body = {"data": {"title": "x"}} if method == "PATCH" else None
        sent = headers if method != "GET" else {}
        assert kinto.request(method, path, json=body, headers=sent).status_code == 404


def test_a_put_with_if_match_of_what_is_not_there_is_412_without_a_record(kinto: Kinto) -> None:
    headers = {"If-Match": '"1700000000000"'}
    answer = kinto.request("PUT", f"{PATH}/never", json={"data": {}}, headers=headers)
    assert answer.status_code == 412
    assert "details" not in answer.json()


def test_a_delete_leaves_a_tombstone_for_those_who_ask_since(
    kinto: Kinto, one: tuple[str, dict[str, Any]]
) -> None:
    path, stored = one
    before = kinto.request("GET", PATH).headers["ETag"]
    answer = kinto.request("DELETE", path)
    tombstone = answer.json()["data"]
    assert answer.status_code == 200
    assert tombstone == {"id": "one", "last_modified": tombstone["last_modified"], "deleted": True}
    assert tombstone["last_modified"] > stored["last_modified"]

    for since in (before, before.strip('"'), '"0"'):
        page = kinto.request("GET", PATH, params={"_since": since})
        assert page.json()["data"] == [tombstone]
        assert page.headers["ETag"] == quoted(tombstone)
    assert kinto.request("GET", PATH).json()["data"] == []


def test_since_is_strictly_later(kinto: Kinto, one: tuple[str, dict[str, Any]]) -> None:
    _, stored = one
    assert kinto.request("GET", PATH, params={"_since": quoted(stored)}).json()["data"] == []
    assert kinto.request("GET", PATH, params={"_since": "junk"}).status_code == 400


@pytest.mark.parametrize("sort", [None, "last_modified"])
def test_pages_are_chained_by_a_header_and_keep_what_was_asked(
    kinto: Kinto, sort: str | None
) -> None:
    ids = [f"n{number}" for number in range(5)]
    for each in ids:
        kinto.insert("tasks", {"id": each})
    query = {"_limit": 2, "_since": '"0"', **({"_sort": sort} if sort else {})}
    page = kinto.request("GET", PATH, params=query)
    version, seen = page.headers["ETag"], []
    while True:
        assert len(page.json()["data"]) <= 2
        seen += [record["id"] for record in page.json()["data"]]
        assert page.headers["ETag"] == version
        if "Next-Page" not in page.headers:
            break
        assert page.headers["Next-Page"].startswith(f"{kinto.base_url}/buckets/")
        page = kinto.request("GET", page.headers["Next-Page"])
    assert seen == (ids if sort else ids[::-1])  # the newest first, if nothing is said


def test_a_batch_answers_each_request_in_its_place(
    kinto: Kinto, one: tuple[str, dict[str, Any]]
) -> None:
    _, stored = one
    change = {"data": {"title": "x"}}
    entries = [
        {
            "method": "PUT",
            "path": f"{PATH}/two",
            "headers": {"If-None-Match": "*"},
            "body": change,
        },
        {
            "method": "PATCH",
            "path": f"/v1{PATH}/one",
            "headers": {"If-Match": '"1"'},
            "body": change,
        },
        {"method": "PATCH", "path": f"{PATH}/never", "body": change},
        {"method": "POST", "path": PATH, "body": {"title": "bare"}},
        {"method": "DELETE", "path": f"{PATH}/one", "headers": {"If-Match": quoted(stored)}},
    ]
    answer = kinto.request("POST", "/batch", json={"requests": entries})
    assert answer.status_code == 200
    responses = answer.json()["responses"]
    assert [each["status"] for each in responses] == [201, 412, 404, 400, 200]
    assert {"status", "path", "headers", "body"} == set(responses[0])
    assert responses[0]["path"] == f"/v1{PATH}/two"
    assert responses[0]["headers"]["ETag"] == quoted(responses[0]["body"]["data"])
    assert responses[1]["body"]["details"]["existing"] == stored
    assert responses[4]["body"]["data"]["deleted"] is True


def test_a_batch_takes_a_merge_patch_for_a_shallow_one(
    kinto: Kinto, one: tuple[str, dict[str, Any]]
) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    patch = {"data": {"tags": {"a": None}}}
    entry = {"method": "PATCH", "path": one[0], "headers": headers, "body": patch}
    kinto.fetch("POST", "/batch", json={"requests": [entry]})
    assert kinto.records("tasks")["one"]["tags"] == {"a": None}


def test_a_batch_too_long_or_malformed_is_refused_whole(kinto: Kinto) -> None:
    assert kinto.fetch("GET", "/")["settings"]["batch_max_requests"] == 25
    put = {"method": "PUT", "path": f"{PATH}/x", "body": {"data": {}}}
    too_long = kinto.request("POST", "/batch", json={"requests": [put] * 26})
    assert too_long.status_code == 400
    assert too_long.json()["message"] == "Number of requests is limited to 25"
    odd = kinto.request("POST", "/batch", json={"requests": [put, {**put, "method": "BREW"}]})
    assert odd.status_code == 400
    assert kinto.records("tasks") == {}


def test_credentials_are_needed_for_records_only(kinto: Kinto) -> None:
    assert requests.get(kinto.url("tasks"), timeout=10).status_code == 401
    assert requests.head(f"{kinto.base_url}/", timeout=10).status_code == 200
