"""What an answer means: every row of the table, through a real server."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import (
    Dialect,
    EntityConfig,
    ItemState,
    SyncEngine,
    SyncResult,
    SyncStatus,
)
from bytelyst_sync.model import Json, OperationName
from bytelyst_sync.testing import (
    Drop,
    DropAnswer,
    Lose,
    ManualClock,
    Reply,
    Seen,
    Stall,
    SyncServer,
    Truncate,
)
from tests.delivery.conftest import Recorder, Tokens
from tests.typed import T, present

NOTE = {"id": "1", "title": "first"}
PORTAL = Reply(200, "<html>Please log in</html>", {"Content-Type": "text/html"})

# an answer to the first try: (fault, frozen, whether the item itself has to wait)
FROZEN, FREE = True, False
ROWS: Json = {
    "connection lost after sending": (DropAnswer(), FROZEN, 1),
    "connection reset while sending": (Drop(), FROZEN, 1),
    "truncated body": (Truncate(), FROZEN, 1),
    "408": (Reply(408), FROZEN, 1),
    "425": (Reply(425), FREE, 1),
    "429": (Reply(429), FREE, 0),
    "500": (Reply(500), FROZEN, 1),
    "501": (Reply(501), FROZEN, 1),
    "502": (Reply(502), FROZEN, 1),
    "503": (Reply(503), FROZEN, 1),
    "503 with Retry-After": (Reply(503, headers={"Retry-After": "0"}), FROZEN, 0),
    "504": (Reply(504), FROZEN, 1),
    "401": (Reply(401), FREE, 0),
    "no connection made": (None, FREE, 0),
}


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


def first_try(
    engine: SyncEngine, server: SyncServer, fault: Lose | Drop | Truncate | Reply | None
) -> SyncResult:
    """Pushes a note and has it tried once, with this fault in the way (``None``: an outage)."""
    engine.push("notes", NOTE)
    with ExitStack() as stack:
        if fault is None:
            stack.enter_context(server.outage())
        else:
            server.script(fault, match="POST")
        return engine.flush(timeout=10)


@pytest.mark.parametrize("row", ROWS)
def test_an_answer_that_leaves_it_queued_is_reported_and_spends_what_it_should(
    held: Callable[..., SyncEngine], server: SyncServer, row: str
) -> None:
    fault, _, waits = ROWS[row]
    engine = held()
    result = first_try(engine, server, fault)
    item = only(engine.queue())
    assert item.state is ItemState.PENDING
    assert item.retry_count == 0
    assert item.last_error
    assert (item.next_attempt is not None) == bool(waits)
    assert not result.success
    assert (result.pushed, result.remaining) == (0, 1)
    assert result.offline is (fault is None)
    assert engine.is_online is (fault is not None)
    assert list(engine.failed()) == []
    assert result.errors == (1 if waits or row == "401" else 0)


@pytest.mark.parametrize("row", [row for row in ROWS if ROWS[row][1]])
def test_a_frozen_item_is_sent_again_as_it_was_and_later_ones_wait_behind(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    drain: Callable[..., int],
    writes: Callable[..., list[Seen]],
    row: str,
) -> None:
    engine = held()
    first_try(engine, server, ROWS[row][0])
    before = only(engine.queue())
    later = engine.push("notes", {"id": "1", "title": "second"}, "update")
    assert [item.id for item in engine.queue()] == [before.id, later.id]
    assert drain(engine) == 0
    first, again, update = writes(server)
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"] == before.id
    assert first.content == again.content
    assert (update.method, update.headers["idempotency-key"]) == ("PATCH", later.id)
    assert [effect.kind for effect in server.journal] == ["create", "update"]
    assert server.records("notes")["1"]["title"] == "second"


@pytest.mark.parametrize("row", [row for row in ROWS if not ROWS[row][1]])
def test_an_item_that_was_not_processed_may_still_be_coalesced(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    drain: Callable[..., int],
    writes: Callable[..., list[Seen]],
    row: str,
) -> None:
    engine = held()
    first_try(engine, server, ROWS[row][0])
    before = only(engine.queue())
    merged = engine.push("notes", {"id": "1", "title": "second"}, "update")
    assert only(engine.queue()).id == merged.id != before.id
    assert drain(engine) == 0
    last = writes(server)[-1]
    assert (last.method, last.headers["idempotency-key"]) == ("POST", merged.id)
    assert last.body == {"id": "1", "title": "second"}
    assert [effect.kind for effect in server.journal] == ["create"]


@pytest.mark.parametrize("fault", [Reply(500), Reply(503), Drop(), DropAnswer(), Reply(408)])
def test_a_delete_of_what_may_have_been_created_goes_behind_it(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    drain: Callable[..., int],
    effects: Callable[..., list[tuple[str, str]]],
    fault: Reply | Drop | Lose,
) -> None:
    engine = held()
    first_try(engine, server, fault)
    assert engine.delete("notes", "1") is not None
    assert drain(engine) == 0
    assert effects(server) == [("create", "1"), ("delete", "1")]


def test_an_item_that_an_earlier_try_froze_stays_frozen_after_a_429(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    drain: Callable[..., int],
    writes: Callable[..., list[Seen]],
) -> None:
    engine = held()
    first_try(engine, server, Reply(500))
    server.script(Reply(429), match="POST")
    assert drain(engine, enough=lambda: len(writes(server)) == 2) == 1
    engine.push("notes", {"id": "1", "title": "second"}, "update")
    assert engine.queue_length == 2
    assert drain(engine) == 0
    assert len({seen.headers["idempotency-key"] for seen in writes(server)[:3]}) == 1


# --- the texts of errors

TEXTS: dict[str, tuple[Any, str]] = {
    "rejected": (
        Reply(422, {"error": "title too long"}),
        "create of notes/1 rejected: HTTP 422 'title too long'; see engine.failed()",
    ),
    "no such place": (
        Reply(404, {"error": "not found"}),
        "create of notes/1 rejected: HTTP 404 'not found' from {url}/notes; see engine.failed()",
    ),
    "redirect": (
        Reply(302, headers={"Location": "/notes/"}),
        "create of notes/1 rejected: HTTP 302 from {url}/notes: the server redirects to ",
    ),
    "unclear": (
        Reply(201, b"<p>hello</p>", {"Content-Type": "text/html"}),
        "create of notes/1 failed: HTTP 201 from {url}/notes: accepted, and it is not known as ",
    ),
    "busy": (Reply(503, {"error": "busy"}), "create of notes/1 failed: HTTP 503 'busy'"),
    "credentials": (
        Reply(401, {"error": "who is it?"}),
        "create of notes/1 failed: HTTP 401 'who is it?': the server refused the credentials",
    ),
    "no answer": (Drop(), "create of notes/1 failed: no complete answer from "),
    "no connection": (None, "create of notes/1 failed: no connection to "),
}


@pytest.mark.parametrize("row", TEXTS)
def test_an_error_names_the_operation_the_record_and_what_came(
    held: Callable[..., SyncEngine], server: SyncServer, row: str
) -> None:
    engine = held()
    fault, text = TEXTS[row]
    text = text.format(url=server.url)
    result = first_try(engine, server, fault)
    (item,) = [*engine.queue(), *engine.failed()]
    assert present(item.last_error).startswith(text)
    assert present(item.last_error).endswith("; see engine.failed()") is (
        item.state is ItemState.FAILED
    )
    assert result.problems[0].message == item.last_error
    assert str(result.problems[0]) == item.last_error, "it names the record once"
    assert (engine.status.last_error or "nothing").partition("; see")[0] in item.last_error


# --- 2xx


@pytest.mark.parametrize(
    "reply",
    [
        Reply(201, {"id": "1", "title": "first"}),
        Reply(200, b""),
        Reply(201, b"  \r\n"),
        Reply(204),
        Reply(202, {"accepted": True}),
        Reply(200, [1, 2]),
        Reply(200, b'"stored"'),
        Reply(200, json.dumps({"id": "1", "title": "first"}), {"Content-Type": "text/plain"}),
        Reply(299, {}),
    ],
    ids=str,
)
def test_2xx_is_delivered(
    held: Callable[..., SyncEngine], server: SyncServer, reply: Reply
) -> None:
    engine = held()
    result = first_try(engine, server, reply)
    assert result.success
    assert (result.pushed, result.errors, result.remaining) == (1, 0, 0)
    assert engine.get("notes", "1") == NOTE
    assert engine.status.status is SyncStatus.IDLE


def test_a_record_in_the_answer_is_the_servers_state_and_its_version_is_kept(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    engine = held()
    answer = {"id": "1", "title": "as the server says", "owner": "ada"}
    first_try(engine, server, Reply(201, answer, {"ETag": '"abc"'}))
    assert engine.get("notes", "1") == answer
    engine.push("notes", {"id": "1", "title": "next"}, "update")
    server.script(Reply(200, b""), match="PATCH")
    assert engine.flush(timeout=10).success
    assert writes(server)[-1].headers["if-match"] == '"abc"'


def test_json_served_as_text_is_json(held: Callable[..., SyncEngine], server: SyncServer) -> None:
    engine = held()
    text = json.dumps({"id": "1", "title": "from text"})
    assert first_try(engine, server, Reply(201, text)).success
    assert engine.get("notes", "1") == {"id": "1", "title": "from text"}


@pytest.mark.parametrize(
    "body",
    [
        {"ok": True, "title": "not of this record"},
        {"id": True, "title": "no id"},
        {"id": None, "title": "no id"},
        {"data": {"id": "1", "title": "elsewhere"}},
        [{"id": "1", "title": "in a list"}],
    ],
    ids=str,
)
def test_an_answer_without_this_records_id_is_no_state(
    held: Callable[..., SyncEngine], server: SyncServer, body: Json | list[Json]
) -> None:
    engine = held()
    assert first_try(engine, server, Reply(201, body)).success
    assert engine.get("notes", "1") == NOTE
    assert engine.get("notes", "2") is None


def test_a_deletes_answer_is_never_state(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    first_try(engine, server, Reply(201, NOTE))
    engine.delete("notes", "1")
    server.script(Reply(200, {"id": "1", "title": "was this"}), match="DELETE")
    assert engine.flush(timeout=10).success
    assert engine.get("notes", "1") is None


def test_ids_in_answers_are_compared_as_text(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", {"id": "7", "title": "seven"})
    server.script(Reply(201, {"id": 7, "title": "Seven"}), match="POST")
    assert engine.flush(timeout=10).success
    assert engine.get("notes", 7) == {"id": 7, "title": "Seven"}


def test_a_dialect_may_accept_answers_that_are_no_json(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(dialect=Dialect(answer="any"))
    assert first_try(engine, server, PORTAL).success
    assert engine.get("notes", "1") == NOTE
    engine.push("notes", {"id": "1", "title": "second"}, "update")
    server.script(Reply(200, "ok"), match="PATCH")
    assert engine.flush(timeout=10).success


def test_a_partial_answer_is_laid_over_what_was_sent(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(dialect=Dialect(partial_answer=True))
    assert first_try(engine, server, Reply(201, {"created": "today"})).success
    assert engine.get("notes", "1") == {**NOTE, "created": "today"}


# --- gone


@pytest.mark.parametrize("status", [404, 410])
def test_gone_to_a_delete_is_delivered(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = held()
    engine.delete("notes", "1")
    server.script(Reply(status, {"error": "no such note"}), match="DELETE")
    result = engine.flush(timeout=10)
    assert result.success
    assert (result.pushed, result.conflicts) == (1, 0)


@pytest.mark.parametrize("status", [404, 410])
def test_gone_to_an_update_of_a_record_that_was_held_is_a_conflict(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = held()
    first_try(engine, server, Reply(201, NOTE))
    engine.push("notes", {"id": "1", "title": "second"}, "update")
    server.always(Reply(status), match="PATCH")
    result = engine.flush(timeout=10)
    assert (result.conflicts, result.remaining) == (1, 0)
    conflict = only(engine.conflicts(resolved=True))
    assert (conflict.record_id, conflict.remote) == ("1", None)
    assert engine.get("notes", "1") is None


@pytest.mark.parametrize("status", [404, 410])
def test_gone_to_an_update_of_a_record_never_held_is_rejected(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = held()
    item = engine.push("notes", {"id": "1", "title": "second"}, "update")
    server.script(Reply(status, {"error": "no such note"}), match="PATCH")
    result = engine.flush(timeout=10)
    assert (result.success, result.conflicts, result.errors) == (False, 0, 1)
    failed = only(engine.failed())
    assert (failed.id, failed.retry_count) == (item.id, 0)
    assert "no such note" in present(failed.last_error)


@pytest.mark.parametrize("status", [404, 410])
def test_gone_to_a_create_is_a_wrong_endpoint_and_rejected(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = held()
    reply = Reply(status, {"error": "no such place"})
    assert first_try(engine, server, reply).errors == 1
    assert str(status) in present(only(engine.failed()).last_error)


# --- conflicts: compared, never assumed


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_exists_is_tested_before_the_status_classes(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = held(dialect=Dialect(exists=((status, "duplicate id"),)))
    server.put("notes", {"id": "1", "title": "theirs"})
    result = first_try(engine, server, Reply(status, {"error": "duplicate id 1"}))
    assert (result.conflicts, result.errors, result.remaining) == (1, 0, 0)
    assert present(engine.get("notes", "1"))["title"] == "theirs"


@pytest.mark.parametrize("status", [400, 500])
def test_conflict_is_tested_before_the_status_classes(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = held(dialect=Dialect(conflict=(status,)))
    server.put("notes", {"id": "1", "title": "theirs"})
    assert first_try(engine, server, Reply(status)).conflicts == 1


@pytest.mark.parametrize("status", [400, 500])
def test_gone_is_tested_before_the_status_classes(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = held(dialect=Dialect(gone=(status,)))
    engine.delete("notes", "1")
    server.always(Reply(status), match="DELETE")
    assert engine.flush(timeout=10).success


def test_our_own_lost_create_found_there_is_delivered(
    held: Callable[..., SyncEngine],
    drain: Callable[..., int],
    effects: Callable[..., list[tuple[str, str]]],
) -> None:
    with SyncServer(idempotency=False) as server:
        engine = held(base_url=server.url)
        result = first_try(engine, server, DropAnswer())
        assert result.conflicts == 0
        assert drain(engine) == 0
        assert server.requests[-1].status == 409
        assert effects(server) == [("create", "1")]
        assert list(engine.conflicts()) == list(engine.conflicts(resolved=True)) == []
        assert list(engine.failed()) == []


def test_our_own_lost_update_found_there_is_delivered(
    held: Callable[..., SyncEngine],
    drain: Callable[..., int],
    effects: Callable[..., list[tuple[str, str]]],
) -> None:
    with SyncServer(idempotency=False) as server:
        engine = held(base_url=server.url)
        engine.push("notes", NOTE)
        engine.flush(timeout=10)
        engine.push("notes", {"id": "1", "title": "second"}, "update")
        server.script(DropAnswer(), match="PATCH")
        engine.flush(timeout=10)
        assert drain(engine) == 0
        assert server.requests[-1].status == 412
        assert effects(server) == [("create", "1"), ("update", "1")]
        assert list(engine.conflicts(resolved=True)) == []
        assert present(engine.get("notes", "1"))["title"] == "second"


def test_our_own_lost_delete_found_gone_is_delivered(
    held: Callable[..., SyncEngine],
    drain: Callable[..., int],
    effects: Callable[..., list[tuple[str, str]]],
) -> None:
    with SyncServer(idempotency=False) as server:
        engine = held(base_url=server.url)
        engine.push("notes", NOTE)
        engine.flush(timeout=10)
        engine.delete("notes", "1")
        server.script(DropAnswer(), match="DELETE")
        engine.flush(timeout=10)
        assert drain(engine) == 0
        assert effects(server) == [("create", "1"), ("delete", "1")]
        assert list(engine.conflicts(resolved=True)) == []


def test_a_create_of_what_others_created_differently_is_a_conflict(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    server.put("notes", {"id": "1", "title": "theirs"})
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.conflicts, result.remaining) == (1, 0)
    assert present(engine.get("notes", "1"))["title"] == "theirs"
    assert present(only(engine.conflicts(resolved=True)).local)["title"] == "first"


def test_a_conflict_without_the_current_record_reads_it(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    stored = server.put("notes", {"id": "1", "title": "theirs"})
    engine.push("notes", NOTE)
    server.script(Reply(409, {"error": "exists"}), match="POST")
    assert engine.flush(timeout=10).conflicts == 1
    assert [seen.method for seen in server.requests] == ["POST", "GET"]
    assert engine.get("notes", "1") == stored


def test_an_update_is_conditional_on_the_version_it_was_based_on(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    server.patch("notes", "1", {"title": "theirs"})
    engine.push("notes", {"id": "1", "title": "ours"}, "update")
    assert engine.flush(timeout=10).conflicts == 1
    assert writes(server)[-1].status == 412
    assert present(engine.get("notes", "1"))["title"] == "theirs"


def test_a_first_try_still_running_is_busy_for_this_item(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    effects: Callable[..., list[tuple[str, str]]],
) -> None:
    engine = make(timeout=(2.0, 0.15), max_retries=1)
    server.script(Stall(0.5), match="POST")
    item = engine.push("notes", NOTE)
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert effects(server) == [("create", "1")]
    assert 409 in [seen.status for seen in server.requests]
    assert list(engine.conflicts(resolved=True)) == []
    assert list(engine.failed()) == []


# --- no connection


def test_going_offline_and_back_delivers_without_another_push(
    make: Callable[..., SyncEngine], server: SyncServer, recorder: type[Recorder]
) -> None:
    engine = make()
    statuses = recorder()
    engine.on_status_change(statuses)
    with server.outage():
        item = engine.push("notes", NOTE)
        assert statuses.wait(lambda infos: infos and infos[-1].status is SyncStatus.OFFLINE)
        assert not engine.is_online
        assert only(engine.queue()).retry_count == 0
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert engine.is_online


def test_an_outage_far_longer_than_the_budget_fails_nothing(
    held: Callable[..., SyncEngine], server: SyncServer, drain: Callable[..., int]
) -> None:
    engine = held(max_retries=1)
    engine.push("notes", NOTE)
    with server.outage():
        for _ in range(5):
            result = engine.flush(timeout=10)
            assert (result.offline, result.errors) == (True, 0)
        assert only(engine.queue()).retry_count == 0
    assert drain(engine) == 0


# --- busy


@pytest.mark.parametrize("status", [429, 503])
def test_busy_honours_retry_after_in_seconds(
    make: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = make()
    server.script(Reply(status, headers={"Retry-After": "1"}), match="POST")
    began = time.monotonic()
    item = engine.push("notes", NOTE)
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("status", [429, 503])
def test_busy_pauses_the_whole_origin(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    writes: Callable[..., list[Seen]],
    status: int,
) -> None:
    engine = held()
    first_try(engine, server, Reply(status, headers={"Retry-After": "60"}))
    engine.push("tasks", {"id": "9"})
    result = engine.flush(timeout=10)
    assert (result.pushed, result.errors, result.remaining) == (0, 0, 2)
    assert len(writes(server)) == 1
    left = present(engine.status.next_retry) - datetime.now(timezone.utc)
    assert timedelta(seconds=50) < left <= timedelta(seconds=61)


def test_busy_however_often_spends_no_retry(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    drain: Callable[..., int],
    writes: Callable[..., list[Seen]],
) -> None:
    engine = held(max_retries=1)
    server.script(*[Reply(503)] * 4, *[Reply(429)] * 4, match="POST")
    engine.push("notes", NOTE)
    assert drain(engine) == 0
    assert list(engine.failed()) == []
    assert len(writes(server)) == 9


def test_a_pause_of_the_origin_survives_a_restart(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    writes: Callable[..., list[Seen]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "queue.db"
    engine = held(storage=path)
    first_try(engine, server, Reply(503, headers={"Retry-After": "60"}))
    assert engine.close()
    again = held(storage=path)
    assert again.flush(timeout=10).remaining == 1
    assert len(writes(server)) == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_set_back_pauses_the_origin_no_second_time(
    make: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path, restart: bool
) -> None:
    clock = ManualClock()
    settings = {"clock": clock, "storage": tmp_path / "queue.db"}
    engine = make(**settings)
    server.script(Reply(503, headers={"Retry-After": "60"}), match="POST")
    item = engine.push("notes", NOTE)
    assert server.wait_for(lambda: len(server.requests) == 1, timeout=10)
    settled = time.monotonic() + 10
    while engine.status.next_retry is None:
        assert time.monotonic() < settled
    clock.set(clock.wall() - 24 * 3600)
    if restart:
        assert engine.close()
        engine = make(**settings)
        engine.start()
        while engine.status.next_retry is None:
            assert time.monotonic() < settled
    clock.advance(61)
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED


# --- Retry-After and Backoff


def wait_of(engine: SyncEngine) -> float:
    found: float = (
        present(only(engine.queue()).next_attempt) - datetime.now(timezone.utc)
    ).total_seconds()
    return found


def test_retry_after_is_a_floor_of_an_items_backoff(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    first_try(engine, server, Reply(500, headers={"Retry-After": "60"}))
    assert 50 < wait_of(engine) <= 60


def test_retry_after_may_be_a_date(held: Callable[..., SyncEngine], server: SyncServer) -> None:
    engine = held()
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60), usegmt=True)
    first_try(engine, server, Reply(502, headers={"Retry-After": date}))
    assert 50 < wait_of(engine) <= 60


def test_a_retry_after_in_the_past_is_none(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    date = format_datetime(datetime.now(timezone.utc) - timedelta(hours=1), usegmt=True)
    first_try(engine, server, Reply(500, headers={"Retry-After": date}))
    assert wait_of(engine) <= 0.02


def test_retry_after_is_clamped_to_one_day(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    first_try(engine, server, Reply(500, headers={"Retry-After": "99999999999"}))
    assert 86_000 < wait_of(engine) <= 86_400


@pytest.mark.parametrize("garbage", ["soon", "-5", "", "1e9", "12 parsecs", "Mon, 99 Foo 2020"])
def test_a_garbage_retry_after_is_ignored(
    held: Callable[..., SyncEngine], server: SyncServer, drain: Callable[..., int], garbage: str
) -> None:
    engine = held()
    first_try(engine, server, Reply(500, headers={"Retry-After": garbage}))
    assert wait_of(engine) <= 0.02
    assert drain(engine) == 0


@pytest.mark.parametrize("status", [201, 400, 500])
def test_a_backoff_header_slows_the_whole_engine(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    writes: Callable[..., list[Seen]],
    status: int,
) -> None:
    engine = held()
    first_try(engine, server, Reply(status, {}, headers={"Backoff": "60"}))
    engine.push("tasks", {"id": "9"})
    assert engine.flush(timeout=10).remaining >= 1
    assert len(writes(server)) == 1
    left = present(engine.status.next_retry) - datetime.now(timezone.utc)
    assert timedelta(seconds=50) < left <= timedelta(seconds=61)


def test_a_garbage_backoff_header_is_ignored(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    first_try(engine, server, Reply(201, NOTE, {"Backoff": "a while"}))
    engine.push("tasks", {"id": "9"})
    assert engine.flush(timeout=10).success


# --- 401


def test_401_asks_for_another_token_and_sends_the_item_again(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    tokens: type[Tokens],
    writes: Callable[..., list[Seen]],
) -> None:
    server.token = "new"
    auth = tokens("old", "new")
    engine = held(auth=auth)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    first, again = writes(server)
    assert [each.headers["authorization"] for each in (first, again)] == [
        "Bearer old",
        "Bearer new",
    ]
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert first.content == again.content
    assert auth.calls == 2


def test_a_token_is_asked_for_once_and_kept(
    held: Callable[..., SyncEngine], server: SyncServer, tokens: type[Tokens]
) -> None:
    server.token = "good"
    auth = tokens("good")
    engine = held(auth=auth)
    for number in range(5):
        engine.push("notes", {"id": number})
        assert engine.flush(timeout=10).success
    assert auth.calls == 1


def all_workers_busy(engine: SyncEngine, server: SyncServer) -> None:
    """Has an engine learn that the server bears all of its workers."""
    server.latency_s = 0.02
    engine.push_many("tasks", [{"id": number} for number in range(40)])
    assert engine.flush(timeout=20).success


@pytest.mark.parametrize("workers", [1, 4])
def test_a_refused_token_is_asked_about_once_whatever_the_number_of_workers(
    held: Callable[..., SyncEngine], server: SyncServer, tokens: type[Tokens], workers: int
) -> None:
    server.token = "old"
    auth = tokens("old", "new")
    engine = held(auth=auth, workers=workers)
    all_workers_busy(engine, server)
    server.token = "new"
    engine.push_many("notes", [{"id": number} for number in range(40)])
    assert engine.flush(timeout=20).success
    assert auth.calls == 2
    assert len(server.records("notes")) == 40


@pytest.mark.parametrize("workers", [1, 4])
def test_a_token_refused_again_is_not_asked_for_again_before_a_backoff(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    tokens: type[Tokens],
    recorder: type[Recorder],
    workers: int,
) -> None:
    server.token = "old"
    auth = tokens("old")
    engine = make(auth=auth, workers=workers, retry_delay=60.0, max_retry_delay=60.0)
    statuses = recorder()
    engine.on_status_change(statuses)
    all_workers_busy(engine, server)
    server.token = "new"
    engine.push_many("notes", [{"id": number} for number in range(40)])
    assert statuses.wait(lambda infos: infos[-1].status is SyncStatus.ERROR)
    assert auth.calls == 2
    assert engine.queue_length == 40


def test_credentials_refused_again_pause_delivery_until_flush(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    tokens: type[Tokens],
    writes: Callable[..., list[Seen]],
) -> None:
    server.token = "good"
    auth = tokens("bad")
    engine = held(auth=auth, retry_delay=60.0, max_retry_delay=60.0)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.offline, result.remaining) == (False, False, 1)
    assert result.errors >= 1
    assert engine.status.status is SyncStatus.ERROR
    assert "401" in present(engine.status.last_error)
    item = only(engine.queue())
    assert (item.retry_count, item.state) == (0, ItemState.PENDING)
    auth.then("good")
    assert engine.flush(timeout=10).success
    assert engine.status.status is SyncStatus.IDLE  # type: ignore[comparison-overlap]  # it has changed since


def test_credentials_refused_again_pause_delivery_until_resume(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    tokens: type[Tokens],
    recorder: type[Recorder],
) -> None:
    server.token = "good"
    auth = tokens("bad")
    engine = make(auth=auth, retry_delay=60.0, max_retry_delay=60.0)
    statuses = recorder()
    engine.on_status_change(statuses)
    item = engine.push("notes", NOTE)
    assert statuses.wait(lambda infos: infos and infos[-1].status is SyncStatus.ERROR)
    engine.push("tasks", {"id": "2"})
    auth.then("good")
    engine.resume()
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert engine.flush(timeout=10).remaining == 0


def test_auth_is_asked_again_by_itself_and_another_token_ends_the_pause(
    make: Callable[..., SyncEngine], server: SyncServer, tokens: type[Tokens]
) -> None:
    server.token = "good"
    auth = tokens("bad", "bad", "bad", "good")
    engine = make(auth=auth)
    item = engine.push("notes", NOTE)
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert list(engine.failed()) == []


def test_static_credentials_that_are_refused_pause_until_flush(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    recorder: type[Recorder],
    writes: Callable[..., list[Seen]],
) -> None:
    engine = make(auth=("user", "wrong"))
    server.script(Reply(401), match="POST")
    statuses = recorder()
    engine.on_status_change(statuses)
    engine.push("notes", NOTE)
    assert statuses.wait(lambda infos: infos and infos[-1].status is SyncStatus.ERROR)
    assert len(writes(server)) == 1
    assert only(engine.queue()).retry_count == 0
    assert engine.flush(timeout=10).success


def test_refused_static_credentials_are_tried_again_by_themselves(
    make: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    clock = ManualClock()
    engine = make(auth=("user", "right"), clock=clock, retry_delay=1.0, max_retry_delay=300.0)
    server.script(*[Reply(401)] * 3, match="POST")
    item = engine.push("notes", NOTE)
    for tries in (1, 2, 3):
        deadline = time.monotonic() + 10
        while engine.status.next_retry != clock.now + timedelta(seconds=300):
            assert time.monotonic() < deadline
        assert engine.status.reason == "credentials"
        clock.advance(299)
        assert engine.wait(item, timeout=0.2) is ItemState.PENDING
        assert len(writes(server)) == tries
        clock.advance(2)
        assert server.wait_for(lambda tries=tries: len(writes(server)) == tries + 1, timeout=10)  # type: ignore[misc]  # no lambda with defaults is inferred
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED
    assert engine.flush(timeout=10).success
    assert engine.status.reason is None


def test_an_auth_that_raises_spends_no_retry_and_is_reported(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    def auth() -> None:
        raise LookupError("the keyring is locked")

    engine = held(auth=auth, max_retries=0)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.offline, result.remaining) == (False, False, 1)
    assert engine.status.status is SyncStatus.ERROR
    assert "LookupError" in present(engine.status.last_error)
    assert only(engine.queue()).retry_count == 0
    assert writes(server) == []


@pytest.mark.parametrize("token", [None, "", 7, b"bytes", "two\r\nlines"])
def test_an_auth_that_returns_no_token_is_reported(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    writes: Callable[..., list[Seen]],
    token: str | int | bytes | None,
) -> None:
    engine = held(auth=lambda: token)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).remaining == 1
    assert engine.status.status is SyncStatus.ERROR
    assert writes(server) == []


def test_while_auth_is_asked_the_other_workers_wait(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    asked = threading.Event()
    release = threading.Event()
    calls = []

    def auth() -> str:
        calls.append(threading.get_ident())
        asked.set()
        assert release.wait(10)
        return "good"

    server.token = "good"
    engine = held(auth=auth, workers=4)
    engine.push_many("notes", [{"id": number} for number in range(20)])
    flushing = threading.Thread(target=engine.flush, kwargs={"timeout": 10})
    flushing.start()
    assert asked.wait(10)
    engine.push("tasks", {"id": "pushed meanwhile"})
    release.set()
    flushing.join(10)
    assert engine.flush(timeout=10).success
    assert len(calls) == 1


# --- other 4xx


@pytest.mark.parametrize("status", [400, 402, 403, 405, 406, 413, 414, 415, 417, 422, 428, 451])
def test_another_4xx_fails_at_once_with_the_servers_message(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    writes: Callable[..., list[Seen]],
    status: int,
) -> None:
    engine = held()
    message = "the title must not be a palindrome"
    result = first_try(engine, server, Reply(status, {"error": message}))
    failed = only(engine.failed())
    assert (failed.state, failed.retry_count) == (ItemState.FAILED, 0)
    assert message in present(failed.last_error)
    assert str(status) in present(failed.last_error)
    assert (result.success, result.errors, result.offline) == (False, 1, False)
    assert engine.queue_length == 0
    assert engine.status.status is SyncStatus.ERROR
    assert engine.status.failed == 1
    engine.flush(timeout=10)
    assert len(writes(server)) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"error": "palindrome"},
        {"message": "palindrome"},
        {"detail": "palindrome"},
        {"errors": [{"field": "title", "reason": "palindrome"}]},
        {"title": ["palindrome"]},
        "palindrome",
        b"palindrome",
    ],
    ids=str,
)
def test_the_servers_message_is_found_in_many_bodies(
    held: Callable[..., SyncEngine], server: SyncServer, body: Json | str | bytes
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    server.always(Reply(422, body), match="POST")
    engine.flush(timeout=10)
    assert "palindrome" in present(only(engine.failed()).last_error)


def test_later_items_of_a_rejected_record_wait_behind_it_visibly(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    entities = {"notes": EntityConfig("/notes", dedup="none")}
    engine = held(entities=entities)
    engine.push("notes", NOTE)
    later = engine.push("notes", {"id": "1", "title": "later"}, "update")
    engine.push("notes", {"id": "2"})
    server.script(Reply(400, {"error": "no"}), match="POST")
    result = engine.flush(timeout=10)
    assert (result.pushed, result.errors, result.remaining) == (1, 1, 1)
    assert not result.success
    assert only(engine.queue()).id == later.id
    assert only(engine.queue()).state is ItemState.PENDING
    assert [seen.body["id"] for seen in writes(server)] == ["1", "2"]
    assert engine.flush(timeout=10).remaining == 1
    assert len(writes(server)) == 2


# --- 3xx


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305])
def test_a_redirect_of_a_write_is_refused_and_the_place_named(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    engine = held()
    place = f"{server.url}/notes/?token=secret"
    result = first_try(engine, server, Reply(status, headers={"Location": place}))
    failed = only(engine.failed())
    assert f"{server.url}/notes/" in present(failed.last_error)
    assert "secret" not in present(failed.last_error)
    assert (result.success, result.errors, result.pushed) == (False, 1, 0)
    assert [seen.method for seen in server.requests] == ["POST"]


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("operation", ["update", "delete"])
def test_no_write_becomes_a_read(
    held: Callable[..., SyncEngine], server: SyncServer, status: int, operation: OperationName
) -> None:
    engine = held()
    engine.push("notes", NOTE, operation)
    server.script(Reply(status, headers={"Location": "/elsewhere"}))
    assert engine.flush(timeout=10).errors == 1
    assert len(server.requests) == 1
    assert "/elsewhere" in present(only(engine.failed()).last_error)


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_the_method_is_followed_on_the_same_origin(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    def moved(seen: Seen) -> Reply | None:
        if seen.path.startswith("/old"):
            return Reply(status, headers={"Location": seen.path.replace("/old", "/notes", 1)})
        return None

    server.reject = moved
    engine = held(entities={"notes": "/old"}, headers={"X-Mark": "kept"})
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    asked, followed = server.requests
    assert (followed.method, followed.path) == ("POST", "/notes")
    assert followed.content == asked.content
    for name in ("idempotency-key", "content-type", "x-mark"):
        assert followed.headers[name] == asked.headers[name]
    assert list(server.records("notes")) == ["1"]


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_to_another_port_is_refused(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    with SyncServer() as other:
        engine = held(auth=("user", "secret"))
        place = f"{other.url}/notes"
        assert first_try(engine, server, Reply(status, headers={"Location": place})).errors == 1
        assert place in present(only(engine.failed()).last_error)
        assert other.requests == []


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_in_a_circle_is_refused(
    held: Callable[..., SyncEngine], server: SyncServer, status: int
) -> None:
    server.always(Reply(status, headers={"Location": "/notes"}), match="POST")
    engine = held()
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).errors == 1
    assert len(list(engine.failed())) == 1
    assert len(server.requests) < 30


def test_a_redirect_without_a_place_is_refused(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    assert first_try(engine, server, Reply(302)).errors == 1
    assert "302" in present(only(engine.failed()).last_error)


# --- captive portals


@pytest.mark.parametrize(
    "reply",
    [
        PORTAL,
        Reply(200, "log in first"),
        Reply(200, b"\x00\x01\x02"),
        Reply(200, b"{not json"),
        Reply(200, b'{"a": NaN}'),
        Reply(302, headers={"Location": "http://portal.example/login"}),
        Reply(307, headers={"Location": "http://portal.example/login"}),
        Reply(511, "<html>Please log in</html>", {"Content-Type": "text/html"}),
    ],
    ids=str,
)
def test_what_this_machine_answers_is_no_captive_portal(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    effects: Callable[..., list[tuple[str, str]]],
    reply: Reply,
) -> None:
    engine = held(max_retries=0)
    result = first_try(engine, server, reply)
    assert (result.success, result.offline, result.pushed, result.errors) == (False, False, 0, 1)
    assert engine.is_online
    assert effects(server) == []
    assert engine.get("notes", "1") == NOTE


# --- one failing record, and the rest


def test_the_version_an_answer_brings_is_handed_on_to_later_items(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    engine = held(entities={"notes": EntityConfig("/notes", dedup="none")})
    engine.push("notes", NOTE)
    for title in ("second", "third"):
        engine.push("notes", {"id": "1", "title": title}, "update")
    assert engine.flush(timeout=10).success
    assert [seen.headers.get("if-match") for seen in writes(server)] == [None, '"1"', '"2"']


def test_an_answer_never_overwrites_a_newer_local_edit(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make()
    server.script(Stall(0.1), match="POST")
    engine.push("notes", {"id": "1", "title": "sent", "kept": 1})
    assert server.wait_for(lambda: server.in_flight)
    engine.push("notes", {"id": "1", "title": "newer"}, "update")
    assert engine.get("notes", "1") == {"id": "1", "title": "newer", "kept": 1}
    assert engine.flush(timeout=10).success
    assert present(engine.get("notes", "1"))["title"] == "newer"
    assert server.records("notes")["1"]["title"] == "newer"
