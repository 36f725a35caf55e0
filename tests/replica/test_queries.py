"""Queries of the local view: filters, orders, limits, counts and states."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bytelyst_sync import (
    EntityConfig,
    InvalidDataError,
    OfflineError,
    RecordView,
    SyncEngine,
    UnknownEntityError,
    ViewState,
)
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.testing import ManualClock, Reply, SyncServer
from bytelyst_sync.testing.store import Rules, Store
from tests.conftest import Scripted, Wire
from tests.typed import NewEngine, present


@pytest.fixture
def offline(new_engine: NewEngine, scripted: type[Scripted]) -> SyncEngine:
    """An engine whose network is never there."""
    return new_engine(transport=scripted(OfflineError("no network")))


def ids(records: Iterator[Any]) -> list[str]:
    return [str(record["id"]) for record in records]


@pytest.fixture
def notes(offline: SyncEngine) -> SyncEngine:
    rows = [{"id": f"{n:03}", "n": n % 10, "even": n % 2 == 0} for n in range(1200)]
    offline.push_many("notes", rows)
    return offline


def test_a_limit_takes_the_first_in_the_order_of_the_ids(notes: SyncEngine) -> None:
    assert ids(notes.records("notes", limit=2)) == ["000", "001"]
    assert ids(notes.records("notes", {"n": 9}, limit=2)) == ["009", "019"]
    assert ids(notes.records("notes", limit=0)) == []
    for more in (1201, 10**30):
        assert len(list(notes.records("notes", limit=more))) == 1200


def test_an_order_with_and_without_a_limit(notes: SyncEngine) -> None:
    assert ids(notes.records("notes", order_by="-n", limit=3)) == ["009", "019", "029"]
    assert ids(notes.records("notes", {"n__lt": 2}, ["-n", "-id"], 2)) == ["991", "981"]
    everything = ids(notes.records("notes", order_by="n"))
    assert everything == sorted(everything, key=lambda each: (int(each) % 10, each))


def test_a_function_decides(notes: SyncEngine) -> None:
    found = notes.records("notes", lambda record: record["n"] == 3 and not record["even"])
    assert len(list(found)) == 120


def test_counts(notes: SyncEngine) -> None:
    assert notes.count("notes") == 1200
    assert notes.count("notes", {"even": True}) == 600
    assert notes.count("notes", {"n__gte": 8, "even": True}) == 120
    assert notes.count("notes", lambda record: record["id"] == "007") == 1
    notes.delete("notes", "007")
    assert notes.count("notes") == 1199


def test_a_count_is_of_the_view(engine: SyncEngine, server: SyncServer) -> None:
    for number in "123":
        server.put("notes", {"id": number})
    engine.pull()
    with server.outage():
        engine.push("notes", {"id": "4"})
        engine.delete("notes", "1")
        engine.push("notes", {"id": "2", "n": 1}, "update")
        assert engine.count("notes") == 3 == len(list(engine.records("notes")))


def test_ids_compare_as_ids_whatever_their_type(engine: SyncEngine, server: SyncServer) -> None:
    server.put("notes", {"id": 7, "n": 1})
    engine.pull()
    for key in (7, "7"):
        assert engine.count("notes", {"id": key}) == 1
    engine.push("notes", {"id": "7", "n": 2}, "update")
    assert list(engine.records("notes", {"id": "7"})) == [{**server.records("notes")["7"], "n": 2}]
    assert present(engine.get("notes", "7"))["id"] == 7


def test_each_state_of_a_record(engine: SyncEngine, server: SyncServer) -> None:
    server.put("notes", {"id": "synced"})
    server.put("notes", {"id": "deleted"})
    engine.pull()
    server.script(Reply(422, {"error": "no"}), match="POST")
    engine.push("notes", {"id": "failed"})
    engine.flush()
    engine.pause()
    engine.push("notes", {"id": "pending"})
    engine.delete("notes", "deleted")
    views = list(engine.record_views("notes"))
    assert all(isinstance(each, RecordView) for each in views)
    states = {each.data["id"]: each.state for each in views}
    assert states == {
        "failed": ViewState.FAILED,
        "pending": ViewState.PENDING,
        "synced": ViewState.SYNCED,
    }
    assert [each.data["id"] for each in engine.record_views("notes", limit=1)] == ["failed"]


def test_the_state_of_a_record_in_conflict(new_engine: NewEngine, server: SyncServer) -> None:
    engine = new_engine(server.url, conflict="manual")
    server.put("notes", {"id": "1", "n": 0})
    engine.pull()
    server.put("notes", {"id": "1", "n": 1})
    engine.push("notes", {"id": "1", "n": 2}, "update")
    engine.flush()
    assert [each.state for each in engine.record_views("notes")] == ["conflict"]


def test_a_wrong_query_is_refused_before_the_first_record(offline: SyncEngine) -> None:
    with pytest.raises(InvalidDataError, match="names no operator"):
        offline.records("notes", {"n__near": 1})
    with pytest.raises(InvalidDataError, match="order_by"):
        offline.record_views("notes", order_by=1)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InvalidDataError, match="where is a set"):
        offline.count("notes", {"n"})  # type: ignore[arg-type]  # wrong on purpose
    for limit in (-1, 1.5, True, "1"):
        with pytest.raises(InvalidDataError, match="limit"):
            offline.records("notes", limit=limit)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(UnknownEntityError):
        offline.count("nothing")


def test_a_record_that_cannot_be_compared_is_an_error_not_left_out(offline: SyncEngine) -> None:
    offline.push_many("notes", [{"id": "1", "n": 1}, {"id": "2", "n": "many"}])
    with pytest.raises(InvalidDataError, match="n__gt compares with a number"):
        list(offline.records("notes", {"n__gt": 0}))
    with pytest.raises(InvalidDataError, match="n__gt"):
        offline.count("notes", {"n__gt": 0})


def test_a_filter_by_a_local_id_follows_the_servers(
    new_engine: NewEngine, new_wire: type[Wire]
) -> None:
    engine = new_engine(
        transport=new_wire(Store(Rules(id_source="server"))),
        entities={
            "lists": EntityConfig("/lists", id_source="server"),
            "items": EntityConfig("/items", id_source="server", references={"list": "lists"}),
        },
    )
    local = engine.push("lists", {"name": "shopping"}).record_id
    engine.push("items", {"name": "milk", "list": local})
    for _ in range(2):
        assert engine.count("items", {"list": local}) == 1
        assert engine.count("lists", {"id": local}) == 1
        assert engine.count("items", {"list__in": [local, "x"]}) == 1
        engine.flush()


def test_without_a_local_copy_there_are_no_records(new_engine: NewEngine, wire: Wire) -> None:
    engine = new_engine(transport=wire, entities={"events": EntityConfig("/events", replica=False)})
    engine.push("events", {"id": "1"})
    assert list(engine.records("events")) == []
    assert engine.count("events") == 0


def test_a_short_listing_reads_no_more_than_it_returns(notes: SyncEngine) -> None:
    read: list[Any] = []
    storage = notes._core.running().storage
    inner = storage.read

    def keep(work: Callable[[Reader], Any]) -> Any:
        read.append(inner(work))
        return read[-1]

    storage.read = keep  # type: ignore[method-assign]  # replaced by the test
    try:
        assert len(list(notes.records("notes", limit=20))) == 20
    finally:
        del storage.read
    assert [len(page) for page, _ in read] == [20]


def test_a_limit_behind_many_deleted_records_reads_in_whole_pages(notes: SyncEngine) -> None:
    notes.push_many("notes", [{"id": f"{n:03}"} for n in range(1100)], "delete")
    assert ids(notes.records("notes", limit=1)) == ["1100"]
    assert ids(notes.records("notes", lambda record: record["n"] == 9, limit=2)) == ["1109", "1119"]


def test_a_forgotten_local_id_is_an_error_and_a_cancelled_one_is_no_record(
    new_engine: NewEngine, wire: Wire
) -> None:
    clock = ManualClock()
    engine = new_engine(
        transport=wire, entities={"notes": EntityConfig("/notes", id_source="server")}, clock=clock
    )
    item = engine.push("notes", {"title": "x"})
    engine.cancel(item)
    assert engine.get("notes", item.record_id) is None
    clock.advance(31 * 86_400)
    with pytest.raises(InvalidDataError, match="names no record here") as caught:
        engine.get("notes", item.record_id)
    assert caught.value.record_id == item.record_id
    assert engine.get("notes", "local-of-another-form") is None
