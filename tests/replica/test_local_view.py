"""The local view: the server's last known state with the queued changes on top."""

import itertools
import json
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, OfflineError, RecordChange, SyncEngine, UnknownEntityError
from bytelyst_sync.model import Json, OperationName
from bytelyst_sync.testing import DropAnswer, Reply, Seen, SyncServer
from tests.conftest import Scripted, Wire
from tests.typed import InThread, NewEngine, NewPage, ViewOf, present


@pytest.fixture
def offline(new_engine: NewEngine, scripted: type[Scripted]) -> SyncEngine:
    """An engine whose network is never there."""
    return new_engine(transport=scripted(OfflineError("no network")))


def listen(engine: SyncEngine, **options: Any) -> list[Any]:
    changes: list[Any] = []
    engine.on_change(changes.append, **options)
    return changes


def reported(
    engine: SyncEngine, changes: list[RecordChange]
) -> list[tuple[str, Json | None, Json | None, str]]:
    """All that the callback was given so far."""
    assert engine._core.board.notifier.drain(5.0)
    return [(c.record_id, c.before, c.after, c.origin) for c in changes]


# reading


def test_a_push_is_in_the_view_at_once_without_any_network(offline: SyncEngine) -> None:
    offline.push("notes", {"id": "1", "title": "on a plane", "done": False})
    assert offline.get("notes", "1") == {"id": "1", "title": "on a plane", "done": False}
    offline.push("notes", {"id": "1", "done": True}, "update")
    assert offline.get("notes", "1") == {"id": "1", "title": "on a plane", "done": True}
    offline.delete("notes", "1")
    assert offline.get("notes", "1") is None
    assert list(offline.records("notes")) == []


def test_the_view_is_the_servers_state_with_queued_changes_on_top(
    engine: SyncEngine, server: SyncServer, view_of: ViewOf
) -> None:
    for number in "123":
        server.put("notes", {"id": number, "title": "theirs", "body": number})
    engine.pull()
    with server.outage():
        engine.push("notes", {"id": "1", "title": "mine"}, "update")
        engine.delete("notes", "2")
        engine.push("notes", {"id": "4", "title": "new"})
        engine.flush()
        view = view_of(engine)
        assert set(view) == {"1", "3", "4"}
        assert (view["1"]["title"], view["1"]["body"]) == ("mine", "1")
        assert view["3"] == server.records("notes")["3"]
        assert engine.get("notes", "1") == view["1"]
        assert engine.get("notes", "2") is None


def test_the_view_outlives_the_engine(
    new_engine: NewEngine, server: SyncServer, tmp_path: Path, view_of: ViewOf
) -> None:
    engine = new_engine(server.url, storage=tmp_path / "app.db")
    server.put("notes", {"id": "1", "title": "theirs"})
    engine.pull()
    engine.push("notes", {"id": "2", "title": "mine"})
    before = view_of(engine)
    engine.close()
    with server.outage():
        again = new_engine(server.url, storage=tmp_path / "app.db")
        assert view_of(again) == before
        assert again.get("notes", "2") == {"id": "2", "title": "mine"}


def test_what_is_read_is_the_readers_own(engine: SyncEngine, server: SyncServer) -> None:
    server.put("notes", {"id": "1", "tags": ["a"]})
    engine.pull()
    data: Json = {"id": "2", "tags": ["b"]}
    engine.push("notes", data)
    data["tags"].append("not pushed")
    present(engine.get("notes", "1"))["tags"].append("not mine")
    for record in engine.records("notes"):
        record["tags"].append("neither")
    assert present(engine.get("notes", "1"))["tags"] == ["a"]
    assert present(engine.get("notes", "2"))["tags"] == ["b"]


def test_what_is_not_there_is_none_and_an_unknown_entity_is_misuse(engine: SyncEngine) -> None:
    assert engine.get("notes", "1") is None
    assert list(engine.records("notes")) == []
    with pytest.raises(UnknownEntityError):
        engine.get("nothing", "1")
    with pytest.raises(UnknownEntityError):
        engine.records("nothing")


@pytest.mark.parametrize("storage", [":memory:", "file"])
def test_a_push_is_seen_by_other_threads_the_moment_it_returned(
    new_engine: NewEngine,
    scripted: type[Scripted],
    page: NewPage,
    in_thread: InThread,
    tmp_path: Path,
    storage: str,
) -> None:
    where = tmp_path / "app.db" if storage == "file" else storage
    engine = new_engine(transport=scripted(page()), storage=where, durability="normal")
    pushed, stop = itertools.count(1), threading.Event()
    latest = [0]

    def write() -> None:
        for number in pushed:
            engine.push("notes", {"id": "1", "n": number})
            latest[0] = number
            if number == 150:
                break
        stop.set()

    def read() -> int:
        looks = 0
        while not stop.is_set():
            known = latest[0]
            if known:
                assert present(engine.get("notes", "1"))["n"] >= known
                assert next(iter(engine.records("notes")))["n"] >= known
                looks += 1
        return looks

    readers = [in_thread(read) for _ in range(3)]
    in_thread(write)()
    for reader in readers:
        reader()
    assert present(engine.get("notes", "1"))["n"] == 150


def test_another_process_sees_and_adds_to_the_same_view(
    new_engine: NewEngine, server: SyncServer, tmp_path: Path
) -> None:
    file = tmp_path / "app.db"
    engine = new_engine(server.url, storage=file)
    server.put("notes", {"id": "1", "title": "theirs"})
    engine.pull()
    engine.push("notes", {"id": "2", "title": "mine"})
    program = f"""
import json
from bytelyst_sync import create_sync_engine
engine = create_sync_engine(base_url={server.url!r}, entities={{"notes": "/notes"}},
                            storage={str(file)!r}, auto_flush=False, exit_timeout=0)
print(json.dumps(sorted((r["id"], r["title"]) for r in engine.records("notes"))))
engine.push("notes", {{"id": "1", "title": "from there"}}, "update")
engine.delete("notes", "2")
engine.push("notes", {{"id": "3", "title": "new"}})
engine.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["1", "theirs"], ["2", "mine"]]
    assert {r["id"]: r["title"] for r in engine.records("notes")} == {
        "1": "from there",
        "3": "new",
    }
    assert engine.get("notes", "2") is None


# filtering and streaming


def test_where_filters_by_equality(engine: SyncEngine) -> None:
    rows: list[Json] = [
        {"id": "1", "done": False, "n": 0, "tags": ["a"]},
        {"id": "2", "done": True, "n": 1, "tags": []},
        {"id": "3", "n": 1.0, "deep": {"x": [1]}},
        {"id": "4", "done": None},
    ]
    engine.push_many("notes", rows)

    def found(**where: Any) -> list[str]:
        return [record["id"] for record in engine.records("notes", where)]

    assert found() == ["1", "2", "3", "4"]
    assert found(done=False) == ["1"]
    assert found(done=True) == ["2"]
    assert found(done=None) == ["4"], "a field that is not there is not null"
    assert found(n=1) == ["2", "3"]
    assert found(n=0) == ["1"], "false is not 0"
    assert found(n=1, done=True) == ["2"]
    assert found(tags=["a"]) == ["1"]
    assert found(deep={"x": [1]}) == ["3"]
    assert found(nothing=1) == []


def test_where_looks_at_the_view_not_at_the_server(engine: SyncEngine, server: SyncServer) -> None:
    server.put("notes", {"id": "1", "done": False})
    engine.pull()
    engine.push("notes", {"id": "1", "done": True}, "update")
    assert list(engine.records("notes", {"done": False})) == []
    assert [record["id"] for record in engine.records("notes", where={"done": True})] == ["1"]


@pytest.fixture
def many(new_engine: NewEngine, server: SyncServer, tmp_path: Path) -> SyncEngine:
    """An engine on a file, with 6,000 records: half of them the server's, half queued."""
    engine = new_engine(server.url, storage=tmp_path / "many.db", durability="normal")
    for number in range(0, 6000, 2):
        server.put("notes", {"id": f"{number:05}", "text": "x" * 2000})
    engine.pull()
    rows = [{"id": f"{number:05}", "text": "x" * 2000} for number in range(1, 6000, 2)]
    engine.push_many("notes", rows)
    return engine


def test_many_records_are_streamed_in_bounded_memory_and_time(many: SyncEngine) -> None:
    began = time.monotonic()
    first = next(many.records("notes"))
    assert first["id"] == "00000"
    assert time.monotonic() - began < 1.0, "the first is there before the rest was read"
    tracemalloc.start()
    try:
        number = 0
        for number, record in enumerate(many.records("notes"), 1):  # noqa: B007
            assert len(record["text"]) == 2000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert number == 6000
    assert peak < 8_000_000, "of 12 MB of text only some is held at a time"
    assert time.monotonic() - began < 20


def test_pushes_during_a_stream_neither_break_it_nor_make_it_repeat(many: SyncEngine) -> None:
    seen = []
    for record in many.records("notes"):
        seen.append(record["id"])
        if len(seen) % 1000 == 1:
            position = int(record["id"])
            many.push("notes", {"id": f"{position:05}", "text": "changed"}, "update")
            many.push("notes", {"id": f"{position:05}-new", "text": "behind or ahead"})
            many.delete("notes", f"{position + 700:05}")
    assert seen == sorted(set(seen))
    unchanged = {f"{number:05}" for number in range(6000)}
    gone = unchanged - set(seen)
    assert len(gone) <= 6
    assert all(many.get("notes", record_id) is None for record_id in gone)


def test_a_stream_that_was_left_early_holds_nothing_up(engine: SyncEngine) -> None:
    engine.push_many("notes", [{"id": str(number)} for number in range(1500)])
    stream = engine.records("notes")
    next(stream)
    engine.push("notes", {"id": "x"})
    engine.clear_queue()
    assert len(list(stream)) < 1500
    assert list(engine.records("notes")) == []


def test_records_with_many_queued_items_are_whole_wherever_a_page_ends(
    new_engine: NewEngine, wire: Wire, view_of: ViewOf
) -> None:
    """A record's items may lie across the end of a page."""
    engine = new_engine(transport=wire, entities={"notes": EntityConfig("/notes", dedup="none")})
    for number in range(40):
        wire.store.change("notes", "create", {"id": f"{number:03}", "n": -1})
    engine.pull()
    for n in range(35):
        rows = [{"id": f"{number:03}", "n": n} for number in range(40)]
        engine.push_many("notes", rows, "update")
    assert engine.queue_length == 1400
    view = view_of(engine)
    assert len(view) == 40
    assert {record["n"] for record in view.values()} == {34}


# taking back


def test_a_failed_change_is_shown_until_it_is_discarded(
    engine: SyncEngine, server: SyncServer, view_of: ViewOf
) -> None:
    server.put("notes", {"id": "1", "title": "theirs"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    engine.push("notes", {"id": "2"})
    server.script(Reply(422, {"error": "no"}), match="PATCH")
    server.script(Reply(422, {"error": "no"}), match="POST")
    engine.flush()
    assert len(list(engine.failed())) == 2
    assert present(engine.get("notes", "1"))["title"] == "mine"
    assert engine.get("notes", "2") == {"id": "2"}
    assert engine.discard_failed() == 2
    assert view_of(engine) == server.records("notes")


def test_a_failed_delete_hides_its_record_until_it_is_discarded(
    engine: SyncEngine, server: SyncServer, view_of: ViewOf
) -> None:
    server.put("notes", {"id": "1", "title": "theirs"})
    engine.pull()
    engine.delete("notes", "1")
    server.script(Reply(403, {"error": "no"}), match="DELETE")
    engine.flush()
    assert engine.get("notes", "1") is None
    engine.discard_failed()
    assert view_of(engine) == server.records("notes")


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
@pytest.mark.parametrize("how", ["cancel", "clear"])
def test_what_is_taken_back_leaves_the_servers_state(
    engine: SyncEngine, server: SyncServer, view_of: ViewOf, operation: OperationName, how: str
) -> None:
    if operation != "create":
        server.put("notes", {"id": "1", "title": "theirs"})
        engine.pull()
    item = present(engine.push("notes", {"id": "1", "title": "mine"}, operation))
    changes = listen(engine)
    before = engine.get("notes", "1")
    assert engine.cancel(item) if how == "cancel" else engine.clear_queue() == 1
    assert view_of(engine) == server.records("notes")
    assert reported(engine, changes) == [("1", before, engine.get("notes", "1"), "local")]
    assert engine.queue_length == 0


def test_a_cancelled_create_takes_its_later_items_with_it(
    engine: SyncEngine, view_of: ViewOf
) -> None:
    item = engine.push("notes", {"id": "1", "title": "a"})
    engine.push("notes", {"id": "1", "title": "b"}, "update")
    assert engine.cancel(item)
    assert view_of(engine) == {}


def test_taking_back_shows_what_was_pulled_meanwhile(
    engine: SyncEngine, server: SyncServer, view_of: ViewOf
) -> None:
    server.put("notes", {"id": "1", "title": "a", "body": "a"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.script(Reply(422, {"error": "no"}), match="PATCH")
    engine.flush()
    server.put("notes", {"id": "2"})
    engine.pull()
    engine.discard_failed()
    assert view_of(engine) == server.records("notes")


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
@pytest.mark.parametrize("how", ["clear", "discard"])
def test_taking_back_what_had_arrived_after_all_shows_what_was_pulled_meanwhile(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, operation: OperationName, how: str
) -> None:
    """Its answer was lost, a pull brought its effect, and then it was given up."""
    engine = new_engine(server.url, give_up_after=1e-6 if how == "discard" else 86_400.0)
    if operation != "create":
        server.put("notes", {"id": "1", "title": "theirs"})
        engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, operation)
    tries = 2 if how == "discard" else 1
    server.script(*[DropAnswer()] * tries, match=lambda seen: seen.method != "GET")
    for _ in range(tries):
        engine.flush()
    engine.pull()
    assert (engine.clear_queue() if how == "clear" else engine.discard_failed()) == 1
    assert engine.full_sync().success
    assert engine.full_sync().success
    assert view_of(engine) == server.records("notes")


# the server's answer


def test_when_the_queue_drains_the_servers_answer_is_the_truth(
    engine: SyncEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine.push("notes", {"id": "1", "title": "mine"})
    assert engine.flush().success
    assert view_of(engine) == server.records("notes")
    assert present(engine.get("notes", "1"))["version"] == 1
    answer = {"id": "1", "title": "Mine, tidied", "version": 2, "slug": "mine"}
    server.script(Reply(200, answer, {"ETag": '"2"'}), match="PATCH")
    engine.push("notes", {"id": "1", "title": "mine, tidied"}, "update")
    assert engine.flush().success
    assert engine.get("notes", "1") == answer


def test_an_answer_never_overwrites_a_newer_local_edit(
    engine: SyncEngine, server: SyncServer, in_thread: InThread
) -> None:
    engine.push("notes", {"id": "1", "title": "first", "body": "x"})
    entered, go_on = threading.Event(), threading.Event()

    def hold(seen: Seen) -> None:
        if seen.method == "POST":
            entered.set()
            go_on.wait(5)

    server.reject = hold
    flushing = in_thread(engine.flush)
    assert entered.wait(5)
    engine.push("notes", {"id": "1", "title": "second"}, "update")
    assert present(engine.get("notes", "1"))["title"] == "second"
    go_on.set()
    flushing()
    view = present(engine.get("notes", "1"))
    assert view["title"] == "second"
    assert view["version"] >= 1
    assert engine.flush().success
    assert server.records("notes")["1"]["title"] == "second"
    assert engine.get("notes", "1") == server.records("notes")["1"]


def test_without_a_body_what_was_sent_stands_as_the_servers_state(
    engine: SyncEngine, server: SyncServer
) -> None:
    server.script(Reply(204), match="POST")
    engine.push("notes", {"id": "1", "title": "mine"})
    assert engine.flush().success
    assert engine.get("notes", "1") == {"id": "1", "title": "mine"}
    assert engine.queue_length == 0


def test_a_lost_answer_leaves_the_view_as_it_was_pushed(
    engine: SyncEngine, server: SyncServer
) -> None:
    engine.push("notes", {"id": "1", "title": "mine"})
    server.script(DropAnswer(), match="POST")
    engine.flush()
    assert engine.get("notes", "1") == {"id": "1", "title": "mine"}
    assert engine.full_sync().success
    assert engine.get("notes", "1") == server.records("notes")["1"]


# being told


def test_local_changes_are_reported_with_both_sides(engine: SyncEngine) -> None:
    changes = listen(engine)
    engine.push("notes", {"id": "1", "title": "a"})
    engine.push("notes", {"id": "1", "title": "b"}, "update")
    engine.delete("notes", "1")
    one, two = {"id": "1", "title": "a"}, {"id": "1", "title": "b"}
    assert reported(engine, changes) == [
        ("1", None, one, "local"),
        ("1", one, two, "local"),
        ("1", two, None, "local"),
    ]
    assert {c.entity for c in changes} == {"notes"}


def test_remote_changes_are_reported_with_both_sides(
    engine: SyncEngine, server: SyncServer
) -> None:
    changes = listen(engine)
    server.put("notes", {"id": "1", "title": "a"})
    engine.pull()
    one = present(engine.get("notes", "1"))
    server.patch("notes", "1", {"title": "b"})
    engine.pull()
    two = present(engine.get("notes", "1"))
    server.remove("notes", "1")
    engine.pull()
    assert reported(engine, changes) == [
        ("1", None, one, "remote"),
        ("1", one, two, "remote"),
        ("1", two, None, "remote"),
    ]
    assert (one["title"], two["title"]) == ("a", "b")


def test_changes_can_be_had_of_one_entity_alone(new_engine: NewEngine, server: SyncServer) -> None:
    engine = new_engine(server.url, entities={"notes": "/notes", "tasks": "/tasks"})
    notes, everything = listen(engine, entity="notes"), listen(engine)
    engine.push("tasks", {"id": "1"})
    engine.push("notes", {"id": "2"})
    server.put("tasks", {"id": "3"})
    server.put("notes", {"id": "4"})
    engine.pull()
    assert [c.record_id for c in notes] == ["2", "4"]
    assert [c.record_id for c in everything] == ["1", "2", "4", "3"]
    with pytest.raises(UnknownEntityError):
        engine.on_change(print, entity="nothing")


def test_whoever_unsubscribed_hears_nothing_more(engine: SyncEngine, server: SyncServer) -> None:
    changes: list[Any] = []
    unsubscribe = engine.on_change(changes.append)
    engine.push("notes", {"id": "1"})
    assert len(reported(engine, changes)) == 1
    unsubscribe()
    unsubscribe()
    engine.push("notes", {"id": "2"})
    assert len(reported(engine, changes)) == 1


def test_a_push_that_changes_nothing_is_not_reported(engine: SyncEngine) -> None:
    engine.push("notes", {"id": "1", "title": "a"})
    changes = listen(engine)
    engine.push("notes", {"id": "1", "title": "a"}, "update")
    assert reported(engine, changes) == []


def test_own_changes_returning_are_not_reported(engine: SyncEngine, server: SyncServer) -> None:
    engine.push("notes", {"id": "1", "title": "a"})
    engine.flush()
    changes = listen(engine)
    engine.push("notes", {"id": "1", "title": "b"}, "update")
    engine.flush()
    received = len(reported(engine, changes))
    assert engine.pull().pulled == 0
    assert len(reported(engine, changes)) == received
    assert [c.after["title"] for c in changes if c.origin == "local"] == ["b"]


def test_a_callback_that_raises_or_calls_back_does_no_harm(
    engine: SyncEngine, server: SyncServer
) -> None:
    received = []

    def nosy(change: RecordChange) -> None:
        received.append(engine.get(change.entity, change.record_id))
        raise RuntimeError("not my day")

    engine.on_change(nosy)
    after = listen(engine)
    engine.push("notes", {"id": "1", "title": "a"})
    server.put("notes", {"id": "2"})
    assert engine.pull().success
    assert [present(record)["id"] for record in received] == ["1", "2"]
    assert len(after) == 2


def test_a_transaction_is_reported_whole_or_not_at_all(engine: SyncEngine) -> None:
    changes = listen(engine)

    def interrupted() -> None:
        with engine.transaction():
            engine.push("notes", {"id": "1"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert reported(engine, changes) == []
    assert engine.get("notes", "1") is None
    with engine.transaction():
        engine.push("notes", {"id": "1"})
        engine.push("notes", {"id": "2"})
    assert [each[0] for each in reported(engine, changes)] == ["1", "2"]


def test_an_entity_without_a_replica_has_no_view_and_tells_nothing(
    new_engine: NewEngine, server: SyncServer
) -> None:
    entities = {"events": EntityConfig("/events", replica=False)}
    engine = new_engine(server.url, entities=entities)
    changes = listen(engine)
    engine.push("events", {"id": "1"})
    assert engine.get("events", "1") is None
    assert engine.flush().success
    assert list(engine.records("events")) == []
    assert reported(engine, changes) == []
