"""The ledger in the engine's store: the same as one in memory, in few rows."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytelyst_sync import create_sync_engine
from bytelyst_sync.experiments import (
    Experiments,
    MemoryLedger,
    Receiver,
    experiment_entities,
    store_ledger,
)
from bytelyst_sync.experiments.entries import sums_of
from bytelyst_sync.experiments.events import time_of
from bytelyst_sync.experiments.ledger import joined
from bytelyst_sync.experiments.store_ledger import StoreLedger, StoreReader
from bytelyst_sync.storage import EncryptedStorage, MemoryStorage, SQLiteStorage, generate_key
from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.schema import EXPERIMENT_ROWS, ExperimentRow

DEFINITION = {
    "key": "checkout",
    "hashVersion": 2,
    "variations": ["red", "blue"],
    "segments": ["country"],
    "goals": ["paid", {"key": "revenue", "event": "paid", "kind": "mean"}],
}
DEVICE = {"id": "d1", "number": 0, "reported": -1}
STORES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda folder: MemoryStorage(),
    "sqlite": lambda folder: SQLiteStorage(folder / "q.db"),
    "lmdb": lambda folder: LmdbStorage(folder / "q.mdb"),
    "encrypted": lambda folder: EncryptedStorage(SQLiteStorage(folder / "e.db"), generate_key()),
}


@pytest.fixture
def new_engine() -> Any:
    made = []

    def make(storage: str = ":memory:") -> Any:
        engine = create_sync_engine(
            base_url="http://127.0.0.1:9",
            entities=experiment_entities(),
            storage=storage,
            auto_flush=False,
            exit_timeout=0,
            probe=None,
        )
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


# --- the same as in memory

KEYS = ("b|\\",)
PHASES = ("1", "2")
NAMES = tuple(joined("2026-03-01", "0", f"country={n}", "ä") for n in range(6))
SCOPES = tuple(joined(key, phase) for key in KEYS for phase in PHASES)
EXPOSURES = (
    {"variation": 1, "device": "d1", "seq": 3, "at": 1.5, "segment": {}, "tallies": {}},
    {"variation": 0, "device": "d2", "seq": 4, "at": 2.5, "segment": {"c": "ü"}, "tallies": {}},
    {"variation": 0, "device": "d1", "seq": 5, "at": 3.0, "segment": {}, "tallies": {"p": [1]}},
)
SUMS = st.tuples(st.integers(0, 9), st.floats(-9, 9)).map(list)
STEPS = st.one_of(
    st.tuples(st.just("sums"), st.sampled_from(SCOPES), st.sampled_from(NAMES), SUMS),
    st.tuples(st.just("phase"), st.sampled_from(KEYS), st.sampled_from(PHASES), st.just(7.25)),
    st.tuples(st.just("closed"), st.sampled_from(SCOPES), st.just(""), st.just({"since": "x"})),
    st.tuples(
        st.just("exposure"),
        st.sampled_from(SCOPES),
        st.sampled_from(("u1", "ü")),
        st.sampled_from(EXPOSURES),
    ),
    st.tuples(
        st.just("self"),
        st.just(""),
        st.just(""),
        st.integers(0, 99).map(lambda number: {**DEVICE, "number": number}),
    ),
)


def contents(ledger: Any) -> Any:
    """All that the rules can read of it."""
    found: dict[tuple[str, ...], Any] = {("self",): ledger.get("self", "", "")}
    for scope in SCOPES:
        found["closed", scope] = ledger.get("closed", scope, "")
        for kind in ("sums", "exposure"):
            found[kind, scope] = dict(ledger.scan(kind, scope))
        for name in NAMES:
            found["sums", scope, name] = ledger.get("sums", scope, name)
    for key in KEYS:
        found["phases", key] = dict(ledger.scan("phase", key))
        for phase in PHASES:
            found["phase", key, phase] = ledger.get("phase", key, phase)
    return found


@given(st.booleans(), st.lists(st.lists(STEPS, max_size=12), max_size=6))
@settings(deadline=None, max_examples=60)
def test_it_holds_what_a_ledger_in_memory_holds(known: bool, transactions: Any) -> None:
    storage, expected = MemoryStorage(), MemoryLedger()
    if known:
        start = [("self", "", "", DEVICE), *(("phase", KEYS[0], each, 7.25) for each in PHASES)]
        transactions = [start, *transactions]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_ledger, "_MOST_SUMS", 4)
        for steps in transactions:

            def rule(tx: Any, steps: Any = steps) -> None:
                with StoreLedger(tx) as ledger:
                    for step in steps:
                        ledger.put(*step)
                    assert contents(ledger) == contents(expected)

            for step in steps:
                expected.put(*step)
            storage.write(rule)
            assert storage.read(lambda tx: contents(StoreReader(tx))) == contents(expected)


def test_a_closed_phase_has_its_sums_in_rows_of_their_own() -> None:
    storage, scope = MemoryStorage(), SCOPES[0]

    def count(tx: Any) -> None:
        with StoreLedger(tx) as ledger:
            ledger.put("self", "", "", DEVICE)
            ledger.put("phase", KEYS[0], PHASES[0], 1.5)
            ledger.put("sums", scope, NAMES[0], [1])

    def close(tx: Any) -> None:
        with StoreLedger(tx) as ledger:
            ledger.put("closed", scope, "", {"since": "2026-03-01"})
            ledger.put("sums", scope, NAMES[1], [2])

    def rows(tx: Any) -> set[str]:
        return {row.kind for row in tx.scan(EXPERIMENT_ROWS) if row.scope == scope}

    storage.write(count)
    assert storage.read(rows) == set()
    storage.write(close)
    assert storage.read(rows) == {"sums", "closed"}
    ledger = storage.read(lambda tx: contents(StoreReader(tx)))
    assert ledger["sums", scope] == {NAMES[0]: [1], NAMES[1]: [2]}
    assert ledger["closed", scope] == {"since": "2026-03-01"}


def test_a_rule_that_raises_leaves_the_row_of_the_device_as_it_was() -> None:
    storage = MemoryStorage()

    def raising(tx: Any) -> None:
        with StoreLedger(tx) as ledger:
            ledger.put("self", "", "", DEVICE)
            raise LookupError

    with pytest.raises(LookupError):
        storage.write(raising)
    assert storage.read(lambda tx: StoreReader(tx).get("self", "", "")) is None


def test_a_unit_with_many_events_is_read_whole() -> None:
    storage = MemoryStorage()

    def rule(tx: Any) -> None:
        with StoreLedger(tx) as ledger:
            for number in range(40):
                ledger.put("conversion", "u1", f"{number:02}", number)

    storage.write(rule)
    found = storage.read(lambda tx: list(StoreReader(tx).scan("conversion", "u1")))
    assert found == [(f"{number:02}", number) for number in range(40)]


# --- what an exposure writes


def written(monkeypatch: pytest.MonkeyPatch, call: Any) -> Any:
    """The kinds of the rows that a call writes."""
    kinds = []
    write = StoreLedger._write

    def spy(self: Any, kind: Any, *rest: Any) -> None:
        kinds.append(kind)
        write(self, kind, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(StoreLedger, "_write", spy)
        call()
    return kinds


def test_an_exposure_writes_the_rows_of_the_unit_and_of_the_device(
    new_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ab = Experiments(new_engine(), [DEFINITION])
    ab.variant("checkout", unit="u1", attributes={"country": "DE"})
    expose = partial(ab.variant, "checkout", unit="u2", attributes={"country": "FR"})
    assert written(monkeypatch, expose) == ["exposure", "self"]
    assert written(monkeypatch, lambda: ab.variant("checkout", unit="u2")) == []


def test_a_conversion_writes_its_rows_and_those_of_its_units(
    new_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ab = Experiments(new_engine(), [DEFINITION])
    ab.variant("checkout", unit="u1", attributes={"country": "DE"})
    track = partial(ab.track, "paid", unit="u1", value=19.9)
    assert written(monkeypatch, track) == ["event", "conversion", "exposure", "self"]


@pytest.mark.parametrize("store", STORES)
def test_in_each_store_the_sums_are_those_of_the_events(
    new_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Any
) -> None:
    monkeypatch.setattr(store_ledger, "_MOST_SUMS", 5)  # so that sums are moved again and again
    engine = new_engine(STORES[store](tmp_path))
    ab = Experiments(engine, [DEFINITION, {**DEFINITION, "key": "other"}])
    for number in range(12):
        for key in ("checkout", "other"):
            ab.variant(key, unit=f"u{number}", attributes={"country": f"{number % 4}"})
        if number % 3 == 0:
            ab.track("paid", unit=f"u{number}", value=number + 0.1)
    again = Experiments(engine, [DEFINITION])
    again.variant("checkout", unit="u1")
    ledger = MemoryLedger()
    receiver = Receiver(ledger, ab.definitions())
    queued = [item.data for item in engine.queue() if item.data["type"] != "report"]
    for event in queued:
        receiver.receive(event, time_of(event["at"]))
    numbers = [each["number"] for each in queued]
    assert numbers == list(range(1, len(numbers) + 1))
    for definition in ab.definitions().values():
        scope = joined(definition.key, definition.phase)
        expected = dict(sums_of(ledger, scope))
        found = engine._core.running().storage.read(
            lambda tx, scope=scope: dict(sums_of(StoreReader(tx), scope))
        )
        assert found == expected


# --- stores of an earlier version


def earlier_rows(phase: Any) -> Any:
    """The rows that the version before wrote for one exposed unit, and a conversion of it."""
    scope = joined("checkout", phase)
    row = {
        "variation": 1,
        "device": "d1",
        "seq": 3,
        "at": 1.0,
        "segment": {},
        "tallies": {"paid": [1, 5, 0, 0.0]},
    }
    cells = {"": [1, 0.0, 0.0, 0.0, 0.0, 0.0], "revenue": [0, 5.0, 25.0, 0.0, 0.0, 0.0]}
    return [
        ("self", "", "", {"id": "d1", "number": 2, "reported": 99_999}),
        ("phase", "checkout", phase, 1.0),
        ("exposure", scope, "u1", row),
        *(("sums", scope, joined("1970-01-01", "1", "", m), each) for m, each in cells.items()),
    ]


@pytest.mark.parametrize("store", STORES)
def test_a_store_of_the_version_before_goes_on(new_engine: Any, tmp_path: Path, store: Any) -> None:
    storage = STORES[store](tmp_path)
    engine = new_engine(storage)
    ab = Experiments(engine, [DEFINITION])
    phase = ab.definitions()["checkout"].phase
    scope = joined("checkout", phase)
    rows = [
        ExperimentRow(row[0], row[1], row[2], json.dumps(row[3])) for row in earlier_rows(phase)
    ]
    engine._core.write(lambda work, _: work.tx.insert(EXPERIMENT_ROWS, *rows))
    assert ab.device == "d1"
    ab.variant("checkout", unit="u2")
    ab.track("paid", unit="u2", value=3)
    numbers = [each.data["number"] for each in engine.queue() if each.data["type"] != "report"]
    assert numbers == [3, 4]
    found = engine._core.running().storage.read(lambda tx: dict(sums_of(StoreReader(tx), scope)))
    assert sum(each.n for name, each in found.items() if name.endswith("||")) == 2
    assert sum(each.yy for name, each in found.items() if name.endswith("|revenue")) == 34.0
