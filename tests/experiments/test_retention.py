"""What is deleted of experiments, and that no result changes by it."""

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import count
from json import dumps
from typing import Any

import pytest

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.dashboard import ops_app
from bytelyst_sync.experiments import (
    Experiments,
    MemoryLedger,
    Receiver,
    experiment_entities,
    receiver,
    retention,
)
from bytelyst_sync.experiments.definitions import Definition, read_definition
from bytelyst_sync.experiments.entries import sums_of
from bytelyst_sync.experiments.events import conversion_id, exposure_id, time_of, time_text
from bytelyst_sync.experiments.ledger import joined
from bytelyst_sync.experiments.results import Results
from bytelyst_sync.experiments.store_ledger import StoreLedger, StoreReader
from bytelyst_sync.experiments.sums import Sums
from bytelyst_sync.model import Json
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import EXPERIMENT_ROWS, ExperimentRow
from bytelyst_sync.testing import ManualClock
from tests.dashboard.client import OPERATOR, Client
from tests.typed import present

DAY = 86_400.0
START = time_of("2026-01-01T12:00:00Z")
SOURCE = {
    "key": "checkout",
    "variations": ["red", "blue"],
    "windowDays": 2,
    "goals": ["paid", {"key": "revenue", "event": "paid", "kind": "mean", "cuped": True}],
}
GROWING = ("exposure", "conversion", "event")


def definition(**changes: Any) -> Definition:
    return read_definition({**SOURCE, **changes})


class Server:
    """The receiving side, from day to day."""

    def __init__(self, ledger: "Watched | None" = None, **changes: Any) -> None:
        self.ledger = MemoryLedger() if ledger is None else ledger
        self.now = START
        self.numbers = count(1)
        self.change(**changes)

    def change(self, **changes: Any) -> None:
        """Another definition is known from now on."""
        self.definitions = {"checkout": definition(**changes)}
        self.phase = self.definitions["checkout"].phase

    def receive(self, kind: str, number: int = 0, **record: Any) -> bool:
        record = {"device": "d", "seq": next(self.numbers), "number": number, "type": kind,
                  "at": time_text(self.now), **record}  # fmt: skip
        return Receiver(self.ledger, self.definitions).receive(record, self.now)

    def expose(
        self, unit: str, variation: int = 0, *, phase: str | None = None, **record: Any
    ) -> bool:
        phase = phase or self.phase
        return self.receive(
            "exposure", id=exposure_id("checkout", phase, unit), experiment="checkout", phase=phase,
            unit=unit, variation=variation, **record,
        )  # fmt: skip

    def pay(self, unit: str, event_id: str, value: float = 1.0, **record: Any) -> bool:
        return self.receive(
            "conversion", id=conversion_id("paid", event_id), event="paid", unit=unit, value=value,
            **record,
        )  # fmt: skip

    def wait(self, days: int, *, passes: int = 1) -> None:
        """Days go by, with passes on each of them."""
        for _ in range(days):
            self.now += DAY
            for _ in range(passes):
                Receiver(self.ledger, self.definitions).prune(self.now)

    def sums(self, phase: str | None = None) -> dict[str, Sums]:
        scope = joined("checkout", phase or self.phase)
        return {name: each for name, each in sums_of(self.ledger, scope) if any(each)}

    def rows(self, *kinds: str) -> int:
        found: Counter[str] = Counter()
        for (kind, _), rows in self.ledger._rows.items():
            found[kind] += len(rows)
        return sum(found[each] for each in kinds)


# --- a year


def a_year(server: Server, *, units: int = 3, phase_days: int = 30) -> tuple[list[int], list[str]]:
    """Units come every day, pay twice and late; a phase begins each month. Rows by day."""
    rows, phases = [], []
    for day in range(365):
        if day % phase_days == 0:
            server.change(phase=f"p{day}")
            phases.append(server.phase)
        for number in range(units):
            unit = f"u{day}-{number}"
            server.expose(unit, number % 2)
            server.pay(unit, f"a{unit}", value=number)
            server.pay(f"u{day - 1}-{number}", f"b{unit}", value=2 * number)
            server.pay(f"u{day - 20}-{number}", f"c{unit}")  # after the window
        server.now += DAY
        rows.append(server.rows(*GROWING))
    return rows, phases


def test_a_year_at_the_server_keeps_rows_flat_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    rows, phases = a_year(server)
    assert max(rows[270:]) <= 1.05 * max(rows[:270])
    assert max(rows[270:]) < 0.7 * 365 * 3 * 7
    with monkeypatch.context() as patch:
        patch.setattr(receiver, "is_due", lambda record_id: False)
        whole = Server()
        all_rows, _ = a_year(whole)
    assert all_rows[-1] > 1.5 * max(rows[270:])
    assert len(phases) == 13
    for phase in phases:
        assert server.sums(phase) == whole.sums(phase)
        assert whole.sums(phase)


def test_a_year_on_a_device_keeps_rows_flat() -> None:
    clock = ManualClock()
    engine = create_sync_engine(
        base_url="http://127.0.0.1:9", entities=experiment_entities(), storage=":memory:",
        auto_flush=False, probe=None, exit_timeout=0, clock=clock,
    )  # fmt: skip
    rows = []
    with engine:
        ab = Experiments(engine, [{**SOURCE, "phase": "p0"}])
        for day in range(365):
            if day and day % 30 == 0:
                ab = Experiments(engine, [{**SOURCE, "phase": f"p{day}"}])
            for number in range(4):
                ab.variant("checkout", f"u{day}-{number}")
                ab.track("paid", f"u{day}-{number}")
            engine.clear_queue()
            clock.advance(DAY)
            rows.append(len(stored(engine, *GROWING)))
        assert max(rows[270:]) <= 1.05 * max(rows[:270])
        assert max(rows[270:]) < 0.6 * 365 * 4 * 3
        results = ab.results("checkout")
        assert len(results.phases) == 13
        for phase in results.phases[:-1]:
            assert ab.results("checkout", phase).units == 120
        assert ab.results("checkout", results.phases[0]).closed is not None
        assert ab.results("checkout").closed is None


def stored(engine: SyncEngine, *kinds: str) -> list[ExperimentRow]:
    rows = engine._core.running().storage.read(lambda tx: list(tx.scan(EXPERIMENT_ROWS)))
    return [each for each in rows if each.kind in kinds]


# --- phases


@pytest.mark.parametrize(
    ("changes", "days"),
    [
        ({"phase": "next"}, 32),
        ({"weights": [0.9, 0.1]}, 32),
        ({"status": "stopped"}, 32),
        ({"force": 1}, 32),
        ({"phase": "next", "windowDays": 10}, 40),
    ],
)
def test_a_phase_that_ended_is_closed_after_its_window_and_30_days(
    changes: Json, days: int
) -> None:
    server = Server()
    phase = server.phase
    server.expose("u1")
    server.wait(400)
    assert server.rows("exposure") == 1
    before = server.sums(phase)
    server.change(**changes)
    server.wait(1 + days)
    assert server.rows("exposure") == 1
    server.wait(1)
    assert server.rows("exposure") == 0
    assert server.sums(phase) == before


def test_an_unknown_definition_is_waited_for() -> None:
    server = Server()
    server.expose("u1")
    known, server.definitions = server.definitions, {}
    server.wait(180)
    server.definitions = known
    server.wait(1)
    server.definitions = {}
    server.wait(181)
    assert server.rows("exposure") == 1
    server.wait(1)
    assert server.rows("exposure") == 0


def test_a_stopped_test_that_goes_on_in_time_is_not_closed() -> None:
    server = Server()
    server.expose("u1")
    server.change(status="stopped")
    server.wait(30)
    server.change()
    server.wait(1)
    server.change(status="stopped")
    server.wait(30)
    assert server.rows("exposure") == 1
    server.change()
    assert server.expose("u2")


def test_a_closed_phase_answers_as_its_sums_say() -> None:
    server = Server()
    phase = server.phase
    for number in range(4):
        server.expose(f"u{number}", number % 2)
    server.pay("u1", "order", 3.0)
    server.change(phase="next")
    server.wait(40)
    before = server.sums(phase)
    late = time_text(START + DAY)
    assert not server.expose("u0", phase=phase, at=late)
    assert not server.expose("u1", 0, phase=phase, at=late)
    assert not server.expose("new", phase=phase, at=late)
    server.pay("u0", "late", at=late)
    assert server.sums(phase) == before
    results = Receiver(server.ledger, server.definitions).results("checkout", server.now, phase)
    assert results.units == 4
    assert results.excluded == 0
    assert results.closed == "2026-02-04"
    assert server.rows("exposure") == 0
    assert server.expose("u0")


def test_a_late_exposure_counts_until_the_phase_is_closed() -> None:
    server = Server()
    phase = server.phase
    server.expose("u1")
    server.change(phase="next")
    server.wait(20)
    assert server.expose("u2", phase=phase, at=time_text(START))
    assert sum(each.n for each in server.sums(phase).values()) == 2


def test_silent_devices_stay_counted_when_their_units_are_forgotten() -> None:
    server = Server()
    phase = server.phase
    for number in range(30):
        server.expose(f"u{number}", number % 2, device=f"d{number}", number=1)
    for number in range(10):
        server.receive("report", number=1, device=f"d{number}", id=f"r{number}",
                       complete=time_text(START + 9 * DAY))  # fmt: skip
    server.change(phase="next")
    server.wait(10)

    def silent() -> Any:
        results = Receiver(server.ledger, server.definitions).results("checkout", server.now, phase)
        return results.silent, [each.silent for each in results.variants], results.blocked

    before = silent()
    assert before[0] == pytest.approx(20 / 30)
    assert "incomplete" in before[2]
    server.wait(30)
    assert server.rows("exposure") == 0
    assert silent() == before


def test_a_stored_unit_of_an_impossible_variation_takes_no_space_when_it_is_deleted() -> None:
    server = Server()
    phase = server.phase
    for number in range(3):
        server.expose(f"u{number}", number % 2, device=f"d{number}", number=1)
    scope = joined("checkout", phase)
    row = present(server.ledger.get("exposure", scope, "u1"))
    server.ledger.put("exposure", scope, "u1", {**row, "variation": 10**15})
    server.change(phase="next")
    server.wait(40)
    assert server.rows("exposure") == 0
    assert retention.silent_units(server.ledger, scope, 2) == [2, 0]
    assert len(dumps(server.ledger.get("closed", scope, ""))) < 200


def test_other_metrics_do_not_touch_the_sums_of_a_closed_phase() -> None:
    server = Server()
    phase = server.phase
    for number in range(4):
        server.expose(f"u{number}", number % 2)
        server.pay(f"u{number}", f"o{number}")
    results = Receiver(server.ledger, server.definitions).results("checkout", server.now, phase)
    assert {each.metric for each in results.comparisons} == {"paid", "revenue"}
    server.change(phase="next")
    server.wait(40)
    before = server.sums(phase)
    server.change(phase="next", goals=["paid", "visit"])
    results = Receiver(server.ledger, server.definitions).results("checkout", server.now, phase)
    assert {each.metric for each in results.comparisons} == {"paid"}
    assert server.sums(phase) == before


# --- events


def test_a_value_counts_for_thirty_days_before_the_exposure() -> None:
    server = Server()
    for days in (29, 30, 31):
        server.pay("u1", f"o{days}", 2.0**days, at=time_text(START - days * DAY))
    server.expose("u1")
    (revenue,) = [each for name, each in server.sums().items() if name.endswith("revenue")]
    assert revenue.x == 2.0**29 + 2.0**30


def test_events_are_kept_while_a_phase_of_their_time_is_open() -> None:
    server = Server()
    server.expose("u1")
    server.pay("u1", "order")
    server.wait(300)
    assert server.rows("event", "conversion") == 2
    assert not server.pay("u1", "order")
    server.change(phase="next")
    server.wait(40)
    assert server.rows("exposure") == 0
    server.wait(60)
    assert server.rows("event", "conversion") == 0


def test_the_value_before_an_exposure_that_arrives_late_is_still_there() -> None:
    server = Server()
    server.pay("u1", "order", 5.0, seq=1)
    server.wait(45)
    server.expose("u1", at=time_text(START + 25 * DAY))
    (revenue,) = [each for name, each in server.sums().items() if name.endswith("revenue")]
    assert revenue.x == 5.0


def test_what_has_just_arrived_is_kept_however_old_it_is() -> None:
    server = Server()
    server.wait(200)
    server.pay("u1", "order", at=time_text(START))
    server.wait(29)
    assert server.rows("event", "conversion") == 2
    server.expose("u1", at=time_text(START - DAY), seq=0)
    (paid,) = [each for name, each in server.sums().items() if name.endswith("paid")]
    assert paid.y == 1


def test_a_forgotten_event_that_arrives_again_changes_no_sum() -> None:
    server = Server()
    server.pay("u1", "order", 5.0, seq=1)
    server.wait(100)
    server.expose("u1")
    server.wait(1)
    assert server.rows("event") == 0
    before = server.sums()
    assert server.pay("u1", "order", 5.0, seq=1, at=time_text(START))
    assert server.sums() == before


# --- bounded work


class Watched(MemoryLedger):
    """Counts what a pass does."""

    calls = 0

    def get(self, kind: str, scope: str, name: str) -> Json | float | list[float] | None:
        self.calls += 1
        return super().get(kind, scope, name)

    def page(
        self, kind: str, after: tuple[str, str], limit: int
    ) -> list[tuple[str, str, float | dict[str, Any]]]:
        found = super().page(kind, after, limit)
        self.calls += len(found)
        return found

    def scan(self, kind: str, scope: str) -> Iterator[tuple[str, float]]:
        for each in super().scan(kind, scope):
            self.calls += 1
            yield each

    def delete(self, kind: str, scope: str, name: str) -> None:
        self.calls += 1
        super().delete(kind, scope, name)


def test_a_pass_is_bounded_and_passes_come_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "is_due", lambda record_id: False)
    ledger = Watched()
    server = Server(ledger)
    for number in range(3 * retention.ROWS):
        server.expose(f"u{number}")
        server.pay(f"u{number}", f"o{number}")
    server.change(phase="next")
    server.wait(33)
    deleted = []
    for _ in range(9):
        server.now += 20 * DAY
        ledger.calls = 0
        deleted.append(Receiver(server.ledger, server.definitions).prune(server.now))
        assert ledger.calls <= 10 * retention.ROWS
    assert max(deleted) <= 2 * retention.ROWS
    assert server.rows(*GROWING) == 0
    assert sum(each.n for each in server.sums(definition().phase).values()) == 3 * retention.ROWS


def test_one_record_in_a_hundred_has_a_pass() -> None:
    due = sum(retention.is_due(exposure_id("e", "p", f"u{number}")) for number in range(20_000))
    assert 130 <= due <= 270


# --- in the store, and on the pages


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(clock: ManualClock) -> Iterator[SyncEngine]:
    with create_sync_engine(
        base_url="http://127.0.0.1:9", entities=experiment_entities(), storage=":memory:",
        auto_flush=False, probe=None, exit_timeout=0, clock=clock,
    ) as made:  # fmt: skip
        yield made


@pytest.fixture
def closed(engine: SyncEngine, clock: ManualClock) -> Experiments:
    """An experiment that was stopped so long ago that its phase is closed."""
    source = {**SOURCE, "id": "checkout", "unit": "device"}
    engine.push("experiments", source)
    Experiments(engine).variant("checkout")
    engine.update("experiments", "checkout", {"status": "stopped"})
    for _ in range(35):
        clock.advance(DAY)
        Experiments(engine).track("other")
    return Experiments(engine)


def test_a_closed_phase_that_is_started_as_it_was_records_nothing_and_says_so(
    closed: Experiments, engine: SyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.update("experiments", "checkout", {"status": "running"})
    queued = engine.queue_length
    ab = Experiments(engine)
    with caplog.at_level(logging.WARNING, "bytelyst_sync.experiments"):
        for unit in ("u1", "u2"):
            assert ab.variant("checkout", unit).in_experiment
    assert engine.queue_length == queued
    (line,) = [each for each in caplog.records if each.name == "bytelyst_sync.experiments"]
    results = ab.results("checkout")
    text = ended_text(results)
    assert text in line.getMessage()
    assert "Begin a new phase" in line.getMessage()
    assert f"ended: {text}" in results.blocked
    (advice,) = [each for each in results.suggestions if each.code == "ended"]
    assert advice.text == text
    assert "Begin a new phase" in advice.next_step
    page = Client(ops_app(engine, authorize=lambda environ: OPERATOR)).get("/ab-testing/checkout")
    assert page.words.count(text) == 1


def ended_text(results: Results) -> str:
    """What is said of the phase in the log, at the command line and on the page."""
    return (
        f"Phase {results.phase} ended; its units were deleted on {results.closed}."
        " Nothing more is recorded in it."
    )


def test_the_page_starts_a_closed_phase_as_a_new_one(
    closed: Experiments, engine: SyncEngine
) -> None:
    client = Client(ops_app(engine, authorize=lambda environ: OPERATOR))
    page = client.get("/ab-testing/checkout")
    assert page.words.count(ended_text(closed.results("checkout"))) == 1
    (seen,) = set(page.values("seen"))
    before = closed.results("checkout").phase
    answer = client.post("/ab-testing/checkout", {"seen": seen, "action": "start"})
    assert answer.status == 303
    ab = Experiments(engine)
    assert ab.variant("checkout").in_experiment
    results = ab.results("checkout")
    assert results.phase != before
    assert results.phases == (before, results.phase)
    assert results.closed is None
    assert sum(each.maturing for each in results.variants) == 1
    assert "its units were deleted" not in client.get("/ab-testing/checkout").words


@pytest.mark.parametrize("status", ["draft", "stopped"])
def test_starting_takes_no_look_at_the_results(engine: SyncEngine, status: str) -> None:
    engine.push("experiments", {**SOURCE, "id": "checkout", "status": status})
    phase = definition().phase
    client = Client(ops_app(engine, authorize=lambda environ: OPERATOR))
    form = {"seen": f"{phase} {status} None", "action": "start"}
    assert client.post("/ab-testing/checkout", form).status == 303
    assert present(engine.get("experiments", "checkout"))["status"] == "running"
    assert "phase" not in present(engine.get("experiments", "checkout"))
    assert stored(engine, "analysis", "measured", "shares") == []


def test_a_deleted_row_is_gone_from_the_ledger_of_the_store(engine: SyncEngine) -> None:
    def rule(work: UnitOfWork, run: Runtime) -> None:
        ledger = StoreLedger(work.tx)
        for scope, name in (("a", "1"), ("a", "2"), ("b", "1")):
            ledger.put("k", scope, name, f"{scope}{name}")
        assert ledger.page("k", ("", ""), 2) == [("a", "1", "a1"), ("a", "2", "a2")]
        assert ledger.page("k", ("a", "1"), 9) == [("a", "2", "a2"), ("b", "1", "b1")]
        ledger.delete("k", "a", "2")
        ledger.delete("k", "a", "2")
        assert ledger.get("k", "a", "2") is None
        ledger.put("k", "a", "2", "again")
        ledger.delete("k", "b", "1")

    engine._core.write(rule)
    kept = engine._core.running().storage.read(lambda tx: StoreReader(tx).page("k", ("", ""), 9))
    assert kept == [("a", "1", "a1"), ("a", "2", "again")]
