"""A write's answer and a page that bring the same change, in either order."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import (
    EntityConfig,
    OfflineError,
    Request,
    SyncEngine,
    TransportError,
)
from bytelyst_sync.http.transport import Response
from bytelyst_sync.replica.server_state import mark_stale
from bytelyst_sync.testing import DropAnswer, Reply, Seen, SyncServer
from bytelyst_sync.testing.raw import RecordedRequest
from bytelyst_sync.testing.store import Rules, Store
from tests.conftest import Scripted, Wire
from tests.typed import Eventually, NewEngine, NewPage, present


@pytest.fixture
def empty_answer() -> Response:
    return Response(204, {"etag": '"1"'}, b"", "")


def test_a_page_fills_in_what_an_empty_answer_left_out(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage, empty_answer: Response
) -> None:
    there = {"id": "1", "title": "mine", "version": 1, "updatedAt": "2026-01-01T00:00:00Z"}
    engine = new_engine(transport=scripted(empty_answer, page(there)))
    engine.push("notes", {"id": "1", "title": "mine"})
    assert engine.flush().success
    changes: list[Any] = []
    engine.on_change(changes.append)
    assert engine.pull().pulled == 0
    assert engine.get("notes", "1") == there
    assert changes == [], "the own change comes back, which is no news"


def test_a_page_tells_what_the_server_made_of_a_write_with_an_empty_answer(
    new_engine: NewEngine,
    scripted: type[Scripted],
    page: NewPage,
    empty_answer: Response,
    eventually: Eventually,
) -> None:
    there = {"id": "1", "title": "mine", "version": 1}
    engine = new_engine(transport=scripted(empty_answer, page(there)))
    engine.push("notes", {"id": "1", "title": " mine "})
    assert engine.flush().success
    changes: list[Any] = []
    engine.on_change(changes.append)
    assert engine.pull().pulled == 1
    assert engine.get("notes", "1") == there
    eventually(lambda: changes)
    (change,) = changes
    assert (change.before["title"], change.after["title"]) == (" mine ", "mine")


def test_a_create_whose_answer_was_lost_is_not_taken_for_newer_than_its_deletion(
    new_engine: NewEngine,
) -> None:
    with SyncServer(id_source="server") as server:
        notes = EntityConfig("/notes", id_source="server")
        engine = new_engine(server.url, entities={"notes": notes})
        engine.push("notes", {"title": "mine"})
        server.script(DropAnswer(), match="POST")
        engine.flush()
        engine.pull()
        server.remove("notes", "1")
        engine.pull()
        for _ in range(3):
            engine.full_sync()
        assert list(engine.records("notes")) == []
        assert engine.queue_length == 0
        engine.close()


@pytest.fixture
def deleted_by_others(scripted: type[Scripted], page: NewPage) -> Callable[..., Scripted]:
    """A server whose record was deleted by others after it was created; it lists no tombstones.

    The first answers are the given ones; then every create is answered as the first time.
    """

    def make(*first: Any) -> Scripted:
        def answer(request: Request) -> Response:
            if request.method == "POST":
                created = {"id": "1", "title": "mine", "version": 1}
                return Response(201, {}, json.dumps(created).encode(), "")
            return page(status=404) if request.url.endswith("/notes/1") else page()

        return scripted(*first, answer)

    return make


def test_a_record_that_a_resumed_listing_lacks_is_read_if_it_is_newer_than_its_beginning(
    new_engine: NewEngine, deleted_by_others: Callable[..., Scripted]
) -> None:
    engine = new_engine(transport=deleted_by_others(OfflineError("no network")))
    assert engine.pull().offline, "the listing has begun"
    engine.push("notes", {"id": "1", "title": "mine"})
    assert engine.flush().success
    assert engine.get("notes", "1") is not None
    assert engine.pull().success
    assert engine.get("notes", "1") is None


@pytest.mark.parametrize("watched", [False, True], ids=["settled together", "settled alone"])
def test_a_replayed_create_is_read_if_everything_was_listed_after_its_push(
    new_engine: NewEngine, deleted_by_others: Callable[..., Scripted], watched: bool
) -> None:
    engine = new_engine(transport=deleted_by_others(TransportError("the answer was lost")))
    if watched:
        engine.on_change(lambda change: None)
    engine.push("notes", {"id": "1", "title": "mine"})
    assert not engine.flush().success
    assert engine.pull().success
    assert engine.flush().success
    assert engine.pull().success
    assert engine.get("notes", "1") is None


@pytest.fixture
def deleted_once(new_engine: NewEngine, wire: Wire) -> SyncEngine:
    """An engine that has pulled that others deleted record 1."""
    engine = new_engine(transport=wire)
    wire.store.change("notes", "create", {"id": "1", "title": "theirs"})
    assert engine.pull().pulled == 1
    wire.store.change("notes", "delete", {"id": "1"})
    assert engine.pull().pulled == 1
    return engine


def in_a_thread(call: Callable[..., object]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(10)


def test_a_second_deletion_that_is_pulled_before_the_create_is_answered_stands(
    deleted_once: SyncEngine, wire: Wire
) -> None:
    engine = deleted_once

    def delete_again(request: Seen) -> None:
        if request.method == "POST":
            wire.store.change("notes", "delete", {"id": "1"})
            assert present(in_a_thread(engine.pull)).success

    wire.after = delete_again
    engine.push("notes", {"id": "1", "title": "mine"})
    assert engine.flush().success
    assert engine.pull().success
    assert engine.get("notes", "1") is None


def test_a_second_deletion_that_is_pulled_before_the_create_is_retried_stands(
    deleted_once: SyncEngine, wire: Wire
) -> None:
    engine = deleted_once
    engine.push("notes", {"id": "1", "title": "mine"})
    wire.lose = lambda: True
    assert not engine.flush().success
    wire.lose = lambda: False
    wire.store.change("notes", "delete", {"id": "1"})
    assert engine.pull().success
    assert engine.full_sync().success
    assert engine.get("notes", "1") is None


def test_a_second_deletion_that_is_pulled_while_the_record_is_read_stands(
    deleted_once: SyncEngine, wire: Wire
) -> None:
    engine = deleted_once
    run = engine._core.running()
    entity = run.entities["notes"]
    run.puller._commits.state.write(lambda work: mark_stale(work.tx, entity, "1"))
    wire.store.change("notes", "create", {"id": "1", "title": "theirs again"})

    def delete_again(request: Seen) -> None:
        if request.path == "/notes/1":
            wire.after = lambda request: None
            wire.store.change("notes", "delete", {"id": "1"})
            assert not present(in_a_thread(lambda: run.puller.pull(["notes"], 10.0))).errors

    wire.after = delete_again
    run.stale_records.read(lambda: False)
    assert engine.get("notes", "1") is None


def test_an_undone_edit_that_is_pulled_before_the_edit_is_answered_stands(
    new_engine: NewEngine, new_wire: type[Wire]
) -> None:
    """No version and no time shows that the page is newer than the answer."""
    wire = new_wire(Store(Rules(versions=False, clock=lambda: 1e9)))
    engine = new_engine(transport=wire)
    wire.store.change("notes", "create", {"id": "1", "title": "theirs"})
    assert engine.pull().pulled == 1

    def undo(request: Seen) -> None:
        if request.method == "PATCH":
            wire.store.change("notes", "update", {"id": "1", "title": "theirs"})
            assert present(in_a_thread(engine.pull)).success

    wire.after = undo
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    assert engine.flush().success
    assert engine.pull().success
    assert present(engine.get("notes", "1"))["title"] == "theirs"


def test_a_page_with_the_known_version_causes_no_reading(new_engine: NewEngine, wire: Wire) -> None:
    engine = new_engine(transport=wire)
    wire.store.change("notes", "create", {"id": "1", "title": "theirs"})
    known = wire.store.handle(RecordedRequest.of("GET", "/notes", {}, b""))
    assert engine.pull().pulled == 1

    def old_page(request: Seen) -> None:
        if request.method == "PATCH":
            entity = engine._core.running().entities["notes"]
            commits = engine._core.running().puller._commits
            row = json.loads(known.body)["items"][0]
            commits.state.write(
                lambda work: commits.remote_changes.apply(
                    work, entity, "1", row, row["version"], began=work.tx.last_number()
                )
            )

    wire.after = old_page
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    assert engine.full_sync().success
    assert present(engine.get("notes", "1"))["title"] == "mine"
    assert [seen for seen in wire.seen if seen.method == "GET" and "/1" in seen.path] == []


def test_a_full_sync_reads_what_its_last_flush_left_in_doubt(
    new_engine: NewEngine, wire: Wire
) -> None:
    """A refused edit and the deletion behind it agree with "gone", but others made it anew."""
    engine = new_engine(transport=wire)
    wire.store.change("notes", "create", {"id": "1", "title": "theirs"})
    engine.pull()

    def edit_and_delete() -> None:
        wire.before = lambda request: None
        engine.push("notes", {"id": "1", "title": "mine"}, "update")
        wire.store.change("notes", "delete", {"id": "1"})
        wire.lose = lambda: True
        assert not engine.flush().success, "the lost answer is that it is gone"
        wire.lose = lambda: False
        engine.delete("notes", "1")
        wire.store.change("notes", "create", {"id": "1", "title": "theirs again"})

    wire.before = lambda request: in_a_thread(edit_and_delete)
    assert engine.full_sync().success
    assert engine.get("notes", "1") == wire.store.records("notes")["1"]


@pytest.mark.parametrize("storage", ["memory", "file"])
def test_a_page_read_while_an_item_was_claimed_is_applied_when_the_item_was_not_sent(
    new_engine: NewEngine, tmp_path: Path, storage: str
) -> None:
    pulls = ThreadPoolExecutor(1)
    with SyncServer() as server:

        def pull_meanwhile(request: Seen) -> bool:
            server.put("notes", {"id": "2", "title": "theirs"})
            assert pulls.submit(engine.pull).result(30).success
            return True

        engine = new_engine(
            server.url,
            storage=":memory:" if storage == "memory" else tmp_path / "app.db",
            workers=1,
        )
        engine.push_many("notes", [{"id": f"before {number}"} for number in range(30)])
        assert engine.flush().success, "the server is fast, so several items are claimed at once"
        engine.push_many("notes", [{"id": "1"}, {"id": "2", "title": "mine"}])
        server.script(Reply(503), match=lambda seen: seen.method == "POST" and pull_meanwhile(seen))
        assert not engine.flush().pushed
        for item in list(engine.queue()):
            engine.cancel(item)
        assert present(engine.get("notes", "2"))["title"] == "theirs"
        engine.close()
    pulls.shutdown()
