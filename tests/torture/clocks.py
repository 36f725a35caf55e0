"""Clocks that jump, time that stands still, and processes that are put to sleep."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from freezegun import freeze_time

from bytelyst_sync import SQLiteStorage, StorageError, SyncEngine
from bytelyst_sync.clock import SystemClock
from bytelyst_sync.testing import Drop, DropAnswer, Reply, SyncServer
from tests.torture import kill_work as work
from tests.torture import process_work
from tests.torture.faketime import FakeClock, missing
from tests.torture.fork_server import ForkServer, read_lines
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.kill import NUMBERS, Hunt
from tests.torture.ledger import applied_once, fields_of
from tests.torture.thread_work import Crew, Pushes
from tests.typed import present

HOUR_S = 3600
CLOCK = SystemClock()
"""freezegun replaces what modules call ``time.monotonic``; this one it does not find."""
PROGRAM = Path(__file__).with_name("clock_program.py")
RETRY_AFTER_S = 1.0
MOST_DELAY_S = 0.5
SLACK_S = 2.0
HEALED_S = 20.0
"""Within this, deliveries go on after an outage that a process met before its end: a flush may end
while the next start still waits for its first answer.
"""
"""For what is queued to be sent, a few dozen at the most."""
FAULTS = (
    Reply(500),
    Reply(503),
    Reply(503, headers={"Retry-After": f"{RETRY_AFTER_S:.0f}"}),
    Reply(429, headers={"Retry-After": f"{RETRY_AFTER_S:.0f}"}),
    DropAnswer(),
    Drop(),
)


class Jumper:
    """A program under a clock that is set while it runs."""

    def __init__(self, trial: Trial, server: SyncServer) -> None:
        self.trial = trial
        self.server = server
        self.clock = FakeClock(trial.folder / "clock")
        self.started = 0
        self.acknowledged: set[int] = set()
        self.now = threading.Event()
        self.start()

    def start(self) -> None:
        """Another run of it."""
        self.started += 1
        self.reported = self.trial.folder / f"jumper-{self.started}"
        settings = {
            "base_url": self.server.url,
            "storage": str(self.trial.folder / "queue.db"),
            "max_retries": 1000,
            "max_retry_delay": MOST_DELAY_S,
        }
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(PROGRAM), json.dumps(settings)),
                *(str(self.reported), str(self.started * NUMBERS)),
            ],
            env=self.clock.environment,
        )
        self.wait_for(lambda: len(read_lines(self.reported)) > 1, 20.0, "it starts")
        believed = read_lines(self.reported)[0]["time"]
        off = abs(believed - time.time() - self.clock.offset_s)
        check(off < 20.0, f"the clock is faked at all: it is off by {off:.0f} s")

    def stop(self) -> None:
        """Kills it."""
        self.process.kill()
        self.process.wait()
        self.note()

    def note(self) -> set[int]:
        """All pushes that returned so far."""
        check(self.process.poll() in (None, -signal.SIGKILL), "a clock that is set ends nothing")
        self.acknowledged |= {line for line in read_lines(self.reported) if isinstance(line, int)}
        return set(self.acknowledged)

    def wait_for(self, holds: Callable[..., object], within_s: float, promise: str) -> float:
        """Waits until it holds; returns how long that took."""
        watch = Stopwatch()
        while not holds():
            check(watch.fair_s < within_s, f"{promise} within {within_s:g} s")
            self.now.wait(0.01)
        return watch.seconds

    def applied(self) -> set[int]:
        """What the server has."""
        return {field for effect in self.server.journal for field in fields_of(effect.data)}


def too_early(server: SyncServer, since: float) -> int:
    """How many writes came before the time that the server had asked for was over."""
    count, until = 0, 0.0
    for seen in server.requests:
        if seen.at < since:
            continue
        count += seen.at < until
        if seen.status in (429, 503):
            until = seen.at + RETRY_AFTER_S - 0.05
    return count


@scenario(
    "clocks", "a clock that jumps by hours delays nothing beyond the longest wait", missing=missing
)
def clock_jumps(trial: Trial) -> dict[str, object]:
    chance = trial.random
    slowest = 0.0
    jumps = restarts = 0
    with ForkServer() as fork_server, SyncServer(latency_s=0.002) as server:
        hunt = Hunt(trial, fork_server, server.url)
        jumper = Jumper(trial, server)
        try:
            for number in range(trial.rounds(5, 26)):
                server.script(*(chance.choice(FAULTS) for _ in range(chance.randrange(1, 9))))
                jumper.now.wait(chance.random() * 0.5)
                size = chance.choice([2, 60, 600, HOUR_S, 5 * HOUR_S, 400 * 24 * HOUR_S])
                offset = chance.choice([-1, 1]) * chance.randrange(1, size)
                before, again = jumper.clock.offset_s, number % 4 == 3
                if again:
                    jumper.stop()
                jumper.clock.set(offset)
                if again:
                    jumper.start()
                server.clear_script()
                wanted = jumper.note()
                took = jumper.wait_for(
                    lambda wanted=wanted: wanted <= jumper.applied(),
                    max(MOST_DELAY_S, RETRY_AFTER_S) + SLACK_S,
                    f"what waits when the clock goes from {before} s off to {offset} s off"
                    f"{' and it starts anew' if again else ''} is delivered",
                )
                slowest = max(slowest, took)
                jumps += 1
                restarts += again
        finally:
            jumper.stop()
        hunt.drain(pause_s=RETRY_AFTER_S + SLACK_S)
        applied = applied_once(server.journal, jumper.acknowledged)
    return {
        "jumps": jumps,
        "with a restart": restarts,
        "pushes": len(jumper.acknowledged),
        "applied": applied,
        "longest wait s": slowest,
    }


@scenario(
    "clocks", "a clock set forwards sends nothing before the server wants it", missing=missing
)
def retry_after_is_kept(trial: Trial) -> dict[str, object]:
    chance = trial.random
    early = asked = 0
    with SyncServer(latency_s=0.002) as server:
        jumper = Jumper(trial, server)
        try:
            for number in range(trial.rounds(3, 8)):
                began = time.time()
                status = chance.choice([429, 503])
                server.script(Reply(status, headers={"Retry-After": f"{RETRY_AFTER_S:.0f}"}))

                def received(began: float = began) -> bool:
                    return any(
                        seen.at > began and seen.status in (429, 503) for seen in server.requests
                    )

                jumper.wait_for(received, 10.0, "the server is asked")
                jumper.clock.set(jumper.clock.offset_s + chance.randrange(2, 5 * HOUR_S))
                jumper.now.wait(RETRY_AFTER_S + 0.2)
                early += too_early(server, began)
                asked = number + 1
        finally:
            jumper.stop()
    check(not early, f"Retry-After is a floor: {early} requests came before it was over")
    return {"pauses": asked, "requests too early": early}


# -- time that stands still -----------------------------------------------------------------------


def date(chance: random.Random) -> datetime:
    """Any."""
    return datetime.fromtimestamp(chance.randrange(10**9, 3 * 10**9), timezone.utc)


@scenario("clocks", "with time frozen, and moved both ways, every wait has its bound")
def frozen_time(trial: Trial) -> dict[str, object]:
    chance = trial.random
    pushes = Pushes()
    slowest = 0.0
    rounds = trial.rounds(10, 60)
    with SyncServer(latency_s=0.001) as server:
        settings = {"base_url": server.url, "storage": str(trial.folder / "queue.db")}
        for _ in range(rounds):
            with freeze_time(date(chance)) as frozen:
                engine = work.made({**settings, "workers": chance.choice([1, 3])})
                crew = Crew()

                def go(engine: SyncEngine = engine) -> None:
                    for _ in range(6):
                        pushes.push(engine)
                        engine.flush(timeout=0.01)

                for _ in range(3):
                    crew.start(go)
                for _ in range(5):
                    frozen.move_to(date(chance))
                    engine.pull("pages", timeout=10.0)
                began = CLOCK.monotonic()
                crew.join()
                result = engine.flush(timeout=10.0)
                check(result.remaining == 0, f"a flush delivers: {result} {engine.status}")
                check(engine.close(timeout=10.0), "close ends the worker")
                slowest = max(slowest, CLOCK.monotonic() - began)
        waited = frozen_wait(trial.folder / "queue.db")
        return {
            "engines": rounds,
            "pushes": len(pushes.returned),
            "applied": applied_once(server.journal, pushes.returned),
            "slowest flush and close s": slowest,
            "busy store told after s": waited,
        }


def frozen_wait(path: Path) -> float:
    """Somebody else holds the store; a write waits for so long and no longer. Returns how long."""
    busy_s = 0.5
    storage = SQLiteStorage(path, busy_timeout_s=busy_s)
    storage.read(lambda tx: None)
    reported = []

    def write() -> None:
        try:
            storage.write(lambda tx: None)
        except StorageError as error:
            reported.append(error)

    lock = os.open(f"{path}.lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with freeze_time(datetime(2030, 1, 1, tzinfo=timezone.utc)):
            began = CLOCK.monotonic()
            thread = threading.Thread(target=write, daemon=True)
            thread.start()
            thread.join(10.0)
            took = CLOCK.monotonic() - began
    finally:
        os.close(lock)
    check(
        reported,
        f"a busy store is waited for {busy_s} s, then told of: {took:.1f} s were not enough",
    )
    thread.join(10.0)
    storage.close()
    return took


# -- processes that are put to sleep --------------------------------------------------------------


@scenario("clocks", "a process suspended for longer than every timeout goes on where it was")
def suspended(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer(latency_s=0.005) as server:
        hunt = Hunt(trial, fork_server, server.url, timeout=(0.3, 0.4), probe_interval=0.2)
        running = [hunt.begin(work.push, hunt.first, f"s{slot}") for slot in range(2)]
        asleep = 0.0
        slowest = 0.0
        for _ in range(trial.rounds(3, 16)):
            hunt.wait(0.3)
            chosen = [pid for pid, _ in running if hunt.chance.random() < 0.6]
            for pid in chosen:
                os.kill(pid, signal.SIGSTOP)
            length = 0.5 + hunt.chance.random() * 0.8
            if hunt.chance.random() < 0.3:
                with server.outage():
                    hunt.rest(length)
            else:
                hunt.rest(length)
            asleep += length * len(chosen)
            seen = len(server.journal)
            for pid in chosen:
                os.kill(pid, signal.SIGCONT)
            began = time.monotonic()
            more = partial(lambda least: len(server.journal) > least, seen + 2)
            goes_on = server.wait_for(more, 10.0)
            check(goes_on, "it goes on when it is woken")
            slowest = max(slowest, time.monotonic() - began)
        for each in running:
            hunt.end(*each)
        hunt.drain(HEALED_S)
        return {**hunt.figures(server.journal), "asleep s": asleep, "slowest to go on s": slowest}


@scenario("clocks", "a server that is suspended in mid-request applies everything once when woken")
def server_suspended(trial: Trial) -> dict[str, object]:
    state = trial.folder / "server.jsonl"
    with ForkServer() as fork_server:
        serving = subprocess.Popen(
            [
                *(sys.executable, "-m", "bytelyst_sync.testing.server"),
                *("--state", str(state), "--latency-ms", "3"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            url = present(serving.stdout).readline().strip().removeprefix("listening on ")
            hunt = Hunt(trial, fork_server, url, timeout=(0.3, 0.4), max_retries=20)
            running = hunt.begin(process_work.push_now_and_then, hunt.first, "a", 30, workers=3)
            asleep = 0.0
            for _ in range(trial.rounds(3, 16)):
                hunt.wait(0.4)
                os.kill(serving.pid, signal.SIGSTOP)
                length = 0.5 + hunt.chance.random() * 0.8
                hunt.rest(length)
                asleep += length
                os.kill(serving.pid, signal.SIGCONT)
            hunt.end(*running)
            hunt.drain(HEALED_S)
        finally:
            serving.kill()
            serving.wait()
            present(serving.stdout).close()
    journal = SyncServer(state=state).journal
    return {
        "pushes": len(hunt.acknowledged),
        "applied": applied_once(journal, hunt.acknowledged),
        "server asleep s": asleep,
        "next start s": max(hunt.drains),
    }
