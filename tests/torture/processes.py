"""Many processes on one file: pushing, delivering, dying, forking."""

import os
import signal
import threading
import time
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from bytelyst_sync.testing import SyncServer
from tests.torture import process_work as work
from tests.torture.fork_server import ForkServer, read_lines
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.kill import NUMBERS, Hunt
from tests.torture.ledger import applied_once
from tests.torture.prefork import BOUND_S, Gunicorn, Visitor

A_SECOND = 1.0
SLACK_S = 1.0
"""For a few steps of its own."""
PROCESSES, THREADS = 8, 4


@scenario("processes", "eight processes push while the one that delivers is killed again and again")
def deliverer_killed(trial: Trial) -> dict[str, object]:
    each = trial.rounds(20, 150)
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url)
        began = time.monotonic()
        pushers = [
            hunt.begin(work.push_some, hunt.first, f"p{slot}", THREADS, each, auto_flush=False)
            for slot in range(PROCESSES)
        ]
        wanted = PROCESSES * THREADS * each
        while sum(len(read_lines(reported)) for _, reported in pushers) < wanted + PROCESSES:
            deliverer = hunt.begin(work.deliver, workers=hunt.chance.choice([1, 3]))
            hunt.wait(0.8)
            hunt.end(*deliverer)
        took = time.monotonic() - began
        slowest = 0.0
        for pid, reported in pushers:
            check(fork_server.reap(pid) == 0, "a process that pushes ends well")
            *numbers, last = read_lines(reported)
            hunt.acknowledged |= set(numbers)
            slowest = max(slowest, last["slowest"])
        check(len(hunt.acknowledged) == wanted, "every push returned")
        hunt.drain()
        return {
            **hunt.figures(server.journal),
            "pushes per s": wanted / took,
            "slowest push s": slowest,
        }


@scenario("processes", "when the deliverer is killed, another one sends within a second")
def right_taken_over(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer(latency_s=0.004) as server:
        hunt = Hunt(trial, fork_server, server.url)

        def begin(slot: int) -> tuple[int, Path]:
            return hunt.begin(work.deliver, headers={"X-Slot": str(slot)})

        slots = {slot: begin(slot) for slot in range(4)}
        pusher = hunt.begin(
            work.push_now_and_then, hunt.first, "p", 40, auto_flush=False, headers={"X-Slot": "p"}
        )
        times = []
        for number in range(trial.rounds(5, 30)):
            seen = len(server.requests)
            more = partial(lambda least: len(server.requests) > least, seen + 5)
            check(server.wait_for(more, 5.0), "it sends")
            holder = server.requests[-1].headers["x-slot"]
            old = slots[int(holder)]

            def by_another(holder: str = holder, seen: int = len(server.requests)) -> bool:
                return any(each.headers["x-slot"] != holder for each in server.requests[seen:])

            watch = Stopwatch()
            hunt.end(*old)
            check(server.wait_for(by_another, 10.0), "another one takes over at all")
            times.append(watch.seconds)
            check(watch.fair_s < A_SECOND + SLACK_S, f"within a second: it took {times[-1]:.2f} s")
            slots[int(holder)] = begin(int(holder))
            hunt.wait(0.3 if number % 2 else 0.01)
        for each in [*slots.values(), pusher]:
            hunt.end(*each)
        hunt.drain()
        times.sort()
        return {
            **hunt.figures(server.journal),
            "takeovers": len(times),
            "median s": times[len(times) // 2],
            "slowest s": times[-1],
        }


@scenario("processes", "a push in any process wakes the one that delivers within a second")
def push_wakes_deliverer(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url)
        waiting = [hunt.begin(work.deliver) for _ in range(3)]
        pusher = hunt.begin(work.push_now_and_then, hunt.first, "p", 0, auto_flush=False)
        rounds = trial.rounds(8, 60)
        watch = Stopwatch()
        check(server.wait_for(lambda: len(server.journal) > rounds, 40.0), "pushes are delivered")
        for each in [*waiting, pusher]:
            hunt.end(*each)
        moments = [effect.at for effect in server.journal]
        # each is pushed a few milliseconds after the one before was settled
        times = sorted(b - a for a, b in pairwise(moments))
        slowness = watch.seconds / watch.fair_s
        promise = f"within a second: it took {times[-1]:.2f} s"
        check(times[-1] < (A_SECOND + SLACK_S) * slowness, promise)
        hunt.drain()
        applied_once(server.journal, hunt.acknowledged)
        return {"pushes": len(moments), "median s": times[len(times) // 2], "slowest s": times[-1]}


def lines_by_name(lines: list[Any]) -> dict[str, list[Any]]:
    """What a process told, other than numbers."""
    found: dict[str, list[Any]] = {}
    for line in lines:
        if isinstance(line, dict):
            for name, value in line.items():
                found.setdefault(name, []).append(value)
    return found


@scenario("processes", "forks of every kind amid busy threads: each process delivers its own, once")
def forks_amid_threads(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url, workers=2, exit_timeout=1.0)
        server.put("pages", {"id": "p"})
        count = trial.rounds(20, 100)
        seed = hunt.chance.randrange(10**6)
        lines = hunt.ask(work.forks, hunt.first, count, seed)
        hunt.acknowledged = {line for line in lines if isinstance(line, int)}
        reported = lines_by_name(lines)
        ended = reported["ended"][0]
        bad = Counter(f"{kind}: {status}" for kind, status in ended if status != 0)
        check(not bad, f"every child ends well: {dict(bad)}")
        check(
            "touched" not in reported,
            f"no connection of the parent's is used: {reported.get('touched')}",
        )
        check(
            not any(reported["inherited"]),
            f"no file of the store is inherited: {reported['inherited']}",
        )
        check(reported["left"] == [0], "the parent goes on delivering")
        hunt.drain()
        return {
            "forks": len(reported["inherited"]),
            "from a thread": "half",
            "acknowledged": len(hunt.acknowledged),
            "applied": applied_once(server.journal, hunt.acknowledged),
            "slowest fork s": max(reported["fork"]),
            "connections touched": 0,
            "files inherited": 0,
        }


@scenario(
    "processes", "an engine that is first used in a child, or in a grandchild, delivers there"
)
def first_use_in_a_child(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url)
        born = 0
        rounds = trial.rounds(4, 40)
        for number in range(rounds):
            if number % 2 == 0:
                hunt.path.unlink(missing_ok=True)  # so that the file itself is made in a child
            children, depth = hunt.chance.choice([(1, 1), (4, 1), (2, 2), (1, 4), (3, 2)])
            lines = hunt.ask(work.family, hunt.first, children, depth)
            hunt.acknowledged |= {line for line in lines if isinstance(line, int)}
            reported = lines_by_name(lines)
            born += sum(reported["born"])
            check(reported["left"] == [0], "nothing is left when all of them ended")
        check(len(hunt.acknowledged) == born + rounds, "every push returned")
        hunt.drain()
        return {
            "families": rounds,
            "children and grandchildren": born,
            "acknowledged": len(hunt.acknowledged),
            "applied": applied_once(server.journal, hunt.acknowledged),
        }


@scenario("processes", "pools of multiprocessing, forked and spawned, lose and double nothing")
def pools(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url)
        processes: Counter[str] = Counter()
        for method, count in (
            ("fork", trial.rounds(30, 250)),
            ("spawn", trial.rounds(6, 40)),
            ("forkserver", trial.rounds(0, 30)),
        ):
            if not count:
                continue
            lines = hunt.ask(work.pools, hunt.first, method, count)
            hunt.acknowledged |= {line for line in lines if isinstance(line, int)}
            reported = lines_by_name(lines)
            check(reported["left"] == [0], "the parent goes on delivering")
            processes[method] = reported["processes"][0]
        hunt.drain()
        return {
            **{f"processes by {method}": count for method, count in processes.items()},
            "acknowledged": len(hunt.acknowledged),
            "applied": applied_once(server.journal, hunt.acknowledged),
        }


def visited(trial: Trial, *, preload: bool) -> dict[str, object]:
    """A web server is visited while its processes are killed and replaced."""
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url)
        log = trial.folder / "gunicorn.log"
        stop = threading.Event()
        with Gunicorn(server.url, hunt.path, log, preload=preload) as web:
            visitors = [
                Visitor(web.port, (slot + 1) * NUMBERS, f"v{slot}", stop, slot) for slot in range(4)
            ]
            for visitor in visitors:
                visitor.start()
            first_answers(visitors)
            killed = reloads = 0
            for number in range(trial.rounds(6, 60)):
                hunt.wait(1.0)
                pids = [pid for visitor in visitors for pid in visitor.pids[-3:]]
                if number % 5 == 4:
                    web.reload()
                    reloads += 1
                elif pids and still_child(chosen := hunt.chance.choice(pids), web.process.pid):
                    os.kill(chosen, signal.SIGKILL)
                    killed += 1
            enough = trial.rounds(25, 400)
            deadline = time.monotonic() + 60.0
            while sum(len(visitor.acknowledged) for visitor in visitors) < enough:
                check(
                    time.monotonic() < deadline, f"{enough} visits are answered at all; see {log}"
                )
                stop.wait(0.05)
            stop.set()
            for visitor in visitors:
                visitor.join(BOUND_S)
                check(not visitor.is_alive(), "every visit ends")
            ended = web.stop()
        refused = [status for visitor in visitors for status in visitor.refused]
        check(not refused, f"no push fails: {refused[:5]}; see {log}")
        for visitor in visitors:
            hunt.acknowledged |= {*visitor.acknowledged}
        hunt.drain()
        check(not any(row.status == 422 for row in server.requests), "no key is used twice")
        return {
            "visits": len(hunt.acknowledged),
            "applied": applied_once(server.journal, hunt.acknowledged),
            "workers killed": killed,
            "reloads": reloads,
            "broken off": sum(visitor.broken for visitor in visitors),
            "slowest push s": max(visitor.slowest_push_s for visitor in visitors),
            "slowest visit s": max(visitor.slowest_s for visitor in visitors),
            "end s": ended,
        }


def first_answers(visitors: list[Visitor], enough: int = 1) -> None:
    """Waits until each has so many."""
    now = threading.Event()
    deadline = time.monotonic() + 60.0
    while min(len(visitor.acknowledged) for visitor in visitors) < enough:
        check(time.monotonic() < deadline, "visits are answered at all; see gunicorn.log")
        now.wait(0.05)


def still_child(pid: int, parent: int) -> bool:
    """Whether it is a worker of this web server, and not a stranger under its old number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[1]) == parent


@scenario(
    "processes", "gunicorn, and an engine at work before its forks: all arrives once, in order"
)
def gunicorn_preloaded(trial: Trial) -> dict[str, object]:
    return visited(trial, preload=True)


@scenario("processes", "gunicorn, and an engine made in each worker: all arrives once, in order")
def gunicorn_in_each_worker(trial: Trial) -> dict[str, object]:
    return visited(trial, preload=False)
