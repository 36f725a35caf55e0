"""The demo: real processes, real kills, real conflicts, and a comparison of the books in the end.

    python examples/demo

Exits with 0 if nothing was lost, nothing came twice and all sides agree, with 1 otherwise.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import both_edit
import dead_zone
from processes import DemoError
from terminal import Screen

ACTS = (dead_zone, both_edit)


def main() -> int:
    """Play the acts; return the exit code."""
    screen = Screen()
    screen.title(
        "bytelyst_sync: push while the network is gone, let processes die, let two disagree"
    )
    found: list[str] = []
    for number, act in enumerate(ACTS, 1):
        screen.act(number, act.TITLE)
        with tempfile.TemporaryDirectory(prefix="bytelyst-sync-demo-") as folder:
            try:
                found += act.play(screen, Path(folder))
            except DemoError as error:
                found.append(str(error))
    screen.differences(found)
    if found:
        screen.verdict(f"{len(found)} differences", good=False)
        return 1
    screen.verdict("nothing lost, nothing twice, and all sides agree", good=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
