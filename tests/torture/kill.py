"""SIGKILL at random instants, in whatever the process is doing."""

import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bytelyst_sync.testing import Effect, SyncServer
from tests.torture import kill_work as work
from tests.torture.fork_server import ForkServer, read_lines
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.ledger import applied_once, examined

PATIENT = (3.05, 27.0)
"""Connect and read timeout, in seconds, of the process that delivers what is left. Shorter ones, of
the processes before it, would turn a moment without CPU into an outage, which ends its flush."""
SOON_S = 3.0
"""Within this, on a machine that does nothing beside, the next start has delivered a short queue. A
lease to be waited for would take longer: no timeout here is shorter than 3.05 s."""
NUMBERS = 1_000_000


class Hunt:
    """One file, one server, and processes to be killed; keeps what they were acknowledged."""

    def __init__(self, trial: Trial, fork_server: ForkServer, url: str, **settings: object) -> None:
        self.trial = trial
        self.fork_server = fork_server
        self.path = trial.folder / "queue.db"
        self.settings = {"base_url": url, "storage": str(self.path), **settings}
        self.chance = trial.random
        self.acknowledged: set[int] = set()
        self.kills = self.while_sending = self.with_log = 0
        self.drains: list[float] = []
        self.resolved = 0
        self._begun = 0
        self._now = threading.Event()

    def begin(
        self, function: Callable[..., object], *arguments: object, **settings: object
    ) -> tuple[int, Path]:
        """Starts a process; its numbers are higher than those of all before it."""
        self._begun += 1
        reported = self.trial.folder / f"told-{self._begun}"
        given = {**self.settings, **settings}
        pid = self.fork_server.start(function, given, str(reported), *arguments)
        return pid, reported

    @property
    def first(self) -> int:
        """The first number of the next process."""
        return (self._begun + 1) * NUMBERS

    def wait(self, most_s: float) -> None:
        """Lets a random time pass: often hardly any, as beginnings are delicate."""
        self._now.wait(most_s * self.chance.random() ** 2)

    def wait_until_it_pushes(self, reported: Path, most_s: float = 5.0) -> None:
        """Lets a process come as far as its first push, on a machine that is busy with others."""
        deadline = time.monotonic() + most_s
        while not read_lines(reported) and time.monotonic() < deadline:
            self._now.wait(0.002)

    def rest(self, seconds: float) -> None:
        """Lets just this time pass."""
        self._now.wait(seconds)

    def end(self, pid: int, reported: Path) -> None:
        """Kills it, and looks at what it leaves."""
        status = self.fork_server.kill(pid)
        self.kills += status == -signal.SIGKILL
        self.acknowledged |= {each for each in read_lines(reported) if isinstance(each, int)}
        reported.unlink(missing_ok=True)
        found = examined(self.path, self.trial.folder / "copy")
        self.while_sending += found["sending"] > 0
        self.with_log += found["wal"] > 0

    def ask(
        self, function: Callable[..., object], *arguments: object, **settings: object
    ) -> list[Any]:
        """Lets a process live out its life; gives what it told."""
        pid, reported = self.begin(function, *arguments, **settings)
        status = self.fork_server.reap(pid)
        check(status == 0, f"a process that nobody killed ends well, not with {status}")
        lines = read_lines(reported)
        reported.unlink()
        return lines

    def drain(self, pause_s: float = 0.0) -> None:
        """The next start delivers all at once, after a pause that the server may have asked for."""
        watch = Stopwatch()
        [[duration, queued, failed, conflicts, resolved, message]] = self.ask(
            work.drain, pause_s, timeout=PATIENT
        )
        slowness = watch.seconds / watch.fair_s
        check(queued == failed == conflicts == 0, f"nothing is left after a kill: {message}")
        check(
            duration < SOON_S * slowness,
            f"what a kill left needs no waiting: it took {duration:.2f} s",
        )
        self.drains.append(duration)
        self.resolved += resolved

    def figures(self, journal: list[Effect]) -> dict[str, object]:
        """For the table."""
        applied = applied_once(journal, self.acknowledged)
        return {
            "kills": self.kills,
            "while sending": self.while_sending,
            "with a log": self.with_log,
            "acknowledged": len(self.acknowledged),
            "applied": applied,
            "lost": 0,
            "twice": 0,
            "slowest next start s": max(self.drains),
        }


@scenario("kill", "a push that returned survives SIGKILL at any instant")
def kill_pushing(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url, auto_flush=False)
        for number in range(trial.rounds(50, 450)):
            began = hunt.begin(work.push, hunt.first, "a")
            hunt.wait(0.08)
            hunt.end(*began)
            if number % 20 == 19:
                hunt.drain()
        hunt.drain()
        return hunt.figures(server.journal)


@scenario("kill", "what a killed delivery left arrives once, in order, with the next start")
def kill_delivering(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url)
        for number in range(trial.rounds(30, 300)):
            server.latency_s = hunt.chance.choice([0.0, 0.002, 0.01])
            workers = hunt.chance.choice([1, 3])
            began = hunt.begin(work.push, hunt.first, "a", workers=workers)
            if number % 2:
                hunt.wait_until_it_pushes(began[1])
            hunt.wait(0.12)
            hunt.end(*began)
            if number % 10 == 9:
                hunt.drain()
        hunt.drain()
        check(hunt.while_sending, "some kill came while something was being sent")
        return hunt.figures(server.journal)


@scenario("kill", "processes on one file are killed one by one, and the others go on")
def kill_one_of_several(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer(latency_s=0.001) as server:
        hunt = Hunt(trial, fork_server, server.url, workers=2)

        def begin(slot: int) -> tuple[int, Path]:
            return hunt.begin(work.push, hunt.first, f"s{slot}")

        running = [begin(slot) for slot in range(4)]
        for _ in range(trial.rounds(30, 260)):
            hunt.wait(0.15)
            slot = hunt.chance.randrange(len(running))
            hunt.end(*running[slot])
            running[slot] = begin(slot)
        for each in running:
            hunt.end(*each)
        hunt.drain()
        return hunt.figures(server.journal)


@scenario("kill", "a kill while the log is written back loses nothing and damages nothing")
def kill_checkpointing(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url, auto_flush=False)
        checked = 0
        for number in range(trial.rounds(30, 350)):
            seed = hunt.chance.randrange(10**6)
            began = hunt.begin(work.checkpoint, hunt.first, "a", seed)
            hunt.wait(0.15)
            hunt.end(*began)
            if number % 5 == 4:
                lines = hunt.ask(work.audit)
                queued = [int(name[1:]) for names in lines for name in names]
                lost = hunt.acknowledged - set(queued)
                check(not lost, f"no acknowledged push is lost: {len(lost)} are")
                check(len(queued) == len(set(queued)), "no push is queued twice")
                checked += len(queued)
                hunt.acknowledged.clear()
        return {
            "kills": hunt.kills,
            "with a log": hunt.with_log,
            "pushes found again": checked,
            "lost": 0,
            "damaged": 0,
        }


def sorted_records(records: Iterable[dict[str, Any]]) -> list[dict[str, object]]:
    return sorted(records, key=lambda record: record["id"])


@scenario("kill", "a pull that is killed leaves no gap and no half page behind")
def kill_pulling(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer(page_size=10) as server:
        hunt = Hunt(trial, fork_server, server.url)
        keys = [f"p{number}" for number in range(120)]
        for number, key in enumerate(keys):
            server.put("pages", {"id": key, "n": number})
        looks = 0
        for number in range(trial.rounds(30, 260)):
            for key in hunt.chance.sample(keys, 25):
                if key in server.records("pages") and hunt.chance.random() < 0.2:
                    server.remove("pages", key)
                else:
                    server.put("pages", {"id": key, "n": -number, "of": key})
            server.latency_s = hunt.chance.choice([0.0, 0.001, 0.004])
            began = hunt.begin(work.pull, hunt.first, "a")
            hunt.wait(0.15)
            hunt.end(*began)
            if number % 8 == 7:
                success, *records = hunt.ask(work.view)
                check(success, "the next pull succeeds")
                there = sorted_records(server.records("pages").values())
                check(sorted_records(records) == there, "what is known here is what is there")
                looks += 1
        hunt.drain()
        return {**hunt.figures(server.journal), "views compared": looks}


@scenario("kill", "a conflict being settled at a kill is settled once, and no edit is lost")
def kill_resolving(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url)
        keys = [f"r{number}" for number in range(8)]
        for key in keys:
            server.put("shared", {"id": key})
        for number in range(trial.rounds(30, 400)):
            chosen = hunt.chance.sample(keys, 3)
            for key in chosen:
                server.patch("shared", key, {"theirs": number})
            seed = hunt.chance.randrange(10**6)
            began = hunt.begin(work.resolve, hunt.first, chosen, seed)
            hunt.wait(0.2)
            hunt.end(*began)
            if number % 10 == 9:
                hunt.drain()
        hunt.drain()
        found = {name for record in server.records("shared").values() for name in record}
        lost = {number for number in hunt.acknowledged if f"f{number}" not in found}
        check(not lost, f"no acknowledged edit is lost: {len(lost)} are")
        keyed = [effect.key for effect in server.journal if effect.by == "http"]
        check(len(keyed) == len(set(keyed)), "no change is applied twice")
        refused = sum(seen.status == 412 for seen in server.requests)
        return {
            "kills": hunt.kills,
            "while sending": hunt.while_sending,
            "conflicts met": refused,
            "left to the next start": hunt.resolved,
            "acknowledged": len(hunt.acknowledged),
            "lost": 0,
            "slowest next start s": max(hunt.drains),
        }
