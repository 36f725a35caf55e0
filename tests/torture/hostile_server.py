"""A server that is hostile: with answers of any size, shape and content."""

import json
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bytelyst_sync import SyncError, create_sync_engine
from bytelyst_sync.testing.raw import Listener
from bytelyst_sync.testing.store import Rules, Store
from tests.torture.floods import FLOODS, SLOW
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.hostile_values import VALUES

MOST_MEMORY_MB = 400
"""64 MiB of a body, its parts and the whole, what JSON makes of it, and room for the rest."""
MOST_SECONDS = 30.0
OTHERS = 5


class HostileServer:
    """Well-behaved but for what ``hostile(line, seen)`` says and does."""

    def __init__(self, hostile):
        self.store = Store(Rules())
        self.well = False
        self.seen = []
        self._hostile = hostile
        self._listener = Listener("127.0.0.1", 0, self._serve)
        self.url = f"http://127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _serve(self, line):
        while (seen := line.read()) is not None:
            self.seen.append(seen)
            if not self.well and self._hostile(line, seen):
                return
            line.send(self.store.handle(seen).encode(head_only=seen.method == "HEAD"))


def _engine(server, **settings):
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


def _peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _reset_peak():
    Path("/proc/self/clear_refs").write_text("5")


def _no_proc():
    measurable = os.access("/proc/self/clear_refs", os.W_OK)
    return None if measurable else "there is no /proc/self/clear_refs to measure memory by"


def _within(seconds, work):
    """What it returned and how long it took; ``None`` if it did not end in time."""
    done = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    watch = Stopwatch()
    thread.start()
    while thread.is_alive() and watch.fair_s < seconds:
        thread.join(0.1)
    return (done[0] if done else None), watch.seconds


def _suffer(send):
    """One flood as the answer to a write, and to a page; what broke, the time and the memory."""

    def hostile(line, _):
        send(line)
        return True

    ills, worst = [], 0.0
    getattr(send, "prepare", lambda: None)()
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
            result, _ = _within(MOST_SECONDS, lambda: engine.flush(timeout=MOST_SECONDS))
            if not (result and result.success and len(server.store.records("notes")) == 2):
                ills.append("nothing was delivered after it")
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
            said, took, grown = _suffer(FLOODS[name])
            ills += [f"{name}: {each}" for each in said]
            slowest, largest = max(slowest, (took, name)), max(largest, (grown, name))
        check(not ills, f"{len(ills)} of {len(names)} floods: " + "; ".join(ills))
    return {
        "floods": len(names),
        "rounds": rounds,
        "slowest": f"{slowest[0]:.1f} s ({slowest[1]})",
        "most memory": f"{largest[0]:.0f} MB ({largest[1]})",
    }


# --- values


class _Crashes(logging.Handler):
    """Keeps what the package says of rounds that failed."""

    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        if "round failed" in str(record.msg):
            self.said.append(record.getMessage().splitlines()[0])


class _Meeting:
    """One engine meets one hostile answer about one of its records."""

    def __init__(self, name, conflict):
        self.ills = []
        self._pace = threading.Event()
        self._answer = VALUES[name]
        self._conflict = conflict

    def run(self):
        """What broke."""
        with HostileServer(self._hostile) as server:
            engine = _engine(server, conflict=self._conflict)
            self._push(engine, server)
            self._look_at(engine)
            if any("x-evil" in seen.headers for seen in server.seen):
                self.ills.append("it put a header into a request")
            server.well = True
            if not self._until(lambda: self._is_empty(engine), 6):
                self.ills.append(f"{engine.queue_length} queued when the server is well again")
            if not engine.close(5.0):
                self.ills.append("the engine does not close")
        return self.ills

    def _hostile(self, line, seen):
        about_it = isinstance(seen.body, dict) and seen.body.get("id") == "bad"
        if not (about_it or seen.path.endswith("/bad")):
            return False
        line.send(self._answer)
        return True

    def _push(self, engine, server):
        def good():
            return sum(key.startswith("good") for key in server.store.records("notes"))

        engine.push("notes", {"id": "bad", "n": 1})
        self._until(lambda: any(seen.method == "POST" for seen in server.seen), 2)
        engine.push("notes", {"id": "bad", "n": 2}, "update")
        for number in range(OTHERS):
            engine.push("notes", {"id": f"good{number}"})
        if not self._until(lambda: good() == OTHERS, 5):
            status = engine.status
            told = f"{status.status}, {str(status.last_error)[:100]}"
            self.ills.append(f"{OTHERS - good()} of {OTHERS} others wait for it ({told})")

    def _look_at(self, engine):
        try:
            json.dumps([*engine.records("notes")], allow_nan=False).encode()
            str([*engine.queue(), *engine.failed(), *engine.conflicts(), engine.status])
        except (ValueError, RecursionError, SyncError) as error:
            self.ills.append(f"the local view cannot be read: {type(error).__name__}")

    def _until(self, holds, seconds):
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            self._pace.wait(0.01)
        return holds()

    def _is_empty(self, engine):
        engine.reprocess_failed()
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

    def meet(case):
        said = _Meeting(*case).run()
        if said:
            ills[case[0]] = said

    cases = [(name, strategy) for strategy in strategies for name in names]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(meet, cases))
    told = "; ".join(f"{name}: {', '.join(said)}" for name, said in [*ills.items()][:40])
    check(not ills, f"{len(ills)} of {len(names)} values: {told}")
    check(not crashes.said, f"rounds crashed {len(crashes.said)} times: {crashes.said[:3]}")
    return {"values": len(names), "strategies": len(strategies), "rounds crashed": 0}
