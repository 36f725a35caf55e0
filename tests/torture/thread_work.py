"""What threads and callbacks do to an engine in ``threads.py``."""

import random
import threading
import time
from collections.abc import Callable, Iterator

from bytelyst_sync import EngineClosedError, SyncEngine
from tests.torture.harness import check
from tests.torture.kill_work import push_one

__all__ = ["WORK", "Crew", "Pushes", "Talk", "push_some"]

BOUND_S = 15.0


class Crew:
    """Threads whose errors are not lost."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []

    def start(self, work: Callable[..., object], *arguments: object) -> threading.Thread:
        """Starts one."""

        def run() -> None:
            try:
                work(*arguments)
            except EngineClosedError:
                pass  # that is how they end
            except BaseException as error:  # noqa: BLE001 - told to the trial's own thread
                self.errors.append(error)

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()
        return self.threads[-1]

    def join(self) -> None:
        """All must end, and none with an error."""
        deadline = time.monotonic() + BOUND_S
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        living = sum(thread.is_alive() for thread in self.threads)
        check(not living, f"no thread hangs: {living} do")
        if self.errors:
            raise self.errors[0]


class Pushes:
    """Pushes with numbers, to records that belong to one thread each; keeps which returned."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self.returned: list[int] = []
        self.slowest_s = 0.0

    def push(self, engine: SyncEngine) -> None:
        """One push of this thread's."""
        with self._lock:
            self._number += 1
            number = self._number
        began = time.monotonic()
        push_one(engine, number, threading.get_ident())
        took = time.monotonic() - began
        with self._lock:
            self.returned.append(number)
            self.slowest_s = max(self.slowest_s, took)


def push_some(engine: SyncEngine, pushes: Pushes, refused: str) -> None:
    """A few, and one that the server will refuse."""
    engine.push("notes", {"id": refused, "refused": True})
    for _ in range(5):
        pushes.push(engine)


def look(engine: SyncEngine, pushes: Pushes) -> None:
    """Every way of looking."""
    engine.get("notes", "1")
    sum(1 for _ in engine.records("notes"))
    list(engine.queue())
    list(engine.failed())
    list(engine.conflicts())
    _ = engine.status, engine.queue_length, engine.is_online


def in_a_transaction(engine: SyncEngine, pushes: Pushes) -> None:
    """A push within a transaction is known to be queued only when that has ended."""
    with engine.transaction():
        engine.push("events", {"n": 1})
        engine.push("events", {"n": 2})


def subscribe(engine: SyncEngine, _: Pushes) -> None:
    """And unsubscribe at once."""
    engine.on_change(lambda change: None)()
    engine.on_status_change(lambda info: None)()


def pause(engine: SyncEngine, _: Pushes) -> None:
    """And resume at once."""
    engine.pause()
    engine.resume()


WORK: dict[str, Callable[[SyncEngine, Pushes], object]] = {
    "push": lambda engine, pushes: pushes.push(engine),
    "push too": lambda engine, pushes: pushes.push(engine),
    "flush": lambda engine, _: engine.flush(),
    "pull": lambda engine, _: engine.pull(),
    "look": look,
    "wait": lambda engine, _: engine.wait(engine.push("events", {"n": 1})),
    "cancel": lambda engine, _: engine.cancel(engine.push("events", {"n": 1})),
    "transaction": in_a_transaction,
    "pause": pause,
    "sync": lambda engine, _: engine.full_sync(),
    "subscribe": subscribe,
    "start": lambda engine, _: engine.start(),
}


def wait_for_a_pusher(engine: SyncEngine, pushes: Pushes) -> None:
    """Waits for another thread that pushes: a push never waits for a callback."""
    crew = Crew()
    crew.start(pushes.push, engine)
    crew.join()


def wait_for_a_subscriber(engine: SyncEngine, pushes: Pushes) -> None:
    """Waits for another thread that subscribes and unsubscribes."""
    crew = Crew()
    crew.start(subscribe, engine, pushes)
    crew.join()


def fail(engine: SyncEngine, pushes: Pushes) -> None:
    """Raises."""
    raise KeyError("a callback's own mistake")


ACTS: dict[str, Callable[[SyncEngine, Pushes], object]] = {
    "push": lambda engine, pushes: pushes.push(engine),
    "flush": lambda engine, _: engine.flush(),
    "pull": lambda engine, _: engine.pull(),
    "sync": lambda engine, _: engine.full_sync(),
    "look": look,
    "wait": lambda engine, _: engine.wait(engine.push("events", {"n": 1})),
    "raise": fail,
    "sleep": lambda engine, _: threading.Event().wait(0.03),
    "subscribe": subscribe,
    "pause": pause,
    "wait for a pusher": wait_for_a_pusher,
    "wait for a subscriber": wait_for_a_subscriber,
    "close": lambda engine, _: engine.close(),
}


def chosen(chance: random.Random, most: int) -> list[str]:
    """Some acts; to close is rare."""
    names = [name for name in ACTS if name != "close"]
    picked = [chance.choice(names) for _ in range(chance.randrange(1, most))]
    return [*picked, "close"] if chance.random() < 0.25 else picked


class Talk:
    """Callbacks of one engine, each with a plan of acts; one of them may run at a time."""

    def __init__(self, engine: SyncEngine, pushes: Pushes, chance: random.Random) -> None:
        self.plans = [chosen(chance, 4) for _ in range(3)]
        self.called = threading.Semaphore(0)
        self.overlaps = 0
        self._engine = engine
        self._pushes = pushes
        self._inside = threading.Lock()
        self._unsubscribes: list[Callable[[], None]] = []
        places: list[Callable[[Callable[..., object]], Callable[[], None]]]
        places = [engine.on_status_change, engine.on_change, engine.on_failure]
        for place, plan in zip(places, self.plans, strict=True):
            left = iter(plan)
            self._unsubscribes.append(place(lambda _, left=left: self._hear(left)))

    def _hear(self, left: Iterator[str]) -> None:
        if not self._inside.acquire(blocking=False):
            self.overlaps += 1
            return
        try:
            act = next(left, None)
            if act is not None:
                ACTS[act](self._engine, self._pushes)
            elif self._unsubscribes:
                self._unsubscribes.pop()()
        finally:
            self._inside.release()
            self.called.release()
