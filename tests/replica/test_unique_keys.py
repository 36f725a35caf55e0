"""A create that is refused with 409 and a record under another id: what must be unique is taken."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, SyncEngine, SyncItem
from bytelyst_sync.model import Json
from bytelyst_sync.testing import DropAnswer, Reply, Seen, SyncServer
from tests.typed import Eventually, NewEngine, present

TAKEN = {"id": "77", "email": "ann@example.com", "name": "theirs", "city": "Ulm"}
BROKEN = Reply(500, {"error": "try again"})
MINE = {"email": "Ann@example.com", "name": "mine"}


def plain(record: Json) -> Json:
    return {name: each for name, each in record.items() if name not in ("version", "updatedAt")}


@pytest.fixture(params=["client", "server"])
def people(
    request: pytest.FixtureRequest, new_engine: NewEngine
) -> Iterator[Callable[..., tuple[SyncEngine, SyncServer]]]:
    """An engine on a server where no two people share an e-mail address."""
    source = request.param
    with SyncServer(id_source=source) as server:
        entities = {
            "people": EntityConfig("/people", id_source=source),
            "notes": EntityConfig("/notes", id_source=source, references={"author": "people"}),
        }

        def unique(seen: Seen) -> Reply | None:
            if seen.method != "POST" or not seen.path.startswith("/people"):
                return None
            email = json.loads(seen.content)["email"].lower()
            for record in server.records("people").values():
                if record["email"].lower() == email:
                    return Reply(409, {"error": "e-mail taken", "current": record})
            return None

        server.reject = unique
        made = []

        def make(strategy: str, **settings: Any) -> tuple[SyncEngine, SyncServer]:
            engine = new_engine(server.url, entities=entities, conflict=strategy, **settings)
            made.append(engine)
            return engine, server

        yield make
        for engine in made:
            engine.close()


def settle(engine: SyncEngine) -> None:
    for _ in range(4):
        engine.full_sync()
    result = engine.full_sync()
    assert result.success, result
    assert engine.queue_length == 0


@pytest.mark.parametrize(
    ("strategy", "name"),
    [("server-wins", "theirs"), ("client-wins", "mine"), ("merge", "mine")],
)
def test_the_record_that_is_there_is_adopted(
    people: Callable[..., tuple[SyncEngine, SyncServer]], strategy: str, name: str
) -> None:
    engine, server = people(strategy)
    server.put("people", TAKEN, at=1.0)
    item = engine.push("people", MINE)
    note = engine.push("notes", {"author": item.record_id, "text": "hello"})
    result = engine.flush()
    assert result.conflicts == 1
    settle(engine)
    assert list(server.records("people")) == ["77"]
    person = server.records("people")["77"]
    assert (person["name"], person["city"]) == (name, "Ulm")
    for each in (item.record_id, "77"):
        assert engine.get("people", each) == person
    assert list(engine.records("people")) == [person]
    assert present(engine.get("notes", note.record_id))["author"] in ("77", 77)
    (there,) = server.records("notes").values()
    assert str(there["author"]) == "77", "references follow"
    engine.push("people", {"id": item.record_id, "city": "Bonn"}, "update")
    settle(engine)
    assert server.records("people")["77"]["city"] == "Bonn"
    engine.delete("people", item.record_id)
    settle(engine)
    assert server.records("people") == {}


@pytest.mark.parametrize("answer", ["local", "remote", "merged"])
def test_manual_asks(people: Callable[..., tuple[SyncEngine, SyncServer]], answer: str) -> None:
    engine, server = people("manual")
    server.put("people", TAKEN)
    item = engine.push("people", MINE)
    engine.flush()
    (conflict,) = engine.conflicts()
    assert conflict.record_id == item.record_id
    assert (present(conflict.local)["name"], plain(present(conflict.remote))) == ("mine", TAKEN)
    assert present(engine.get("people", item.record_id))["name"] == "mine"
    server.patch("people", "77", {"city": "Bonn"})
    engine.pull()
    given: Any = {**present(conflict.remote), "name": "both"} if answer == "merged" else answer
    engine.resolve(conflict, given)
    settle(engine)
    name = {"local": "mine", "remote": "theirs", "merged": "both"}[answer]
    person = server.records("people")["77"]
    assert (person["name"], person["city"]) == (name, "Bonn")
    assert engine.get("people", item.record_id) == person
    assert list(engine.conflicts()) == []


def test_a_callback_is_asked_with_the_record_that_is_there(
    people: Callable[..., tuple[SyncEngine, SyncServer]], eventually: Eventually
) -> None:
    engine, server = people("manual", on_conflict=lambda conflict: conflict.remote)
    server.put("people", TAKEN)
    item = engine.push("people", MINE)
    engine.flush()
    eventually(lambda: engine.full_sync().success)
    assert engine.get("people", item.record_id) == server.records("people")["77"]


def test_edits_of_both_records_end_in_one(
    people: Callable[..., tuple[SyncEngine, SyncServer]],
) -> None:
    engine, server = people("merge")
    server.put("people", TAKEN, at=1.0)
    engine.pull()
    item = engine.push("people", MINE)
    engine.push("people", {"id": "77", "phone": "1"}, "update")
    engine.push("people", {"id": item.record_id, "city": "Rome"}, "update")
    settle(engine)
    person = server.records("people")["77"]
    assert (person["phone"], person["city"], person["name"]) == ("1", "Rome", "mine")
    assert list(engine.records("people")) == [person]


def test_a_refusal_with_a_record_of_no_relation_is_a_rejection(
    people: Callable[..., tuple[SyncEngine, SyncServer]],
) -> None:
    engine, server = people("server-wins")
    answer = {"id": "req-1", "error": "not today"}
    server.reject = lambda seen: Reply(409, answer) if seen.method == "POST" else None
    item = engine.push("people", MINE)
    engine.flush()
    assert [each.record_id for each in engine.failed()] == [item.record_id]
    assert present(engine.get("people", item.record_id))["name"] == "mine"


def test_the_name_of_a_record_that_was_adopted_survives_a_restart(
    people: Callable[..., tuple[SyncEngine, SyncServer]], tmp_path: Path
) -> None:
    engine, server = people("server-wins", storage=tmp_path / "app.db")
    server.put("people", TAKEN)
    item = engine.push("people", MINE)
    settle(engine)
    engine.close()
    again, _ = people("server-wins", storage=tmp_path / "app.db")
    again.push("people", {"id": item.record_id, "city": "Bonn"}, "update")
    settle(again)
    assert server.records("people")["77"]["city"] == "Bonn"


def test_an_equal_record_with_an_edit_behind_it_is_adopted_too(
    people: Callable[..., tuple[SyncEngine, SyncServer]],
) -> None:
    engine, server = people("server-wins")
    server.put("people", {**MINE, "email": MINE["email"].lower(), "id": "77"})
    item = engine.push("people", {**MINE, "email": MINE["email"].lower()})
    pushed: list[Any] = []

    refuse = present(server.reject)

    def meanwhile(seen: Seen) -> Reply | None:
        if seen.method == "POST" and not pushed:
            pushed.append(engine.push("people", {"id": item.record_id, "city": "Ulm"}, "update"))
        return refuse(seen)

    server.reject = meanwhile
    assert engine.flush().conflicts == 0
    settle(engine)
    assert server.records("people")["77"]["city"] == "Ulm"
    assert engine.get("people", item.record_id) == server.records("people")["77"]


def settle_late(engine: SyncEngine, server: SyncServer) -> tuple[SyncItem, SyncItem]:
    """The first create of a person is made at the server, and its answer is lost. It is deleted
    here, and another one with the same e-mail is pushed.
    """
    honoured: set[str | None] = set()
    refuse = present(server.reject)

    def reject(seen: Seen) -> Reply | None:
        key = seen.headers.get("idempotency-key")
        if key in honoured:
            return None
        refusal = refuse(seen)
        if refusal is None:
            honoured.add(key)
        return refusal

    server.reject = reject
    server.script(DropAnswer(), BROKEN, match="POST /people")
    first = engine.push("people", MINE)
    engine.flush()
    assert len(server.records("people")) == 1
    assert engine.queue_length == 1
    engine.delete("people", first.record_id)
    second = engine.push("people", {**MINE, "name": "second"})
    settle(engine)
    return first, second


@pytest.mark.parametrize("strategy", ["server-wins", "client-wins", "merge", "manual"])
def test_a_create_is_not_joined_with_a_record_that_an_earlier_one_may_have_made(
    people: Callable[..., tuple[SyncEngine, SyncServer]], strategy: str
) -> None:
    engine, server = people(strategy)
    first, second = settle_late(engine, server)
    (person,) = server.records("people").values()
    assert person["name"] == "second"
    assert engine.get("people", second.record_id) == person
    assert engine.get("people", first.record_id) is None
    assert list(engine.conflicts()) == []
    assert list(engine.failed()) == []


def test_a_create_is_not_joined_with_a_record_that_is_about_to_be_deleted(
    people: Callable[..., tuple[SyncEngine, SyncServer]],
) -> None:
    engine, server = people("merge")
    server.put("people", TAKEN, at=1.0)
    engine.pull()
    engine.delete("people", "77")
    item = engine.push("people", MINE)
    server.script(BROKEN, BROKEN, match="DELETE")
    settle(engine)
    (person,) = server.records("people").values()
    assert plain(person) == {**MINE, "id": person["id"]}
    assert engine.get("people", item.record_id) == person
    assert engine.get("people", "77") is None


def test_a_create_that_waits_says_for_what(
    people: Callable[..., tuple[SyncEngine, SyncServer]], eventually: Eventually
) -> None:
    engine, server = people("merge", retry_delay=600.0, max_retry_delay=600.0)
    server.put("people", TAKEN, at=1.0)
    engine.pull()
    engine.delete("people", "77")
    engine.push("people", MINE)
    server.always(BROKEN, match="DELETE")
    engine.flush(timeout=20)

    def waits_for_another() -> bool:
        (waiting,) = (item for item in engine.queue() if item.operation == "create")
        return "has the same unique value" in (waiting.last_error or "")

    assert eventually(waits_for_another)
