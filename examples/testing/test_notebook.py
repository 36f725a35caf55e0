"""How a program that uses bytelyst_sync is tested: with pytest, and the kit that comes with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from notebook import CONFIG, CountingStorage, Notebook

from bytelyst_sync import Conflict, RecordChange, Storage, SyncEngine, create_sync_engine
from bytelyst_sync.testing import (
    DropAnswer,
    EngineFactory,
    FakeServer,
    ManualClock,
    Reply,
    StorageContract,
    SyncServer,
    capture_events,
    offline,
)

# --- without a network


def test_a_note_is_delivered() -> None:
    """The API is there in ``responses`` only."""
    with (
        FakeServer("https://api.example.com") as api,
        create_sync_engine(
            base_url="https://api.example.com", entities=CONFIG.entities, storage=":memory:"
        ) as engine,
    ):
        note = Notebook(engine).write("buy milk")
        assert Notebook(engine).sync() == "all is delivered"
        assert api.records("notes")[note]["title"] == "buy milk"
        assert [effect.kind for effect in api.journal] == ["create"]


# --- on loopback


@pytest.fixture
def engine(sync_engine: EngineFactory) -> SyncEngine:
    """The program's own settings, on the server of the test and in memory."""
    return sync_engine(CONFIG)


@pytest.fixture
def notebook(engine: SyncEngine) -> Notebook:
    """The program."""
    return Notebook(engine)


def test_what_others_wrote_is_fetched(notebook: Notebook, sync_server: SyncServer) -> None:
    """Somebody else has written to the server."""
    sync_server.put("notes", {"id": "1", "title": "theirs", "done": False})
    assert notebook.sync() == "all is delivered"
    assert notebook.to_do() == ["theirs"]


def test_a_lost_answer_makes_no_second_note(notebook: Notebook, sync_server: SyncServer) -> None:
    """The server has done its work, and the connection broke."""
    sync_server.script(DropAnswer(), match="POST")
    notebook.write("only once")
    assert sync_server.wait_for(lambda: len(sync_server.requests) >= 2)
    assert notebook.sync() == "all is delivered"
    assert len(sync_server.journal) == 1


def test_a_refusal_is_shown(engine: SyncEngine, sync_server: SyncServer) -> None:
    """The server does not take everything."""
    sync_server.reject = lambda seen: Reply(422, {"error": "too long"}) if seen.body else None
    with capture_events(engine) as events:
        Notebook(engine).write("much too long")
        Notebook(engine).sync()
    assert "too long" in str(events.failures[0].last_error)


# --- offline and back


def test_offline_and_back(engine: SyncEngine, sync_server: SyncServer) -> None:
    """Nothing is lost in a tunnel, and the program says where it is."""
    notebook = Notebook(engine)
    with offline(engine):
        notebook.write("in a tunnel")
        assert notebook.to_do() == ["in a tunnel"]
        assert notebook.sync() == "offline, 1 to be delivered"
        assert sync_server.requests == []
    assert notebook.sync() == "all is delivered"
    assert len(sync_server.records("notes")) == 1


def test_an_outage_of_the_server(notebook: Notebook, sync_server: SyncServer) -> None:
    """The same from the other end: nobody listens."""
    with sync_server.outage():
        notebook.write("nobody listens")
        assert notebook.sync() == "offline, 1 to be delivered"
    assert notebook.sync() == "all is delivered"


# --- a conflict


def test_both_sides_changed_a_note(notebook: Notebook, sync_server: SyncServer) -> None:
    """Different fields are merged, as the program's settings say."""
    note = notebook.write("buy milk")
    notebook.sync()
    sync_server.patch("notes", note, {"title": "buy oat milk"})
    notebook.tick_off(note)
    assert notebook.sync() == "all is delivered"
    stored = sync_server.records("notes")[note]
    assert (stored["title"], stored["done"]) == ("buy oat milk", True)


def test_a_person_decides(sync_engine: EngineFactory, sync_server: SyncServer) -> None:
    """With the strategy "manual" the conflict is parked until it is resolved."""
    engine = sync_engine(entities={"notes": "/notes"}, conflict="manual")
    sync_server.put("notes", {"id": "1", "title": "before"})
    engine.pull()
    sync_server.put("notes", {"id": "1", "title": "theirs"})
    engine.push("notes", {"id": "1", "title": "ours"}, "update")
    engine.full_sync(timeout=10)
    conflict: Conflict = next(engine.conflicts())
    assert conflict.fields == ("title",)
    engine.resolve(conflict, "local")
    assert engine.flush(timeout=10).success
    assert sync_server.records("notes")["1"]["title"] == "ours"


# --- time


def test_a_retry_after_a_minute(sync_engine: EngineFactory, sync_server: SyncServer) -> None:
    """A minute passes in no time."""
    clock = ManualClock()
    engine = sync_engine(entities={"notes": "/notes"}, clock=clock)
    sync_server.script(Reply(503, headers={"Retry-After": "60"}), match="POST")
    item = engine.push("notes", {"title": "later"})
    assert item is not None
    assert engine.flush(timeout=10).remaining == 1
    clock.advance(59)
    assert engine.flush(timeout=10).remaining == 1
    clock.advance(1)
    assert engine.wait(item, timeout=10) == "delivered"


def test_a_regular_pull(sync_engine: EngineFactory, sync_server: SyncServer) -> None:
    """What comes by itself is waited for, with a bound."""
    clock = ManualClock()
    engine = sync_engine(entities={"notes": "/notes"}, clock=clock, pull_interval=300)
    sync_server.put("notes", {"id": "1", "title": "theirs"})
    with capture_events(engine) as events:
        engine.start()
        clock.advance(300)
        events.wait_for(lambda event: isinstance(event, RecordChange) and event.record_id == "1")


# --- a store of one's own


class TestCountingStorage(StorageContract):
    """What an engine relies on, tried on a store of one's own."""

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """A new and empty store for each test."""
        storage = CountingStorage()
        yield storage
        storage.close()


def test_a_note_is_one_commit() -> None:
    """What the contract does not know is tested like anything else."""
    storage = CountingStorage()
    with (
        FakeServer() as api,
        create_sync_engine(
            base_url=api.url, entities={"notes": "/notes"}, storage=storage
        ) as engine,
    ):
        engine.pause()
        before = storage.commits
        Notebook(engine).write("one commit")
        assert storage.commits == before + 1
