"""Conflicts that a person or a callback decides."""

import threading
import time
from asyncio import CancelledError
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from bytelyst_sync import Conflict, EntityConfig, Request, SyncEngine, TransportError
from bytelyst_sync.model import Json
from bytelyst_sync.testing import SyncServer
from bytelyst_sync.testing.store import Rules, Store
from tests.conftest import Wire
from tests.typed import InThread, NewEngine, present

PATIENCE_S = 10.0


def plain(record: Json) -> Json:
    if record is None:
        return None
    return {name: each for name, each in record.items() if name not in ("version", "updatedAt")}


def collide(
    engine: SyncEngine,
    server: SyncServer,
    record_id: str = "1",
    mine: None = None,
    theirs: Json | None = None,
) -> None:
    """Both sides edit a record that they had in common."""
    server.put("notes", {"id": record_id, "title": "base", "body": "base"})
    engine.pull()
    engine.push("notes", {"id": record_id, "title": "mine", **(mine or {})}, "update")
    server.patch("notes", record_id, {"title": "theirs", **(theirs or {})})


def titles(server: SyncServer) -> Json:
    return {key: record["title"] for key, record in server.records("notes").items()}


def agree(engine: SyncEngine, server: SyncServer) -> None:
    """Syncs until callbacks have decided; nothing is left, and the view is the server's state."""
    deadline = time.monotonic() + PATIENCE_S
    while not engine.full_sync().success:
        assert time.monotonic() < deadline, "it never came to rest"
    assert engine.full_sync().success
    assert engine.queue_length == 0
    assert list(engine.conflicts()) == []
    assert {r["id"]: r for r in engine.records("notes")} == server.records("notes")


@pytest.fixture
def manual(new_engine: NewEngine, server: SyncServer) -> Callable[..., SyncEngine]:
    """Makes an engine whose conflicts are decided by this callback."""

    def make(on_conflict: Callable[..., object] | None = None, **settings: Any) -> SyncEngine:
        settings = {"url": server.url, "conflict": "manual", **settings}
        return new_engine(on_conflict=on_conflict, **settings)

    return make


@pytest.fixture
def parked(manual: Callable[..., SyncEngine], server: SyncServer) -> SyncEngine:
    """An engine with one parked conflict."""
    engine = manual()
    collide(engine, server)
    assert engine.full_sync().conflicts == 1
    return engine


class BreakingWire(Wire):
    def fail(self) -> None:
        raise TransportError("the connection broke")


@pytest.fixture
def wire_of() -> Callable[[], tuple[BreakingWire, Store]]:
    """Makes a wire to a server of its own, in process, that can fail."""

    def make() -> tuple[BreakingWire, Store]:
        store = Store(Rules())
        return BreakingWire(store), store

    return make


# callbacks


@pytest.mark.parametrize("how", ["flush", "pull"])
@pytest.mark.parametrize(
    ("answer", "title", "resolution"),
    [
        ("local", "mine", "local"),
        ("remote", "theirs", "remote"),
        ({"id": "1", "title": "both", "body": "base"}, "both", "merged"),
        ({"title": "both", "body": "base"}, "both", "merged"),
    ],
    ids=["local", "remote", "dict", "dict without its id"],
)
def test_a_callback_decides(
    manual: Callable[..., SyncEngine],
    server: SyncServer,
    answer: str | Json,
    title: str,
    resolution: str,
    how: str,
) -> None:
    asked = []

    def decide(conflict: Conflict) -> str | Json:
        asked.append(conflict)
        return answer

    engine = manual(decide)
    collide(engine, server)
    result = getattr(engine, how)()
    assert result.conflicts == 1
    agree(engine, server)
    assert titles(server) == {"1": title}
    assert len(asked) == 1
    (conflict,) = asked
    assert (conflict.entity, conflict.record_id, conflict.resolution) == ("notes", "1", None)
    assert plain(present(conflict.base)) == {"id": "1", "title": "base", "body": "base"}
    assert (present(conflict.local)["title"], present(conflict.remote)["title"]) == (
        "mine",
        "theirs",
    )
    assert conflict.fields == ("title",)
    (settled,) = engine.conflicts(resolved=True)
    assert settled.resolution == resolution


def test_what_a_callback_returns_is_the_whole_record_to_keep(
    manual: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = manual(lambda conflict: {**conflict.remote, "title": "both", "new": [1]})
    collide(engine, server, theirs={"extra": "theirs"})
    agree(engine, server)
    assert plain(server.records("notes")["1"]) == {
        "id": "1",
        "title": "both",
        "body": "base",
        "extra": "theirs",
        "new": [1],
    }


@pytest.mark.parametrize("answer", ["local", "remote"])
def test_a_callback_decides_edits_of_a_record_deleted_there(
    manual: Callable[..., SyncEngine], server: SyncServer, answer: str
) -> None:
    engine = manual(lambda conflict: answer)
    server.put("notes", {"id": "1", "title": "base", "body": "base"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.remove("notes", "1")
    agree(engine, server)
    expected = {"1": {"id": "1", "title": "mine", "body": "base"}} if answer == "local" else {}
    assert {key: plain(record) for key, record in server.records("notes").items()} == expected


@pytest.mark.parametrize("answer", ["local", "remote"])
def test_a_callback_decides_deletes_of_a_record_edited_there(
    manual: Callable[..., SyncEngine], server: SyncServer, answer: str
) -> None:
    engine = manual(lambda conflict: answer)
    server.put("notes", {"id": "1", "title": "base"})
    engine.pull()
    engine.delete("notes", "1")
    server.patch("notes", "1", {"title": "theirs"})
    agree(engine, server)
    assert titles(server) == ({} if answer == "local" else {"1": "theirs"})


NO_ANSWERS = {
    "another word": "nonsense",
    "a number": 7,
    "a list": [],
    "a key that is no text": {1: 2},
    "no number": {"x": float("nan")},
    "another id": {"id": "2", "title": "both"},
}


@pytest.mark.parametrize("answer", [None, *NO_ANSWERS.values()], ids=["None", *NO_ANSWERS])
def test_an_answer_that_decides_nothing_parks(
    manual: Callable[..., SyncEngine],
    server: SyncServer,
    answer: str | int | list[Any] | dict[int | str, float | str] | None,
) -> None:
    engine = manual(lambda conflict: answer)
    collide(engine, server)
    result = engine.full_sync()
    assert (result.success, result.conflicts) == (False, 1)
    assert len(list(engine.conflicts())) == 1
    assert present(engine.get("notes", "1"))["title"] == "mine"
    assert titles(server) == {"1": "theirs"}


@pytest.mark.parametrize("kind", [LookupError, SystemExit, CancelledError])
def test_a_callback_that_raises_parks_and_says_so_without_the_payload(
    manual: Callable[..., SyncEngine],
    server: SyncServer,
    caplog: pytest.LogCaptureFixture,
    kind: type | type[CancelledError],
) -> None:
    def decide(conflict: Conflict) -> None:
        raise kind("no idea")

    engine = manual(decide)
    collide(engine, server)
    engine.full_sync()
    assert len(list(engine.conflicts())) == 1
    assert kind.__name__ in caplog.text
    (conflict,) = engine.conflicts()
    engine.resolve(conflict, "local")
    assert engine.flush(timeout=10).success, "it was parked, and could be decided"
    assert "theirs" not in caplog.text


def test_a_callback_may_call_the_engine(
    manual: Callable[..., SyncEngine], server: SyncServer
) -> None:
    seen: dict[Any, Any] = {}

    def decide(conflict: Conflict) -> Json:
        engine.push("notes", {"id": "log", "title": f"asked for {conflict.record_id}"})
        seen["view"] = present(engine.get("notes", conflict.record_id))["title"]
        seen["records"] = [record["id"] for record in engine.records("notes")]
        seen["open"] = len(list(engine.conflicts()))
        seen["length"] = engine.queue_length
        seen["flush"] = engine.flush()
        seen["pull"] = engine.pull()
        seen["status"] = engine.status.status
        return {**present(conflict.remote), "title": "both"}

    engine = manual(decide)
    collide(engine, server)
    engine.pull()
    agree(engine, server)
    assert seen["view"] == "mine"
    assert seen["records"] == ["1", "log"]
    assert titles(server) == {"1": "both", "log": "asked for 1"}


def test_a_callback_may_push_to_the_very_record(
    manual: Callable[..., SyncEngine], server: SyncServer
) -> None:
    def decide(conflict: Conflict) -> str:
        engine.push("notes", {"id": "1", "body": "pushed while asked"}, "update")
        return "remote"

    engine = manual(decide)
    collide(engine, server)
    engine.pull()
    agree(engine, server)
    record = plain(server.records("notes")["1"])
    assert record == {"id": "1", "title": "theirs", "body": "pushed while asked"}


def test_a_callback_may_settle_the_conflict_itself(
    manual: Callable[..., SyncEngine], server: SyncServer
) -> None:
    def decide(conflict: Conflict) -> None:
        engine.resolve(conflict, "local")

    engine = manual(decide)
    collide(engine, server)
    engine.pull()
    agree(engine, server)
    assert titles(server) == {"1": "mine"}


def test_a_callback_that_takes_its_time_holds_up_its_record_alone(
    manual: Callable[..., SyncEngine], server: SyncServer, in_thread: InThread
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def decide(conflict: Conflict) -> str:
        asked.set()
        assert answer.wait(10)
        return "local"

    engine = manual(decide, auto_flush=True)
    collide(engine, server)
    assert asked.wait(10)
    engine.push("notes", {"id": "2", "title": "meanwhile"})
    assert server.wait_for(lambda: "2" in server.records("notes"))
    server.put("notes", {"id": "3", "title": "others"})
    assert engine.pull().pulled >= 1
    assert engine.get("notes", "3")
    assert titles(server)["1"] == "theirs"
    answer.set()
    assert server.wait_for(lambda: titles(server)["1"] == "mine")


def test_an_entity_has_a_callback_of_its_own(new_engine: NewEngine, server: SyncServer) -> None:
    entities = {
        "notes": EntityConfig("/notes", on_conflict=lambda conflict: "local"),
        "tasks": "/tasks",
    }
    engine = new_engine(
        server.url, entities=entities, conflict="manual", on_conflict=lambda conflict: "remote"
    )
    for name in entities:
        server.put(name, {"id": "1", "title": "base"})
    engine.pull()
    for name in entities:
        engine.push(name, {"id": "1", "title": "mine"}, "update")
        server.patch(name, "1", {"title": "theirs"})
    for _ in range(3):
        engine.full_sync()
    assert server.records("notes")["1"]["title"] == "mine"
    assert server.records("tasks")["1"]["title"] == "theirs"


def test_a_callback_is_asked_again_where_the_server_moved_on(
    manual: Callable[..., SyncEngine], server: SyncServer
) -> None:
    asked = []

    def decide(conflict: Conflict) -> str:
        asked.append(present(conflict.remote)["title"])
        if len(asked) < 3:
            server.patch("notes", "1", {"title": f"theirs {len(asked)}"})
        return "local"

    engine = manual(decide)
    collide(engine, server)
    engine.flush()
    agree(engine, server)
    assert asked == ["theirs", "theirs 1", "theirs 2"]
    assert titles(server) == {"1": "mine"}


# parked


def test_without_a_callback_a_conflict_is_parked_and_shown(
    parked: SyncEngine, server: SyncServer
) -> None:
    (conflict,) = parked.conflicts()
    assert (conflict.entity, conflict.record_id) == ("notes", "1")
    assert (present(conflict.local)["title"], present(conflict.remote)["title"]) == (
        "mine",
        "theirs",
    )
    assert conflict.fields == ("title",)
    assert conflict.resolution is None
    assert parked.status.conflicts == 1
    assert parked.queue_length == 0
    assert list(parked.failed()) == []
    assert present(parked.get("notes", "1"))["title"] == "mine"
    assert titles(server) == {"1": "theirs"}
    assert not parked.flush().success, "something that was queued is parked"


def test_wait_tells_that_an_item_is_parked(
    manual: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = manual()
    server.put("notes", {"id": "1", "title": "base"})
    engine.pull()
    item = engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.patch("notes", "1", {"title": "theirs"})
    engine.flush()
    assert str(engine.wait(item, timeout=5)) == "conflict"


def test_a_parked_conflict_blocks_only_its_own_record(
    parked: SyncEngine, server: SyncServer
) -> None:
    parked.push("notes", {"id": "2", "title": "new"})
    parked.push("notes", {"id": "2", "title": "newer"}, "update")
    assert parked.flush().pushed == 1
    assert titles(server) == {"1": "theirs", "2": "newer"}
    server.put("notes", {"id": "3", "title": "others"})
    assert parked.pull().pulled == 1
    assert len(list(parked.conflicts())) == 1


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("local", "mine"),
        ("remote", "theirs"),
        ({"id": "1", "title": "both", "body": "base"}, "both"),
    ],
    ids=["local", "remote", "dict"],
)
def test_a_parked_conflict_is_settled_by_hand(
    parked: SyncEngine, server: SyncServer, answer: Any, title: str
) -> None:
    (conflict,) = parked.conflicts()
    item = parked.resolve(conflict, answer)
    assert (item is None) is (answer == "remote")
    assert present(parked.get("notes", "1"))["title"] == title, "the view follows at once"
    assert list(parked.conflicts()) == []
    agree(parked, server)
    assert titles(server) == {"1": title}
    (settled,) = parked.conflicts(resolved=True)
    assert present(settled.local)["title"] == "mine"
    assert present(settled.remote)["title"] == "theirs"
    assert parked.resolve(conflict, "local") is None, "it is settled already"
    agree(parked, server)
    assert titles(server) == {"1": title}


@pytest.mark.parametrize("answer", [None, *NO_ANSWERS.values()], ids=["None", *NO_ANSWERS])
def test_what_settles_nothing_is_refused_and_it_stays_parked(
    parked: SyncEngine, answer: Any
) -> None:
    (conflict,) = parked.conflicts()
    with pytest.raises((ValueError, TypeError)):
        parked.resolve(conflict, answer)
    assert [each.id for each in parked.conflicts()] == [conflict.id]


def test_a_dict_equal_to_the_servers_record_needs_no_write(
    parked: SyncEngine, server: SyncServer
) -> None:
    (conflict,) = parked.conflicts()
    assert parked.resolve(conflict, dict(present(conflict.remote))) is None
    agree(parked, server)
    assert titles(server) == {"1": "theirs"}


def test_a_parked_conflict_survives_a_restart(
    manual: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    engine = manual(storage=tmp_path / "app.db")
    collide(engine, server)
    engine.full_sync()
    engine.push("notes", {"id": "1", "body": "later"}, "update")
    engine.close()
    again = manual(storage=tmp_path / "app.db")
    assert not again.full_sync().success
    (conflict,) = again.conflicts()
    assert (present(conflict.local)["title"], present(conflict.remote)["title"]) == (
        "mine",
        "theirs",
    )
    assert titles(server) == {"1": "theirs"}
    assert (
        present(again.get("notes", "1"))["title"],
        present(again.get("notes", "1"))["body"],
    ) == (
        "mine",
        "later",
    )
    again.resolve(conflict, "local")
    agree(again, server)
    assert plain(server.records("notes")["1"]) == {"id": "1", "title": "mine", "body": "later"}


def test_a_question_that_a_dead_program_left_is_parked(
    manual: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path, in_thread: InThread
) -> None:
    """Asked, and then the program ended: nobody will answer any more."""
    asked, answer = threading.Event(), threading.Event()

    def never(conflict: Conflict) -> None:
        asked.set()
        answer.wait(10)
        raise RuntimeError("too late")

    engine = manual(never, storage=tmp_path / "app.db")
    collide(engine, server)
    flushing = in_thread(engine.pull)
    assert asked.wait(10)
    flushing()
    closing = in_thread(engine.close, 0.1)
    again = manual(storage=tmp_path / "app.db")
    again.push("notes", {"id": "2", "title": "x"})
    assert again.flush(timeout=5).pushed == 1
    assert list(again.queue()) == [], "nobody is waited for"
    (conflict,) = again.conflicts()
    again.resolve(conflict, "local")
    agree(again, server)
    assert titles(server) == {"1": "mine", "2": "x"}
    answer.set()
    closing()


# pushes meanwhile


@pytest.mark.parametrize(
    ("answer", "record"),
    [
        ("local", {"title": "mine", "body": "later"}),
        ("remote", {"title": "theirs", "body": "later"}),
        ({"id": "1", "title": "both", "body": "both"}, {"title": "both", "body": "later"}),
    ],
    ids=["local", "remote", "dict"],
)
def test_pushes_meanwhile_wait_behind_and_are_based_on_the_outcome(
    parked: SyncEngine, server: SyncServer, answer: Any, record: Json
) -> None:
    parked.push("notes", {"id": "1", "body": "later"}, "update")
    assert parked.queue_length == 1
    assert parked.flush().pushed == 0
    assert titles(server) == {"1": "theirs"}
    view = present(parked.get("notes", "1"))
    assert (view["title"], view["body"]) == ("mine", "later")
    (conflict,) = parked.conflicts()
    parked.resolve(conflict, answer)
    result = parked.flush()
    assert (result.success, result.conflicts) == (True, 0)
    agree(parked, server)
    assert plain(server.records("notes")["1"]) == {"id": "1", **record}


def test_a_delete_pushed_meanwhile_is_sent_after_remote(
    parked: SyncEngine, server: SyncServer
) -> None:
    parked.delete("notes", "1")
    assert parked.get("notes", "1") is None
    (conflict,) = parked.conflicts()
    parked.resolve(conflict, "remote")
    agree(parked, server)
    assert server.records("notes") == {}


@pytest.mark.parametrize("answer", ["local", "remote"])
def test_a_create_pushed_behind_a_delete_in_conflict_is_kept(
    manual: Callable[..., SyncEngine], server: SyncServer, answer: Literal["local", "remote"]
) -> None:
    engine = manual()
    server.put("notes", {"id": "1", "title": "base"})
    engine.pull()
    engine.delete("notes", "1")
    server.patch("notes", "1", {"title": "theirs"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "anew"})
    (conflict,) = engine.conflicts()
    engine.resolve(conflict, answer)
    for _ in range(2):
        engine.full_sync()
    assert list(engine.failed()) == []
    if answer == "remote":
        # the record is there after all: a create of it is a conflict of its own
        (again,) = engine.conflicts()
        assert (present(again.local)["title"], present(again.remote)["title"]) == ("anew", "theirs")
        engine.resolve(again, "local")
    agree(engine, server)
    assert titles(server) == {"1": "anew"}


def test_pushes_meanwhile_coalesce_among_themselves_not_with_what_is_parked(
    parked: SyncEngine, server: SyncServer
) -> None:
    for number in range(3):
        parked.push("notes", {"id": "1", "body": str(number)}, "update")
    assert parked.queue_length == 1
    (conflict,) = parked.conflicts()
    assert present(conflict.local)["body"] == "base"
    parked.resolve(conflict, "remote")
    agree(parked, server)
    assert plain(server.records("notes")["1"]) == {"id": "1", "title": "theirs", "body": "2"}


# the server moved again


def test_a_decision_on_a_refusal_that_was_repeated_does_not_hide_what_came_since(
    manual: Callable[..., SyncEngine], wire_of: Callable[[], tuple[BreakingWire, Store]]
) -> None:
    """Its answer was lost, and the retry is answered alike, though the record moved on."""
    wire, store = wire_of()
    engine = manual(transport=wire)
    store.change("notes", "create", {"id": "1", "title": "base"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    store.change("notes", "update", {"id": "1", "title": "theirs"})
    lost = [True]
    wire.lose = lambda: bool(lost) and lost.pop()
    engine.flush()
    store.change("notes", "update", {"id": "1", "title": "newer"})
    engine.pull()

    def fail_reading(seen: Request) -> None:
        if seen.method == "GET":
            wire.fail()

    wire.before = fail_reading
    engine.flush()
    (conflict,) = engine.conflicts()
    assert present(conflict.remote)["title"] == "theirs"
    engine.resolve(conflict, "remote")
    wire.before = lambda seen: None
    for _ in range(3):
        engine.full_sync()
    assert present(engine.get("notes", "1"))["title"] == "newer"


def test_a_parked_conflict_shows_the_newest_state_of_the_server(
    parked: SyncEngine, server: SyncServer
) -> None:
    server.patch("notes", "1", {"title": "newer"})
    parked.pull()
    (conflict,) = parked.conflicts()
    assert present(conflict.remote)["title"] == "newer"
    parked.resolve(conflict, "remote")
    assert present(parked.get("notes", "1"))["title"] == "newer"
    agree(parked, server)


@pytest.mark.parametrize("answer", ["local", "remote"])
def test_a_parked_conflict_shows_that_the_server_went_back_to_what_both_had(
    manual: Callable[..., SyncEngine], new_wire: type[Wire], answer: Literal["local", "remote"]
) -> None:
    """As after a restore: the page equals what is stored here, and not what the conflict shows."""
    wire = new_wire(Store(Rules()))
    engine = manual(transport=wire)
    wire.store.change("notes", "create", {"id": "1", "title": "base"})
    engine.pull()
    (base,) = engine.records("notes")
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    wire.store.change("notes", "update", {"id": "1", "title": "theirs"})
    engine.pull()
    (conflict,) = engine.conflicts()
    assert present(conflict.remote)["title"] == "theirs"
    commits = engine._core.running().puller._commits
    entity = engine._core.running().entities["notes"]
    commits.state.write(
        lambda work: commits.remote_changes.apply(
            work, entity, "1", base, base["version"], began=work.tx.last_number()
        )
    )
    (conflict,) = engine.conflicts()
    assert present(conflict.remote)["title"] == "base"
    engine.resolve(conflict, answer)
    assert present(engine.get("notes", "1"))["title"] == ("mine" if answer == "local" else "base")


def test_a_parked_conflict_shows_that_the_record_was_deleted_meanwhile(
    parked: SyncEngine, server: SyncServer
) -> None:
    server.remove("notes", "1")
    parked.pull()
    (conflict,) = parked.conflicts()
    assert conflict.remote is None
    parked.resolve(conflict, "local")
    agree(parked, server)
    assert plain(server.records("notes")["1"]) == {"id": "1", "title": "mine", "body": "base"}


@pytest.mark.parametrize("what", ["edit", "delete"])
def test_a_parked_conflict_whose_sides_became_equal_settles_itself(
    manual: Callable[..., SyncEngine], server: SyncServer, what: str
) -> None:
    engine = manual()
    server.put("notes", {"id": "1", "title": "base"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "delete" if what == "delete" else "update")
    server.patch("notes", "1", {"title": "theirs"})
    engine.full_sync()
    assert len(list(engine.conflicts())) == 1
    if what == "delete":
        server.remove("notes", "1")
    else:
        server.patch("notes", "1", {"title": "mine"})
    engine.pull()
    agree(engine, server)
    assert not [seen for seen in server.requests if seen.method != "GET" and seen.status == 200]


@pytest.mark.parametrize("answer", ["local", {"id": "1", "title": "both"}], ids=["local", "dict"])
def test_where_the_server_moved_again_unseen_a_resolution_parks_anew(
    parked: SyncEngine, server: SyncServer, answer: Any
) -> None:
    (conflict,) = parked.conflicts()
    server.patch("notes", "1", {"title": "newer"})
    parked.resolve(conflict, answer)
    result = parked.flush()
    assert result.conflicts == 1
    assert titles(server) == {"1": "newer"}, "nothing was overwritten unseen"
    (again,) = parked.conflicts()
    assert present(again.remote)["title"] == "newer"
    parked.resolve(again, "local")
    agree(parked, server)
    assert titles(server) == {"1": "mine" if answer == "local" else "both"}


def test_remote_takes_what_is_there_now_where_the_server_moved_again_unseen(
    parked: SyncEngine, server: SyncServer
) -> None:
    (conflict,) = parked.conflicts()
    server.patch("notes", "1", {"title": "newer"})
    parked.resolve(conflict, "remote")
    agree(parked, server)
    assert titles(server) == {"1": "newer"}


def test_a_conflict_can_be_settled_by_a_handle_from_before_a_restart(
    manual: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    engine = manual(storage=tmp_path / "app.db")
    collide(engine, server)
    engine.full_sync()
    (conflict,) = engine.conflicts()
    engine.close()
    again = manual(storage=tmp_path / "app.db")
    again.resolve(conflict, "local")
    agree(again, server)
    assert titles(server) == {"1": "mine"}


def test_clearing_the_queue_leaves_parked_conflicts_alone(
    parked: SyncEngine, server: SyncServer
) -> None:
    parked.push("notes", {"id": "2", "title": "x"})
    parked.clear_queue()
    (conflict,) = parked.conflicts()
    parked.resolve(conflict, "local")
    agree(parked, server)
    assert titles(server) == {"1": "mine"}


def test_parked_conflicts_of_many_records_are_listed_oldest_first(
    manual: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = manual()
    for number in range(5):
        collide(engine, server, str(number))
        engine.flush()
    assert [conflict.record_id for conflict in engine.conflicts()] == list("01234")
    for conflict in engine.conflicts():
        engine.resolve(conflict, "local" if conflict.record_id in "02" else "remote")
    agree(engine, server)
    assert [title for _, title in sorted(titles(server).items())] == [
        "mine",
        "theirs",
        "mine",
        "theirs",
        "theirs",
    ]
