"""Ten thousand changes through a network that loses, delays, damages and invents answers."""

import socket
import threading
import time
from typing import Any
from unittest import mock

from bytelyst_sync import Dialect, SyncEngine, create_sync_engine
from bytelyst_sync.config.batch_format import BatchFormat
from tests.torture.faults import names_that_fail
from tests.torture.harness import Trial, check, scenario
from tests.torture.traffic import ENTITIES, Traffic
from tests.torture.watchdog import Watchdog
from tests.torture.wire import Wire

FAULT_RATE = 0.3
LONGEST_S = 1.0
"""``Retry-After`` asks for no more, and ``max_retry_delay`` is less."""
READ_TIMEOUT_S = 0.4
PROMISE = "through a 30 % fault rate every change comes once, in its record's order"


class Tokens:
    """Another bearer token each time one is asked for."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self) -> str:
        self.given += 1
        return f"token-{self.given}"


class Storming:
    """One engine on one wire in the storm, and what is done to the network meanwhile."""

    def __init__(self, trial: Trial, wire: Wire, **settings: Any) -> None:
        self.rng = trial.random
        self.wire = wire
        self.up = threading.Event()
        self.up.set()
        self.names_fail = False
        self.failed = 0
        self.outages = 0
        self.pulls = [0, 0]
        self.tokens = Tokens()
        self.engine: SyncEngine = create_sync_engine(
            base_url=f"http://api.torture.test:{wire.port}",
            entities=ENTITIES,
            storage=trial.folder / "queue.db",
            auth=self.tokens,
            timeout=(2.0, READ_TIMEOUT_S),
            retry_delay=0.005,
            max_retry_delay=0.05,
            max_retries=200,
            probe_interval=0.1,
            exit_timeout=0.0,
            **settings,
        )

    def reachable(self) -> bool:
        """For the watchdog."""
        return self.up.is_set()

    def trouble(self) -> str:
        """Something that is not done to one request but to all."""
        kind = self.rng.choice(("refuse", "names", "cut", "pull", "pull"))
        if kind == "pull":
            result = self.engine.pull(timeout=2.0)
            self.pulls[not result.success] += 1
        elif kind == "cut":
            self.wire.ask("cut")
        else:
            self.outages += 1
            self.up.clear()
            self.names_fail = kind == "names"
            self.wire.ask("refuse" if kind == "refuse" else "cut")
        return kind

    def clear_up(self, kind: str) -> None:
        """The end of an outage."""
        if kind == "refuse":
            self.wire.ask("admit")
        self.names_fail = False
        self.up.set()

    def drain(self, within_s: float) -> None:
        """Until nothing is queued or failed. A person sends again what the server refused, and by
        their ids also creates whose answer nobody could understand: the keys make it safe.
        """
        deadline = time.monotonic() + within_s
        pause = threading.Event()
        while True:
            failed = list(self.engine.failed())
            self.failed += len(failed)
            if failed:
                self.engine.reprocess_failed([item.id for item in failed])
            elif not self.engine.queue_length:
                return
            self.engine.flush(timeout=1.0)
            left = self.engine.queue_length
            check(time.monotonic() < deadline, f"{left} left after {within_s:.0f} s")
            pause.wait(0.01)


def storm(
    trial: Trial, *, wire_settings: dict[str, object] | None = None, **settings: Any
) -> dict[str, object]:
    """The whole trial."""
    operations = trial.rounds(300, 10_000)
    given = {"seed": trial.seed, "rate": FAULT_RATE, "stall_s": READ_TIMEOUT_S + 0.2}
    with Wire(**given, **(wire_settings or {})) as wire, Watchdog() as dog:
        storming = Storming(trial, wire, **settings)
        look_up = names_that_fail(lambda _: storming.names_fail)
        with mock.patch.object(socket, "getaddrinfo", look_up), storming.engine as engine:
            dog.watch(
                "the engine",
                engine,
                wire.pulse,
                reachable=storming.reachable,
                longest_s=LONGEST_S,
            )
            traffic = Traffic(trial.random, engine, records=max(20, operations // 50))
            began = time.monotonic()
            spell = max(10, operations // 40)
            while traffic.operations < operations:
                traffic.push(spell)
                kind = storming.trouble()
                traffic.push(spell // 5)
                storming.clear_up(kind)
            storming.drain(within_s=trial.rounds(30, 150))
            took = time.monotonic() - began
            tallies = wire.ask("tallies")
            settled = [each.fields for each in engine.conflicts(resolved=True)]
            check(not settled, f"{len(settled)} conflict(s), and there is nobody else to be in one")
            applied = traffic.check_once_and_in_order(wire.ask("journal"))
            wire.ask("rate", 0.0)
            check(engine.pull(timeout=20).success, "a pull without faults succeeds")
            for name in ENTITIES:
                records = wire.ask("records", name)
                traffic.check_server(name, records)
                traffic.check_view(name, records)
            for item in trial.random.sample(traffic.items, min(200, len(traffic.items))):
                state = engine.wait(item, 0)
                check(state in ("delivered", "cancelled", "settled"), f"an item is {state}")
    return figures(storming, traffic, tallies, applied, took, dog)


def figures(
    storming: Storming,
    traffic: Traffic,
    tallies: dict[str, Any],
    applied: int,
    took: float,
    dog: Watchdog,
) -> dict[str, object]:
    """For the table."""
    faults = tallies["faults"]
    met = sum(faults.values())
    reported = {
        "operations": traffic.operations,
        "applied": applied,
        "requests": tallies["requests"],
        "faults": f"{met} ({100 * met / tallies['requests']:.0f} %) of {len(faults)} kinds",
        "outages": storming.outages,
        "refused and sent again": storming.failed,
        "pulls well/ill": "/".join(map(str, storming.pulls)),
        "tokens": storming.tokens.given,
        "worst quiet s": f"{dog.worst_quiet_s:.2f}",
        "seconds": f"{took:.1f}",
    }
    if tallies["batches"]:
        per_batch = tallies["in batches"] / tallies["batches"]
        reported["batches"] = f"{tallies['batches']} of {per_batch:.1f} on average"
        reported["faults within batches"] = tallies["part faults"]
    return reported


@scenario("network", PROMISE)
def storm_one_worker(trial: Trial) -> dict[str, object]:
    """One request at a time."""
    return storm(trial, workers=1)


@scenario("network", PROMISE)
def storm_eight_workers(trial: Trial) -> dict[str, object]:
    """Up to eight at once."""
    return storm(trial, workers=8)


@scenario("network", PROMISE)
def storm_batches(trial: Trial) -> dict[str, object]:
    """Many operations in one request, one request at a time."""
    dialect = Dialect(batch=BatchFormat(size=20))
    return storm(trial, wire_settings={"batch": True}, dialect=dialect, workers=1)


@scenario("network", PROMISE)
def storm_batches_eight_workers(trial: Trial) -> dict[str, object]:
    """Many operations in one request, up to eight requests at once."""
    dialect = Dialect(batch=BatchFormat(size=20))
    return storm(trial, wire_settings={"batch": True}, dialect=dialect, workers=8)


@scenario("network", PROMISE + ", though the server knows no keys")
def storm_without_keys(trial: Trial) -> dict[str, object]:
    """The server forgets every Idempotency-Key: ids and versions must do."""
    return storm(trial, wire_settings={"idempotency": False, "lates": False}, workers=4)
