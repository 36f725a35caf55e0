"""What express-pouchdb does, as ``Dialect.couchdb()`` takes it, and where CouchDB differs."""

from typing import Any

import pytest

from tests.servers.couchdb import CouchDB

CONFLICT = {"error": "conflict", "reason": "Document update conflict"}
MISSING = {"error": "not_found", "reason": "missing"}
MERGE_PATCH = "application/merge-patch+json"


@pytest.fixture
def couchdb(couchdb_server: CouchDB) -> CouchDB:
    return couchdb_server


@pytest.fixture
def one(couchdb: CouchDB) -> dict[str, Any]:
    return couchdb.insert("tasks", {"_id": "one", "title": "there"})


def test_an_answer_to_a_write_carries_id_and_revision_only(couchdb: CouchDB) -> None:
    answer = couchdb.request("PUT", "/tasks/new", json={"title": "new"})
    rev = answer.json()["rev"]
    assert answer.status_code == 201
    assert answer.json() == {"ok": True, "id": "new", "rev": rev}
    assert rev.startswith("1-")
    assert answer.headers["ETag"] == f'"{rev}"'
    assert couchdb.fetch("GET", "/tasks/new") == {"_id": "new", "_rev": rev, "title": "new"}


def test_the_etag_of_a_read_or_a_post_is_no_revision(couchdb: CouchDB, one: dict[str, Any]) -> None:
    """With CouchDB, it is."""
    assert couchdb.request("GET", "/tasks/one").headers["ETag"].startswith('W/"')
    assert couchdb.request("POST", "/tasks", json={"a": 1}).headers["ETag"].startswith('W/"')


def test_the_content_type_is_json_if_that_is_asked_for(
    couchdb: CouchDB, one: dict[str, Any]
) -> None:
    plain = couchdb.request("GET", "/tasks/one")
    assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
    asked = couchdb.request("GET", "/tasks/one", headers={"Accept": "application/json"})
    assert asked.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(("method", "path"), [("PUT", "/tasks/one"), ("POST", "/tasks")])
def test_a_create_of_what_exists_is_a_conflict_without_the_record(
    couchdb: CouchDB, one: dict[str, Any], method: str, path: str
) -> None:
    answer = couchdb.request(method, path, json={"_id": "one"}, headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.json()) == (409, CONFLICT)


def test_an_update_wants_the_revision_in_the_body_or_the_query(
    couchdb: CouchDB, one: dict[str, Any]
) -> None:
    first = couchdb.request("PUT", "/tasks/one", json={"title": "x", "_rev": one["_rev"]})
    assert first.status_code == 201
    rev = first.json()["rev"]
    second = couchdb.request("PUT", "/tasks/one", params={"rev": rev}, json={"title": "y"})
    assert second.json()["rev"].startswith("3-")
    for stale in ({"json": {"_rev": rev}}, {"json": {}, "params": {"rev": rev}}):
        answer = couchdb.request("PUT", "/tasks/one", **stale)
        assert (answer.status_code, answer.json()) == (409, CONFLICT)


def test_if_match_is_not_looked_at(couchdb: CouchDB, one: dict[str, Any]) -> None:
    """With CouchDB, it is."""
    headers = {"If-Match": one["_rev"]}
    assert couchdb.request("PUT", "/tasks/one", json={}, headers=headers).status_code == 409
    headers = {"If-Match": "1-0123456789abcdef0123456789abcdef"}
    assert couchdb.request("DELETE", "/tasks/one", headers=headers).status_code == 200


def test_an_update_of_what_is_not_there_is_a_conflict(
    couchdb: CouchDB, one: dict[str, Any]
) -> None:
    couchdb.remove("tasks", "one")
    for path in ("/tasks/one", "/tasks/never"):
        answer = couchdb.request("PUT", path, json={"_rev": one["_rev"]})
        assert (answer.status_code, answer.json()) == (409, CONFLICT)
        assert couchdb.request("GET", path).json() == MISSING


def test_there_is_no_patch(couchdb: CouchDB, one: dict[str, Any]) -> None:
    answer = couchdb.request("PATCH", "/tasks/one", json={"title": "x"})
    assert (answer.status_code, answer.json()) == (404, MISSING)


def test_a_delete_wants_the_revision_in_the_query(couchdb: CouchDB, one: dict[str, Any]) -> None:
    newer = couchdb.change("tasks", "one", title="newer")
    stale = couchdb.request("DELETE", "/tasks/one", params={"rev": one["_rev"]})
    assert (stale.status_code, stale.json()) == (409, CONFLICT)
    answers = [
        couchdb.request("DELETE", "/tasks/one", params={"rev": newer["_rev"]}) for _ in range(2)
    ]
    assert [each.status_code for each in answers] == [200, 409]  # a repeated one is a conflict
    assert answers[0].json().items() >= {"ok": True, "id": "one"}.items()
    assert couchdb.request("GET", "/tasks/one").status_code == 404
    never = couchdb.request("DELETE", "/tasks/never", params={"rev": one["_rev"]})
    assert (never.status_code, never.json()) == (404, MISSING)


def test_a_delete_without_a_revision_deletes(couchdb: CouchDB, one: dict[str, Any]) -> None:
    """CouchDB answers 409."""
    assert couchdb.request("DELETE", "/tasks/one").status_code == 200


def test_what_was_deleted_can_be_created_again(couchdb: CouchDB, one: dict[str, Any]) -> None:
    couchdb.remove("tasks", "one")
    answer = couchdb.request("PUT", "/tasks/one", json={"title": "back"})
    assert answer.status_code == 201
    assert answer.json()["rev"].startswith("3-")


def test_a_field_of_another_kind_that_begins_with_an_underscore_is_refused(
    couchdb: CouchDB,
) -> None:
    """CouchDB answers 400."""
    answer = couchdb.request("PUT", "/tasks/a", json={"_mine": 1})
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "doc_validation",
        "reason": "Bad special document member: _mine",
    }
    nested = couchdb.request("PUT", "/tasks/a", json={"ours": {"_mine": 1}, "id": "a", "n": None})
    assert nested.status_code == 201
    assert couchdb.records("tasks")["a"].items() >= {"id": "a", "n": None}.items()


def test_another_content_type_is_not_read(couchdb: CouchDB) -> None:
    headers = {"Content-Type": MERGE_PATCH}
    answer = couchdb.request("PUT", "/tasks/a", data='{"title": "x"}', headers=headers)
    assert answer.status_code == 201
    assert set(couchdb.records("tasks")["a"]) == {"_id", "_rev"}


def test_the_feed_has_each_record_once_in_the_order_of_change(
    couchdb: CouchDB, one: dict[str, Any]
) -> None:
    couchdb.insert("tasks", {"_id": "two"})
    changed = couchdb.change("tasks", "one", title="changed")
    couchdb.remove("tasks", "two")
    feed = couchdb.fetch("GET", "/tasks/_changes", params={"include_docs": "true", "since": 0})
    assert set(feed) == {"results", "last_seq"}  # CouchDB tells what is pending, too
    assert [(each["id"], each["seq"]) for each in feed["results"]] == [("one", 3), ("two", 4)]
    assert feed["last_seq"] == 4
    assert feed["results"][0]["doc"] == changed
    gone = feed["results"][1]
    rev = gone["changes"][0]["rev"]
    assert gone["deleted"] is True
    assert gone["doc"] == {"_id": "two", "_rev": rev, "_deleted": True}


def test_the_feed_comes_in_pages(couchdb: CouchDB) -> None:
    for number in range(3):
        couchdb.insert("tasks", {"_id": f"n{number}"})
    pages = []
    since = 0
    for _ in range(3):
        query = {"include_docs": "true", "since": since, "limit": 2}
        page = couchdb.fetch("GET", "/tasks/_changes", params=query)
        pages.append([each["id"] for each in page["results"]])
        since = page["last_seq"]
    assert (pages, since) == ([["n0", "n1"], ["n2"], []], 3)


def test_a_bulk_answers_each_record_in_its_place(couchdb: CouchDB, one: dict[str, Any]) -> None:
    docs = [
        {"_id": "new", "title": "x"},
        {"_id": "one", "title": "no revision"},
        {"_id": "one", "title": "changed", "_rev": one["_rev"]},
        {"_id": "never", "title": "x", "_rev": one["_rev"]},
        {"_id": "twice", "title": "x"},
        {"_id": "twice", "title": "y"},
    ]
    answer = couchdb.request("POST", "/tasks/_bulk_docs", json={"docs": docs})
    assert answer.status_code == 201
    results = answer.json()
    assert [each["id"] for each in results] == [doc["_id"] for doc in docs]
    assert [each.get("ok") for each in results] == [True, None, True, None, True, None]
    assert set(results[0]) == {"ok", "id", "rev"}
    assert results[1] == {"id": "one", **CONFLICT}


def test_a_bulk_deletes(couchdb: CouchDB, one: dict[str, Any]) -> None:
    tombstone = {"_id": "one", "_rev": one["_rev"], "_deleted": True}
    first, again = (
        couchdb.fetch("POST", "/tasks/_bulk_docs", json={"docs": [tombstone]}) for _ in range(2)
    )
    assert first[0]["ok"] is True
    assert again == [{"id": "one", **CONFLICT}]
    assert couchdb.records("tasks") == {}


def test_one_malformed_record_spoils_a_bulk(couchdb: CouchDB) -> None:
    docs = [{"_id": "good"}, {"_id": "bad", "_mine": 1}]
    answer = couchdb.request("POST", "/tasks/_bulk_docs", json={"docs": docs})
    assert (answer.status_code, answer.json()["error"]) == (500, "doc_validation")
    assert couchdb.records("tasks") == {}
