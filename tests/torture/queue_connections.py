"""A shared queue whose processes lose the database: in COMMIT, at restarts, behind a pooler; and
workers that no longer hear of pushes.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.pg_relay import Relay
from tests.torture.queue_kills import busy, trouble
from tests.torture.shared_queue import Site, Terms, missing, missing_pooler, wait_told

POLL_S = 5.0
"""How often a worker that hears of pushes looks by itself."""
NEVER_S = 3600.0
LONG: dict[str, Any] = {"request_deadline_s": 60.0, "margin_s": 10.0}
"""The usual lease: workers look three times in its length for leases that have ended, and would
find a push that nobody woke them for.
"""
FOUND_OUT_S = 40.0
"""After this a worker knows that its connection is dead: by an echo every half a minute."""
SOON_S = 3.0
"""For what a notification wakes at once, on a machine that does nothing else."""


# --- SIGTERM during COMMIT


@scenario(
    "django",
    "SIGTERM during COMMIT leaves a transaction whole or absent, and no item behind",
    missing=missing,
    limit_s=900.0,
)
def terminated_in_commit(trial: Trial) -> dict[str, object]:
    held = {"commit": 0, "answer": 0}
    with Site(trial) as site:
        site.worker()
        for number in range(trial.rounds(4, 80)):
            what = ("commit", "answer")[number // 2 % 2]
            with Relay(site.postgresql.port) as relay:
                if number % 2:
                    process = site.worker(port=relay.port)
                    site.pusher()
                else:
                    ends = site.chance.choice(["at once", "SystemExit"])
                    process = site.pusher(ends, port=relay.port)
                wait_told(site, process, "started")
                site.rest(0.3 * site.chance.random())
                relay.hold(what)
                check(relay.held.wait(60.0), f"the {process.kind} commits")
                process.send(signal.SIGTERM)
                site.rest(0.1 * site.chance.random())
                cut = site.chance.random() < 0.3
                if cut:
                    relay.cut()
                relay.let_go()
                watch = Stopwatch()
                status = site.end(process)
                expected = (0, -signal.SIGTERM) if process.kind == "pusher" else (0,)
                check(status in expected, f"the {process.kind} ends well: {status}")
                check(watch.fair_s < 15.0, f"it ends soon: after {watch.fair_s:.1f} s")
                held[what] += 1
            for each in site.of_kind("pusher"):
                site.kill(each)
        found = site.finish(errors=True)
        return {"held COMMITs": held["commit"], "held answers": held["answer"], **found}


# --- restarts


def restarts(site: Site, rounds: int) -> int:
    """PostgreSQL ends as after a crash, and pgbouncer with it at times, under load."""
    done = 0
    for number in range(rounds):
        trouble(site)
        wait_for_more(site)
        server = site.pgbouncer if site.pgbouncer and number % 2 == 0 else site.postgresql
        # at once: PostgreSQL ends as after a crash, and recovers
        server.stop_signal = signal.SIGQUIT if server is site.postgresql else signal.SIGTERM
        server.stop()
        site.rest(0.5 * site.chance.random())
        server.launch()
        done += 1
    site.server.clear_script()
    wait_for_more(site)
    return done


def wait_for_more(site: Site) -> None:
    """Workers and pushers are at work."""
    seen = len(site.server.journal)
    site.wait_for(lambda: len(site.server.journal) > seen + 5, "they go on after a restart")


@scenario(
    "django",
    "PostgreSQL ended at once and started again under load costs no change",
    missing=missing,
    limit_s=900.0,
)
def database_restarted(trial: Trial) -> dict[str, object]:
    with Site(trial) as site:
        busy(site)
        done = restarts(site, trial.rounds(2, 40))
        return {"restarts": done, **site.finish(errors=True)}


@scenario(
    "django",
    "all of it holds behind pgbouncer in transaction mode, with restarts and kills",
    missing=missing_pooler,
    limit_s=900.0,
)
def behind_pgbouncer(trial: Trial) -> dict[str, object]:
    with Site(trial, pooled=True) as site:
        busy(site)
        done = 0
        for _ in range(trial.rounds(1, 20)):
            done += restarts(site, 2)
            victim = site.chance.choice(site.of_kind("worker"))
            site.kill(victim)
            site.worker()
        return {"restarts": done, **site.finish(errors=True)}


# --- wake-ups


@contextmanager
def listening(trial: Trial, poll_s: float) -> "Iterator[tuple[Site, Relay, Commands]]":
    """A site whose workers listen by way of a relay, and one process that pushes when told."""
    with (
        Site(trial, terms=Terms(poll_s=poll_s, **LONG)) as site,
        Relay(site.postgresql.port) as relay,
    ):
        address = site.direct.replace(f"port={site.postgresql.port}", f"port={relay.port}")
        site.settings["LISTEN"] = f"{address} connect_timeout=2"
        commands = Commands(site)
        workers = [site.worker() for _ in range(2)]
        for each in workers:
            wait_told(site, each, "started")
        site.wait_for(lambda: heard(site) >= len(workers), "the workers listen")
        yield site, relay, commands


def heard(site: Site) -> int:
    """How many sessions listen."""
    found = site.query("SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'LISTEN %'")
    return int(found[0][0])


class Commands:
    """A process that pushes changes when it is told, so that no start of one takes time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        path = site.trial.folder / "commands"
        path.touch()
        self._first = site.first_number()
        self._number = self._first
        self._path = path
        self._process = site.start("changes", self._first, str(path))
        wait_told(site, self._process, "started")

    def push(self, record: str, count: int = 1) -> Stopwatch:
        """Has so many changes pushed, each a moment after the one before, and waits until they are;
        a watch that began before the last of them.
        """
        with self._path.open("a") as file:
            file.write(f"{record} {count}\n")
        self._number += count
        watch = Stopwatch()
        wait_told(self._site, self._process, ["done", self._number - 1])
        return watch

    def arrived(self) -> bool:
        """Whether the last one is at the server."""
        last = self._number - 1
        return any((each.data or {}).get("mark") == last for each in self._site.server.journal)

    def deliver(self, record: str, within_s: float, promise: str, count: int = 1) -> float:
        """Pushes, and waits until it has arrived; how long that took."""
        watch = self.push(record, count)
        while not self.arrived():
            check(watch.fair_s < within_s, f"{promise} within {within_s:g} s")
            self._site.rest(0.005)
        return watch.fair_s


@scenario(
    "django",
    "with LISTEN cut or dead without a word, pushes are still delivered within seconds",
    missing=missing,
    limit_s=900.0,
)
def deaf_workers(trial: Trial) -> dict[str, object]:
    slowest = {"heard": 0.0, "cut": 0.0, "dead": 0.0}
    with listening(trial, POLL_S) as (site, relay, commands):
        for number in range(trial.rounds(2, 40)):
            record = f"s{number % 6}"
            took = commands.deliver(record, SOON_S + POLL_S, "a push that is heard is delivered")
            slowest["heard"] = max(slowest["heard"], took)
            way = ("cut", "dead")[number % 2]
            # the workers look again for a moment after a push that they heard of
            site.rest(0.5 if trial.short else POLL_S * site.chance.random())
            if way == "cut":
                relay.cut()
            else:
                relay.dark = True
                if number % 10 == 1 and not trial.short:
                    # they have found out that they hear nothing, and look every second
                    site.rest(FOUND_OUT_S)
            took = commands.deliver(
                record, SOON_S + POLL_S, f"with LISTEN {way}, a push is delivered"
            )
            slowest[way] = max(slowest[way], took)
            relay.dark = False
            if way == "dead":
                relay.cut()
            site.wait_for(lambda: relay.connections >= 2 and heard(site) >= 2, "they listen again")
        return {
            **{f"slowest {way} s": each for way, each in slowest.items()},
            **site.finish(),
        }


@scenario(
    "django",
    "a push that is debounced, a moment after the one that woke the workers, is not left behind",
    missing=missing,
    limit_s=900.0,
)
def debounced_push(trial: Trial) -> dict[str, object]:
    slowest = 0.0
    pairs = trial.rounds(25, 600)
    # workers that hear never look by themselves: what nobody woke them for would stay
    with listening(trial, NEVER_S) as (site, _, commands):
        for number in range(pairs):
            count = site.chance.choice([2, 2, 3])
            took = commands.deliver(
                f"s{number % 6}", SOON_S, "the last of several pushes is delivered", count
            )
            slowest = max(slowest, took)
        return {"series of pushes": pairs, "slowest s": slowest, **site.finish()}
