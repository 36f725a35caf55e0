"""The life of one process that is killed: it exposes units, tracks what they do, and delivers."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bytelyst_sync import create_sync_engine
from bytelyst_sync.experiments import Experiments, experiment_entities

DEFINITION = {
    "key": "kills",
    "hashVersion": 2,
    "variations": ["a", "b"],
    "goals": ["paid", {"key": "revenue", "event": "paid", "kind": "mean"}],
}
BOUND_S = 120.0


def units_of(process: int, thread: int, size: dict[str, int]) -> Iterator[int]:
    """The units of a thread. Each tenth unit is on two devices."""
    for unit in range(size["units"]):
        homes = {unit % size["processes"]}
        if unit % 10 == 0:
            homes.add((unit + 1) % size["processes"])
        if process in homes and unit // size["processes"] % size["threads"] == thread:
            yield unit


def events_of(unit: int) -> Iterator[tuple[str, int]]:
    """What a unit does: the ids and values of its events."""
    if unit % 2:
        yield f"first-{unit}", unit % 50
    if unit % 3 == 0:
        yield f"second-{unit}", unit % 7


def live(url: str, folder: str, process: int, size: dict[str, int]) -> None:
    """Goes on where the last life was killed; ends when all is recorded and delivered."""
    engine = create_sync_engine(
        base_url=url,
        entities=experiment_entities(),
        storage=str(Path(folder) / f"device-{process}.db"),
        probe=None,
        retry_delay=0.01,
        max_retry_delay=0.1,
        give_up_after=86_400,
        exit_timeout=0,
    )
    ab = Experiments(engine, [DEFINITION])
    threads = [
        threading.Thread(target=record, args=(ab, folder, process, number, size))
        for number in range(size["threads"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + BOUND_S
    while engine.queue_length and time.monotonic() < deadline:
        engine.flush(timeout=5)
    assert not list(engine.failed()), "a network's faults fail no event"
    assert not engine.queue_length, "all is delivered in the end"
    engine.close()


def record(ab: Experiments, folder: str, process: int, thread: int, size: dict[str, int]) -> None:
    """Records the units of a thread. What was recorded is noted after it, so that a kill between
    the two has it recorded once more.
    """
    path = Path(folder) / f"noted-{process}-{thread}"
    noted = path.read_bytes().count(b"\n") if path.exists() else 0
    note = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, unit in enumerate(units_of(process, thread, size)):
        if number < noted:
            continue
        ab.variant("kills", unit=f"u{unit}")
        for event_id, value in events_of(unit):
            ab.track("paid", unit=f"u{unit}", value=value, event_id=event_id)
        os.write(note, b"%d\n" % unit)
    os.close(note)
