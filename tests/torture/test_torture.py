"""The short form of every scenario, each in a process of its own.

The seed is always the same here, or the environment variable BYTELYST_SYNC_TORTURE_SEED's.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.torture import harness  # noqa: E402 - where it is, is said above
from tests.torture.runner import found, run, seed_of  # noqa: E402 - the same

SEED = int(os.environ.get("BYTELYST_SYNC_TORTURE_SEED", "1"))
LIMIT_S = 45.0
"""Less than a test may take, so that what hangs says where."""
SCENARIOS, BROKEN_MODULES = found()


def test_every_module_of_scenarios_can_be_imported():
    assert BROKEN_MODULES == {}


@pytest.mark.parametrize(("withheld", "fair_s"), [(0.0, 8.0), (2.0, 6.0), (7.5, 2.0)])
def test_a_stopwatch_takes_off_what_the_machine_withheld(monkeypatch, withheld, fair_s):
    told = iter([100.0, 100.0 + withheld])
    now = iter([50.0, 58.0])
    monkeypatch.setattr(harness, "_withheld_s", lambda: next(told))
    monkeypatch.setattr(harness.time, "monotonic", lambda: next(now))
    watch = harness.Stopwatch()
    found = watch.fair_s
    monkeypatch.undo()
    assert found == fair_s


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name, tmp_path):
    scenario = SCENARIOS[name]
    seed = seed_of(SEED, name)
    limit_s = min(LIMIT_S, scenario.limit_s)
    outcome = run(scenario, seed, tmp_path / "run", short=True, limit_s=limit_s)
    if outcome.verdict == "cannot run":
        pytest.skip(outcome.said)
    if outcome.verdict != "ok":
        again = f"python -m tests.torture --seed {SEED} --short {name}"
        pytest.fail(f"{outcome.said}\n{outcome.output}\nagain: {again}", pytrace=False)
