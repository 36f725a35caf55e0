"""Ties, circles, endless listings, totals: every listing ends, and none is whole by accident."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bytelyst_sync import ConfigError, Dialect, EntityConfig, Request, SyncEngine
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from tests.conftest import Scripted
from tests.typed import NewEngine, ViewOf, present


def answer(body: Json, status: int = 200, **headers: Any) -> Response:
    return Response(status, headers, json.dumps(body).encode(), "")


class Feed:
    """A server of rows by ``updated_at``: those from ``since`` on, ``limit`` at a time, never
    more than ``most``. A transport.
    """

    def __init__(self, times: list[str], most: int = 1000, flag: bool = True) -> None:
        self.rows = [{"id": str(n), "updated_at": time} for n, time in enumerate(times)]
        self.most = most
        self.flag = flag
        self.by_number = True
        self.asked: list[Any] = []

    def send(self, request: Request) -> Response:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}
        self.asked.append(query)
        rows = [row for row in self.rows if row["updated_at"] >= query.get("since", "")]
        rows.sort(key=lambda row: (row["updated_at"], row["id"]))
        size = min(int(query.get("limit", 3)), self.most)
        start = int(query.get("offset", 0))
        if "page" in query and self.by_number:
            start = (int(query["page"]) - 1) * size
        page = {"items": rows[start : start + size]}
        return answer({**page, "has_more": len(rows) > size} if self.flag else page)


TIES = [
    ["t1"] * 10,
    ["t1", "t2", "t2", "t2", "t2", "t2", "t3"],
    ["t1", "t1", "t1", "t2", "t2", "t2"],
    ["t1"] * 3,
    ["t1"] * 4,
    ["t1"] * 6 + ["t2"] * 7,
    [f"t{n}" for n in range(9)],
]


@pytest.mark.parametrize("times", TIES, ids=str)
@pytest.mark.parametrize("kind", ["more:has_more", "full:limit"])
def test_more_rows_may_share_an_instant_than_a_page_holds(
    new_engine: NewEngine, view_of: ViewOf, times: list[str], kind: str
) -> None:
    feed = Feed(times, flag=kind.startswith("more"))
    entity = EntityConfig("/notes", page_size=3)
    dialect = Dialect(cursor="max:updated_at", next_page=kind)
    engine = new_engine(transport=feed, entities={"notes": entity}, dialect=dialect)
    result = engine.pull()
    assert result.success, result
    assert len(view_of(engine)) == len(times)
    feed.rows.append({"id": "late", "updated_at": times[-1]})
    assert engine.pull().pulled == 1, "the last instant is read again"
    count = len(feed.asked)
    assert engine.pull().pulled == 0
    assert len(feed.asked) - count <= 4, "and not for ever"


def test_a_tie_that_the_server_gives_no_page_for_is_an_error_with_the_rows_kept(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    feed = Feed(["t1"] * 10, most=4)
    entity = EntityConfig("/notes", page_size=3)
    dialect = Dialect(cursor="max:updated_at")
    engine = new_engine(transport=feed, entities={"notes": entity}, dialect=dialect)
    result = engine.pull()
    assert (result.success, result.errors) == (False, 1)
    assert "`page_size`" in present(engine.status.last_error)
    assert len(view_of(engine)) == 4
    assert len(feed.asked) < 6


# servers that give fewer rows than they are asked for


def at_second(number: int) -> str:
    return f"2026-01-01T00:00:{number:02}Z"


@pytest.mark.parametrize("paging", ["cursor", "offset", "page"])
def test_a_server_that_limits_its_pages_is_listed_to_its_end(
    new_engine: NewEngine, view_of: ViewOf, paging: str
) -> None:
    feed = Feed([at_second(n) for n in range(30)], most=7, flag=False)
    query = {} if paging == "cursor" else {paging: f"{{{paging}}}"}
    dialect = Dialect(cursor="max:updated_at", next_page="full:limit", query=query)
    entity = EntityConfig("/notes", page_size=100)
    engine = new_engine(transport=feed, entities={"notes": entity}, dialect=dialect)
    assert engine.pull().success
    assert len(view_of(engine)) == 30
    count = len(feed.asked)
    assert engine.pull().pulled == 0
    assert len(feed.asked) - count <= 2, "a page that is shorter than others is the last"


def test_a_short_page_is_followed_by_one_request_until_a_longer_one_was_seen(
    new_engine: NewEngine,
) -> None:
    feed = Feed([at_second(n) for n in range(5)], flag=False)
    dialect = Dialect(cursor="max:updated_at", next_page="full:limit")
    entity = EntityConfig("/notes", page_size=100)
    engine = new_engine(transport=feed, entities={"notes": entity}, dialect=dialect)
    asked = []
    for _ in range(3):
        assert engine.pull().success
        asked.append(len(feed.asked))
        feed.asked.clear()
    assert asked == [2, 1, 1]


@pytest.mark.parametrize("status", [400, 404, 416, 422])
@pytest.mark.parametrize("paging", ["cursor", "page"])
def test_a_refused_page_behind_a_short_one_is_the_end(
    new_engine: NewEngine, view_of: ViewOf, paging: str, status: int
) -> None:
    feed = Feed([at_second(n) for n in range(5)], flag=False)

    class Refusing:
        def send(self, request: Request) -> Response:
            behind = "since=" in request.url if paging == "cursor" else "page=2" in request.url
            return answer({"detail": "no such page"}, status) if behind else feed.send(request)

    query = {} if paging == "cursor" else {"page": "{page}"}
    dialect = Dialect(cursor="max:updated_at", next_page="full:limit", query=query, start=1)
    entity = EntityConfig("/notes", page_size=100)
    engine = new_engine(transport=Refusing(), entities={"notes": entity}, dialect=dialect)
    assert engine.pull().success, engine.status.last_error
    assert len(view_of(engine)) == 5


@pytest.mark.parametrize("times", [[at_second(1)] * 10, [at_second(0)] * 2 + [at_second(1)] * 10])
@pytest.mark.parametrize("size", [3, 100])
def test_rows_behind_a_tie_that_fills_a_limited_page_are_missed_by_no_success(
    new_engine: NewEngine, view_of: ViewOf, times: list[str], size: int
) -> None:
    feed = Feed([*times, *[at_second(2)] * 5], most=4, flag=False)
    dialect = Dialect(cursor="max:updated_at", next_page="full:limit")
    entity = EntityConfig("/notes", page_size=size)
    engine = new_engine(transport=feed, entities={"notes": entity}, dialect=dialect)
    for _ in range(3):
        result = engine.pull()
        assert (result.success, result.errors) == (False, 1)
        assert "`page_size`" in present(engine.status.last_error)
    assert len(view_of(engine)) >= 4, "what came is kept"
    feed.most = 1000
    assert engine.pull().success
    assert len(view_of(engine)) == len(times) + 5


def test_equal_pages_of_a_server_that_knows_no_numbers_are_its_only_page(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    feed = Feed([at_second(n) for n in range(5)], flag=False)
    feed.by_number = False
    dialect = Dialect(
        cursor="max:updated_at", next_page="full:limit", query={"page": "{page}"}, start=1
    )
    entity = EntityConfig("/notes", page_size=100)
    engine = new_engine(transport=feed, entities={"notes": entity}, dialect=dialect)
    assert engine.pull().success, engine.status.last_error
    assert len(view_of(engine)) == 5


# next pages that are looked for in a wrong place


class Chain:
    """A server of ten rows, which names the next page in every way, on the last page in none."""

    def __init__(self, size: int = 4, obeys: bool = True, floor: int = 1) -> None:
        self.size, self.obeys, self.floor = size, obeys, floor
        self.asked: list[Any] = []

    def send(self, request: Request) -> Response:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}
        self.asked.append(query)
        size = min(int(query.get("limit", self.size)), self.size) if self.obeys else self.size
        if size < self.floor:
            return answer({"error": "limit is too small"}, 422)
        start = int(query.get("token", 0))
        body: Json = {"items": [{"id": str(n)} for n in range(10)][start : start + size]}
        headers: Json = {}
        if start + size < 10:
            url = f"/notes?token={start + size}&limit={size}"
            body |= {"next": url, "meta": {"token": start + size}}
            headers = {"next-page": url, "link": f'<{url}>; rel="next"'}
        return answer(body, **headers)


QUERY = {"token": "{token}"}
LINKS = {
    # the right field, the misspelt one
    "token": (
        {"next_page": "token:meta.token", "query": QUERY},
        {"next_page": "token:meta.tokn", "query": QUERY},
    ),
    "url": ({"next_page": "url:next"}, {"next_page": "url:nxt"}),
    "header": ({"next_page": "header:Next-Page"}, {"next_page": "header:Next"}),
    "rel": ({"next_page": "rel:next"}, {"next_page": "rel:nxt"}),
    "callable": (
        {"next_page": lambda _url, body: body.get("next")},
        {"next_page": lambda _url, body: body.get("nxt")},
    ),
}


def chained(
    new_engine: NewEngine, chain: Chain | Scripted, fields: dict[str, Any], **entity: Any
) -> SyncEngine:
    dialect = Dialect(since=None, cursor=None, tombstone=None, **fields)
    entities = {"notes": EntityConfig("/notes", **entity)}
    return new_engine(transport=chain, entities=entities, dialect=dialect)


@pytest.mark.parametrize("page_size", [None, 3, 4, 50])
@pytest.mark.parametrize("fields", [each[1] for each in LINKS.values()], ids=LINKS)
def test_a_misspelt_next_page_is_never_the_end(
    new_engine: NewEngine, view_of: ViewOf, fields: dict[str, Any], page_size: int | None
) -> None:
    engine = chained(new_engine, Chain(), fields, page_size=page_size)
    for _ in range(2):
        result = engine.pull()
        assert not result.success
        assert "`next_page`" in present(engine.status.last_error)
        assert engine.status.reason == "mapping"
    assert len(view_of(engine)) == min(page_size or 4, 4), "what came is kept"
    assert not engine.reconcile("notes").success
    assert len(view_of(engine)) == min(page_size or 4, 4)


@pytest.mark.parametrize("fields", [each[0] for each in LINKS.values()], ids=LINKS)
def test_a_listing_of_one_page_is_asked_once_whether_it_would_name_a_next_one(
    new_engine: NewEngine, view_of: ViewOf, fields: dict[str, Any]
) -> None:
    chain = Chain(size=20)
    engine = chained(new_engine, chain, fields)
    assert engine.pull().success, engine.status.last_error
    assert engine.pull().success
    assert [query.get("limit") for query in chain.asked] == [None, "1", None]
    assert len(view_of(engine)) == 10


@pytest.mark.parametrize("fields", [each[0] for each in LINKS.values()], ids=LINKS)
def test_pages_that_named_their_next_one_prove_it(
    new_engine: NewEngine, view_of: ViewOf, fields: dict[str, Any]
) -> None:
    chain = Chain()
    engine = chained(new_engine, chain, fields)
    assert engine.pull().success, engine.status.last_error
    assert "1" not in [query.get("limit") for query in chain.asked]
    assert len(view_of(engine)) == 10


@pytest.mark.parametrize(
    "chain", [Chain(size=20, obeys=False), Chain(size=20, floor=5)], ids=["ignored", "refused"]
)
def test_a_server_that_gives_no_page_of_one_row_is_believed_and_asked_once(
    new_engine: NewEngine, chain: Chain
) -> None:
    engine = chained(new_engine, chain, {"next_page": "url:nxt"})
    assert engine.pull().success
    assert engine.pull().success
    assert len(chain.asked) == 3


def test_a_total_proves_that_the_only_page_is_the_last(
    new_engine: NewEngine, scripted: type[Scripted]
) -> None:
    wire = scripted(answer({"items": [{"id": "1"}, {"id": "2"}], "count": 2}))
    engine = chained(new_engine, wire, {"next_page": "url:nxt", "total": "count"})
    assert engine.pull().success
    assert len(wire.requests) == 1


# listings that never end


def circle_of_urls(n: int, query: Json) -> Json:
    return {"next": "/notes?page=" + {None: "b", "b": "c", "c": "b"}[query.get("page")]}


ENDLESS = {
    "a circle of URLs": ({"next_page": "url:next", "cursor": None, "since": None}, circle_of_urls),
    "its own URL": (
        {"next_page": "url:next", "cursor": None, "since": None},
        lambda n, query: {"next": "/notes?page=1"},
    ),
    "a circle of cursors": (
        {},
        lambda n, query: {"cursor": f"c{n % 3}", "has_more": True},
    ),
    "a cursor that stays": ({}, lambda n, query: {"cursor": "c", "has_more": True}),
    "empty pages": ({}, lambda n, query: {"items": [], "cursor": f"c{n}", "has_more": True}),
    "the same rows under new cursors": (
        {},
        lambda n, query: {"items": [{"id": "1"}], "cursor": f"c{n}", "has_more": True},
    ),
    "the same rows under new URLs": (
        {"next_page": "url:next", "cursor": None, "since": None},
        lambda n, query: {"items": [{"id": "1"}], "next": f"/notes?page={n}"},
    ),
    "a page parameter that is ignored": (
        {"next_page": "page:page", "cursor": None, "since": None},
        lambda n, query: {"items": [{"id": "1"}]},
    ),
    "an offset that is ignored": (
        {"next_page": "offset:skip", "cursor": None, "since": None},
        lambda n, query: {"items": [{"id": "1"}]},
    ),
}


@pytest.mark.parametrize(("fields", "page"), ENDLESS.values(), ids=ENDLESS)
def test_a_listing_without_an_end_is_an_error_with_the_rows_kept(
    new_engine: NewEngine,
    scripted: type[Scripted],
    view_of: ViewOf,
    fields: Json,
    page: Callable[..., Any],
) -> None:
    def send(request: Request) -> Response:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}
        number = len(wire.requests)
        return answer({"items": [{"id": str(number)}], **page(number, query)})

    wire = scripted(send)
    engine = new_engine(transport=wire, dialect=Dialect(**fields))
    result = engine.pull()
    assert (result.success, result.errors) == (False, 1)
    assert "never end" in present(engine.status.last_error) or "move on" in present(
        engine.status.last_error
    )
    assert len(wire.requests) <= 60
    if page(0, {}).get("items") != []:
        assert view_of(engine)


def test_pages_of_a_server_that_filters_late_may_be_empty(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf
) -> None:
    pages = [answer({"items": [], "cursor": f"c{n}", "has_more": True}) for n in range(20)]
    wire = scripted(*pages, answer({"items": [{"id": "1"}], "cursor": "x", "has_more": False}))
    engine = new_engine(transport=wire)
    assert engine.pull().success
    assert set(view_of(engine)) == {"1"}


def test_a_pull_that_got_endless_empty_pages_continues_before_them(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf
) -> None:
    def send(request: Request) -> Response:
        query = parse_qs(urlsplit(request.url).query)
        since = query.get("since", ["0"])[0]
        if since == "0":
            return answer({"items": [{"id": "1"}], "cursor": "1", "has_more": True})
        if healthy:
            rows = [{"id": "2"}] if since == "1" else []
            return answer({"items": rows, "cursor": "2", "has_more": False})
        return answer({"items": [], "cursor": str(int(since) + 1), "has_more": True})

    healthy = False
    engine = new_engine(transport=scripted(send))
    assert not engine.pull().success
    healthy = True
    assert engine.pull().success
    assert set(view_of(engine)) == {"1", "2"}


# what is no end


def test_a_next_page_that_is_not_found_is_an_error_and_not_the_end(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf
) -> None:
    first = answer({"items": [{"id": "1"}]})
    for kind in ("page:page", "offset:skip", "url:next"):
        first = answer({"items": [{"id": "1"}], "next": "/notes?page=2"})
        wire = scripted(first, answer({"detail": "Invalid page."}, 404))
        dialect = Dialect(next_page=kind, cursor=None, since=None)
        engine = new_engine(transport=wire, dialect=dialect)
        result = engine.pull()
        assert (result.success, result.errors) == (False, 1)
        assert "`next_page`" in present(engine.status.last_error)
        assert set(view_of(engine)) == {"1"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("more:more", "eyJpZCI6MX0"),
        ("more:more", 2),
        ("more:more", {"a": 1}),
        ("url:more", "eyJpZCI6MX0"),
        ("url:more", 2),
        ("url:more", {"href": "/notes?page=2"}),
    ],
)
def test_a_flag_or_link_of_another_type_is_a_mapping_error(
    new_engine: NewEngine, scripted: type[Scripted], kind: str, value: str | int | Json
) -> None:
    wire = scripted(answer({"items": [{"id": "1"}], "cursor": "c", "more": value}))
    engine = new_engine(transport=wire, dialect=Dialect(next_page=kind))
    result = engine.pull()
    assert (result.success, result.errors) == (False, 1)
    assert "`next_page` was expected at `more`" in present(engine.status.last_error)
    assert "eyJ" not in present(engine.status.last_error)


@pytest.mark.parametrize("value", [None, False])
@pytest.mark.parametrize("kind", ["more:more", "url:more"])
def test_no_flag_and_no_link_mean_the_end(
    new_engine: NewEngine, scripted: type[Scripted], kind: str, value: bool | None
) -> None:
    wire = scripted(answer({"items": [{"id": "1"}], "cursor": "c", "more": value}))
    engine = new_engine(transport=wire, dialect=Dialect(next_page=kind))
    assert engine.pull().success
    assert len(wire.requests) == 1


@pytest.mark.parametrize("kind", ["page:page", "offset:page"])
def test_a_page_parameter_that_the_query_sets_too_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"next_page.*`query` sets 'page'"):
        Dialect(next_page=kind, query={"page": 1})


# totals


def counted(
    size: int, total: int, most: int = 100, header: bool = False
) -> Callable[[Request], Response]:
    """Rows by offset, with how many there are."""

    def send(request: Request) -> Response:
        query = parse_qs(urlsplit(request.url).query)
        skip = int(query.get("skip", ["0"])[0])
        items = [{"id": str(n)} for n in range(skip, min(skip + size, most))]
        headers: Json = {"x-total-count": str(total)} if header else {}
        return answer({"items": items, "meta": {"count": total}}, **headers)

    return send


OFFSET: Json = {"next_page": "offset:skip", "cursor": None, "since": None}


@pytest.mark.parametrize("place", ["meta.count", "header:X-Total-Count"])
def test_a_total_ends_the_pages(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf, place: str
) -> None:
    wire = scripted(counted(2, 6, most=6, header=True))
    engine = new_engine(transport=wire, dialect=Dialect(**OFFSET, total=place))
    assert engine.pull().success
    assert len(view_of(engine)) == 6
    assert len(wire.requests) == 6, "two passes of three pages, none of them empty"


@pytest.mark.parametrize("kind", ["offset:skip", None])
def test_a_listing_with_fewer_rows_than_the_total_is_not_whole(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf, kind: Any
) -> None:
    wire = scripted(counted(30, 60, most=30))
    dialect = Dialect(**{**OFFSET, "next_page": kind}, total="meta.count")
    engine = new_engine(transport=wire, dialect=dialect)
    result = engine.pull()
    assert (result.success, result.errors) == (False, 1)
    assert "60 rows, and 30 came" in present(engine.status.last_error)
    assert len(view_of(engine)) == 30


def test_reconcile_at_a_server_that_caps_its_pages_removes_nothing(
    new_engine: NewEngine, scripted: type[Scripted], view_of: ViewOf
) -> None:
    wire = scripted(counted(60, 60, most=60))
    dialect = Dialect(next_page=None, cursor=None, since=None, total="meta.count")
    engine = new_engine(transport=wire, dialect=dialect, max_vanish=1.0)
    assert engine.pull().success
    wire.answers = [counted(30, 60, most=30)]
    assert not engine.reconcile("notes").success
    assert len(view_of(engine)) == 60


def test_a_total_that_is_no_number_is_a_mapping_error(
    new_engine: NewEngine, scripted: type[Scripted]
) -> None:
    wire = scripted(answer({"items": [], "cursor": "c", "meta": {"count": "many"}}))
    engine = new_engine(transport=wire, dialect=Dialect(total="meta.count"))
    assert not engine.pull().success
    assert "`total` was expected at `meta.count`: a whole number" in present(
        engine.status.last_error
    )
