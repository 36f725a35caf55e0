"""How a mapping to an API of one's own is tested, before the real server and without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bookshelf import DIALECT, ENTITIES, Bookshelf, running

from bytelyst_sync import SyncEngine
from bytelyst_sync.testing import (
    Drop,
    DropAnswer,
    EngineFactory,
    FaultProxy,
    Reply,
    Stall,
    SyncServer,
    Truncate,
)

# --- before the real server


@pytest.fixture
def shelf() -> Bookshelf:
    """The real server's application."""
    return Bookshelf()


@pytest.fixture
def proxy(shelf: Bookshelf, fault_proxy: Callable[..., FaultProxy]) -> Iterator[FaultProxy]:
    """Stands before the server while it runs."""
    with running(shelf) as url:
        yield fault_proxy(url)


@pytest.fixture
def engine(proxy: FaultProxy) -> Iterator[SyncEngine]:
    """The program's mapping, on the proxy instead of the server."""
    with EngineFactory(proxy.url) as make:
        yield make(entities=ENTITIES, dialect=DIALECT)


@pytest.mark.parametrize("fault", [Drop(), DropAnswer(), Truncate(), Stall(0.05), Reply(502)])
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_each_write_arrives_once(
    engine: SyncEngine, proxy: FaultProxy, shelf: Bookshelf, method: str, fault: Reply
) -> None:
    """Whatever happens to one request, the server ends up with what was pushed."""
    proxy.script(fault, match=method)
    created = engine.create("books", {"id": "1", "title": "Momo"})
    assert engine.wait(created, timeout=20) == "delivered"
    updated = engine.update("books", "1", {"title": "Momo, 2nd edition"})
    assert engine.wait(updated, timeout=20) == "delivered"
    assert shelf.books["1"]["title"] == "Momo, 2nd edition"
    deleted = engine.delete("books", "1")
    assert deleted is not None
    assert engine.wait(deleted, timeout=20) == "delivered"
    assert shelf.books["1"]["removed"]
    assert shelf.books["1"]["revision"] == 3
    assert not list(engine.conflicts())


def test_pages_go_on_after_a_cut(engine: SyncEngine, proxy: FaultProxy, shelf: Bookshelf) -> None:
    """The second page breaks off; the next pull has all books."""
    with EngineFactory(proxy.target) as make:
        other = make(entities=ENTITIES, dialect=DIALECT)
        other.push_many("books", [{"id": str(number)} for number in range(5)])
        assert other.flush(timeout=20).success
    proxy.script(None, Truncate(), match="GET /api/books")
    assert not engine.pull(timeout=20).success
    assert engine.pull(timeout=20).success
    assert len(shelf.books) == 5
    assert engine.count("books") == 5


# --- without the real server


@pytest.fixture
def sync_server_settings() -> dict[str, Any]:
    """``sync_server`` speaks as the mapping says."""
    return {"dialect": DIALECT, "entities": ENTITIES}


def test_a_book_that_both_sides_changed(
    sync_engine: EngineFactory, sync_server: SyncServer
) -> None:
    """The mapping finds the version, the conflict and the current book."""
    engine = sync_engine(entities=ENTITIES, dialect=DIALECT, conflict="merge")
    sync_server.put("books", {"id": "1", "title": "Momo", "shelf": 3})
    engine.pull(timeout=20)
    sync_server.patch("books", "1", {"shelf": 4})
    updated = engine.update("books", "1", {"title": "Momo, 2nd edition"})
    assert engine.wait(updated, timeout=20) == "delivered"
    assert [seen.status for seen in sync_server.requests if seen.method == "PATCH"] == [412, 200]
    book = sync_server.records("books")["1"]
    assert (book["title"], book["shelf"]) == ("Momo, 2nd edition", 4)


def test_a_book_that_was_removed(sync_engine: EngineFactory, sync_server: SyncServer) -> None:
    """The mapping finds the mark of a deleted book in the next page."""
    engine = sync_engine(entities=ENTITIES, dialect=DIALECT)
    for number in range(5):
        sync_server.put("books", {"id": str(number)})
    assert engine.pull(timeout=20).success
    sync_server.remove("books", "3")
    assert engine.pull(timeout=20).success
    assert sorted(book["id"] for book in engine.records("books")) == ["0", "1", "2", "4"]
