"""What a flush waits for and what it does not, and deliveries that need no flush."""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from freezegun import freeze_time

from bytelyst_sync import (
    Dialect,
    EntityConfig,
    ItemState,
    RecordChange,
    SyncEngine,
    SyncItem,
    SyncStatus,
    SyncStatusInfo,
    create_sync_engine,
)
from bytelyst_sync.testing import ManualClock, Reply, Seen, Stall, SyncServer
from bytelyst_sync.testing.raw import refuse_port
from tests.delivery.conftest import Recorder
from tests.typed import T, present

if TYPE_CHECKING:
    from typing_extensions import Self

NOTE = {"id": "1", "title": "first"}
SEVERAL = {"notes": EntityConfig("/notes", dedup="none")}
NOON = datetime(2031, 5, 1, 12, tzinfo=timezone.utc)


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


class Timed:
    """How long a block took, in seconds."""

    def __enter__(self) -> "Self":
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began


# --- what it waits for


def test_it_waits_for_the_delivery_of_all_that_was_queued(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.latency_s = 0.01
    engine = held(workers=4)
    engine.push_many("notes", [{"id": n} for n in range(30)])
    result = engine.flush()
    assert result.success
    assert (result.pushed, result.errors, result.conflicts, result.pulled) == (30, 0, 0, 0)
    assert (result.remaining, result.offline) == (0, False)
    assert result.timestamp.utcoffset() == timedelta(0)
    assert abs(result.timestamp - datetime.now(timezone.utc)) < timedelta(seconds=30)
    assert 0 < result.duration < 30
    assert len(server.records("notes")) == 30


def test_it_waits_for_what_is_being_sent(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(Stall(0.2), match="POST")
    engine = make()
    engine.push("notes", NOTE)
    assert server.wait_for(lambda: server.in_flight)
    assert engine.flush(timeout=10).success
    assert list(server.records("notes")) == ["1"]


def test_it_waits_for_all_of_a_records_operations(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=SEVERAL)
    engine.push("notes", NOTE)
    for n in range(10):
        engine.push("notes", {"id": "1", "n": n}, "update")
    assert engine.flush(timeout=10).pushed == 11
    assert server.records("notes")["1"]["n"] == 9


def test_an_empty_queue_is_a_success_at_once(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    result = engine.flush(timeout=10)
    assert result.success
    assert (result.pushed, result.remaining) == (0, 0)
    assert server.requests == []


def test_it_waits_for_what_another_engine_is_sending(
    make: Callable[..., SyncEngine],
    held: Callable[..., SyncEngine],
    server: SyncServer,
    tmp_path: Path,
) -> None:
    path = tmp_path / "shared.db"
    server.script(Stall(0.3), match="POST")
    deliverer, other = make(storage=path), held(storage=path)
    deliverer.push("notes", NOTE)
    assert server.wait_for(lambda: server.in_flight)
    result = other.flush(timeout=10)
    assert (result.success, result.pushed, result.remaining) == (True, 0, 0)
    assert list(server.records("notes")) == ["1"]
    assert len(server.journal) == 1


def test_a_push_from_another_engine_wakes_the_deliverer_within_a_second(
    make: Callable[..., SyncEngine],
    held: Callable[..., SyncEngine],
    server: SyncServer,
    tmp_path: Path,
) -> None:
    path = tmp_path / "shared.db"
    deliverer, other = make(storage=path), held(storage=path)
    deliverer.push("notes", NOTE)
    assert deliverer.flush(timeout=10).success
    began = time.monotonic()
    other.push("notes", {"id": "2"})
    assert server.wait_for(lambda: "2" in server.records("notes"))
    assert time.monotonic() - began < 2


def test_several_threads_may_flush_at_once(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.latency_s = 0.005
    engine = held()
    engine.push_many("notes", [{"id": n} for n in range(20)])
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(engine.flush(timeout=20))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [result.success for result in results] == [True] * 6
    assert len(server.journal) == 20


def test_each_flush_reports_failed_items_until_they_are_decided(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    server.script(Reply(422, {"error": "the title is taken"}), match="POST")
    first = engine.flush(timeout=10)
    engine.push("notes", {"id": "2"})
    second = engine.flush(timeout=10)
    assert (second.pushed, second.errors) == (1, 0)
    for result in (first, second, engine.flush(timeout=10), engine.full_sync(timeout=10)):
        assert not result.success
        assert (result.failed, result.parked, result.remaining) == (1, 0, 0)
        (problem,) = result.problems
        assert (problem.entity, problem.record_id, problem.status) == ("notes", "1", 422)
        assert "the title is taken" in problem.message
        assert "the title is taken" in repr(result)
    engine.discard_failed()
    assert engine.flush(timeout=10).success


def test_items_that_are_left_are_reported_with_their_reason(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(retry_delay=60.0, max_retry_delay=60.0)
    server.always(Reply(500, {"error": "the disk is full"}), match="POST")
    engine.push_many("notes", [{"id": str(number)} for number in range(30)])
    engine.flush(timeout=10)
    result = engine.flush(timeout=10)
    assert (result.success, result.failed, result.remaining) == (False, 0, 30)
    assert 0 < len(result.problems) <= 20
    assert {problem.status for problem in result.problems} == {500}


# --- what it does not wait for


def test_it_does_not_wait_for_what_is_pushed_meanwhile(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    enough = threading.Event()

    def push_another(seen: Seen) -> None:
        if seen.method == "POST" and not enough.is_set():
            engine.push("notes", {"id": str(int(seen.body["id"]) + 1)})

    server.reject = push_another
    engine.push("notes", {"id": "0"})
    result = engine.flush(timeout=10)
    enough.set()
    assert result.success
    assert result.duration < 5
    assert engine.flush(timeout=10).success


@pytest.mark.parametrize("fault", [Reply(500), Reply(503), Reply(429)], ids=str)
def test_it_does_not_wait_out_a_backoff(
    held: Callable[..., SyncEngine], server: SyncServer, fault: Reply
) -> None:
    server.script(fault, match="POST")
    engine = held(retry_delay=60.0, max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with Timed() as first:
        result = engine.flush()
    assert (result.success, result.remaining) == (False, 1)
    assert first.seconds < 5
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [Reply(500), Reply(502), Reply(503), Reply(429)], ids=str)
def test_it_cuts_short_a_backoff_of_the_engines_own_by_one_request(
    held: Callable[..., SyncEngine], server: SyncServer, fault: Reply
) -> None:
    server.always(fault, match="POST")
    engine = held(retry_delay=60.0, max_retry_delay=60.0)
    engine.push_many("notes", [{"id": str(number)} for number in range(5)])
    assert engine.flush(timeout=10).remaining == 5
    before = len(server.requests)
    assert engine.flush(timeout=10).remaining == 5
    assert len(server.requests) == before + 1
    server.clear_script()
    assert engine.flush(timeout=10).success


@pytest.mark.parametrize("status", [429, 500, 503])
def test_it_does_not_cut_short_what_the_server_asked_for(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    server.script(Reply(status, headers={"Retry-After": "60"}), match="POST")
    engine = held()
    engine.push("notes", NOTE)
    for _ in range(3):
        assert engine.flush(timeout=10).remaining == 1
    assert len(server.requests) == 1


def test_it_does_not_wait_for_a_network(make: Callable[..., SyncEngine]) -> None:
    engine = make(base_url=f"http://127.0.0.1:{refuse_port()}", max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with Timed() as timed:
        results = [engine.flush() for _ in range(3)]
    assert timed.seconds < 5
    assert {(each.success, each.offline, each.remaining) for each in results} == {(False, True, 1)}


def test_it_does_not_wait_while_paused(make: Callable[..., SyncEngine], server: SyncServer) -> None:
    engine = make()
    engine.pause()
    engine.push("notes", NOTE)
    with Timed() as timed:
        result = engine.flush()
    assert timed.seconds < 5
    assert (result.success, result.offline, result.remaining) == (False, False, 1)
    assert server.requests == []
    engine.resume()
    assert engine.flush(timeout=10).success


def test_it_does_not_wait_for_credentials(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.token = "good"
    engine = held(auth=lambda: "bad", retry_delay=60.0, max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with Timed() as timed:
        assert engine.flush().remaining == 1
    assert timed.seconds < 5


def test_it_does_not_wait_for_parked_conflicts_nor_for_what_is_behind_them(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.put("notes", {"id": "1", "title": "theirs"})
    engine = held(conflict="manual", entities=SEVERAL)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.conflicts, result.errors) == (False, 1, 0)
    engine.push("notes", {"id": "1", "title": "behind"}, "update")
    result = engine.flush(timeout=10)
    assert (result.success, result.remaining) == (False, 1)


def test_it_does_not_wait_for_what_is_behind_a_failed_item(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(entities=SEVERAL)
    engine.push("notes", NOTE)
    engine.push("notes", {"id": "1", "n": 1}, "update")
    server.script(Reply(422, {"error": "no"}), match="POST")
    with Timed() as timed:
        result = engine.flush()
        again = engine.flush()
    assert timed.seconds < 5
    assert (result.errors, result.remaining) == (1, 1)
    assert (again.success, again.remaining, again.errors) == (False, 1, 0)


def test_items_of_an_unknown_entity_are_left_to_others_and_reported(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "shared.db"
    one = held(storage=path, entities={"notes": "/notes", "tasks": "/tasks"})
    one.push("tasks", {"id": "t"})
    one.push("notes", NOTE)
    assert one.close()
    other = held(storage=path, entities={"notes": "/notes"})
    with Timed() as timed:
        result = other.flush()
    assert timed.seconds < 5
    assert result.pushed == 1
    assert "tasks" in caplog.text
    assert "tasks" in present(other.status.last_error)
    assert other.close()
    again = held(storage=path)
    assert again.flush(timeout=10).pushed == 1
    assert list(server.records("tasks")) == ["t"]


def test_a_timeout_ends_the_waiting_and_not_the_sending(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(Stall(0.4), match="POST")
    engine = make()
    item = engine.push("notes", NOTE)
    with Timed() as timed:
        result = engine.flush(timeout=0.05)
    assert timed.seconds < 0.4
    assert (result.success, result.pushed, result.remaining) == (False, 0, 1)
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED


def test_a_flush_ends_at_the_real_timeout_whatever_the_engines_clock(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make(clock=ManualClock())
    server.script(Stall(2), match="POST")
    engine.push("notes", {"id": "1"})
    began = time.monotonic()
    assert engine.flush(timeout=0.2).remaining == 1
    assert time.monotonic() - began < 1.5
    assert engine.flush(timeout=10).success


def test_without_a_replica_each_operation_is_the_whole_record(
    make: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    server.put("notes", {"id": "1", "old": True})
    events = EntityConfig("/notes", replica=False)
    put = Dialect(patch="full", update="PUT {endpoint}/{id}")
    engine = make(entities={"notes": events}, dialect=put, auto_flush=False)
    for fields in ({"a": 1}, {"b": 2}):
        engine.push("notes", {"id": "1", **fields}, "update")
    assert engine.flush(timeout=10).pushed == 2
    engine.push("notes", {"id": "1", "c": 3}, "update")
    assert engine.flush(timeout=10).pushed == 1
    sent = writes(server)
    assert [seen.body for seen in sent] == [{"id": "1", name: n} for n, name in enumerate("abc", 1)]
    assert all("if-match" not in {name.lower() for name in seen.headers} for seen in sent)
    assert [seen.method for seen in server.requests] == ["PUT"] * 3, "nothing was read first"


def test_a_timeout_of_nothing_returns_what_is_known(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    result = engine.flush(timeout=0)
    assert result.duration < 5
    assert engine.flush(timeout=10).remaining == 0


# --- offline


def test_offline_it_probes_once_at_once(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    asked = []

    def probe() -> bool:
        asked.append(engine.is_online)
        return server_is_there.is_set()

    server_is_there = threading.Event()
    engine = held(probe=probe, probe_interval=60.0, max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with server.outage():
        assert engine.flush(timeout=10).offline
        asked.clear()
        for times in (1, 2, 3):
            assert engine.flush(timeout=10).offline
            assert len(asked) == times
    server_is_there.set()
    assert engine.flush(timeout=10).success
    assert len(asked) == 4


def test_a_flush_during_a_probe_that_fails_probes_again(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    began, release = threading.Event(), threading.Event()
    answers = [False, False, True]

    def probe() -> bool:
        began.set()
        assert release.wait(10)
        return answers.pop(0) if answers else True

    engine = held(probe=probe, probe_interval=60.0, max_retry_delay=60.0)
    engine.push("notes", NOTE)
    with server.outage():
        assert engine.flush(timeout=10).offline
    results = []
    first = threading.Thread(target=lambda: results.append(engine.flush(timeout=10)))
    first.start()
    assert began.wait(10)
    asked_meanwhile = threading.Thread(target=lambda: results.append(engine.flush(timeout=10)))
    asked_meanwhile.start()
    answers[:] = [False, True]
    release.set()
    first.join(10)
    asked_meanwhile.join(10)
    assert len(results) == 2
    assert engine.flush(timeout=10).success


def test_an_offline_engine_is_no_success_even_with_nothing_queued(
    held: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    engine = held(probe=lambda: False)
    item = engine.push("notes", NOTE)
    with server.outage():
        assert engine.flush(timeout=10).offline
        assert engine.cancel(item)
        result = engine.flush(timeout=10)
    assert (result.success, result.offline, result.remaining) == (False, True, 0)


# --- auto_flush


def test_without_auto_flush_nothing_is_sent_but_by_flush(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    watcher = threading.Event()
    engine.on_status_change(lambda _info: watcher.set())
    assert not watcher.wait(0.6)
    assert server.requests == []
    assert engine.flush(timeout=10).success
    engine.push("notes", {"id": "2"})
    assert engine.wait(next(engine.queue()), timeout=0.6) is ItemState.PENDING
    assert len(server.requests) == 1


def test_with_auto_flush_a_push_is_enough(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    engine.push("notes", NOTE)
    assert server.wait_for(lambda: server.records("notes"))


def test_retries_happen_by_themselves_without_another_push(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(*[Reply(500)] * 4, match="POST")
    engine = make()
    item = engine.push("notes", NOTE)
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert len(server.requests) == 5


def test_what_was_left_by_an_earlier_run_is_sent_on_start(
    held: Callable[..., SyncEngine],
    make: Callable[..., SyncEngine],
    server: SyncServer,
    tmp_path: Path,
) -> None:
    path = tmp_path / "queue.db"
    earlier = held(storage=path)
    earlier.push("notes", NOTE)
    assert earlier.close()
    with make(storage=path):
        assert server.wait_for(lambda: server.records("notes"))


def test_pause_lets_pushes_land_and_resume_sends_them(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    effects: Callable[..., list[tuple[str, str]]],
) -> None:
    engine = make()
    engine.pause()
    assert engine.status.paused
    engine.push("notes", NOTE)
    engine.push("notes", {"id": "2"})
    assert engine.queue_length == 2
    assert server.requests == []
    engine.resume()
    assert not engine.status.paused
    assert server.wait_for(lambda: len(effects(server)) == 2)


def test_pause_ends_a_flush_after_the_request_under_way(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(Stall(0.2), match="POST")
    engine = make()
    engine.push_many("notes", [{"id": n} for n in range(5)])
    assert server.wait_for(lambda: server.in_flight)
    engine.pause()
    result = engine.flush()
    assert (result.success, result.remaining) == (False, 4)
    assert [effect.id for effect in server.journal] == ["0"]
    assert {item.state for item in engine.queue()} == {ItemState.PENDING}
    engine.resume()
    assert engine.flush(timeout=10).success
    assert [effect.id for effect in server.journal] == ["0", "1", "2", "3", "4"]


def test_a_paused_or_held_engine_leaves_delivery_to_another(
    held: Callable[..., SyncEngine],
    make: Callable[..., SyncEngine],
    server: SyncServer,
    tmp_path: Path,
) -> None:
    path = tmp_path / "shared.db"
    paused, manual = make(storage=path), held(storage=path)
    paused.start()
    paused.pause()
    manual.start()
    other = make(storage=path)
    other.start()
    paused.push("notes", NOTE)
    manual.push("notes", {"id": "2"})
    assert server.wait_for(lambda: len(server.records("notes")) == 2)


# --- from callbacks


@pytest.mark.parametrize("kind", ["on_status_change", "on_change", "on_failure"])
def test_a_flush_from_a_callback_returns_at_once_and_starts_the_work(
    held: Callable[..., SyncEngine], server: SyncServer, recorder: type[Recorder], kind: str
) -> None:
    results = recorder()
    engine = held()

    def flush_once(_value: SyncStatusInfo | RecordChange | SyncItem) -> None:
        if not results.values:
            results(engine.flush())

    getattr(engine, kind)(flush_once)
    engine.push("notes", NOTE)
    server.script(Reply(422, {"error": "no"}), match="POST /notes")
    engine.push("tasks", {"id": "t"})
    server.script(Stall(0.2), match="POST /tasks")
    result = engine.flush(timeout=10)
    assert result.errors + result.pushed == 2 or kind == "on_change"
    assert results.wait(lambda values: values)
    assert results.values[0].duration < 5
    assert engine.flush(timeout=10).remaining == 0


# --- backoff and due times


def until(condition: Callable[..., bool]) -> bool:
    """Waits for what another thread brings about; whether it came."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def delays(engine: SyncEngine, server: SyncServer, clock: Any, attempts: int) -> list[float]:
    """The waits in seconds after each failed attempt, the clock moved from one to the next."""
    found = []
    for attempt in range(1, attempts + 1):
        engine.flush(timeout=10)
        assert len(server.requests) == attempt
        item = only(engine.queue())
        due = present(item.next_attempt)
        found.append((due - datetime.now(timezone.utc)).total_seconds())
        clock.move_to(due + timedelta(milliseconds=1))
    return found


def test_the_backoff_doubles_up_to_its_ceiling(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.always(Reply(500))
    with freeze_time(NOON) as clock:
        engine = held(retry_delay=1.0, max_retry_delay=10.0, max_retries=50)
        engine.push("notes", NOTE)
        waits = delays(engine, server, clock, 7)
        assert engine.close()
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0], abs=0.01)


def test_due_times_survive_a_restart(
    held: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    path = tmp_path / "queue.db"
    server.script(Reply(500, headers={"Retry-After": "600"}), match="POST")
    with freeze_time(NOON) as clock:
        engine = held(storage=path)
        engine.push("notes", NOTE)
        engine.flush(timeout=10)
        due = only(engine.queue()).next_attempt
        assert engine.close()
        clock.tick(599)
        engine = held(storage=path)
        assert engine.flush(timeout=10).remaining == 1
        assert only(engine.queue()).next_attempt == due == NOON + timedelta(seconds=600)
        assert engine.status.next_retry == due
        clock.tick(2)
        assert engine.flush(timeout=10).success
        assert engine.close()
    assert len(server.requests) == 2


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("retry_after", [None, 600])
def test_a_clock_set_back_cannot_postpone_a_retry(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    tmp_path: Path,
    restart: bool,
    retry_after: int | None,
) -> None:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    server.script(Reply(500, headers=headers), match="POST")
    bound = 100 if retry_after is None else retry_after
    clock = ManualClock()
    settings = {
        "storage": tmp_path / "queue.db",
        "retry_delay": 100.0,
        "max_retry_delay": 100.0,
        "clock": clock,
    }
    engine = make(**settings)
    item = engine.push("notes", NOTE)
    assert until(lambda: engine.status.next_retry is not None)
    clock.set(clock.now - timedelta(days=30))
    if restart:
        assert engine.close()
        engine = make(**settings)
        engine.start()
    bounded = timedelta(seconds=bound)
    assert until(lambda: present(only(engine.queue()).next_attempt) - clock.now <= bounded)
    assert present(engine.status.next_retry) - clock.now <= bounded
    clock.advance(bound + 1)
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED


def test_a_clock_set_back_by_less_than_the_ceiling_changes_little(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(Reply(500), match="POST")
    with freeze_time(NOON) as clock:
        engine = held(retry_delay=100.0, max_retry_delay=100.0)
        engine.push("notes", NOTE)
        engine.flush(timeout=10)
        clock.move_to(NOON - timedelta(seconds=40))
        engine.flush(timeout=10)
        clock.tick(101)
        assert engine.flush(timeout=10).success
        assert engine.close()


def test_next_retry_tells_when_the_first_one_is_due(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.script(Reply(500, headers={"Retry-After": "600"}), match="POST /notes")
    server.script(Reply(500, headers={"Retry-After": "300"}), match="POST /tasks")
    with freeze_time(NOON):
        engine = held()
        assert engine.status.next_retry is None
        engine.push("notes", NOTE)
        engine.push("tasks", {"id": "t"})
        engine.flush(timeout=10)
        assert engine.status.next_retry == NOON + timedelta(seconds=300)
        assert engine.close()


# --- full_sync


def test_full_sync_pushes_and_pulls(held: Callable[..., SyncEngine], server: SyncServer) -> None:
    server.put("notes", {"id": "theirs", "title": "x"})
    engine = held()
    engine.push("notes", NOTE)
    result = engine.full_sync(timeout=10)
    assert result.success
    assert (result.pushed, result.errors, result.remaining) == (1, 0, 0)
    assert result.pulled >= 1
    assert {record["id"] for record in engine.records("notes")} == {"1", "theirs"}


def test_full_sync_offline_says_so(held: Callable[..., SyncEngine]) -> None:
    engine = held(base_url=f"http://127.0.0.1:{refuse_port()}")
    engine.push("notes", NOTE)
    result = engine.full_sync(timeout=10)
    assert (result.success, result.offline, result.remaining) == (False, True, 1)


# --- the end


def test_close_leaves_the_rest_queued_for_the_next_run(
    make: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    path = tmp_path / "queue.db"
    server.latency_s = 0.05
    engine = make(storage=path)
    engine.push_many("notes", [{"id": n} for n in range(30)])
    assert server.wait_for(lambda: server.journal)
    assert engine.close() is True
    assert engine.status.status is SyncStatus.CLOSED
    done = len(server.journal)
    assert 0 < done < 30
    server.latency_s = 0.0
    again = make(storage=path)
    assert again.queue_length == 30 - done
    assert again.flush(timeout=10).success
    assert [effect.id for effect in server.journal] == [str(n) for n in range(30)]


def test_a_flush_that_waits_is_ended_by_close(
    make: Callable[..., SyncEngine], tmp_path: Path
) -> None:
    with SyncServer() as server:
        server.script(Stall(0.3), match="POST")
        engine = make(base_url=server.url, storage=tmp_path / "queue.db")
        engine.push_many("notes", [{"id": n} for n in range(5)])
        assert server.wait_for(lambda: server.in_flight)
        outcome: list[object] = []

        def flush() -> None:
            try:
                outcome.append(engine.flush())
            except Exception as error:  # noqa: BLE001
                outcome.append(error)

        waiting = threading.Thread(target=flush)
        waiting.start()
        assert engine.close(timeout=5) is True
        waiting.join(5)
        assert not waiting.is_alive()


def test_a_flush_does_not_wait_for_a_worker_that_will_not_come(tmp_path: Path) -> None:
    engine = create_sync_engine(
        base_url="http://nowhere.invalid",
        entities={"notes": "/notes"},
        storage=tmp_path / "queue.db",
        probe=None,
        exit_timeout=0,
    )
    worker = engine._core.running().worker
    # the engine closes before its thread has begun
    worker.start = lambda: None  # type: ignore[method-assign]  # replaced by the test
    thread = threading.Thread(target=engine.flush)
    thread.start()
    deadline = time.monotonic() + 10
    while not worker._flush_requests and time.monotonic() < deadline:
        time.sleep(0.001)
    assert engine.close()
    thread.join(10)
    assert not thread.is_alive()
