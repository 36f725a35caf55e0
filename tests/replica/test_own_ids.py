"""Ids that were given here to new records, and that the server gives to others later."""

from collections.abc import Iterator

import pytest

from bytelyst_sync import EntityConfig, SyncEngine
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Reply, SyncServer
from tests.typed import NewEngine, present

ENTITIES = {
    "notes": EntityConfig("/notes", id_source="server"),
    "lines": EntityConfig("/lines", id_source="server", references={"note": "notes"}),
}


@pytest.fixture
def server() -> Iterator[SyncServer]:
    with SyncServer(id_source="server") as server:
        yield server


@pytest.fixture
def engine(server: SyncServer, new_engine: NewEngine) -> SyncEngine:
    return new_engine(server.url, entities=ENTITIES)


def titles(server: SyncServer) -> Json:
    return {key: record["title"] for key, record in server.records("notes").items()}


@pytest.fixture
def both(server: SyncServer, engine: SyncEngine) -> SyncEngine:
    """A record that was called 2 here and is 1 at the server, and the server's own 2."""
    engine.push("notes", {"id": 2, "title": "mine"})
    assert engine.flush(timeout=10).success
    assert present(engine.get("notes", "2"))["title"] == "mine"
    server.put("notes", {"id": "2", "title": "theirs"})
    result = engine.pull(timeout=10)
    assert "'2' was given here to a new record" in str(result.problems)
    return engine


def test_an_id_names_the_servers_own_record_once_there_is_one(
    both: SyncEngine, server: SyncServer
) -> None:
    assert present(both.get("notes", "2"))["title"] == "theirs"
    for record in both.records("notes"):
        both.update("notes", record["id"], {"title": record["title"] + "!"})
    assert both.flush(timeout=10).success
    assert titles(server) == {"1": "mine!", "2": "theirs!"}
    both.delete("notes", "2")
    assert both.flush(timeout=10).success
    assert titles(server) == {"1": "mine!"}


def test_references_go_to_the_servers_own_record(both: SyncEngine, server: SyncServer) -> None:
    both.push("lines", {"note": "2", "n": 1})
    assert both.flush(timeout=10).success
    assert [line["note"] for line in server.records("lines").values()] == ["2"]
    assert [line["n"] for line in both.records("lines", {"note": "2"})] == [1]
    assert list(both.records("lines", {"note": "1"})) == []


def test_a_local_id_goes_on_naming_its_record(server: SyncServer, engine: SyncEngine) -> None:
    item = engine.push("notes", {"title": "mine"})
    assert engine.flush(timeout=10).success
    server.put("notes", {"id": "2", "title": "theirs"})
    assert not engine.pull(timeout=10).problems
    assert present(engine.get("notes", item.record_id))["title"] == "mine"


def test_a_record_that_was_adopted_gives_its_former_id_to_the_servers_own(
    new_engine: NewEngine,
) -> None:
    with SyncServer() as server:
        ann = server.put("users", {"id": "3", "email": "a@x", "name": "Ann"})
        server.script(Reply(409, ann), match="POST")
        engine = new_engine(
            server.url, entities={"users": EntityConfig("/users", conflict="merge")}
        )
        engine.push("users", {"id": "7", "email": "a@x", "name": "Anna"})
        assert engine.flush(timeout=10).conflicts == 1
        assert engine.full_sync(timeout=10).success
        server.put("users", {"id": "7", "email": "b@x", "name": "Bob"})
        engine.pull(timeout=10)
        assert present(engine.get("users", "7"))["name"] == "Bob"
        engine.update("users", "7", {"name": "Bobby"})
        assert engine.flush(timeout=10).success
        names = {key: record["name"] for key, record in server.records("users").items()}
        assert names == {"3": "Anna", "7": "Bobby"}


def test_a_tombstone_takes_no_id_and_the_record_that_comes_back_does(
    server: SyncServer, engine: SyncEngine
) -> None:
    engine.pull(timeout=10)
    engine.push("notes", {"id": 2, "title": "mine"})
    assert engine.flush(timeout=10).success
    server.put("notes", {"id": "2", "title": "theirs"})
    server.remove("notes", "2")
    engine.pull(timeout=10)
    assert present(engine.get("notes", "2"))["title"] == "mine"
    server.put("notes", {"id": "2", "title": "theirs again"})
    engine.pull(timeout=10)
    assert present(engine.get("notes", "2"))["title"] == "theirs again"
    assert sorted(record["title"] for record in engine.records("notes")) == ["mine", "theirs again"]
