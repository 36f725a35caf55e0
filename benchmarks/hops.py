"""How many calls of the package's own functions one push and one delivery take, in how many files.

A reader of the code, and the interpreter, go this way. The figures are counted by a profile hook
in every thread, with a transport that answers from memory: the same on every machine.

Run it with ``python -m benchmarks.hops``; ``--list push`` or ``--list delivery`` shows the calls.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import bytelyst_sync
from benchmarks.harness import record
from bytelyst_sync import Request, Response, SyncEngine, create_sync_engine

ITEMS = 1000
MOST = {"push": (60, 14), "delivery": (80, 30)}
"""Calls for each item, and files: what we aim at."""
_ROOT = str(Path(bytelyst_sync.__file__).parent)
Calls = Counter[tuple[str, str]]
"""How often each function was called, by its file and its name."""


class Accepting:
    """A transport whose server stores everything and says nothing."""

    def send(self, request: Request) -> Response:
        """204 to everything."""
        return Response(204, {}, b"", request.url)


def counted(work: Callable[[], object]) -> Calls:
    """The calls of the package's functions while ``work`` runs, in all threads."""
    calls: Calls = Counter()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(_ROOT):
                name = getattr(code, "co_qualname", code.co_name)
                calls[code.co_filename.removeprefix(_ROOT + "/"), name] += 1

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


def engine(folder: Path) -> SyncEngine:
    """An engine with a local view on a file."""
    return create_sync_engine(
        base_url="http://server.invalid",
        entities={"notes": "/notes"},
        storage=folder / "hops.db",
        durability="normal",
        transport=Accepting(),
        auto_flush=False,
        probe=None,
        exit_timeout=0,
    )


def push(folder: Path) -> Calls:
    """One push of a new record, a second after the store was created.

    Until then each commit examines the files one by one, because a directory's times do not yet
    tell two changes apart.
    """
    with engine(folder) as opened:
        opened.push("notes", record(0))
        time.sleep(1.0)
        for number in range(1, 8):
            opened.push("notes", record(number))
        return counted(lambda: opened.push("notes", record(8)))


def delivery(folder: Path) -> Calls:
    """The delivery of 1,000 queued creates, from ``flush`` to its result."""
    with engine(folder) as first:
        first.push_many("notes", [record(number) for number in range(ITEMS)])
    second = engine(folder)

    def flush() -> None:
        result = second.flush()
        if result.pushed != ITEMS:
            raise RuntimeError(f"not everything was delivered: {result}")
        second.close()

    return counted(flush)


def main() -> None:
    """Prints a line for each, and with ``--list`` the calls."""
    parser = argparse.ArgumentParser(description="Calls and files of a push and of a delivery.")
    parser.add_argument("--list", choices=MOST, help="show the calls of this one")
    chosen = parser.parse_args()
    for name, work, items in (("push", push, 1), ("delivery", delivery, ITEMS)):
        with tempfile.TemporaryDirectory(prefix="hops-") as folder:
            calls = work(Path(folder))
        each, files = sum(calls.values()) / items, len({file for file, _ in calls})
        # what a run does once says nothing of the way of an item
        way = len({file for (file, _), number in calls.items() if number >= items})
        most = MOST[name]
        print(
            f"{name:10} {each:7.1f} calls for each item (aim: {most[0]}),"
            f" {way} files on its way (aim: {most[1]}), {files} in all"
        )
        if chosen.list == name:
            for (file, function), number in calls.most_common():
                print(f"  {number / items:8.2f}  {file}: {function}")


if __name__ == "__main__":
    main()
