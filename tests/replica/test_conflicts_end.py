"""Conflicts end: no endless loop, no conflict that nobody can settle, none that opens again."""

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import (
    Dialect,
    EngineClosedError,
    EntityConfig,
    OfflineError,
    Request,
    SQLiteStorage,
    SyncEngine,
    TransportError,
    create_sync_engine,
)
from bytelyst_sync.http.transport import Response
from bytelyst_sync.testing import Reply, Stall, SyncServer
from tests.conftest import Scripted, Wire
from tests.typed import NewEngine, present


def page(*keys: str, **more: Any) -> Response:
    body = {"items": [{"id": key} for key in keys], "cursor": "c", "has_more": False, **more}
    return Response(200, {}, json.dumps(body).encode(), "http://server.invalid/notes")


# --- pulls that would never end


@pytest.mark.parametrize(
    ("dialect", "answers"),
    [
        (
            Dialect(next_page="url:next", cursor=None, since=None),
            [page("1", next="http://server.invalid/notes?p=2")],
        ),
        (Dialect(next_page="page:p", cursor=None, since=None), [page("1")]),
        (Dialect(next_page="offset:skip", cursor=None, since=None), [page("1")]),
        (
            Dialect(),
            [page("1", has_more=True), Response(410), page("1", has_more=True), Response(410)],
        ),
    ],
    ids=[
        "a link to itself",
        "an unknown page parameter",
        "an unknown offset",
        "410 to every cursor",
    ],
)
def test_a_listing_that_goes_in_a_circle_is_an_error(
    new_engine: NewEngine, scripted: type[Scripted], dialect: Dialect, answers: list[Response]
) -> None:
    transport = scripted(*answers)
    engine = new_engine(transport=transport, dialect=dialect)
    result = engine.pull(timeout=20)
    assert (result.success, result.errors) == (False, 1)
    assert "would never end" in present(engine.status.last_error)
    assert len(transport.requests) < 6


# --- the end of an engine


def test_an_iterator_that_was_kept_opens_nothing_again(
    new_engine: NewEngine, tmp_path: Path
) -> None:
    engine = new_engine(storage=tmp_path / "queue.db")
    engine.push_many("notes", [{"id": str(number)} for number in range(600)])
    records, queue = engine.records("notes"), engine.queue()
    next(records), next(queue)
    engine.close()
    for kept in (records, queue):
        with pytest.raises(EngineClosedError):
            list(kept)


def test_a_pull_under_way_ends_with_its_engine(
    new_engine: NewEngine, scripted: type[Scripted]
) -> None:
    under_way, go_on, ended = threading.Event(), threading.Event(), []

    def answer(request: Request) -> Response:
        under_way.set()
        assert go_on.wait(10)
        return page("1", has_more=True, cursor=str(len(transport.requests)))

    transport = scripted(answer)
    engine = new_engine(transport=transport)

    def pull() -> None:
        with pytest.raises(EngineClosedError):
            engine.pull()
        ended.append(len(transport.requests))

    thread = threading.Thread(target=pull)
    thread.start()
    assert under_way.wait(10)
    assert engine.close()
    go_on.set()
    thread.join(10)
    assert ended == [1]


def test_a_second_close_tells_the_truth(new_engine: NewEngine, scripted: type[Scripted]) -> None:
    under_way, go_on = threading.Event(), threading.Event()

    def answer(request: Request) -> Response:
        under_way.set()
        assert go_on.wait(10)
        return Response(204)

    engine = new_engine(transport=scripted(answer), auto_flush=True)
    engine.push("notes", {"id": "1"})
    assert under_way.wait(10)
    assert engine.close(0) is False
    assert engine.close(0) is False
    go_on.set()
    assert engine.close(10) is True


@pytest.mark.parametrize("call", ["flush", "full_sync", "close"])
def test_for_ever_is_a_timeout_too(engine: SyncEngine, call: str) -> None:
    engine.push("notes", {"id": "1"})
    getattr(engine, call)(timeout=math.inf)


# --- waiting for nobody


def test_pulls_by_themselves_resume_when_nothing_is_queued_and_no_probe_says_so(
    new_engine: NewEngine, wire: Wire
) -> None:
    engine = new_engine(
        transport=wire, auto_flush=True, pull_interval=0.02, max_retry_delay=0.05, retry_delay=0.05
    )
    wire.online = False
    engine.start()
    received = threading.Event()
    engine.on_status_change(lambda info: received.set() if info.status == "offline" else None)
    assert received.wait(10)
    came = threading.Event()
    engine.on_change(lambda change: came.set())
    wire.store.change("notes", "create", {"id": "1"})
    wire.online = True
    assert came.wait(10)


def test_a_record_that_cannot_be_read_holds_up_no_other(
    new_engine: NewEngine, wire: Wire, scripted: type[Scripted]
) -> None:
    engine = new_engine(transport=wire, retry_delay=60.0, max_retry_delay=60.0)
    for key in ("1", "2"):
        wire.store.change("notes", "create", {"id": key})
    engine.pull()
    # two lost updates that are then dropped: both records must be read again
    wire.lose = lambda: True
    for key in ("1", "2"):
        engine.push("notes", {"id": key, "title": "lost"}, "update")
    engine.flush()
    send = wire.send

    def refuse_the_first(request: Request) -> Response:
        if request.method == "GET" and request.url.endswith("/notes/1"):
            return Response(403)
        return send(request)

    wire.send = refuse_the_first  # type: ignore[method-assign]  # replaced by the test
    assert engine.clear_queue() == 2
    came = threading.Event()
    engine.on_change(lambda change: came.set() if change.origin == "remote" else None)
    assert came.wait(10)
    assert present(engine.get("notes", "2"))["title"] == "lost"


def test_a_pull_asks_for_another_token_than_the_refused_one(
    new_engine: NewEngine, server: SyncServer
) -> None:
    tokens = ["old", "old", "new"]
    server.token = "new"
    engine = new_engine(server.url, auth=lambda: tokens.pop(0))
    assert not engine.pull().success
    assert engine.pull().success


def test_an_auth_without_a_network_is_no_refusal(new_engine: NewEngine, server: SyncServer) -> None:
    def auth() -> None:
        raise ConnectionError

    engine = new_engine(server.url, auth=auth)
    engine.push("notes", {"id": "1"})
    assert engine.flush().offline
    assert not engine.is_online


# --- what was decided, and what was sent


def test_what_the_server_changed_since_is_merged_with_what_a_person_decided(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url, conflict="manual")
    server.put("notes", {"id": "1", "title": "base", "body": "base"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.patch("notes", "1", {"title": "theirs"})
    engine.pull()
    (seen,) = engine.conflicts()
    server.patch("notes", "1", {"body": "edited meanwhile"})
    engine.pull()
    engine.resolve(seen, {**present(seen.remote), "title": "decided"})
    assert engine.flush().success
    record = server.records("notes")["1"]
    assert (record["title"], record["body"]) == ("decided", "edited meanwhile")


def test_every_try_of_a_whole_record_sends_the_same(new_engine: NewEngine, wire: Wire) -> None:
    wire.store.change("notes", "create", {"id": "1", "a": 0, "b": 0})
    dialect = Dialect(patch="full", update="PUT {endpoint}/{id}")
    engine = new_engine(transport=wire, dialect=dialect)
    engine.push("notes", {"id": "1", "a": 1}, "update")
    wire.lose = lambda: len([seen for seen in wire.seen if seen.method == "PUT"]) == 1
    engine.flush()
    wire.store.change("notes", "update", {"id": "1", "b": 99})
    engine.flush()
    first, *others = [(seen.headers, seen.content) for seen in wire.seen if seen.method == "PUT"]
    assert others
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    "failing", [Response(500), Response(503), OfflineError(), TransportError()]
)
def test_a_reading_that_fails_freezes_nothing(
    new_engine: NewEngine, scripted: type[Scripted], failing: Response | Exception
) -> None:
    engine = new_engine(transport=scripted(failing), dialect=Dialect(patch="full"))
    engine.push("notes", {"id": "1", "a": 1}, "update")
    engine.flush()
    engine.push("notes", {"id": "1", "b": 2}, "update")
    (item,) = engine.queue()
    assert item.data == {"id": "1", "a": 1, "b": 2}


def test_an_answer_that_only_names_the_record_empties_nothing(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url)
    server.script(Reply(201, {"id": "1"}), match="POST")
    engine.push("notes", {"id": "1", "title": "kept"})
    assert engine.flush().success
    assert engine.get("notes", "1") == {"id": "1", "title": "kept"}


def test_a_servers_id_stands_in_the_view_whatever_the_answer_holds(
    new_engine: NewEngine, scripted: type[Scripted]
) -> None:
    answer = Response(201, {}, b'{"result": {"id": 7}}', "http://server.invalid/notes")
    notes = EntityConfig("/notes", id_source="server", dialect=Dialect(id_in_answer="result.id"))
    engine = new_engine(transport=scripted(answer), entities={"notes": notes})
    engine.push("notes", {"title": "new"})
    assert engine.flush().success
    assert engine.get("notes", 7) == {"id": 7, "title": "new"}


def test_a_paused_engine_stays_so_in_a_forked_child(new_engine: NewEngine, wire: Wire) -> None:
    engine = new_engine(transport=wire, auto_flush=True)
    engine.pause()
    engine._core.after_fork()
    engine.push("notes", {"id": "1"})
    assert engine.flush().remaining == 1
    assert wire.seen == []


def test_a_misspelt_setting_is_an_error_of_the_tree() -> None:
    with pytest.raises(ValueError, match="entitys"):
        create_sync_engine(base_url="http://x", entitys={}, storage=":memory:")  # type: ignore[call-arg]  # wrong on purpose


class Counting:
    """A store that counts the rounds of its engine's worker."""

    def __init__(self, store: SQLiteStorage) -> None:
        self.store = store
        self.rounds = 0

    def __getattr__(self, name: str) -> Callable[..., object] | None:
        found: Callable[..., object] | None = getattr(self.store, name)
        return found

    def changes(self) -> Any:
        self.rounds += 1
        return self.store.changes()


def test_who_waits_for_another_deliverer_does_not_spin(
    new_engine: NewEngine, server: SyncServer, tmp_path: Path
) -> None:
    path = tmp_path / "queue.db"
    store = Counting(SQLiteStorage(path))
    options = {"auto_flush": True, "retry_delay": 0.02, "max_retry_delay": 0.02}
    sending = new_engine(server.url, storage=path, **options)
    server.script(Reply(500), Stall(1.5), match="POST")
    sending.push_many("notes", [{"id": "1"}, {"id": "2"}])
    assert server.wait_for(lambda: server.in_flight and len(server.requests) == 1)
    # the first item is due again, the second one is under way and holds the right
    waiting = new_engine(server.url, storage=store, **options)
    waiting.start()
    assert server.wait_for(lambda: len(server.records("notes")) == 2, timeout=20)
    assert 0 < store.rounds < 30
