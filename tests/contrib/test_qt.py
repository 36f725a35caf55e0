"""The Qt bridge, on a screen that nobody sees, with each binding."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BOUND_S = 55
BINDINGS = ["PyQt6", *(["PySide6"] if sys.version_info >= (3, 11) else [])]
"""PySide6 6.12 aborts on Python 3.10 (``munmap_chunk(): invalid pointer``)."""


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "QT_QPA_PLATFORM": "offscreen",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_program_uses_it(tmp_path: Path, binding: str) -> None:
    if find_spec(binding) is None:
        pytest.skip(f"{binding} is not installed")
    done = run(HERE / "drive_qt.py", binding, tmp_path / "a.db")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "played\n"
    assert "Traceback" not in done.stderr


WITHOUT = """
import sys
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in ("PySide6", "PyQt6") else find(name, *a)
import bytelyst_sync.contrib.qt
"""


def test_the_error_names_the_extra() -> None:
    done = run("-c", WITHOUT)
    assert done.returncode == 1
    assert 'needs the extra "qt": pip install "bytelyst-sync[qt]"' in done.stderr


def test_nothing_of_it_is_imported_by_the_package() -> None:
    done = run(
        "-c", "import sys, bytelyst_sync.engine; print([m for m in sys.modules if 'Qt' in m])"
    )
    assert done.stdout == "[]\n"
