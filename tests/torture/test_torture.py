"""The short form of every scenario, each in a process of its own.

The seed is always the same here, or the environment variable BYTELYST_SYNC_TORTURE_SEED's.
"""

import os
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.torture import harness  # noqa: E402 - the path is set above
from tests.torture.runner import discover, run, seed_of  # noqa: E402 - the same

SEED = int(os.environ.get("BYTELYST_SYNC_TORTURE_SEED", "1"))
LIMIT_S = 45.0
"""Less than a test may take, so that a scenario that hangs prints its stacks."""
SCENARIOS, BROKEN_MODULES = discover()


def test_every_module_of_scenarios_can_be_imported() -> None:
    assert BROKEN_MODULES == {}


@pytest.mark.parametrize(("withheld", "fair_s"), [(0.0, 8.0), (2.0, 6.0), (7.5, 2.0)])
def test_a_stopwatch_takes_off_what_the_machine_withheld(
    monkeypatch: pytest.MonkeyPatch, withheld: float, fair_s: float
) -> None:
    withheld_s = iter([100.0, 100.0 + withheld])
    now = iter([50.0, 58.0])
    monkeypatch.setattr(harness, "_withheld_s", lambda: next(withheld_s))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    watch = harness.Stopwatch()
    found = watch.fair_s
    monkeypatch.undo()
    assert found == fair_s


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    seed = seed_of(SEED, name)
    limit_s = min(LIMIT_S, scenario.limit_s)
    outcome = run(scenario, seed, tmp_path / "run", short=True, limit_s=limit_s)
    if outcome.verdict == "cannot run":
        pytest.skip(outcome.reason)
    if outcome.verdict != "ok":
        again = f"python -m tests.torture --seed {SEED} --short {name}"
        pytest.fail(f"{outcome.reason}\n{outcome.output}\nagain: {again}", pytrace=False)
