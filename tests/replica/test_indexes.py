"""Indexes of the local view: the same answers as without them, for a part of the rows."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bytelyst_sync import (
    EntityConfig,
    InvalidDataError,
    MemoryStorage,
    OfflineError,
    RecordDeletedError,
    StorageFullError,
    SyncEngine,
)
from bytelyst_sync.model import Json
from bytelyst_sync.state.index_catalog import Catalog, load_catalog, mark_of
from bytelyst_sync.storage import EncryptedStorage, generate_key
from bytelyst_sync.storage.base import Reader, Table
from bytelyst_sync.storage.encrypted_rows import DecryptingReader
from bytelyst_sync.storage.schema import INDEX_ENTRIES, ITEMS, RECORDS, IndexEntry, Item, Record
from bytelyst_sync.testing.store import Rules, Store
from tests.conftest import Scripted, Wire
from tests.typed import NewEngine

FIELDS = ("a", "b.c", "ref", "s")
REFERENCES = {"ref": "lists"}


def entities(indexes: tuple[str, ...], **options: Any) -> dict[str, EntityConfig]:
    return {
        "notes": EntityConfig("/notes", indexes=indexes, references=REFERENCES, **options),
        "lists": EntityConfig("/lists", id_source="server"),
    }


def rows_read(
    engine: SyncEngine, query: Callable[..., Iterator[Any]]
) -> tuple[list[Json], list[str]]:
    """What a query gives, and how many rows of which table it reads for it."""
    read = []
    storage = engine._core.running().storage
    inner = storage.read

    class Counting:
        def __init__(self, tx: Reader | DecryptingReader) -> None:
            self.tx = tx

        def __getattr__(self, name: str) -> Callable[..., object]:
            found: Callable[..., object] = getattr(self.tx, name)
            return found

        def scan(
            self, table: Table[Any], *arguments: Any, **bounds: Any
        ) -> Iterator[Item | IndexEntry]:
            for row in self.tx.scan(table, *arguments, **bounds):
                read.append(table.name)
                yield row

        def fetch(self, table: Table[Any], *arguments: Any) -> dict[str, Record]:
            found = self.tx.fetch(table, *arguments)
            read.extend([table.name] * len(found))
            return found

    storage.read = lambda work: inner(lambda tx: work(cast("Reader", Counting(tx))))  # type: ignore[method-assign]  # replaced by the test
    try:
        return list(query()), read
    finally:
        del storage.read


@pytest.fixture
def offline(new_engine: NewEngine, scripted: type[Scripted]) -> Callable[..., SyncEngine]:
    """Makes engines whose network is never there."""

    def make(indexes: tuple[str, ...], **options: Any) -> SyncEngine:
        return new_engine(
            transport=scripted(OfflineError("no network")), entities=entities(indexes), **options
        )

    return make


@pytest.fixture(params=["memory", "file", "encrypted"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> MemoryStorage | Path | EncryptedStorage:
    if request.param == "memory":
        return MemoryStorage()
    path = tmp_path / "app.db"
    return path if request.param == "file" else EncryptedStorage(path, generate_key())


QUERIES = {
    "equality": ({"a": 7}, None),
    "one of some": ({"a__in": [7, 8]}, None),
    "null": ({"a__isnull": True}, None),
    "a nested field": ({"b.c": "x7"}, None),
    "a reference": ({"ref": 7}, None),
    "two of them": ({"a__in": [7, 8], "ref": "7"}, None),
}
ORDERED = {
    "a range": ({"a__gte": 7, "a__lt": 9}, None),
    "an open range": ({"s__gt": "s997"}, None),
    "an order": (None, "-a"),
    "an order within a range": ({"a__lte": 20}, "a"),
}


@pytest.mark.parametrize(("where", "order_by"), QUERIES.values(), ids=QUERIES)
def test_a_filter_reads_what_it_returns(
    offline: Callable[..., SyncEngine],
    storage: MemoryStorage | Path | EncryptedStorage,
    where: Json,
    order_by: None,
) -> None:
    engine = offline(FIELDS, storage=storage, durability="normal")
    rows = [
        {"id": f"{n:04}", "a": n % 100 or None, "b": {"c": f"x{n}"}, "ref": str(n % 150), "n": n}
        for n in range(1500)
    ]
    engine.push_many("notes", rows)
    found, read = rows_read(engine, lambda: engine.records("notes", where, order_by))
    everything = list(engine.records("notes"))
    assert found == [each for each in everything if each in found]
    assert 1 <= len(found) <= 40
    assert len(read) < 250


@pytest.mark.parametrize(("where", "order_by"), ORDERED.values(), ids=ORDERED)
def test_an_order_or_a_range_reads_what_it_returns(
    offline: Callable[..., SyncEngine], where: Json | None, order_by: str | None
) -> None:
    engine = offline(FIELDS)
    rows = [{"id": f"{n:04}", "a": n % 100, "s": f"s{n:03}"} for n in range(1000)]
    engine.push_many("notes", rows)
    found, read = rows_read(engine, lambda: engine.records("notes", where, order_by, limit=20))
    assert len(found) in (2, 20)
    assert len(read) < 1500
    plain = offline(())
    plain.push_many("notes", rows)
    assert found == list(plain.records("notes", where, order_by, limit=20))


def test_entries_of_single_pushes_are_written_by_the_query(
    offline: Callable[..., SyncEngine],
) -> None:
    engine = offline(("a",))
    for n in range(450):
        engine.push("notes", {"id": f"{n:04}", "a": n % 50})
    storage = engine._core.running().storage
    assert not storage.read(lambda tx: list(tx.scan(INDEX_ENTRIES)))
    assert engine.count("notes", {"a": 7}) == 9
    assert len(storage.read(lambda tx: list(tx.scan(INDEX_ENTRIES)))) == 450
    engine.push("notes", {"id": "0000", "a": 7}, "update")
    engine.push("notes", {"id": "new", "a": 7})
    assert engine.count("notes", {"a": 7}) == 11
    assert engine.count("notes", {"a": 0}) == 8


def test_entries_go_with_their_rows(offline: Callable[..., SyncEngine]) -> None:
    engine = offline(("a",))
    engine.push_many("notes", [{"id": f"{n:04}", "a": n} for n in range(300)])
    storage = engine._core.running().storage
    assert len(storage.read(lambda tx: list(tx.scan(INDEX_ENTRIES)))) == 256
    engine.clear_queue()
    assert storage.read(lambda tx: list(tx.scan(INDEX_ENTRIES))) == []


class Later:
    """The system's clock, some seconds ahead."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def wall(self) -> float:
        return time.time() + self.seconds

    def monotonic(self) -> float:
        return time.monotonic()


def catalog_of(engine: SyncEngine) -> Catalog:
    return engine._core.running().storage.read(load_catalog)


@pytest.fixture
def filled(
    new_engine: NewEngine, new_wire: type[Wire], storage: MemoryStorage | Path | EncryptedStorage
) -> MemoryStorage | Path | EncryptedStorage:
    """A store without indexes: 1,200 records of the server, 300 more queued; 15 have a == 7."""
    wire = new_wire(Store(Rules()))
    for n in range(1200):
        wire.store.change("notes", "create", {"id": f"{n:04}", "a": n % 100})
    engine = new_engine(transport=wire, entities=entities(()), storage=storage)
    engine.pull()
    engine.push_many("notes", [{"id": f"{n:04}", "a": n % 100} for n in range(1200, 1500)])
    engine.close()
    return storage


def test_a_new_index_of_a_store_in_use_is_built(
    offline: Callable[..., SyncEngine], filled: MemoryStorage | Path | EncryptedStorage
) -> None:
    early = offline(("a",), storage=filled)
    assert early.count("notes", {"a": 7}) == 15
    assert not any(each.ready for each in catalog_of(early).indexes), "others may not know of it"
    early.close()
    engine = offline(("a",), storage=filled, clock=Later(3))
    assert engine.count("notes", {"a": 7}) == 15
    assert [each.ready for each in catalog_of(engine).indexes] == [True]
    found, read = rows_read(engine, lambda: engine.records("notes", {"a": 7}))
    assert len(found) == 15
    assert len(read) < 200


def test_a_changed_index_replaces_the_former_one(
    offline: Callable[..., SyncEngine], filled: MemoryStorage | Path | EncryptedStorage
) -> None:
    for seconds, indexes in ((3, ("a",)), (9, ("b.c", "s")), (15, ("b.c",))):
        engine = offline(indexes, storage=filled, clock=Later(seconds))
        engine.push("notes", {"id": f"new {seconds}", "a": 7, "b": {"c": seconds}})
        engine.close()
        later = offline(indexes, storage=filled, clock=Later(seconds + 3))
        assert later.count("notes", {"b.c": seconds}) == 1
        assert later.count("notes", {"a": 7}) == 15 + seconds // 6 + 1
        catalog = catalog_of(later)
        assert {each.path for each in catalog.indexes} == set(indexes)
        assert catalog.retired == ()
        numbers = {each.number for each in catalog.indexes}
        storage = later._core.running().storage
        entries = storage.read(lambda tx: list(tx.scan(INDEX_ENTRIES)))
        assert {each.number for each in entries} <= numbers
        later.close()


def test_a_process_with_other_settings_keeps_the_indexes_of_the_store(
    offline: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    path = tmp_path / "app.db"
    engine = offline(("a",), storage=path)
    engine.push_many("notes", [{"id": f"{n:04}", "a": n % 10} for n in range(300)])
    other = offline((), storage=path)
    other.push("notes", {"id": "0000", "a": 5}, "update")
    other.push("notes", {"id": "new", "a": 5})
    assert engine.count("notes", {"a": 5}) == 32
    assert engine.count("notes", {"a": 0}) == 29


def test_without_room_to_write_a_query_reads_everything(
    offline: Callable[..., SyncEngine],
    filled: MemoryStorage | Path | EncryptedStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = offline(("a",), storage=filled, clock=Later(3))
    storage = engine._core.running().storage

    def full(*_: Callable[..., object]) -> None:
        raise StorageFullError("no space left")

    monkeypatch.setattr(storage, "write", full)
    assert engine.count("notes", {"a": 7}) == 15


def test_an_encrypted_store_holds_no_value_in_its_index(
    offline: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    path = tmp_path / "app.db"
    engine = offline(("s",), storage=EncryptedStorage(path, generate_key()))
    engine.push_many("notes", [{"id": str(n), "s": "a secret phrase"} for n in range(100)])
    assert engine.count("notes", {"s": "a secret phrase"}) == 100
    assert [each["id"] for each in engine.records("notes", order_by="s", limit=2)] == ["0", "1"]
    assert engine.count("notes", {"s__gt": "a"}) == 100
    engine.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        values = {row[0] for row in connection.execute("SELECT value FROM index_entries")}
    assert len(values) == 1
    assert b"secret" not in path.read_bytes()


@pytest.mark.parametrize("odd", [True, 5, [1]])
@pytest.mark.parametrize("where", [{"s__gt": "y"}, {"s__lt": "b"}])
def test_a_value_without_an_order_is_an_error_as_without_an_index(
    offline: Callable[..., SyncEngine], where: Json, odd: int | list[int]
) -> None:
    engine = offline(("s",))
    engine.push_many("notes", [{"id": f"{n:04}", "s": "m"} for n in range(300)])
    engine.push("notes", {"id": "odd", "s": odd})
    engine.push_many("notes", [{"id": f"{n:04}", "s": "m"} for n in range(300, 600)])
    with pytest.raises(InvalidDataError, match="where: s__"):
        list(engine.records("notes", where))


# the same answers as without an index

VALUES = st.sampled_from([None, True, 0, 1, 2.5, -1, "", "a", "b", "a" * 150 + "x", "a" * 150, [1]])
IDS = st.sampled_from(["1", "2", "3", "10", "x"])
DATA = st.fixed_dictionaries(
    {},
    optional={
        "a": VALUES,
        "s": st.sampled_from(["a", "b", "é"]),
        "ref": st.sampled_from([1, "1", 2]),
    },
)
STEPS = st.lists(
    st.tuples(st.just("push"), IDS, DATA, st.sampled_from(["create", "update", "delete"]))
    | st.tuples(st.just("server"), IDS, DATA)
    | st.tuples(st.just("gone"), IDS)
    | st.tuples(st.sampled_from(["flush", "pull", "query", "offline", "online", "clear"])),
    min_size=10,
    max_size=25,
)


def texts(records: Iterator[Any] | list[Json]) -> list[str]:
    return [json.dumps(each, sort_keys=True) for each in records]


def kind(value: str | float | None) -> int:
    if isinstance(value, bool):
        return 1
    if value is None:
        return 0
    return 2 if isinstance(value, (int, float)) else 3 if isinstance(value, str) else 4


def equal(one: Any, other: str | float) -> bool:
    return kind(one) == kind(other) and one == other


MODEL: dict[str, tuple[Any, Callable[[Json], bool]]] = {
    "equal": ({"a": 1}, lambda r: "a" in r and equal(r["a"], 1)),
    "null": ({"a": None}, lambda r: "a" in r and r["a"] is None),
    "null or missing": ({"a__isnull": True}, lambda r: r.get("a") is None),
    "some": (
        {"a__in": ["a", 2.5, True]},
        lambda r: any(equal(r.get("a"), v) for v in ("a", 2.5, True)),
    ),
    "a list": ({"a": [1]}, lambda r: r.get("a") == [1]),
    "a reference": ({"ref": "1"}, lambda r: str(r.get("ref")) == "1"),
    "a range": ({"s__gte": "b"}, lambda r: "s" in r and r["s"] >= "b"),
    "both": (
        {"s__lt": "b", "ref__in": [1, 2]},
        lambda r: "s" in r and r["s"] < "b" and str(r.get("ref")) in "12",
    ),
    "everything": (None, lambda r: True),
}


@pytest.mark.parametrize("private", [False, True], ids=["plain", "encrypted"])
def test_answers_are_the_same_as_without_an_index(
    private: bool, new_engine: NewEngine, new_wire: type[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bytelyst_sync.state.indexing_transaction._MANY", 3)
    monkeypatch.setattr("bytelyst_sync.state.indexes._PAGE", 2)
    monkeypatch.setattr("bytelyst_sync.replica.index_scan._LONGEST_TAIL", 2)
    monkeypatch.setattr("bytelyst_sync.replica.index_scan._PAGE", 2)
    monkeypatch.setattr("bytelyst_sync.replica.index_scan._SAMPLE", 2)
    key = generate_key()

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def history(steps: list[tuple[str | Json, ...]]) -> None:
        wire = new_wire(Store(Rules()))
        storage = MemoryStorage()
        engine = new_engine(
            transport=wire,
            entities={
                "notes": EntityConfig("/notes", indexes=("a", "s", "ref"), references=REFERENCES),
                "lists": "/lists",
            },
            storage=EncryptedStorage(storage, key) if private else storage,
        )
        for step in [*steps, ("query",)]:
            play(engine, wire, step)
        check_entries(engine)
        engine.clear_queue()
        compare(engine)
        check_entries(engine)
        engine.close()

    history()


def check_entries(engine: SyncEngine) -> None:
    """The index has the entries of the states and of the items up to the mark, and no others."""

    def entries(tx: Reader) -> tuple[set[IndexEntry], set[IndexEntry]]:
        catalog, mark = load_catalog(tx), mark_of(tx)
        rows: list[Record | Item] = [*tx.scan(RECORDS)]
        rows += (item for item in tx.scan(ITEMS) if item.seq <= mark)
        expected = {entry for row in rows for entry in catalog.entries(row)}
        return set(tx.scan(INDEX_ENTRIES)), expected

    found, expected = engine._core.running().storage.read(entries)
    assert found == expected


def play(engine: SyncEngine, wire: Wire, step: tuple[Any, ...]) -> None:
    verb, *rest = step
    if verb == "push":
        record, data, operation = rest
        with contextlib.suppress(RecordDeletedError):
            engine.push("notes", {**data, "id": record}, operation)
    elif verb in ("server", "gone"):
        record, *data = rest
        known = record in wire.store.records("notes")
        if data:
            wire.store.change("notes", "update" if known else "create", {**data[0], "id": record})
        elif known:
            wire.store.change("notes", "delete", {"id": record})
        engine.pull(timeout=5)
    elif verb in ("offline", "online"):
        wire.online = verb == "online"
    elif verb == "query":
        compare(engine)
    elif verb == "clear":
        engine.clear_queue()
    else:
        getattr(engine, verb)(timeout=5)


def compare(engine: SyncEngine) -> None:
    everything = list(engine.records("notes"))
    for where, matches in MODEL.values():
        expected = [each for each in everything if matches(each)]
        assert texts(engine.records("notes", where)) == texts(expected)
        assert engine.count("notes", where) == len(expected)
        for field in ("a", "s"):
            ascending = sorted(expected, key=lambda r: rank(r.get(field)))
            assert texts(engine.records("notes", where, field)) == texts(ascending)
            found = list(engine.records("notes", where, f"-{field}", limit=2))
            assert len(found) == min(2, len(expected))
            assert [rank(r.get(field)) for r in found] == [
                rank(r.get(field)) for r in reversed(ascending)
            ][:2]


def rank(value: str | int | None) -> tuple[int, int | str]:
    return (kind(value), 0 if value is None else json.dumps(value) if kind(value) == 4 else value)
