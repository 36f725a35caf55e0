"""A telemetry callable may be slow or raise: it never delays or breaks the engine."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bytelyst_sync
from bytelyst_sync import ConfigError, Request, SyncConfig, SyncEngine, TelemetryEvent
from bytelyst_sync.http.transport import Response
from bytelyst_sync.testing import SyncServer
from tests.conftest import Scripted
from tests.events.conftest import Collected
from tests.typed import NewEngine

ROOT = Path(__file__).parents[2]
PATIENCE_S = 10.0
WAITED_S = 0.5
"""Less than the callables here would hold somebody up, more than a push or a flush takes."""


@pytest.fixture
def live(new_engine: NewEngine, server: SyncServer) -> Callable[..., SyncEngine]:
    """An engine that delivers to a real server, by itself."""

    def make(telemetry: Callable[..., object], **settings: Any) -> SyncEngine:
        return new_engine(server.url, telemetry=telemetry, auto_flush=True, **settings)

    return make


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Telemetry that waits until it is let go; the test's end lets it go."""
    event = threading.Event()
    yield event
    event.set()


def deliver(engine: SyncEngine, server: SyncServer, number: int) -> None:
    """Pushes so many and sees that they arrive."""
    engine.push_many("notes", [{"id": str(each)} for each in range(number)])
    assert engine.flush(PATIENCE_S).success
    assert len(server.records("notes")) == number


def test_it_is_called_on_a_thread_of_its_own(
    live: Callable[..., SyncEngine], server: SyncServer, events: Collected
) -> None:
    threads = []
    engine = live(lambda event: threads.append(threading.current_thread().name))
    deliver(engine, server, 3)
    engine.close()
    assert set(threads) == {"bytelyst-sync-telemetry"}


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_one_that_raises(
    live: Callable[..., SyncEngine],
    server: SyncServer,
    collected: type[Collected],
    caplog: pytest.LogCaptureFixture,
    error: type,
) -> None:
    seen = collected()
    words = "planted"

    def telemetry(event: TelemetryEvent) -> None:
        seen(event)
        raise error(words)

    engine = live(telemetry)
    deliver(engine, server, 3)
    engine.close()
    assert seen.all[-1].outcome == "closed"
    assert sum(event.count for event in seen.all if event.name == "delivered") == 3
    complaints = [each for each in caplog.records if "telemetry" in each.getMessage()]
    assert len(complaints) == 1, "one line per burst"
    assert words not in caplog.text


def test_one_that_sleeps_holds_up_nobody(
    live: Callable[..., SyncEngine], server: SyncServer, gate: threading.Event
) -> None:
    engine = live(lambda event: gate.wait(PATIENCE_S))
    began = time.monotonic()
    deliver(engine, server, 20)
    engine.pull()
    assert engine.stats().delivered == 20
    assert time.monotonic() - began < PATIENCE_S / 2


def test_closing_waits_for_it_within_its_timeout_only(
    live: Callable[..., SyncEngine], server: SyncServer, gate: threading.Event
) -> None:
    engine = live(lambda event: gate.wait(PATIENCE_S))
    deliver(engine, server, 2)
    began = time.monotonic()
    assert engine.close(timeout=0.5) is True
    assert time.monotonic() - began < 0.5 + WAITED_S
    assert engine.stats().dropped_events > 0


def test_events_not_emitted_at_the_end_are_dropped(
    live: Callable[..., SyncEngine],
    server: SyncServer,
    gate: threading.Event,
    collected: type[Collected],
) -> None:
    seen = collected()

    def telemetry(event: TelemetryEvent) -> None:
        seen(event)
        gate.wait(PATIENCE_S)

    engine = live(telemetry)
    deliver(engine, server, 2)
    engine.close(timeout=0.2)
    reported, dropped = len(seen.all), engine.stats().dropped_events
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "bytelyst-sync-telemetry":
            thread.join(PATIENCE_S)
    assert len(seen.all) == reported == 1
    assert dropped >= 5


def test_no_event_is_emitted_after_the_end(
    new_engine: NewEngine,
    scripted: type[Scripted],
    answer: Callable[..., Callable[[Request], Response]],
    collected: type[Collected],
) -> None:
    """A request that outlives ``close`` has its answer later."""
    seen, asked, go_on = collected(), threading.Event(), threading.Event()

    def respond(request: Request) -> bytelyst_sync.Response:
        asked.set()
        go_on.wait(PATIENCE_S)
        return answer(201)(request)

    engine = new_engine(transport=scripted(respond), telemetry=seen, auto_flush=True)
    engine.push("notes", {"id": "1"})
    assert asked.wait(PATIENCE_S)
    assert engine.close(timeout=0.1) is False
    ended = seen.all[-1]
    worker = next(each for each in threading.enumerate() if each.name == "bytelyst-sync")
    go_on.set()
    worker.join(PATIENCE_S)
    assert ended.outcome == "closed"
    assert seen.all[-1] is ended
    assert not any(each.name == "bytelyst-sync-telemetry" for each in threading.enumerate())


def test_one_that_is_too_slow_loses_events_and_no_memory(
    engine: Callable[..., SyncEngine], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bytelyst_sync.events.telemetry_recorder._MOST_WAITING", 50)
    called = threading.Event()

    def telemetry(event: TelemetryEvent) -> None:
        called.set()
        gate.wait(PATIENCE_S)

    writer = engine(telemetry=telemetry)
    writer.push("notes", {"id": "first"})
    assert called.wait(PATIENCE_S)
    for number in range(80):
        writer.push("notes", {"id": str(number)})
    assert writer.stats().dropped_events == 30
    assert writer.stats().pushed == 81


def test_one_that_pushes(live: Callable[..., SyncEngine], server: SyncServer) -> None:
    done = threading.Event()

    def telemetry(event: TelemetryEvent) -> None:
        if event.name == "delivered" and event.operation == "create":
            engine.push("notes", {"id": "0", "told": True}, "update")
        elif event.name == "delivered":
            done.set()

    engine = live(telemetry)
    engine.push("notes", {"id": "0"})
    assert done.wait(PATIENCE_S)
    assert server.records("notes")["0"]["told"] is True


def test_one_that_calls_whatever_there_is(
    live: Callable[..., SyncEngine], server: SyncServer
) -> None:
    called = threading.Event()
    answers: list[Any] = []

    def telemetry(event: TelemetryEvent) -> None:
        if event.name == "pushed" and not called.is_set():
            item = next(engine.queue(), None)
            answers.append(engine.flush(timeout=PATIENCE_S))
            answers.append(engine.pull(timeout=PATIENCE_S))
            answers.append(engine.stats().pushed)
            answers.append(engine.status.queue_length)
            if item is not None:
                answers.append(engine.wait(item, timeout=PATIENCE_S))
            called.set()

    engine = live(telemetry)
    deliver(engine, server, 2)
    assert called.wait(PATIENCE_S)
    assert answers[2] == 2


def test_one_that_closes_the_engine(
    live: Callable[..., SyncEngine], server: SyncServer, collected: type[Collected]
) -> None:
    seen = collected()
    closed = threading.Event()

    def telemetry(event: TelemetryEvent) -> None:
        seen(event)
        if event.name == "delivered" and not closed.is_set():
            engine.close()
            closed.set()

    engine = live(telemetry)
    engine.push("notes", {"id": "1"})
    assert closed.wait(PATIENCE_S)
    assert engine.close(PATIENCE_S) is True
    seen.wait(lambda events: events[-1].outcome == "closed")
    assert len(server.records("notes")) == 1


def test_no_lock_is_held_while_it_runs(
    live: Callable[..., SyncEngine], server: SyncServer, gate: threading.Event
) -> None:
    """Another thread may do everything while an event is being told."""
    called = threading.Event()

    def telemetry(event: TelemetryEvent) -> None:
        called.set()
        gate.wait(PATIENCE_S)

    engine = live(telemetry)
    engine.push("notes", {"id": "1"})
    assert called.wait(PATIENCE_S)
    done = threading.Event()

    def everything() -> None:
        engine.push("notes", {"id": "2"})
        engine.flush(PATIENCE_S)
        engine.pull(timeout=PATIENCE_S)
        engine.pause()
        engine.resume()
        engine.on_status_change(lambda info: None)()
        assert engine.stats().pushed == 2
        assert engine.status.queue_length == 0
        done.set()

    thread = threading.Thread(target=everything, daemon=True)
    thread.start()
    assert done.wait(PATIENCE_S / 2)
    thread.join(PATIENCE_S)


def test_other_callbacks_do_not_wait_for_it(
    live: Callable[..., SyncEngine], server: SyncServer, gate: threading.Event
) -> None:
    received = threading.Event()
    engine = live(lambda event: gate.wait(PATIENCE_S))
    engine.on_status_change(lambda info: received.set())
    engine.push("notes", {"id": "1"})
    assert received.wait(PATIENCE_S / 2)


@pytest.mark.parametrize("wrong", [7, "logging", logging.getLogger()])
def test_what_cannot_be_called_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="telemetry") as caught:
        SyncConfig(base_url="http://x", entities={"n": "/n"}, storage=":memory:", telemetry=wrong)
    assert caught.value.field == "telemetry"


PROGRAM = """
import sys, time
import bytelyst_sync.events.notifier as notifier
from bytelyst_sync import create_sync_engine

url, quiet_s, takes_s = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
notifier._QUIET_S = quiet_s

def telemetry(event):
    print(event.name, event.outcome, flush=True)
    time.sleep(takes_s)

engine = create_sync_engine(
    base_url=url, entities={"notes": "/notes"}, storage=":memory:", probe=None,
    auto_flush=False, telemetry=telemetry, exit_timeout=1.0 if takes_s else 20.0,
)
engine.on_status_change(lambda info: None)
engine.push("notes", {"id": "1"})
time.sleep(0.5)
"""


@pytest.mark.parametrize(
    ("quiet_s", "takes_s"), [(10, 0), (0.05, 0), (10, 60)], ids=["reported", "quiet", "stuck"]
)
def test_the_end_of_the_program(server: SyncServer, quiet_s: float, takes_s: int) -> None:
    """The last flush is tried, whatever the telemetry does, and whether its thread still runs."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url, str(quiet_s), str(takes_s)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.records("notes")) == 1
    assert time.monotonic() - began < 40
    reported = done.stdout.splitlines()
    assert reported[0] == "pushed None"
    if quiet_s == 10 and not takes_s:
        assert reported[1:] == [
            "status syncing",
            "sent delivered",
            "delivered None",
            "status idle",
            "status closed",
        ]
