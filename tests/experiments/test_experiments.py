"""``Experiments`` on an engine: what it assigns, queues and sums, in one transaction."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from bytelyst_sync import (
    ConfigError,
    InvalidDataError,
    QueueFullError,
    SyncEngine,
    create_sync_engine,
)
from bytelyst_sync.experiments import (
    Experiments,
    MemoryLedger,
    Receiver,
    experiment_entities,
    growthbook_entities,
)
from bytelyst_sync.experiments.ledger import joined
from bytelyst_sync.experiments.receiver import checked_record
from bytelyst_sync.experiments.store_ledger import StoreReader
from bytelyst_sync.model import Json
from bytelyst_sync.storage import EncryptedStorage, generate_key
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.testing import ManualClock, SyncServer
from tests.typed import present

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
CHECKOUT = {
    "key": "checkout",
    "hashVersion": 2,
    "variations": ["red", "blue"],
    "segments": ["country"],
    "goals": ["paid", {"key": "revenue", "event": "paid", "kind": "mean"}],
}


@pytest.fixture
def new_engine() -> Iterator[Callable[..., SyncEngine]]:
    made = []

    def make(
        url: str = "http://127.0.0.1:9",
        storage: str | Path | EncryptedStorage = ":memory:",
        entities: Any = None,
        **settings: Any,
    ) -> SyncEngine:
        settings = {"auto_flush": False, "exit_timeout": 0, "probe": None, **settings}
        entities = experiment_entities() if entities is None else entities
        engine = create_sync_engine(base_url=url, entities=entities, storage=storage, **settings)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def events(engine: SyncEngine) -> list[Json]:
    queued = [each.data for each in engine.queue() if each.entity == "experiment_events"]
    return [each for each in queued if each["type"] != "report"]


def sums(engine: SyncEngine, experiment: str = "checkout") -> Json:
    """By day, variation, segment and metric; without what is nothing."""

    def read(tx: Reader) -> Json:
        ledger = StoreReader(tx)
        found: dict[Any, Any] = {}
        for phase, _ in ledger.scan("phase", experiment):
            found |= dict(ledger.scan("sums", joined(experiment, phase)))
        return {name: values for name, values in found.items() if any(values)}

    return engine._core.running().storage.read(read)


# --- assignment and exposure


def test_assign_records_nothing_and_variant_records_once(
    new_engine: Callable[..., SyncEngine],
) -> None:
    engine = new_engine()
    ab = Experiments(engine, [CHECKOUT])
    assigned = ab.assign("checkout", unit="u7", attributes={"country": "DE"})
    assert engine.queue_length == 0
    for _ in range(3):
        assert ab.variant("checkout", unit="u7", attributes={"country": "DE"}) == assigned
    (exposure,) = events(engine)
    assert exposure["unit"] == "u7"
    assert exposure["variation"] == assigned.index
    assert exposure["segment"] == {"country": "DE"}
    assert assigned.value == ["red", "blue"][assigned.index]
    assert assigned.in_experiment
    assert assigned.reason == "assigned"


def test_an_exposure_is_recorded_once_across_engines_and_restarts(
    new_engine: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    for _ in range(2):
        engines = [new_engine(storage=tmp_path / "q.db") for _ in range(2)]
        for engine in engines:
            Experiments(engine, [CHECKOUT]).variant("checkout", unit="u7")
        assert len(events(engines[0])) == 1
        for engine in engines:
            engine.close()


def test_threads_record_an_exposure_once(
    new_engine: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    engine = new_engine(storage=tmp_path / "q.db")
    ab = Experiments(engine, [CHECKOUT])
    threads = [
        threading.Thread(target=lambda: [ab.variant("checkout", unit=f"u{n}") for n in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each["unit"] for each in events(engine)) == sorted(f"u{n}" for n in range(20))
    numbers = [each["number"] for each in events(engine)]
    assert sorted(numbers) == list(range(1, 21))


def test_another_device_gives_the_same_exposure_the_same_id(
    new_engine: Callable[..., SyncEngine],
) -> None:
    ids = set()
    for _ in range(2):
        engine = new_engine()
        Experiments(engine, [CHECKOUT]).variant("checkout", unit="u7")
        ids.add(events(engine)[0]["id"])
    assert len(ids) == 1


def test_other_weights_are_another_phase_and_a_larger_coverage_is_not(
    new_engine: Callable[..., SyncEngine],
) -> None:
    engine = new_engine()
    phases = [
        Experiments(engine, [{**CHECKOUT, **change}]).definitions()["checkout"].phase
        for change in ({}, {"coverage": 0.5}, {"weights": [0.9, 0.1]}, {"phase": "1"})
    ]
    assert phases[0] == phases[1]
    assert len(set(phases)) == 3
    for change in ({}, {"weights": [0.9, 0.1]}):
        Experiments(engine, [{**CHECKOUT, **change}]).variant("checkout", unit="u7")
    assert len(events(engine)) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "draft"}, "inactive"),
        ({"status": "stopped"}, "stopped"),
        ({"coverage": 0.0}, "not covered"),
        ({"condition": {"country": "US"}}, "condition"),
    ],
)
def test_who_is_not_in_the_experiment_gets_the_baseline_and_the_reason(
    new_engine: Callable[..., SyncEngine], change: Json, reason: str
) -> None:
    engine = new_engine()
    ab = Experiments(engine, [{**CHECKOUT, **change}])
    assert ab.variant("checkout", unit="u7") == ("red", 0, False, reason)
    assert ab.variant("checkout", unit="u7", default="green").value == "green"
    assert engine.queue_length == 0


def test_an_unknown_experiment_gives_the_default_and_says_what_to_do(
    new_engine: Callable[..., SyncEngine],
) -> None:
    engine = new_engine()
    found = Experiments(engine).variant("checkout", unit="u7", default="red")
    assert found[:3] == ("red", -1, False)
    assert "pull" in found.reason
    assert engine.queue_length == 0


def test_a_forced_variation_is_shown_and_not_recorded(
    new_engine: Callable[..., SyncEngine],
) -> None:
    engine = new_engine()
    ab = Experiments(engine, [{**CHECKOUT, "force": 1}])
    assert ab.variant("checkout", unit="u7") == ("blue", 1, True, "forced")
    assert engine.queue_length == 0


def test_a_unit_may_be_the_device(new_engine: Callable[..., SyncEngine]) -> None:
    engine = new_engine()
    ab = Experiments(engine, [{**CHECKOUT, "unit": "device"}])
    ab.variant("checkout")
    assert events(engine)[0]["unit"] == ab.device
    assert Experiments(engine, [CHECKOUT]).assign("checkout", unit=cast("str", 7)).in_experiment
    with pytest.raises(InvalidDataError, match="give unit="):
        Experiments(engine, [CHECKOUT]).variant("checkout")


def test_sticky_buckets_keep_a_unit_where_it_was(new_engine: Callable[..., SyncEngine]) -> None:
    engine = new_engine()
    sticky = {**CHECKOUT, "bucketVersion": 1, "meta": [{"key": "0"}, {"key": "1"}]}
    before = Experiments(engine, [sticky]).variant("checkout", unit="u7")
    moved = {**sticky, "weights": [0.0, 1.0] if before.index == 0 else [1.0, 0.0]}
    after = Experiments(engine, [moved]).variant("checkout", unit="u7")
    assert (after.index, after.reason) == (before.index, "assigned before")
    new = {**moved, "bucketVersion": 2}
    assert Experiments(engine, [new]).variant("checkout", unit="u7").index != before.index


# --- conversions and sums


def test_an_event_counts_once_by_its_id(new_engine: Callable[..., SyncEngine]) -> None:
    engine = new_engine()
    ab = Experiments(engine, [CHECKOUT])
    ab.variant("checkout", unit="u7")
    assert ab.track("paid", unit="u7", value=10, event_id="order-1")
    assert not ab.track("paid", unit="u7", value=10, event_id="order-1")
    assert ab.track("paid", unit="u7", value=20, event_id="order-2")
    assert len(events(engine)) == 3
    revenue = [values for name, values in sums(engine).items() if name.endswith("||revenue")]
    assert revenue == [[0, 30.0, 900.0, 0, 0, 0]]


def test_what_is_queued_gives_the_receiving_side_the_same_sums(
    new_engine: Callable[..., SyncEngine],
) -> None:
    engine = new_engine()
    ab = Experiments(engine, [CHECKOUT])
    for n in range(40):
        ab.track("paid", unit=f"u{n}", value=n)
        if n % 4:
            ab.variant("checkout", unit=f"u{n}", attributes={"country": "DE" if n % 3 else "FR"})
        ab.track("paid", unit=f"u{n}", value=2 * n)
    ledger = MemoryLedger()
    receiver = Receiver(ledger, ab.definitions())
    for item in engine.queue():
        receiver.receive(item.data, item.timestamp.timestamp() + 1)
    scope = joined("checkout", ab.definitions()["checkout"].phase)
    assert {n: v for n, v in ledger.scan("sums", scope) if any(v)} == sums(engine)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200, "3", None, True])
def test_a_value_must_be_a_number(new_engine: Callable[..., SyncEngine], value: Any) -> None:
    engine = new_engine()
    ab = Experiments(engine, [CHECKOUT])
    with pytest.raises(InvalidDataError, match="value of 'paid'"):
        ab.track("paid", unit="u7", value=value)
    assert events(engine) == []


def test_a_full_queue_changes_no_sum(new_engine: Callable[..., SyncEngine]) -> None:
    engine = new_engine(max_queue_length=3)
    ab = Experiments(engine, [CHECKOUT])
    ab.variant("checkout", unit="u1")
    ab.variant("checkout", unit="u2")
    before = sums(engine)
    with pytest.raises(QueueFullError):
        ab.variant("checkout", unit="u3")
    with pytest.raises(QueueFullError):
        ab.track("paid", unit="u1")
    assert sums(engine) == before


def test_a_transaction_takes_exposures_and_sums_with_it(
    new_engine: Callable[..., SyncEngine],
) -> None:
    engine = new_engine(entities={"notes": "/notes", **experiment_entities()})
    ab = Experiments(engine, [CHECKOUT])
    with suppress(RuntimeError), engine.transaction():
        engine.push("notes", {"id": "1"})
        ab.variant("checkout", unit="u7")
        ab.track("paid", unit="u7", event_id="o1")
        raise RuntimeError
    assert engine.queue_length == 0
    assert sums(engine) == {}
    with engine.transaction():
        engine.push("notes", {"id": "1"})
        ab.variant("checkout", unit="u7")
        assert ab.track("paid", unit="u7", event_id="o1")
    assert len([each for each in engine.queue() if each.entity == "notes"]) == 1
    assert len(events(engine)) == 2
    assert len(sums(engine)) == 3


def test_an_encrypted_store_shows_no_value_of_an_event(
    new_engine: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    path = tmp_path / "q.db"
    engine = new_engine(storage=EncryptedStorage(path, generate_key()))
    ab = Experiments(engine, [CHECKOUT])
    ab.variant("checkout", unit="u7", attributes={"country": "Atlantis"})
    ab.track("paid", unit="u7", value=98765.25)
    assert any("revenue" in name for name in sums(engine))
    engine.close()
    content = b"".join(each.read_bytes() for each in tmp_path.iterdir() if each.is_file())
    assert b"98765.25" not in content


# --- definitions


def test_definitions_come_through_a_pull_and_are_readable_offline(
    new_engine: Callable[..., SyncEngine],
) -> None:
    with SyncServer() as server:
        server.put("experiments", {**CHECKOUT, "id": "checkout"})
        server.put("experiments", {"id": "broken", "key": "broken", "variations": ["only"]})
        engine = new_engine(server.url)
        ab = Experiments(engine)
        assert ab.variant("checkout", unit="u7").index == -1
        assert engine.pull().success
    assert ab.variant("checkout", unit="u7").in_experiment
    broken = ab.variant("broken", unit="u7", default=0)
    assert broken[:3] == (0, -1, False)
    assert "variations" in broken.reason
    assert set(ab.problems()) == {"broken"}


def test_a_payload_of_growthbooks_endpoint_is_a_definition(
    new_engine: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    rule = {"key": "exp", "variations": ["a", "b"], "hashVersion": 2, "coverage": 1}
    payload = {
        "features": {
            "color": {"defaultValue": "a", "rules": [rule]},
            "beta": {"defaultValue": True},
        },
        "experiments": [
            {"key": "auto", "variations": [0, 1], "parentConditions": [{"id": "beta"}]}
        ],
        "savedGroups": {"vip": ["u7"]},
    }
    path = tmp_path / "payload.json"
    path.write_text(json.dumps(payload), encoding="utf-8")
    ab = Experiments(new_engine(), str(path))
    assert set(ab.definitions()) == {"exp", "auto"}
    assert ab.variant("auto", unit="u7").in_experiment


GROWTHBOOK = {
    "status": 200,
    "features": {
        "color": {
            "defaultValue": "a",
            "rules": [{"key": "exp", "variations": ["a", "b"], "hashVersion": 2, "coverage": 1}],
        },
        "beta": {"defaultValue": True},
    },
    "experiments": [
        {"key": "auto", "variations": [{}, {"css": "x"}], "parentConditions": [{"id": "beta"}]}
    ],
    "dateUpdated": "2026-11-30T10:00:00.000Z",
}


def test_growthbooks_endpoint_is_pulled_and_readable_offline(
    new_engine: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    """One object, without an id, a cursor and pages. A pull replaces all definitions at once."""
    entities = growthbook_entities("/api/features/sdk-abc123")
    served = {"body": GROWTHBOOK}
    with FeaturesServer(served) as server:
        engine = new_engine(server.url, storage=tmp_path / "q.db", entities=entities)
        ab = Experiments(engine)
        assert engine.pull("experiments").success
        assert server.paths == ["/api/features/sdk-abc123"]
        assert set(ab.definitions()) == {"exp", "auto"}
        assert ab.variant("exp", unit="u7").in_experiment
        served["body"] = {**GROWTHBOOK, "features": {}}
        assert engine.pull("experiments").success
        assert set(ab.definitions()) == {"auto"}
        engine.close()
    again = Experiments(new_engine(storage=tmp_path / "q.db", entities=entities))
    assert set(again.definitions()) == {"auto"}
    assert again.variant("exp", unit="u7", default="a").value == "a"


@pytest.mark.parametrize(
    ("body", "key", "reason"),
    [
        (
            {"features": {}, "encryptedFeatures": "vMSg2Bj/IurObDsWVmvkUg=="},
            "encryptedFeatures",
            "turn encryption off",
        ),
        ({"features": {"a": 5}}, "a", "an object was expected"),
        ({"features": {"a": {"rules": [7, {"variations": ["only"]}]}}}, "a", "variations is"),
        ({"features": {"a": {"rules": "x"}}, "experiments": ["x"]}, "experiments", "not an object"),
        (
            {"features": {}, "savedGroups": 1, "experiments": [{"key": "b", "variations": 1}]},
            "b",
            "variations is",
        ),
    ],
)
def test_what_cannot_be_read_of_growthbooks_payload_is_reported(
    new_engine: Callable[..., SyncEngine], body: dict[str, Any], key: str, reason: str
) -> None:
    with FeaturesServer({"body": body}) as server:
        engine = new_engine(server.url, entities=growthbook_entities("/api/features/sdk-x"))
        assert engine.pull("experiments").success
    problems = Experiments(engine).problems()
    assert list(problems) == [key]
    assert reason in problems[key]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"status": 400, "error": "Invalid SDK connection key"}, "400"),
        (200, [GROWTHBOOK], "an object"),
        (200, "x", "an object"),
    ],
)
def test_an_answer_that_is_no_payload_fails_and_changes_nothing(
    new_engine: Callable[..., SyncEngine],
    status: int,
    body: Json | list[dict[str, Any]] | str,
    reason: str,
) -> None:
    served: Json = {"body": GROWTHBOOK}
    with FeaturesServer(served) as server:
        engine = new_engine(server.url, entities=growthbook_entities("/api/features/sdk-x"))
        assert engine.pull("experiments").success
        served |= {"body": body, "status": status}
        result = engine.pull("experiments")
    assert not result.success
    assert reason in repr(result.problems)
    assert set(Experiments(engine).definitions()) == {"exp", "auto"}


class FeaturesServer:
    """Answers every GET with ``served``: GrowthBook's SDK endpoint."""

    def __init__(self, served: Json) -> None:
        self.paths: list[str] = []
        paths = self.paths

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                paths.append(self.path)
                body = json.dumps(served["body"]).encode()
                self.send_response(served.get("status", 200))
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: str) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Self":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"variations": ["one"]}, "variations is"),
        ({"weights": [1.0]}, "weights is"),
        ({"weights": [0.5, 0.6]}, "add up to 1"),
        ({"coverage": 2}, "coverage is 2"),
        ({"hashVersion": 3}, "hashVersion is 3"),
        ({"unit": "planet"}, "unit is 'planet'"),
        ({"status": "paused"}, "status is 'paused'"),
        ({"goals": ["paid", "paid"]}, "different keys"),
        ({"goals": [{"event": "paid", "kind": "median"}]}, "median"),
        ({"goals": [{"event": "paid", "kind": "ratio"}]}, "denominator"),
        ({"goals": [{"event": "paid", "weight": 1}]}, "weight"),
        ({"goals": [{"event": "paid", "mde": 10**400}]}, "a number as mde"),
        ({"windowDays": -1}, "windowDays is -1"),
        ({"alpha": 1}, "alpha is 1"),
        ({"condition": "x"}, "condition is 'x'"),
    ],
)
def test_a_wrong_definition_names_the_field(
    new_engine: Callable[..., SyncEngine], change: Json, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        Experiments(new_engine(), [{**CHECKOUT, **change}])


@pytest.mark.parametrize("given", [7, "missing.json"])
def test_definitions_that_cannot_be_read_say_so(
    new_engine: Callable[..., SyncEngine], given: Any
) -> None:
    with pytest.raises(ConfigError, match="definitions"):
        Experiments(new_engine(), given)


def test_the_engine_needs_the_entities(new_engine: Callable[..., SyncEngine]) -> None:
    with pytest.raises(ConfigError, match="experiment_entities"):
        Experiments(new_engine(entities={"notes": "/notes"}), [CHECKOUT])


# --- delivery


def test_the_trial_server_takes_events_in_by_the_receivers_rules(
    new_engine: Callable[..., SyncEngine],
) -> None:
    ledger = MemoryLedger()
    engines = []
    probe = Experiments(new_engine(), [CHECKOUT])
    receiver = Receiver(ledger, probe.definitions())
    with SyncServer(receivers={"experiment-events": receiver.receive}) as server:
        for device in range(2):
            engine = new_engine(server.url)
            engines.append(engine)
            ab = Experiments(engine, [CHECKOUT])
            for n in range(device, device + 10):
                ab.variant("checkout", unit=f"u{n}")
                ab.track("paid", unit=f"u{n}", event_id=f"o{n}", value=n)
            assert engine.flush(10).success
            assert not list(engine.failed())
            assert not list(engine.settled_conflicts())
        units = {
            each["unit"]
            for each in map(dict, server.records("experiment-events").values())
            if each["type"] == "exposure"
        }
    assert units == {f"u{n}" for n in range(11)}
    scope = joined("checkout", probe.definitions()["checkout"].phase)
    counted = sum(v[0] for n, v in ledger.scan("sums", scope) if n.endswith("||"))
    revenue = sum(v[1] for n, v in ledger.scan("sums", scope) if n.endswith("||revenue"))
    assert (counted, revenue) == (11, sum(range(11)))


def test_the_trial_server_takes_events_in_again_after_a_restart(
    new_engine: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    engine = new_engine()
    ab = Experiments(engine, [CHECKOUT])
    ab.variant("checkout", unit="u7")
    ab.track("paid", unit="u7", value=3, event_id="o1")
    definitions, found = ab.definitions(), []
    for restarted in (False, True):
        ledger = MemoryLedger()
        receivers = {"experiment-events": Receiver(ledger, definitions).receive}
        with SyncServer(state=tmp_path / "state.jsonl", receivers=receivers) as server:
            if not restarted:
                sender = new_engine(server.url)
                for item in engine.queue():
                    sender.push("experiment_events", item.data)
                assert sender.flush(10).success
        scope = joined("checkout", definitions["checkout"].phase)
        found.append(dict(ledger.scan("sums", scope)))
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_the_trial_server_refuses_an_event_that_is_none(
    new_engine: Callable[..., SyncEngine],
) -> None:
    receiver = Receiver(MemoryLedger(), {})
    with SyncServer(receivers={"experiment-events": receiver.receive}) as server:
        engine = new_engine(server.url)
        engine.push("experiment_events", {"id": "1", "type": "click"})
        engine.flush(10)
        (failed,) = engine.failed()
        assert "type is 'click'" in present(failed.last_error)
        assert server.records("experiment-events") == {}


def test_a_report_says_how_far_a_device_has_come(new_engine: Callable[..., SyncEngine]) -> None:
    clock = ManualClock()
    engine = new_engine(clock=clock)
    ab = Experiments(engine, [CHECKOUT])
    ab.variant("checkout", unit="u1")
    ab.variant("checkout", unit="u2")
    clock.advance(86_400)
    ab.variant("checkout", unit="u1")
    ab.variant("checkout", unit="u3")
    ab.report()
    reports = [each.data for each in engine.queue() if each.data["type"] == "report"]
    assert [each["number"] for each in reports] == [0, 2, 3]
    assert checked_record(reports[-1], clock.wall())["complete"] == clock.wall()


def test_the_package_loads_nothing_of_it() -> None:
    program = (
        "import sys, bytelyst_sync\n"
        "print([m for m in sys.modules if 'experiments' in m or m == 'statistics'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout.strip() == "[]", done.stderr
