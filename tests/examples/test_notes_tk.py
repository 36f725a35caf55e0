"""The smallest desktop program, on a screen that nobody sees."""

import subprocess
import sys
from pathlib import Path

from bytelyst_sync.model import Json
from tests.examples.conftest import PATIENCE_S, ROOT

USE = """
import sys
sys.path.insert(0, sys.argv[1])
import tkinter as tk
import notes_tk
from bytelyst_sync import create_sync_engine
from bytelyst_sync.testing import SyncServer
root = tk.Tk()
with SyncServer() as server, create_sync_engine(
    base_url=server.url, entities={"notes": "/notes"}, storage=":memory:", probe=None
) as engine:
    server.put("notes", {"id": "1", "title": "from the API"})
    window = notes_tk.Window(root, engine)
    with server.outage():
        window.title.insert(0, "typed in a tunnel")
        window.add()
        while window.list.get(0, "end") != ("typed in a tunnel   (pending)",):
            root.update()
    assert window.title.get() == ""
    assert engine.full_sync(timeout=20).success
    while window.list.get(0, "end") != ("from the API", "typed in a tunnel"):
        root.update()
    root.destroy()
"""


def test_a_note_is_listed_while_it_waits_and_when_it_is_delivered(
    screen: str, environment: Json, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", USE, ROOT / "examples"],
        cwd=tmp_path,
        env={**environment, "DISPLAY": screen},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
