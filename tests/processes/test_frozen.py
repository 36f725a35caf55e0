"""A program that PyInstaller froze pushes and delivers: it sees every import of the package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bytelyst_sync.testing import SyncServer

pytest.importorskip("PyInstaller")

ROOT = Path(__file__).parents[2]
BUILD_TIMEOUT_S = 170
PROGRAM = """
import sys
from bytelyst_sync import *

url, path = sys.argv[1:]
with create_sync_engine(base_url=url, entities={"notes": "/notes"}, storage=path) as engine:
    engine.push("notes", {"id": "1", "title": "from a frozen program"})
    print(engine.flush(timeout=10).success, SyncEngine.__module__, sys.frozen)
"""


@pytest.mark.timeout(BUILD_TIMEOUT_S + 30)
def test_a_frozen_program_delivers(server: SyncServer, path: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    options = ["--onedir", "--noconfirm", "--log-level=ERROR", f"--paths={ROOT}"]
    excluded = ["tkinter", "pytest", "hypothesis", "numpy", "PIL", "django", "cryptography"]
    options += [f"--exclude-module={name}" for name in excluded]
    built = subprocess.run(
        [sys.executable, "-m", "PyInstaller", *options, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYINSTALLER_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    ran = subprocess.run(
        [tmp_path / "dist/program/program", server.url, path],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.stdout.split() == ["True", "bytelyst_sync.engine", "True"], ran.stderr
    assert [effect.id for effect in server.journal] == ["1"]
