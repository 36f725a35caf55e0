"""Sockets that refuse, reset, stall, lie and drip: what the engine makes of each."""

import gzip
import socket
import time
from collections.abc import Callable, Iterable

import pytest

from bytelyst_sync import Dialect, ItemState, SyncEngine, SyncStatus, Urllib3Transport
from bytelyst_sync.testing import RawServer, Reply, SyncServer
from bytelyst_sync.testing.raw import (
    Step,
    answer,
    drip,
    garbage,
    portal,
    redirect,
    refuse_port,
    reset_after,
    reset_before,
    silent,
    stale_keepalive,
    truncated,
)
from tests.typed import T, present

NOTE = {"id": "1", "title": "first"}
STORED = answer(201, NOTE)


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


def test_refused_is_offline_and_spends_nothing(held: Callable[..., SyncEngine]) -> None:
    engine = held(base_url=f"http://127.0.0.1:{refuse_port()}", max_retries=0)
    item = engine.push("notes", NOTE)
    for _ in range(3):
        result = engine.flush(timeout=10)
        assert (result.success, result.offline, result.errors) == (False, True, 0)
    assert (engine.is_online, engine.status.status) == (False, SyncStatus.OFFLINE)
    tried = only(engine.queue())
    assert (tried.id, tried.retry_count, tried.state) == (item.id, 0, ItemState.PENDING)


def test_refused_and_then_there_is_delivered_by_itself(make: Callable[..., SyncEngine]) -> None:
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        engine = make(base_url=f"http://127.0.0.1:{port}")
        item = engine.push("notes", NOTE)
        assert engine.flush(timeout=10).offline
        bound.close()
        with SyncServer(port) as server:
            assert engine.wait(item, timeout=10) is ItemState.DELIVERED
            assert list(server.records("notes")) == ["1"]


def test_a_name_that_does_not_resolve_is_offline(held: Callable[..., SyncEngine]) -> None:
    engine = held(base_url="http://no-such-host.invalid", max_retries=0)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=20).offline
    assert only(engine.queue()).retry_count == 0


def test_a_proxy_that_refuses_is_offline(
    held: Callable[..., SyncEngine], server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{refuse_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    engine = held(base_url="http://api.example.com", max_retries=0)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).offline
    assert only(engine.queue()).retry_count == 0


UNKNOWN = {
    "reset after the request": reset_after(),
    "read timeout": silent(1.0),
    "truncated body": truncated(201),
    "truncated body that is whole JSON": truncated(201, sent=b'{"id":"1"}', declared=11),
    "closed without an answer": garbage(b""),
    "garbage": garbage(b"\x16\x03\x01 no HTTP at all\r\n\r\n"),
    "half a status line": garbage(b"HTTP/1.1 20"),
    "headers without an end": garbage(b"HTTP/1.1 200 OK\r\n"),
    "half a header": garbage(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "a chunk that never ends": garbage(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{}\r\n"
    ),
    "chunks that are none": garbage(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}"
    ),
    "a body that cannot be decoded": garbage(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_outcome_freezes_the_item(
    held: Callable[..., SyncEngine],
    raw: Callable[..., RawServer],
    drain: Callable[..., int],
    case: str,
) -> None:
    server = raw(UNKNOWN[case], STORED, answer(200))
    engine = held(base_url=server.url, timeout=(2.0, 0.2))
    item = engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.offline, result.pushed) == (False, False, 0)
    assert (result.errors, result.remaining) == (1, 1)
    assert engine.is_online
    tried = only(engine.queue())
    assert (tried.id, tried.retry_count, tried.state) == (item.id, 0, ItemState.PENDING)
    assert tried.last_error
    later = engine.push("notes", {"id": "1", "title": "second"}, "update")
    assert engine.queue_length == 2
    assert drain(engine) == 0
    creates = [seen for seen in server.requests if seen.method == "POST"]
    assert {seen.headers["idempotency-key"] for seen in creates} == {item.id}
    assert {seen.content for seen in creates} == {creates[0].content}
    assert server.requests[-1].headers["idempotency-key"] == later.id


def test_a_connection_reset_before_the_request_was_read_loses_and_doubles_nothing(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer], drain: Callable[..., int]
) -> None:
    server = raw(reset_before(), STORED)
    engine = held(base_url=server.url)
    item = engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.pushed, result.remaining) == (False, 0, 1)
    # the reset may be met by the connecting, which proves that nothing was sent, or by the sending
    assert result.errors == (0 if result.offline else 1)
    assert drain(engine) == 0
    assert [seen.headers["idempotency-key"] for seen in server.requests] == [item.id]


def test_a_server_that_always_resets_is_down_and_the_item_is_kept_in_the_end(
    raw: Callable[..., RawServer], make: Callable[..., SyncEngine]
) -> None:
    server = raw(*[reset_after()] * 30)
    engine = make(base_url=server.url, give_up_after=0.15)
    item = engine.push("notes", NOTE)
    assert engine.wait(item, timeout=10) is ItemState.FAILED
    assert {seen.headers["idempotency-key"] for seen in server.requests} == {item.id}
    failed = only(engine.failed())
    assert (failed.id, failed.retry_count) == (item.id, 0)


def test_a_stale_keep_alive_connection_loses_nothing(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer], drain: Callable[..., int]
) -> None:
    server = raw(*[stale_keepalive(201)] * 5)
    engine = held(base_url=server.url)
    for number in range(5):
        engine.push("notes", {"id": number})
        engine.flush(timeout=10)
    assert drain(engine) == 0
    assert sorted(seen.body["id"] for seen in server.requests) == list(range(5))
    assert server.connections >= 5
    assert list(engine.failed()) == []


def test_a_connection_is_kept_from_item_to_item(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer]
) -> None:
    server = raw(*[answer(204)] * 20)
    engine = held(base_url=server.url)
    engine.push_many("notes", [{"id": number} for number in range(20)])
    assert engine.flush(timeout=10).success
    assert len(server.requests) == 20
    assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_to_the_same_host_is_refused(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer], status: int
) -> None:
    server = raw(redirect(status, "/notes/"))
    engine = held(base_url=server.url)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).errors == 1
    assert len(server.requests) == 1
    assert "/notes/" in present(only(engine.failed()).last_error)


def test_a_redirect_to_what_is_no_url_is_refused(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer]
) -> None:
    server = raw(redirect(307, "http://[half"))
    engine = held(base_url=server.url, max_retries=0)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.pushed) == (False, 0)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "step", [portal(), redirect(302, "http://login.example/")], ids=["page", "redirect"]
)
def test_what_is_no_json_counts_as_no_delivery(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer], step: Step
) -> None:
    server = raw(step, STORED)
    engine = held(base_url=server.url, max_retries=0)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.pushed) == (False, 0)
    assert len([*engine.queue(), *engine.failed()]) == 1


def test_an_answer_that_comes_in_drops_is_an_answer(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer]
) -> None:
    pieces = [b'{"id":', b'"1",', b'"title":', b'"dripped"}']
    engine = held(base_url=raw(drip(pieces, 0.05, status=201)).url)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    assert present(engine.get("notes", "1"))["title"] == "dripped"


def test_an_answer_that_drips_for_ever_is_cut_off(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer], drain: Callable[..., int]
) -> None:
    server = raw(drip([b" "] * 200, 0.05), STORED)
    engine = held(base_url=server.url, timeout=(2.0, 0.3))
    engine.push("notes", NOTE)
    began = time.monotonic()
    result = engine.flush(timeout=10)
    assert time.monotonic() - began < 5
    assert (result.errors, result.remaining) == (1, 1)
    assert only(engine.queue()).retry_count == 0
    assert drain(engine) == 0


def test_a_new_connection_after_a_lost_one_is_used_for_the_rest(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer], drain: Callable[..., int]
) -> None:
    server = raw(reset_after(), *[answer(204)] * 6)
    engine = held(base_url=server.url)
    engine.push_many("notes", [{"id": number} for number in range(5)])
    assert drain(engine) == 0
    assert sorted(seen.body["id"] for seen in server.requests) == [0, 0, 1, 2, 3, 4]
    assert server.connections == 2


def test_close_does_not_wait_for_a_silent_server(
    raw: Callable[..., RawServer], make: Callable[..., SyncEngine]
) -> None:
    server = raw(silent(30.0))
    engine = make(base_url=server.url, timeout=(2.0, 1.5))
    engine.push("notes", NOTE)
    assert server.wait_for_requests(1)
    began = time.monotonic()
    assert engine.close(timeout=0.2) is False
    assert time.monotonic() - began < 1.2


def test_a_small_answer_that_becomes_a_gigabyte_of_objects_is_a_lost_one(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer], drain: Callable[..., int]
) -> None:
    body = gzip.compress(b"[" + b"{}," * 5_000_000 + b"0]")
    assert len(body) < 20_000
    head = b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    server = raw(garbage(head % len(body) + body), STORED)
    engine = held(base_url=server.url)
    item = engine.push("notes", NOTE)
    assert engine.flush(timeout=10).errors == 1
    assert "JSON values" in present(only(engine.queue()).last_error)
    assert drain(engine) == 0
    assert engine.wait(item, timeout=10) is ItemState.DELIVERED


def test_a_request_deadline_of_the_configuration_ends_an_answer_without_an_end(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer], drain: Callable[..., int]
) -> None:
    server = raw(drip([b" " * 8192] * 200, 0.02), STORED)
    engine = held(base_url=server.url, request_deadline=0.3)
    engine.push("notes", NOTE)
    began = time.monotonic()
    assert engine.flush(timeout=10).errors == 1
    assert time.monotonic() - began < 3
    assert drain(engine) == 0


# --- other origins

PLACES = [
    "http://127.0.0.1:{evil}/x",
    "//127.0.0.1:{evil}/x",
    "http://127.0.0.1:{evil}\\@127.0.0.1:{good}/x",
    "//127.0.0.1:{evil}\\@127.0.0.1:{good}/x",
    "http://127.0.0.1:{evil}\\.@127.0.0.1:{good}/x",
    "http://127.0.0.1:{evil}\\/@127.0.0.1:{good}/x",
    "http://u:p@127.0.0.1:{evil}\\@127.0.0.1:{good}/x",
    "http:\\\\127.0.0.1:{evil}\\x",
    "http://127.0.0.1:{good}@127.0.0.1:{evil}/x",
    "http://127.0.0.1:{evil}#@127.0.0.1:{good}/x",
    "http://127.0.0.1:{evil}?@127.0.0.1:{good}/x",
    "http:///127.0.0.1:{evil}/x",
    "http://localhost:{evil}/x",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["next", "redirected pull", "redirected write"])
def test_nothing_is_sent_to_another_origin(
    held: Callable[..., SyncEngine],
    raw: Callable[..., RawServer],
    server: SyncServer,
    place: str,
    way: str,
) -> None:
    evil = raw(*[answer(200, {"items": [], "next": None})] * 5)
    url = place.format(evil=evil.port, good=server.port)
    answers = {
        "next": Reply(200, {"items": [{"id": "9"}], "next": url}),
        "redirected pull": Reply(302, headers={"Location": url}),
        "redirected write": Reply(307, headers={"Location": url}),
    }
    dialect = Dialect(next_page="url:next", since=None, cursor=None)
    for transport in (None, Urllib3Transport()):
        server.script(answers[way])
        engine = held(auth=lambda: "s3cr3t", dialect=dialect, transport=transport)
        if way == "redirected write":
            engine.push("notes", NOTE)
            engine.flush(timeout=10)
        else:
            engine.pull("notes", timeout=10)
        engine.close()
        assert evil.requests == []
    assert len(server.requests) >= 2


def test_a_next_page_on_another_origin_names_both_and_the_way_out(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer]
) -> None:
    server = raw(answer(200, {"items": [], "next": "http://other.test:81/notes?page=2"}))
    dialect = Dialect(next_page="url:next", since=None, cursor=None)
    engine = held(base_url=server.url, dialect=dialect)
    assert not engine.pull("notes", timeout=10).success
    reported = present(engine.status.last_error)
    assert f"on http://other.test:81, and base_url on http://127.0.0.1:{server.port}" in reported
    assert "Set base_url" in reported
