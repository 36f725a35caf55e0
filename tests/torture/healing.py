"""After the trouble: once the network is well again, the queue empties by itself, and soon.

Many small engines, each with a network of its own that does one thing wrong for a while. Nobody
calls ``flush``: what is queued must find its own way out.
"""

import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import attrs

from bytelyst_sync import Dialect, SyncEngine, TcpProbe, create_sync_engine
from bytelyst_sync.config.batch_format import BatchFormat
from bytelyst_sync.model import Json
from bytelyst_sync.testing import SyncServer
from tests.torture import faults
from tests.torture.batch_face import BatchFace
from tests.torture.fault_schedule import Only, Storm
from tests.torture.faults import Fault, names_that_fail
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.proxy import FaultProxy
from tests.torture.watchdog import Watchdog
from tests.typed import present

MAX_RETRY_DELAY_S = 0.5
READ_TIMEOUT_S = 0.5
RETRY_AFTER_S = 1.0
PROMISED_S = 5.0
"""Above the largest backoff."""
AT_ONCE = 10
"""Engines, networks and servers in one interpreter: more of them would only wait for each other."""
STALL_S = 30.0
"""For ever, to a client that waits half a second; an end of the fault ends the stall."""


BROKEN_NAMES: set[str] = set()
"""Hosts that are not found for now; each engine has its own."""


@attrs.frozen
class Illness:
    """What is wrong with a network: ``make`` gives the fault of every request, or nothing is
    asked of requests because connections or names fail. ``asked_s`` is what a server asks for.
    """

    name: str
    make: Callable[[], Fault] | None = None
    asked_s: float = 0.0


def _kinds(rng: random.Random) -> list[Illness]:
    """Every kind, each as it is drawn for one engine."""
    code = rng.choice((429, 503))
    dated = rng.random() < 0.5
    return [
        Illness("refused"),
        Illness("no such name"),
        Illness("storm"),
        Illness("reset before", faults.reset_before),
        Illness("reset after", faults.reset_after),
        Illness("silent", lambda: faults.silent_before(STALL_S)),
        Illness("done and silent", lambda: faults.silent_after(STALL_S)),
        Illness("late", lambda: faults.late(READ_TIMEOUT_S + 0.1)),
        Illness("truncated", lambda: faults.truncated(0.6)),
        Illness("garbage", lambda: faults.garbage(b"\x16\x03\x01 no http\r\n\r\n", after=False)),
        Illness("done and garbage", lambda: faults.garbage(b"HTTP/9 what\r\n\r\n", after=True)),
        Illness("busy", lambda: faults.busy(code, RETRY_AFTER_S, dated=dated), RETRY_AFTER_S),
        Illness("busy, no time told", lambda: faults.status(code)),
        Illness("500", lambda: faults.status(500)),
        Illness("502 and done", lambda: faults.status(502, after=True)),
        Illness("408", lambda: faults.status(408)),
        Illness("401", lambda: faults.status(401)),
        Illness("redirect to itself", lambda: faults.elsewhere("{path}", 308)),
        Illness("redirect 301", lambda: faults.elsewhere("{path}", 301)),
        Illness("portal page", lambda: faults.portal("page")),
        Illness("portal redirect", lambda: faults.portal("redirect")),
        Illness("portal 511", lambda: faults.portal("511")),
        Illness("drip", lambda: faults.drip(40, 0.02)),
        Illness("huge", faults.huge),
    ]


class Patient:
    """One engine and its network."""

    def __init__(
        self, number: int, seed: int, server: SyncServer, folder: Path, dog: Watchdog
    ) -> None:
        self.rng = random.Random(seed)
        kinds = _kinds(self.rng)
        self.illness = kinds[number % len(kinds)]
        self.name = f"engine {number}, {self.illness.name}"
        self.collection = f"c{number}"
        self._server = server
        self._dog = dog
        self.reachable = True
        self.schedule: Storm | Only | None = None
        self.host = f"host{number}.torture.test"
        batch = BatchFace(random.Random(seed), 0.0) if self.rng.random() < 0.3 else None
        self.proxy = FaultProxy(("127.0.0.1", server.port), batch=batch)
        self.reprocessed = 0
        self.ids: list[str] = []
        self.engine = self._engine(folder / f"{number}.db", batch is not None)

    def _engine(self, path: Path, batches: bool) -> SyncEngine:
        probes: list[Any] = ["auto", "auto", None, TcpProbe("127.0.0.1", self.proxy.port, 1.0)]
        count = iter(range(1_000_000))
        more: Json = {"dialect": Dialect(batch=BatchFormat(size=10))} if batches else {}
        return create_sync_engine(
            base_url=f"http://{self.host}:{self.proxy.port}",
            entities={"things": f"/{self.collection}"},
            storage=path if self.rng.random() < 0.25 else ":memory:",
            auth=lambda: f"token-{next(count)}",
            timeout=(1.0, READ_TIMEOUT_S),
            retry_delay=self.rng.choice((0.01, 0.1, MAX_RETRY_DELAY_S)),
            max_retry_delay=MAX_RETRY_DELAY_S,
            max_retries=100_000,
            probe=self.rng.choice(probes),
            probe_interval=MAX_RETRY_DELAY_S,
            workers=self.rng.choice((1, 1, 8)),
            exit_timeout=0.0,
            **more,
        )

    def run(self) -> float:
        """Ill for a while, then well; returns the seconds until the queue was empty."""
        illness = self.illness
        longest = max(MAX_RETRY_DELAY_S, illness.asked_s)
        with self.proxy, self.engine as engine:
            if self.rng.random() < 0.5:
                self._push(1)
                engine.flush(timeout=2.0)  # so that some have a connection, and a version
            self._fall_ill()
            self._dog.watch(
                self.name,
                engine,
                self.proxy.pulse,
                reachable=lambda: self.reachable,
                longest_s=longest,
            )
            self._push(self.rng.randint(1, 8))
            spell = threading.Event()
            spell.wait(self.rng.uniform(0.05, 0.9))
            self._push(self.rng.randint(0, 2))
            self._recover()
            watch = Stopwatch()
            while engine.queue_length and watch.fair_s < longest + PROMISED_S:
                # a redirect that leads nowhere is a refusal, which waits for a person
                self.reprocessed += engine.reprocess_failed()
                spell.wait(0.01)
            took = watch.seconds
            left = engine.queue_length
            self._dog.forget(self.name)
            check(
                left == 0,
                f"{self.name}: {left} queued {took:.1f} s after its end, with {engine.status!r}, "
                f"last error {engine.status.last_error}, {[*engine.queue()][:2]}",
            )
            self._see_to_what_was_refused()
            self._check_server()
        return took

    def _push(self, count: int) -> None:
        for _ in range(count):
            record = f"{len(self.ids)}"
            self.ids.append(record)
            self.engine.push("things", {"id": record, "n": 1})
            if self.rng.random() < 0.5:
                self.engine.push("things", {"id": record, "n": 2}, "update")

    def _fall_ill(self) -> None:
        kind = self.illness.name
        self.reachable = kind not in ("refused", "no such name")
        if kind == "refused":
            self.proxy.refuse()
        elif kind == "no such name":
            BROKEN_NAMES.add(self.host)
            self.proxy.cut()
        elif kind == "storm":
            storm = Storm(self.rng, 0.9, stall_s=READ_TIMEOUT_S + 0.1)
            self.schedule = storm
            self.proxy.schedule = storm
        else:
            self.schedule = self.proxy.schedule = Only(present(self.illness.make))

    def _recover(self) -> None:
        kind = self.illness.name
        if kind == "refused":
            self.proxy.admit()
        elif kind == "no such name":
            BROKEN_NAMES.discard(self.host)
        else:
            assert self.schedule is not None
            self.schedule.stop()
        self.reachable = True

    def _see_to_what_was_refused(self) -> None:
        """What failed last."""
        pause = threading.Event()
        watch = Stopwatch()
        while self.engine.status.failed or self.engine.queue_length:
            self.reprocessed += self.engine.reprocess_failed()
            check(watch.fair_s < PROMISED_S, f"{self.name}: what was refused stays so")
            pause.wait(0.01)

    def _check_server(self) -> None:
        there = self._server.records(self.collection)
        missing = [record for record in self.ids if record not in there]
        check(not missing, f"{self.name}: never came: {missing}")
        for record in self.ids:
            mine = present(self.engine.get("things", record))
            check(mine["n"] == there[record]["n"], f"{self.name}: {record} is not as it was pushed")


@scenario("healing", "after a fault ends, the queue is empty within the largest backoff plus 5 s")
def healing(trial: Trial) -> dict[str, object]:
    """A thousand engines, each with its own trouble."""
    count = trial.rounds(48, 1000)
    seeds = [trial.random.getrandbits(48) for _ in range(count)]
    took: dict[int, tuple[str, float]] = {}
    reprocessed: Counter[str] = Counter()
    broken: list[str] = []
    with SyncServer() as server, Watchdog() as dog:
        look_up = names_that_fail(lambda host: host in BROKEN_NAMES)

        def one(number: int) -> None:
            patient = Patient(number, seeds[number], server, trial.folder, dog)
            try:
                took[number] = patient.illness.name, patient.run()
                reprocessed[patient.illness.name] += patient.reprocessed
            except AssertionError as error:
                broken.append(str(error))
            finally:
                with suppress(OSError):
                    patient.engine.close()

        with (
            mock.patch.object(socket, "getaddrinfo", look_up),
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            list(pool.map(one, range(count)))
        journal = server.journal
    check(not broken, f"{len(broken)} of {count} did not heal: " + "; ".join(broken[:3]))
    keys = Counter((each.collection, each.key) for each in journal)
    twice = [key for key, times in keys.items() if times > 1]
    check(not twice, f"applied twice: {twice[:3]}")
    times = sorted(seconds for _, seconds in took.values())
    worst = max(took.values(), key=lambda each: each[1])
    return {
        "healed": f"{len(took)} of {count}",
        "kinds": len({kind for kind, _ in took.values()}),
        "median s": f"{times[len(times) // 2]:.2f}",
        "99 % s": f"{times[int(len(times) * 0.99)]:.2f}",
        "worst s": f"{worst[1]:.2f} ({worst[0]})",
        "allowed s": f"{MAX_RETRY_DELAY_S + PROMISED_S:.1f}",
        "refused and sent again": sum(reprocessed.values()),
        "looks of the watchdog": dog.looks_at_queued,
        "worst quiet s": f"{dog.worst_quiet_s:.2f}",
    }
