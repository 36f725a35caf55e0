"""Finding the scenarios, and running one in a process of its own.

The process gets the scenario's module and name, a seed and an empty folder (``one.py``), and writes
its outcome to a file, so that what it and its children print is not mistaken for it. It leads a
session of its own, which is killed at its end, so that nothing that it started outlives it.
"""

import hashlib
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import attrs

from tests.torture.harness import SCENARIOS, Scenario, factor

__all__ = ["ROOT", "Outcome", "discover", "run", "seed_of"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GRACE_S = 5.0
"""How long a process that is over its limit may take to print its stacks."""
MOST_OUTPUT = 8_000


@attrs.frozen
class Outcome:
    """How a run ended: ``ok``, ``broken``, or ``cannot run``."""

    verdict: str
    seconds: float = 0.0
    figures: dict[str, object] = attrs.field(factory=dict)
    reason: str = ""
    """Why it broke or cannot run."""
    output: str = ""
    """The end of what it printed."""


def discover() -> tuple[dict[str, Scenario], dict[str, str]]:
    """All scenarios by name, in the order of their modules, and why a module cannot be imported."""
    broken = {}
    for module in sorted(each.name for each in pkgutil.iter_modules([str(HERE)])):
        if module != "__main__" and not module.startswith("test_"):
            try:
                importlib.import_module(f"tests.torture.{module}")
            except Exception:  # noqa: BLE001 - reported; the other modules are still of use
                broken[module] = traceback.format_exc()
    return dict(SCENARIOS), broken


def seed_of(run_seed: int, name: str) -> int:
    """The seed of a scenario in a run: the same, whatever else is run."""
    return int.from_bytes(hashlib.sha256(f"{run_seed}:{name}".encode()).digest()[:6], "big")


def run(scenario: Scenario, seed: int, folder: Path, *, short: bool, limit_s: float) -> Outcome:
    """Runs it in a process of its own; ``folder`` must be empty."""
    limit_s *= 1 if short else factor()
    obstacle = scenario.obstacle()
    if obstacle is not None:
        return Outcome("cannot run", reason=obstacle)
    work, result, log = folder / "work", folder / "outcome.json", folder / "output.txt"
    work.mkdir(parents=True)
    module = scenario.run.__module__
    form = "short" if short else "full"
    arguments = [module, scenario.name, seed, form, limit_s, work, result]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.one", *map(str, arguments)],
            cwd=work,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(limit_s + GRACE_S)
        finally:
            end_session(process)
    seconds = time.monotonic() - began
    text = log.read_text(errors="replace")[-MOST_OUTPUT:]
    if result.exists():
        return Outcome(seconds=seconds, output=text, **json.loads(result.read_text()))
    how = f"did not end within {limit_s:g} s" if seconds > limit_s else "died"
    reason = f"{scenario.name} {how} (status {process.returncode}) and left no figures"
    return Outcome("broken", seconds, reason=reason, output=text)


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the process and of those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
