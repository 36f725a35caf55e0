"""A list of notes in Tk: the smallest desktop program.

Run it with ``python examples/notes_tk.py https://api.example.com``. The API needs ``/notes``.
"""

from __future__ import annotations

import sys
import tkinter as tk

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.contrib.tk import StatusBadge, TkBridge


class Window:
    """A list, a line to write a new note in, and the badge."""

    def __init__(self, root: tk.Tk, engine: SyncEngine) -> None:
        self.engine = engine
        bridge = TkBridge(root, engine)
        self.list = tk.Listbox(root, width=50)
        self.list.pack(fill="both", expand=True)
        self.title = tk.Entry(root)
        self.title.pack(fill="x")
        self.title.bind("<Return>", lambda _: self.add())
        StatusBadge(root, bridge).pack(anchor="e")
        bridge.on_any(self.refresh)
        self.refresh()

    def add(self) -> None:
        """Saves what was written; the engine delivers it."""
        self.engine.push("notes", {"title": self.title.get()})
        self.title.delete(0, "end")

    def refresh(self) -> None:
        """Shows the local view: it is there without a network too."""
        self.list.delete(0, "end")
        for view in self.engine.record_views("notes", order_by="title"):
            waits = "" if view.state == "synced" else f"   ({view.state})"
            self.list.insert("end", f"{view.data.get('title', '')}{waits}")


def main() -> None:
    """Opens the window until it is closed."""
    root = tk.Tk()
    root.title("Notes")
    with create_sync_engine(
        base_url=sys.argv[1], entities={"notes": "/notes"}, storage="notes.db", pull_interval=30
    ) as engine:
        Window(root, engine)
        root.mainloop()


if __name__ == "__main__":
    main()
