"""Only an answer of the API counts: pages of proxies, gateways and captive portals drop nothing."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from bytelyst_sync import Dialect, EntityConfig, Request, SyncEngine, SyncItem, SyncStatus
from bytelyst_sync.errors import OfflineError
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import OperationName
from bytelyst_sync.testing import Seen
from bytelyst_sync.testing.raw import Answer, RecordedRequest
from bytelyst_sync.testing.store import Rules, Store
from tests.typed import present

URL = "http://api.example.com"
NOTE = {"id": "1", "title": "first"}
ADVICE = "check base_url and endpoint"
PAGES = {
    "404 page": (404, "text/html", b"<html>default backend - 404</html>"),
    "403 page": (403, "text/html", b"<html>Forbidden by policy</html>"),
    "404 text": (404, "text/plain", b"no such app"),
    "404 nothing": (404, "text/plain", b""),
    "410 page": (410, "text/html", b"<html>Gone</html>"),
    "400 page": (400, "text/html", b"<html>400 The plain HTTP request was sent to</html>"),
}

CONFLICT_PAGES = {
    "409 page": (409, "text/html", b"<html>DNS points to prohibited IP</html>"),
    "409 nothing": (409, "text/plain", b""),
    "412 page": (412, "text/html", b"<html>Precondition Failed</html>"),
    "412 nothing": (412, "text/plain", b""),
}
"""They look like conflicts, and so the record is read."""
ALL_PAGES = {**PAGES, **CONFLICT_PAGES}


def page(name: str) -> Answer:
    status, kind, body = ALL_PAGES[name]
    return Answer(status, {"Content-Type": kind}, body)


class World:
    """A server as a transport. ``between`` answers in its place if it returns something."""

    def __init__(self, **rules: Any) -> None:
        self.store = Store(Rules(**rules))
        self.between: Callable[[RecordedRequest], Any] = lambda seen: None
        self.seen: list[Any] = []

    def send(self, request: Request) -> Response:
        target = request.url.removeprefix(URL)
        seen = RecordedRequest.of(request.method, target, request.headers, request.body or b"")
        self.seen.append(seen)
        answer = self.between(seen)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            answer = self.store.handle(seen)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status, headers, answer.body, request.url)

    def writes(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method not in ("GET", "HEAD")]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def engine(held: Callable[..., SyncEngine], world: World) -> SyncEngine:
    """An engine that holds note 1, as the server does."""
    made = held(base_url=URL, transport=world)
    world.store.change("notes", "create", dict(NOTE))
    assert made.pull().success
    return made


def change(engine: SyncEngine, operation: OperationName) -> SyncItem | None:
    if operation == "delete":
        return engine.delete("notes", "1")
    data = {"id": "1" if operation == "update" else "2", "title": "second"}
    return engine.push("notes", data, operation)


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
@pytest.mark.parametrize("name", ALL_PAGES)
def test_a_page_for_everything_is_an_outage(
    engine: SyncEngine, world: World, operation: Literal["create", "update", "delete"], name: str
) -> None:
    item = present(change(engine, operation))
    before = engine.get("notes", "1")
    world.between = lambda seen: page(name)
    result = engine.flush(timeout=10)
    assert (result.pushed, result.conflicts, result.remaining) == (0, 0, 1)
    status = engine.status
    assert (status.status, status.reason) == (SyncStatus.ERROR, "outage")
    assert "no answer of the API" in present(status.last_error)
    assert "base_url" not in present(status.last_error), "the API has answered before"
    assert engine.get("notes", "1") == before
    assert not engine.cancel(item)
    world.between = lambda seen: None
    assert engine.flush(timeout=10).success
    keys = {seen.headers["idempotency-key"] for seen in world.writes()}
    assert keys == {item.id}


@pytest.mark.parametrize("name", PAGES)
def test_a_refusal_that_the_listing_vouches_for_stands_after_a_second_try(
    engine: SyncEngine, world: World, name: str
) -> None:
    change(engine, "create")
    world.between = lambda seen: page(name) if seen.method == "POST" else None
    assert engine.flush(timeout=10).errors == 1
    (failed,) = engine.failed()
    assert str(PAGES[name][0]) in present(failed.last_error)
    posts = world.writes()
    assert len(posts) == 2
    assert len({seen.headers["idempotency-key"] for seen in posts}) == 1


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_a_refusal_that_is_another_one_at_the_second_try_is_an_outage(
    engine: SyncEngine, world: World, operation: Literal["create", "update", "delete"]
) -> None:
    item = present(change(engine, operation))
    pages = ["404 page", "403 page"]
    world.between = lambda seen: None if seen.method == "GET" else page(pages.pop(0))
    result = engine.flush(timeout=10)
    assert (result.success, result.remaining, result.failed) == (False, 1, 0)
    assert engine.status.reason == "outage"
    assert not engine.cancel(item), "the outcome is unknown"
    world.between = lambda seen: None
    assert engine.flush(timeout=10).success


def test_a_page_that_was_gone_at_the_second_try_does_no_harm(
    engine: SyncEngine, world: World
) -> None:
    change(engine, "update")
    pages = [page("404 page")]
    world.between = lambda seen: pages.pop() if seen.method == "PATCH" and pages else None
    assert engine.flush(timeout=10).success
    assert world.store.records("notes")["1"]["title"] == "second"


@pytest.mark.parametrize("status", [401, 403, 405])
def test_a_refusal_of_the_listing_in_json_vouches_too(
    engine: SyncEngine, world: World, status: int
) -> None:
    change(engine, "create")
    refused = Answer.of(status, {"error": "no"})
    world.between = lambda seen: page("404 page") if seen.method == "POST" else refused
    assert engine.flush(timeout=10).errors == 1
    assert len(list(engine.failed())) == 1


def test_gone_is_confirmed_for_a_record_that_is_held_though_it_is_json(
    engine: SyncEngine, world: World
) -> None:
    change(engine, "update")
    gone = Answer.of(404, {"message": "no Route matched with those values"})
    world.between = lambda seen: gone
    assert engine.flush(timeout=10).remaining == 1
    assert present(engine.get("notes", "1"))["title"] == "second"
    world.between = lambda seen: None
    assert engine.flush(timeout=10).success


def test_gone_for_a_record_that_is_held_and_gone_is_believed(
    engine: SyncEngine, world: World
) -> None:
    change(engine, "update")
    world.between = lambda seen: (
        Answer.of(404, {"error": "gone"}) if seen.path == "/notes/1" else None
    )
    assert engine.flush(timeout=10).conflicts == 1
    assert engine.get("notes", "1") is None


def test_gone_in_the_reading_after_a_conflict_is_confirmed(
    engine: SyncEngine, world: World
) -> None:
    change(engine, "update")

    def between(seen: Seen) -> Answer:
        if seen.method == "PATCH":
            return Answer.of(412, {})
        return page("404 page")

    world.between = between
    assert engine.flush(timeout=10).conflicts == 0
    assert present(engine.get("notes", "1"))["title"] == "second"
    world.between = lambda seen: None
    assert engine.flush(timeout=10).success


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
@pytest.mark.parametrize("name", CONFLICT_PAGES)
def test_a_conflicts_page_that_was_gone_at_the_second_try_does_no_harm(
    engine: SyncEngine, world: World, operation: Literal["create", "update", "delete"], name: str
) -> None:
    change(engine, operation)
    pages = [page(name)]
    world.between = lambda seen: None if seen.method == "GET" or not pages else pages.pop()
    result = engine.flush(timeout=10)
    assert (result.success, result.conflicts) == (True, 0)
    expected = {"create": ["first", "second"], "update": ["second"], "delete": []}[operation]
    assert [each["title"] for each in world.store.records("notes").values()] == expected


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_an_empty_refusal_stands_after_a_second_try(
    engine: SyncEngine, world: World, operation: Literal["create", "update", "delete"]
) -> None:
    change(engine, operation)
    world.between = lambda seen: None if seen.method == "GET" else page("409 nothing")
    result = engine.flush(timeout=10)
    assert (result.failed, result.conflicts) == (1, 0)
    assert len(world.writes()) == 2
    assert len({seen.headers["idempotency-key"] for seen in world.writes()}) == 1
    (failed,) = engine.failed()
    assert "HTTP 409" in present(failed.last_error)


@pytest.mark.parametrize("name", ["409 nothing", "412 nothing"])
@pytest.mark.parametrize("strategy", ["server-wins", "client-wins"])
def test_an_empty_conflict_costs_nothing_where_the_record_has_changed(
    held: Callable[..., SyncEngine], world: World, name: str, strategy: str
) -> None:
    """The reading that follows proves the conflict; neither the listing nor the write is sent."""
    engine = held(base_url=URL, transport=world, conflict=strategy)
    world.store.change("notes", "create", dict(NOTE))
    assert engine.pull().success
    change(engine, "update")
    world.store.change("notes", "update", {"id": "1", "title": "theirs"})
    pages = [page(name)]
    world.between = lambda seen: pages.pop() if seen.method == "PATCH" and pages else None
    world.seen.clear()
    result = engine.flush(timeout=10)
    assert (result.success, result.conflicts) == (True, 1)
    sent = [(seen.method, seen.path) for seen in world.seen]
    again = [("PATCH", "/notes/1")] if strategy == "client-wins" else []
    assert sent == [("PATCH", "/notes/1"), ("GET", "/notes/1"), *again]


READ_FIRST = {
    "checked": Dialect(check_before_write=True, version=None, send_version=None),
    "full, state unknown": Dialect(update="PUT {endpoint}/{id}", patch="full"),
}


@pytest.mark.parametrize("operation", ["update", "delete"])
@pytest.mark.parametrize("name", ALL_PAGES)
@pytest.mark.parametrize("dialect", READ_FIRST)
def test_a_page_for_the_reading_before_a_write_is_an_outage(
    held: Callable[..., SyncEngine],
    world: World,
    dialect: str,
    name: str,
    operation: Literal["create", "update", "delete"],
) -> None:
    notes = EntityConfig("/notes", dialect=READ_FIRST[dialect])
    engine = held(base_url=URL, transport=world, entities={"notes": notes})
    world.store.change("notes", "create", dict(NOTE))
    if dialect == "checked":
        assert engine.pull().success
    change(engine, operation)
    before = engine.get("notes", "1")
    world.between = lambda seen: page(name)
    result = engine.flush(timeout=10)
    assert (result.pushed, result.conflicts, result.failed, result.remaining) == (0, 0, 0, 1)
    assert engine.status.reason == "outage"
    assert engine.get("notes", "1") == before
    world.between = lambda seen: None
    assert engine.flush(timeout=10).success
    expected = None if operation == "delete" else "second"
    assert world.store.records("notes").get("1", {}).get("title") == expected


@pytest.mark.parametrize("name", ALL_PAGES)
def test_a_page_for_a_create_under_a_local_id_is_an_outage(
    held: Callable[..., SyncEngine], world: World, name: str
) -> None:
    world.store = Store(Rules(id_source="server"))
    notes = EntityConfig("/notes", id_source="server")
    engine = held(base_url=URL, transport=world, entities={"notes": notes})
    engine.push("notes", {"title": "first"})
    world.between = lambda seen: page(name)
    result = engine.flush(timeout=10)
    assert (result.failed, result.remaining) == (0, 1)
    world.between = lambda seen: None
    assert engine.flush(timeout=10).success
    assert len(world.store.records("notes")) == 1


@pytest.mark.parametrize("name", ALL_PAGES)
def test_a_page_for_a_reading_removes_no_record(
    engine: SyncEngine, world: World, name: str
) -> None:
    world.store.change("notes", "delete", {"id": "1"})
    listings: list[Any] = []

    def between(seen: Seen) -> Answer | None:
        is_listing = seen.path == "/notes" and not listings
        listings.extend([seen] if is_listing else [])
        return None if is_listing else page(name)

    world.between = between
    assert not engine.reconcile("notes").success
    assert engine.get("notes", "1") is not None
    world.between = lambda seen: None
    assert engine.reconcile("notes").success
    assert engine.get("notes", "1") is None


def test_a_gateways_page_may_not_ask_for_a_day(engine: SyncEngine, world: World) -> None:
    change(engine, "update")
    asks = {"Content-Type": "text/html", "Retry-After": "86400", "Backoff": "86400"}
    world.between = lambda seen: Answer(503, asks, b"<html>maintenance</html>")
    engine.flush(timeout=10)
    status = engine.status
    assert status.next_retry is None or status.next_retry - status.since < timedelta(seconds=5)


def test_what_confirms_may_be_configured(held: Callable[..., SyncEngine], world: World) -> None:
    dialect = Dialect(confirm="GET {endpoint}/health")
    made = held(
        base_url=URL, transport=world, entities={"notes": EntityConfig("/notes", dialect=dialect)}
    )
    change(made, "create")

    def between(seen: Seen) -> Answer:
        if seen.method == "POST":
            return page("404 page")
        return Answer.of(200, {"up": True}) if seen.path == "/notes/health" else page("404 page")

    world.between = between
    assert made.flush(timeout=10).errors == 1
    assert len(list(made.failed())) == 1


# --- captive portals


PORTAL = Answer(200, {"Content-Type": "text/html"}, b"<html>Please sign in</html>")
SIGN_IN = Answer(302, {"Location": "http://portal.example/login"}, b"")


@pytest.mark.parametrize("answer", [PORTAL, SIGN_IN, Answer(511, {}, b"<html>")], ids=str)
@pytest.mark.parametrize("operation", ["create", "update"])
def test_a_portal_is_proven_by_a_random_path_and_is_offline(
    engine: SyncEngine,
    world: World,
    operation: Literal["create", "update", "delete"],
    answer: Answer,
) -> None:
    item = present(change(engine, operation))
    world.between = lambda seen: answer
    result = engine.flush(timeout=10)
    assert (result.success, result.offline, result.pushed, result.errors) == (False, True, 0, 0)
    assert next(engine.queue()).retry_count == 0
    assert "sign-in page" in present(engine.status.last_error)
    assert "web site" in present(engine.status.last_error)
    assert not engine.cancel(item)
    paths = [seen.path for seen in world.seen if seen.method == "GET"]
    assert len(set(paths)) == len(paths)
    world.between = lambda seen: None
    assert engine.flush(timeout=10).success


def test_a_page_from_one_path_alone_is_no_portal(engine: SyncEngine, world: World) -> None:
    change(engine, "create")
    world.between = lambda seen: PORTAL if seen.method == "POST" else None
    result = engine.flush(timeout=10)
    assert (result.offline, result.errors) == (False, 1)
    (failed,) = engine.failed()
    assert "accepted" in present(failed.last_error)


# --- accepted, and nobody knows as what


def test_a_create_whose_answer_is_unclear_is_never_sent_again_by_itself(
    engine: SyncEngine, world: World
) -> None:
    item = change(engine, "create")
    world.between = lambda seen: PORTAL if seen.method == "POST" else None
    engine.flush(timeout=10)
    assert len(world.writes()) == 1
    assert engine.reprocess_failed() == 0
    world.between = lambda seen: None
    assert engine.reprocess_failed(item) == 1
    assert engine.flush(timeout=10).success
    assert len({seen.headers["idempotency-key"] for seen in world.writes()}) == 1


@pytest.mark.parametrize("body", [b"", b"<html>created</html>", b"{}"])
def test_the_id_of_a_new_record_may_be_in_the_location(
    held: Callable[..., SyncEngine], world: World, body: bytes
) -> None:
    made = held(
        base_url=URL,
        transport=world,
        entities={"notes": EntityConfig("/notes", id_source="server")},
    )
    item = made.push("notes", {"title": "first"})
    there = Answer(201, {"Location": "/notes/a%20b"}, body)
    world.between = lambda seen: there if seen.method == "POST" else None
    assert made.flush(timeout=10).success
    assert present(made.get("notes", item.record_id))["id"] == "a b"


def test_an_answer_with_another_id_names_id_source(engine: SyncEngine, world: World) -> None:
    change(engine, "create")
    world.between = lambda seen: (
        Answer.of(201, {"id": 77, "title": "second"}) if seen.method == "POST" else None
    )
    assert engine.flush(timeout=10).errors == 1
    (failed,) = engine.failed()
    assert 'id_source="server"' in present(failed.last_error)
    later = engine.push("notes", {"id": "2", "title": "third"}, "update")
    engine.flush(timeout=10)
    assert [item.id for item in engine.queue()] == [later.id]
    assert len(world.writes()) == 1


def test_an_answer_about_another_record_is_reported_and_not_stored(
    engine: SyncEngine, world: World
) -> None:
    change(engine, "update")
    world.between = lambda seen: (
        Answer.of(200, {"id": "9", "title": "theirs"}) if seen.method == "PATCH" else None
    )
    assert engine.flush(timeout=10).pushed == 1
    assert present(engine.get("notes", "1"))["title"] == "second"
    assert engine.get("notes", "9") is None
    assert "another record" in present(engine.status.last_error)


def test_no_network_while_confirming_is_an_outage_and_drops_nothing(
    engine: SyncEngine, world: World
) -> None:
    change(engine, "delete")
    world.between = lambda seen: (
        page("404 page") if seen.method == "DELETE" else OfflineError("down")
    )
    assert engine.flush(timeout=10).remaining == 1


def test_where_the_api_has_never_answered_for_an_entity_the_error_says_what_to_check(
    held: Callable[..., SyncEngine], world: World
) -> None:
    """A wrong endpoint looks like that, until the API has answered once for this entity."""
    engine = held(base_url=URL, transport=world, entities={"notes": "/notes", "tasks": "/tasks"})
    world.between = lambda seen: page("404 page") if seen.path.startswith("/tasks") else None
    engine.push("notes", {"id": "1"})
    assert engine.flush(timeout=10).success
    engine.push("tasks", {"id": "1"})
    world.between = lambda seen: page("404 page")
    engine.flush(timeout=10)
    assert engine.status.status == SyncStatus.ERROR
    assert ADVICE in present(engine.status.last_error)
    engine.push("notes", {"id": "2"})
    engine.flush(timeout=10)
    (error,) = [item.last_error for item in engine.queue() if item.entity == "notes"] or [""]
    assert ADVICE not in (error or "")


def test_it_is_remembered_that_the_api_has_answered(
    held: Callable[..., SyncEngine], world: World, tmp_path: Path
) -> None:
    options = {"base_url": URL, "transport": world, "storage": tmp_path / "app.db"}
    entity = EntityConfig("/notes", replica=False)
    engine = held(entities={"notes": entity}, **options)
    engine.push("notes", {"id": "1"})
    assert engine.flush(timeout=10).success
    engine.close()
    again = held(entities={"notes": entity}, **options)
    world.between = lambda seen: page("404 page")
    again.push("notes", {"id": "2"})
    again.flush(timeout=10)
    assert again.status.reason == "outage"
    assert ADVICE not in present(again.status.last_error)
