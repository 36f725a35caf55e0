"""Ctrl-C, at any step: whoever is interrupted holds up nobody, and nothing is lost or doubled."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(program: str, *arguments: str, timeout: float) -> str:
    """Runs a module beside this one; returns what it prints."""
    command = [sys.executable, "-m", f"tests.processes.{program}", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs a timer that sends signals")
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_thread_that_is_interrupted_again_and_again(tmp_path: Path, durability: str) -> None:
    printed = run("interrupt_program", str(tmp_path / "queue.db"), durability, "4", timeout=120)
    found = json.loads(printed)
    assert found["interrupts"] > 100, found
    assert found["told"] > 100, found
    assert {name: found[name] for name in ("hung", "lost", "doubled", "counted")} == {
        "hung": 0,
        "lost": 0,
        "doubled": 0,
        "counted": True,
    }


@pytest.mark.skipif(sys.platform == "win32", reason="needs a timer that sends signals")
@pytest.mark.parametrize(
    ("call", "longest_s"), [("push", 0.0003), ("resume", 0.00006), ("flush", 0.001)]
)
def test_an_engine_whose_caller_is_interrupted_again_and_again(
    tmp_path: Path, call: str, longest_s: float
) -> None:
    arguments = str(tmp_path / "q.db"), call, str(longest_s), "3"
    found = json.loads(run("interrupt_engine", *arguments, timeout=60))
    assert found.pop("interrupts") > 100, found
    assert found == {"lost": 0, "doubled": 0, "remaining": 0, "closed": True}
