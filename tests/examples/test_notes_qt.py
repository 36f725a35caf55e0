"""The Qt program, on a screen that nobody sees."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bytelyst_sync.model import Json
from tests.examples.conftest import PATIENCE_S, ROOT

USE = """
import sys
sys.path.insert(0, sys.argv[1])
import notes_qt
from bytelyst_sync import create_sync_engine
from bytelyst_sync.testing import SyncServer
app = notes_qt.QtWidgets.QApplication([])
with SyncServer() as server, create_sync_engine(
    base_url=server.url, entities={"notes": "/notes"}, storage=":memory:"
) as engine:
    server.put("notes", {"id": "1", "title": "from the API"})
    window = notes_qt.Window(engine)
    window.show()
    window.new()
    window.sync()
    while not window.sync_button.isEnabled() or window.model.rowCount() < 2:
        app.processEvents()
    assert window.message.text() == ""
    titles = {note["title"] for note in server.records("notes").values()}
    assert titles == {"from the API", "New note"}
"""


@pytest.mark.skipif(
    not (find_spec("PySide6") or find_spec("PyQt6")), reason="no Qt binding is installed"
)
def test_a_user_makes_a_note_and_syncs(environment: Json, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", USE, ROOT / "examples"],
        cwd=tmp_path,
        env={**environment, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr.replace("This plugin does not support propagateSizeHints()\n", "")
