"""Who a call belongs to: transactions of threads and tasks, calls from signals and finalizers."""

import asyncio
import gc
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from bytelyst_sync import SyncEngine
from bytelyst_sync.errors import EngineClosedError, SyncError
from bytelyst_sync.testing import SyncServer
from tests.torture.fork_server import ForkServer, read_lines, teller
from tests.torture.harness import Trial, check, scenario
from tests.torture.kill_work import made
from tests.torture.ledger import applied_once
from tests.torture.thread_work import Crew

BOUND_S = 60.0
AT_ONCE_S = 5.0
"""A call from a handler returns or raises within this, also on a busy machine."""


class RolledBackError(Exception):
    """Ends a transaction that is not to be committed."""


def roll_back() -> None:
    """Ends the transaction around it by an exception."""
    raise RolledBackError


class Books:
    """Which events were committed and which were rolled back; only appended to."""

    def __init__(self) -> None:
        self.committed: list[int] = []
        self.rolled_back: list[int] = []

    def note(self, numbers: list[int], *, committed: bool) -> None:
        """Enters the events of one transaction."""
        (self.committed if committed else self.rolled_back).extend(numbers)


def event(number: int) -> dict[str, object]:
    """A record that names its push, as the ledger reads it."""
    return {"id": f"e{number}", f"f{number}": number}


def of_a_thread(engine: SyncEngine, books: Books, numbers: list[int], commit: bool) -> None:
    """One transaction of one thread."""
    try:
        with engine.transaction():
            for number in numbers:
                engine.push("events", event(number))
            if not commit:
                roll_back()
    except RolledBackError:
        pass
    books.note(numbers, committed=commit)


async def of_a_task(engine: SyncEngine, books: Books, numbers: list[int], commit: bool) -> None:
    """One transaction of one task; other tasks run between its pushes."""
    try:
        async with engine.aio.transaction():
            for number in numbers:
                await engine.aio.push("events", event(number))
                await asyncio.sleep(0)
            if not commit:
                roll_back()
    except RolledBackError:
        pass
    books.note(numbers, committed=commit)


async def of_no_transaction(engine: SyncEngine, books: Books, numbers: list[int]) -> None:
    """Pushes of a task beside them: each is committed when it returns."""
    for number in numbers:
        await engine.aio.push("events", event(number))
        books.note([number], committed=True)


@scenario("threads", "a transaction holds the pushes of its thread or task, and of no other")
def transactions_side_by_side(trial: Trial) -> dict[str, object]:
    chance = trial.random
    rounds = trial.rounds(4, 60)
    books = Books()
    with SyncServer() as server:
        settings = {"base_url": server.url, "storage": str(trial.folder / "queue.db")}
        with made(settings) as engine:
            first = 0

            def numbers() -> list[int]:
                nonlocal first
                first += 10
                return list(range(first, first + chance.randrange(1, 6)))

            async def tasks() -> None:
                transactions = [
                    of_a_task(engine, books, numbers(), chance.random() < 0.6) for _ in range(8)
                ]
                alone = [of_no_transaction(engine, books, numbers()) for _ in range(4)]
                await asyncio.gather(*transactions, *alone)

            for _ in range(rounds):
                crew = Crew()
                for _ in range(6):
                    commit = chance.random() < 0.6
                    crew.start(of_a_thread, engine, books, numbers(), commit)
                asyncio.run(asyncio.wait_for(tasks(), BOUND_S))
                crew.join()
            check(engine.flush(timeout=BOUND_S).success, "all that was committed is delivered")
        applied = applied_once(server.journal, books.committed)
        check(applied == len(books.committed), "nothing that was rolled back arrives")
        return {
            "transactions": rounds * 14,
            "committed pushes": len(books.committed),
            "rolled back": len(books.rolled_back),
            "applied": applied,
            "lost": 0,
        }


class PushingFinalizer:
    """Pushes when the garbage collector finds it."""

    def __init__(self, push: Callable[[], object]) -> None:
        self._push = push
        self._cycle = self

    def __del__(self) -> None:
        self._push()


def be_interrupted(settings: dict[str, object], report: str, first: int, seed: int) -> None:
    """Pushes while signal handlers and finalizers push, and closes within a handler at last."""
    write = teller(report)
    chance = random.Random(seed)
    engine = made(settings)
    number, slowest_s = first, 0.0
    outcomes: Counter[str] = Counter()

    def push_one(where: str) -> None:
        nonlocal number, slowest_s
        number += 1
        mine, began = number, time.monotonic()
        try:
            engine.push("events", event(mine))
            write(mine)
            outcomes[f"{where}: pushed"] += 1
        except EngineClosedError:
            raise
        except SyncError:
            outcomes[f"{where}: refused"] += 1
        slowest_s = max(slowest_s, time.monotonic() - began)

    def handle(*_: object) -> None:
        push_one("handler")
        if outcomes["handler: pushed"] > closes_after:
            signal.setitimer(signal.ITIMER_REAL, 0)
            engine.close(timeout=BOUND_S)

    closes_after = chance.randrange(3, 12)
    gc.set_threshold(20)
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.003)
    deadline = time.monotonic() + BOUND_S
    try:
        while time.monotonic() < deadline:
            PushingFinalizer(lambda: None if engine.status.status == "closed" else push_one("end"))
            push_one("main")
    except EngineClosedError:
        outcomes["closed"] += 1
    gc.set_threshold(0)
    write({**outcomes, "slowest_s": slowest_s})


@scenario("threads", "a call in a signal handler or a finalizer lands or raises, at once")
def handlers_and_finalizers(trial: Trial) -> dict[str, object]:
    totals: Counter[str] = Counter()
    acknowledged: set[int] = set()
    slowest_s = 0.0
    with ForkServer() as fork_server, SyncServer() as server:
        settings = {"base_url": server.url, "storage": str(trial.folder / "queue.db")}
        rounds = trial.rounds(3, 40)
        for number in range(rounds):
            report = trial.folder / f"report-{number}"
            work = (settings, str(report), (number + 1) * 10**6, trial.random.randrange(10**6))
            status = fork_server.reap(fork_server.start(be_interrupted, *work))
            check(status == 0, f"a program that is interrupted ends well, not with {status}")
            lines = read_lines(report)
            acknowledged |= {each for each in lines if isinstance(each, int)}
            slowest_s = max(slowest_s, lines[-1].pop("slowest_s"))
            totals.update(lines[-1])
        check(totals["closed"] == rounds, "close works within a handler")
        check(slowest_s < AT_ONCE_S, f"no call waits for its own thread: {slowest_s:.1f} s")
        with made(settings) as engine:
            check(engine.flush(timeout=BOUND_S).success, "all that landed is delivered")
        applied = applied_once(server.journal, acknowledged)
        return {**totals, "applied": applied, "lost": 0, "slowest call s": slowest_s}
