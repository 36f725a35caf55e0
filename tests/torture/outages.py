"""Outages of minutes: gateways, proxies and dead hosts answer for the API, and nothing is lost.

Time is real and short: an outage lasts many times ``max_retry_delay``, as half an hour does with
the default of five minutes. The retry budget is one attempt, so that an outage that spends retries
fails the queue. Nobody calls ``flush``.
"""

import random
import threading
from collections.abc import Callable

import attrs

from bytelyst_sync import EntityConfig, create_sync_engine
from bytelyst_sync.testing import SyncServer
from tests.torture import faults
from tests.torture.fault_schedule import Only
from tests.torture.faults import Fault
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.proxy import FaultProxy
from tests.torture.traffic import ENTITIES, Traffic
from tests.torture.watchdog import Watchdog
from tests.typed import present

MAX_RETRY_DELAY_S = 0.25
READ_TIMEOUT_S = 0.3
ASKED_S = 1.0
"""What ``Retry-After`` of a 503 asks for: an answer of the API, obeyed in full."""
SLACK_S = 2.0
"""For the requests themselves, above ``max_retry_delay``."""
STALL_S = 30.0
"""Longer than the client waits; the end of the outage ends the connection."""
AN_HOUR = {"Retry-After": "3600", "Backoff": "3600"}
"""On a page that is no answer of the API: counts up to ``max_retry_delay``."""


@attrs.frozen
class Outage:
    """How the API is away: each request meets a fault that ``make`` draws; without: refused."""

    name: str
    make: Callable[[], Fault] | None = None
    asked_s: float = 0.0


def outages(rng: random.Random) -> list[Outage]:
    """Every kind."""
    gateway = faults.gateway
    kinds: list[Callable[[], Fault]] = [
        lambda: gateway(502),
        lambda: gateway(502, after=True),
        lambda: gateway(504, after=True),
        lambda: gateway(404),
        lambda: gateway(410, page=False),
        lambda: gateway(403, page=False),
        lambda: gateway(503, page=False),
        lambda: faults.status(500),
        lambda: faults.silent_before(STALL_S),
        lambda: faults.silent_after(STALL_S),
        faults.reset_before,
        faults.reset_after,
        lambda: gateway(404, headers=AN_HOUR),
    ]

    def in_turns() -> Fault:
        return rng.choice(kinds)()

    return [
        Outage("502 page", lambda: gateway(502, after=rng.random() < 0.3)),
        Outage("503 page", lambda: gateway(503)),
        Outage("504 page", lambda: gateway(504, after=rng.random() < 0.5)),
        Outage("404 page", lambda: gateway(404, after=rng.random() < 0.2)),
        Outage("404 empty", lambda: gateway(404, page=False)),
        Outage("410 page", lambda: gateway(410)),
        Outage("403 page", lambda: gateway(403)),
        Outage("403 empty", lambda: gateway(403, page=False)),
        Outage("407 page", lambda: gateway(407)),
        Outage("400 page", lambda: gateway(400)),
        Outage("404 page, Retry-After an hour", lambda: gateway(404, headers=AN_HOUR)),
        Outage("502 page, Retry-After an hour", lambda: gateway(502, headers=AN_HOUR)),
        Outage("500", lambda: faults.status(500, after=rng.random() < 0.3)),
        Outage("408", lambda: faults.status(408)),
        Outage("503 Retry-After", lambda: faults.busy(503, ASKED_S, dated=False), ASKED_S),
        Outage("refused"),
        Outage("silent", lambda: faults.silent_before(STALL_S)),
        Outage("done and silent", lambda: faults.silent_after(STALL_S)),
        Outage("reset", faults.reset_after),
        Outage("in turns", in_turns),
        Outage("in turns again", in_turns),
    ]


class Storm:
    """One engine, its server, and the proxy that plays the outages."""

    def __init__(self, trial: Trial, server: SyncServer, proxy: FaultProxy, workers: int) -> None:
        self.rng = trial.random
        self.server, self.proxy = server, proxy
        self.up = threading.Event()
        self.up.set()
        self.pause = threading.Event()
        self.failures: list[object] = []
        self.worst: tuple[float, str] = (0.0, "")
        self.reasons: set[str] = set()
        self.fault: Only | None = None
        self.engine = create_sync_engine(
            base_url=proxy.url,
            entities={**ENTITIES, "parts": EntityConfig("/parts", references={"note": "notes"})},
            storage=trial.folder / "queue.db",
            timeout=(1.0, READ_TIMEOUT_S),
            retry_delay=0.02,
            max_retry_delay=MAX_RETRY_DELAY_S,
            max_retries=1,
            probe_interval=MAX_RETRY_DELAY_S,
            durability="normal",
            workers=workers,
            exit_timeout=0.0,
        )
        self.engine.on_failure(self.failures.append)
        self.traffic = Traffic(trial.random, self.engine, records=12)

    def play(self, outage: Outage) -> None:
        """The outage over what is queued and what is pushed meanwhile; then the server returns."""
        engine, before = self.engine, len(self.failures)
        self._begin(outage)
        for _ in range(self.rng.randint(3, 6)):
            self.traffic.push(self.rng.randint(1, 6))
            self.pause.wait(self.rng.uniform(0.5, 2.0) * MAX_RETRY_DELAY_S)
        status = engine.status
        self.reasons.add(status.reason or status.status.value)
        check(
            not status.failed and len(self.failures) == before,
            f"{outage.name}: an outage fails nothing: {self.failures[before:][:2]}",
        )
        self._end(outage)
        allowed = max(MAX_RETRY_DELAY_S, outage.asked_s) + SLACK_S
        watch = Stopwatch()
        while engine.queue_length and watch.fair_s < allowed:
            self.pause.wait(0.01)
        self.worst = max(self.worst, (watch.fair_s, outage.name))
        left = list(engine.queue())
        check(
            not left,
            f"{outage.name}: {len(left)} left {watch.seconds:.1f} s after the server's return,"
            f" with {engine.status!r}, last error {engine.status.last_error}, {left[:2]}",
        )
        failed = list(engine.failed())
        check(not failed, f"{outage.name}: an outage fails nothing: {failed[:2]}")

    def _begin(self, outage: Outage) -> None:
        if outage.make is None:
            self.up.clear()
            self.proxy.refuse()
        else:
            self.fault = self.proxy.schedule = Only(outage.make)

    def _end(self, outage: Outage) -> None:
        if outage.make is None:
            self.proxy.admit()
            self.up.set()
        else:
            present(self.fault).stop()
            self.proxy.cut()

    def check_server(self) -> int:
        """Everything came, and the view is the server's state; returns how much was applied."""
        journal = [
            (each.collection, each.id, each.kind, each.key, (each.data or {}).get("n"))
            for each in self.server.journal
        ]
        applied = self.traffic.check_once_and_in_order(journal)
        check(self.engine.pull(timeout=20).success, "a pull without faults succeeds")
        for name in ENTITIES:
            self.traffic.check_server(name, self.server.records(name))
            self.traffic.check_view(name, self.server.records(name))
        lost = list(self.engine.conflicts(resolved=True))
        check(not lost, f"no page of a gateway is taken for a conflict: {lost[:2]}")
        return applied


def outage_storm(trial: Trial, workers: int) -> dict[str, object]:
    """Every kind in turns, in a random order; the short form takes a few."""
    kinds = outages(trial.random)
    rounds = trial.rounds(1, 4)
    with SyncServer() as server, FaultProxy(("127.0.0.1", server.port)) as proxy, Watchdog() as dog:
        storm = Storm(trial, server, proxy, workers)
        with storm.engine as engine:
            storm.traffic.push(20)
            check(engine.flush(timeout=20).success, "the API has answered once")
            dog.watch(
                "the engine",
                engine,
                proxy.pulse,
                reachable=storm.up.is_set,
                longest_s=max(MAX_RETRY_DELAY_S, ASKED_S),
            )
            played = []
            for _ in range(rounds):
                turn = trial.random.sample(kinds, 5 if trial.short else len(kinds))
                for outage in turn:
                    storm.play(outage)
                    played.append(outage.name)
            dog.forget("the engine")
            applied = storm.check_server()
    worst_s, worst = storm.worst
    return {
        "outages": len(played),
        "kinds": len(set(played)),
        "operations": storm.traffic.operations,
        "applied": applied,
        "requests in vain": sum(proxy.faults.values()),
        "failed": 0,
        "lost": 0,
        "twice": 0,
        "slowest to deliver all s": f"{worst_s:.2f} ({worst})",
        "reasons shown": ", ".join(sorted(storm.reasons)),
    }


PROMISE = "an outage of many backoffs fails and loses nothing, and its end is noticed by itself"


@scenario("outages", PROMISE)
def outages_one_worker(trial: Trial) -> dict[str, object]:
    """One request at a time."""
    return outage_storm(trial, 1)


@scenario("outages", PROMISE)
def outages_eight_workers(trial: Trial) -> dict[str, object]:
    """Up to eight at once."""
    return outage_storm(trial, 8)
