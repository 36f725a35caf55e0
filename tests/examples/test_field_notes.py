"""The desktop program, used on a screen that nobody sees."""

import subprocess
import sys
from pathlib import Path

from bytelyst_sync.model import Json
from bytelyst_sync.testing import SyncServer
from tests.examples.conftest import PATIENCE_S, ROOT


def test_a_user_works_offline_and_settles_a_conflict(
    screen: str, environment: Json, tmp_path: Path
) -> None:
    played = subprocess.run(
        [sys.executable, ROOT / "tests/examples/drive_field_notes.py", tmp_path / "notes.db"],
        env={**environment, "DISPLAY": screen},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert played.stderr == ""
    assert played.stdout.endswith("played\n")


def test_the_program_starts_and_shows_what_the_api_has(
    screen: str, environment: Json, server: SyncServer, tmp_path: Path
) -> None:
    server.put("notes", {"id": "1", "title": "from the API"})
    with subprocess.Popen(
        [sys.executable, ROOT / "examples/field_notes", server.url, "--store", "notes.db"],
        cwd=tmp_path,
        env={**environment, "DISPLAY": screen},
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        asked = server.wait_for(
            lambda: any(seen.path == "/notes" for seen in server.requests), timeout=20
        )
        program.terminate()
        _, complaint = program.communicate(timeout=PATIENCE_S)
    assert asked, complaint
    assert complaint == ""
