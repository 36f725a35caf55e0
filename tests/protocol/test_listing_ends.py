"""A listing that ends too early by its dialect is an error where the answer itself shows it."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from bytelyst_sync import ConfigError, Dialect, EntityConfig, Request, SyncEngine, SyncResult
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.other_pages import count_elsewhere, next_elsewhere
from tests.typed import NewEngine, present

ROWS = [{"id": str(number)} for number in range(45)]
PLAIN = {"since": None, "cursor": None, "idempotency": None, "tombstone": None}


class Api:
    """A transport: what ``page(query)`` returns, as JSON; the queries of all requests."""

    def __init__(
        self, page: "Moving | Callable[..., object]", headers: dict[str, str] | None = None
    ) -> None:
        self._page = page
        self._headers = headers or {}
        self.asked: list[Any] = []

    def send(self, request: Request) -> Response:
        query = dict(parse_qsl(urlsplit(request.url).query))
        self.asked.append(query)
        return Response(200, self._headers, json.dumps(self._page(query)).encode(), request.url)


def spring(query: Json) -> Json:
    size, number = min(int(query.get("size", 20)), 20), int(query.get("page", 0))
    rows = ROWS[number * size :][:size]
    last = (number + 1) * size >= len(ROWS)
    return {"content": rows, "totalElements": 45, "totalPages": 3, "number": number, "last": last}


@pytest.fixture
def pull(new_engine: NewEngine) -> Callable[..., tuple[SyncResult, SyncEngine]]:
    """``pull(api, **fields)``: the result of a pull, and how many records it brought."""

    def run(
        api: Api, *, page_size: int | None = None, params: Json | None = None, **fields: Any
    ) -> tuple[SyncResult, SyncEngine]:
        entity = EntityConfig("/notes", page_size=page_size, params=params or {})
        dialect = Dialect(**{**PLAIN, **fields})
        engine = new_engine(transport=api, entities={"notes": entity}, dialect=dialect)
        return engine.pull(), engine

    return run


@pytest.mark.parametrize(
    "fields",
    [
        {"next_page": None},
        {"next_page": "more:last"},
        {"next_page": "url:nextLink"},
        {"next_page": "rel:next"},
        {"next_page": "header:Next-Page"},
        {"next_page": "token:next", "query": {"page": "{token}"}},
        {"next_page": "page:page", "start": 1},
    ],
    ids=lambda fields: str(fields["next_page"]),
)
def test_a_count_in_the_answer_shows_that_rows_are_missing(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], fields: Json
) -> None:
    result, engine = pull(Api(spring), items="content", **fields)
    assert not result.success
    assert engine.status.reason == "mapping"
    (problem,) = result.problems
    assert "`next_page`" in problem.message
    assert "the answer counts 45 (total='totalElements')" in problem.message
    assert "`start`" in problem.message


def test_the_error_ends_when_the_listing_is_whole(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    result, engine = pull(Api(spring), items="content", next_page="page:page", start=0)
    assert result.success
    assert engine.count("notes") == 45


def test_a_function_may_say_that_there_is_no_other_page(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    result, engine = pull(Api(spring), items="content", next_page=lambda _url, _body: None)
    assert result.success
    assert engine.count("notes") == 20


def test_the_count_of_a_filtered_listing_is_not_that_of_the_listing(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    """A server may count what it has, whatever the filter."""
    api = Api(lambda _query: {"items": ROWS[:3], "total": 45})
    assert pull(api, next_page=None, params={"open": "1"})[0].success
    assert not pull(api, next_page=None)[0].success


FEED = {"since": ("since", "{cursor}"), "cursor": "body:cursor", "next_page": "more:has_more"}


def feed(ends_at: int) -> Api:
    """Pages of 20 behind a cursor, with the count of all rows; the flag ends there."""

    def page(query: Json) -> Json:
        begin = int(query.get("since", 0))
        end = min(begin + 20, ends_at)
        rows = ROWS[begin:end]
        return {"items": rows, "cursor": str(end), "has_more": end < ends_at, "total": 45}

    return Api(page)


def test_pages_of_a_cursor_count_together(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    result, engine = pull(feed(45), **FEED)
    assert result.success, result
    # from a cursor on, the count of all says nothing about the new ones
    assert engine.pull().success
    assert engine.count("notes") == 45


def test_pages_of_a_cursor_that_end_too_early_are_told(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    (problem,) = pull(feed(40), **FEED)[0].problems
    assert "ends after 40 rows, but the answer counts 45" in problem.message


class Moving:
    """Linked pages of 20 of 45 rows, with the count of the rows of that moment, and of ``hidden``
    ones. Before each page but the first, ``added`` rows were created where the listing has already
    been, or deleted where it has not been yet.
    """

    def __init__(self, added: int = 0, hidden: int = 0, last_page: int = 2) -> None:
        self._added, self._hidden, self._last_page = added, hidden, last_page

    def __call__(self, query: Json) -> Json:
        page = int(query.get("after", 0))
        body: Json = {"value": ROWS[20 * page :][:20]}
        body["@odata.count"] = len(ROWS) + page * self._added + self._hidden
        if page < self._last_page:
            body |= {"next": f"notes?after={page + 1}", "token": page + 1, "more": True}
        return body


LINKED = {
    "url": {"next_page": "url:next"},
    "token": {"next_page": "token:token", "query": {"after": "{token}"}},
}


@pytest.mark.parametrize("api", [Moving(added=1), Moving(added=-1, hidden=2)], ids=["new", "gone"])
@pytest.mark.parametrize("fields", LINKED.values(), ids=list(LINKED))
def test_rows_created_or_deleted_during_a_listing_are_not_missed(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], fields: Json, api: Moving
) -> None:
    result, engine = pull(Api(api), items="value", **fields)
    assert result.success, result
    assert engine.count("notes") == 45


@pytest.mark.parametrize("fields", LINKED.values(), ids=list(LINKED))
def test_pages_that_end_too_early_are_told_while_rows_are_created(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], fields: Json
) -> None:
    (problem,) = pull(Api(Moving(added=1, last_page=1)), items="value", **fields)[0].problems
    assert "ends after 40 rows, but the answer counts 45 (total='@odata.count')" in problem.message


def test_a_short_page_ends_a_listing_too_early_while_rows_are_created(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    """A server that has no page after the first one, whatever cursor it is asked with."""

    def page(query: Json) -> Json:
        asked_again = query.get("since") is not None
        count = 45 + asked_again
        return {"items": ROWS[:20], "cursor": "20", "limit": 20, "total": count}

    fields = {**FEED, "next_page": "full:limit"}
    (problem,) = pull(Api(page), page_size=50, **fields)[0].problems
    assert "ends after 40 rows, but the answer counts 45" in problem.message


def test_rows_created_during_a_listing_by_cursors_are_not_missed(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    def page(query: Json) -> Json:
        begin = int(query.get("since", 0))
        end, added = begin + 20, begin // 20
        more = end < len(ROWS)
        rows = ROWS[begin:end]
        return {"items": rows, "cursor": str(end), "has_more": more, "total": len(ROWS) + added}

    result, engine = pull(Api(page), **FEED)
    assert result.success, result
    assert engine.count("notes") == 45


def test_a_count_that_only_the_last_page_has_is_not_compared(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    """It may have grown since the first page."""

    def page(query: Json) -> Json:
        body = Moving(added=1)(query)
        if query.get("after") != "2":
            del body["@odata.count"]
        return body

    assert pull(Api(page), items="value", next_page="url:next")[0].success


@pytest.mark.parametrize("fields", LINKED.values(), ids=list(LINKED))
def test_a_count_may_include_deleted_records_that_are_not_listed(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], fields: Json
) -> None:
    """Where records are marked as deleted, and the listing has shown its next page."""
    api = Moving(hidden=5)
    result, engine = pull(Api(api), items="value", tombstone="deleted", **fields)
    assert result.success, result
    assert engine.count("notes") == 45
    assert not pull(Api(api), items="value", tombstone=None, **fields)[0].success


def test_deleted_records_may_be_counted_in_a_single_page_that_could_name_the_next(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    one = {"items": ROWS, "total": 50, "next": None, "page": 1}
    fields = {"next_page": "url:next", "tombstone": "deleted"}
    assert pull(Api(lambda _query: one), **fields)[0].success
    del one["next"]  # nothing shows that `next_page` is right
    assert not pull(Api(lambda _query: one), **fields)[0].success


@pytest.mark.parametrize("next_page", ["more:last", "page:page"])
def test_deleted_records_do_not_hide_that_rows_are_missing(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], next_page: str
) -> None:
    fields = {"next_page": next_page, "start": 1, "tombstone": "deleted"}
    (problem,) = pull(Api(spring), items="content", **fields)[0].problems
    assert "the answer counts 45" in problem.message


@pytest.mark.parametrize("next_page", [None, "url:following", "header:Next-Page", "rel:last"])
def test_a_link_header_shows_that_there_is_a_next_page(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], next_page: str | None
) -> None:
    link = {"link": '</notes?page=2>; rel="next", </notes?page=1>; rel="first"'}
    api = Api(lambda _query: {"items": ROWS[:20]}, link)
    (problem,) = pull(api, next_page=next_page)[0].problems
    assert "names a next page in `Link: rel=\"next\"`: say next_page='rel:next'" in problem.message


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"@odata.nextLink": "notes?$skiptoken=20"}, "url:@odata.nextLink"),
        ({"next": "http://a.example/notes?page=2"}, "url:next"),
        ({"links": {"next": "/notes?page=2"}}, "url:links.next"),
        ({"_links": {"next": {"href": "/notes?page=2"}}}, "url:_links.next.href"),
        ({"next_page_url": "/notes?page=2"}, "url:next_page_url"),
        ({"meta": {"pagination": {"next_url": "/notes?page=2"}}}, "url:meta.pagination.next_url"),
        ({"nextPageToken": "abc"}, "token:nextPageToken"),
        ({"response_metadata": {"next_cursor": "abc"}}, "token:response_metadata.next_cursor"),
        ({"next": None}, None),
        ({"next": "abc"}, None),
        ({"next_cursor": ""}, None),
        ({"next": 2}, None),
        ([1], None),
    ],
)
def test_where_an_answer_names_a_next_page(body: Json | list[int], place: str | None) -> None:
    found = next_elsewhere({}, body, frozenset())
    assert (found and found[1]) == place
    assert next_elsewhere({}, body, frozenset({(place or "").partition(":")[2]})) is None


@pytest.mark.parametrize(
    ("headers", "body", "found"),
    [
        ({"x-total-count": "45"}, [], ("header:x-total-count", 45)),
        ({"x-wp-total": "45"}, [], ("header:x-wp-total", 45)),
        ({"content-range": "0-19/45"}, [], ("header:content-range", 45)),
        ({"content-range": "items 0-19/45"}, [], ("header:content-range", 45)),
        ({"content-range": "0-19/*"}, [], None),
        ({"x-total-count": "many"}, [], None),
        ({}, {"totalResults": 45}, ("totalResults", 45)),
        ({}, {"@odata.count": 45}, ("@odata.count", 45)),
        ({}, {"page": {"totalElements": 45}}, ("page.totalElements", 45)),
        ({}, {"meta": {"total": 45, "per_page": 20}}, ("meta.total", 45)),
        ({}, {"count": 45, "next": None, "results": []}, ("count", 45)),
        ({}, {"items": [], "total": 45}, ("total", 45)),
        ({}, {"items": [], "total": 45, "currency": "EUR"}, None),
        ({}, {"totalElements": True}, None),
        ({}, {"totalElements": "45"}, None),
    ],
)
def test_where_an_answer_counts_the_rows(
    headers: dict[str, str], body: list[Any] | Json, found: tuple[str, int] | None
) -> None:
    assert count_elsewhere(headers, body) == found


def test_a_count_of_something_else_does_not_end_a_listing(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    """``totalPages`` is 3, and the first page has more rows than that."""
    result, engine = pull(
        Api(spring), items="content", next_page="page:page", start=0, total="totalPages"
    )
    assert result.success
    assert engine.count("notes") == 45


def test_the_number_zero_is_no_url_and_no_end(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    result, engine = pull(Api(spring), items="content", next_page="url:number")
    assert not result.success
    assert "`next_page` was expected at `number`: a URL" in present(engine.status.last_error)


def limited(most: int) -> Callable[[Json], list[Json]]:
    def page(query: Json) -> list[Json]:
        return ROWS[: min(int(query.get("limit", most)), most)]

    return page


def test_a_page_as_long_as_it_was_asked_for_is_compared_with_a_longer_one(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    api = Api(limited(45))
    result, _engine = pull(api, items="", next_page=None, page_size=20)
    (problem,) = result.problems
    assert "20 rows was asked for, and next_page=None says that there is no other" in (
        problem.message
    )
    assert "`page_size`" in problem.message
    assert api.asked == [{"limit": "20"}, {"limit": "40"}]


def test_a_page_that_has_all_there_is_stays_the_only_one(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    api = Api(lambda _query: ROWS[:20])
    result, engine = pull(api, items="", next_page=None, page_size=20)
    assert result.success
    assert engine.count("notes") == 20
    assert engine.pull().success  # there may be more by now
    assert api.asked == [{"limit": "20"}, {"limit": "40"}] * 2


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"since": None}, "since"),
        ({"cursor": None}, "cursor"),
        ({"since": None, "cursor": None}, "cursor"),
    ],
)
def test_full_pages_that_lead_nowhere_are_refused(
    new_engine: NewEngine, fields: Json, named: str
) -> None:
    with pytest.raises(ConfigError, match=rf"next_page is 'full:limit', and `{named}` is None"):
        new_engine(dialect=Dialect(next_page="full:limit", **fields))


@pytest.mark.parametrize(
    "query", [{"page": "{page}"}, {"skip": "{offset}"}, {"after": "{cursor}"}], ids=str
)
def test_full_pages_that_a_template_leads_on_are_fine(new_engine: NewEngine, query: Json) -> None:
    new_engine(dialect=Dialect(next_page="full:limit", since=None, query=query))


def test_a_page_parameter_that_the_path_sets_too_is_refused(new_engine: NewEngine) -> None:
    dialect = Dialect(next_page="page:page", pull="GET {endpoint}?sort=id&page=0")
    with pytest.raises(ConfigError, match="`pull` sets 'page', too: leave it out"):
        new_engine(dialect=dialect)


def test_a_list_at_the_top_is_named(pull: Callable[..., tuple[SyncResult, SyncEngine]]) -> None:
    (problem,) = pull(Api(lambda _query: ROWS), next_page=None)[0].problems
    assert 'if the body is the list, say items=""' in problem.message


TIMED = [{"id": str(n), "at": f"2024-05-06T07:08:{n // 2:02}Z"} for n in range(45)]
RESUMED: Json = {
    "items": "",
    "cursor": "max:at",
    "since": ["from", "{cursor}"],
    "next_page": "full:limit",
}


def from_cursor(query: Json, *, newest_first: bool) -> list[Json]:
    rows = [row for row in TIMED if row["at"] >= query.get("from", "")]
    return sorted(rows, key=lambda row: row["at"], reverse=newest_first)[: int(query["limit"])]


@pytest.mark.parametrize("next_page", ["full:limit", "more:has_more"])
def test_a_listing_in_another_order_than_its_cursor_is_an_error(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], next_page: str
) -> None:
    api = Api(lambda query: from_cursor(query, newest_first=True))
    result, engine = pull(api, page_size=20, **{**RESUMED, "next_page": next_page})
    (problem,) = result.problems
    assert "not in the order of `cursor` ('max:at')" in problem.message
    assert engine.status.reason == "mapping"
    assert len(api.asked) == 1


def test_a_listing_in_the_order_of_its_cursor_is_whole(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    api = Api(lambda query: from_cursor(query, newest_first=False))
    result, engine = pull(api, page_size=20, **RESUMED)
    assert result.success
    assert engine.count("notes") == 45


def by_row(query: Json) -> Json:
    """A server that takes ``at`` for the number of a row."""
    rows = ROWS[int(query.get("at", 0)) :][: int(query.get("limit", 20))]
    return {"items": rows, "entries": 45}


@pytest.mark.parametrize("start", [0, 1, None])
@pytest.mark.parametrize("total", [None, "entries"])
@pytest.mark.parametrize(
    "fields", [{"next_page": "page:at"}, {"next_page": "full:limit", "query": {"at": "{page}"}}]
)
def test_the_number_of_a_row_given_as_that_of_a_page_is_an_error(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
    fields: Json,
    total: str | None,
    start: int | None,
) -> None:
    result, engine = pull(Api(by_row), page_size=20, total=total, start=start, **fields)
    (problem,) = result.problems
    assert "`next_page`" in problem.message or "`start=0`" in problem.message
    assert engine.status.reason == "mapping"


def by_page(query: Json) -> Json:
    """A server that takes ``at`` for the number of a page, from 0 on."""
    return {"items": ROWS[20 * int(query.get("at", 0)) :][:20], "size": 20}


def test_the_number_of_a_page_given_as_that_of_a_row_is_an_error(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    result, _engine = pull(Api(by_page), next_page="offset:at")
    (problem,) = result.problems
    assert 'say "page:" in place of "offset:"' in problem.message


def test_rows_that_are_counted_are_looked_for_once(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    api = Api(lambda query: by_row({**query, "limit": 45}))
    result, engine = pull(api, next_page="offset:at")
    assert result.success
    assert engine.pull().success
    assert [query.get("at") for query in api.asked].count("44") == 1


@pytest.mark.parametrize("page_size", [None, 20])
def test_the_size_of_a_page_as_total_is_an_error(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], page_size: int | None
) -> None:
    fields = {"next_page": "page:at", "start": 0, "total": "size"}
    result, engine = pull(Api(by_page), page_size=page_size, **fields)
    (problem,) = result.problems
    assert "`total` ('size')" in problem.message
    assert engine.status.reason == "mapping"


def test_a_total_that_is_the_size_of_a_page_by_chance_is_asked_about_once(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    api = Api(
        lambda query: (
            {**by_row(query), "entries": 20}
            if "at" not in query
            else {"items": []} | {"entries": 20}
        )
    )
    result, engine = pull(api, next_page="offset:at", total="entries")
    assert result.success
    assert engine.pull().success
    assert len(api.asked) == 3


FLAGS: list[tuple[Json, str]] = [
    ({"has_more": True}, "has_more"),
    ({"meta": {"hasNextPage": True}}, "meta.hasNextPage"),
    ({"done": False}, "done"),
]


@pytest.mark.parametrize(("says", "place"), FLAGS)
@pytest.mark.parametrize("next_page", [None, "url:nxt", "more:more_rows"])
def test_a_flag_in_the_answer_shows_that_rows_are_missing(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
    says: Json,
    place: str,
    next_page: str | None,
) -> None:
    api = Api(lambda _query: {"items": ROWS[:7], "more_rows": False, **says})
    (problem,) = pull(api, next_page=next_page)[0].problems
    assert f"`{place}` in the answer says that there are more" in problem.message
    other: Json = {name: not value for name, value in says.items() if isinstance(value, bool)}
    other = other or {"meta": {"hasNextPage": False}}
    api = Api(lambda _query: {"items": ROWS[:7], "more_rows": False, **other})
    assert pull(api, next_page=next_page)[0].success


@pytest.mark.parametrize(
    ("says", "named"),
    [
        ({"nextRecordsUrl": "/query/01g-2000"}, "url:nextRecordsUrl"),
        ({"paging": {"next": {"link": "/notes?after=7"}}}, "url:paging.next.link"),
        ({"paging": {"next": {"after": "7"}}}, "token:paging.next.after"),
    ],
)
def test_other_names_of_a_next_page(says: Json, named: str) -> None:
    assert present(next_elsewhere({}, says, frozenset()))[1] == named


@pytest.mark.parametrize("name", ["nextSyncUrl", "nextDeltaLink", "deltaLink"])
def test_a_link_for_the_next_pull_is_no_next_page(name: str) -> None:
    assert next_elsewhere({}, {name: "/sync?token=7"}, frozenset()) is None


def test_a_flag_that_means_the_end_is_an_error_where_a_link_goes_on(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    api = Api(lambda _query: {"items": ROWS[:7], "eof": False, "next": "/notes?page=2"})
    (problem,) = pull(api, next_page="more:eof")[0].problems
    assert "say next_page='url:next'" in problem.message


class Refusing(Api):
    """Refuses pages of more than 20 rows."""

    def send(self, request: Request) -> Response:
        answer = super().send(request)
        if int(self.asked[-1].get("limit", 0)) <= 20:
            return answer
        return Response(400, {}, b'{"error": "limit is too high"}', request.url)


def test_a_full_page_is_not_the_only_one_where_a_longer_one_is_refused(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    api = Refusing(limited(20))
    (problem,) = pull(api, items="", next_page=None, page_size=20)[0].problems
    assert "limit is too high" in problem.message
    assert "`next_page`" in problem.message
    assert pull(Refusing(limited(20)), items="", next_page=None)[0].success


def test_a_page_of_the_servers_own_size_is_compared_with_a_longer_one(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    api = Api(lambda query: ROWS[: int(query.get("limit", 20))])
    (problem,) = pull(api, items="", next_page=None)[0].problems
    assert "20 rows came, and next_page=None says that there is no other" in problem.message
    assert pull(Api(lambda _query: ROWS[:19]), items="", next_page=None)[0].success


@pytest.mark.parametrize("mark", ["open", "false", "N", "0"])
def test_a_mark_that_all_records_have_is_an_error(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], mark: str
) -> None:
    api = Api(lambda _query: {"items": [{**row, "state": mark} for row in ROWS[:7]]})
    result, engine = pull(api, next_page=None, tombstone="state")
    (problem,) = result.problems
    assert "`tombstone` ('state')" in problem.message
    assert "tombstone='state=VALUE'" in problem.message
    assert engine.status.reason == "mapping"


@pytest.mark.parametrize("mark", [True, 1, "2024-05-06T07:08:09Z", "yes", {"reason": "deleted"}])
def test_records_may_all_be_deleted(
    pull: Callable[..., tuple[SyncResult, SyncEngine]], mark: object
) -> None:
    api = Api(lambda _query: {"items": [{**row, "gone": mark} for row in ROWS[:7]]})
    result, engine = pull(api, next_page=None, tombstone="gone")
    assert result.success
    assert engine.count("notes") == 0


def test_a_longer_page_for_rows_of_one_time_that_is_refused_is_explained(
    pull: Callable[..., tuple[SyncResult, SyncEngine]],
) -> None:
    rows = [{**row, "at": "2024-05-06T07:08:09Z"} for row in ROWS]
    api = Refusing(lambda query: rows[: int(query["limit"])])
    (problem,) = pull(api, page_size=20, **RESUMED)[0].problems
    assert "a page of 40 was asked for, which was refused" in problem.message
    assert "limit is too high" in problem.message
    assert "`cursor`" in problem.message
    assert problem.status == 400
