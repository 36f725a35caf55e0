"""A data logger: samples go out as events, one request each, never merged, never read back.

    python data_logger.py URL STORE [--every SECONDS] [--group N] [--durability full|normal]

It samples until it is told to stop (SIGTERM, Ctrl-C, or after ``--samples``), then gives what
still waits a few seconds and ends; the next run goes on with the rest.

With ``--durability full`` a sample that was saved survives a power cut, at the price of one sync of
the disk per commit; ``--group 20`` commits twenty samples at once. ``normal`` survives a crash of
the program. The store is bounded: when the network has been away for so long that ``--keep``
samples wait, new ones are counted and dropped, and the log says so.
"""

from __future__ import annotations

import argparse
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from bytelyst_sync import (
    EntityConfig,
    QueueFullError,
    StorageError,
    SyncEngine,
    SyncItem,
    create_sync_engine,
)

SAMPLES = "samples"
STOP_PATIENCE_S = 3.0

logger = logging.getLogger("data_logger")


def sample(instrument: str, number: int) -> dict[str, Any]:
    """Ask the instrument; this one is made up, put your driver here."""
    celsius = 21.0 + 1.5 * math.sin(number / 10)
    now = datetime.now(timezone.utc)
    return {"instrument": instrument, "number": number, "at": now, "celsius": round(celsius, 3)}


def open_engine(url: str, store: str, durability: str, keep: int) -> SyncEngine:
    """An engine for events: no local copy, nothing merged, bounded."""
    return create_sync_engine(
        base_url=url,
        entities={SAMPLES: EntityConfig("/samples", dedup="none", replica=False)},
        storage=store,
        durability=durability,
        max_queue_length=keep,
        workers=4,
        exit_timeout=0,  # the end is ours: see below
    )


def ticks(stopped: threading.Event, every_s: float, at_most: int | None) -> Iterator[int]:
    """Number after number, one every so many seconds, until it is time to stop."""
    number = 0
    due = time.monotonic()
    while at_most is None or number < at_most:
        yield number
        number += 1
        due = max(due + every_s, time.monotonic())
        if stopped.wait(due - time.monotonic()):
            return


class Recorder:
    """Groups samples into commits, and counts what could not be saved."""

    def __init__(self, engine: SyncEngine, group: int) -> None:
        self._engine = engine
        self._group = group
        self._waiting: list[dict[str, Any]] = []
        self.saved = 0
        self.dropped = 0

    def add(self, row: dict[str, Any]) -> None:
        """Take a sample; save the group if it is full."""
        self._waiting.append(row)
        if len(self._waiting) >= self._group:
            self.save()

    def save(self) -> None:
        """Save what was taken: all of it, or none."""
        rows, self._waiting = self._waiting, []
        try:
            self._engine.push_many(SAMPLES, rows)
        except (QueueFullError, StorageError) as error:
            self.dropped += len(rows)
            logger.error("%d samples dropped: %s", len(rows), error)  # noqa: TRY400 - no traceback
        else:
            self.saved += len(rows)


def refused(item: SyncItem) -> None:
    """A failure callback: runs on a thread of the engine. The item is kept."""
    logger.error("sample %s refused: %s", item.data["number"], item.last_error)


def main(arguments: list[str] | None = None) -> int:
    """Sample until stopped; return the exit code."""
    parser = argparse.ArgumentParser(description="Log samples, also without a network.")
    parser.add_argument("url")
    parser.add_argument("store")
    parser.add_argument("--instrument", default="thermometer-1")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--samples", type=int, metavar="N", help="stop after so many")
    parser.add_argument("--group", type=int, default=1, metavar="N", help="samples per commit")
    parser.add_argument("--keep", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--durability", choices=("full", "normal"), default="full")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    engine = open_engine(options.url, options.store, options.durability, options.keep)
    with engine:
        engine.on_failure(refused)
        recorder = Recorder(engine, options.group)
        for number in ticks(stopped, options.every, options.samples):
            recorder.add(sample(options.instrument, number))
        recorder.save()
        engine.flush(timeout=STOP_PATIENCE_S)
        left = engine.queue_length
    print(f"{recorder.saved} saved, {recorder.dropped} dropped, {left} left for the next run")
    return 0 if recorder.dropped == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
