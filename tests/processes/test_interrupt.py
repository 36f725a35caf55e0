"""Ctrl-C, at any step: whoever is interrupted holds up nobody, and nothing is lost or doubled."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("interrupt_program.py")
ENGINE = Path(__file__).with_name("interrupt_engine.py")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a timer that sends signals")
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_thread_that_is_interrupted_again_and_again(tmp_path, durability):
    command = [sys.executable, str(PROGRAM), str(tmp_path / "queue.db"), durability, "4"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
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
def test_an_engine_whose_caller_is_interrupted_again_and_again(tmp_path, call, longest_s):
    command = [sys.executable, str(ENGINE), str(tmp_path / "q.db"), call, str(longest_s), "3"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("interrupts") > 100, found
    assert found == {"lost": 0, "doubled": 0, "remaining": 0, "closed": True}
