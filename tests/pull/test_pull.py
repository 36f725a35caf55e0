"""Pull, row by row: cursors, pages, tombstones, what is refused, what is noticed."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bytelyst_sync import (
    Dialect,
    EntityConfig,
    InvalidDataError,
    RecordChange,
    Request,
    StorageFullError,
    SyncEngine,
    UnknownEntityError,
)
from bytelyst_sync.http.transport import MAX_BODY_BYTES, Response
from bytelyst_sync.model import Json, OperationName
from bytelyst_sync.replica.server_state import mark_stale
from bytelyst_sync.storage import MemoryStorage
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.testing import DropAnswer, Reply, Seen, Stall, SyncServer
from bytelyst_sync.testing.raw import encode_json
from bytelyst_sync.testing.store import Rules
from tests.conftest import Scripted, Wire
from tests.typed import Eventually, InThread, NewEngine, NewPage, T, ViewOf, present


def gets(server: SyncServer, path: str = "/notes") -> list[Json]:
    """The queries of the pulls that the server has seen."""
    return [seen.query for seen in server.requests if (seen.method, seen.path) == ("GET", path)]


def queries(wire: Scripted) -> list[Json]:
    return [
        parse_qs(urlsplit(request.url).query, keep_blank_values=True) for request in wire.requests
    ]


def listen(engine: SyncEngine) -> list[Any]:
    changes: list[Any] = []
    engine.on_change(changes.append)
    return changes


class Failing(MemoryStorage):
    """A store whose next commits fail after all of their work was done."""

    broken = False

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        def run(tx: Transaction) -> T:
            result = work(tx)
            if self.broken:
                raise StorageFullError("the disk is full")
            return result

        return super().write(run) if then is None else super().write(run, then)


class Table:
    """A server of timestamps: rows by ``updated_at``, filtered by ``since`` (from that instant
    on), in pages by number or offset. A transport.
    """

    def __init__(self, *rows: Json, size: int = 100) -> None:
        self.rows = list(rows)
        self.size = size
        self.asked: list[Any] = []
        self.after: Callable[[Json], object] = lambda asked: None

    def send(self, request: Request) -> Response:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}
        self.asked.append(query)
        rows = [row for row in self.rows if row.get("updated_at", "") >= query.get("since", "")]
        rows.sort(key=lambda row: row.get("updated_at", ""))
        start = int(query.get("skip", (int(query.get("page", 1)) - 1) * self.size))
        found = rows[start : start + self.size]
        self.after(query)
        return Response(200, {}, json.dumps({"items": found}).encode(), request.url)


# the cursor


def test_the_cursor_comes_from_the_server_and_is_kept_per_entity(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    cursors = {"/notes": "opaque~n", "/tasks": "opaque~t"}
    wire = scripted(lambda request: page(cursor=cursors[urlsplit(request.url).path]))
    engine = new_engine(transport=wire, entities={"notes": "/notes", "tasks": "/tasks"})
    assert engine.pull().success
    assert engine.pull().success
    assert queries(wire) == [{}, {}, {"since": ["opaque~n"]}, {"since": ["opaque~t"]}]


def test_the_cursor_outlives_the_engine(
    new_engine: NewEngine, server: SyncServer, tmp_path: Path
) -> None:
    server.put("notes", {"id": "1"})
    for _ in range(2):
        engine = new_engine(server.url, storage=tmp_path / "app.db")
        engine.pull()
        engine.close()
    first, second = gets(server)
    assert "since" not in first
    assert second["since"]


def test_a_clock_that_is_wrong_makes_no_difference_to_a_pull(
    new_engine: NewEngine, server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine(server.url)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    server.put("notes", {"id": "1", "title": "then"})
    engine.pull()
    monkeypatch.setattr(time, "time", lambda: 1.0)
    server.patch("notes", "1", {"title": "now"})
    assert engine.pull().pulled == 1
    assert present(engine.get("notes", "1"))["title"] == "now"


def test_the_cursor_is_stored_in_the_same_commit_as_its_page(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    storage = Failing()
    engine = new_engine(server.url, storage=storage)
    server.put("notes", {"id": "1"})
    engine.pull()
    server.put("notes", {"id": "2"})
    storage.broken = True
    with pytest.raises(StorageFullError):
        engine.pull()
    storage.broken = False
    assert set(view_of(engine)) == {"1"}
    assert engine.pull().pulled == 1
    assert set(view_of(engine)) == {"1", "2"}
    assert len({query["since"] for query in gets(server)[1:]}) == 1


def test_a_first_cursor_is_what_the_first_pull_sends(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    wire = scripted(page(cursor="next"))
    engine = new_engine(transport=wire, dialect=Dialect(first_cursor="0"))
    engine.pull()
    engine.pull()
    assert queries(wire) == [{"since": ["0"]}, {"since": ["next"]}]


def test_a_cursor_and_params_are_percent_encoded(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    cursor = "2024-01-01T00:00:00+00:00&x=1#% ü"
    wire = scripted(page(cursor=cursor))
    entity = EntityConfig("/notes", params={"owner": "a+b&c", "tags": ["x y", "ü"]})
    engine = new_engine(transport=wire, entities={"notes": entity})
    engine.pull()
    engine.pull()
    first, second = (request.url for request in wire.requests)
    assert "owner=a%2Bb%26c" in first
    assert "%2B00%3A00" in second
    assert queries(wire)[1] == {
        "owner": ["a+b&c"],
        "tags": ["x y", "ü"],
        "since": [cursor],
    }


def test_an_encoded_cursor_reaches_a_real_server_as_it_was_given(
    new_engine: NewEngine, server: SyncServer
) -> None:
    cursor = "2024-01-01T00:00:00+00:00"
    server.always(Reply(200, {"items": [], "cursor": cursor, "has_more": False}))
    engine = new_engine(server.url)
    engine.pull()
    engine.pull()
    assert gets(server)[1] == {"since": cursor}


# pages


def test_all_pages_are_fetched_and_each_goes_on_from_the_cursor_before(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    for number in range(5):
        server.put("notes", {"id": str(number)})
    engine = new_engine(server.url, entities={"notes": EntityConfig("/notes", page_size=2)})
    result = engine.pull()
    assert (result.success, result.pulled) == (True, 5)
    assert set(view_of(engine)) == set("01234")
    asked = gets(server)
    assert [query["limit"] for query in asked] == ["2", "2", "2"]
    assert len({query.get("since") for query in asked}) == 3
    assert engine.pull().pulled == 0


def test_page_size_is_named_as_the_dialect_names_it(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    wire = scripted(page())
    engine = new_engine(
        transport=wire,
        entities={"notes": EntityConfig("/notes", page_size=7)},
        dialect=Dialect(next_page="full:per_page"),
    )
    engine.pull()
    assert queries(wire) == [{"per_page": ["7"]}]


def test_params_filter_what_is_pulled(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    server.put("notes", {"id": "1", "owner": "me"})
    server.put("notes", {"id": "2", "owner": "you"})
    entity = EntityConfig("/notes", params={"owner": "me"})
    engine = new_engine(server.url, entities={"notes": entity})
    assert engine.pull().pulled == 1
    assert set(view_of(engine)) == {"1"}
    engine.pull()
    assert [query["owner"] for query in gets(server)] == ["me", "me"]


def test_a_page_that_fails_leaves_cursor_and_view_and_the_next_pull_goes_on(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    for number in range(4):
        server.put("notes", {"id": str(number)})
    engine = new_engine(server.url, entities={"notes": EntityConfig("/notes", page_size=2)})
    server.script(None, Reply(500, {"error": "no"}), match="GET /notes")
    result = engine.pull()
    assert (result.success, result.errors, result.pulled) == (False, 1, 2)
    assert set(view_of(engine)) == {"0", "1"}
    assert engine.pull().pulled == 2
    assert set(view_of(engine)) == set("0123")
    asked = gets(server)
    assert asked[2]["since"] == asked[1]["since"], "the failed page is asked for again"


@pytest.mark.parametrize(
    "fault",
    [
        Reply(500, {"error": "no"}),
        Reply(403, {"error": "not you"}),
        Reply(200, {"rows": []}),
        Reply(200, {"items": {"id": "1"}, "cursor": "c"}),
        Reply(200, {"items": []}),
        Reply(200, "<html>"),
        Reply(204),
        Reply(302, None, {"Location": "http://127.0.0.1:9/notes"}),
    ],
    ids=lambda fault: f"{fault.status} {fault.body}",
)
def test_a_page_that_is_none_changes_nothing_and_stops_no_other_entity(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, fault: Reply
) -> None:
    entities = {"notes": "/notes", "tasks": "/tasks"}
    engine = new_engine(server.url, entities=entities)
    server.put("notes", {"id": "1"})
    engine.pull()
    server.put("notes", {"id": "2"})
    server.put("tasks", {"id": "9"})
    server.always(fault, match="GET /notes")
    result = engine.pull()
    assert not result.success
    assert result.errors >= 1
    assert set(view_of(engine)) == {"1"}
    assert set(view_of(engine, "tasks")) == {"9"}
    server.clear_script()
    assert engine.pull().pulled == 1
    assert set(view_of(engine)) == {"1", "2"}


def test_a_page_that_does_not_fit_the_dialect_is_reported_in_plain_words(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    engine = new_engine(transport=scripted(page()), dialect=Dialect(items="rows"))
    engine.pull()
    assert engine.status.last_error == (
        "notes: `items` was expected at `rows`: a list; "
        "what came is an object with keys `items`, `cursor`, `has_more`"
    )


def test_a_page_over_64_mib_is_an_error_and_changes_nothing(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    body = encode_json({"items": [{"id": "2"}], "cursor": "c", "has_more": False})
    engine = new_engine(server.url, entities={"notes": "/notes", "tasks": "/tasks"})
    server.put("notes", {"id": "1"})
    engine.pull()
    server.put("tasks", {"id": "9"})
    too_much = body + b" " * (MAX_BODY_BYTES + 1 - len(body))
    server.script(Reply(200, too_much, {"Content-Type": "application/json"}), match="GET /notes")
    result = engine.pull()
    assert (result.success, result.errors, result.pulled) == (False, 1, 1)
    assert set(view_of(engine)) == {"1"}
    assert set(view_of(engine, "tasks")) == {"9"}


def test_where_only_the_last_page_has_a_cursor_a_cut_pull_starts_again(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage, view_of: ViewOf
) -> None:
    wire = scripted(
        page({"id": "1"}, cursor=None, next="/notes?page=2"),
        page(status=500),
        page({"id": "1"}, cursor=None, next="/notes?page=2"),
        page({"id": "2"}, cursor="end", next=None),
        page(cursor="end", next=None),
    )
    engine = new_engine(transport=wire, dialect=Dialect(next_page="url:next"))
    assert not engine.pull().success
    result = engine.pull()
    assert (result.success, result.pulled) == (True, 1), "the first page is no news any more"
    assert set(view_of(engine)) == {"1", "2"}
    engine.pull()
    asked = queries(wire)
    assert asked == [{}, {"page": ["2"]}, {}, {"page": ["2"]}, {"since": ["end"]}]


def test_a_header_cursor_is_that_of_the_first_page_and_committed_with_the_last(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    link = {"link": '</notes?_token=2>; rel="next"'}
    wire = scripted(
        page({"id": "1"}, headers={"etag": '"10"', **link}),
        page({"id": "2"}, headers={"etag": '"12"'}),
        page(headers={"etag": '"12"'}),
    )
    dialect = Dialect(cursor="header:ETag", next_page="rel:next")
    engine = new_engine(transport=wire, dialect=dialect)
    engine.pull()
    engine.pull()
    assert queries(wire)[2] == {"since": ['"10"']}


@pytest.mark.parametrize(
    ("cursor", "found", "passes"),
    [("header:ETag", '"9"', 1), ("body:cursor", "9", 1), ("max:rank", "9", 2)],
)
def test_no_cursor_is_stored_before_the_last_page_where_pages_carry_no_resume_point(
    new_engine: NewEngine,
    scripted: type[Scripted],
    page: NewPage,
    view_of: ViewOf,
    cursor: str,
    found: str,
    passes: int,
) -> None:
    """Each page shows a cursor, but only the whole listing has come as far as it. Where the
    cursor is the largest value of a field, rows may have moved between the pages: the listing is
    repeated until it brings nothing new.
    """
    tag = {"etag": '"9"'}
    first = page({"id": "3", "rank": 9}, cursor="9", next="?page=2", headers=tag)
    second = page({"id": "1", "rank": 1}, cursor="9", next=None, headers=tag)
    wire = scripted(
        first,
        page(status=503),
        *[first, second] * passes,
        page(cursor="9", next=None, headers=tag),
    )
    engine = new_engine(transport=wire, dialect=Dialect(next_page="url:next", cursor=cursor))
    assert not engine.pull().success
    assert engine.pull().pulled == 1
    assert set(view_of(engine)) == {"1", "3"}
    engine.pull()
    whole = [{}, {"page": ["2"]}]
    assert queries(wire) == [*whole, *whole * passes, {"since": [found]}]


@pytest.mark.parametrize(
    "link",
    [
        "http://other.invalid/notes?page=2",
        "http://server.invalid:8080/notes?page=2",
        "https://server.invalid/notes?page=2",
        "//other.invalid/notes",
        "http://server.invalid@other.invalid/notes",
        "file:///etc/passwd",
        "http://[broken/",
    ],
)
@pytest.mark.parametrize("where", ["url:next", "header:Next-Page", "rel:next"])
def test_a_next_link_to_another_origin_is_refused(
    new_engine: NewEngine,
    scripted: type[Scripted],
    page: NewPage,
    view_of: ViewOf,
    link: str,
    where: str,
) -> None:
    headers = {"next-page": link} if where.startswith("header") else {"link": f"<{link}>; rel=next"}
    headers = {} if where == "url:next" else headers
    wire = scripted(page({"id": "1"}, next=link, headers=headers), page(next=None))
    engine = new_engine(transport=wire, dialect=Dialect(next_page=where), auth=lambda: "secret")
    result = engine.pull()
    assert (result.success, result.errors) == (False, 1)
    assert [request.url for request in wire.requests] == ["http://server.invalid/notes"]
    assert view_of(engine) == {}


def test_a_next_link_on_the_same_origin_is_followed(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage, view_of: ViewOf
) -> None:
    wire = scripted(
        page({"id": "1"}, next="http://SERVER.invalid:80/more?x=%2B"),
        page({"id": "2"}, next="?y=1"),
        page({"id": "3"}, next=""),
    )
    engine = new_engine(transport=wire, dialect=Dialect(next_page="url:next"))
    assert engine.pull().pulled == 3
    assert wire.requests[1].url.endswith("/more?x=%2B")


def test_a_server_that_promises_more_but_does_not_move_on_is_not_asked_for_ever(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    wire = scripted(page({"id": "1"}, cursor="same", has_more=True))
    engine = new_engine(transport=wire)
    assert engine.pull().errors == 1
    assert len(wire.requests) < 5
    assert "cursor" in present(engine.status.last_error)


@pytest.mark.parametrize("kind", ["page:page", "offset:skip"])
def test_a_pull_by_page_numbers_is_repeated_until_it_brings_nothing_new(
    new_engine: NewEngine, kind: str, view_of: ViewOf
) -> None:
    table = Table(*({"id": str(number)} for number in range(5)), size=2)

    def move(asked: Json) -> None:
        """While the first page is on its way a row of it goes to the end; the others move up."""
        if len(table.asked) == 1:
            table.rows.append(table.rows.pop(0))

    table.after = move
    dialect = Dialect(next_page=kind, cursor=None, since=None, start=int(kind == "page:page"))
    engine = new_engine(transport=table, dialect=dialect)
    result = engine.pull()
    assert result.success
    assert set(view_of(engine)) == set("01234"), "no row was lost between the pages"
    table.asked.clear()
    table.after = lambda asked: None
    assert engine.pull().pulled == 0
    assert len(table.asked) == 4, "nothing new: one pass, up to the first empty page"


@pytest.mark.parametrize("kind", ["page:page", "offset:skip"])
def test_a_row_that_slipped_between_two_pages_is_not_taken_for_gone(
    new_engine: NewEngine, kind: str
) -> None:
    table = Table(*({"id": str(number)} for number in range(5)), size=2)
    dialect = Dialect(next_page=kind, cursor=None, since=None)
    engine = new_engine(transport=table, dialect=dialect)
    engine.pull()
    engine.push("notes", {"id": "2", "title": "mine"}, "update")
    changes = listen(engine)
    table.asked.clear()

    def move(asked: Json) -> None:
        if len(table.asked) == 1:
            table.rows.append(table.rows.pop(0))

    table.after = move
    result = engine.pull()
    assert (result.success, result.pulled, result.conflicts) == (True, 0, 0)
    assert changes == []
    assert engine.queue_length == 1


# what pages carry


def test_deletes_arrive_as_tombstones(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine = new_engine(server.url)
    server.put("notes", {"id": "1"})
    server.put("notes", {"id": "2"})
    engine.pull()
    changes = listen(engine)
    server.remove("notes", "1")
    assert engine.pull().pulled == 1
    assert set(view_of(engine)) == {"2"}
    assert engine.get("notes", "1") is None
    assert [(c.record_id, c.after, c.origin) for c in changes] == [("1", None, "remote")]
    assert engine.pull().pulled == 0


def test_a_tombstone_of_a_record_that_was_never_here_is_no_news(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url)
    engine.pull()
    changes = listen(engine)
    server.put("notes", {"id": "1"})
    server.remove("notes", "1")
    assert engine.pull().pulled == 0
    assert changes == []


def test_a_page_may_name_a_record_twice_and_mix_known_and_new_ones(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage, view_of: ViewOf
) -> None:
    known = {"id": "known", "title": "old", "version": 1}
    rows = [
        {"id": "twice", "title": "a", "version": 1},
        {"id": "known", "title": "new", "version": 2},
        {"id": "gone", "deleted": True, "version": 1},
        {"id": "twice", "title": "a", "version": 1},
        {"id": "queued", "title": "theirs", "version": 3},
    ]
    wire = scripted(page(known, cursor="1"), page(*rows, cursor="2"))
    engine = new_engine(transport=wire, auto_flush=False)
    assert engine.pull().pulled == 1
    engine.push("notes", {"id": "queued", "note": "mine"}, "update")
    changes = listen(engine)
    result = engine.pull()
    assert (result.pulled, result.errors) == (3, 0)
    assert view_of(engine) == {
        "twice": {"id": "twice", "title": "a", "version": 1},
        "known": {"id": "known", "title": "new", "version": 2},
        "queued": {"id": "queued", "title": "theirs", "version": 3, "note": "mine"},
    }
    view_of_queued = engine.get("notes", "queued")
    engine.close()
    reported = [(each.record_id, each.before, each.after, each.origin) for each in changes]
    assert sorted(reported, key=str) == [
        ("known", known, rows[1], "remote"),
        ("queued", {"id": "queued", "note": "mine"}, view_of_queued, "remote"),
        ("twice", None, rows[0], "remote"),
    ]


def test_unknown_fields_are_kept(new_engine: NewEngine, server: SyncServer) -> None:
    engine = new_engine(server.url)
    odd = {"id": "1", "title": "x", "new": {"deep": [1, None, {"é": 1.5}]}, "": 0}
    server.put("notes", odd)
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    assert engine.full_sync().success
    assert present(engine.get("notes", "1"))["new"] == odd["new"]
    assert server.records("notes")["1"]["new"] == odd["new"]
    assert present(engine.get("notes", "1"))[""] == 0


ODD_IDS = [
    "a/b",
    "/",
    "a?b=c",
    "#x",
    "a b",
    "ü",
    "日本",
    "a%2Fb",
    "%2e%2e",
    "a;b",
    "a\\b",
    "+",
    "&",
]


@pytest.mark.parametrize("record_id", ODD_IDS)
def test_an_id_that_a_url_would_misread_addresses_its_record_alone(
    new_engine: NewEngine, server: SyncServer, record_id: str
) -> None:
    engine = new_engine(server.url)
    others = [each for each in [*ODD_IDS, "a", "b", "x"] if each != record_id]
    for each in [record_id, *others]:
        server.put("notes", {"id": each, "title": "old"})
    engine.pull()
    engine.push("notes", {"id": record_id, "title": "new"}, "update")
    assert engine.flush().success
    assert present(engine.get("notes", record_id))["title"] == "new"
    titles = {key: record["title"] for key, record in server.records("notes").items()}
    assert titles == {record_id: "new", **dict.fromkeys(others, "old")}
    engine.delete("notes", record_id)
    assert engine.full_sync().success
    assert set(server.records("notes")) == set(others)
    assert engine.get("notes", record_id) is None


@pytest.mark.parametrize("record_id", ["", ".", "..", "../x", "a/../b", "./x", "a\nb", "\x00"])
@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_an_id_that_no_encoding_can_save_is_refused(
    new_engine: NewEngine, server: SyncServer, record_id: str, operation: OperationName
) -> None:
    engine = new_engine(server.url)
    with pytest.raises(InvalidDataError) as caught:
        engine.push("notes", {"id": record_id}, operation)
    assert caught.value.path == "$.id"
    assert engine.queue_length == 0


def test_a_pulled_id_that_no_encoding_can_save_is_never_asked_for(
    wire: Wire, new_engine: NewEngine
) -> None:
    wire.store.change("notes", "create", {"id": "..", "title": "x"})
    wire.store.change("notes", "create", {"id": "1"})
    engine = new_engine(transport=wire)
    engine.full_sync()
    assert {seen.path for seen in wire.seen} == {"/notes"}


def test_an_id_keeps_its_type_and_compares_as_text(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url)
    server.put("notes", {"id": 7, "title": "x"})
    engine.pull()
    assert engine.get("notes", "7") == engine.get("notes", 7)
    assert present(engine.get("notes", 7))["id"] == 7
    engine.push("notes", {"id": "7", "title": "y"}, "update")
    assert engine.full_sync().success
    assert server.records("notes")["7"]["title"] == "y"


# own changes coming back


@pytest.mark.parametrize("versions", [True, False])
def test_own_changes_coming_back_are_no_news(
    new_engine: NewEngine, versions: bool, view_of: ViewOf
) -> None:
    with SyncServer(versions=versions) as server:
        engine = new_engine(server.url)
        engine.push("notes", {"id": "1", "title": "x"})
        engine.push("notes", {"id": "2", "title": "y"})
        engine.flush()
        engine.push("notes", {"id": "1", "title": "z"}, "update")
        engine.delete("notes", "2")
        engine.flush()
        changes = listen(engine)
        result = engine.pull()
        assert (result.success, result.pulled, result.conflicts) == (True, 0, 0)
        assert changes == []
        assert view_of(engine) == server.records("notes")
        engine.close()


def test_own_changes_coming_back_while_newer_ones_are_queued_are_no_conflict(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url)
    engine.push("notes", {"id": "1", "title": "x"})
    engine.flush()
    engine.push("notes", {"id": "1", "title": "newer"}, "update")
    changes = listen(engine)
    result = engine.pull()
    assert (result.pulled, result.conflicts, changes) == (0, 0, [])
    assert present(engine.get("notes", "1"))["title"] == "newer"
    assert engine.flush().pushed == 1
    assert list(engine.conflicts(resolved=True)) == []


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_own_changes_coming_back_before_their_lost_answer_are_no_conflict(
    new_engine: NewEngine, server: SyncServer, operation: OperationName, view_of: ViewOf
) -> None:
    engine = new_engine(server.url)
    if operation != "create":
        server.put("notes", {"id": "1", "title": "old"})
        engine.pull()
    engine.push("notes", {"id": "1"} if operation == "delete" else {"id": "1", "t": 1}, operation)
    server.script(DropAnswer(), match=lambda seen: seen.method in ("POST", "PATCH", "DELETE"))
    changes = listen(engine)
    engine.flush()
    assert engine.queue_length == 1
    before = view_of(engine)
    result = engine.pull()
    assert (result.pulled, result.conflicts) == (0, 0)
    assert view_of(engine) == before
    result = engine.full_sync()
    assert (result.success, result.conflicts) == (True, 0)
    assert view_of(engine) == server.records("notes")
    assert len([e for e in server.journal if e.by == "http"]) == 1
    assert list(engine.conflicts(resolved=True)) == []
    later = [(c.before, c.after) for c in changes]
    bookkeeping = ("version", "updatedAt")
    for before, after in later:
        plain = [
            side and {k: v for k, v in side.items() if k not in bookkeeping}
            for side in (before, after)
        ]
        assert plain[0] == plain[1], "nothing but the server's own fields may change"


def test_a_pull_that_brought_the_servers_id_first_is_joined_with_its_create(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    with SyncServer(id_source="server") as server:
        entity = EntityConfig("/notes", id_source="server")
        engine = new_engine(server.url, entities={"notes": entity})
        item = engine.push("notes", {"title": "x"})
        server.script(DropAnswer(), match="POST")
        engine.flush()
        engine.pull()
        assert engine.full_sync().success
        assert view_of(engine) == server.records("notes")
        assert len(view_of(engine)) == 1
        assert engine.get("notes", item.record_id) == engine.get("notes", 1)
        engine.close()


# nothing waits for the queue


def test_a_pull_never_waits_for_the_queue_to_drain(
    new_engine: NewEngine, server: SyncServer, in_thread: InThread
) -> None:
    engine = new_engine(server.url)
    engine.push("notes", {"id": "1", "title": "slow"})
    server.put("notes", {"id": "2"})
    server.script(Stall(30), match="POST")
    flushing = in_thread(engine.flush)
    assert server.wait_for(lambda: any(seen.method == "POST" for seen in server.in_flight))
    result = engine.pull(timeout=5)
    assert (result.success, result.pulled) == (True, 1)
    assert present(engine.get("notes", "1"))["title"] == "slow"
    server.stop()
    flushing()


def test_a_failed_item_never_stops_pulls(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine = new_engine(server.url)
    engine.push("notes", {"id": "1"})
    server.script(Reply(422, {"error": "no"}), match="POST")
    engine.flush()
    assert len(list(engine.failed())) == 1
    for number in (2, 3):
        server.put("notes", {"id": str(number)})
        assert engine.pull().pulled == 1
    assert set(view_of(engine)) == {"1", "2", "3"}


def test_a_parked_conflict_never_stops_pulls(new_engine: NewEngine, server: SyncServer) -> None:
    engine = new_engine(server.url, conflict="manual")
    server.put("notes", {"id": "1", "title": "a"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "b"}, "update")
    server.patch("notes", "1", {"title": "c"})
    engine.pull()
    assert len(list(engine.conflicts())) == 1
    server.put("notes", {"id": "2"})
    assert engine.pull().pulled == 1


def test_an_item_that_backs_off_never_stops_pulls(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url, retry_delay=300, max_retry_delay=300)
    engine.push("notes", {"id": "1"})
    server.script(Reply(500), match="POST")
    engine.flush()
    server.put("notes", {"id": "2"})
    assert engine.pull().pulled == 1


# ties


def by_time(table: Table, new_engine: NewEngine, **settings: Any) -> SyncEngine:
    dialect = Dialect(cursor="max:updated_at", next_page=None, **settings)
    return new_engine(transport=table, dialect=dialect)


def test_equal_timestamps_are_neither_skipped_nor_news_for_ever(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    table = Table(
        {"id": "1", "updated_at": "2024-01-01T00:00:00"},
        {"id": "2", "updated_at": "2024-01-01T00:00:05"},
    )
    engine = by_time(table, new_engine)
    changes = listen(engine)
    assert engine.pull().pulled == 2
    table.rows.append({"id": "3", "updated_at": "2024-01-01T00:00:05"})
    assert engine.pull().pulled == 1, "of the last instant, only what is new counts"
    assert [engine.pull().pulled for _ in range(3)] == [0, 0, 0]
    assert set(view_of(engine)) == {"1", "2", "3"}
    assert len(changes) == 3
    assert [query.get("since") for query in table.asked][1:] == ["2024-01-01T00:00:05"] * 4


def test_a_change_within_the_last_instant_is_seen(new_engine: NewEngine) -> None:
    table = Table({"id": "1", "title": "a", "updated_at": "2024-01-01T00:00:05"})
    engine = by_time(table, new_engine)
    engine.pull()
    table.rows[0] = {**table.rows[0], "title": "b"}
    assert engine.pull().pulled == 1
    assert present(engine.get("notes", "1"))["title"] == "b"


def test_ties_over_pages_by_number_are_all_brought(new_engine: NewEngine, view_of: ViewOf) -> None:
    rows = [{"id": str(number), "updated_at": "2024-01-01T00:00:05"} for number in range(7)]
    table = Table(*rows, size=2)
    dialect = Dialect(cursor="max:updated_at", next_page="page:page")
    engine = new_engine(transport=table, dialect=dialect)
    assert engine.pull().pulled == 7
    assert engine.pull().pulled == 0
    assert set(view_of(engine)) == set("0123456")


# servers that forget


def test_an_orderable_cursor_that_went_back_means_a_restored_server(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage, view_of: ViewOf
) -> None:
    wire = scripted(
        page({"id": "1"}, {"id": "2"}, cursor=10),
        page(cursor=3),
        page({"id": "1"}, cursor=3),
        page(cursor=3),
    )
    engine = new_engine(transport=wire)
    engine.pull()
    engine.push("notes", {"id": "9"})
    result = engine.pull()
    assert result.success
    assert queries(wire) == [{}, {"since": ["10"]}, {}]
    assert set(view_of(engine)) == {"1", "9"}
    assert [item.record_id for item in engine.queue()] == ["9"]
    assert "restored" in present(engine.status.last_error)
    engine.pull()
    assert queries(wire)[3] == {"since": ["3"]}


def test_a_wiped_server_is_noticed_and_the_queue_stays(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine = new_engine(server.url, conflict="client-wins")
    for number in ("1", "2"):
        server.put("notes", {"id": number, "title": "x", "body": "y"})
    engine.pull()
    engine.push("notes", {"id": "2", "title": "mine"}, "update")
    engine.push("notes", {"id": "3"})
    server.wipe()
    result = engine.pull()
    assert not result.success
    assert "2 of 2 records" in str(result.problems[0])
    assert (engine.status.status, engine.status.reason) == ("error", "vanished")
    assert set(view_of(engine)) == {"1", "2", "3"}, "nothing is taken for gone"
    assert engine.queue_length == 2
    assert engine.reconcile("notes", accept=True).success
    assert set(view_of(engine)) == {"2", "3"}
    assert engine.full_sync().success
    assert engine.status.reason is None
    assert view_of(engine) == server.records("notes")
    assert server.records("notes")["2"]["body"] == "y", "the whole record was made anew"


def test_an_empty_listing_while_state_is_held_means_a_wiped_server(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    wire = scripted(
        page({"id": "1"}, cursor="a"),
        page(status=410),
        page(cursor="b"),
    )
    engine = new_engine(transport=wire)
    engine.pull()
    engine.push("notes", {"id": "2"})
    assert not engine.pull().success
    assert "wiped" in present(engine.status.last_error)
    assert engine.queue_length == 1


# a cursor that has expired


def test_an_expired_cursor_restarts_with_a_full_pull_that_finds_what_is_gone(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    entities = {"notes": "/notes", "tasks": "/tasks"}
    engine = new_engine(server.url, entities=entities)
    for number in "123":
        server.put("notes", {"id": number, "title": "old"})
        server.put("tasks", {"id": number})
    engine.pull()
    server.remove("notes", "1")
    server.patch("notes", "2", {"title": "new"})
    server.put("notes", {"id": "4"})
    server.expire_cursors()
    changes = listen(engine)
    result = engine.pull("notes")
    assert (result.success, result.pulled) == (True, 3)
    assert view_of(engine) == server.records("notes")
    assert {c.record_id for c in changes} == {"1", "2", "4"}
    assert len(gets(server, "/tasks")) == 1, "other entities are not concerned"
    assert engine.pull("notes").pulled == 0


def test_a_full_pull_leaves_alone_what_is_queued_to_be_created(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine = new_engine(server.url)
    server.put("notes", {"id": "1"})
    server.put("notes", {"id": "2"})
    engine.pull()
    engine.push("notes", {"id": "mine"})
    server.remove("notes", "1")
    server.expire_cursors()
    result = engine.pull()
    assert (result.success, result.conflicts) == (True, 0)
    assert set(view_of(engine)) == {"2", "mine"}
    assert engine.flush().pushed == 1


def test_a_full_pull_leaves_alone_what_is_newer_than_the_listing(
    wire: Wire, new_engine: NewEngine, view_of: ViewOf
) -> None:
    wire.store.change("notes", "create", {"id": "1"})
    engine = new_engine(transport=wire)
    engine.pull()
    wire.store.change("notes", "delete", {"id": "1"})
    wire.store.change("notes", "create", {"id": "2"})
    wire.store.renew()

    def deliver(seen: Seen) -> None:
        """Once the listing has been made, a create of this engine is delivered."""
        if seen.method == "GET" and "since" not in seen.query:
            wire.after = lambda seen: None
            engine.push("notes", {"id": "late"})
            assert engine.flush().pushed == 1

    wire.after = deliver
    assert engine.pull().success
    assert set(view_of(engine)) == {"2", "late"}
    assert engine.full_sync().success
    assert view_of(engine) == wire.store.records("notes")


def test_a_full_pull_that_was_cut_off_goes_on_and_still_knows_what_it_has_seen(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine = new_engine(server.url, entities={"notes": EntityConfig("/notes", page_size=1)})
    for number in "1234":
        server.put("notes", {"id": number})
    engine.pull()
    server.remove("notes", "2")
    server.expire_cursors()
    # the request with the expired cursor, one page, and then trouble
    server.script(None, None, Reply(500), match="GET /notes")
    assert engine.pull().errors == 1
    assert set(view_of(engine)) == set("1234"), "nothing is taken for gone before the end"
    assert engine.pull().success
    assert set(view_of(engine)) == {"1", "3", "4"}


@pytest.mark.parametrize(
    ("strategy", "left"), [("server-wins", False), ("client-wins", True), ("merge", True)]
)
@pytest.mark.parametrize("how", ["expired", "reconcile"])
def test_a_record_that_is_gone_from_the_listing_conflicts_with_its_queued_edits(
    new_engine: NewEngine, server: SyncServer, strategy: str, left: bool, how: str
) -> None:
    engine = new_engine(server.url, conflict=strategy)
    server.put("notes", {"id": "1", "title": "x", "body": "y"})
    server.put("notes", {"id": "2"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.remove("notes", "1")
    server.expire_cursors()
    result = engine.pull() if how == "expired" else engine.reconcile("notes")
    assert result.conflicts == 1
    (settled,) = engine.conflicts(resolved=True)
    assert settled.remote is None
    assert present(settled.local)["title"] == "mine"
    assert engine.full_sync().success
    assert ("1" in server.records("notes")) is left
    if left:
        assert server.records("notes")["1"]["body"] == "y"


# reconcile


class Forgetful:
    """A server that shows no deletes: tombstones are taken out of its pages. A transport."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def send(self, request: Request) -> Response:
        response = self.wire.send(request)
        if request.method == "GET" and response.status == 200:
            body = json.loads(response.body)
            body["items"] = [each for each in body.get("items", []) if not each.get("deleted")]
            return Response(200, response.headers, json.dumps(body).encode(), response.url)
        return response


def test_reconcile_removes_what_is_gone_at_a_server_without_tombstones(
    wire: Wire, new_engine: NewEngine, view_of: ViewOf
) -> None:
    engine = new_engine(transport=Forgetful(wire))
    for number in "123":
        wire.store.change("notes", "create", {"id": number})
    engine.pull()
    wire.store.change("notes", "delete", {"id": "2"})
    engine.push("notes", {"id": "mine"})
    assert engine.pull().pulled == 0
    assert set(view_of(engine)) == {"1", "2", "3", "mine"}
    changes = listen(engine)
    result = engine.reconcile("notes")
    assert (result.success, result.pulled) == (True, 1)
    assert set(view_of(engine)) == {"1", "3", "mine"}
    assert [(c.record_id, c.origin) for c in changes] == [("2", "remote")]
    assert engine.reconcile("notes").pulled == 0


def test_reconcile_interval_reconciles_by_itself(
    wire: Wire, new_engine: NewEngine, view_of: ViewOf, eventually: Eventually
) -> None:
    entity = EntityConfig("/notes", reconcile_interval=0.05)
    engine = new_engine(transport=Forgetful(wire), entities={"notes": entity}, auto_flush=True)
    wire.store.change("notes", "create", {"id": "1"})
    wire.store.change("notes", "create", {"id": "2"})
    engine.pull()
    wire.store.change("notes", "delete", {"id": "2"})
    eventually(lambda: set(view_of(engine)) == {"1"})


def test_under_a_filter_a_record_that_left_it_is_removed_from_the_view(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    entity = EntityConfig("/notes", params={"owner": "me"})
    engine = new_engine(server.url, entities={"notes": entity})
    server.put("notes", {"id": "1", "owner": "me"})
    server.put("notes", {"id": "2", "owner": "me"})
    engine.pull()
    server.patch("notes", "2", {"owner": "you"})
    assert engine.reconcile("notes").success
    assert set(view_of(engine)) == {"1"}


# two engines, callbacks, being offline


def test_a_page_is_committed_only_if_its_cursor_is_still_the_stored_one(
    wire: Wire, new_wire: type[Wire], new_engine: NewEngine, tmp_path: Path, in_thread: InThread
) -> None:
    file = tmp_path / "app.db"
    slow = new_engine(transport=wire, storage=file)
    quick = new_engine(transport=new_wire(wire.store), storage=file)
    wire.store.change("notes", "create", {"id": "1", "title": "first"})
    slow.pull()
    wire.store.change("notes", "update", {"id": "1", "title": "second"})

    def overtake(seen: Seen) -> None:
        wire.after = lambda seen: None
        wire.store.change("notes", "update", {"id": "1", "title": "third"})
        assert in_thread(quick.pull)().pulled == 1

    wire.after = overtake
    result = slow.pull()
    assert (result.pulled, result.errors) == (0, 0), result
    assert present(slow.get("notes", "1"))["title"] == "third"
    assert slow.pull().pulled == 0
    assert quick.pull().pulled == 0
    assert present(slow.get("notes", "1"))["title"] == "third"


def test_pulls_of_one_entity_from_many_threads_apply_everything_once(
    new_engine: NewEngine, server: SyncServer, in_thread: InThread, view_of: ViewOf
) -> None:
    engine = new_engine(server.url, entities={"notes": EntityConfig("/notes", page_size=3)})
    for number in range(20):
        server.put("notes", {"id": str(number)})
    changes = listen(engine)
    results = [result() for result in [in_thread(engine.pull) for _ in range(4)]]
    assert sum(result.pulled for result in results) == 20
    assert all(result.success for result in results)
    assert len(changes) == 20
    assert view_of(engine) == server.records("notes")


def test_a_pull_in_a_callback_starts_the_work_and_returns(
    new_engine: NewEngine, server: SyncServer, eventually: Eventually
) -> None:
    engine = new_engine(server.url, auto_flush=True)
    server.put("notes", {"id": "1"})
    results: list[Any] = []
    reported = threading.Event()

    def pull_once(change: RecordChange) -> None:
        if not results:
            server.put("notes", {"id": "2"})
            results.append(engine.pull())
            reported.set()

    engine.on_change(pull_once)
    engine.pull()
    assert reported.wait(5)
    assert results[0].pulled == 0
    eventually(lambda: engine.get("notes", "2"))


def test_a_full_sync_in_a_callback_starts_the_work_and_returns(
    new_engine: NewEngine, server: SyncServer, eventually: Eventually
) -> None:
    engine = new_engine(server.url, auto_flush=True)
    server.put("notes", {"id": "1"})
    done = threading.Event()

    def sync_once(change: RecordChange) -> None:
        if not done.is_set():
            server.put("notes", {"id": "2"})
            engine.push("notes", {"id": "3"})
            engine.full_sync()
            done.set()

    engine.on_change(sync_once)
    engine.pull()
    assert done.wait(5)
    eventually(lambda: engine.get("notes", "2"))
    eventually(lambda: "3" in server.records("notes"))


def test_a_pull_offline_says_so_and_changes_nothing(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, eventually: Eventually
) -> None:
    engine = new_engine(server.url, entities={"notes": "/notes", "tasks": "/tasks"})
    server.put("notes", {"id": "1"})
    engine.pull()
    before = view_of(engine)
    with server.outage():
        result = engine.pull()
        assert (result.success, result.offline) == (False, True)
        assert result.errors >= 1
        assert view_of(engine) == before
        eventually(lambda: not engine.is_online)
    server.put("notes", {"id": "2"})
    result = engine.pull()
    assert (result.success, result.offline, result.pulled) == (True, False, 1)
    eventually(lambda: engine.is_online)


def test_a_captive_portal_is_no_page_but_an_offline_network(
    new_engine: NewEngine, eventually: Eventually
) -> None:
    class SignInPage:
        def send(self, request: Request) -> Response:
            return Response(200, {"content-type": "text/html"}, b"<html>sign in", request.url)

    engine = new_engine("http://api.example.com", transport=SignInPage())
    result = engine.pull()
    assert (result.success, result.offline) == (False, True)
    eventually(lambda: (engine.status.status, engine.status.reason) == ("offline", "portal"))
    assert "sign-in page" in present(engine.status.last_error)


def test_a_web_page_in_place_of_a_listing_alone_is_no_portal(
    new_engine: NewEngine, eventually: Eventually
) -> None:
    class PageForNotes:
        def send(self, request: Request) -> Response:
            if "/notes" in request.url:
                return Response(200, {"content-type": "text/html"}, b"<html>our notes", request.url)
            return Response(404, {}, b"{}", request.url)

    engine = new_engine("http://api.example.com", transport=PageForNotes())
    result = engine.pull()
    assert (result.success, result.offline) == (False, False)
    assert engine.is_online
    eventually(lambda: engine.status.reason == "mapping")


def test_a_portal_that_answers_the_reading_of_a_record_is_offline(
    new_engine: NewEngine, wire: Wire, eventually: Eventually
) -> None:
    page = Response(200, {"content-type": "text/html"}, b"<html>sign in", "")
    engine = new_engine("http://api.example.com", transport=wire)
    wire.store.change("notes", "create", {"id": "1"})
    assert engine.pull().success
    run = engine._core.running()
    entity = run.entities["notes"]
    run.puller._commits.state.write(lambda work: mark_stale(work.tx, entity, "1"))
    send, wire.send = wire.send, lambda request: page  # type: ignore[method-assign]  # replaced by the test
    run.stale_records.read(lambda: False)
    eventually(lambda: (engine.status.status, engine.status.reason) == ("offline", "portal"))
    wire.send = send  # type: ignore[method-assign]  # replaced by the test
    assert engine.full_sync().success
    assert engine.status.reason is None


def test_a_refused_token_is_asked_for_anew_once(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    server.token = "good"
    tokens = iter(["old", "good"])
    engine = new_engine(server.url, auth=lambda: next(tokens))
    server.put("notes", {"id": "1"})
    assert engine.pull().pulled == 1
    assert [seen.status for seen in server.requests] == [401, 200]


def test_credentials_that_stay_refused_are_an_error_of_the_pull(
    new_engine: NewEngine, server: SyncServer
) -> None:
    server.token = "good"
    engine = new_engine(server.url, auth=lambda: "bad")
    result = engine.pull()
    assert (result.success, result.errors, result.offline) == (False, 1, False)


def test_a_pull_keeps_to_its_timeout(new_engine: NewEngine, server: SyncServer) -> None:
    engine = new_engine(server.url)
    server.always(Stall(20), match="GET")
    began = time.monotonic()
    result = engine.pull(timeout=0.3)
    took = time.monotonic() - began
    server.stop()
    assert not result.success
    assert took < 5


def test_a_pull_between_pages_keeps_to_its_timeout_and_the_next_goes_on(
    wire: Wire, new_engine: NewEngine, view_of: ViewOf, in_thread: InThread
) -> None:
    for number in range(5):
        wire.store.change("notes", "create", {"id": str(number)})
    engine = new_engine(transport=wire, entities={"notes": EntityConfig("/notes", page_size=1)})
    assert not engine.pull(timeout=0).success
    assert engine.pull(timeout=10).success
    assert set(view_of(engine)) == set("01234")


def test_pull_interval_pulls_by_itself_until_the_engine_is_closed(
    new_engine: NewEngine, server: SyncServer, eventually: Eventually
) -> None:
    engine = new_engine(server.url, auto_flush=True, pull_interval=0.05)
    server.put("notes", {"id": "1"})
    engine.start()
    eventually(lambda: engine.get("notes", "1"))
    server.put("notes", {"id": "2"})
    eventually(lambda: engine.get("notes", "2"))
    assert engine.close()
    seen = len(server.requests)
    assert not server.wait_for(lambda: len(server.requests) > seen, timeout=0.2)


def test_without_a_replica_nothing_is_ever_pulled(
    new_engine: NewEngine, server: SyncServer
) -> None:
    entities = {"events": EntityConfig("/events", replica=False), "notes": "/notes"}
    engine = new_engine(server.url, entities=entities)
    server.put("events", {"id": "1"})
    engine.push("events", {"id": "2", "kind": "click"})
    assert engine.full_sync().success
    engine.push("events", {"id": "2", "kind": "tap"}, "update")
    assert engine.full_sync().success
    assert engine.pull("events").success
    assert engine.reconcile("events").success
    assert gets(server, "/events") == []
    assert engine.get("events", "2") is None
    assert list(engine.records("events")) == []
    writes = [seen for seen in server.requests if seen.path.startswith("/events")]
    assert len(writes) == 2
    assert not any("if-match" in seen.headers for seen in writes)


def test_only_the_named_entity_is_pulled_and_an_unknown_one_is_misuse(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url, entities={"notes": "/notes", "tasks": "/tasks"})
    engine.pull("tasks")
    assert {seen.path for seen in server.requests if seen.method == "GET"} == {"/tasks"}
    with pytest.raises(UnknownEntityError):
        engine.pull("nothing")
    with pytest.raises(UnknownEntityError):
        engine.reconcile("nothing")


@pytest.mark.parametrize("versions", [True, False])
def test_an_old_page_never_replaces_a_newer_answer(
    wire: Wire, new_engine: NewEngine, view_of: ViewOf, versions: bool
) -> None:
    """A page asked for before the record changed here is not taken; the record is read."""
    wire.store.rules = Rules(versions=versions)
    engine = new_engine(transport=wire)
    for number in "123":
        wire.store.change("notes", "create", {"id": number, "title": "old"})
    engine.pull()
    changes = listen(engine)

    def deliver(seen: Seen) -> None:
        """While the listing is on its way, newer states of its records are delivered."""
        wire.after = lambda seen: None
        engine.push("notes", {"id": "1", "title": "new"}, "update")
        engine.delete("notes", "2")
        assert engine.flush().pushed == 2

    wire.after = deliver
    result = engine.reconcile("notes")
    assert (result.success, result.pulled, result.conflicts) == (True, 0, 0)
    assert present(engine.get("notes", "1"))["title"] == "new"
    assert engine.get("notes", "2") is None
    assert engine.full_sync().success
    assert engine.full_sync().success
    assert view_of(engine) == wire.store.records("notes")
    assert engine._core.board.notifier.drain(5.0)
    flips = [change for change in changes if (change.after or {}).get("title") == "old"]
    assert flips == []


def test_an_old_answer_never_replaces_a_newer_page(
    wire: Wire, new_engine: NewEngine, view_of: ViewOf
) -> None:
    """The answer to a change that was overtaken by a pull is not taken; the record is read."""
    engine = new_engine(transport=wire)
    wire.store.change("notes", "create", {"id": "1", "title": "old"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")

    def overtake(seen: Seen) -> None:
        if seen.method == "PATCH":
            wire.after = lambda seen: None
            wire.store.change("notes", "update", {"id": "1", "title": "theirs"})
            engine.pull()

    wire.after = overtake
    engine.flush()
    assert engine.full_sync().success
    assert engine.full_sync().success
    assert view_of(engine) == wire.store.records("notes")
    assert present(engine.get("notes", "1"))["title"] == "theirs"
