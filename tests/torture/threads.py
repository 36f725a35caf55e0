"""Threads and callbacks that do everything at once, and the interpreter's end amid them."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bytelyst_sync import SyncEngine
from bytelyst_sync.testing import RawServer, Reply, Stall, SyncServer
from bytelyst_sync.testing.raw import drip
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.kill_work import made
from tests.torture.ledger import applied_once
from tests.torture.thread_work import WORK, Crew, Pushes, Talk, push_some
from tests.typed import present

BOUND_S = 15.0
PROGRAM = Path(__file__).with_name("exit_program.py")
A_SECOND = 1.0


class Bench:
    """Engines on one file, and what was pushed through them."""

    def __init__(self, trial: Trial, server: SyncServer) -> None:
        self.settings = {"base_url": server.url, "storage": str(trial.folder / "queue.db")}
        self.server = server
        self.pushes = Pushes()
        self.slowest_close_s = 0.0
        self._open = 0

    def make(self, **settings: Any) -> SyncEngine:
        """An engine on the file."""
        self._open += 1
        return made({**self.settings, **settings})

    def close(self, engine: SyncEngine) -> None:
        """It must end in time, and its threads with it."""
        began = time.monotonic()
        check(engine.close(timeout=BOUND_S), f"close ends the worker within {BOUND_S:g} s")
        self.slowest_close_s = max(self.slowest_close_s, time.monotonic() - began)
        self._open -= 1
        if self._open:
            return
        deadline = time.monotonic() + BOUND_S
        for thread in threading.enumerate():
            if thread.name.startswith("bytelyst-sync"):
                thread.join(max(0.0, deadline - time.monotonic()))
                check(not thread.is_alive(), f"no thread outlives close: {thread.name} does")

    def settle(self) -> int:
        """Delivers what is left, and compares."""
        engine = self.make()
        while (result := engine.flush(timeout=BOUND_S)).remaining:
            check(result.pushed, f"all is delivered at the end: {result} {engine.status}")
        self.close(engine)
        return applied_once(self.server.journal, self.pushes.returned)


@scenario("threads", "callbacks that push, flush, close, raise or wait for pushers block nobody")
def callbacks_of_all_kinds(trial: Trial) -> dict[str, object]:
    acts = 0
    rounds = trial.rounds(20, 200)
    with SyncServer() as server:
        server.reject = lambda seen: (
            Reply(422, {"error": "no"}) if "refused" in str(seen.body) else None
        )
        bench = Bench(trial, server)
        for number in range(rounds):
            engine = bench.make(workers=trial.random.choice([1, 3]))
            talk = Talk(engine, bench.pushes, trial.random)
            crew = Crew()
            for _ in range(3):
                crew.start(push_some, engine, bench.pushes, f"refused{number}")
            for _ in range(3):
                check(talk.called.acquire(timeout=BOUND_S), f"callbacks are called: {talk.plans}")
            crew.start(engine.flush, BOUND_S)
            crew.join()
            bench.close(engine)
            check(not talk.overlaps, "one callback at a time")
            acts += sum(map(len, talk.plans))
            others = bench.make(auto_flush=False)
            others.discard_failed()
            bench.close(others)
        return {
            "engines": rounds,
            "acts planned": acts,
            "pushes": len(bench.pushes.returned),
            "applied": bench.settle(),
            "slowest push s": bench.pushes.slowest_s,
            "slowest close s": bench.slowest_close_s,
        }


@scenario("threads", "close amid everything ends everything, in time, and loses nothing")
def close_amid_everything(trial: Trial) -> dict[str, object]:
    chance = trial.random
    pause = threading.Event()
    with SyncServer() as server:
        server.put("pages", {"id": "p"})
        bench = Bench(trial, server)
        rounds = trial.rounds(20, 150)
        for _ in range(rounds):
            server.latency_s = chance.choice([0.0, 0.001, 0.01])
            engine = bench.make(workers=chance.choice([1, 3]))
            crew = Crew()

            def go(name: str, engine: SyncEngine = engine) -> None:
                while True:
                    WORK[name](engine, bench.pushes)

            for name in WORK:
                crew.start(go, name)
            pause.wait(chance.random() ** 2 * 0.25)
            closers = chance.choice([1, 1, 4])
            for _ in range(closers - 1):
                crew.start(engine.close, BOUND_S)
            bench.close(engine)
            crew.join()
            check(engine.status.status == "closed", "a closed engine says so")
        return {
            "engines": rounds,
            "threads each": len(WORK),
            "pushes": len(bench.pushes.returned),
            "applied": bench.settle(),
            "slowest push s": bench.pushes.slowest_s,
            "slowest close s": bench.slowest_close_s,
        }


@scenario("threads", "64 threads at two engines on one file: each push once, each record in order")
def sixty_four_threads(trial: Trial) -> dict[str, object]:
    each = trial.rounds(20, 300)
    with SyncServer() as server:
        bench = Bench(trial, server)
        engines = [bench.make(workers=4), bench.make()]
        crew = Crew()
        began = time.monotonic()

        def go(index: int) -> None:
            for step in range(each):
                bench.pushes.push(engines[index % 2])
                if step % 10 == index % 10:
                    engines[(index + 1) % 2].flush(timeout=0.01)

        for index in range(64):
            crew.start(go, index)
        deadline = began + 200.0
        for thread in crew.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        crew.join()
        took = time.monotonic() - began
        check(len(bench.pushes.returned) == 64 * each, "every push returned")
        for engine in engines:
            check(engine.flush(timeout=60.0).remaining == 0, "all is delivered")
            bench.close(engine)
        return {
            "pushes": len(bench.pushes.returned),
            "applied": bench.settle(),
            "pushes per s": 64 * each / took,
            "slowest push s": bench.pushes.slowest_s,
        }


# -- exit -----------------------------------------------------------------------------------------


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes requests and never answers."""
    with SyncServer() as server:
        server.always(Stall(600.0))
        yield server.url


@contextmanager
def deaf() -> Iterator[str]:
    """Connections are made, and nothing is ever read from them."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def dripping() -> Iterator[str]:
    """An answer that comes byte by byte, so that no read ever times out."""
    with RawServer([drip([b" "] * 10_000, 0.1) for _ in range(500)]) as server:
        yield server.url


@contextmanager
def slow() -> Iterator[str]:
    """A server that takes its time."""
    with SyncServer(latency_s=0.3) as server:
        yield server.url


SERVERS = (silent, deaf, dripping, slow)
BUSY = (
    *("one", "workers", "pull", "push", "flush", "close"),
    *("engines", "auth", "probe", "callback", "pulls"),
)
WAYS = {"end": 0, "exit": 3, "error": 1, "forget": 0, "fork": 0}


@scenario("threads", "a program ends within its exit_timeout and a second, whatever is under way")
def exit_with_requests_in_flight(trial: Trial) -> dict[str, object]:
    chance = trial.random
    over: list[float] = []
    kinds = list(BUSY)
    for number in range(trial.rounds(6, 44)):
        if not number % len(kinds):
            chance.shuffle(kinds)
        serving = chance.choice(SERVERS)
        busy, way = kinds[number % len(kinds)], chance.choice(list(WAYS))
        timeout_s = chance.choice([0.0, 0.2, 0.5, 1.0])
        with serving() as url:
            queue = trial.folder / f"queue{number}.db"
            took, fair, status, errors = end_of(url, queue, timeout_s, busy, way)
        what = f"{busy}, {way}, {serving.__name__}, exit_timeout {timeout_s:g} s"
        check(fair <= timeout_s + A_SECOND, f"it took {took:.2f} s to end: {what}")
        check(status == WAYS[way], f"its own exit status stands, {status} does not: {what}")
        own = errors if way == "error" else ""
        check(errors == own, f"nothing is printed at the end: {what}: {errors[-2000:]}")
        over.append(took - timeout_s)
    over.sort()
    return {
        "programs": len(over),
        "median over exit_timeout s": over[len(over) // 2],
        "most over exit_timeout s": over[-1],
    }


def end_of(
    url: str, queue: Path, timeout_s: float, busy: str, way: str
) -> tuple[float, float, int, str]:
    """Seconds from its last act to its end, also such as they would be on a machine that does
    nothing beside; its status, and what it wrote to standard error.
    """
    arguments = [url, str(queue), str(timeout_s), busy, way]
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        timer = threading.Timer(BOUND_S + timeout_s, process.kill)
        timer.start()
        line = present(process.stdout).readline()
        watch = Stopwatch()
        status = process.wait()
        took, fair = watch.seconds, watch.fair_s
        timer.cancel()
        errors = present(process.stderr).read()
    check(line == "bye\n", f"the program comes to its end at all: {busy}: {errors[-2000:]}")
    return took, fair, status, errors
