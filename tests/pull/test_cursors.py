"""A cursor is good for its query alone, and goes only where it is plausible."""

import json
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bytelyst_sync import Dialect, EntityConfig, Request, SyncEngine
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import META
from tests.conftest import Scripted
from tests.typed import InThread, NewEngine, NewPage, ViewOf, present

NOW = 1_800_000_000.0
DATE = {"date": formatdate(NOW, usegmt=True)}


class Filtered:
    """A server that lists the rows whose fields equal the query's. A transport."""

    def __init__(self, *rows: Json) -> None:
        self.rows = {str(row["id"]): row for row in rows}
        self.asked: list[Any] = []

    def send(self, request: Request) -> Response:
        parts = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append((parts.path, dict(query)))
        if request.method == "PATCH":
            row = self.rows[parts.path.rpartition("/")[2]]
            row.update(json.loads(present(request.body)))
            return Response(200, {}, json.dumps(row).encode(), "")
        since = query.pop("since", None)
        rows = [] if since == "all" else list(self.rows.values())
        rows = [row for row in rows if all(row.get(n) == v for n, v in query.items())]
        page = {"items": rows, "cursor": "all", "has_more": False}
        return Response(200, {}, json.dumps(page).encode(), "")


ROWS = [
    {"id": "1", "team": "north"},
    {"id": "2", "team": "south"},
    {"id": "3", "team": "north"},
]
CHANGES: Json = {
    "params": ({}, {"entities": {"notes": EntityConfig("/notes", params={"team": "south"})}}),
    "query": ({}, {"dialect": Dialect(query={"team": "south"})}),
    "endpoint": ({}, {"entities": {"notes": "/other"}}),
    "base_url": ({}, {"url": "http://other.invalid"}),
    "account": ({}, {"account": "ann"}),
}


@pytest.mark.parametrize("change", CHANGES, ids=CHANGES)
def test_a_changed_query_lists_anew(new_engine: NewEngine, tmp_path: Path, change: str) -> None:
    wire = Filtered(*ROWS)
    before, after = CHANGES[change]
    for options in (before, before, after, after):
        engine = new_engine(
            options.get("url", "http://server.invalid"),
            transport=wire,
            storage=tmp_path / "app.db",
            **{name: value for name, value in options.items() if name != "url"},
        )
        assert engine.pull().success
        engine.close()
    assert ["since" in query for _, query in wire.asked] == [False, True, False, True]


def test_what_the_new_query_does_not_list_leaves_the_view_but_no_queued_edit_is_lost(
    new_engine: NewEngine, tmp_path: Path, view_of: ViewOf
) -> None:
    wire = Filtered(*({"id": str(n), "team": "south" if n > 30 else "north"} for n in range(40)))

    def engine(team: str) -> SyncEngine:
        entity = EntityConfig("/notes", params={"team": team})
        return new_engine(transport=wire, storage=tmp_path / "app.db", entities={"notes": entity})

    first = engine("north")
    first.pull()
    first.push("notes", {"id": "5", "title": "mine"}, "update")
    first.close()
    second = engine("south")
    changes: list[Any] = []
    second.on_change(changes.append)
    result = second.pull()
    assert result.success, "a listing after the query changed is not held back"
    assert set(view_of(second)) == {"5", *map(str, range(31, 40))}
    assert second.queue_length == 1
    assert second.flush().success
    assert wire.rows["5"]["title"] == "mine"
    gone = [change.record_id for change in changes if change.after is None]
    assert len(gone) == 30
    # it was not taken for deleted: an edit of it is sent as an edit
    second.push("notes", {"id": "7", "title": "still there"}, "update")
    assert second.flush().success
    assert wire.rows["7"]["title"] == "still there"


def test_a_changed_query_takes_effect_while_a_listing_is_under_way(
    new_engine: NewEngine, tmp_path: Path, view_of: ViewOf
) -> None:
    wire = Filtered(*ROWS)
    engine = new_engine(transport=wire, storage=tmp_path / "app.db")
    engine.pull()
    engine.close()
    for team in ("north", "south"):
        entity = EntityConfig("/notes", params={"team": team})
        engine = new_engine(transport=wire, storage=tmp_path / "app.db", entities={"notes": entity})
        if team == "north":
            wire.send, send = lambda request: Response(500, {}, b"{}", ""), wire.send  # type: ignore[method-assign]  # replaced by the test
            assert not engine.pull().success
            wire.send = send  # type: ignore[method-assign]  # replaced by the test
        else:
            assert engine.pull().success
            assert set(view_of(engine)) == {"2"}
        engine.close()


# plausible cursors

MAX = Dialect(cursor="max:updated_at", next_page=None)


def listing(*times: str | int | None, headers: dict[str, str] = DATE) -> Response:
    rows = [{"id": str(number), "updated_at": time} for number, time in enumerate(times)]
    return Response(200, headers, json.dumps({"items": rows}).encode(), "")


def since(request: Request) -> str | None:
    return parse_qs(urlsplit(request.url).query).get("since", [None])[0]


@pytest.mark.parametrize(
    ("times", "cursor", "reported"),
    [
        (["2027-01-15T07:00:00Z", "2999-01-01T00:00:00Z"], "2027-01-15T07:00:00Z", True),
        (["2027-01-15T07:00:00Z", "2027-01-16T07:00:00Z"], "2027-01-16T07:00:00Z", False),
        (["2027-01-15T07:00:00Z", "x", "y"], "2027-01-15T07:00:00Z", True),
        ([1_799_999_000, 9_999_999_999], "1799999000", True),
        ([1_799_999_000_000, 1_799_999_000_500], "1799999000500", False),
        (["2027-01-15T07:00:00Z", 5, True, None], "2027-01-15T07:00:00Z", True),
        (
            ["Fri, 15 Jan 2027 07:00:00 GMT", "Mon, 11 Jan 2027 07:00:00 GMT"],
            "Fri, 15 Jan 2027 07:00:00 GMT",
            False,
        ),
        (["2027-01-15T07:00:00", "2027-01-15T06:59:00.5"], "2027-01-15T07:00:00", False),
    ],
)
def test_the_largest_plausible_value_becomes_the_cursor(
    new_engine: NewEngine,
    scripted: type[Scripted],
    times: list[str | int | None],
    cursor: str,
    reported: bool,
) -> None:
    earlier = times[0]
    wire = scripted(listing(earlier), listing(*times), listing(*times))
    engine = new_engine(transport=wire, dialect=MAX)
    engine.pull()
    engine.pull()
    engine.pull()
    assert [since(request) for request in wire.requests] == [None, str(earlier), cursor]
    assert ("of another kind" in (engine.status.last_error or "")) is reported


@pytest.mark.parametrize("odd", [5, "abc", {"seq": 5}, [5], True, "2999-01-01T00:00:00Z"])
def test_a_cursor_of_the_server_that_is_of_another_kind_is_reported_and_not_taken(
    new_engine: NewEngine, scripted: type[Scripted], odd: int | str | Json | list[int]
) -> None:
    def page(key: str, cursor: str | int | Json | list[int]) -> Response:
        body = {"items": [{"id": key}], "cursor": cursor, "has_more": False}
        return Response(200, DATE, json.dumps(body).encode(), "")

    first, later = "2027-01-15T07:00:00Z", "2027-01-15T07:30:00Z"
    wire = scripted(page("1", first), page("2", odd), page("3", later), page("4", later))
    engine = new_engine(transport=wire)
    engine.pull()
    assert engine.status.last_error is None
    engine.pull()
    assert "of another kind" in (engine.status.last_error or "")
    engine.pull()
    engine.pull()
    assert [since(each) for each in wire.requests] == [None, first, first, later]
    assert [each["id"] for each in engine.records("notes")] == ["1", "2", "3", "4"]


def test_without_a_date_no_cursor_is_far_in_the_future(
    new_engine: NewEngine, scripted: type[Scripted]
) -> None:
    page = listing("2999-01-01T00:00:00Z", headers={})
    wire = scripted(page)
    engine = new_engine(transport=wire, dialect=MAX)
    engine.pull()
    engine.pull()
    assert since(wire.requests[1]) == "2999-01-01T00:00:00Z"


def test_a_counter_is_no_time_however_large(
    new_engine: NewEngine, scripted: type[Scripted]
) -> None:
    rows = [{"id": "1", "seq": 9_999_999_999}]
    wire = scripted(Response(200, DATE, json.dumps({"items": rows}).encode(), ""))
    engine = new_engine(transport=wire, dialect=Dialect(cursor="max:seq", next_page=None))
    engine.pull()
    engine.pull()
    assert since(wire.requests[1]) == "9999999999"


def test_a_body_cursor_far_in_the_future_is_not_advanced_to(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    wire = scripted(
        page({"id": "1"}, cursor="2027-01-15T07:00:00Z", headers=DATE),
        page({"id": "2"}, cursor="2999-01-01T00:00:00Z", headers=DATE),
        page(cursor="2027-01-15T08:00:00Z", headers=DATE),
    )
    engine = new_engine(transport=wire)
    for _ in range(3):
        assert engine.pull().success
    assert since(wire.requests[2]) == "2027-01-15T07:00:00Z"


@pytest.mark.parametrize(
    ("cursor", "zone", "asked"),
    [
        ("2027-01-15T07:00:00Z", "UTC", "2027-01-15T06:59:30Z"),
        ("2027-01-15T07:00:00.250+02:00", "UTC", "2027-01-15T06:59:30.250+02:00"),
        ("2027-01-15 07:00:00", "Europe/Berlin", "2027-01-15 06:59:30"),
        ("Fri, 15 Jan 2027 07:00:00 GMT", "UTC", "Fri, 15 Jan 2027 06:59:30 GMT"),
        (1_799_999_000, "UTC", "1799998970"),
        (1_799_999_000_000, "UTC", "1799998970000"),
        ("abc", "UTC", "abc"),
    ],
)
def test_overlap_is_taken_off_a_time_cursor(
    new_engine: NewEngine, scripted: type[Scripted], cursor: str | int, zone: str, asked: str
) -> None:
    wire = scripted(listing(cursor))
    dialect = MAX.evolve(overlap=30, time_zone=zone)
    engine = new_engine(transport=wire, dialect=dialect)
    engine.pull()
    engine.pull()
    engine.pull()
    assert [since(request) for request in wire.requests[1:]] == [asked, asked], "it is not stored"


def test_an_orderable_cursor_that_is_a_time_and_goes_back_means_a_restored_server(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    wire = scripted(
        page({"id": "1"}, cursor="2027-01-15T07:00:00Z"),
        page(cursor="2027-01-15T06:59:59Z"),
        page(cursor="2027-01-14T00:00:00Z"),
        page({"id": "1"}, cursor="2027-01-14T00:00:00Z"),
    )
    engine = new_engine(transport=wire)
    for _ in range(3):
        assert engine.pull().success
    assert [since(request) for request in wire.requests] == [
        None,
        "2027-01-15T07:00:00Z",
        "2027-01-15T06:59:59Z",
        None,
    ]
    assert "restored" in present(engine.status.last_error)


def test_a_cursor_of_an_earlier_release_is_taken_for_the_query_that_is_asked_then(
    new_engine: NewEngine, tmp_path: Path
) -> None:
    wire = Filtered(*ROWS)
    file = tmp_path / "app.db"
    engine = new_engine(transport=wire, storage=file)
    engine.pull()
    storage = engine._core.running().storage

    def forget(tx: Transaction) -> None:
        row = present(tx.get(META, "pull/notes"))
        value = json.loads(row.value)
        tx.replace(
            META, row, row._replace(value=json.dumps({n: value[n] for n in ("cursor", "full")}))
        )

    storage.write(forget)
    assert engine.pull().success
    engine.close()
    entity = EntityConfig("/notes", params={"team": "south"})
    engine = new_engine(transport=wire, storage=file, entities={"notes": entity})
    assert engine.pull().success
    assert ["since" in query for _, query in wire.asked] == [False, True, False]


class Overtaken:
    """While its first page is on the way, another engine pulls what is newer."""

    def __init__(self, other: SyncEngine, in_thread: InThread) -> None:
        self.other, self.in_thread = other, in_thread
        self.asked: list[Any] = []

    def send(self, request: Request) -> Response:
        self.asked.append(since(request))
        if len(self.asked) == 1:
            assert self.in_thread(self.other.pull)(10).success
            return page({"id": "1", "n": "older"}, {"id": "2"}, cursor="1")
        return page({"id": "2"}, cursor="3")


def page(*rows: Json, cursor: str, more: bool = False) -> Response:
    body = {"items": rows, "cursor": cursor, "has_more": more}
    return Response(200, {}, json.dumps(body).encode(), "")


def test_a_page_is_committed_only_if_its_cursor_is_still_the_stored_one(
    new_engine: NewEngine, scripted: type[Scripted], tmp_path: Path, in_thread: InThread
) -> None:
    path = tmp_path / "app.db"
    quick = scripted(page({"id": "1", "n": "newer"}, cursor="2"))
    wire = Overtaken(new_engine(storage=path, transport=quick), in_thread)
    slow = new_engine(storage=path, transport=wire)
    assert slow.pull().success
    assert wire.asked == [None, "2"], "it went on where the other one has stopped"
    assert present(slow.get("notes", "1"))["n"] == "newer"
    assert slow.get("notes", "2") is not None, "it was there before the pull, so it has it"


def test_a_server_that_takes_no_cursor_of_its_own_ends_the_pull(new_engine: NewEngine) -> None:
    asked = []

    class Forgetful:
        def send(self, request: Request) -> Response:
            asked.append(since(request))
            if asked[-1] is not None:
                return Response(410, {}, b"{}", "")
            return page({"id": str(len(asked))}, cursor=f"c{len(asked)}", more=True)

    engine = new_engine(transport=Forgetful())
    assert not engine.pull(timeout=10).success
    assert "takes no cursor" in present(engine.status.last_error)
    assert len(asked) < 10
