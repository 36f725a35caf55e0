"""A server that is hostile: with answers of any size, shape and content."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bytelyst_sync import SyncEngine, SyncError, create_sync_engine
from bytelyst_sync.model import ConflictStrategy
from bytelyst_sync.testing.raw import Connection, Listener, RecordedRequest
from bytelyst_sync.testing.store import Rules, Store
from tests.torture.floods import FLOODS, SLOW, Flood
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.hostile_values import VALUES
from tests.typed import T

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_MEMORY_MB = 400
"""64 MiB of a body, its parts and the whole, what JSON makes of it, and room for the rest."""
MOST_SECONDS = 30.0
OTHERS = 5


class HostileServer:
    """Well-behaved but for what ``hostile(line, seen)`` says and does."""

    def __init__(self, hostile: Callable[[Connection, RecordedRequest], bool]) -> None:
        self.store = Store(Rules())
        self.well = False
        self.seen: list[RecordedRequest] = []
        self._hostile = hostile
        self._listener = Listener("127.0.0.1", 0, self._serve)
        self.url = f"http://127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self, line: Connection) -> None:
        while (seen := line.read()) is not None:
            self.seen.append(seen)
            if not self.well and self._hostile(line, seen):
                return
            line.send(self.store.handle(seen).encode(head_only=seen.method == "HEAD"))


def _engine(server: HostileServer, **settings: Any) -> SyncEngine:
    options = {
        "base_url": server.url,
        "entities": {"notes": "/notes"},
        "storage": ":memory:",
        "timeout": (1.0, 1.0),
        "retry_delay": 0.02,
        "max_retry_delay": 0.1,
        "max_retries": 3,
        "probe_interval": 0.1,
        "exit_timeout": 0.0,
        **settings,
    }
    return create_sync_engine(**options)


# --- floods


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _no_proc() -> str | None:
    measurable = os.access("/proc/self/clear_refs", os.W_OK)
    return None if measurable else "there is no /proc/self/clear_refs to measure memory by"


def _within(seconds: float, work: Callable[..., T]) -> tuple[T | None, float]:
    """What it returned and how long it took; ``None`` if it did not end in time."""
    done = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    watch = Stopwatch()
    thread.start()
    while thread.is_alive() and watch.fair_s < seconds:
        thread.join(0.1)
    return (done[0] if done else None), watch.seconds


def _flushed(engine: SyncEngine) -> bool:
    """Whether all is delivered in time; a flush by itself does not wait for what backs off."""
    pause, deadline = threading.Event(), time.monotonic() + MOST_SECONDS
    while not (done := engine.flush(timeout=MOST_SECONDS).success) and time.monotonic() < deadline:
        pause.wait(0.05)
    return done


def _suffer(flood: Flood) -> tuple[list[str], float, float]:
    """One flood as the answer to a write, and to a page; what broke, the time and the memory."""

    def hostile(line: Connection, _: object) -> bool:
        flood.send(line)
        return True

    ills, worst = [], 0.0
    flood.prepare()
    with HostileServer(hostile) as server:
        _reset_peak()
        before = _peak_mb()
        engine = _engine(server, auto_flush=False, probe=None, max_retries=0)
        engine.push("notes", {"id": "1"})
        for name, call in (("a write", engine.flush), ("a page", engine.pull)):
            result, took = _within(MOST_SECONDS, lambda call=call: call(timeout=MOST_SECONDS * 8))
            worst = max(worst, took)
            if result is None:
                ills.append(f"as the answer to {name} it has no end")
                break  # the thread that delivers is lost
            if result.success:
                ills.append(f"as the answer to {name} it counts as a success")
        grown = _peak_mb() - before
        if grown > MOST_MEMORY_MB:
            ills.append(f"it took {grown:.0f} MB of memory")
        server.well = True
        if not ills:
            engine.reprocess_failed()
            engine.push("notes", {"id": "2"})
            result, _ = _within(MOST_SECONDS, lambda: _flushed(engine))
            if not (result and len(server.store.records("notes")) == 2):
                ills.append(f"nothing was delivered after it: {engine.status.last_error}")
        if not engine.close(0.5 if ills else 5.0) and not ills:
            ills.append("the engine does not close")
    return ills, worst, grown


@scenario(
    "security",
    "an answer without end or measure is given up, in bounded time and memory",
    missing=_no_proc,
)
def floods(trial: Trial) -> dict[str, object]:
    """Ten gigabytes in every shape."""
    names = [name for name in FLOODS if not (trial.short and name in SLOW)]
    rounds = trial.rounds(1, 2)
    ills, slowest, largest = [], (0.0, ""), (0.0, "")
    for _ in range(rounds):
        trial.random.shuffle(names)
        for name in names:
            message, took, grown = _suffer(FLOODS[name])
            ills += [f"{name}: {each}" for each in message]
            slowest, largest = max(slowest, (took, name)), max(largest, (grown, name))
        check(not ills, f"{len(ills)} of {len(names)} floods: " + "; ".join(ills))
    return {
        "floods": len(names),
        "rounds": rounds,
        "slowest": f"{slowest[0]:.1f} s ({slowest[1]})",
        "most memory": f"{largest[0]:.0f} MB ({largest[1]})",
    }


# --- values


CANNOT_CARRY = "characters that the header If-Match cannot carry"
"""In the error of an edit whose record has a version that no request can be conditional on."""


class _Crashes(logging.Handler):
    """Keeps what the package says of rounds that failed."""

    def __init__(self) -> None:
        super().__init__()
        self.message: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "round failed" in str(record.msg):
            self.message.append(record.getMessage().splitlines()[0])


class _Meeting:
    """One engine meets one hostile answer about one of its records."""

    def __init__(self, name: str, conflict: ConflictStrategy) -> None:
        self.ills: list[str] = []
        self._pace = threading.Event()
        self._answer = VALUES[name]
        self._conflict = conflict

    def run(self) -> list[str]:
        """What broke."""
        with HostileServer(self._hostile) as server:
            engine = _engine(server, conflict=self._conflict)
            self._push(engine, server)
            self._look_at(engine)
            if any("x-evil" in seen.headers for seen in server.seen):
                self.ills.append("it put a header into a request")
            server.well = True
            if not self._until(lambda: self._is_empty(engine), 6):
                left = [(item.operation.value, item.last_error) for item in engine.queue()]
                self.ills.append(f"{left} queued when the server is well again")
            if not engine.close(5.0):
                self.ills.append("the engine does not close")
        return self.ills

    def _hostile(self, line: Connection, seen: RecordedRequest) -> bool:
        about_it = isinstance(seen.body, dict) and seen.body.get("id") == "bad"
        if not (about_it or seen.path.endswith("/bad")):
            return False
        line.send(self._answer)
        return True

    def _push(self, engine: SyncEngine, server: HostileServer) -> None:
        def good() -> int:
            return sum(key.startswith("good") for key in server.store.records("notes"))

        engine.push("notes", {"id": "bad", "n": 1})
        self._until(lambda: any(seen.method == "POST" for seen in server.seen), 2)
        engine.push("notes", {"id": "bad", "n": 2}, "update")
        for number in range(OTHERS):
            engine.push("notes", {"id": f"good{number}"})
        if not self._until(lambda: good() == OTHERS, 5):
            status = engine.status
            reported = f"{status.status}, {str(status.last_error)[:100]}"
            self.ills.append(f"{OTHERS - good()} of {OTHERS} others wait for it ({reported})")

    def _look_at(self, engine: SyncEngine) -> None:
        try:
            json.dumps([*engine.records("notes")], allow_nan=False).encode()
            str([*engine.queue(), *engine.failed(), *engine.conflicts(), engine.status])
        except (ValueError, RecursionError, SyncError) as error:
            self.ills.append(f"the local view cannot be read: {type(error).__name__}")

    def _until(self, holds: Callable[[], object], seconds: float) -> object:
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            self._pace.wait(0.01)
        return holds()

    def _is_empty(self, engine: SyncEngine) -> bool:
        unsendable = [
            item.id for item in engine.failed() if CANNOT_CARRY in (item.last_error or "")
        ]
        if unsendable:  # a person gives the edit up: without the version it would be unconditional
            engine.discard_failed(unsendable)
        # by id, as the answer to a create may have been accepted and unclear
        engine.reprocess_failed([item.id for item in engine.failed()])
        return not engine.queue_length


@scenario("security", "a hostile answer about one record holds up no other, and nothing crashes")
def hostile_values(trial: Trial) -> dict[str, object]:
    """Every odd value a server can send."""
    crashes = _Crashes()
    logging.getLogger("bytelyst_sync").addHandler(crashes)
    names = list(VALUES)
    trial.random.shuffle(names)
    strategies = ["merge"] if trial.short else ["merge", "client-wins", "last-write-wins"]
    ills = {}

    def meet(case: tuple[str, ConflictStrategy]) -> None:
        message = _Meeting(*case).run()
        if message:
            ills[case[0]] = message

    cases = [(name, strategy) for strategy in strategies for name in names]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(meet, cases))
    reported = "; ".join(f"{name}: {', '.join(message)}" for name, message in [*ills.items()][:40])
    check(not ills, f"{len(ills)} of {len(names)} values: {reported}")
    check(
        not crashes.message, f"rounds crashed {len(crashes.message)} times: {crashes.message[:3]}"
    )
    return {"values": len(names), "strategies": len(strategies), "rounds crashed": 0}
