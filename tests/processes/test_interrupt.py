"""Ctrl-C, at any step: whoever is interrupted holds up nobody, and nothing is lost or doubled."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("interrupt_program.py")


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
