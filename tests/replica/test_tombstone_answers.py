"""A write whose answer carries a tombstone: the record is deleted at the server."""

import pytest

from bytelyst_sync import Dialect, SyncEngine
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Reply, Seen, SyncServer
from tests.typed import NewEngine

BASE = {"id": "1", "title": "base", "body": "base"}
OUTCOMES = {
    # strategy: the title in the end, None where the record is gone
    "server-wins": None,
    "client-wins": "mine",
    "last-write-wins": None,
    "merge": "mine",
}


def begin(engine: SyncEngine, server: SyncServer) -> None:
    server.put("notes", dict(BASE))
    engine.pull()


def writes(server: SyncServer) -> list[Seen]:
    return [seen for seen in server.requests if seen.method != "GET"]


@pytest.mark.parametrize("status", [200, 409, 412])
@pytest.mark.parametrize("mark", [{"deleted": True}, {"deleted": "2026-01-01T00:00:00Z"}])
@pytest.mark.parametrize(("strategy", "title"), OUTCOMES.items())
def test_an_update_meets_the_deletion(
    new_engine: NewEngine,
    server: SyncServer,
    status: int,
    mark: Json,
    strategy: str,
    title: str | None,
) -> None:
    engine = new_engine(server.url, conflict=strategy)
    begin(engine, server)
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.remove("notes", "1")
    tombstone = {"id": "1", "version": 2, **mark}
    body = tombstone if status == 200 else {"current": tombstone}
    server.script(Reply(status, body), match="PATCH")
    assert engine.flush().conflicts == 1
    (settled,) = engine.settled_conflicts()
    assert settled.remote is None
    for _ in range(3):
        engine.full_sync()
    assert (list(engine.failed()), engine.queue_length) == ([], 0)
    there = server.records("notes").get("1")
    assert engine.get("notes", "1") == there
    assert (there and there["title"]) == title
    assert all("deleted" not in (seen.body or {}) for seen in writes(server))


@pytest.mark.parametrize("status", [409, 412])
def test_a_delete_that_meets_the_deletion_is_delivered(
    new_engine: NewEngine, server: SyncServer, status: int
) -> None:
    engine = new_engine(server.url, conflict="manual")
    begin(engine, server)
    engine.delete("notes", "1")
    tombstone = {"id": "1", "version": 2, "deleted": True}
    server.script(Reply(status, {"current": tombstone}), match="DELETE")
    result = engine.flush()
    assert (result.success, result.pushed, result.conflicts) == (True, 1, 0)
    assert engine.get("notes", "1") is None


@pytest.mark.parametrize("answer", [None, {"id": "1", "title": "base", "archived": "now"}])
def test_an_update_that_sets_the_mark_is_delivered_and_the_record_is_gone(
    new_engine: NewEngine, server: SyncServer, answer: Json | None
) -> None:
    engine = new_engine(server.url, conflict="manual", dialect=Dialect(tombstone="archived"))
    begin(engine, server)
    engine.push("notes", {"id": "1", "archived": "now"}, "update")
    server.script(Reply(200, answer), match="PATCH")
    result = engine.flush()
    assert (result.success, result.pushed, result.conflicts) == (True, 1, 0)
    assert engine.get("notes", "1") is None
