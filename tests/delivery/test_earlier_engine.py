"""Faults of an earlier engine of this design: each reproduced, and shown not to be here."""

import itertools
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import (
    EntityConfig,
    ItemState,
    SyncEngine,
    SyncStatus,
    UnknownEntityError,
)
from bytelyst_sync.testing import DropAnswer, Lose, Reply, Seen, Stall, SyncServer
from tests.typed import T, present

NOTE = {"id": "1", "title": "first"}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


def test_status_stuck_at_syncing_after_a_flush_so_that_later_flushes_send_nothing(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    for number in range(5):
        engine.push("notes", {"id": number})
        result = engine.flush(timeout=10)
        assert (result.success, result.pushed) == (True, 1)
        assert engine.status.status is SyncStatus.IDLE
    assert len(server.records("notes")) == 5


@pytest.mark.parametrize(
    "fault", [Reply(500), Reply(400, {"error": "no"}), Reply(503), DropAnswer(), None], ids=str
)
def test_status_stuck_at_syncing_after_a_flush_that_failed(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    drain: Callable[..., int],
    fault: Reply | Lose | None,
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    if fault is None:
        with server.outage():
            engine.flush(timeout=10)
    else:
        server.script(fault, match="POST")
        engine.flush(timeout=10)
    assert engine.status.status is not SyncStatus.SYNCING
    engine.push("notes", {"id": "2"})
    assert drain(engine) == 0
    assert "2" in server.records("notes")
    assert engine.status.status is not SyncStatus.SYNCING  # type: ignore[comparison-overlap]  # it has changed since


def test_a_push_during_a_running_flush_lost_when_the_flush_saves_its_remainder(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push_many("notes", [{"id": n} for n in range(3)])
    server.script(Stall(0.2), None, Reply(500), match="POST")
    results = []
    flushing = threading.Thread(target=lambda: results.append(engine.flush(timeout=10)))
    flushing.start()
    assert server.wait_for(lambda: server.in_flight)
    engine.push("notes", {"id": "pushed meanwhile"})
    flushing.join(10)
    assert not results[0].success
    # the queue first: what leaves it after that look is at the server by the next one
    queued = {item.record_id for item in engine.queue()}
    assert "pushed meanwhile" in queued | set(server.records("notes"))
    assert engine.close()
    again = held()
    assert again.wait(next(again.queue()), timeout=0.05) is ItemState.PENDING
    assert again.flush(timeout=10).success
    assert set(server.records("notes")) == {"0", "1", "2", "pushed meanwhile"}


def test_five_concurrent_pushes_keeping_one(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    together = threading.Barrier(5)

    def push(number: int) -> None:
        together.wait(10)
        engine.push("notes", {"id": number})

    threads = [threading.Thread(target=push, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert engine.queue_length == 5
    assert engine.close()
    again = held()
    assert again.queue_length == 5
    assert again.flush(timeout=10).pushed == 5
    assert len(server.journal) == 5


@pytest.mark.parametrize("workers", [1, 4])
def test_an_item_sent_twice_when_pushes_overlap(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    writes: Callable[..., list[Seen]],
    workers: int,
) -> None:
    server.latency_s = 0.005
    engine = make(workers=workers)

    def push(first: int) -> None:
        for number in range(first, first + 10):
            engine.push("notes", {"id": number})
            engine.flush(timeout=0)

    threads = [threading.Thread(target=push, args=(first,)) for first in range(0, 50, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert engine.flush(timeout=20).success
    keys = [seen.headers["idempotency-key"] for seen in writes(server)]
    assert len(keys) == len(set(keys)) == len(server.journal) == 50


def test_errors_swallowed_so_that_retries_never_count(
    make: Callable[..., SyncEngine], poisoned: Callable[..., SyncServer]
) -> None:
    engine = make(max_retries=3)
    statuses: list[Any] = []
    engine.on_status_change(statuses.append)
    item = engine.push("notes", NOTE)
    server = poisoned(engine, Reply(500, {"error": "the disk is full"}))
    assert engine.wait(item, timeout=10) is ItemState.FAILED
    failed = only(engine.failed())
    assert failed.retry_count == 3
    assert "the disk is full" in present(failed.last_error)
    # a later success of another record ends the status "error", and with it its text
    assert server.wait_for(
        lambda: any(
            info.status is SyncStatus.ERROR and "the disk is full" in (info.last_error or "")
            for info in statuses
        )
    )


def test_a_400_retried_for_ever_while_success_is_true(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    server.always(Reply(400, {"error": "no title"}), match="POST")
    engine = held()
    engine.push("notes", NOTE)
    results = [engine.flush(timeout=10) for _ in range(4)]
    assert (results[0].success, results[0].errors) == (False, 1)
    assert len(writes(server)) == 1
    assert "no title" in present(only(engine.failed()).last_error)


def test_no_retry_without_another_push(make: Callable[..., SyncEngine], server: SyncServer) -> None:
    server.script(Reply(500), DropAnswer(), Reply(502), match="POST")
    engine = make()
    assert engine.wait(engine.push("notes", NOTE), timeout=10) is ItemState.DELIVERED
    assert len(server.journal) == 1


def test_no_backoff_between_retries(
    make: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    server.always(Reply(500))
    engine = make(retry_delay=0.04, max_retry_delay=1.0)
    engine.push("notes", NOTE)
    assert server.wait_for(lambda: len(writes(server)) == 4)
    times = [seen.at for seen in writes(server)]
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert len(waits) == 3
    for wait, least in zip(waits, (0.02, 0.04, 0.08), strict=True):
        assert wait >= least * 0.9


def test_create_and_update_offline_becoming_a_lone_patch(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    engine = held()
    with server.outage():
        engine.push("notes", NOTE)
        engine.flush(timeout=10)
        engine.push("notes", {"id": "1", "body": "text"}, "update")
        engine.flush(timeout=10)
    assert engine.flush(timeout=10).success
    request = only(writes(server))
    assert (request.method, request.body) == ("POST", {**NOTE, "body": "text"})


def test_create_and_delete_sending_a_delete_for_what_the_server_never_saw(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    engine = held()
    with server.outage():
        engine.push("notes", NOTE)
        engine.flush(timeout=10)
        assert engine.delete("notes", "1") is None
    assert engine.queue_length == 0
    engine.push("notes", {"id": "2"})
    assert engine.flush(timeout=10).success
    assert only(writes(server)).body == {"id": "2"}


def test_deduplication_across_operations_reordering_items(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", {"id": "1"})
    engine.flush(timeout=10)
    engine.push("notes", {"id": "1", "n": 1}, "update")
    engine.push("notes", {"id": "2"})
    engine.push("tasks", {"id": "t"})
    engine.push("notes", {"id": "1", "n": 2}, "update")
    engine.delete("notes", "9")
    engine.push("notes", {"id": "9", "anew": True})
    assert engine.flush(timeout=10).success
    assert [(effect.kind, effect.id) for effect in server.journal] == [
        ("create", "1"),
        ("update", "1"),
        ("create", "2"),
        ("create", "t"),
        ("create", "9"),
    ]
    assert [(seen.method, seen.path) for seen in server.requests[-2:]] == [
        ("DELETE", "/notes/9"),
        ("POST", "/notes"),
    ]


def test_an_unknown_entity_burning_its_retries_and_then_dropped(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    with pytest.raises(UnknownEntityError) as raised:
        engine.push("nots", NOTE)
    assert "'nots'" in str(raised.value)
    assert "'notes'" in str(raised.value)
    assert engine.queue_length == 0
    engine.push("tasks", {"id": "t"})
    assert engine.close()
    narrow = held(entities={"notes": EntityConfig("/notes")}, max_retries=0)
    for _ in range(3):
        narrow.flush(timeout=10)
    kept = only(narrow.queue())
    assert (kept.entity, kept.retry_count, kept.state) == ("tasks", 0, ItemState.PENDING)
    assert server.requests == []


def test_queue_length_always_0(held: Callable[..., SyncEngine], server: SyncServer) -> None:
    engine = held()
    for number in range(3):
        assert engine.queue_length == engine.status.queue_length == number
        engine.push("notes", {"id": number})
    with server.outage():
        assert engine.flush(timeout=10).remaining == 3
    assert engine.flush(timeout=10).remaining == engine.queue_length == 0


def test_a_failed_pull_reporting_success_and_moving_the_cursor(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    server.put("notes", {"id": "theirs", "title": "x"})
    engine = held(entities={"notes": "/notes"})
    server.script(Reply(500), Reply(500), match="GET")
    for _ in range(2):
        failed = engine.pull(timeout=10)
        assert (failed.success, failed.pulled) == (False, 0)
        assert failed.errors == 1
    first, second = server.requests
    assert first.query == second.query
    assert engine.pull(timeout=10).success
    assert present(engine.get("notes", "theirs"))["title"] == "x"


def test_pulled_items_dropped(held: Callable[..., SyncEngine], server: SyncServer) -> None:
    for number in range(250):
        server.put("notes", {"id": f"n{number:03}", "title": "theirs"})
    engine = held(entities={"notes": "/notes"})
    result = engine.pull(timeout=20)
    assert (result.success, result.pulled) == (True, 250)
    assert len(list(engine.records("notes"))) == 250
    server.patch("notes", "n007", {"title": "changed"})
    assert engine.pull(timeout=20).pulled == 1
    assert present(engine.get("notes", "n007"))["title"] == "changed"


def test_a_crash_before_the_final_save_resending_everything_without_a_key(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    writes: Callable[..., list[Seen]],
    storage: Path,
    tmp_path: Path,
) -> None:
    engine = held()
    items = engine.push_many("notes", [{"id": n} for n in range(4)])
    server.script(None, None, Stall(0.4), match="POST")
    flushing = threading.Thread(target=lambda: engine.flush(timeout=10))
    flushing.start()
    assert server.wait_for(lambda: len(server.journal) == 2 and server.in_flight)
    # what a power cut at this moment leaves: the file, and what was written ahead
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for part in storage.parent.glob(f"{storage.name}*"):
        if part.is_file():
            copy = crashed / part.name
            copy.write_bytes(part.read_bytes())
            copy.chmod(0o600)
    flushing.join(10)
    before = len(writes(server))
    again = held(storage=crashed / storage.name)
    assert again.flush(timeout=10).success
    assert [effect.id for effect in server.journal] == ["0", "1", "2", "3"]
    for seen in writes(server)[before:]:
        assert seen.headers["idempotency-key"] == items[int(seen.body["id"])].id
