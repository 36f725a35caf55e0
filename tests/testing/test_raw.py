"""`RawServer`: each scripted misbehaviour as a client's socket meets it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bytelyst_sync.testing import RawServer, raw

GET = b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def play() -> Iterator[Callable[..., RawServer]]:
    """Starts a server with these steps; it is closed, and has no thread left, after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *steps: stack.enter_context(RawServer(steps))
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("bytelyst-test")]


def connect(server: RawServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


@contextlib.contextmanager
def client(server: RawServer) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    with contextlib.closing(connection):
        yield connection


def ask(
    connection: http.client.HTTPConnection,
    method: str = "GET",
    path: str = "/x",
    body: bytes | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer, answer.read()


def read_all(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(65_536), b""))


def test_refuse_port_refuses() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", raw.refuse_port()), timeout=5)


def test_reset_before_resets_a_new_connection_unread(play: Callable[..., RawServer]) -> None:
    server = play(raw.reset_before())
    # the reset may come before connect() has returned
    with pytest.raises(ConnectionResetError), connect(server) as line:
        line.recv(1)
    assert server.requests == []
    assert server.connections == 1
    assert server.remaining == []


def test_reset_before_after_an_answer_closes_that_connection_first(
    play: Callable[..., RawServer],
) -> None:
    server = play(raw.answer(200, {}), raw.reset_before(), raw.answer(201, {}))
    with client(server) as connection:
        answer, _ = ask(connection)
        assert answer.headers["Connection"] == "close"
        with pytest.raises(ConnectionError):
            ask(connection)
        connection.close()
        assert ask(connection)[0].status == 201
    assert server.connections == 3


def test_reset_after_reads_the_whole_request(play: Callable[..., RawServer]) -> None:
    server = play(raw.reset_after())
    with connect(server) as line:
        line.sendall(b"POST /x?a=1 HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n")
        line.sendall(b'{"a": 12}')
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    seen = server.requests[0]
    assert (seen.method, seen.path, seen.query) == ("POST", "/x", {"a": "1"})
    assert (seen.headers["host"], seen.body) == ("test", {"a": 12})
    assert seen.raw.startswith(b"POST /x?a=1 HTTP/1.1\r\n")
    assert seen.raw.endswith(b'\r\n\r\n{"a": 12}')


def test_silent_reads_and_never_answers(play: Callable[..., RawServer]) -> None:
    server = play(raw.silent(60))
    with connect(server) as line:
        line.sendall(GET)
        assert server.wait_for_requests(1)
        line.settimeout(0.05)
        with pytest.raises(TimeoutError):
            line.recv(1)
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 3
        line.settimeout(5)
        assert line.recv(1) == b""


def test_silence_ends_by_itself(play: Callable[..., RawServer]) -> None:
    server = play(raw.silent(0.01))
    with connect(server) as line:
        line.sendall(GET)
        assert line.recv(1) == b""


@pytest.mark.parametrize(("sent", "expected"), [(3, 3), (b'{"a', 3), (0, 0)])
def test_truncated_sends_less_than_it_declares(
    play: Callable[..., RawServer], sent: int | bytes, expected: int
) -> None:
    server = play(raw.truncated(200, 50, sent))
    with client(server) as connection:
        connection.request("GET", "/x")
        answer = connection.getresponse()
        assert answer.headers["Content-Length"] == "50"
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
    assert len(caught.value.partial) == expected


def test_garbage_is_sent_as_it_is(play: Callable[..., RawServer]) -> None:
    server = play(raw.garbage(b"\x00\xff not http"))
    with connect(server) as line:
        line.sendall(GET)
        assert read_all(line) == b"\x00\xff not http"


def test_answers_keep_the_connection_until_the_script_is_exhausted(
    play: Callable[..., RawServer],
) -> None:
    server = play(raw.answer(201, {"a": 1}, {"ETag": '"1"'}), raw.answer(204), raw.answer(404))
    with client(server) as connection:
        answer, body = ask(connection, "POST", body=b"{}")
        assert (answer.status, json.loads(body)) == (201, {"a": 1})
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["ETag"] == '"1"'
        assert ask(connection)[0].status == 204
        assert ask(connection)[0].status == 404
        with pytest.raises(http.client.RemoteDisconnected):
            ask(connection)
    assert server.connections == 1
    assert len(server.requests) == 4


def test_stale_keepalive_closes_without_having_said_so(play: Callable[..., RawServer]) -> None:
    server = play(raw.stale_keepalive(200, {}), raw.answer())
    with client(server) as connection:
        answer, _ = ask(connection)
        assert "Connection" not in answer.headers
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""
        with pytest.raises(ConnectionError):
            ask(connection)
    assert len(server.requests) == 1


def test_portal_is_a_page_of_html(play: Callable[..., RawServer]) -> None:
    server = play(raw.portal())
    with client(server) as connection:
        answer, body = ask(connection, "POST", body=b"{}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html")
    assert body.startswith(b"<html>")


def test_redirect_points_elsewhere(play: Callable[..., RawServer]) -> None:
    server = play(raw.redirect(302, "http://elsewhere.example/"))
    with client(server) as connection:
        answer, body = ask(connection)
    assert (answer.status, body) == (302, b"")
    assert answer.headers["Location"] == "http://elsewhere.example/"


def test_drip_sends_the_body_in_pieces(play: Callable[..., RawServer]) -> None:
    server = play(raw.drip([b'{"a"', b":", b"1}"], 0.01), raw.answer(204))
    started = time.monotonic()
    with client(server) as connection:
        _, body = ask(connection)
        assert json.loads(body) == {"a": 1}
        assert time.monotonic() - started >= 0.03
        assert ask(connection)[0].status == 204


def test_close_cuts_a_drip_short(play: Callable[..., RawServer]) -> None:
    server = play(raw.drip([b"[", b"]"], 60))
    with client(server) as connection:
        connection.request("GET", "/x")
        answer = connection.getresponse()
        server.close()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()


def test_a_client_that_leaves_early_costs_no_step(play: Callable[..., RawServer]) -> None:
    server = play(raw.answer(204))
    with connect(server) as line:
        line.sendall(GET[:20])
    with client(server) as connection:
        assert ask(connection)[0].status == 204
    assert len(server.requests) == 1


def test_waiting_for_requests_is_bounded(play: Callable[..., RawServer]) -> None:
    assert not play().wait_for_requests(1, timeout=0.01)
