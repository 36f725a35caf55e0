"""Processes of several threads, killed at random on a network with faults: no event is lost.

The server takes the events in by the receiver's rules. In the end its sums must be those of the
books, which are kept from what the processes were to record.
"""

import random
import time
from pathlib import Path
from typing import Any

import attrs

from bytelyst_sync.experiments import MemoryLedger, Receiver
from bytelyst_sync.experiments.assignment import run as assign
from bytelyst_sync.experiments.definitions import read_definition
from bytelyst_sync.experiments.format import Context
from bytelyst_sync.experiments.ledger import joined, parted
from bytelyst_sync.experiments.sums import Sums
from bytelyst_sync.testing import SyncServer
from bytelyst_sync.testing.faults import Drop, DropAnswer, Reply
from tests.torture.fork_server import ForkServer
from tests.trials import kill_work

__all__ = ["Size", "books", "run"]


@attrs.frozen
class Size:
    """How much of it."""

    processes: int = 8
    threads: int = 4
    units: int = 10_000
    kills: int = 1_000
    seed: int = 1
    longest_life_s: float = 0.25


def books(size: Size) -> dict[tuple[int, str], Sums]:
    """The sums by variation and metric, from the plan of the work."""
    definition = read_definition(kill_work.DEFINITION)
    found: dict[tuple[int, str], Sums] = {}
    for unit in range(size.units):
        chosen = assign(definition.experiment, Context({"id": f"u{unit}"})).variation
        values = [value for _, value in kill_work.events_of(unit)]
        revenue = sum(values)
        parts = {
            "": Sums(1),
            "paid": Sums(0, len(values) > 0, len(values) > 0),
            "revenue": Sums(0, revenue, revenue * revenue),
        }
        for metric, sums in parts.items():
            known = found.get((chosen, metric), Sums())
            found[chosen, metric] = known.plus(sums)
    return found


def received(ledger: MemoryLedger) -> dict[tuple[int, str], Sums]:
    """The server's sums, of all days."""
    definition = read_definition(kill_work.DEFINITION)
    found: dict[tuple[int, str], Sums] = {}
    for name, values in ledger.scan("sums", joined("kills", definition.phase)):
        _, variation, _, metric = parted(name)
        known = found.get((int(variation), metric), Sums())
        found[int(variation), metric] = known.plus(Sums(*values))
    return found


def run(folder: Path, size: Size) -> dict[str, object]:
    """The figures; ``holds``: whether the sums are equal."""
    chance = random.Random(size.seed)
    ledger = MemoryLedger()
    definition = read_definition(kill_work.DEFINITION)
    receiver = Receiver(ledger, {"kills": definition})
    faults = {"requests": 0, "faults": 0}

    def met(kind: int) -> Any:
        """Each of three kinds of faults meets a tenth of the requests."""

        def fits(_: object) -> bool:
            faults["requests"] += kind == 0
            hit = chance.random() < 0.1 / (1 - 0.1 * kind)
            faults["faults"] += hit
            return hit

        return fits

    given = (str(folder), size)
    with (
        ForkServer() as fork_server,
        SyncServer(receivers={"experiment-events": receiver.receive}) as server,
    ):
        trouble: list[Any] = [Drop(), DropAnswer(), Reply(503, {"error": "busy"})]
        for kind, fault in enumerate(trouble):
            server.always(fault, match=met(kind))

        def start(process: int) -> int:
            found: int = fork_server.start(
                kill_work.live, server.url, given[0], process, attrs.asdict(size)
            )
            return found

        living = {process: start(process) for process in range(size.processes)}
        kills = 0
        while kills < size.kills:
            time.sleep(chance.random() * size.longest_life_s)
            process = chance.randrange(size.processes)
            kills += fork_server.kill(living[process]) != 0
            living[process] = start(process)
        statuses = [fork_server.reap(pid) for pid in living.values()]
    expected, found = books(size), received(ledger)
    excluded = sum(n for _, n in ledger.scan("excluded", joined("kills", definition.phase)))
    return {
        "units": size.units,
        "kills": kills,
        "requests": faults["requests"],
        "with faults": faults["faults"] / max(1, faults["requests"]),
        "units counted": sum(each.n for (_, metric), each in found.items() if not metric),
        "excluded": excluded,
        "holds": found == expected and not any(statuses),
    }
