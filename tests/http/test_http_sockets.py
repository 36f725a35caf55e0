"""What the transport makes of servers that misbehave, each on a real socket."""

from __future__ import annotations

import gzip
import io
import logging
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
import requests
import trustme
import urllib3
from freezegun import freeze_time
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.sessions import Session

from bytelyst_sync.errors import OfflineError, TransportError
from bytelyst_sync.http import deadlines
from bytelyst_sync.http.requests_transport import HttpTransport
from bytelyst_sync.http.transport import Request, Transport
from bytelyst_sync.http.urllib3_transport import Urllib3Transport
from bytelyst_sync.testing import ManualClock

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SECRET = "t0k3n"


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, received: list[tuple[str, bytes]]) -> None:
        self.sock = sock
        self.received = received
        self.buffer = b""

    def read_request(self) -> None:
        while b"\r\n\r\n" not in self.buffer:
            self.receive()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(self.buffer) < length:
            self.receive()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        self.received.append((head.decode("latin-1"), body))

    def receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionAbortedError
        self.buffer += data

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Scripted:
    """Serves one connection per script, in order, in a thread of its own."""

    def __init__(self, *scripts: Callable[..., object]) -> None:
        self.received: list[Any] = []
        self.done = [threading.Event() for _ in scripts]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/notes?since={SECRET}"
        self._scripts = scripts
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for script, done in zip(self._scripts, self.done, strict=True):
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(20)
            with sock, suppress(OSError):
                script(Peer(sock, self.received))
            done.set()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listener.close()
        assert not self._thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., Scripted]]:
    servers = []

    def start(*scripts: Callable[..., object]) -> Scripted:
        servers.append(Scripted(*scripts))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=[HttpTransport, Urllib3Transport])
def transport(request: pytest.FixtureRequest) -> Iterator[HttpTransport | Urllib3Transport]:
    transport = request.param()
    yield transport
    transport.close()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set when the test is over: servers that keep their client waiting wait for it."""
    event = threading.Event()
    yield event
    event.set()


def answers(*responses: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        for response in responses:
            peer.read_request()
            peer.send(response)

    return script


def post(url: str, body: bytes = b"{}", timeout: tuple[float, float] = (3.0, 3.0)) -> Request:
    headers = {"Authorization": f"Bearer {SECRET}"}
    return Request("POST", url, headers, body, timeout)


class OwnAdapter(HTTPAdapter):
    """As a program may mount one of its own."""


class OwnPools(HTTPAdapter):
    """With connections that nothing is known of."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": urllib3.HTTPConnectionPool}


def session_with_own_pools() -> Session:
    session = requests.Session()
    session.mount("http://", OwnPools())
    return session


def adapted_session() -> Session:
    session = requests.Session()
    session.mount("http://", OwnAdapter())
    return session


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
        return found


def offline(
    transport: HttpTransport | Urllib3Transport, request: Request, *, caused: bool = True
) -> str:
    with pytest.raises(OfflineError) as caught:
        transport.send(request)
    assert SECRET not in str(caught.value)
    assert (caught.value.__cause__ is not None) is caused
    return str(caught.value)


def unknown(transport: HttpTransport | Urllib3Transport, request: Request) -> str:
    with pytest.raises(TransportError) as caught:
        transport.send(request)
    assert not isinstance(caught.value, OfflineError)
    assert SECRET not in str(caught.value)
    return str(caught.value)


ADAPTERS = {
    # what a session has mounted, and whether it stays
    "that of requests": (HTTPAdapter(), False),
    "one with retries": (HTTPAdapter(max_retries=3), True),
    "one of a kind of its own": (OwnAdapter(), True),
}


@pytest.mark.parametrize(("adapter", "stays"), ADAPTERS.values(), ids=ADAPTERS)
def test_adapters_of_the_users_own_stay(
    serve: Callable[..., Scripted], adapter: HTTPAdapter | OwnAdapter, stays: bool
) -> None:
    session = requests.Session()
    session.mount("http://", adapter)
    server = serve(lambda peer: (peer.read_request(), peer.send(OK)))
    transport = HttpTransport(session_factory=lambda: session)
    assert transport.send(post(server.url)).status == 200
    assert (session.get_adapter(server.url) is adapter) is stays
    transport.close()


LOGGED_ANSWERS = {
    "a sound one": OK,
    "a header without a colon": f"HTTP/1.1 200 OK\r\n{SECRET} no colon\r\n\r\n{{}}".encode(),
    "a header without a name": f"HTTP/1.1 200 OK\r\n: {SECRET}\r\n\r\n{{}}".encode(),
    "a continuation of nothing": f"HTTP/1.1 200 OK\r\n {SECRET}\r\n\r\n{{}}".encode(),
}


@pytest.mark.parametrize("answer", LOGGED_ANSWERS.values(), ids=LOGGED_ANSWERS)
@pytest.mark.parametrize(
    "make",
    [HttpTransport, Urllib3Transport, partial(HttpTransport, session_factory=requests.Session)],
)
def test_no_query_and_nothing_of_an_answer_is_logged(
    serve: Callable[..., Scripted],
    caplog: pytest.LogCaptureFixture,
    make: Callable[[], HttpTransport | Urllib3Transport],
    answer: bytes,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(lambda peer: (peer.read_request(), peer.send(answer)))
    transport = make()
    request = attrs.evolve(post(server.url), url=f"{server.url}?key={SECRET}")
    response = transport.send(request)
    assert response.url == request.url
    assert f"key={SECRET}" in server.received[0][0]
    transport.close()
    logged = [f"{each.getMessage()} {each.args!r}" for each in caplog.records]
    # an older urllib3 writes the version without its dot
    assert any(re.search(r'"POST /notes HTTP/1\.?1" 200', each) for each in logged), "it is logged"
    assert SECRET not in "".join(logged)


def test_it_is_a_transport(transport: HttpTransport | Urllib3Transport) -> None:
    assert isinstance(transport, Transport)


class TestNoConnection:
    def test_refused(self, transport: HttpTransport | Urllib3Transport) -> None:
        port = unused_port()
        message = offline(transport, post(f"http://127.0.0.1:{port}/notes?since={SECRET}"))
        assert message == f"no connection to 127.0.0.1:{port}: Connection refused"

    def test_unknown_name(self, transport: HttpTransport | Urllib3Transport) -> None:
        message = offline(transport, post(f"http://nowhere.invalid/notes?since={SECRET}"))
        assert "nowhere.invalid:80: the name cannot be resolved" in message

    def test_connect_timeout(
        self, transport: HttpTransport | Urllib3Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def connect(*_: tuple[str, int] | float, **__: Any) -> None:
            raise TimeoutError

        monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
        message = offline(transport, post(f"http://127.0.0.1:9/?q={SECRET}"))
        assert message == "no connection to 127.0.0.1:9: timed out"

    def test_refused_with_the_users_own_session(self) -> None:
        transport = HttpTransport(session_factory=requests.Session)
        offline(transport, post(f"http://127.0.0.1:{unused_port()}/"))
        transport.close()

    def test_tls_against_a_plain_port(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        server = serve(lambda peer: peer.receive() or peer.send(b"HTTP/1.1 400 Bad\r\n\r\n"))
        message = offline(transport, post(server.url.replace("http", "https", 1)))
        assert "TLS failed" in message

    @pytest.mark.parametrize("factory", [None, requests.Session])
    def test_reset_during_the_handshake(
        self, serve: Callable[..., Scripted], factory: type[Session] | None
    ) -> None:
        server = serve(lambda peer: peer.receive() or peer.reset())
        transport = HttpTransport(session_factory=factory)
        offline(transport, post(server.url.replace("http", "https", 1)))
        transport.close()

    def test_a_handshake_that_never_ends(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
    ) -> None:
        server = serve(lambda peer: release.wait(20))
        request = post(server.url.replace("http", "https", 1), timeout=(0.1, 9.0))
        assert "timed out" in offline(transport, request)


class TestUnknownOutcome:
    def test_reset_before_the_request_is_read(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        server = serve(lambda peer: peer.sock.recv(1, socket.MSG_PEEK) and peer.reset())
        unknown(transport, post(server.url))

    def test_reset_after_the_request(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        server = serve(lambda peer: peer.read_request() or peer.reset())
        message = unknown(transport, post(server.url))
        assert f"127.0.0.1:{server.port}: Connection reset" in message

    def test_closed_without_an_answer(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        server = serve(Peer.read_request)
        assert "closed without an answer" in unknown(transport, post(server.url))

    def test_no_answer_in_time(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
    ) -> None:
        server = serve(lambda peer: peer.read_request() or release.wait(20))
        message = unknown(transport, post(server.url, timeout=(3.0, 0.1)))
        assert message.endswith(f"127.0.0.1:{server.port}: timed out")

    @pytest.mark.parametrize(
        "cut",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
            CHUNKED + b"2\r\n{}\r\n",
            CHUNKED + b"9\r\n{}",
            CHUNKED,
        ],
    )
    @pytest.mark.parametrize("factory", [None, requests.Session])
    def test_cut_off_body(
        self, serve: Callable[..., Scripted], cut: bytes, factory: type[Session] | None
    ) -> None:
        server = serve(answers(cut))
        transport = HttpTransport(session_factory=factory)
        assert "cut off" in unknown(transport, post(server.url))
        transport.close()

    @pytest.mark.parametrize(
        "garbage",
        [
            SECRET.encode() + b" rubbish\r\n\r\n",
            b"HTTP/1.1 abc " + SECRET.encode() + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"A" * 70_000 + b"\r\n\r\n",
            CHUNKED + SECRET.encode() + b"\r\n{}\r\n0\r\n\r\n",
        ],
    )
    def test_garbage(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        garbage: bytes,
    ) -> None:
        server = serve(answers(garbage))
        unknown(transport, post(server.url))

    def test_body_that_is_not_what_its_encoding_says(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n"
        server = serve(answers(head + b"{}"))
        assert "cannot be decoded" in unknown(transport, post(server.url))

    def test_nothing_is_sent_twice(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        server = serve(Peer.read_request, answers(OK))
        unknown(transport, post(server.url))
        assert len(server.received) == 1

    def test_adapter_that_retries_proves_nothing_by_its_last_try(
        self, serve: Callable[..., Scripted]
    ) -> None:
        def session() -> Session:
            session = requests.Session()
            session.mount("http://", HTTPAdapter(max_retries=urllib3.Retry(1, backoff_factor=0)))
            return session

        def last_words(peer: Peer) -> None:
            peer.read_request()
            server._listener.close()  # what follows is refused

        server = serve(last_words)
        transport = HttpTransport(session_factory=session)
        request = Request("PUT", server.url, {}, b"{}")
        assert "Connection refused" in unknown(transport, request)
        transport.close()

    def test_adapter_that_retries_connecting_alone_still_proves_it(self) -> None:
        def session() -> Session:
            session = requests.Session()
            retry = urllib3.Retry(connect=1, read=0, other=0, backoff_factor=0)
            session.mount("http://", HTTPAdapter(max_retries=retry))
            return session

        transport = HttpTransport(session_factory=session)
        offline(transport, post(f"http://127.0.0.1:{unused_port()}/"))
        transport.close()


class TestKeepAlive:
    def test_connection_is_used_again(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        server = serve(answers(OK, OK, OK))
        for _ in range(3):
            assert transport.send(post(server.url)).body == b"{}"
        assert len(server.received) == 3

    @pytest.mark.parametrize(
        "response",
        [
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
            CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 2\r\n\r\n{}",
        ],
    )
    def test_connection_is_used_again_after(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        response: bytes,
    ) -> None:
        server = serve(answers(response, OK))
        transport.send(post(server.url))
        assert transport.send(post(server.url)).status == 200

    def test_connection_is_used_again_after_head(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        server = serve(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", OK))
        assert transport.send(Request("HEAD", server.url)).body == b""
        assert transport.send(post(server.url)).status == 200

    def test_stale_connection_is_replaced_before_sending(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        server = serve(answers(OK), answers(OK))
        transport.send(post(server.url))
        assert server.done[0].wait(10)
        assert transport.send(post(server.url)).status == 200

    def test_connection_closed_under_a_request(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        def script(peer: Peer) -> None:
            answers(OK)(peer)
            peer.read_request()

        server = serve(script, answers(OK))
        transport.send(post(server.url))
        unknown(transport, post(server.url))
        assert len(server.received) == 2
        assert transport.send(post(server.url)).status == 200

    def test_small_request_goes_out_in_one_piece(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        pieces = []

        def script(peer: Peer) -> None:
            pieces.append(peer.sock.recv(65536))
            peer.send(OK)

        server = serve(script)
        transport.send(post(server.url, b'{"title": "x"}'))
        assert pieces[0].endswith(b'{"title": "x"}')


WHOLE = b'HTTP/1.1 201 Created\r\nX-A: b\r\nContent-Length: 13\r\n\r\n[{"id": "a"}]'
LOOKS = {
    "content": lambda response: response.content,
    "text": lambda response: response.text,
    "json": lambda response: response.json(),
    "raw": lambda response: response.raw.read(),
    "raw in pieces": lambda response: [*response.raw.stream(5)],
    "its head": lambda response: (
        response.status_code,
        response.reason,
        dict(response.headers),
        dict(response.raw.headers),
        response.raw.version,
        response.cookies.get_dict(),
        response.is_redirect,
        response.raw.length_remaining,
        urlsplit(response.raw.geturl()).path,
    ),
    "where it came from": lambda response: response.raw.connection.sock.getpeername()[0],
    "its original": lambda response: response.raw._original_response.msg["X-A"],
}


class TestOnePiece:
    """An answer that came with the first receive is taken as it is; any other piece by piece."""

    @pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
    def test_hooks_see_the_same_in_either(
        self, serve: Callable[..., Scripted], look: Callable[..., Any]
    ) -> None:
        seen = []

        def session() -> Session:
            session = requests.Session()
            session.hooks["response"].append(lambda response, **_: seen.append(look(response)))
            return session

        def in_two(peer: Peer) -> None:
            peer.read_request()
            peer.send(WHOLE[:-3])
            time.sleep(0.1)
            peer.send(WHOLE[-3:])
            answers(OK)(peer)

        for script in (answers(WHOLE, OK), in_two):
            server = serve(script)
            transport = HttpTransport(session_factory=session)
            assert transport.send(post(server.url)).status == 201
            transport.close()
        assert seen[0] == seen[1]

    def test_a_hook_may_put_another_body_in_its_place(self, serve: Callable[..., Scripted]) -> None:
        def swap(response: Response, **_: Any) -> None:
            response.raw = urllib3.HTTPResponse(io.BytesIO(b"{}"), preload_content=False)

        def session() -> Session:
            session = requests.Session()
            session.hooks["response"].append(swap)
            return session

        server = serve(answers(WHOLE))
        transport = HttpTransport(session_factory=session)
        assert transport.send(post(server.url)).body == b"{}"
        transport.close()

    @pytest.mark.parametrize("status", [102, 103, 199])
    @pytest.mark.parametrize("pause", [0.0, 0.05])
    def test_what_is_said_ahead_of_it_is_not_the_answer(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        status: int,
        pause: float,
    ) -> None:
        ahead = f"HTTP/1.1 {status} Hint\r\nLink: </style.css>\r\n\r\n".encode()

        def script(peer: Peer) -> None:
            for _ in range(2):
                peer.read_request()
                peer.send(ahead * 2 if pause else ahead * 2 + WHOLE)
                if pause:
                    time.sleep(pause)
                    peer.send(WHOLE)

        server = serve(script)
        for _ in range(2):
            response = transport.send(post(server.url))
            assert (response.status, response.body) == (201, b'[{"id": "a"}]')

    def test_what_came_first_earns_time_as_well(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 8195\r\n\r\n"

        def script(peer: Peer) -> None:
            peer.read_request()
            peer.send(head + bytes(8192))
            for _ in range(3):
                time.sleep(0.25)
                peer.send(b"x")

        server = serve(script)
        response = transport.send(post(server.url, timeout=(3.0, 0.5)))
        assert len(response.body) == 8195

    @pytest.mark.parametrize("cut", [1, 20, len(WHOLE) - 15, len(WHOLE) - 13, len(WHOLE) - 1])
    def test_wherever_it_is_cut(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted], cut: int
    ) -> None:
        def script(peer: Peer) -> None:
            for _ in range(2):
                peer.read_request()
                peer.send(WHOLE[:cut])
                time.sleep(0.05)
                peer.send(WHOLE[cut:])

        server = serve(script)
        for _ in range(2):
            response = transport.send(post(server.url))
            assert (response.status, response.body) == (201, b'[{"id": "a"}]')

    def test_what_is_left_over_is_nobodys_answer(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        def script(peer: Peer) -> None:
            answers(WHOLE + b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")(peer)
            answers(OK)(peer)

        server = serve(script, answers(OK))
        assert transport.send(post(server.url)).body == b'[{"id": "a"}]'
        assert transport.send(post(server.url)).body == b"{}"

    def test_a_connection_that_is_to_be_closed_is(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        closes = WHOLE.replace(b"X-A: b", b"Connection: close")
        server = serve(answers(closes, closes), answers(OK))
        assert transport.send(post(server.url)).body == b'[{"id": "a"}]'
        assert transport.send(post(server.url)).body == b"{}"

    def test_cookies_are_kept_and_sent(self, serve: Callable[..., Scripted]) -> None:
        transport = HttpTransport()
        baked = WHOLE.replace(b"X-A: b", b"Set-Cookie: a=b")
        server = serve(answers(baked, OK))
        transport.send(post(server.url))
        transport.send(post(server.url))
        assert "Cookie: a=b" in server.received[1][0]
        transport.close()

    def test_what_is_encoded_is_decoded(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        packed = gzip.compress(b"{}")
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
        server = serve(answers(head.encode() + packed, OK))
        for _ in range(2):
            assert transport.send(post(server.url)).body == b"{}"

    def test_a_session_without_headers(self, serve: Callable[..., Scripted]) -> None:
        def session() -> Session:
            session = requests.Session()
            session.headers.clear()
            return session

        server = serve(answers(WHOLE))
        transport = HttpTransport(session_factory=session)
        request = Request("GET", server.url, {}, None, (3.0, 3.0), authorize=False)
        assert transport.send(request).status == 201
        transport.close()


class TestBounds:
    def drip(self, release: threading.Event, head: bytes) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            peer.read_request()
            peer.send(head)
            while not release.wait(0.02):
                peer.send(b"x")

        return script

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nX-Slow: ",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            CHUNKED + b"fffff\r\n",
            CHUNKED + b"1;",
        ],
    )
    def test_dripping_ends(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
        head: bytes,
    ) -> None:
        server = serve(self.drip(release, head))
        started = time.monotonic()
        unknown(transport, post(server.url, timeout=(3.0, 0.2)))
        assert time.monotonic() - started < 5

    def test_a_dripping_body_ends_on_connections_of_the_users_own(
        self, serve: Callable[..., Scripted], release: threading.Event
    ) -> None:
        server = serve(self.drip(release, b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"))
        transport = HttpTransport(session_factory=session_with_own_pools)
        assert "too slowly" in unknown(transport, post(server.url, timeout=(3.0, 0.2)))
        transport.close()

    @pytest.mark.parametrize("factory", [None, requests.Session, session_with_own_pools])
    def test_dripping_ends_while_time_is_frozen(
        self,
        serve: Callable[..., Scripted],
        release: threading.Event,
        factory: type[Session] | Callable[..., Session] | None,
    ) -> None:
        server = serve(self.drip(release, b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"))
        transport = HttpTransport(session_factory=factory)
        with freeze_time("2026-01-01"):
            unknown(transport, post(server.url, timeout=(3.0, 0.2)))
        transport.close()

    def test_a_large_body_has_its_time(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
    ) -> None:
        def script(peer: Peer) -> None:
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 80000\r\n\r\n")
            for _ in range(10):
                peer.send(b"x" * 8000)
                release.wait(0.05)

        server = serve(script)
        assert len(transport.send(post(server.url, timeout=(3.0, 0.2))).body) == 80_000

    def test_a_large_request_has_its_time(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
    ) -> None:
        body = b"x" * 8_000_000

        def script(peer: Peer) -> None:
            release.wait(0.3)
            answers(OK)(peer)

        server = serve(script)
        assert transport.send(post(server.url, body, timeout=(0.1, 10.0))).status == 200
        assert server.received[0][1] == body

    def test_announced_size_is_refused_unread(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
    ) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\n"
        server = serve(lambda peer: answers(head)(peer) or release.wait(20))
        assert "larger than 64 MiB" in unknown(transport, post(server.url))

    def test_size_that_was_not_announced(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        def script(peer: Peer) -> None:
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(65):
                peer.send(bytes(1024 * 1024))

        server = serve(script)
        assert "larger than 64 MiB" in unknown(transport, post(server.url))

    @pytest.mark.parametrize("status", [b"200 OK", b"302 Found\r\nLocation: /x"])
    def test_gzip_bomb(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        status: bytes,
    ) -> None:
        bomb = gzip.compress(bytes(65 * 1024 * 1024), 1)
        head = b"HTTP/1.1 %s\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        server = serve(answers(head % (status, len(bomb)) + bomb))
        assert "larger than 64 MiB" in unknown(transport, post(server.url))

    def test_gzip(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        body = gzip.compress(b'{"title": "x"}')
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        server = serve(answers(head % len(body) + body))
        assert transport.send(post(server.url)).body == b'{"title": "x"}'


BODILESS = {
    "204": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
}


class TestBodiless:
    """Some answers have no body, whatever their headers announce (RFC 9112 section 6.3)."""

    @pytest.mark.parametrize("method", ["POST", "HEAD"])
    @pytest.mark.parametrize("answer", BODILESS.values(), ids=BODILESS)
    def test_no_body_is_waited_for(
        self,
        transport: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
        answer: bytes,
        method: str,
    ) -> None:
        server = serve(lambda peer: answers(answer)(peer) or release.wait(20), answers(OK))
        response = transport.send(Request(method, server.url, timeout=(3.0, 9.0)))
        assert response.body == b""

    def test_nor_by_a_hook_that_reads_it(
        self, serve: Callable[..., Scripted], release: threading.Event
    ) -> None:
        def session() -> Session:
            session = requests.Session()
            session.hooks["response"].append(lambda response, **_: seen.append(response.content))
            return session

        seen: list[Any] = []
        answer = BODILESS["204"]
        server = serve(lambda peer: answers(answer)(peer) or release.wait(20))
        transport = HttpTransport(session_factory=session)
        assert transport.send(post(server.url, timeout=(3.0, 9.0))).status == 204
        transport.close()

    def test_a_body_that_comes_nevertheless_is_nobodys_answer(
        self, transport: HttpTransport | Urllib3Transport, serve: Callable[..., Scripted]
    ) -> None:
        late = b"2\r\n{}\r\n0\r\n\r\n"
        server = serve(answers(BODILESS["204"], late + OK), answers(OK))
        assert transport.send(post(server.url)).status == 204
        assert transport.send(post(server.url)).body == b"{}"


class TestRequestDeadline:
    """The whole time of a request is bounded, however much is moved; then the socket is shut."""

    @pytest.fixture(
        params=[
            HttpTransport,
            Urllib3Transport,
            partial(HttpTransport, session_factory=requests.Session),
            partial(HttpTransport, session_factory=adapted_session),
        ],
        ids=["default", "urllib3", "session", "adapter"],
    )
    def hasty(self, request: pytest.FixtureRequest) -> Iterator[HttpTransport | Urllib3Transport]:
        transport = request.param(request_deadline=0.6)
        yield transport
        transport.close()

    @pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED])
    def test_an_answer_without_an_end(
        self,
        hasty: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
        head: bytes,
    ) -> None:
        shut = threading.Event()
        piece = b"4000\r\n" + b"x" * 16384 + b"\r\n" if head == CHUNKED else b"x" * 16384

        def script(peer: Peer) -> None:
            peer.read_request()
            peer.send(head)
            try:
                while not release.wait(0.02):  # faster than any bound on the rate
                    peer.send(piece if head else b"X: y\r\n")
            except OSError:
                shut.set()

        server = serve(script)
        began = time.monotonic()
        unknown(hasty, post(server.url, timeout=(3.0, 9.0)))
        assert time.monotonic() - began < 5
        assert shut.wait(10)

    def test_a_request_that_is_not_read(
        self,
        hasty: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
    ) -> None:
        server = serve(lambda peer: release.wait(20))
        began = time.monotonic()
        unknown(hasty, post(server.url, b"x" * 30_000_000, timeout=(3.0, 9.0)))
        assert time.monotonic() - began < 5

    def test_a_handshake_without_an_end(
        self,
        hasty: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        release: threading.Event,
    ) -> None:
        server = serve(lambda peer: release.wait(20))
        began = time.monotonic()
        offline(hasty, post(server.url.replace("http", "https", 1), timeout=(9.0, 9.0)))
        assert time.monotonic() - began < 5

    def test_nothing_is_sent_once_it_is_over(
        self,
        hasty: HttpTransport | Urllib3Transport,
        serve: Callable[..., Scripted],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        create = urllib3.util.connection.create_connection

        def slow(*arguments: Any, **options: Any) -> socket.socket:
            time.sleep(0.65)
            return create(*arguments, **options)

        monkeypatch.setattr("urllib3.util.connection.create_connection", slow)
        server = serve(lambda peer: peer.read_request())
        assert "timed out" in offline(hasty, post(server.url))
        assert server.done[0].wait(10)
        assert server.received == []

    @pytest.mark.parametrize(
        ("where", "known"),
        [
            pytest.param("auth", False, id="auth-new"),
            pytest.param("auth", True, id="auth-kept alive"),
            pytest.param("session", False, id="session-new"),
            pytest.param("adapter", False, id="adapter-new"),
            pytest.param("adapter", True, id="adapter-kept alive"),
        ],
    )
    def test_nothing_is_sent_once_code_of_the_user_took_all_of_it(
        self,
        serve: Callable[..., Scripted],
        monkeypatch: pytest.MonkeyPatch,
        where: str,
        known: bool,
    ) -> None:
        clock = ManualClock()
        monkeypatch.setattr(deadlines, "_clock", clock)
        slow: list[Any] = []

        def stall(request: PreparedRequest | None = None) -> PreparedRequest | None:
            clock.advance(61.0 if slow else 0.0)
            return request

        class Adapter(requests.adapters.HTTPAdapter):
            def send(self, *arguments: Any, **options: Any) -> Response:
                stall()
                return super().send(*arguments, **options)

        def session() -> Session:
            stall()
            made = requests.Session()
            made.mount("http://", Adapter() if where == "adapter" else made.adapters["http://"])
            return made

        given = {"auth": stall} if where == "auth" else {"session_factory": session}
        transport = HttpTransport(request_deadline=60.0, **given)
        try:
            server = serve(*[answers(OK, OK)] * known, answers(OK))
            if known:
                assert transport.send(post(server.url)).body == b"{}"
            sent = len(server.received)
            slow.append(True)
            offline(transport, post(server.url))
            slow.clear()
            assert len(server.received) == sent
            assert transport.send(post(server.url)).body == b"{}"
        finally:
            transport.close()


class TestProxy:
    @pytest.fixture
    def through(
        self, transport: HttpTransport | Urllib3Transport, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[int], HttpTransport | Urllib3Transport]:
        def through(port: int) -> HttpTransport | Urllib3Transport:
            monkeypatch.setenv("HTTP_PROXY", f"http://user:{SECRET}@127.0.0.1:{port}")
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{port}")
            return transport

        return through

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_proxy_down(
        self, through: Callable[[int], HttpTransport | Urllib3Transport], scheme: str
    ) -> None:
        port = unused_port()
        message = offline(through(port), post(f"{scheme}://api.example.com/notes?q={SECRET}"))
        assert f"api.example.com:{443 if scheme == 'https' else 80} through the proxy" in message
        assert f" 127.0.0.1:{port}: Connection refused" in message

    def test_proxy_that_forwards(
        self,
        through: Callable[[int], HttpTransport | Urllib3Transport],
        serve: Callable[..., Scripted],
    ) -> None:
        server = serve(answers(OK))
        transport = through(server.port)
        assert transport.send(post("http://api.example.com/notes?a=%2E%2E")).status == 200
        assert server.received[0][0].startswith("POST http://api.example.com/notes?a=%2E%2E HTTP")

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\n\r\n"])
    def test_proxy_that_drips(
        self,
        through: Callable[[int], HttpTransport | Urllib3Transport],
        serve: Callable[..., Scripted],
        release: threading.Event,
        head: bytes,
    ) -> None:
        server = serve(TestBounds().drip(release, head))
        began = time.monotonic()
        unknown(through(server.port), post("http://api.example.com/", timeout=(3.0, 0.2)))
        assert time.monotonic() - began < 5

    def test_proxy_that_hangs_up_after_the_request(
        self,
        through: Callable[[int], HttpTransport | Urllib3Transport],
        serve: Callable[..., Scripted],
    ) -> None:
        server = serve(Peer.read_request)
        unknown(through(server.port), post("http://api.example.com/notes"))
        assert len(server.received) == 1

    def test_proxy_that_refuses_the_tunnel(
        self,
        through: Callable[[int], HttpTransport | Urllib3Transport],
        serve: Callable[..., Scripted],
    ) -> None:
        server = serve(answers(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"))
        message = offline(through(server.port), post("https://api.example.com/notes"))
        assert "refused the tunnel with status 407" in message
        assert server.received[0][0].startswith("CONNECT api.example.com:443 ")
        assert "Bearer" not in server.received[0][0]

    @pytest.mark.parametrize("end", [Peer.reset, lambda peer: None])
    def test_proxy_that_hangs_up_in_the_tunnel(
        self,
        through: Callable[[int], HttpTransport | Urllib3Transport],
        serve: Callable[..., Scripted],
        end: Callable[..., None],
    ) -> None:
        def handle(peer: Peer) -> None:
            peer.read_request()
            end(peer)

        server = serve(handle)
        offline(through(server.port), post("https://api.example.com/notes"))

    def test_proxy_is_looked_up_again_after_a_failure(
        self,
        through: Callable[[int], HttpTransport | Urllib3Transport],
        serve: Callable[..., Scripted],
    ) -> None:
        transport = through(unused_port())
        offline(transport, post("http://api.example.com/notes"))
        server = serve(answers(OK))
        through(server.port)
        assert transport.send(post("http://api.example.com/notes")).status == 200


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class TestTls:
    @pytest.fixture
    def bundle(self, authority: trustme.CA, tmp_path: Path) -> str:
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        return str(path)

    def serve_tls(
        self,
        serve: Callable[..., Scripted],
        authority: trustme.CA,
        *responses: bytes,
        name: str = "127.0.0.1",
        connections: int = 1,
    ) -> Scripted:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(context)

        def script(peer: Peer) -> None:
            with context.wrap_socket(peer.sock, server_side=True) as peer.sock:
                answers(*responses)(peer)

        server = serve(*[script] * connections)
        server.url = server.url.replace("http", "https", 1)
        return server

    def session(self, verify: str | bool) -> Callable[[], Session]:
        def factory() -> Session:
            session = requests.Session()
            session.verify = verify
            return session

        return factory

    def test_verified(
        self, serve: Callable[..., Scripted], authority: trustme.CA, bundle: str
    ) -> None:
        server = self.serve_tls(serve, authority, OK, OK)
        transport = HttpTransport(session_factory=self.session(bundle))
        for _ in range(2):
            assert transport.send(post(server.url)).verified
        transport.close()

    def test_bundle_of_the_environment(
        self,
        serve: Callable[..., Scripted],
        authority: trustme.CA,
        bundle: str,
        transport: HttpTransport | Urllib3Transport,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        server = self.serve_tls(serve, authority, OK, CHUNKED + b"2\r\n{}\r\n0\r\n\r\n")
        assert transport.send(post(server.url)).verified
        assert transport.send(post(server.url)).body == b"{}"

    def test_unknown_authority(
        self,
        serve: Callable[..., Scripted],
        authority: trustme.CA,
        transport: HttpTransport | Urllib3Transport,
    ) -> None:
        server = self.serve_tls(serve, authority, OK)
        message = offline(transport, post(server.url))
        assert "certificate verification failed" in message
        assert server.received == []

    def test_certificate_of_another_host(
        self, serve: Callable[..., Scripted], authority: trustme.CA, bundle: str
    ) -> None:
        server = self.serve_tls(serve, authority, OK, name="other.example.com")
        transport = HttpTransport(session_factory=self.session(bundle))
        assert "certificate verification failed" in offline(transport, post(server.url))
        transport.close()

    def test_a_bundle_that_is_away_for_a_moment(
        self,
        serve: Callable[..., Scripted],
        authority: trustme.CA,
        bundle: str,
        transport: HttpTransport | Urllib3Transport,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        file, moved = Path(bundle), tmp_path / "elsewhere.pem"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        close = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        server = self.serve_tls(serve, authority, close, connections=3)
        file.rename(moved)
        assert repr(bundle) in offline(transport, post(server.url), caused=False)
        moved.rename(file)
        assert transport.send(post(server.url)).verified
        file.rename(moved)
        offline(transport, post(server.url))  # its connection is made, but not the TLS on it
        assert repr(bundle) in offline(transport, post(server.url), caused=False)
        moved.rename(file)
        assert transport.send(post(server.url)).verified

    @pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
    def test_verification_turned_off_by_the_user(
        self, serve: Callable[..., Scripted], authority: trustme.CA
    ) -> None:
        server = self.serve_tls(serve, authority, OK)
        transport = HttpTransport(session_factory=self.session(False))
        assert not transport.send(post(server.url)).verified
        transport.close()

    def test_drip(
        self,
        serve: Callable[..., Scripted],
        authority: trustme.CA,
        bundle: str,
        monkeypatch: pytest.MonkeyPatch,
        transport: HttpTransport | Urllib3Transport,
        release: threading.Event,
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)

        def script(peer: Peer) -> None:
            with context.wrap_socket(peer.sock, server_side=True) as peer.sock:
                TestBounds().drip(release, b"HTTP/1.1 200 OK\r\nX-Slow: ")(peer)

        url = serve(script).url.replace("http", "https", 1)
        assert "timed out" in unknown(transport, post(url, timeout=(3.0, 0.2)))


@pytest.mark.parametrize("has_hook", [True, False])
def test_forked_child_leaves_the_parents_connection_alone(
    serve: Callable[..., Scripted], has_hook: bool
) -> None:
    server = serve(answers(OK, OK), answers(OK))
    program = f"""
        import os, warnings
        warnings.simplefilter("error")
        from bytelyst_sync.http.transport import Request
        from bytelyst_sync.http.requests_transport import HttpTransport

        transport = HttpTransport()
        request = Request("POST", "http://127.0.0.1:{server.port}/", {{}}, b"{{}}")
        reader, writer = os.pipe()
        assert transport.send(request).status == 200
        child = os.fork()
        if child == 0:
            {"transport.after_fork()" if has_hook else ""}
            os.read(reader, 1)
            assert transport.send(request).status == 200
            transport.close()
            os._exit(0)
        assert transport.send(request).status == 200
        transport.close()
        os.write(writer, b"x")
        assert os.waitpid(child, 0)[1] == 0
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert len(server.received) == 3
