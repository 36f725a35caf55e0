"""Runs the programs of examples/ as their readers do: as processes of their own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bytelyst_sync.model import Json
from tests.typed import present

ROOT = Path(__file__).parents[2]
PATIENCE_S = 45


@pytest.fixture(scope="session")
def environment() -> Json:
    """What the programs are started with: the package of this tree, and warnings are errors."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("METER_")},
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def run(environment: Json, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Runs an example to its end; asserts its exit code; returns what it printed and complained."""

    def run(
        example: str, *arguments: Path | str | float, code: int = 0, **variables: str
    ) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, ROOT / "examples" / example, *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout, done.stderr

    return run


@pytest.fixture(scope="session")
def screen() -> Iterator[str]:
    """The name of a screen that nobody sees."""
    pytest.importorskip("tkinter", reason="this Python has no tkinter", exc_type=ImportError)
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed (Debian: xvfb)")
    with subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "820x470x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as xvfb:
        number = present(xvfb.stdout).readline().strip()
        assert number.isdigit(), "Xvfb did not start"
        yield f":{number}"
        xvfb.terminate()
