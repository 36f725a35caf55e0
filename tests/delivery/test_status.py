"""The status, who hears of it, and how the engine knows whether there is a network."""

import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from bytelyst_sync import (
    EngineClosedError,
    RecordChange,
    Request,
    SyncEngine,
    SyncItem,
    SyncStatus,
    SyncStatusInfo,
    TcpProbe,
)
from bytelyst_sync.events.status import QueueCounts, StatusBoard
from bytelyst_sync.events.telemetry_recorder import TelemetryRecorder
from bytelyst_sync.http.transport import Response
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.testing import ManualClock, Reply, Seen, Stall, SyncServer
from bytelyst_sync.testing.raw import refuse_port
from tests.delivery.conftest import Recorder
from tests.typed import Eventually, InThread, T, present

NOTE = {"id": "1", "title": "first"}


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


def names(infos: list[SyncStatusInfo]) -> list[str]:
    """Their statuses as plain text."""
    return [str(info.status) for info in infos]


def ends_with(*statuses: str) -> Callable[..., bool]:
    """For ``Recorder.wait``: whether the last values are these."""
    return lambda infos: names(infos)[-len(statuses) :] == list(statuses)


@pytest.fixture
def reported(recorder: type[Recorder]) -> Callable[[SyncEngine], Recorder]:
    """``told(engine)`` subscribes a collector to its status."""

    def subscribe(engine: SyncEngine) -> Recorder:
        collector = recorder()
        engine.on_status_change(collector)
        return collector

    return subscribe


# --- transitions


def test_idle_syncing_idle(
    held: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = held()
    infos = reported(engine)
    assert engine.status.status is SyncStatus.IDLE
    for round_number in range(1, 4):
        engine.push("notes", {"id": round_number})
        assert engine.flush(timeout=10).success
        assert infos.wait(lambda values, n=round_number: len(values) == 2 * n)
    assert names(infos.values) == ["syncing", "idle"] * 3
    assert engine.status.status == "idle"  # type: ignore[comparison-overlap]  # it has changed since


def test_idle_syncing_error_and_back(
    held: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = held()
    infos = reported(engine)
    engine.push("notes", NOTE)
    server.script(Reply(422, {"error": "no"}), match="POST")
    engine.flush(timeout=10)
    assert infos.wait(ends_with("syncing", "error"))
    assert "no" in infos.values[-1].last_error
    assert infos.values[-1].failed == 1
    engine.push("notes", {"id": "2"})
    assert engine.flush(timeout=10).pushed == 1
    assert infos.wait(ends_with("syncing", "idle"))


def test_idle_syncing_offline_and_back(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = make()
    infos = reported(engine)
    with server.outage():
        engine.push("notes", NOTE)
        assert infos.wait(ends_with("offline"))
        assert infos.values[-1].online is engine.is_online is engine.status.online is False
        assert infos.values[-1].queue_length == 1
    assert infos.wait(ends_with("idle"))
    assert names(infos.values)[0] == "syncing"
    assert infos.values[-1].online
    assert infos.values[-1].queue_length == 0


def test_closed_is_reported_last(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = make()
    infos = reported(engine)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    assert engine.close()
    assert names(infos.values) == ["syncing", "idle", "closed"]
    assert engine.status.status is SyncStatus.CLOSED
    assert engine.status == infos.values[-1]


def test_an_engine_that_did_nothing_closes_too(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = make()
    infos = reported(engine)
    assert engine.close()
    assert names(infos.values) == ["closed"]
    assert engine.close()
    assert names(infos.values) == ["closed"]


def test_each_transition_is_reported_once_and_in_order_to_every_subscriber(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    server.script(*[None, Reply(500), Reply(503), Reply(422, {"error": "no"})] * 5, match="POST")
    engine = make(workers=4)
    everybody = [reported(engine) for _ in range(3)]
    for number in range(20):
        engine.push("notes", {"id": number})
        if number % 5 == 0:
            engine.flush(timeout=10)
    with server.outage():
        engine.push("tasks", NOTE)
        assert everybody[0].wait(ends_with("offline"))
    assert everybody[0].wait(lambda infos: infos[-1].queue_length == 0)
    assert engine.close()
    first, *others = [infos.values for infos in everybody]
    assert all(each == first for each in others)
    assert names(first)[-1] == "closed"
    assert all(before.status is not after.status for before, after in itertools.pairwise(first))
    assert [info.since for info in first] == sorted(info.since for info in first)


def test_one_callback_runs_at_a_time(make: Callable[..., SyncEngine], server: SyncServer) -> None:
    engine = make()
    running, overlaps, calls = threading.Lock(), [], []

    def callback(_value: RecordChange | SyncStatusInfo | SyncItem) -> None:
        if not running.acquire(blocking=False):
            overlaps.append(1)
            return
        try:
            threading.Event().wait(0.002)
            calls.append(1)
        finally:
            running.release()

    engine.on_status_change(callback)
    engine.on_status_change(callback)
    engine.on_change(callback)
    engine.on_failure(callback)
    server.script(*[Reply(422, {"error": "no"}), None] * 10, match="POST")
    for number in range(20):
        engine.push("notes", {"id": number})
    engine.flush(timeout=10)
    assert engine.close()
    assert overlaps == []
    assert len(calls) >= 20 + 10 + 2


def test_queue_length_in_a_notification_is_exact(
    held: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = held()
    infos = reported(engine)
    engine.push_many("notes", [{"id": n} for n in range(7)])
    server.script(None, Reply(422, {"error": "no"}), match="POST")
    engine.flush(timeout=10)
    assert infos.wait(ends_with("syncing", "error"))
    started, ended = infos.values
    assert (started.queue_length, started.failed) == (7, 0)
    assert (ended.queue_length, ended.failed) == (0, 1)


def test_the_status_tells_all_there_is_to_know(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    before = engine.status
    assert (before.queue_length, before.failed, before.conflicts) == (0, 0, 0)
    assert (before.last_error, before.last_sync, before.next_retry) == (None, None, None)
    assert (before.online, before.paused) == (True, False)
    engine.push("notes", NOTE)
    engine.push("notes", {"id": "2"})
    server.script(None, Reply(500), match="POST")
    engine.flush(timeout=10)
    after = engine.status
    assert after.queue_length == 1
    assert "500" in present(after.last_error)
    assert after.last_sync is not None
    due = present(only(engine.queue()).next_attempt)
    assert abs(present(after.next_retry) - due) < timedelta(milliseconds=50)
    assert after.last_sync.utcoffset() == after.since.utcoffset() == before.since.utcoffset()
    assert after.since >= before.since


# --- what is wrong with an entity


def test_an_error_of_one_entity_outlasts_the_success_of_another(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    server.script(Reply(422, {"error": "no title"}), match="POST /notes")
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    engine.push("tasks", NOTE)
    engine.flush(timeout=10)
    assert engine.status.status is SyncStatus.IDLE
    assert "no title" in present(engine.status.last_error)
    assert engine.discard_failed() == 1
    assert engine.flush(timeout=10).success
    assert engine.status.last_error is None


def test_an_error_of_one_pull_outlasts_the_success_of_another(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    server.script(Reply(500, {"error": "no rows"}), match="GET /notes")
    engine.pull("notes", timeout=10)
    engine.pull("tasks", timeout=10)
    assert "no rows" in present(engine.status.last_error)
    assert engine.pull("notes", timeout=10).success
    assert engine.status.last_error is None


def test_a_create_answered_with_another_id_is_a_fault_of_the_mapping(
    held: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = held()
    infos = reported(engine)
    server.script(Reply(201, {"id": "other"}), match="POST /notes")
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    assert infos.wait(ends_with("syncing", "error"))
    engine.push("tasks", NOTE)
    engine.flush(timeout=10)
    assert (engine.status.status, engine.status.reason) == ("error", "mapping")
    assert 'id_source="server"' in present(engine.status.last_error)
    assert infos.values[1].reason == "mapping"
    engine.discard_failed()
    assert engine.flush(timeout=10).success
    assert infos.wait(ends_with("idle"))
    assert (engine.status.reason, engine.status.last_error) == (None, None)


def test_a_page_that_does_not_fit_is_a_fault_of_the_mapping(
    held: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = held()
    infos = reported(engine)
    server.script(Reply(200, {"rows": [{"id": 1}]}), match="GET /notes")
    engine.pull(timeout=10)
    assert infos.wait(ends_with("error"))
    assert infos.values[-1].reason == engine.status.reason == "mapping"
    assert "`items`" in present(engine.status.last_error)
    engine.pull(timeout=10)
    assert infos.wait(ends_with("idle"))
    assert (engine.status.reason, engine.status.last_error) == (None, None)  # type: ignore[comparison-overlap]  # it has changed since


def test_offline_behind_a_captive_portal_has_that_reason(
    make: Callable[..., SyncEngine], reported: Callable[[SyncEngine], Recorder]
) -> None:
    class SignInPage:
        def send(self, request: Request) -> Response:
            return Response(200, {"content-type": "text/html"}, b"<html>sign in", request.url)

    engine = make(base_url="http://api.example.com", transport=SignInPage())
    infos = reported(engine)
    engine.push("notes", NOTE)
    assert infos.wait(ends_with("offline"))
    assert infos.values[-1].reason == engine.status.reason == "portal"


def test_a_change_of_the_reason_alone_is_reported_once() -> None:
    clock = ManualClock()
    board = StatusBoard(clock, QueueCounts, TelemetryRecorder(None, clock))
    reported: list[Any] = []
    board.status_subscribers.add(reported.append)
    for reason in ("credentials", "credentials", "outage", None):
        board.change(SyncStatus.ERROR, reason)
        clock.advance(1)
    board.notifier.drain(10)
    assert [info.reason for info in reported] == ["credentials", "outage", None]
    assert len({info.since for info in reported}) == 1
    board.notifier.close(10)


# --- callbacks


def test_a_callback_that_raises_is_logged_and_the_rest_still_run(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    reported: Callable[[SyncEngine], Recorder],
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = held()

    def broken(_info: SyncStatusInfo) -> None:
        raise LookupError("a bug of the program")

    engine.on_status_change(broken)
    infos = reported(engine)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    assert infos.wait(ends_with("syncing", "idle"))
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1, "one line per burst"
    for record in errors:
        assert record.name.split(".")[0] == "bytelyst_sync"
        assert "LookupError" in record.getMessage()
        assert "in broken" in record.getMessage(), "where it happened"
        assert record.exc_info is None, "what it says may quote a payload"


def test_unsubscribe_ends_it_also_inside_of_a_callback_and_twice(
    held: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = held()
    calls = []

    def once(info: SyncStatusInfo) -> None:
        calls.append(info)
        unsubscribe()

    unsubscribe = engine.on_status_change(once)
    infos = reported(engine)
    for number in range(3):
        engine.push("notes", {"id": number})
        engine.flush(timeout=10)
    assert infos.wait(lambda values: len(values) == 6)
    assert len(calls) == 1
    unsubscribe()


def test_one_function_subscribed_twice_is_called_twice(
    held: Callable[..., SyncEngine], server: SyncServer, recorder: type[Recorder]
) -> None:
    engine = held()
    infos = recorder()
    engine.on_status_change(infos)
    unsubscribe = engine.on_status_change(infos)
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    assert infos.wait(lambda values: len(values) == 4)
    unsubscribe()
    engine.push("notes", {"id": "2"})
    engine.flush(timeout=10)
    assert engine.close()
    assert names(infos.values)[4:] == ["syncing", "idle", "closed"]


CALLS: dict[str, Callable[[SyncEngine], object]] = {
    "push": lambda engine: engine.push("tasks", {"id": "t"}),
    "push_many": lambda engine: engine.push_many("tasks", [{"id": "t"}, {"id": "u"}]),
    "delete": lambda engine: engine.delete("tasks", "t"),
    "flush": lambda engine: engine.flush(),
    "flush with a timeout": lambda engine: engine.flush(timeout=30),
    "pull": lambda engine: engine.pull(),
    "full_sync": lambda engine: engine.full_sync(),
    "reconcile": lambda engine: engine.reconcile("notes"),
    "get": lambda engine: engine.get("notes", "1"),
    "records": lambda engine: list(engine.records("notes")),
    "status": lambda engine: engine.status,
    "queue_length": lambda engine: engine.queue_length,
    "is_online": lambda engine: engine.is_online,
    "queue": lambda engine: list(engine.queue()),
    "failed": lambda engine: list(engine.failed()),
    "conflicts": lambda engine: list(engine.conflicts()),
    "wait": lambda engine: [engine.wait(item) for item in engine.queue()],
    "cancel": lambda engine: [engine.cancel(item) for item in engine.queue()],
    "reprocess_failed": lambda engine: engine.reprocess_failed(["none"]),
    "discard_failed": lambda engine: engine.discard_failed(["none"]),
    "clear_queue": lambda engine: engine.clear_queue(),
    "on_status_change": lambda engine: engine.on_status_change(print)(),
    "on_change": lambda engine: engine.on_change(print)(),
    "on_failure": lambda engine: engine.on_failure(print)(),
    "start": lambda engine: engine.start(),
    "pause and resume": lambda engine: (engine.pause(), engine.resume()),  # type: ignore[func-returns-value]  # for its effect
    "close": lambda engine: engine.close(),
}


def _transaction(engine: SyncEngine) -> None:
    with engine.transaction():
        engine.push("tasks", {"id": "t"})


CALLS["transaction"] = _transaction


ON_THE_WORKER = ("flush", "flush with a timeout", "pull", "full_sync", "reconcile", "wait", "close")
"""The calls that wait for the worker, which delivers by itself or only on request."""


@pytest.mark.parametrize("kind", ["on_status_change", "on_change", "on_failure"])
@pytest.mark.parametrize(
    ("call", "auto_flush"),
    [*[(call, True) for call in CALLS], *[(call, False) for call in ON_THE_WORKER]],
)
def test_a_callback_may_call_anything(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    recorder: type[Recorder],
    drain: Callable[..., int],
    kind: str,
    call: str,
    auto_flush: bool,
) -> None:
    engine = make(auto_flush=auto_flush)
    done = recorder()

    def callback(_value: SyncStatusInfo | RecordChange | SyncItem) -> None:
        if len(done.values) == 3:
            return
        try:
            CALLS[call](engine)
        except EngineClosedError:
            done("closed")
        else:
            done("returned")

    getattr(engine, kind)(callback)
    server.script(Reply(422, {"error": "no"}), match="POST /notes")
    engine.push("notes", NOTE)
    if kind != "on_change" and not auto_flush:
        engine.flush(timeout=10)
    assert done.wait(lambda values: values)
    assert done.values[0] == "returned"
    if call == "close":
        assert engine.status.status is SyncStatus.CLOSED
    else:
        assert drain(engine) == 0


def test_a_failure_may_be_repaired_by_its_callback(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    engine.on_failure(lambda item: engine.reprocess_failed([item.id], data={"title": "repaired"}))
    server.script(Reply(422, {"error": "no"}), match="POST")
    engine.push("notes", NOTE)
    assert server.wait_for(lambda: server.records("notes"))
    assert server.records("notes")["1"]["title"] == "repaired"
    assert engine.flush(timeout=10).success
    assert list(engine.failed()) == []


def test_a_callback_may_wait_for_a_thread_that_uses_the_engine(
    held: Callable[..., SyncEngine], server: SyncServer, recorder: type[Recorder]
) -> None:
    engine = held()
    done = recorder()

    def callback(_info: SyncStatusInfo) -> None:
        helper = threading.Thread(target=lambda: (engine.get("notes", "1"), engine.status))
        helper.start()
        helper.join(5)
        done(helper.is_alive())

    unsubscribe = engine.on_status_change(callback)
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    assert done.wait(lambda values: len(values) == 2)
    unsubscribe()
    assert not any(done.values)


def test_a_push_never_waits_for_a_callback(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    inside, release = threading.Event(), threading.Event()

    def slow(_value: RecordChange | SyncStatusInfo) -> None:
        inside.set()
        assert release.wait(10)

    engine.on_status_change(slow)
    engine.on_change(slow)
    engine.push("notes", NOTE)
    assert inside.wait(10)
    began = time.monotonic()
    for number in range(2, 12):
        engine.push("notes", {"id": number})
    assert time.monotonic() - began < 3
    assert engine.queue_length == 11
    release.set()
    assert engine.flush(timeout=10).success


def test_delivery_goes_on_while_a_callback_is_slow(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    release = threading.Event()
    engine.on_status_change(lambda _info: release.wait(10))
    engine.push_many("notes", [{"id": n} for n in range(5)])
    assert server.wait_for(lambda: len(server.records("notes")) == 5)
    release.set()
    assert engine.flush(timeout=10).success


def test_a_subscription_needs_a_callable(held: Callable[..., SyncEngine]) -> None:
    engine = held()
    for subscribe in (engine.on_status_change, engine.on_change, engine.on_failure):
        with pytest.raises(TypeError):
            subscribe("not callable")  # type: ignore[arg-type]  # wrong on purpose


# --- the life of an engine


def test_start_and_close_are_idempotent(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    engine.start()
    engine.start()
    assert engine.close()
    assert engine.close()


@pytest.mark.parametrize("used", [False, True])
def test_a_call_after_close_raises(
    make: Callable[..., SyncEngine], server: SyncServer, used: bool
) -> None:
    engine = make()
    if used:
        engine.push("notes", NOTE)
        engine.flush(timeout=10)
    engine.close()
    with pytest.raises(EngineClosedError):
        engine.start()
    for name, call in CALLS.items():
        if name in ("status", "is_online", "close"):
            call(engine)
            continue
        with pytest.raises(EngineClosedError):
            call(engine)


def test_a_thread_that_waits_is_let_go_by_close(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    item = engine.push("notes", NOTE)
    began = threading.Event()
    outcome: list[object] = []

    def wait() -> None:
        began.set()
        try:
            outcome.append(engine.wait(item))
        except EngineClosedError:
            outcome.append("closed")

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    assert began.wait(10)
    assert engine.close()
    waiting.join(5)
    assert outcome in (["closed"], ["pending"])


def test_no_thread_is_started_before_it_is_needed(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    before = set(threading.enumerate())
    engine = make()
    engine.on_status_change(print)
    assert engine.status.status is SyncStatus.IDLE
    new = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any("bytelyst-sync" in name for name in new)


# --- probes


def heads(server: SyncServer) -> list[Seen]:
    """The requests of the probe."""
    return [seen for seen in server.requests if seen.method == "HEAD"]


def test_the_auto_probe_asks_for_the_base_url_while_offline(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = make(probe="auto", probe_interval=0.05, max_retry_delay=60.0)
    infos = reported(engine)
    with server.outage():
        engine.push("notes", NOTE)
        assert infos.wait(ends_with("offline"))
    assert infos.wait(ends_with("idle"))
    assert list(server.records("notes")) == ["1"]
    asked = heads(server)
    assert {seen.path for seen in asked} == {"/"}
    assert server.requests.index(asked[0]) == 0


@pytest.mark.parametrize("status", [200, 301, 401, 403, 404, 405, 500, 503])
def test_the_auto_probe_takes_any_answer_for_a_network(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = held(probe="auto", max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with server.outage():
        assert engine.flush(timeout=10).offline
    server.always(Reply(status, headers={"Location": "/login"}), match="HEAD")
    assert engine.flush(timeout=10).success
    assert len(heads(server)) == 1


@pytest.mark.parametrize(
    "reply", [Reply(511), Reply(302, headers={"Location": "http://portal.example/"})], ids=str
)
def test_the_auto_probe_does_not_take_a_captive_portal_for_a_network(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    reply: Reply,
    writes: Callable[..., list[Seen]],
) -> None:
    engine = held(probe="auto", max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with server.outage():
        assert engine.flush(timeout=10).offline
    server.always(reply, match="HEAD")
    assert engine.flush(timeout=10).offline
    assert writes(server) == []
    server.clear_script()
    assert engine.flush(timeout=10).success


def test_the_auto_probe_carries_no_credentials(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(probe="auto", auth=lambda: "secret", max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with server.outage():
        engine.flush(timeout=10)
    assert engine.flush(timeout=10).success
    assert all("authorization" not in seen.headers for seen in heads(server))
    assert server.requests[-1].headers["authorization"] == "Bearer secret"


def test_a_callable_probe_decides(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    network = threading.Event()
    engine = make(probe=network.is_set, probe_interval=0.05, max_retry_delay=60.0)
    infos = reported(engine)
    with server.outage():
        engine.push("notes", NOTE)
        assert infos.wait(ends_with("offline"))
    assert not infos.wait(ends_with("idle"), timeout=0.3)
    network.set()
    assert infos.wait(ends_with("idle"))


def test_a_probe_that_raises_says_no(held: Callable[..., SyncEngine], server: SyncServer) -> None:
    def probe() -> None:
        raise OSError("no such interface")

    engine = held(probe=probe, max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with server.outage():
        engine.flush(timeout=10)
    assert engine.flush(timeout=10).offline


def test_a_tcp_probe_decides(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        probe = TcpProbe("127.0.0.1", listener.getsockname()[1], timeout=1.0)
        engine = make(probe=probe, probe_interval=0.05, max_retry_delay=60.0)
        infos = reported(engine)
        with server.outage():
            engine.push("notes", NOTE)
            assert infos.wait(ends_with("offline"))
        assert not infos.wait(ends_with("idle"), timeout=0.3)
        listener.listen(64)
        assert infos.wait(ends_with("idle"))


def test_without_a_probe_the_queue_itself_is_tried(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = make(probe=None, max_retry_delay=0.05)
    infos = reported(engine)
    with server.outage():
        engine.push("notes", NOTE)
        assert infos.wait(ends_with("offline"))
    assert infos.wait(ends_with("idle"))
    assert heads(server) == []


def test_offline_one_real_request_is_tried_whatever_the_probe_says(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    engine = make(probe=lambda: False, probe_interval=60.0, max_retry_delay=0.1)
    infos = reported(engine)
    with server.outage():
        engine.push_many("notes", [{"id": n} for n in range(5)])
        assert infos.wait(ends_with("offline"))
    assert infos.wait(ends_with("idle"))
    assert len(server.records("notes")) == 5


def test_an_optimistic_probe_does_not_hammer_a_dead_server(make: Callable[..., SyncEngine]) -> None:
    asked = []
    engine = make(
        base_url=f"http://127.0.0.1:{refuse_port()}",
        probe=lambda: asked.append(1) or True,  # type: ignore[func-returns-value]  # for its effect
        max_retry_delay=60.0,
    )
    item = engine.push("notes", NOTE)
    engine.wait(item, timeout=1.2)
    assert 1 <= len(asked) <= 6


def test_online_and_idle_the_probe_finds_that_the_network_went(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    network = threading.Event()
    network.set()
    engine = make(probe=network.is_set, probe_interval=0.05)
    infos = reported(engine)
    engine.start()
    network.clear()
    assert infos.wait(ends_with("offline"))
    assert not engine.is_online
    network.set()
    assert infos.wait(ends_with("offline", "idle"))
    assert engine.is_online
    assert server.requests == []


def test_pushes_made_offline_are_flushed_at_once_on_reconnect(
    make: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    network = threading.Event()
    engine = make(probe=network.is_set, probe_interval=0.05, max_retry_delay=60.0)
    infos = reported(engine)
    engine.start()
    assert infos.wait(ends_with("offline"))
    engine.push_many("notes", [{"id": n} for n in range(10)])
    assert engine.wait(next(engine.queue()), timeout=0.2) == "pending"
    assert server.requests == []
    began = time.monotonic()
    network.set()
    assert server.wait_for(lambda: len(server.records("notes")) == 10)
    assert time.monotonic() - began < 3


def test_on_reconnect_an_engine_that_waits_for_flush_still_waits(
    held: Callable[..., SyncEngine], server: SyncServer, reported: Callable[[SyncEngine], Recorder]
) -> None:
    network = threading.Event()
    engine = held(probe=network.is_set, probe_interval=0.05, max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with server.outage():
        assert engine.flush(timeout=10).offline
    network.set()
    assert engine.wait(next(engine.queue()), timeout=0.5) == "pending"
    assert server.requests == []
    assert engine.flush(timeout=10).success


def test_traffic_alone_finds_that_the_network_went_and_came(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    with server.outage():
        engine.push("notes", {"id": "2"})
        assert engine.flush(timeout=10).offline
        assert not engine.is_online
    assert engine.flush(timeout=10).success
    assert engine.is_online


def test_an_unknown_outcome_is_not_offline(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(timeout=(2.0, 0.1))
    engine.push("notes", NOTE)
    server.script(Stall(0.4), match="POST")
    result = engine.flush(timeout=10)
    assert (result.offline, result.errors) == (False, 1)
    assert engine.is_online
    assert engine.status.status is SyncStatus.ERROR


def test_two_threads_that_use_an_engine_first_have_one_runtime_and_its_status(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    in_thread: InThread,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The runtime of the slower thread, which is dropped, is not what the status reports of."""
    engine = held(max_retries=9)
    made: list[Runtime] = []
    open_queue = Runtime.open_queue

    def open_together(runtime: Runtime) -> None:
        made.append(runtime)
        eventually(lambda: len(made) == 2)
        if runtime is made[1]:
            eventually(lambda: engine._core.started)
        open_queue(runtime)

    monkeypatch.setattr(Runtime, "open_queue", open_together)
    pushes = [in_thread(engine.push, "notes", {"id": number}) for number in "12"]
    for push in pushes:
        push()
    server.script(Reply(503, headers={"Retry-After": "60"}), match="POST")
    assert not engine.flush(timeout=10).success
    next_retry = present(engine.status.next_retry)
    assert (next_retry - datetime.now(timezone.utc)).total_seconds() > 50
