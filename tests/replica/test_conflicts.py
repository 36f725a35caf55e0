"""Conflicts: the table of strategies, for each way that two sides can differ, however it shows."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import Conflict, Dialect, EntityConfig, SyncEngine, SyncItem
from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import Json, OperationName
from bytelyst_sync.replica import conflict_sides
from bytelyst_sync.testing import Drop, DropAnswer, Reply, Seen, SyncServer
from tests.conftest import Scripted, Wire
from tests.typed import Eventually, NewEngine, NewPage, ViewOf, present

BASE = {"id": "1", "title": "base", "body": "base", "done": "base"}
MINE, THEIRS = {"title": "mine", "body": "mine"}, {"title": "theirs", "done": "theirs"}
HOUR_S = 3600.0


@dataclass(frozen=True)
class Kind:
    """How two sides differ, and what each strategy makes of it.

    ``begins``: they had ``BASE`` in common. ``sides`` are the records that meet, ``fields`` those
    in real conflict; ``status`` is what the server answers to the change.
    """

    begins: bool
    status: int
    local: Callable[..., Any]
    remote: Callable[..., Any]
    sides: tuple[Any, ...]
    fields: set[Any]
    outcomes: dict[str, Any]


def edited_here(engine: SyncEngine) -> None:
    engine.push("notes", {"id": "1", **MINE}, "update")


def edited_there(server: SyncServer, at: float | None) -> None:
    server.patch("notes", "1", THEIRS, at=at)


def deleted_here(engine: SyncEngine) -> None:
    engine.delete("notes", "1")


def deleted_there(server: SyncServer, at: float | None) -> None:
    server.remove("notes", "1", at=at)


def created_here(engine: SyncEngine) -> None:
    engine.push("notes", {"id": "1", **MINE})


def created_there(server: SyncServer, at: float | None) -> None:
    server.put("notes", {"id": "1", **THEIRS}, at=at)


MY_EDIT, THEIR_EDIT = {**BASE, **MINE}, {**BASE, **THEIRS}
MY_CREATE, THEIR_CREATE = {"id": "1", **MINE}, {"id": "1", **THEIRS}
BOTH = {**BASE, **THEIRS, **MINE}
BOTH_CREATED = {**THEIR_CREATE, **MINE}

EDIT_EDIT = Kind(
    begins=True,
    status=412,
    local=edited_here,
    remote=edited_there,
    sides=(MY_EDIT, THEIR_EDIT),
    fields={"title"},
    outcomes={
        "server-wins": THEIR_EDIT,
        "client-wins": BOTH,
        "last-write-wins, mine is later": BOTH,
        "last-write-wins, theirs is later": THEIR_EDIT,
        "merge, mine is later": BOTH,
        "merge, theirs is later": {**BOTH, "title": "theirs"},
    },
)
EDIT_DELETE = Kind(
    begins=True,
    status=410,
    local=edited_here,
    remote=deleted_there,
    sides=(MY_EDIT, None),
    fields=set(),
    outcomes={
        "server-wins": None,
        "client-wins": MY_EDIT,
        # a deleted record does not say when it was
        "last-write-wins, mine is later": None,
        "last-write-wins, theirs is later": None,
        "merge, mine is later": MY_EDIT,
        "merge, theirs is later": MY_EDIT,
    },
)
DELETE_EDIT = Kind(
    begins=True,
    status=412,
    local=deleted_here,
    remote=edited_there,
    sides=(None, THEIR_EDIT),
    fields=set(),
    outcomes={
        "server-wins": THEIR_EDIT,
        "client-wins": None,
        "last-write-wins, mine is later": None,
        "last-write-wins, theirs is later": THEIR_EDIT,
        "merge, mine is later": THEIR_EDIT,
        "merge, theirs is later": THEIR_EDIT,
    },
)
CREATE_CREATE = Kind(
    begins=False,
    status=409,
    local=created_here,
    remote=created_there,
    sides=(MY_CREATE, THEIR_CREATE),
    fields={"title"},
    outcomes={
        "server-wins": THEIR_CREATE,
        "client-wins": BOTH_CREATED,
        "last-write-wins, mine is later": BOTH_CREATED,
        "last-write-wins, theirs is later": THEIR_CREATE,
        "merge, mine is later": BOTH_CREATED,
        "merge, theirs is later": {**BOTH_CREATED, "title": "theirs"},
    },
)
KINDS = {
    "edit and edit": EDIT_EDIT,
    "edit and delete": EDIT_DELETE,
    "delete and edit": DELETE_EDIT,
    "create and create": CREATE_CREATE,
}
ROWS = [
    pytest.param(kind, strategy, outcome, id=f"{name}, {strategy}")
    for name, kind in KINDS.items()
    for strategy, outcome in kind.outcomes.items()
]


def plain(record: Json | None) -> Json | None:
    """A record without what the server writes into it."""
    if record is None:
        return None
    return {name: each for name, each in record.items() if name not in ("version", "updatedAt")}


def begin(engine: SyncEngine, server: SyncServer, kind: Kind) -> None:
    if kind.begins:
        server.put("notes", dict(BASE), at=time.time() - 2 * HOUR_S)
    assert engine.pull().success


def writes(server: SyncServer) -> list[Seen]:
    return [seen for seen in server.requests if seen.method in ("POST", "PATCH", "DELETE", "PUT")]


def based_on(seen: Seen) -> str:
    return seen.headers["if-match"].strip('"')


def settle(engine: SyncEngine) -> None:
    """Syncs until nothing is left to do."""
    for _ in range(4):
        engine.full_sync()
    result = engine.full_sync()
    assert result.success
    assert engine.queue_length == 0
    assert (list(engine.failed()), list(engine.conflicts())) == ([], [])


def same_everywhere(engine: SyncEngine, server: SyncServer, view_of: ViewOf) -> None:
    assert view_of(engine) == server.records("notes")


# the table


@pytest.mark.parametrize("how", ["push", "pull"])
@pytest.mark.parametrize(("kind", "strategy", "outcome"), ROWS)
def test_the_strategy_decides(
    new_engine: NewEngine,
    server: SyncServer,
    view_of: ViewOf,
    kind: Kind,
    strategy: str,
    outcome: Json | None,
    how: str,
) -> None:
    engine = new_engine(server.url, conflict=strategy.split(",", maxsplit=1)[0])
    begin(engine, server, kind)
    kind.local(engine)
    hours = 1 if "theirs is later" in strategy else -1
    kind.remote(server, time.time() + hours * HOUR_S)
    result = engine.flush() if how == "push" else engine.pull()
    assert result.conflicts == 1
    if how == "push":
        assert writes(server)[0].status == kind.status
    (settled,) = engine.conflicts(resolved=True)
    assert (plain(settled.local), plain(settled.remote)) == kind.sides
    assert plain(settled.base) == (BASE if kind.begins else None)
    assert set(settled.fields) == kind.fields
    assert settled.resolution in ("local", "remote", "merged")
    settle(engine)
    assert plain(server.records("notes").get("1")) == outcome
    same_everywhere(engine, server, view_of)
    assert len(list(engine.conflicts(resolved=True))) == 1, "one conflict, settled once"


@pytest.mark.parametrize("how", ["push", "pull"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_manual_without_a_callback_parks(
    new_engine: NewEngine, server: SyncServer, kind: Kind, how: str
) -> None:
    engine = new_engine(server.url, conflict="manual")
    begin(engine, server, kind)
    kind.local(engine)
    mine = engine.get("notes", "1")
    kind.remote(server, None)
    there = server.records("notes").get("1")
    result = engine.flush() if how == "push" else engine.pull()
    assert result.conflicts == 1
    (parked,) = engine.conflicts()
    assert parked.resolution is None
    assert (plain(parked.local), plain(parked.remote)) == kind.sides
    assert engine.get("notes", "1") == mine, "the view is the local one until it is decided"
    assert engine.status.conflicts == 1
    assert not engine.full_sync().success
    assert server.records("notes").get("1") == there


@pytest.mark.parametrize("how", ["push", "pull"])
def test_what_is_sent_again_is_conditional_on_the_version_it_was_based_on(
    new_engine: NewEngine, server: SyncServer, how: str
) -> None:
    engine = new_engine(server.url, conflict="client-wins")
    begin(engine, server, EDIT_EDIT)
    item = engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.patch("notes", "1", {"title": "theirs"})
    (engine.flush if how == "push" else engine.pull)()
    settle(engine)
    last = writes(server)[-1]
    assert based_on(last) == "2"
    assert last.status == 200
    keys = [seen.headers["idempotency-key"] for seen in writes(server)]
    assert len(set(keys)) == len(keys)
    assert (item.id in keys) is (how == "push")


def test_a_create_of_an_existing_record_becomes_an_update_on_its_version(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url, conflict="client-wins")
    server.put("notes", {"id": "1", "title": "theirs"})
    engine.push("notes", {"id": "1", "title": "mine"})
    engine.flush()
    assert [(seen.method, seen.status) for seen in writes(server)] == [
        ("POST", 409),
        ("PATCH", 200),
    ]
    assert based_on(writes(server)[1]) == "1"


def test_a_create_of_a_record_that_the_view_already_holds_is_a_conflict_too(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine = new_engine(server.url, conflict="client-wins")
    server.put("notes", {"id": "1", "title": "theirs"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"})
    engine.flush()
    settle(engine)
    assert server.records("notes")["1"]["title"] == "mine"
    same_everywhere(engine, server, view_of)


def test_a_create_whose_refusal_was_lost_is_a_conflict_in_the_end(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    """Its retry is answered with the old refusal, as the record still is what it was."""
    engine = new_engine(server.url, conflict="client-wins")
    server.put("notes", {"id": "1", "title": "theirs"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"})
    server.script(DropAnswer(), match="POST")
    for _ in range(20):
        engine.flush()
    assert list(engine.failed()) == []
    settle(engine)
    assert server.records("notes")["1"]["title"] == "mine"
    same_everywhere(engine, server, view_of)


def test_an_edit_of_a_record_deleted_there_becomes_a_create_of_the_full_view(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url, conflict="client-wins")
    begin(engine, server, EDIT_DELETE)
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.remove("notes", "1")
    engine.flush()
    assert writes(server)[-1].method == "POST"
    assert writes(server)[-1].body == {**BASE, "title": "mine"}


def test_merge_treats_nested_values_as_one(new_engine: NewEngine, server: SyncServer) -> None:
    engine = new_engine(server.url, conflict="merge")
    server.put("notes", {"id": "1", "where": {"x": 1, "y": 1}, "tags": ["a"], "n": 1})
    engine.pull()
    engine.push("notes", {"id": "1", "where": {"x": 2, "y": 1}}, "update")
    server.patch("notes", "1", {"tags": ["a", "b"], "where": {"x": 1, "y": 2}}, at=1.0)
    engine.pull()
    settle(engine)
    record = plain(server.records("notes")["1"])
    assert record == {"id": "1", "where": {"x": 2, "y": 1}, "tags": ["a", "b"], "n": 1}


def test_without_a_base_the_operations_own_fields_are_the_local_edits(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url, conflict="merge")
    server.put("notes", {"id": "1", "title": "theirs", "body": "theirs"}, at=1.0)
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    assert engine.full_sync().success
    record = plain(server.records("notes")["1"])
    assert record == {"id": "1", "title": "mine", "body": "theirs"}
    assert engine.get("notes", "1") == server.records("notes")["1"]


def test_a_conflict_covers_all_that_is_queued_of_its_record(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine = new_engine(server.url)
    begin(engine, server, EDIT_EDIT)
    engine.delete("notes", "1")
    engine.push("notes", {"id": "1", "title": "anew"})
    engine.push("notes", {"id": "2"})
    assert engine.queue_length == 3
    server.patch("notes", "1", THEIRS)
    assert engine.pull().conflicts == 1
    assert [item.record_id for item in engine.queue()] == ["2"]
    (settled,) = engine.conflicts(resolved=True)
    assert plain(settled.local) == {"id": "1", "title": "anew"}
    settle(engine)
    same_everywhere(engine, server, view_of)


# nothing is lost silently


@pytest.mark.parametrize(
    ("strategy", "side"),
    [("server-wins", "remote"), ("client-wins", "local"), ("merge", "merged")],
)
def test_settled_conflicts_keep_the_side_that_lost(
    new_engine: NewEngine, server: SyncServer, tmp_path: Path, strategy: str, side: str
) -> None:
    engine = new_engine(server.url, conflict=strategy, storage=tmp_path / "app.db")
    begin(engine, server, EDIT_EDIT)
    EDIT_EDIT.local(engine)
    before = time.time()
    EDIT_EDIT.remote(server, before - 60)
    engine.pull()
    engine.close()
    again = new_engine(server.url, storage=tmp_path / "app.db")
    assert list(again.conflicts()) == []
    (settled,) = again.conflicts(resolved=True)
    assert (settled.entity, settled.record_id, str(settled.operation)) == ("notes", "1", "update")
    assert settled.resolution == side
    assert (plain(settled.local), plain(settled.remote)) == EDIT_EDIT.sides
    assert plain(settled.base) == BASE
    assert present(settled.remote_time).timestamp() == pytest.approx(before - 60, abs=1e-3)
    assert settled.local_time.timestamp() == pytest.approx(before, abs=30)
    assert "mine" not in repr(settled)


def test_at_least_a_thousand_settled_conflicts_are_kept_and_all_of_thirty_days(
    new_engine: NewEngine, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine(transport=wire)

    def collide(first: int, number: int) -> None:
        ids = [str(each) for each in range(first, first + number)]
        for each in ids:
            wire.store.change("notes", "create", {"id": each, "title": "theirs"})
        engine.push_many("notes", [{"id": each, "title": "mine"} for each in ids])
        assert engine.pull().conflicts == number

    collide(0, 1020)
    assert len(list(engine.conflicts(resolved=True))) == 1020
    began, days = time.time(), 29
    monkeypatch.setattr(time, "time", lambda: began + days * 86_400)
    collide(3000, 10)
    assert len(list(engine.conflicts(resolved=True))) == 1030
    days = 31
    collide(2000, 10)
    kept = [conflict.record_id for conflict in engine.conflicts(resolved=True)]
    assert len(kept) == 1000
    assert kept[-1] == "2009"
    assert "0" not in kept


@pytest.mark.parametrize("strategy", ["server-wins", "client-wins", "last-write-wins", "merge"])
def test_every_conflict_counts(new_engine: NewEngine, server: SyncServer, strategy: str) -> None:
    engine = new_engine(server.url, conflict=strategy)
    for number in "123":
        server.put("notes", {"id": number, "title": "base"})
    engine.pull()
    for number in "123":
        engine.push("notes", {"id": number, "title": "mine"}, "update")
        server.patch("notes", number, {"title": "theirs"})
    assert engine.full_sync().conflicts == 3
    assert len(list(engine.conflicts(resolved=True))) == 3


def test_an_entity_has_a_strategy_of_its_own(new_engine: NewEngine, server: SyncServer) -> None:
    entities = {"notes": "/notes", "tasks": EntityConfig("/tasks", conflict="client-wins")}
    engine = new_engine(server.url, entities=entities, conflict="server-wins")
    for name in entities:
        server.put(name, {"id": "1", "title": "base"})
    engine.pull()
    for name in entities:
        engine.push(name, {"id": "1", "title": "mine"}, "update")
        server.patch(name, "1", {"title": "theirs"})
    settle(engine)
    assert server.records("notes")["1"]["title"] == "theirs"
    assert server.records("tasks")["1"]["title"] == "mine"


# how a refusal is understood


@pytest.mark.parametrize(
    "body",
    [lambda current: {"error": "no", "current": current}, lambda current: current, lambda _: None],
    ids=["under current", "as the body", "read"],
)
@pytest.mark.parametrize("status", [409, 412])
def test_the_current_record_is_taken_from_the_refusal_or_read(
    new_engine: NewEngine,
    server: SyncServer,
    view_of: ViewOf,
    status: int,
    body: Callable[..., Json | int | None],
) -> None:
    engine = new_engine(server.url, conflict="merge")
    begin(engine, server, EDIT_EDIT)
    EDIT_EDIT.local(engine)
    server.patch("notes", "1", THEIRS, at=time.time() - 60)
    server.script(Reply(status, body(server.records("notes")["1"])), match="PATCH")
    assert engine.flush().conflicts == 1
    settle(engine)
    assert plain(server.records("notes")["1"]) == BOTH
    same_everywhere(engine, server, view_of)
    reads = [seen for seen in server.requests if (seen.method, seen.path) == ("GET", "/notes/1")]
    assert len(reads) == (1 if body(1) is None else 0)


def test_a_server_without_versions_still_shows_conflicts_on_pull(
    new_engine: NewEngine, view_of: ViewOf
) -> None:
    with SyncServer(versions=False) as server:
        engine = new_engine(server.url, conflict="merge")
        begin(engine, server, EDIT_EDIT)
        EDIT_EDIT.local(engine)
        server.patch("notes", "1", THEIRS)
        assert engine.pull().conflicts == 1
        settle(engine)
        assert server.records("notes")["1"] == {**BASE, **THEIRS, "body": "mine"}
        same_everywhere(engine, server, view_of)
        engine.close()


# equal states


@pytest.mark.parametrize("strategy", ["server-wins", "client-wins", "merge", "manual"])
@pytest.mark.parametrize("how", ["push", "pull"])
@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_equal_states_are_no_conflict_and_the_version_is_adopted(
    new_engine: NewEngine,
    server: SyncServer,
    view_of: ViewOf,
    strategy: str,
    how: str,
    operation: OperationName,
) -> None:
    engine = new_engine(server.url, conflict=strategy)
    if operation != "create":
        server.put("notes", dict(BASE))
    engine.pull()
    if operation == "delete":
        engine.delete("notes", "1")
        server.remove("notes", "1")
    else:
        engine.push("notes", {**BASE, "title": "same"}, operation)
        server.put("notes", {**BASE, "title": "same"})
    result = engine.flush() if how == "push" else engine.pull()
    assert (result.conflicts, result.errors) == (0, 0)
    assert engine.queue_length == 0
    assert (list(engine.conflicts()), list(engine.conflicts(resolved=True))) == ([], [])
    engine.pull()
    same_everywhere(engine, server, view_of)
    if operation != "delete":
        engine.push("notes", {"id": "1", "title": "next"}, "update")
        assert engine.flush().conflicts == 0
        version = server.records("notes")["1"]["version"] - 1
        assert based_on(writes(server)[-1]) == str(version)


@pytest.mark.parametrize("how", ["push", "pull"])
@pytest.mark.parametrize("there", [19.9, "19.9", "19.90", "19.900"])
def test_a_decimal_is_equal_to_what_the_server_made_of_it(
    new_engine: NewEngine,
    server: SyncServer,
    view_of: ViewOf,
    tmp_path: Path,
    there: float | str,
    how: str,
) -> None:
    engine = new_engine(server.url, conflict="manual", storage=tmp_path / "app.db")
    server.put("notes", {"id": "1", "price": 0, "lines": []})
    engine.pull()
    lines = [{"net": Decimal("1.00")}]
    engine.push("notes", {"id": "1", "price": Decimal("19.90")}, "update")
    engine.push("notes", {"id": "1", "lines": lines}, "update")
    engine.close()
    again = new_engine(server.url, conflict="manual", storage=tmp_path / "app.db")
    server.patch("notes", "1", {"price": there, "lines": [{"net": "1"}]})
    result = again.flush() if how == "push" else again.pull()
    assert (result.success, result.conflicts) == (True, 0)
    settle(again)
    assert len(writes(server)) <= 1
    same_everywhere(again, server, view_of)


def test_text_that_looks_like_a_number_is_text(new_engine: NewEngine, server: SyncServer) -> None:
    engine = new_engine(server.url, conflict="manual")
    server.put("notes", {"id": "1", "release": "1.0"})
    engine.pull()
    engine.push("notes", {"id": "1", "release": "1.10"}, "update")
    server.patch("notes", "1", {"release": "1.1"})
    assert engine.pull().conflicts == 1


def test_one_instant_in_two_notations_is_equal(new_engine: NewEngine, server: SyncServer) -> None:
    engine = new_engine(server.url, conflict="manual")
    server.put("notes", {"id": "1", "due": None})
    engine.pull()
    due = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    engine.push("notes", {"id": "1", "due": due}, "update")
    server.patch("notes", "1", {"due": "2026-01-01T10:00:00.000Z"})
    assert engine.pull().conflicts == 0
    assert engine.queue_length == 0


def test_a_difference_in_the_servers_own_fields_is_no_conflict(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    dialect = Dialect(server_fields=("views",))
    engine = new_engine(server.url, dialect=dialect, conflict="manual")
    server.put("notes", {**BASE, "views": 1})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.patch("notes", "1", {"views": 2})
    assert engine.pull().conflicts == 0
    assert engine.full_sync().success
    assert plain(server.records("notes")["1"]) == {**BASE, "title": "mine", "views": 2}
    same_everywhere(engine, server, view_of)


# frozen operations


@pytest.mark.parametrize("strategy", ["server-wins", "client-wins", "last-write-wins", "merge"])
def test_while_a_change_may_have_arrived_pulled_state_is_kept_beside_and_is_no_conflict_after(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, strategy: str
) -> None:
    """The change had arrived, and the other's edit came after it."""
    engine = new_engine(server.url, conflict=strategy)
    begin(engine, server, EDIT_EDIT)
    EDIT_EDIT.local(engine)
    mine = engine.get("notes", "1")
    server.script(DropAnswer(), match="PATCH")
    engine.flush()
    server.patch("notes", "1", THEIRS)
    result = engine.pull()
    assert (result.pulled, result.conflicts) == (0, 0)
    assert engine.get("notes", "1") == mine
    assert engine.queue_length == 1
    assert engine.full_sync().conflicts == 0
    settle(engine)
    assert plain(server.records("notes")["1"]) == {**BASE, **MINE, **THEIRS}
    same_everywhere(engine, server, view_of)


@pytest.mark.parametrize("strategy", ["server-wins", "client-wins", "merge"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_pulled_state_kept_beside_is_decided_when_the_outcome_is_known(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, strategy: str, kind: Kind
) -> None:
    """The change had not arrived: its retry is refused, and the strategy decides."""
    engine = new_engine(server.url, conflict=strategy)
    begin(engine, server, kind)
    kind.local(engine)
    mine = engine.get("notes", "1")
    server.script(Drop(), match=lambda seen: seen.method != "GET")
    engine.flush()
    kind.remote(server, time.time() - 60)
    result = engine.pull()
    assert (result.pulled, result.conflicts) == (0, 0), "not decided while it may have arrived"
    assert engine.get("notes", "1") == mine
    assert engine.full_sync().conflicts == 1
    settle(engine)
    name = f"{strategy}, mine is later" if strategy == "merge" else strategy
    assert plain(server.records("notes").get("1")) == kind.outcomes[name]
    same_everywhere(engine, server, view_of)
    assert len(list(engine.conflicts(resolved=True))) == 1


@pytest.mark.parametrize("status", [401, 422, 429, 500])
@pytest.mark.parametrize("strategy", ["server-wins", "client-wins"])
def test_what_was_pulled_while_a_change_was_on_its_way_is_decided_with_its_answer(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, strategy: str, status: int
) -> None:
    engine = new_engine(server.url, conflict=strategy)
    begin(engine, server, EDIT_EDIT)
    EDIT_EDIT.local(engine)
    pulled: list[Any] = []

    def overtake(seen: Seen) -> Reply | None:
        if seen.method == "PATCH" and not pulled:
            server.patch("notes", "1", THEIRS)
            pulled.append(engine.pull())
            return Reply(status, {"error": "not now"})
        return None

    server.reject = overtake
    first = engine.flush()
    assert (pulled[0].success, pulled[0].pulled, pulled[0].conflicts) == (True, 0, 0)
    if status == 422:
        assert first.conflicts == 1
        assert len(list(engine.failed())) == (strategy == "client-wins"), "it still needs a person"
        engine.reprocess_failed()
    elif status != 500:
        assert first.conflicts >= 1, "it was not processed: decided at once"
    settle(engine)
    outcome = EDIT_EDIT.outcomes[strategy]
    assert plain(server.records("notes")["1"]) == outcome
    same_everywhere(engine, server, view_of)
    assert len(list(engine.conflicts(resolved=True))) == 1


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
@pytest.mark.parametrize("strategy", ["server-wins", "merge", "manual"])
def test_our_own_lost_change_is_known_again_by_its_fields_and_is_no_conflict(
    new_engine: NewEngine, view_of: ViewOf, strategy: str, operation: OperationName
) -> None:
    """A server without idempotency keys refuses the retry; what it has is what was sent."""
    with SyncServer(idempotency=False) as server:
        engine = new_engine(server.url, conflict=strategy)
        if operation != "create":
            server.put("notes", dict(BASE))
            engine.pull()
        data = {"id": "1"} if operation == "delete" else {"id": "1", **MINE}
        engine.push("notes", data, operation)
        server.script(DropAnswer(), match=lambda seen: seen.method != "GET")
        engine.flush()
        if operation != "delete":
            server.patch("notes", "1", {"done": "theirs"})
        result = engine.flush()
        assert (result.success, result.pushed, result.conflicts) == (True, 1, 0)
        settle(engine)
        same_everywhere(engine, server, view_of)
        assert list(engine.conflicts(resolved=True)) == []
        engine.close()


# whose write was last


@pytest.mark.parametrize("how", ["push", "pull"])
@pytest.mark.parametrize("ahead", [HOUR_S, -HOUR_S], ids=["server ahead", "server behind"])
@pytest.mark.parametrize("mine_is_later", [True, False])
@pytest.mark.parametrize("strategy", ["last-write-wins", "merge"])
def test_times_are_compared_by_the_servers_clock(
    new_engine: NewEngine, strategy: str, mine_is_later: bool, ahead: float, how: str
) -> None:
    with SyncServer(clock=lambda: time.time() + ahead) as server:
        engine = new_engine(server.url, conflict=strategy)
        server.put("notes", {"id": "1", "title": "base"}, at=time.time() + ahead - 900)
        engine.pull()
        engine.push("notes", {"id": "1", "title": "mine"}, "update")
        moment = time.time() + ahead + (-60 if mine_is_later else 60)
        server.patch("notes", "1", {"title": "theirs"}, at=moment)
        result = engine.flush() if how == "push" else engine.pull()
        assert result.conflicts == 1
        settle(engine)
        expected = "mine" if mine_is_later else "theirs"
        assert server.records("notes")["1"]["title"] == expected
        engine.close()


class SetClock(SystemClock):
    """A device's clock that is wrong until somebody sets it."""

    def __init__(self, off_s: float = 0.0) -> None:
        self.off_s = off_s

    def wall(self) -> float:
        return super().wall() + self.off_s


DECADES_S = 50 * 365 * 24 * HOUR_S


@pytest.mark.parametrize("strategy", ["last-write-wins", "merge"])
@pytest.mark.parametrize("off_s", [-DECADES_S, DECADES_S, -HOUR_S, HOUR_S])
@pytest.mark.parametrize("mine_is_later", [True, False])
@pytest.mark.parametrize("restart", [True, False])
def test_a_push_under_a_wrong_clock_counts_by_the_clock_that_was_set_since(
    new_engine: NewEngine,
    server: SyncServer,
    tmp_path: Path,
    strategy: str,
    off_s: float,
    mine_is_later: bool,
    restart: bool,
) -> None:
    options = {"conflict": strategy, "storage": tmp_path / "app.db"}
    clock = SetClock(off_s)
    engine = new_engine(server.url, clock=clock, **options)
    server.put("notes", {"id": "1", "title": "base"}, at=time.time() - 900)
    engine.pull()
    engine.push("notes", {"id": "1", "title": "older"}, "update")
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    clock.off_s = 0.0
    if restart:
        engine.close()
        engine = new_engine(server.url, **options)
    moment = time.time() + (-60 if mine_is_later else 60)
    server.patch("notes", "1", {"title": "theirs"}, at=moment)
    assert engine.pull().conflicts == 1
    settle(engine)
    assert server.records("notes")["1"]["title"] == ("mine" if mine_is_later else "theirs")


@pytest.mark.parametrize("strategy", ["last-write-wins", "merge"])
def test_after_a_reboot_a_push_in_the_future_goes_to_the_server(
    new_engine: NewEngine,
    server: SyncServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
) -> None:
    options = {"conflict": strategy, "storage": tmp_path / "app.db"}
    engine = new_engine(server.url, clock=SetClock(DECADES_S), **options)
    server.put("notes", {"id": "1", "title": "base"}, at=time.time() - 900)
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    engine.close()
    monkeypatch.setattr(conflict_sides, "BOOT", -1)
    engine = new_engine(server.url, **options)
    server.patch("notes", "1", {"title": "theirs"}, at=time.time() - 60)
    settle(engine)
    assert server.records("notes")["1"]["title"] == "theirs"


@pytest.mark.parametrize("how", ["push", "pull"])
@pytest.mark.parametrize("strategy", ["last-write-wins", "merge"])
def test_a_tie_goes_to_the_server(
    new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch, strategy: str, how: str
) -> None:
    moment = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: moment)
    with SyncServer(clock=lambda: moment) as server:
        engine = new_engine(server.url, conflict=strategy)
        server.put("notes", {"id": "1", "title": "base"}, at=moment - 60)
        engine.pull()
        engine.push("notes", {"id": "1", "title": "mine"}, "update")
        server.patch("notes", "1", {"title": "theirs"}, at=moment)
        (engine.flush if how == "push" else engine.pull)()
        settle(engine)
        assert server.records("notes")["1"]["title"] == "theirs"
        engine.close()


@pytest.mark.parametrize("strategy", ["last-write-wins", "merge"])
@pytest.mark.parametrize("changed", [None, "yesterday", True, [], "missing"])
def test_a_missing_time_goes_to_the_server(
    new_engine: NewEngine, server: SyncServer, strategy: str, changed: str | bool | list[Any] | None
) -> None:
    engine = new_engine(server.url, conflict=strategy, dialect=Dialect(updated_at=("changed",)))
    server.put("notes", {"id": "1", "title": "base"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    more = {} if changed == "missing" else {"changed": changed}
    server.patch("notes", "1", {"title": "theirs", **more})
    engine.pull()
    settle(engine)
    assert server.records("notes")["1"]["title"] == "theirs"


@pytest.mark.parametrize("field", ["updatedAt", "updated_at", "changed"])
@pytest.mark.parametrize("shape", ["seconds", "milliseconds", "iso", "iso with an offset"])
@pytest.mark.parametrize("later", ["mine", "theirs"])
def test_a_time_may_have_several_shapes(
    new_engine: NewEngine,
    scripted: type[Scripted],
    page: NewPage,
    field: str,
    shape: str,
    later: str,
) -> None:
    moment = datetime.fromtimestamp(
        time.time() + (HOUR_S if later == "theirs" else -HOUR_S), timezone.utc
    )
    shown = {
        "seconds": int(moment.timestamp()),
        "milliseconds": int(moment.timestamp() * 1000),
        "iso": moment.isoformat().replace("+00:00", "Z"),
        "iso with an offset": moment.astimezone(timezone(timedelta(hours=-5))).isoformat(),
    }[shape]
    wire = scripted(
        page({"id": "1", "title": "base"}),
        page({"id": "1", "title": "theirs", field: shown}, cursor="c2"),
    )
    dialect = Dialect() if field != "changed" else Dialect(updated_at=("changed",))
    engine = new_engine(transport=wire, dialect=dialect, conflict="last-write-wins")
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    engine.pull()
    assert present(engine.get("notes", "1"))["title"] == later
    (settled,) = engine.conflicts(resolved=True)
    assert present(settled.remote_time).timestamp() == pytest.approx(moment.timestamp(), abs=1)


# a resolution that meets a newer conflict


def move_on(server: SyncServer, times: int) -> list[int]:
    """Before each of the next updates arrives, somebody else changes the record again."""
    left = [times]

    def change(seen: Seen) -> None:
        if seen.method == "PATCH" and left[0]:
            left[0] -= 1
            server.patch("notes", "1", {"theirs": left[0]}, at=time.time() - 60)

    server.reject = change
    return left


@pytest.mark.parametrize("strategy", ["client-wins", "last-write-wins", "merge"])
def test_a_resolution_that_meets_a_newer_conflict_is_resolved_again(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, strategy: str
) -> None:
    engine = new_engine(server.url, conflict=strategy)
    begin(engine, server, EDIT_EDIT)
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    move_on(server, 4)
    result = engine.flush()
    assert (result.success, result.conflicts) == (True, 4)
    settle(engine)
    assert plain(server.records("notes")["1"]) == {**BASE, "title": "mine", "theirs": 0}
    same_everywhere(engine, server, view_of)


@pytest.mark.parametrize("strategy", ["client-wins", "last-write-wins", "merge"])
def test_after_five_times_it_is_parked_and_can_be_settled_by_hand(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, strategy: str
) -> None:
    engine = new_engine(server.url, conflict=strategy)
    begin(engine, server, EDIT_EDIT)
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    engine.push("notes", {"id": "2"})
    move_on(server, 1000)
    result = engine.flush()
    assert not result.success
    assert result.pushed == 1, "it blocks only its own record"
    resolved = len(list(engine.conflicts(resolved=True)))
    assert resolved == 5, resolved
    assert result.conflicts == resolved + 1
    (parked,) = engine.conflicts()
    assert engine.queue_length == 0
    assert present(engine.get("notes", "1"))["title"] == "mine"
    server.reject = None
    with pytest.raises(InvalidDataError, match='or settle the conflict by "local" or "remote"'):
        engine.resolve(parked, None)  # type: ignore[arg-type]  # wrong on purpose
    sent = engine.resolve(parked, "local")
    assert sent is not None
    settle(engine)
    assert server.records("notes")["1"]["title"] == "mine"
    same_everywhere(engine, server, view_of)


# what was queued behind the operation that met the conflict


def edits_behind(engine: SyncEngine, server: SyncServer, *edits: Json) -> list[SyncItem]:
    """An edit of the title is being sent while these are pushed, and is refused."""
    server.put("notes", dict(BASE))
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    pushed: list[Any] = []

    def refuse(seen: Seen) -> None:
        if seen.method == "PATCH" and not pushed:
            server.patch("notes", "1", THEIRS, at=time.time() + HOUR_S)
            pushed.extend(engine.push("notes", {"id": "1", **edit}, "update") for edit in edits)

    server.reject = refuse
    engine.flush()
    return pushed


@pytest.mark.parametrize("strategy", ["server-wins", "last-write-wins"])
def test_an_unrelated_edit_behind_a_conflict_survives_it(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, strategy: str
) -> None:
    engine = new_engine(server.url, conflict=strategy)
    edits_behind(engine, server, {"body": "later", "done": "later"})
    settle(engine)
    assert plain(server.records("notes")["1"]) == {**BASE, **THEIRS, "body": "later"}
    same_everywhere(engine, server, view_of)
    (settled,) = engine.conflicts(resolved=True)
    assert (settled.resolution, settled.fields) == ("remote", ("title", "done"))
    assert plain(settled.local) == {**BASE, "title": "mine", "body": "later", "done": "later"}


def test_an_unrelated_edit_behind_a_conflict_keeps_its_key(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url)
    (behind,) = edits_behind(engine, server, {"body": "later"})
    settle(engine)
    last = writes(server)[-1]
    assert last.headers["idempotency-key"] == behind.id
    assert based_on(last) == "2"
    assert str(engine.wait(behind, timeout=5)) == "delivered"


def test_an_edit_behind_a_conflict_with_nothing_left_is_not_sent(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine = new_engine(server.url)
    edits_behind(engine, server, {"done": "later"})
    settle(engine)
    assert len(writes(server)) == 1
    same_everywhere(engine, server, view_of)


def test_a_record_created_again_behind_a_delete_is_no_conflict_if_it_is_deleted_there(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    engine = new_engine(server.url)
    server.put("notes", dict(BASE))
    engine.pull()
    engine.delete("notes", "1")
    engine.push("notes", {"id": "1", "title": "anew"})
    server.remove("notes", "1")
    assert engine.pull().conflicts == 0
    settle(engine)
    assert plain(server.records("notes")["1"]) == {"id": "1", "title": "anew"}
    same_everywhere(engine, server, view_of)


@pytest.mark.parametrize("how", ["push", "pull"])
def test_a_create_that_became_an_update_is_a_create_again_where_the_record_is_gone(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf, how: str
) -> None:
    engine = new_engine(server.url)
    server.put("notes", dict(BASE))
    engine.pull()
    item = engine.push("notes", {"id": "1", "title": "anew"})
    assert str(item.operation) == "update"
    server.remove("notes", "1")
    result = engine.flush() if how == "push" else engine.pull()
    assert result.conflicts == 0
    settle(engine)
    assert plain(server.records("notes")["1"]) == {"id": "1", "title": "anew"}
    same_everywhere(engine, server, view_of)


# what a resolution sends


def test_a_resolution_sends_a_field_of_the_users_that_is_called_updated_at(
    new_engine: NewEngine, server: SyncServer
) -> None:
    engine = new_engine(server.url, conflict="client-wins")
    server.put("notes", dict(BASE))
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine", "updated_at": "noon"}, "update")
    server.patch("notes", "1", {"title": "theirs"})
    settle(engine)
    assert writes(server)[-1].body == {"id": "1", "title": "mine", "updated_at": "noon"}


def test_a_resolution_sends_no_field_of_the_servers(
    new_engine: NewEngine, server: SyncServer
) -> None:
    dialect = Dialect(server_fields=("views",))
    engine = new_engine(server.url, conflict="client-wins", dialect=dialect)
    server.put("notes", {**BASE, "views": 1})
    engine.pull()
    record = present(engine.get("notes", "1"))
    engine.push("notes", {**record, "title": "mine"}, "update")
    server.remove("notes", "1")
    settle(engine)
    assert writes(server)[-1].body == {**BASE, "title": "mine"}


@pytest.mark.parametrize("strategy", ["client-wins", "merge", "manual"])
def test_where_the_server_gives_the_ids_a_re_creation_sends_none(
    new_engine: NewEngine, view_of: ViewOf, strategy: str
) -> None:
    with SyncServer(id_source="server") as server:
        notes = EntityConfig("/notes", id_source="server")
        engine = new_engine(
            server.url,
            entities={"notes": notes},
            conflict=strategy,
            on_conflict=(lambda conflict: "local") if strategy == "manual" else None,
        )
        item = engine.push("notes", {"title": "base"})
        engine.flush()
        engine.push("notes", {"id": 1, "title": "mine"}, "update")
        server.remove("notes", "1")
        engine.push("notes", {"id": 1, "body": "mine"}, "update")
        for _ in range(5):
            engine.full_sync()
        settle(engine)
        assert writes(server)[-1].body == {"title": "mine", "body": "mine"}
        same_everywhere(engine, server, view_of)
        ((key, record),) = server.records("notes").items()
        assert key != "1"
        for name in (item.record_id, "1", key):
            assert engine.get("notes", name) == record, "every id names the record for ever after"
        engine.push("notes", {"id": "1", "title": "last"}, "update")
        engine.push("notes", {"id": item.record_id, "done": True}, "update")
        settle(engine)
        assert server.records("notes")[key]["title"] == "last"
        assert server.records("notes")[key]["done"] is True
        engine.close()


# merge


def merging(
    new_engine: NewEngine,
    url: str,
    asked: list[Any],
    answer: str | Json | Callable[..., Json | int | None] | None,
    **settings: Any,
) -> SyncEngine:
    def decide(conflict: Conflict) -> Any:
        asked.append(conflict.fields)
        return answer(conflict) if callable(answer) else answer

    return new_engine(url, conflict="merge", on_conflict=decide, **settings)


def test_merge_asks_no_callback_where_each_side_changed_its_own(
    new_engine: NewEngine, server: SyncServer, view_of: ViewOf
) -> None:
    asked: list[Any] = []
    engine = merging(new_engine, server.url, asked, "remote")
    begin(engine, server, EDIT_EDIT)
    engine.push("notes", {"id": "1", "body": "mine"}, "update")
    server.patch("notes", "1", {"done": "theirs"})
    settle(engine)
    engine.push("notes", {"id": "1", "body": "beats a delete"}, "update")
    server.remove("notes", "1")
    settle(engine)
    assert asked == []
    assert plain(server.records("notes")["1"]) == {
        **BASE,
        "body": "beats a delete",
        "done": "theirs",
    }
    same_everywhere(engine, server, view_of)


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("local", "mine"),
        ("remote", "theirs"),
        ({"title": "both"}, "both"),
        (lambda conflict: {**conflict.remote, "title": "both"}, "both"),
        (lambda conflict: {**conflict.local, "title": "both"}, "both"),
    ],
    ids=["local", "remote", "the field", "on top of remote", "on top of local"],
)
def test_merge_asks_a_callback_for_what_both_sides_changed(
    new_engine: NewEngine,
    server: SyncServer,
    view_of: ViewOf,
    eventually: Eventually,
    answer: str | Json | Callable[..., Json | int | None],
    title: str,
) -> None:
    asked: list[Any] = []
    engine = merging(new_engine, server.url, asked, answer)
    begin(engine, server, EDIT_EDIT)
    EDIT_EDIT.local(engine)
    server.patch("notes", "1", THEIRS)
    assert engine.pull().conflicts == 1
    eventually(lambda: engine.full_sync().success)
    settle(engine)
    assert asked == [("title",)]
    assert plain(server.records("notes")["1"]) == {**BOTH, "title": title}
    same_everywhere(engine, server, view_of)


def test_merge_parks_what_its_callback_does_not_decide(
    new_engine: NewEngine, server: SyncServer, eventually: Eventually
) -> None:
    engine = merging(new_engine, server.url, [], None)
    begin(engine, server, EDIT_EDIT)
    EDIT_EDIT.local(engine)
    server.patch("notes", "1", THEIRS)
    engine.pull()
    (parked,) = eventually(lambda: list(engine.conflicts()))
    eventually(lambda: engine.status.conflicts)
    engine.resolve(parked, "local")
    settle(engine)
    assert plain(server.records("notes")["1"]) == BOTH


def test_under_merge_patch_the_fields_are_leaves_of_nested_objects(
    new_engine: NewEngine, scripted: type[Scripted], page: NewPage
) -> None:
    base = {"id": "1", "at": {"x": 0, "y": 0, "z": 0}, "updatedAt": "2020-01-01T00:00:00Z"}
    theirs = {**base, "at": {"x": 2, "y": 2, "z": 0}, "updatedAt": "2020-01-02T00:00:00Z"}
    wire = scripted(page(base), page(theirs, cursor="c2"))
    engine = new_engine(transport=wire, conflict="merge", dialect=Dialect(patch="merge-patch"))
    engine.pull()
    engine.push("notes", {"id": "1", "at": {"x": 1, "z": 1}}, "update")
    assert engine.pull().conflicts == 1
    (settled,) = engine.conflicts(resolved=True)
    assert settled.fields == ("at.x",)
    assert present(engine.get("notes", "1"))["at"] == {"x": 1, "y": 2, "z": 1}
    (item,) = engine.queue()
    assert item.data["at"] == {"x": 1, "z": 1}
