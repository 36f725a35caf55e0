"""``dialect guess``: drafts from answers of the presets' servers and of well-known APIs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from requests.models import Response

from bytelyst_sync import SyncConfig
from bytelyst_sync.cli.settings import Flags, load
from bytelyst_sync.model import Json
from bytelyst_sync.testing import EngineFactory, Reply, SyncServer
from tests.cli.conftest import Done
from tests.cli.test_trial import MAPPINGS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ISSUES = "https://api.github.com/repositories/1/issues"
GITHUB = f"""HTTP/2 200
content-type: application/json; charset=utf-8
etag: W/"0c7a5b"
link: <{ISSUES}?page=2>; rel="next", <{ISSUES}?page=9>; rel="last"

[{{"id": 1, "node_id": "MDU6SXNzdWUx", "url": "https://api.github.com/repos/o/r/issues/1347",
  "number": 1347, "state": "open", "title": "Found a bug", "user": {{"login": "o", "id": 1}},
  "created_at": "2011-04-22T13:33:48Z", "updated_at": "2011-04-22T13:33:48Z"}}]
"""
STRIPE = {
    "object": "list",
    "url": "/v1/customers",
    "has_more": True,
    "data": [{"id": "cus_4QFJOjw2pOmAGJ", "object": "customer", "created": 1405641735}],
}
DRF = {
    "count": 3,
    "next": "http://api.example.org/accounts/?page=2",
    "previous": None,
    "results": [{"id": 1, "name": "a", "updated_at": "2024-05-06T07:08:09Z"}],
}
DRF_WITHOUT_TIME = {**DRF, "results": [{"id": 1, "name": "a"}]}
DRF_CURSOR = {"next": "http://x/a/?cursor=cD0y", "previous": None, "results": [{"id": 1}]}
ODATA = {
    "@odata.context": "https://services.example.org/$metadata#People",
    "@odata.nextLink": "https://services.example.org/People?$skiptoken=8",
    "value": [
        {"@odata.etag": 'W/"08D1"', "ID": 1, "name": "a", "modifiedAt": "2024-05-06T07:08:09Z"}
    ],
}
JSON_API = {
    "data": [{"type": "articles", "id": "1", "attributes": {"title": "x"}}],
    "links": {"self": "http://example.com/articles", "next": "http://example.com/articles?page=2"},
}
STRAPI = {
    "data": [
        {"id": 2, "documentId": "hgv1vny5cebq2l3czil1rpb3", "updatedAt": "2024-03-06T13:42:05.098Z"}
    ],
    "meta": {"pagination": {"page": 1, "pageSize": 25, "pageCount": 1, "total": 1}},
}
FASTAPI = {"items": [{"id": 1, "name": "a"}], "total": 7, "page": 1, "size": 1, "pages": 7}
FASTAPI_CURSOR = {
    "items": [{"id": "u1", "deleted_at": None}],
    "total": 9,
    "next_page": "Pg==",
    "current_page": "P",
}
SPRING = {
    "content": [{"id": 1, "version": 0, "lastModifiedDate": "2024-05-06T07:08:09.123+00:00"}],
    "number": 0,
    "size": 20,
    "totalElements": 40,
    "totalPages": 2,
    "last": False,
}
LARAVEL = {
    "data": [{"id": 1, "title": "x", "deleted_at": None, "updated_at": "2024-05-06 07:08:09"}],
    "links": {"first": "http://x/u?page=1", "next": "http://x/u?page=2"},
    "meta": {"current_page": 1, "last_page": 3, "per_page": 15, "total": 40},
}
GOOGLE = {
    "kind": "calendar#events",
    "nextPageToken": "CkEK",
    "items": [{"id": "e1", "updated": "2024-05-06T07:08:09Z"}],
}
SLACK = {
    "ok": True,
    "members": [{"id": "W1", "updated": 1502138686}],
    "response_metadata": {"next_cursor": "dXNl"},
}
HAL = {
    "_embedded": {"orders": [{"_links": {"self": {"href": "/orders/1"}}, "id": 1}]},
    "_links": {"next": {"href": "/orders?page=2"}},
}
OFFSET = {"offset": 0, "limit": 20, "total": 55, "rows": [{"uuid": "b5", "isDeleted": False}]}
LAST_PAGE = {"results": [{"id": 1}], "next": None}
COUCHDB = {
    "results": [
        {"seq": "1-x", "id": "a", "changes": [], "doc": {"_id": "a", "_rev": "1-a", "n": 1}}
    ],
    "last_seq": "1-x",
    "pending": 0,
}
HUBSPOT = {
    "results": [
        {
            "id": "7",
            "properties": {"name": "a", "hs_lastmodifieddate": "2024-05-06T07:08:09Z"},
            "updatedAt": "2024-05-06T07:08:09Z",
            "archived": False,
        }
    ],
    "paging": {"next": {"after": "7"}},
}
SALESFORCE = {
    "totalSize": 3,
    "done": False,
    "nextRecordsUrl": "/services/data/v59.0/query/01g-2000",
    "records": [{"Id": "001", "Name": "a", "LastModifiedDate": "2024-05-06T07:08:09.000+0000"}],
}
KINTO = 'HTTP/1.1 200 OK\nETag: "1"\nNext-Page: http://x/v1/b?_token=1\n\n' + json.dumps(
    {"data": [{"id": "a", "last_modified": 1434641515332, "title": "x"}]}
)
POCKETBASE = {
    "page": 1,
    "perPage": 30,
    "totalPages": 1,
    "totalItems": 2,
    "items": [
        {"id": "ae40239d2bc4477", "collectionName": "posts", "updated": "2022-06-25 11:03:50.052Z"}
    ],
}
DIRECTUS = {"data": [{"id": 1, "title": "x", "date_updated": None}], "meta": {"filter_count": 3}}
POSTGREST = [{"id": 1, "title": "x", "updated_at": "2024-05-06T07:08:09+00:00"}]
JSON_SERVER = 'HTTP/1.1 200 OK\nLink: <http://x/posts?_page=2>; rel="next"\n\n[{"id": "1"}]'

EXPECTED: Json = {
    "github": (GITHUB, {"items": "", "next_page": "rel:next", "tombstone": None, "version": None}),
    "stripe": (STRIPE, {"items": "data", "next_page": "more:has_more", "cursor": None}),
    "drf": (DRF, {"preset": "drf"}),
    "drf without a time": (DRF_WITHOUT_TIME, {"preset": "drf", "cursor": None, "since": None}),
    "drf, cursors": (
        DRF_CURSOR,
        {"items": "results", "next_page": "url:next", "pull": "GET {endpoint}/"},
    ),
    "odata": (ODATA, {"preset": "odata"}),
    "json:api": (JSON_API, {"preset": "json_api"}),
    "strapi": (STRAPI, {"preset": "strapi"}),
    "fastapi pages": (
        FASTAPI,
        {"next_page": "page:page", "start": 1, "page_size": "size", "total": "total"},
    ),
    "fastapi cursors": (FASTAPI_CURSOR, {"tombstone": "deleted_at", "total": "total"}),
    "spring": (
        SPRING,
        {"items": "content", "next_page": "page:page", "start": 0, "version": ["field:version"]},
    ),
    "laravel": (
        LARAVEL,
        {"next_page": "url:links.next", "total": "meta.total", "tombstone": "deleted_at"},
    ),
    "google": (GOOGLE, {"next_page": "token:nextPageToken", "query": {"pageToken": "{token}"}}),
    "slack": (SLACK, {"items": "members", "next_page": "token:response_metadata.next_cursor"}),
    "hubspot": (
        HUBSPOT,
        {
            "next_page": "token:paging.next.after",
            "query": {"after": "{token}"},
            "server_fields": ["updatedAt"],
        },
    ),
    "salesforce": (SALESFORCE, {"items": "records", "next_page": "url:nextRecordsUrl"}),
    "hal": (HAL, {"items": "_embedded.orders", "next_page": "url:_links.next.href"}),
    "offset": (
        OFFSET,
        {"next_page": "offset:offset", "tombstone": "isDeleted", "page_size": "limit"},
    ),
    "a last page": (LAST_PAGE, {"next_page": "url:next"}),
    "couchdb": (COUCHDB, {"preset": "couchdb"}),
    "kinto": (KINTO, {"preset": "kinto"}),
    "pocketbase": (POCKETBASE, {"preset": "pocketbase"}),
    "directus": (DIRECTUS, {"items": "data", "next_page": "page:page"}),
    "postgrest": (POSTGREST, {"items": "", "next_page": "page:page", "cursor": None}),
    "json_server": (JSON_SERVER, {"items": "", "next_page": "rel:next", "version": None}),
}


@pytest.fixture
def guess(cli: Callable[..., Done], tmp_path: Path) -> Callable[..., str]:
    """Guesses from samples; gives the printed draft, and what is in it."""

    def run(*samples: str | Json, code: int = 0) -> str:
        names = []
        for number, sample in enumerate(samples):
            names.append(f"{number}.json")
            text = sample if isinstance(sample, str) else json.dumps(sample)
            (tmp_path / names[-1]).write_text(text)
        done = cli("dialect", "guess", *names, code=code)
        return done.out if code == 0 else done.err

    return run


def configured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    draft: str,
    base_url: str = "https://api.example.com",
) -> SyncConfig:
    """The draft as a configuration file, as a user would make it."""
    path = tmp_path / "bytelyst-sync.toml"
    path.write_text(f"base_url = {base_url!r}\nstorage = 'guessed.db'\n{draft}")
    return load(Flags()).config


@pytest.mark.parametrize("name", EXPECTED)
def test_well_known_apis(
    guess: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sample, expected = EXPECTED[name]
    draft = guess(sample)
    said = tomllib.loads(draft)["dialect"]
    for field, value in expected.items():
        assert said[field] == (False if value is None else value), draft
    assert isinstance(configured(tmp_path, monkeypatch, draft), SyncConfig)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_line_has_its_reason(guess: Callable[..., str], name: str) -> None:
    lines = guess(EXPECTED[name][0]).splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if " = " in line and not line.startswith("#"):
            reason = before.startswith("#") or " = " in before or "    # " in line
            assert reason, line


FOLLOWED = ["rest", "kinto", "json_server", "couchdb", "odata", "strapi"]
"""Those whose answers show how their pages go on, and where the server lists its records."""


def dumped(answer: Response) -> str:
    """An answer as ``curl -i`` saves it."""
    head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    return f"HTTP/1.1 {answer.status_code} OK\r\n{head}\r\n{answer.text}"


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_draft_pulls_what_the_server_has(
    cli: Callable[..., Done],
    guess: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    mapping = MAPPINGS[name]
    entities = {"notes": mapping.entity}
    with SyncServer(dialect=mapping.dialect, entities=entities, page_size=3) as server:
        for number in range(4):
            server.put("notes", {mapping.id_field: str(number), "title": f"n{number}"})
        with EngineFactory(server.url) as factory:
            engine = factory(entities=entities, dialect=mapping.dialect)
            engine.pull(timeout=20)
            engine.wait(engine.push("notes", {"title": "n4"}), 20)
        target = next(seen.target for seen in server.requests if seen.method == "GET")
        posted = next(seen for seen in server.requests if seen.method in ("POST", "PUT"))
        one = next(iter(server.records("notes")))
        listing = requests.get(server.url + target, timeout=20)
        reads = mapping.dialect.read.partition(" ")[2]
        path = reads.replace("{endpoint}", mapping.entity.endpoint.strip("/")).replace("{id}", one)
        single = requests.get(f"{server.url}/{path}", timeout=20)
        assert (listing.status_code, single.status_code, posted.status // 100) == (200, 200, 2)
        draft = guess(dumped(listing), dumped(single))
        draft = draft.replace('endpoint = "/notes"', f'endpoint = "{mapping.entity.endpoint}"')
        configured(tmp_path, monkeypatch, draft, server.url)
        assert cli("pull", "--json").json["success"], draft
        titles = {json.loads(line)["title"] for line in cli("records", "notes").out.splitlines()}
        assert titles == {f"n{number}" for number in range(5)}, draft
        assert "ok   entities    notes: " in cli("doctor", code=None).out


def test_a_page_that_is_guessed_and_ignored_is_no_success(
    cli: Callable[..., Done],
    guess: Callable[..., str],
    server: SyncServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"id": number} for number in range(3)]
    server.reject = lambda seen: Reply(200, rows) if seen.method == "GET" else None
    configured(tmp_path, monkeypatch, guess(rows), server.url)
    done = cli("pull", "--json", code=1).json
    assert not done["success"]
    assert "page" in done["last_error"]


def test_answers_to_writes_show_more(guess: Callable[..., str]) -> None:
    listing = {"data": [{"id": 1, "rev": 3, "title": "x", "createdAt": "2024-01-01T00:00:00Z"}]}
    made = 'HTTP/1.1 201 Created\r\nETag: "3"\r\n\r\n{"data": {"id": 1, "title": "x"}}'
    refused = 'HTTP/1.1 412 No\n\n{"error": "changed", "current": {"id": 1, "title": "y"}}'
    said = tomllib.loads(guess(listing, made, refused))["dialect"]
    assert said["record"] == "data"
    assert said["version"] == ["header:ETag", "field:rev"]
    assert said["current"] == ["current"]
    assert said["server_fields"] == ["createdAt"]


def test_as_json(cli: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "get.json").write_text(json.dumps(FASTAPI))
    found = cli("dialect", "guess", "get.json", "--json").json
    assert found["preset"] is None
    fields = {each["field"]: each for each in found["dialect"]}
    assert fields["total"]["value"] == "total"
    assert fields["total"]["why"] == "7 of which 1 are here"


def test_from_standard_input_and_by_name(cli: Callable[..., Done]) -> None:
    done = cli("dialect", "guess", "-", "--name", "tasks", stdin=json.dumps(FASTAPI))
    assert "[entities.tasks]" in done.out


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "it has neither a list nor an object"),
        ("<html>", "0.json is not JSON"),
        ('"text"', "it has neither a list nor an object"),
        ('{"id": 1}', "there is no list of records in it"),
        ("[" * 100_000, "0.json is nested too deeply"),
    ],
)
def test_what_is_no_listing(guess: Callable[..., str], text: str, error: str) -> None:
    assert error in guess(text, code=2)


def test_a_file_that_is_not_there(cli: Callable[..., Done]) -> None:
    assert "cannot be read" in cli("dialect", "guess", "nowhere.json", code=2).err
