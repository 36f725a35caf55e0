"""Field notes: a desktop program (Tk) that does not care whether there is a network.

    python examples/field_notes                          with a practice server inside
    python examples/field_notes https://api.example.com  with your API, which has /notes

``--store`` is the file that the notes are kept in; a bearer token may be in FIELD_NOTES_TOKEN.
"""

from __future__ import annotations

import argparse
import os
import sys
import tkinter as tk
from contextlib import ExitStack

from practice import Practice
from window import Window

from bytelyst_sync import EntityConfig, SyncEngine, create_sync_engine


def open_engine(url: str, store: str) -> SyncEngine:
    """An engine for notes; where two people edit one, the user is asked."""
    token = os.environ.get("FIELD_NOTES_TOKEN")
    return create_sync_engine(
        base_url=url,
        entities={"notes": EntityConfig("/notes", conflict="manual")},
        storage=store,
        auth=(lambda: token) if token else None,
        pull_interval=5.0,
        probe_interval=5.0,
        timeout=(3.05, 15.0),
    )


def main(arguments: list[str] | None = None) -> int:
    """Show the window until it is closed."""
    parser = argparse.ArgumentParser(description="Field notes, with or without a network.")
    parser.add_argument("url", nargs="?", help="where the API is; without it: a practice server")
    parser.add_argument("--store", default="field-notes.db")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        practice = None if options.url else stack.enter_context(Practice())
        engine = stack.enter_context(
            open_engine(options.url or practice.url, options.store)  # what waits is delivered
        )
        root = tk.Tk()
        Window(root, engine, practice)
        root.mainloop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
