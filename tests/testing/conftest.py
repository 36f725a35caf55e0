"""A project of a user's own: a directory, and pytest with what setup.cfg says of the plugin."""

import configparser
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path on which pytest finds the plugin as it does where the package is installed."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    entry = parser["options.entry_points"]["pytest11"].strip()
    path = tmp_path_factory.mktemp("installed")
    about = path / "bytelyst_sync_tried-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: bytelyst-sync-tried\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text(f"[pytest11]\n{entry}\n")
    return path


@pytest.fixture
def run_project(tmp_path: Path, installed: Path) -> Callable[..., tuple[int, str]]:
    """Runs pytest in `tmp_path`, which may hold any files, with warnings as errors."""

    def run(*arguments: str) -> tuple[int, str]:
        path = os.pathsep.join((str(ROOT), str(installed)))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run
