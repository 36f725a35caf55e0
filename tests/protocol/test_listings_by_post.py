"""Listings by POST: the parameters of a page are members of a JSON body."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync import Dialect, EntityConfig, SyncEngine
from bytelyst_sync.testing import Seen, SyncServer
from tests.protocol.loopback import Loopback
from tests.typed import NewEngine

ROWS = [{"id": str(number), "edited": f"2024-05-06T07:08:{number:02}Z"} for number in range(7)]
NOTION = Dialect(
    pull="POST /databases/d1/query",
    items="results",
    query={
        "start_cursor": "{token}",
        "filter": {"timestamp": "edited", "edited": {"on_or_after": "{cursor}"}},
        "sorts": [{"timestamp": "edited", "direction": "ascending"}],
    },
    page_size="page_size",
    since=None,
    cursor="max:edited",
    next_page="token:next_cursor",
    version=None,
    send_version=None,
    tombstone=None,
    idempotency=None,
)


def notion(request: Seen) -> Any:
    body = request.body
    if request.method != "POST" or not isinstance(body.get("page_size", 0), int):
        return 400, {"message": "invalid"}
    least = body.get("filter", {}).get("edited", {}).get("on_or_after", "")
    rows = [row for row in ROWS if row["edited"] >= least]
    begin = int(body.get("start_cursor", 0))
    end = begin + body.get("page_size", 100)
    more = end < len(rows)
    return 200, {"results": rows[begin:end], "next_cursor": str(end) if more else None}


def test_tokens_cursors_and_sizes_go_into_the_body(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = loopback(notion)
    engine = connect(api, NOTION, page_size=3)
    assert engine.pull().success, engine.status.last_error
    assert engine.count("notes") == 7
    assert set(api.said) == {"POST /databases/d1/query"}
    assert api.requests[0].headers["content-type"] == "application/json"
    sorts = [{"timestamp": "edited", "direction": "ascending"}]
    assert [request.body for request in api.requests[:2]] == [
        {"page_size": 3, "sorts": sorts},
        {"page_size": 3, "sorts": sorts, "start_cursor": "3"},
    ]
    api.requests.clear()
    assert engine.pull().success
    assert api.requests[0].body["filter"]["edited"] == {"on_or_after": "2024-05-06T07:08:06Z"}


@pytest.mark.parametrize(
    "fields",
    [
        {"next_page": "more:has_more"},
        {"next_page": "offset:from", "since": None, "cursor": None, "total": "total"},
        {
            "next_page": "token:next",
            "query": {"after": "{token}", "from": "at {cursor}"},
            "since": None,
        },
    ],
)
def test_the_server_for_tests_lists_by_post(new_engine: NewEngine, fields: dict[str, Any]) -> None:
    dialect = Dialect(pull="POST {endpoint}/search", **fields)
    with SyncServer(dialect=dialect) as server:
        one, two = (
            new_engine(
                server.url,
                dialect=dialect,
                entities={"notes": EntityConfig("/notes", page_size=3)},
            )
            for _ in range(2)
        )
        one.push_many("notes", [{"id": str(number)} for number in range(7)])
        assert one.flush(timeout=10).success
        assert two.pull(timeout=10).success, two.status.last_error
        assert two.count("notes") == 7


def test_numbers_are_numbers_wherever_they_stand(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = loopback(lambda request: (200, {"items": []}))
    query = {"page": {"number": "{page}", "size": "{limit}"}, "text": "first {limit}"}
    dialect = Dialect(
        pull="POST {endpoint}", query=query, next_page="page:", start=1, since=None, cursor=None
    )
    assert connect(api, dialect, page_size=3).pull().success
    assert json.dumps(api.requests[0].body) == json.dumps(
        {"page": {"number": 1, "size": 3}, "text": "first 3"}
    )
