"""A device reports how its queue is doing, beside the queue and never in its way."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import OfflineError, Request, SyncEngine, SyncError, TransportError
from bytelyst_sync.agent.rows import HEARTBEAT
from bytelyst_sync.fleet import device_id
from bytelyst_sync.model import Json
from bytelyst_sync.storage.schema import ITEMS, META
from bytelyst_sync.testing import ManualClock, Seen
from tests.agent.conftest import AGENT, INTERVAL_S, Server
from tests.conftest import PATIENCE_S
from tests.typed import Eventually, InThread, NewEngine

FIELDS = {
    *("id", "format", "install", "beat", "sent_at", "interval", "package", "schema_version"),
    *("status", "reason", "queued", "failed", "conflicts", "oldest", "paused", "last_sync"),
    *("commands_done", "commands_refused"),
}


def agents() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == AGENT]


def stored(engine: SyncEngine) -> list[str]:
    """The names of the rows that describe the device."""
    tx_names = engine._core.running().storage.read(lambda tx: [row.name for row in tx.scan(META)])
    return sorted(name for name in tx_names if name.startswith("device/"))


def is_kept(engine: SyncEngine) -> bool:
    run = engine._core.running()
    row = run.storage.read(lambda tx: tx.get(META, HEARTBEAT))
    return row is not None and '"record"' in row.value


def test_a_heartbeat_says_how_the_queue_is_doing(
    new_device: Callable[..., SyncEngine], wire: Server, eventually: Eventually
) -> None:
    engine = new_device(account="sam")
    engine.push("notes", {"id": "1", "title": "SECRET"})
    wire.answers["notes"] = (422, {})
    engine.flush(PATIENCE_S)
    engine.push("notes", {"id": "2", "title": "SECRET"})
    engine.push("notes", {"id": "3", "title": "SECRET"})
    engine.start()
    eventually(lambda: wire.store.records("fleet"))
    (report,) = wire.store.records("fleet").values()
    assert report["id"] == device_id(engine)
    first = wire.written("fleet")[0].body
    assert set(first) == FIELDS
    assert "SECRET" not in str(wire.written("fleet"))
    kinds = {type(value) for value in first.values()}
    assert kinds <= {str, int, float, bool, type(None)}
    codes = [first[name] for name in ("status", "package", "format")]
    assert all(re.fullmatch(r"[\w .+-]{1,40}", each) for each in codes)


def test_its_counts_are_those_of_the_status(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, eventually: Eventually
) -> None:
    engine = new_device()
    engine.start()
    eventually(lambda: wire.store.records("fleet"))
    wire.answers["notes"] = (422, {})
    engine.push("notes", {"id": "1"})
    engine.flush(PATIENCE_S)
    engine.push("notes", {"id": "2"})
    engine.push("notes", {"id": "3"})
    clock.advance(INTERVAL_S * 1.2)

    def counts() -> list[int]:
        (report,) = wire.store.records("fleet").values()
        return [report[name] for name in ("queued", "failed", "conflicts", "oldest")]

    eventually(lambda: counts() == [2, 1, 0, 360])


def test_one_record_of_a_device_is_updated(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, eventually: Eventually
) -> None:
    engine = new_device()
    engine.start()
    for number in range(1, 4):
        eventually(lambda least=number: len(wire.written("fleet")) >= least)
        clock.advance(INTERVAL_S * 1.2)
    eventually(lambda: len(wire.written("fleet")) == 4)
    methods = [each.method for each in wire.written("fleet")]
    assert methods == ["POST", "PATCH", "PATCH", "PATCH"]
    beats = [each.body["beat"] for each in wire.written("fleet")]
    assert beats == sorted(set(beats))
    assert len({each.headers["idempotency-key"] for each in wire.written("fleet")}) == 4
    assert list(wire.store.records("fleet")) == [device_id(engine)]


def test_it_is_not_sent_more_often_than_asked(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, eventually: Eventually
) -> None:
    engine = new_device()
    engine.start()
    eventually(lambda: wire.written("fleet"))
    for _ in range(5):
        clock.advance(INTERVAL_S * 0.15)
        engine.push("notes", {"title": "x"})
        engine.flush(PATIENCE_S)
    assert len(wire.written("fleet")) == 1


# --- outside of the queue


def test_it_is_no_part_of_the_queue(
    new_device: Callable[..., SyncEngine], wire: Server, eventually: Eventually
) -> None:
    engine = new_device(order="strict")
    wire.answers["fleet"] = (500, {})
    engine.start()
    eventually(lambda: is_kept(engine))
    assert engine.queue_length == 0
    assert list(engine.queue()) == list(engine.failed()) == []
    assert list(engine.conflicts()) == []
    engine.push("notes", {"id": "1"})
    engine.push("notes", {"id": "2"})
    result = engine.flush(PATIENCE_S)
    assert (result.success, result.pushed, result.remaining, result.failed) == (True, 2, 0, 0)
    info = engine.status
    assert (info.status, info.last_error, info.queue_length) == ("idle", None, 0)
    assert engine.stats().pushed == 2
    assert engine._core.running().storage.read(lambda tx: tx.counts(ITEMS)) == {}
    engine.sign_out()


def test_data_does_not_wait_for_a_heartbeat_that_hangs(
    new_device: Callable[..., SyncEngine], wire: Server, in_thread: InThread
) -> None:
    hangs, go_on = threading.Event(), threading.Event()

    def before(request: Seen) -> None:
        if "/fleet" in getattr(request, "url", getattr(request, "path", "")):
            hangs.set()
            go_on.wait(PATIENCE_S)

    wire.before = before
    engine = new_device()
    engine.start()
    assert hangs.wait(PATIENCE_S)
    try:
        engine.push("notes", {"id": "1"})
        assert engine.flush(PATIENCE_S).success
        assert list(wire.store.records("notes")) == ["1"]
        assert wire.store.records("fleet") == {}
        assert engine.pull("notes").success
    finally:
        go_on.set()


ANSWERS = {
    "400": (400, {}), "401": (401, {}), "403": (403, {}), "404": (404, {}), "409": (409, {}),
    "422": (422, {}), "429": (429, {"retry-after": "3600"}), "500": (500, {}), "502": (502, {}),
    "503": (503, {"retry-after": "3600", "backoff": "3600"}), "504": (504, {}),
    "offline": OfflineError("no"), "lost": TransportError("lost"),
}  # fmt: skip


@pytest.mark.parametrize("given", ANSWERS)
def test_an_answer_to_it_says_nothing_of_the_data(
    given: str,
    new_device: Callable[..., SyncEngine],
    wire: Server,
    clock: ManualClock,
    eventually: Eventually,
) -> None:
    """Neither a pause, nor an outage, nor refused credentials."""
    wire.answers["fleet"] = ANSWERS[given]
    tokens: list[str] = []

    def auth() -> str:
        tokens.append("t")
        return "t"

    engine = new_device(auth=auth)
    seen: list[Any] = []
    wire.before = seen.append
    engine.start()
    eventually(lambda: is_kept(engine) and seen)
    for number in range(3):
        clock.advance(INTERVAL_S * 1.2)
        engine.push("notes", {"id": str(number)})
        assert engine.flush(PATIENCE_S).success
    info = engine.status
    assert (info.status, info.online, info.last_error) == ("idle", True, None)
    assert set(wire.store.records("notes")) == {"0", "1", "2"}
    assert len(agents()) == 1
    assert len(tokens) <= 2


def test_a_reading_for_it_pauses_nothing(
    new_device: Callable[..., SyncEngine], wire: Server, eventually: Eventually
) -> None:
    """A record that exists is read for its version; the server may be busy then."""
    readings = []

    def busy(request: Request) -> tuple[int, Json]:
        if request.method == "POST":
            return 409, {}
        readings.append(request.method)
        return 503, {"retry-after": "3600", "backoff": "3600"}

    wire.answers["fleet"] = busy
    engine = new_device()
    engine.start()
    eventually(lambda: "GET" in readings)
    engine.push("notes", {"id": "1"})
    assert engine.flush(PATIENCE_S).success


def test_a_token_that_has_expired_is_renewed(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, eventually: Eventually
) -> None:
    tokens = iter(["old", "new", "newer"])
    engine = new_device(auth=lambda: next(tokens))
    engine.start()
    eventually(lambda: wire.store.records("fleet"))
    assert wire.written("fleet")[0].headers["authorization"] == "Bearer old"

    def refuses_old(request: Request) -> tuple[int, Json] | None:
        return (401, {}) if request.headers["Authorization"] == "Bearer old" else None

    wire.answers["fleet"] = refuses_old
    clock.advance(INTERVAL_S * 1.2)
    eventually(lambda: len(wire.written("fleet")) == 2)
    assert wire.written("fleet")[-1].headers["authorization"] == "Bearer new"
    engine.push("notes", {"id": "1"})
    assert engine.flush(PATIENCE_S).success


def test_a_slow_send_does_not_put_off_the_next_heartbeat(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, eventually: Eventually
) -> None:
    slow = iter([INTERVAL_S * 1.2])
    wire.answers["fleet"] = lambda _: clock.advance(next(slow, 0.0))
    new_device().start()
    eventually(lambda: len(wire.written("fleet")) == 2)


# --- the option


def test_without_the_option_there_is_nothing(new_engine: NewEngine, wire: Server) -> None:
    engine = new_engine(transport=wire)
    engine.push("notes", {"id": "1"})
    engine.flush(PATIENCE_S)
    run = engine._core.running()
    assert run.agent is None
    assert run.worker.on_start is None
    assert agents() == []
    assert stored(engine) == []


def test_a_push_does_the_same_work_with_and_without(
    new_engine: NewEngine,
    new_device: Callable[..., SyncEngine],
    wire: Server,
    eventually: Eventually,
) -> None:
    def work_of(engine: SyncEngine) -> list[int]:
        run = engine._core.running()
        engine.push("notes", {"title": "first"})
        counts = []
        transaction = run.storage.write
        inner: list[int] = []

        def write(*given: Any) -> Any:
            inner.append(threading.get_ident())
            return transaction(*given)

        run.storage.write = write  # type: ignore[assignment,method-assign]  # replaced by the test
        engine.push("notes", {"title": "x"})
        del run.storage.write
        counts.append(inner.count(threading.get_ident()))
        return counts

    assert work_of(new_device()) == work_of(new_engine(transport=wire)) == [1]


@pytest.mark.parametrize("call", ["start", "push", "flush", "pull"])
def test_the_first_need_of_the_worker_starts_it(
    call: str, new_device: Callable[..., SyncEngine], wire: Server, eventually: Eventually
) -> None:
    engine = new_device()
    assert agents() == []
    arguments = {"push": ("notes", {"id": "1"}), "flush": (PATIENCE_S,)}
    getattr(engine, call)(*arguments.get(call, ()))
    eventually(lambda: wire.store.records("fleet"))


# --- an outage


def test_an_outage_leaves_one_heartbeat(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, eventually: Eventually
) -> None:
    engine = new_device()
    engine.start()
    eventually(lambda: len(wire.written("fleet")) == 1)
    wire.online = False
    engine.push("notes", {"id": "1"})
    engine.flush(PATIENCE_S)
    assert not engine.is_online
    rows = None
    for _ in range(20):
        clock.advance(INTERVAL_S * 1.2)
        eventually(lambda: is_kept(engine))
        rows = rows or stored(engine)
        assert stored(engine) == rows
    assert engine.queue_length == 1
    wire.online = True
    assert engine.flush(PATIENCE_S).success
    eventually(lambda: len(wire.written("fleet")) == 2)
    assert wire.written("fleet")[-1].body["queued"] == 0
    eventually(lambda: not is_kept(engine))


def test_nothing_is_sent_while_paused(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, eventually: Eventually
) -> None:
    engine = new_device()
    engine.pause()
    engine.push("notes", {"id": "1"})
    eventually(lambda: is_kept(engine))
    assert wire.seen == []
    engine.resume()
    eventually(lambda: wire.written("fleet"))


def test_a_new_run_goes_on_with_the_same_record(
    new_device: Callable[..., SyncEngine],
    wire: Server,
    clock: ManualClock,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "app.db")
    devices = set()
    for number in range(1, 4):
        engine = new_device(storage=path)
        engine.start()
        eventually(lambda least=number: len(wire.written("fleet")) >= least)
        eventually(lambda each=engine: not is_kept(each))
        devices.add(device_id(engine))
        engine.close()
        clock.advance(INTERVAL_S)
    assert list(wire.store.records("fleet")) == [*devices]
    assert [each.method for each in wire.written("fleet")] == ["POST", "PATCH", "PATCH"]


def test_processes_on_one_store_report_once(
    new_device: Callable[..., SyncEngine],
    wire: Server,
    clock: ManualClock,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "app.db")
    first, second = (new_device(storage=path) for _ in range(2))
    first.start()
    eventually(lambda: wire.written("fleet") and not is_kept(first))
    second.start()
    second.push("notes", {"id": "1"})
    second.flush(PATIENCE_S)
    eventually(lambda: len(agents()) == 2)
    clock.advance(INTERVAL_S * 0.7)
    assert len(wire.written("fleet")) == 1
    assert device_id(first) == device_id(second)


def test_the_server_lost_the_record(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, eventually: Eventually
) -> None:
    engine = new_device()
    engine.start()
    eventually(lambda: wire.store.records("fleet") and not is_kept(engine))
    wire.store.change("fleet", "delete", {"id": device_id(engine)})
    wire.answers["fleet"] = lambda request: (404, {}) if request.method == "PATCH" else None
    clock.advance(INTERVAL_S * 1.2)
    eventually(lambda: wire.store.records("fleet"))
    assert [each.method for each in wire.written("fleet")] == ["POST", "POST"]


def test_the_record_is_there_already(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, eventually: Eventually
) -> None:
    """As after a backup of the store was taken back."""
    engine = new_device()
    wire.put("fleet", {"id": device_id(engine), "beat": 1})
    engine.start()
    eventually(lambda: "format" in wire.store.records("fleet")[device_id(engine)])
    assert [each.method for each in wire.written("fleet")] == ["POST", "PATCH"]


def test_a_wipe_makes_another_device(
    new_device: Callable[..., SyncEngine], wire: Server, clock: ManualClock, tmp_path: Path
) -> None:
    path = str(tmp_path / "app.db")
    first = new_device(storage=path, account="sam")
    name = device_id(first)
    first.sign_out(force=True)
    second = new_device(storage=path, account="sam")
    assert device_id(second) != name


def test_a_closed_engine_has_no_device(new_device: Callable[..., SyncEngine]) -> None:
    engine = new_device()
    engine.close()
    with pytest.raises(SyncError, match="closed"):
        device_id(engine)
