"""Plays a user of examples/field_notes, in a process and on a screen of its own.

    python drive_field_notes.py STORE [PICTURES]

Each step is done as a user does it, through the widgets; what the user then sees is waited for.
With PICTURES, a folder, it also writes what the screen shows (needs ``import`` of ImageMagick).
"""

import subprocess
import sys
import time
import tkinter as tk
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from bytelyst_sync import SyncEngine
from tests.typed import present

PROGRAM = Path(__file__).parents[2] / "examples/field_notes"
sys.path.insert(0, str(PROGRAM))

from practice import Practice  # type: ignore[import-not-found]  # noqa: E402
from window import Window  # type: ignore[import-not-found]  # noqa: E402

PATIENCE_S = 20.0
KEYS = {" ": "space", ",": "comma", ".": "period"}


def open_engine(url: str, store: str) -> SyncEngine:
    spec = present(spec_from_file_location("field_notes_main", PROGRAM / "__main__.py"))
    program = module_from_spec(spec)
    present(spec.loader).exec_module(program)
    engine: SyncEngine = program.open_engine(url, store)
    return engine


class User:
    def __init__(self, window: Any, pictures: Path | None) -> None:
        self.window = window
        self.pictures = pictures

    def sees(self, what: str, condition: Callable[[], object]) -> None:
        """Let the program run until the user sees it."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            self.window.root.update()
            if time.monotonic() > deadline:
                raise SystemExit(f"the user did not see: {what}; badge {self.badge()!r}")
            time.sleep(0.01)
        sys.stdout.write(f"saw {what}\n")
        sys.stdout.flush()

    def badge(self) -> str:
        return str(self.window.badge["text"])

    def marks(self) -> dict[str, str]:
        rows = self.window.list
        return {rows.item(k, "text"): rows.set(k, "mark") for k in rows.get_children()}

    def types(self, name: str, text: str) -> None:
        entry = self.window.entries[name]
        start = "1.0" if isinstance(entry, tk.Text) else 0
        entry.focus_force()
        entry.delete(start, "end")
        for character in text:
            entry.event_generate("<Key>", keysym=KEYS.get(character, character))
        self.window.root.update()
        assert self.window._typed()[name] == text

    def presses(self, button: tk.Button) -> None:
        button.invoke()
        self.window.root.update()

    def saves(self) -> None:
        self.window.root.event_generate("<Control-s>")
        self.window.root.update()

    def picks(self, title: str) -> None:
        rows = self.window.list
        key = next(k for k in rows.get_children() if rows.item(k, "text") == title)
        rows.selection_set(key)
        self.window.root.update()

    def takes_picture(self, name: str) -> None:
        if self.pictures is None:
            return
        self.window.root.update()
        time.sleep(0.3)
        self.window.root.update()
        target = str(self.pictures / f"{name}.png")
        subprocess.run(["import", "-window", "root", target], check=True)


def play(user: User, practice: Any, engine: SyncEngine) -> None:
    window = user.window
    user.sees("the notes of the server", lambda: len(user.marks()) == 2)
    user.sees("that it is online", lambda: user.badge() == "online")
    first = "Bridge 14, north pier"

    # no network: it goes on working
    window.network.set(False)
    practice.switch(on=False)
    window.new()
    user.types("title", "Well 7")
    user.types("place", "Bregenz")
    user.saves()
    user.sees("the new note, waiting", lambda: user.marks().get("Well 7") == "waits")
    user.sees("the badge", lambda: user.badge() == "offline, 1 waiting")
    user.picks(first)
    user.types("text", "Crack, 3 mm, measured twice.")
    user.saves()
    user.sees("its change in the queue", lambda: user.badge() == "offline, 2 waiting")
    user.takes_picture("offline")

    # somebody else edits the same note, and the network comes back
    practice.patch("notes", "1", {"text": "Crack, 2 mm. Repaired on Friday.", "place": "Wolfurt"})
    window.network.set(True)
    practice.switch(on=True)
    user.sees("the conflict", lambda: user.marks().get(first) == "conflict")
    user.sees("the notice", window.notice.winfo_ismapped)
    user.sees("that the rest is delivered", lambda: user.badge() == "online, 1 in conflict")
    user.presses(window.decide_button)
    user.sees("the dialog", window.dialog.winfo_ismapped)
    user.takes_picture("conflict")
    assert {n: c.get() for n, c in window.dialog.choices.items()} == {
        "title": "remote",
        "place": "remote",
        "text": "local",
    }
    window.dialog.answer(window.dialog.chosen())
    user.sees("no notice", lambda: not window.notice.winfo_ismapped())
    user.sees("all delivered", lambda: set(user.marks().values()) == {""})
    user.sees("the server has it", lambda: practice.records("notes")["1"]["place"] == "Wolfurt")
    assert practice.records("notes")["1"]["text"] == "Crack, 3 mm, measured twice."
    user.sees("the choice in the form", lambda: window.entries["place"].get() == "Wolfurt")
    assert {note["title"] for note in practice.records("notes").values()} >= {"Well 7"}

    # what is typed and not saved is not overwritten by news
    user.types("title", "Bridge 14")
    practice.patch("notes", "1", {"place": "Dornbirn"})
    user.presses(window.sync_button)
    user.sees("the news in the list", lambda: window.list.set("1", "place") == "Dornbirn")
    assert window.entries["title"].get() == "Bridge 14"

    # picking another note saves it; a delete goes through
    user.picks("Culvert under the B9")
    user.sees("its change saved", lambda: practice.records("notes")["1"]["title"] == "Bridge 14")
    window.delete()
    user.sees("the delete delivered", lambda: "2" not in practice.records("notes"))
    user.sees("nothing waiting", lambda: engine.queue_length == 0)
    assert window.message["text"] == ""
    window.close()


def main(store: str, pictures: str | None = None) -> None:
    with Practice() as practice, open_engine(practice.url, store) as engine:
        root = tk.Tk()
        root.geometry("820x470+0+0")
        user = User(Window(root, engine, practice), Path(pictures) if pictures else None)
        root.report_callback_exception = sys.excepthook
        play(user, practice, engine)
    sys.stdout.write("played\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
