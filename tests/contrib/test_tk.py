"""The Tk bridge, on a screen that nobody sees."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import SyncStatus, SyncStatusInfo
from bytelyst_sync.contrib.status_text import AMBER, GREEN, RED, status_text
from bytelyst_sync.testing import ManualClock
from tests.examples.conftest import screen  # noqa: F401 - a fixture

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BOUND_S = 55


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


def test_a_program_uses_it(screen: str, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    done = run(HERE / "drive_tk.py", tmp_path / "a.db", DISPLAY=screen)
    assert (done.returncode, done.stdout) == (0, "played\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_the_error_names_the_package() -> None:
    code = "import sys; sys.modules['tkinter'] = None; import bytelyst_sync.contrib.tk"
    done = run("-c", code)
    assert done.returncode == 1
    assert "needs a Python with tkinter (Debian: apt install python3-tk)" in done.stderr


@pytest.mark.parametrize(
    ("changes", "text", "colour"),
    [
        ({}, "online", GREEN),
        ({"queue_length": 2}, "online, 2 waiting", GREEN),
        ({"online": False, "status": SyncStatus.OFFLINE}, "offline", AMBER),
        ({"online": False, "queue_length": 1}, "offline, 1 waiting", AMBER),
        ({"failed": 3, "queue_length": 1}, "online, 3 refused, 1 waiting", RED),
        ({"conflicts": 1}, "online, 1 in conflict", RED),
        ({"paused": True}, "paused", AMBER),
        ({"status": SyncStatus.ERROR}, "trouble", RED),
        ({"status": SyncStatus.CLOSED, "online": False}, "closed", AMBER),
    ],
)
def test_what_a_badge_says(changes: dict[str, Any], text: str, colour: str) -> None:
    now = ManualClock().now
    info = {
        "status": SyncStatus.IDLE, "queue_length": 0, "failed": 0, "conflicts": 0, "online": True,
        "paused": False, "last_error": "why", "last_sync": None, "next_retry": None, "since": now,
        **changes,
    }  # fmt: skip
    shown = status_text(SyncStatusInfo(**info))
    assert (shown.text, shown.colour, shown.detail) == (text, colour, "why")
