"""The verbs for experiments, on a store that a program has filled."""

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bytelyst_sync import create_sync_engine
from bytelyst_sync.experiments import Experiments, experiment_entities
from bytelyst_sync.testing import ManualClock, SyncServer
from tests.cli.conftest import Done

ROOT = Path(__file__).parents[2]
ENTITIES = """experiments = '/experiments'
[entities.experiment_events]
endpoint = '/experiment-events'
dedup = 'none'
replica = false"""
DEFINITION = {
    "id": "checkout",
    "key": "checkout",
    "hashVersion": 2,
    "variations": ["red", "blue"],
    "unit": "device",
    "windowDays": 0,
    "unitsPerDay": 400,
    "goals": [{"key": "paid", "event": "paid", "baseline": 0.2, "mde": 0.05}],
}


@pytest.fixture
def filled(toml: Callable[..., Path], server: SyncServer, tmp_path: Path) -> None:
    """A store with 400 units of yesterday; blue pays more often."""
    toml(entities=ENTITIES)
    server.put("experiments", DEFINITION)
    server.put("experiments", {"id": "broken", "variations": []})
    engine = create_sync_engine(
        base_url=server.url,
        entities=experiment_entities(),
        storage=tmp_path / "app.db",
        clock=ManualClock(start=1_700_000_000),
        auto_flush=False,
        exit_timeout=0,
    )
    with engine:
        engine.pull()
        ab = Experiments(engine)
        with engine.transaction():
            for n in range(400):
                found = ab.variant("checkout", unit=f"job-{n}")
                if n % (10 - 7 * found.index) == 0:
                    ab.track("paid", unit=f"job-{n}")


def test_list_shows_what_runs_and_what_cannot_be_read(
    filled: None, cli: Callable[..., Done]
) -> None:
    done = cli("experiments", "list", "--json")
    (row,) = done.lines
    assert (row["experiment"], row["units"], row["status"]) == ("checkout", 400, "running")
    assert row["verdicts"] == "paid: winner"
    assert "broken: experiment 'broken': variations is []" in done.err


def test_show_has_variants_intervals_verdicts_and_advice(
    filled: None, cli: Callable[..., Done]
) -> None:
    shown = cli("experiments", "show", "checkout").out
    assert "verdict on paid: winner" in shown
    assert "blue is the winner on paid" in shown
    assert "Ship it." in shown
    document = cli("experiments", "show", "checkout", "--json").json
    assert document["suggestions"][0]["code"] == "winner"
    assert sum(each["units"] for each in document["variants"]) == 400


def test_show_says_that_a_phase_has_ended(
    filled: None, cli: Callable[..., Done], server: SyncServer, tmp_path: Path
) -> None:
    clock = ManualClock(start=1_700_000_000)
    with create_sync_engine(
        base_url=server.url,
        entities=experiment_entities(),
        storage=tmp_path / "app.db",
        clock=clock,
        auto_flush=False,
        exit_timeout=0,
    ) as engine:
        engine.update("experiments", "checkout", {"status": "stopped"})
        for _ in range(33):
            clock.advance(86_400)
            Experiments(engine).track("other")
    shown = cli("experiments", "show", "checkout").out
    assert "ended; its units were deleted on 2023-12-16. Nothing more is recorded in it." in shown
    assert "verdict on paid: winner" in shown


def test_plan_says_how_many_units_are_needed(filled: None, cli: Callable[..., Done]) -> None:
    shown = cli("experiments", "plan", "checkout").out
    assert "looked at once, at the end, it would be 1,030" in shown
    assert "10 days" in shown
    document = cli("experiments", "plan", "checkout", "--mde", "0.1", "--json").json
    assert document["fixed_per_variant"] < 300


def test_export_writes_sums_over_units(filled: None, cli: Callable[..., Done]) -> None:
    rows = cli("experiments", "export", "checkout").lines
    assert sum(row["n"] for row in rows if not row["metric"]) == 400
    assert {row["day"] for row in rows} == {"2023-11-14"}


def test_definitions_may_come_from_a_file(
    toml: Callable[..., Path], cli: Callable[..., Done], tmp_path: Path
) -> None:
    toml(entities=ENTITIES)
    path = tmp_path / "definitions.json"
    path.write_text(json.dumps([DEFINITION]))
    (row,) = cli("experiments", "list", "--json", "--definitions", path).lines
    assert (row["experiment"], row["units"]) == ("checkout", 0)


def test_the_settings_of_the_page_read_a_store(
    filled: None, cli: Callable[..., Done], tmp_path: Path
) -> None:
    page = (ROOT / "docs/howto/experiments.rst").read_text("utf-8")
    (block,) = re.findall(r"^\.\. code-block:: toml\n\n((?:(?: {4}.*)?\n)+)", page, re.MULTILINE)
    (tmp_path / "bytelyst-sync.toml").write_text(textwrap.dedent(block))
    (row,) = cli("experiments", "list", "--json").lines
    assert (row["experiment"], row["units"]) == ("checkout", 400)
    (tmp_path / "app.db").rename(tmp_path / "dev.db")
    assert cli("experiments", "show", "checkout", "--storage", "dev.db").out.startswith("checkout,")


def test_what_is_wrong_is_named(toml: Callable[..., Path], cli: Callable[..., Done]) -> None:
    assert "experiment_entities" in cli("experiments", "list", code=3).err
    toml(entities=ENTITIES)
    assert "'signup' is not here yet" in cli("experiments", "show", "signup", code=2).err
    assert "missing.json" in cli("experiments", "list", "--definitions", "missing.json", code=3).err
