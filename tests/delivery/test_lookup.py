"""Creates whose outcome is unknown: how they are looked for, and the end of ``key_lifetime``."""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Literal

import pytest

from bytelyst_sync import Dialect, EntityConfig, ItemState, SyncEngine, SyncItem
from bytelyst_sync.model import Json
from bytelyst_sync.storage import MemoryStorage
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ITEMS, Lane
from bytelyst_sync.testing import DropAnswer, Lose, ManualClock, Reply, Seen, SyncServer
from tests.typed import T, present

BY_REF = "GET {endpoint}?client_ref={key}"
DEADLINE_S = 30.0
DATA = {"title": "first", "client_ref": "key-1"}
PAGE = {"Content-Type": "text/html"}
RECORDS = {"client": {"id": "1", **DATA}, "server": DATA}


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["client", "server"])
def id_source(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def server(id_source: str) -> Iterator[SyncServer]:
    with SyncServer(id_source=id_source, idempotency=False) as running:
        yield running


@pytest.fixture
def keyless(
    held: Callable[..., SyncEngine], clock: ManualClock, id_source: Literal["client", "server"]
) -> Callable[..., SyncEngine]:
    """``keyless(**dialect)``: an engine for a server without idempotency keys."""

    def build(
        storage: str | MemoryStorage = ":memory:", conflict: str = "server-wins", **dialect: Any
    ) -> SyncEngine:
        dialect = {"idempotency": None, "lookup": BY_REF, **dialect}
        entity = EntityConfig("/notes", id_source=id_source, dialect=Dialect(**dialect))
        return held(
            entities={"notes": entity},
            clock=clock,
            request_deadline=DEADLINE_S,
            storage=storage,
            conflict=conflict,
            retry_delay=1.0,
            max_retry_delay=20.0,
        )

    return build


def first_try(
    engine: SyncEngine, server: SyncServer, fault: Lose | Reply, id_source: str
) -> SyncItem:
    """Pushes a note under a key of its own, and has its create tried once with this fault."""
    item = engine.push("notes", RECORDS[id_source], key="key-1")
    server.script(fault, match="POST")
    engine.flush(timeout=10)
    return item


def leave_in_mid_request(storage: MemoryStorage) -> None:
    """Makes the store's item one that a killed process was sending."""

    def kill(tx: Transaction) -> None:
        item = only(tx.scan(ITEMS))
        left: Json = {
            "lane": Lane.SENDING,
            "frozen": 0,
            "due": None,
            "delay": None,
            "lookup_at": None,
        }
        tx.replace(ITEMS, item, item._replace(**left))

    storage.write(kill)


def asked(server: SyncServer) -> list[str]:
    """The methods that the server was asked with."""
    return [seen.method for seen in server.requests]


def test_a_create_that_is_found_is_delivered_and_not_sent_again(
    keyless: Callable[..., SyncEngine],
    server: SyncServer,
    clock: ManualClock,
    effects: Callable[..., list[tuple[str, str]]],
    id_source: str,
) -> None:
    engine = keyless()
    item = first_try(engine, server, DropAnswer(), id_source)
    clock.advance(DEADLINE_S + 1)
    assert engine.flush(timeout=10).success
    assert asked(server) == ["POST", "GET"]
    assert server.requests[-1].query == {"client_ref": "key-1"}
    made = only(effects(server))[1]
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert present(engine.get("notes", made))["title"] == "first"
    assert engine.get("notes", item.record_id) == engine.get("notes", made)


def test_it_is_not_looked_for_before_the_request_deadline(
    keyless: Callable[..., SyncEngine], server: SyncServer, clock: ManualClock, id_source: str
) -> None:
    engine = keyless()
    first_try(engine, server, DropAnswer(), id_source)
    assert present(only(engine.queue()).next_attempt) - clock.now == timedelta(seconds=DEADLINE_S)
    clock.advance(DEADLINE_S - 1)
    engine.flush(timeout=10)
    assert asked(server) == ["POST"]
    clock.advance(1)
    assert engine.flush(timeout=10).success


def test_an_answer_that_asks_for_no_wait_shortens_none(
    keyless: Callable[..., SyncEngine], server: SyncServer, clock: ManualClock, id_source: str
) -> None:
    engine = keyless()
    first_try(engine, server, Reply(503, headers={"Retry-After": "5"}), id_source)
    clock.advance(6)
    engine.flush(timeout=10)
    assert asked(server) == ["POST"]
    assert present(only(engine.queue()).next_attempt) - clock.now == timedelta(
        seconds=DEADLINE_S - 6
    )
    clock.advance(DEADLINE_S - 6)
    engine.flush(timeout=10)
    assert asked(server) == ["POST", "GET"]


def test_a_create_that_is_not_found_twice_is_sent_again(
    keyless: Callable[..., SyncEngine],
    server: SyncServer,
    clock: ManualClock,
    effects: Callable[..., list[tuple[str, str]]],
    id_source: str,
) -> None:
    engine = keyless()
    item = first_try(engine, server, Reply(500), id_source)
    clock.advance(DEADLINE_S)
    assert engine.flush(timeout=10).remaining == 1
    assert asked(server) == ["POST", "GET"]
    assert only(engine.queue()).retry_count == 0
    clock.advance(20)
    assert engine.flush(timeout=10).success
    assert asked(server) == ["POST", "GET", "GET", "POST"]
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert len(effects(server)) == 1


def test_after_each_attempt_it_is_looked_for_twice_again(
    keyless: Callable[..., SyncEngine], server: SyncServer, clock: ManualClock, id_source: str
) -> None:
    engine = keyless()
    first_try(engine, server, Reply(500), id_source)
    server.script(Reply(500), match="POST")
    for seconds in (DEADLINE_S, 20, DEADLINE_S, 20):
        clock.advance(seconds)
        engine.flush(timeout=10)
    assert asked(server) == ["POST", "GET", "GET", "POST", "GET", "GET", "POST"]


FAILURES: dict[str, Any] = {
    "no connection": None,
    "500": Reply(500),
    "502": Reply(502),
    "no answer": DropAnswer(),
    "a page of a proxy": Reply(404, "<html>no such host</html>", PAGE),
}


@pytest.mark.parametrize("row", FAILURES)
def test_a_lookup_that_fails_is_tried_again_and_nothing_is_sent(
    keyless: Callable[..., SyncEngine],
    server: SyncServer,
    clock: ManualClock,
    effects: Callable[..., list[tuple[str, str]]],
    drain: Callable[..., int],
    row: str,
    id_source: str,
) -> None:
    engine = keyless()
    item = first_try(engine, server, DropAnswer(), id_source)
    clock.advance(DEADLINE_S)
    if FAILURES[row] is None:
        with server.outage():
            engine.flush(timeout=10)
    else:
        server.always(FAILURES[row], match="GET")
        engine.flush(timeout=10)
        server.clear_script()
    assert asked(server).count("POST") == 1
    assert not engine.cancel(item)
    clock.advance(20)
    assert drain(engine) == 0
    assert len(effects(server)) == asked(server).count("POST") == 1


def test_a_create_that_a_killed_process_was_sending_is_looked_for(
    keyless: Callable[..., SyncEngine],
    server: SyncServer,
    clock: ManualClock,
    effects: Callable[..., list[tuple[str, str]]],
    id_source: str,
) -> None:
    storage = MemoryStorage()
    engine = keyless(storage=storage)
    first_try(engine, server, DropAnswer(), id_source)
    leave_in_mid_request(storage)
    engine.flush(timeout=10)
    assert asked(server) == ["POST"]
    clock.advance(DEADLINE_S)
    assert engine.flush(timeout=10).success
    assert asked(server) == ["POST", "GET"]
    assert len(effects(server)) == 1


def test_an_update_behind_it_is_based_on_the_record_that_was_found(
    keyless: Callable[..., SyncEngine],
    server: SyncServer,
    clock: ManualClock,
    effects: Callable[..., list[tuple[str, str]]],
    id_source: str,
) -> None:
    engine = keyless(conflict="merge")
    item = first_try(engine, server, DropAnswer(), id_source)
    made = only(effects(server))[1]
    engine.update("notes", item.record_id, {"done": True})
    server.patch("notes", made, {"title": "theirs"})
    clock.advance(DEADLINE_S)
    assert engine.flush(timeout=10).success
    record = server.records("notes")[made]
    assert (record["title"], record["done"]) == ("theirs", True)
    assert only(engine.records("notes")) == engine.get("notes", made)
    assert present(engine.get("notes", made))["title"] == "theirs"


def test_records_of_others_are_never_taken_for_it(
    keyless: Callable[..., SyncEngine],
    server: SyncServer,
    clock: ManualClock,
    effects: Callable[..., list[tuple[str, str]]],
    id_source: str,
) -> None:
    """A server that does not know the query lists all records."""
    engine = keyless()
    item = first_try(engine, server, Reply(500), id_source)
    theirs = [{"id": "8", "title": "theirs"}, {"id": "9", "title": "first"}]
    server.always(Reply(200, {"items": theirs}), match="GET")
    for _ in range(8):
        clock.advance(DEADLINE_S)
        engine.flush(timeout=10)
    if id_source == "client":
        assert engine.wait(item, timeout=10) is ItemState.DELIVERED
        return
    failed = only(engine.failed())
    assert "lookup" in present(failed.last_error)
    assert asked(server).count("POST") == 1
    assert effects(server) == []


# --- accepted, with an answer that cannot be understood


def accepted_unreadably(engine: SyncEngine, server: SyncServer, id_source: str) -> SyncItem:
    """Pushes a note whose create is processed, and answered with a page."""

    def answer(seen: Seen) -> Reply | None:
        if seen.method != "POST":
            return None
        server.put("notes", {"id": "77" if id_source == "server" else "1", **seen.body})
        return Reply(201, "<html>made</html>", PAGE)

    server.reject = answer
    item = engine.push("notes", RECORDS[id_source], key="key-1")
    engine.flush(timeout=10)
    return item


def test_an_accepted_create_with_an_unreadable_answer_is_looked_for_at_once(
    keyless: Callable[..., SyncEngine], server: SyncServer, id_source: str
) -> None:
    engine = keyless()
    item = accepted_unreadably(engine, server, id_source)
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert asked(server) == ["POST", "GET"]
    assert present(engine.get("notes", item.record_id))["title"] == "first"
    assert only(engine.records("notes"))["id"] == ("77" if id_source == "server" else "1")


@pytest.mark.parametrize("reply", [Reply(200, {"items": []}), Reply(404, {}), Reply(500)])
def test_an_accepted_create_that_is_not_found_is_failed_and_not_sent_again(
    keyless: Callable[..., SyncEngine],
    server: SyncServer,
    clock: ManualClock,
    reply: Reply,
    id_source: str,
) -> None:
    engine = keyless()
    server.always(reply, match=lambda seen: "client_ref" in seen.query)
    accepted_unreadably(engine, server, id_source)
    assert "JSON" in present(only(engine.failed()).last_error)
    clock.advance(3600)
    engine.flush(timeout=10)
    assert asked(server).count("POST") == 1


# --- key_lifetime


@pytest.mark.parametrize(("hours", "warned"), [(23, False), (25, True)])
def test_after_the_lifetime_of_its_key_a_create_is_sent_again_as_without_keys(
    keyless: Callable[..., SyncEngine],
    server: SyncServer,
    clock: ManualClock,
    effects: Callable[..., list[tuple[str, str]]],
    caplog: pytest.LogCaptureFixture,
    hours: int,
    warned: bool,
    id_source: str,
) -> None:
    engine = keyless(idempotency="Idempotency-Key", lookup=None)
    item = first_try(engine, server, DropAnswer(), id_source)
    clock.advance(hours * 3600)
    with caplog.at_level(logging.WARNING, "bytelyst_sync"):
        assert engine.flush(timeout=10).success
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    posts = [seen for seen in server.requests if seen.method == "POST"]
    assert [seen.headers["idempotency-key"] for seen in posts] == ["key-1"] * 2
    # the server knows no keys; with ids of the client's it refuses the second one
    assert len(effects(server)) == (1 if id_source == "client" else 2)
    message = "key_lifetime" in caplog.text
    assert message is (warned and id_source == "server")


@pytest.mark.parametrize("id_source", ["server"], indirect=True)
def test_a_key_that_the_server_forgets_at_once_is_no_key(
    keyless: Callable[..., SyncEngine], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "bytelyst_sync"):
        keyless(idempotency="Idempotency-Key", lookup=None, key_lifetime=0)
    assert "at least once" in caplog.text


@pytest.mark.parametrize("id_source", ["server"], indirect=True)
@pytest.mark.parametrize("lookup", [BY_REF, None])
def test_only_a_server_without_keys_and_lookup_makes_creates_twice(
    keyless: Callable[..., SyncEngine], caplog: pytest.LogCaptureFixture, lookup: str | None
) -> None:
    with caplog.at_level(logging.WARNING, "bytelyst_sync"):
        keyless(lookup=lookup)
    assert ("is made twice" in caplog.text) is (lookup is None)


# --- beside the outage rule and a strict order


@pytest.mark.parametrize("id_source", ["client"], indirect=True)
@pytest.mark.parametrize("order", ["record", "strict"])
def test_a_flush_in_an_outage_does_not_shorten_the_wait(
    make: Callable[..., SyncEngine], server: SyncServer, clock: ManualClock, order: str
) -> None:
    entity = EntityConfig("/notes", dialect=Dialect(idempotency=None, lookup=BY_REF))
    engine = make(entities={"notes": entity}, clock=clock, auto_flush=False, order=order, workers=1)
    for name in "12":
        engine.push("notes", {"id": name, "client_ref": name}, key=name)
    server.always(Reply(500), match="POST")
    for _ in range(3):
        engine.flush(timeout=10)
        engine.flush(timeout=10)
        clock.advance(2)
    server.clear_script()
    assert "GET" not in asked(server)
    for _ in range(4):
        clock.advance(60)
        engine.flush(timeout=10)
    assert engine.queue_length == 0
    ends = [seen.body["id"] for seen in server.requests if seen.method == "POST"][-2:]
    assert ends == ["1", "2"]
