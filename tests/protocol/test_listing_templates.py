"""Listings whose parameters are templates, and where their pages begin; servers on loopback."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync import ConfigError, Dialect, EntityConfig, SyncConfig, SyncEngine
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Seen
from tests.protocol.loopback import Loopback
from tests.typed import present

ALL: Json = {"cursor": None, "since": None}
ROWS = [{"id": str(number)} for number in range(7)]


def window(start: int, size: int = 3) -> list[Json]:
    return ROWS[start : start + size]


def numbered(first: int, size: int = 3, beyond: int = 404) -> Callable[[Seen], tuple[int, Json]]:
    """A listing by page numbers from ``first`` on; no such page: ``beyond``."""

    def handle(request: Seen) -> tuple[int, Json]:
        number = int(request.query.get("page", first))
        rows = window((number - first) * size, size) if number >= first else []
        if number < first or (beyond != 200 and not rows):
            return beyond, {"items": []}
        return 200, {"items": rows}

    return handle


def view(engine: SyncEngine) -> list[str]:
    return sorted(record["id"] for record in engine.records("notes"))


# --- templates


def rison(request: Seen) -> tuple[int, Json]:
    page = int(request.query["q"].split("page:")[1].split(",")[0])
    return 200, {"items": window(page * 3)}


def in_path(request: Seen) -> tuple[int, Json]:
    page = int(request.path.rpartition("/")[2])
    return 200, {"items": window(page * 3)}


def in_header(request: Seen) -> tuple[int, Json]:
    start = int(request.headers["x-from"])
    return 200, {"items": window(start, int(request.headers["x-rows"]))}


def flagged(request: Seen) -> tuple[int, Json]:
    page = int(request.query["page"])
    return 200, {"items": window((page - 1) * 3), "has_more": page < 3}


def full(request: Seen) -> tuple[int, Json]:
    return 200, {"items": window(int(request.query["from"]), 3)}


TEMPLATES = {
    "a number inside a parameter": (
        rison,
        {"next_page": "page:q", "start": 0, "query": {"q": "(page:{page},page_size:{limit})"}},
        ["/notes?q=%28page%3A0%2Cpage_size%3A3%29", "/notes?q=%28page%3A1%2Cpage_size%3A3%29"],
    ),
    "a number in the path": (
        in_path,
        {"next_page": "page:", "start": 0, "pull": "GET {endpoint}/at/{page}"},
        ["/notes/at/0?limit=3", "/notes/at/1?limit=3"],
    ),
    "rows counted in a header": (
        in_header,
        {"next_page": "offset:", "headers": {"X-From": "{offset}", "X-Rows": "{limit}"}},
        ["/notes", "/notes"],
    ),
    "a flag, and pages by their numbers": (
        flagged,
        {"next_page": "more:has_more", "query": {"page": "{page}"}},
        ["/notes?page=1&limit=3", "/notes?page=2&limit=3"],
    ),
    "full pages, by the number of their first row": (
        full,
        {"next_page": "full:top", "query": {"from": "{offset}"}},
        ["/notes?from=0&top=3", "/notes?from=3&top=3"],
    ),
}


@pytest.mark.parametrize(("handle", "fields", "targets"), TEMPLATES.values(), ids=TEMPLATES)
def test_what_a_template_asks_for(
    loopback: Callable[..., Loopback],
    connect: Callable[..., SyncEngine],
    handle: Callable[..., tuple[int, Json]],
    fields: Json,
    targets: list[str],
) -> None:
    api = loopback(handle)
    engine = connect(api, Dialect(**{**ALL, **fields}), page_size=3)
    assert engine.pull().success, engine.status.last_error
    assert view(engine) == sorted(row["id"] for row in ROWS)
    assert api.said[:2] == [f"GET {each}" for each in targets]


def test_headers_with_a_placeholder_go_with_pages_only(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = loopback(
        lambda request: in_header(request) if request.path == "/notes" else (200, {"id": "0"})
    )
    dialect = Dialect(**ALL, next_page="offset:", headers={"X-From": "{offset}", "X-Rows": "9"})
    engine = connect(api, dialect)
    assert engine.pull().success
    engine.push("notes", {"id": "0", "title": "x"}, "update")
    assert engine.flush(timeout=10).success
    assert [request.method for request in api.requests if "x-from" in request.headers] == [
        "GET"
    ] * 4
    assert api.requests[-1].method == "PATCH"
    assert {request.headers["x-rows"] for request in api.requests} == {"9"}


def test_a_cursor_in_a_parameter_is_left_out_until_there_is_one(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    """Blanks are ``%20``: some servers read a plus sign as one."""
    rows = [{"id": "1", "at": "2024-05-06 07:08:09"}]
    api = loopback(lambda request: (200, {"value": rows}))
    dialect = Dialect(
        items="value",
        cursor="max:at",
        next_page=None,
        query={"$filter": "at ge {cursor}", "$orderby": "at asc"},
    )
    engine = connect(api, dialect)
    assert engine.pull().success
    assert engine.pull().success
    assert api.said == [
        "GET /notes?%24orderby=at%20asc",
        "GET /notes?%24filter=at%20ge%202024-05-06%2007%3A08%3A09&%24orderby=at%20asc",
    ]


def test_other_braces_and_the_parameters_of_an_entity(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = loopback(lambda request: (200, {"items": [], "cursor": "c"}))
    dialect = Dialect(next_page=None, query={"where": {"at": {"$gt": "{cursor}"}}, "x": "{y}"})
    engine = connect(api, dialect, params={"since": "after:{cursor}"})
    assert engine.pull().success
    assert engine.pull().success
    assert [request.query for request in api.requests] == [
        {"x": "{y}"},
        {"where": json.dumps({"at": {"$gt": "c"}}), "x": "{y}", "since": "after:c"},
    ]


# --- tokens


def tokens(values: list[str | int]) -> Callable[[Seen], tuple[int, Json]]:
    """Pages of a row each; ``values`` are the tokens that lead from one to the next."""

    def handle(request: Seen) -> tuple[int, Json]:
        token = request.query.get("after")
        number = 0 if token is None else [str(each) for each in values].index(token) + 1
        following = values[number] if number < len(values) else None
        return 200, {"items": [{"id": str(number)}], "meta": {"next": following}}

    return handle


TOKEN: Json = {**ALL, "next_page": "token:meta.next", "query": {"after": "{token}"}}


@pytest.mark.parametrize("values", [["a/b+c=", "x y"], [17, 18], []])
def test_a_token_leads_to_the_next_page(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine], values: list[str | int]
) -> None:
    engine = connect(loopback(tokens(values)), Dialect(**TOKEN))
    assert engine.pull().success
    assert view(engine) == [str(number) for number in range(len(values) + 1)]


@pytest.mark.parametrize("token", [True, False, {"a": 1}, ["a"], 1.5])
def test_a_token_of_another_type_is_a_mapping_error(
    loopback: Callable[..., Loopback],
    connect: Callable[..., SyncEngine],
    token: Json | list[str] | float,
) -> None:
    api = loopback(lambda request: (200, {"items": ROWS, "meta": {"next": token}}))
    engine = connect(api, Dialect(**TOKEN))
    assert not engine.pull().success
    assert "`next_page` was expected at `meta.next`: a token" in present(engine.status.last_error)
    assert engine.status.reason == "mapping"


def test_a_token_given_to_a_url_or_a_flag_names_the_field_and_the_remedy(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = loopback(lambda request: (200, {"items": ROWS, "next": "eyJpZCI6MX0", "cursor": "c"}))
    for kind in ("url:next", "more:next"):
        engine = connect(api, Dialect(next_page=kind))
        assert not engine.pull().success
        assert "`next_page`" in present(engine.status.last_error)
        assert '"token:next"' in present(engine.status.last_error)


def test_a_token_that_the_server_does_not_follow_is_no_listing(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    """The parameter's name is wrong: every page is the first one."""
    api = loopback(lambda request: (200, {"items": ROWS, "meta": {"next": "t"}}))
    engine = connect(api, Dialect(**TOKEN))
    assert not engine.pull().success
    assert "would never end" in present(engine.status.last_error)


# --- a callable


def test_a_callable_is_given_the_url_and_the_body(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    asked = []

    def following(url: str, body: Json) -> str | None:
        asked.append((url, body["left"]))
        return f"{url.partition('?')[0]}?left={body['left']}" if body["left"] else None

    def handle(request: Seen) -> tuple[int, Json]:
        left = int(request.query.get("left", 3)) - 1
        return 200, {"items": [{"id": str(left)}], "left": left}

    api = loopback(handle)
    engine = connect(api, Dialect(**ALL, next_page=following))
    assert engine.pull().success
    assert view(engine) == ["0", "1", "2"]
    # links whose order nobody knows are gone through until nothing is new
    assert asked[:2] == [(f"{api.url}/notes", 2), (f"{api.url}/notes?left=2", 1)]


@pytest.mark.parametrize("found", [7, True, ["/notes?p=2"]])
def test_a_callable_that_returns_no_url_is_a_mapping_error(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine], found: Any
) -> None:
    api = loopback(lambda request: (200, {"items": ROWS}))
    engine = connect(api, Dialect(**ALL, next_page=lambda url, body: found))
    assert not engine.pull().success
    assert "`next_page`" in present(engine.status.last_error)


def test_a_callable_that_raises_is_named(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = loopback(lambda request: (200, {"items": ROWS}))
    engine = connect(api, Dialect(**ALL, next_page=lambda url, body: body["links"]["next"]))
    assert not engine.pull().success
    assert "`next_page` of Dialect raised KeyError" in present(engine.status.last_error)


# --- where pages begin

PAGES: Json = {**ALL, "next_page": "page:page"}


@pytest.mark.parametrize("beyond", [404, 200])
@pytest.mark.parametrize(("first", "start"), [(0, 0), (1, 1), (1, None)])
def test_pages_begin_at(
    loopback: Callable[..., Loopback],
    connect: Callable[..., SyncEngine],
    first: int,
    start: int | None,
    beyond: int,
) -> None:
    dialect = Dialect(**PAGES, start=start, total="n" if beyond == 404 else None)

    def handle(request: Seen) -> tuple[int, Json]:
        status, body = numbered(first, beyond=beyond)(request)
        return status, {**body, "n": len(ROWS)}

    api = loopback(handle)
    engine = connect(api, dialect)
    assert engine.pull().success, engine.status.last_error
    assert len(view(engine)) == len(ROWS)
    assert api.said[0] == f"GET /notes?page={first}"


@pytest.mark.parametrize("total", [None, "n"])
@pytest.mark.parametrize("size", [3, 100])
def test_pages_that_begin_at_zero_are_no_success_without_their_first(
    loopback: Callable[..., Loopback],
    connect: Callable[..., SyncEngine],
    size: int,
    total: str | None,
) -> None:
    def handle(request: Seen) -> tuple[int, Json]:
        status, body = numbered(0, size, beyond=200)(request)
        return status, {**body, "n": len(ROWS)}

    engine = connect(loopback(handle), Dialect(**PAGES, total=total))
    result = engine.pull()
    assert (result.success, result.errors) == (False, 1)
    assert "`start=0`" in present(engine.status.last_error)
    assert engine.status.reason == "mapping"
    assert not engine.pull().success, "the next one says the same"


def test_a_start_that_is_wrong_shows_in_the_total(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    def handle(request: Seen) -> tuple[int, Json]:
        status, body = numbered(0, beyond=200)(request)
        return status, {**body, "n": len(ROWS)}

    engine = connect(loopback(handle), Dialect(**PAGES, start=1, total="n"))
    assert not engine.pull().success
    assert "7 rows, and 4 came; do pages begin at another number" in present(
        engine.status.last_error
    )
    assert "`start`" in present(engine.status.last_error)


@pytest.mark.parametrize("answer", [404, 400, 422, 500, "the first", "all", "nothing"])
def test_what_a_server_says_of_page_zero_that_begins_at_one(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine], answer: Any
) -> None:
    def handle(request: Seen) -> tuple[int, Json]:
        if request.query["page"] != "0":
            return numbered(1, beyond=200)(request)
        rows = {"the first": window(0), "all": ROWS, "nothing": []}
        return (200, {"items": rows[answer]}) if answer in rows else (answer, {"error": "page"})

    api = loopback(handle)
    engine = connect(api, Dialect(**PAGES))
    assert engine.pull().success, engine.status.last_error
    asked = len(api.requests)
    assert engine.pull().success
    assert len(api.requests) - asked == 4 + (answer == "nothing"), "what is known is not asked for"


def test_a_server_that_crashes_on_page_zero_is_pulled_all_the_same(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    def handle(request: Seen) -> tuple[int, Json]:
        if request.query["page"] == "0":
            raise ConnectionAbortedError
        return numbered(1, beyond=200)(request)

    engine = connect(loopback(handle), Dialect(**PAGES))
    assert engine.pull().success, engine.status.last_error
    assert len(view(engine)) == len(ROWS)


def test_rows_counted_from_one(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    def handle(request: Seen) -> tuple[int, Json]:
        start = int(request.query["startIndex"])
        return 200, {"items": window(max(start - 1, 0), int(request.query["count"])), "n": 7}

    api = loopback(handle)
    offsets: Json = {"next_page": "offset:startIndex", "page_size": "count", "total": "n"}
    engine = connect(api, Dialect(**ALL, **offsets, start=1), page_size=3)
    assert engine.pull().success
    assert len(view(engine)) == 7
    assert [request.query["startIndex"] for request in api.requests[:3]] == ["1", "4", "7"]


def test_a_start_of_zero_where_pages_begin_at_one_is_no_success(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    def handle(request: Seen) -> tuple[int, Json]:
        number = max(int(request.query["page"]), 1)
        return 200, {"items": window((number - 1) * 3)}

    engine = connect(loopback(handle), Dialect(**PAGES, start=0))
    assert not engine.pull().success
    assert "`start`" in present(engine.status.last_error)


# --- links to another origin


def linked(base: str) -> Callable[[Seen], tuple[int, Json]]:
    def handle(request: Seen) -> tuple[int, Json]:
        last = request.query.get("page") == "2"
        following = None if last else f"{base}/notes?page=2"
        return 200, {"items": [{"id": "2" if last else "1"}], "next": following, "cursor": "c"}

    return handle


@pytest.mark.parametrize("base", ["https://127.0.0.1", "http://internal.invalid:8000"])
def test_rebased_links_are_followed_at_home(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine], base: str
) -> None:
    api = loopback(linked(base))
    engine = connect(api, Dialect(next_page="url:next", rebase_links=True))
    assert engine.pull().success, engine.status.last_error
    assert view(engine) == ["1", "2"]
    assert api.said == ["GET /notes", "GET /notes?page=2"]


def test_else_both_origins_and_the_remedy_are_named(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    api = loopback(linked("http://internal.invalid:8000"))
    engine = connect(api, Dialect(next_page="url:next"))
    assert not engine.pull().success
    for part in ("http://internal.invalid:8000", api.url, "rebase_links=True", "base_url"):
        assert part in present(engine.status.last_error)
    assert len(api.requests) == 1


# --- accept


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, "application/json"),
        ({"content_type": "application/vnd.api+json"}, "application/vnd.api+json"),
        ({"content_type": "application/merge-patch+json"}, "application/json"),
        ({"content_type": {"update": "application/merge-patch+json"}}, "application/json"),
        ({"accept": "application/hal+json"}, "application/hal+json"),
        ({"accept": "a/b", "headers": {"accept": "c/d"}}, "a/b"),
        ({"headers": {"Accept": "c/d"}}, "c/d"),
    ],
)
def test_the_accept_header(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine], fields: Json, sent: str
) -> None:
    api = loopback(lambda request: (200, {"items": [{"id": "1"}], "id": "1", "cursor": "c"}))
    engine = connect(api, Dialect(**fields))
    engine.push("notes", {"id": "1"})
    assert engine.full_sync(timeout=10).success
    assert {request.headers["accept"] for request in api.requests} == {sent}


# --- settings that do not go together


@pytest.mark.parametrize(
    ("fields", "entity", "told"),
    [
        ({"next_page": "token:next"}, {}, r'next_page.*nothing sends the token.*"\{token\}"'),
        ({"next_page": "page:"}, {}, r'next_page.*no template has "\{page\}"'),
        ({"next_page": "page:page"}, {"params": {"page": 1}}, "next_page.*`params` sets 'page'"),
        ({"next_page": "offset:skip"}, {"params": {"skip": 0}}, "next_page.*`params` sets 'skip'"),
        ({"pull": "GET {endpoint}/{cursor}"}, {}, "first_cursor is None"),
        ({"query": {"q": "{cursor},{page}"}, "next_page": "page:q"}, {}, "first_cursor is None"),
        ({"query": {"q": "{page},{limit}"}, "next_page": "page:q"}, {}, "page_size is None"),
        (
            {"pull": "GET {endpoint}/{token}?t={token}", "next_page": "token:t"},
            {},
            r"pull has \{token\} in its path",
        ),
    ],
)
def test_settings_that_could_not_ask_for_the_next_page(
    fields: Json, entity: Json, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        SyncConfig(
            base_url="http://server.invalid",
            entities={"notes": EntityConfig("/notes", **entity)},
            storage=":memory:",
            dialect=Dialect(**fields),
        )


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("wrapped", [True, False])
def test_the_id_of_the_last_row_is_a_token(
    loopback: Callable[..., Loopback],
    connect: Callable[..., SyncEngine],
    many: bool,
    wrapped: bool,
) -> None:
    """``starting_after`` of Stripe, ``id_after`` of GitLab; also in pages over a megabyte."""
    note = "x" * (400_000 if many else 1)
    rows = [{"id": f"r{number}", "note": note} for number in range(7)]

    def handle(request: Seen) -> tuple[int, Any]:
        after = request.query.get("after", "")
        rest = [row for row in rows if row["id"] > after]
        page = rest[: int(request.query["limit"])]
        return 200, {"data": page, "has_more": len(rest) > len(page)} if wrapped else page

    path = "data.-1.id" if wrapped else "-1.id"
    dialect = Dialect(
        items="data" if wrapped else "",
        query={"after": "{token}"},
        since=None,
        cursor=None,
        next_page=f"token:{path}",
        tombstone=None,
    )
    api = loopback(handle)
    engine = connect(api, dialect, page_size=3)
    assert engine.pull().success, engine.status.last_error
    assert engine.count("notes") == 7
    assert "GET /notes?after=r2&limit=3" in api.said
    wrong = connect(api, dialect.evolve(next_page=f"token:{path}s"), page_size=3)
    assert not wrong.pull().success
    assert "next_page" in present(wrong.status.last_error)
