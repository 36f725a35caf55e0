"""Sockets that refuse, reset, stall, lie and drip: what the engine makes of each."""

import socket
import time

import pytest

from bytelyst_sync import ItemState, SyncStatus
from bytelyst_sync.testing import SyncServer
from bytelyst_sync.testing.raw import (
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

NOTE = {"id": "1", "title": "first"}
STORED = answer(201, NOTE)


def only(iterable):
    """The one element of it."""
    (element,) = iterable
    return element


def test_refused_is_offline_and_spends_nothing(held):
    engine = held(base_url=f"http://127.0.0.1:{refuse_port()}", max_retries=0)
    item = engine.push("notes", NOTE)
    for _ in range(3):
        result = engine.flush(timeout=10)
        assert (result.success, result.offline, result.errors) == (False, True, 0)
    assert (engine.is_online, engine.status.status) == (False, SyncStatus.OFFLINE)
    tried = only(engine.queue())
    assert (tried.id, tried.retry_count, tried.state) == (item.id, 0, ItemState.PENDING)


def test_refused_and_then_there_is_delivered_by_itself(make):
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


def test_a_name_that_does_not_resolve_is_offline(held):
    engine = held(base_url="http://no-such-host.invalid", max_retries=0)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=20).offline
    assert only(engine.queue()).retry_count == 0


def test_a_proxy_that_refuses_is_offline(held, server, monkeypatch):
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
def test_an_unknown_outcome_freezes_the_item_and_spends_one_retry(held, raw, drain, case):
    server = raw(UNKNOWN[case], STORED, answer(200))
    engine = held(base_url=server.url, timeout=(2.0, 0.2))
    item = engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.offline, result.pushed) == (False, False, 0)
    assert (result.errors, result.remaining) == (1, 1)
    assert engine.is_online
    tried = only(engine.queue())
    assert (tried.id, tried.retry_count, tried.state) == (item.id, 1, ItemState.PENDING)
    assert tried.last_error
    later = engine.push("notes", {"id": "1", "title": "second"}, "update")
    assert engine.queue_length == 2
    assert drain(engine) == 0
    creates = [seen for seen in server.requests if seen.method == "POST"]
    assert {seen.headers["idempotency-key"] for seen in creates} == {item.id}
    assert {seen.content for seen in creates} == {creates[0].content}
    assert server.requests[-1].headers["idempotency-key"] == later.id


def test_a_connection_reset_before_the_request_was_read_loses_and_doubles_nothing(held, raw, drain):
    server = raw(reset_before(), STORED)
    engine = held(base_url=server.url)
    item = engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.pushed, result.remaining) == (False, 0, 1)
    # the reset may be met by the connecting, which proves that nothing was sent, or by the sending
    assert result.errors == only(engine.queue()).retry_count == (0 if result.offline else 1)
    assert drain(engine) == 0
    assert [seen.headers["idempotency-key"] for seen in server.requests] == [item.id]


def test_a_server_that_always_resets_spends_the_budget_and_then_the_item_is_kept(raw, make):
    server = raw(*[reset_after()] * 10)
    engine = make(base_url=server.url, max_retries=2)
    item = engine.push("notes", NOTE)
    assert engine.wait(item, timeout=10) is ItemState.FAILED
    assert len(server.requests) == 3
    assert {seen.headers["idempotency-key"] for seen in server.requests} == {item.id}
    failed = only(engine.failed())
    assert (failed.id, failed.retry_count) == (item.id, 2)


def test_a_stale_keep_alive_connection_loses_nothing(held, raw, drain):
    server = raw(*[stale_keepalive(201)] * 5)
    engine = held(base_url=server.url)
    for number in range(5):
        engine.push("notes", {"id": number})
        engine.flush(timeout=10)
    assert drain(engine) == 0
    assert sorted(seen.body["id"] for seen in server.requests) == list(range(5))
    assert server.connections >= 5
    assert list(engine.failed()) == []


def test_a_connection_is_kept_from_item_to_item(held, raw):
    server = raw(*[answer(204)] * 20)
    engine = held(base_url=server.url)
    engine.push_many("notes", [{"id": number} for number in range(20)])
    assert engine.flush(timeout=10).success
    assert len(server.requests) == 20
    assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_to_the_same_host_is_refused(held, raw, status):
    server = raw(redirect(status, "/notes/"))
    engine = held(base_url=server.url)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).errors == 1
    assert len(server.requests) == 1
    assert "/notes/" in only(engine.failed()).last_error


def test_a_redirect_to_what_is_no_url_is_refused(held, raw):
    server = raw(redirect(307, "http://[half"))
    engine = held(base_url=server.url, max_retries=0)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.pushed) == (False, 0)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "step", [portal(), redirect(302, "http://login.example/")], ids=["page", "redirect"]
)
def test_a_portal_is_offline_and_everything_is_delivered_behind_it(held, raw, drain, step):
    server = raw(step, STORED)
    engine = held(base_url=server.url, max_retries=0)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.offline, result.pushed) == (False, True, 0)
    assert not engine.is_online
    assert only(engine.queue()).retry_count == 0
    assert drain(engine) == 0
    first, second = server.requests
    assert first.content == second.content
    assert engine.is_online


def test_an_answer_that_comes_in_drops_is_an_answer(held, raw):
    pieces = [b'{"id":', b'"1",', b'"title":', b'"dripped"}']
    engine = held(base_url=raw(drip(pieces, 0.05, status=201)).url)
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    assert engine.get("notes", "1")["title"] == "dripped"


def test_an_answer_that_drips_for_ever_is_cut_off(held, raw, drain):
    server = raw(drip([b" "] * 200, 0.05), STORED)
    engine = held(base_url=server.url, timeout=(2.0, 0.3))
    engine.push("notes", NOTE)
    began = time.monotonic()
    result = engine.flush(timeout=10)
    assert time.monotonic() - began < 5
    assert (result.errors, result.remaining) == (1, 1)
    assert only(engine.queue()).retry_count == 1
    assert drain(engine) == 0


def test_a_new_connection_after_a_lost_one_is_used_for_the_rest(held, raw, drain):
    server = raw(reset_after(), *[answer(204)] * 6)
    engine = held(base_url=server.url)
    engine.push_many("notes", [{"id": number} for number in range(5)])
    assert drain(engine) == 0
    assert sorted(seen.body["id"] for seen in server.requests) == [0, 0, 1, 2, 3, 4]
    assert server.connections == 2


def test_close_does_not_wait_for_a_silent_server(raw, make):
    server = raw(silent(30.0))
    engine = make(base_url=server.url, timeout=(2.0, 1.5))
    engine.push("notes", NOTE)
    assert server.wait_for_requests(1)
    began = time.monotonic()
    assert engine.close(timeout=0.2) is False
    assert time.monotonic() - began < 1.2
