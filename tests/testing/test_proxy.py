"""`FaultProxy` before servers on real sockets: what passes unchanged, and what breaks on demand."""

import gzip
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.models import Response

from bytelyst_sync import create_sync_engine
from bytelyst_sync.testing import (
    Drop,
    DropAnswer,
    FaultProxy,
    Lose,
    Reply,
    Stall,
    SyncServer,
    Truncate,
)
from bytelyst_sync.testing.raw import refuse_port

CUT = requests.exceptions.ConnectionError
PATIENCE_S = 20.0


class EchoServer(ThreadingHTTPServer):
    scheme = "http"


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent; some paths have answers of their own."""

    server: EchoServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: str) -> None:
        pass

    def _any(self) -> None:
        if self.headers.get("Transfer-Encoding"):
            sent = b""
            while size := int(self.rfile.readline(), 16):
                sent += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = {
            "method": self.command,
            "path": self.path,
            "host": self.headers["Host"],
            "port": self.client_address[1],
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "sent": sent.decode("latin-1"),
        }
        body = json.dumps(answer).encode()
        more = []
        if self.path.startswith("/api/zipped"):
            body = gzip.compress(body)
            more.append(("Content-Encoding", "gzip"))
        if self.path.startswith("/api/cookies"):
            more += [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2, 3; Path=/")]
        if self.path.startswith("/api/open"):
            self.close_connection = False
        status = 200
        if self.path.startswith("/api/moved"):
            status, port = 307, self.server.server_port
            more.append(("Location", f"{self.server.scheme}://localhost:{port}/api/there?x=1"))
        self.send_response(status)
        for name, value in more:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _any  # noqa: N815 - as http.server asks


@contextmanager
def echoing(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = EchoServer(("127.0.0.1", 0), Echo)
    if context is not None:
        server.scheme = "https"
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"{server.scheme}://localhost:{server.server_port}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    with echoing() as url:
        yield url


@pytest.fixture
def proxy(echo: str) -> Iterator[FaultProxy]:
    with FaultProxy(echo) as running:
        yield running


@pytest.fixture
def call(proxy: FaultProxy) -> Iterator[Callable[..., Response]]:
    with requests.Session() as session:
        session.trust_env = False

        def send(method: str, path: str, **options: Any) -> Response:
            options.setdefault("timeout", PATIENCE_S)
            return session.request(method, proxy.url + path, **options)

        yield send


# --- what passes


def test_the_path_of_the_target_is_kept(proxy: FaultProxy, echo: str) -> None:
    assert proxy.target == echo
    assert proxy.url == f"http://127.0.0.1:{proxy.port}/api"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_requests_arrive_as_they_were_sent(
    call: Callable[..., Response], proxy: FaultProxy, method: str
) -> None:
    answer = call(method, "/notes/a%2Fb?q=%2B00:00&q=2", data=b"\x00\xff", headers={"X-Key": "k"})
    seen = answer.json()
    assert (seen["method"], seen["path"]) == (method, "/api/notes/a%2Fb?q=%2B00:00&q=2")
    assert seen["sent"] == "\x00\xff"
    assert seen["headers"]["x-key"] == "k"
    (recorded,) = proxy.requests
    assert (recorded.method, recorded.status) == (method, 200)
    assert recorded.path == "/api/notes/a%2Fb"


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=2000), chunked=st.booleans())
def test_any_body_arrives_whole(call: Callable[..., Response], body: bytes, chunked: bool) -> None:
    sent = iter([body[:7], body[7:]] if len(body) > 7 else [body or b"x"]) if chunked else body
    expected = (body or b"x") if chunked else body
    answer = call("POST", "/notes", data=sent)
    assert answer.status_code == 200, answer.text
    assert answer.json()["sent"].encode("latin-1") == expected


def test_each_request_has_a_connection_of_its_own(call: Callable[..., Response]) -> None:
    """Else one would be sent over a connection that the server is just closing."""
    ports = [call("GET", "/open").json()["port"] for _ in range(3)]
    assert len(set(ports)) == 3, ports


def test_a_head_has_no_body(call: Callable[..., Response]) -> None:
    answer = call("HEAD", "/notes")
    assert (answer.status_code, answer.content) == (200, b"")
    assert call("GET", "/notes").json()["method"] == "GET"


def test_a_compressed_answer_stays_compressed(call: Callable[..., Response]) -> None:
    answer = call("GET", "/zipped", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json()["path"] == "/api/zipped"


def test_several_headers_of_a_name_stay_several(call: Callable[..., Response]) -> None:
    answer = call("GET", "/cookies", headers={"Connection": "close"})
    assert answer.raw.headers.getlist("set-cookie") == ["a=1; Path=/", "b=2, 3; Path=/"]


def test_a_server_on_this_machine_is_given_the_proxy_s_name(
    call: Callable[..., Response], proxy: FaultProxy
) -> None:
    assert call("GET", "/notes").json()["host"] == f"127.0.0.1:{proxy.port}"


def test_a_server_elsewhere_is_given_its_own_name(
    proxy: FaultProxy, call: Callable[..., Response], echo: str
) -> None:
    proxy._names_proxy = False
    assert call("GET", "/notes").json()["host"] == echo.split("/")[2]


def test_a_location_leads_back_to_the_proxy(
    call: Callable[..., Response], proxy: FaultProxy
) -> None:
    answer = call("GET", "/moved", allow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["Location"] == f"{proxy.url}/there?x=1"


def test_it_speaks_tls_to_the_server(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with echoing(context) as url:
        with FaultProxy(url, ca_certs=str(tmp_path / "ca.pem")) as proxy:
            assert requests.get(f"{proxy.url}/notes", timeout=PATIENCE_S).status_code == 200
        with FaultProxy(url) as proxy:
            answer = requests.get(f"{proxy.url}/notes", timeout=PATIENCE_S)
            assert answer.status_code == 502
            assert "SSLError" in answer.json()["error"]


# --- what breaks


def test_a_drop_never_reaches_the_server(
    call: Callable[..., Response], proxy: FaultProxy, echo: str
) -> None:
    with SyncServer() as server, FaultProxy(server.url) as before:
        before.script(Drop())
        with pytest.raises(CUT):
            requests.post(f"{before.url}/notes", json={"id": "1"}, timeout=PATIENCE_S)
        assert server.requests == []
        assert [seen.status for seen in before.requests] == [0]


@pytest.mark.parametrize("fault", [DropAnswer(), Truncate()])
def test_the_server_did_its_work_before_the_answer_was_lost(fault: Lose | Truncate) -> None:
    with SyncServer() as server, FaultProxy(server.url) as proxy:
        proxy.script(fault, match="POST /notes")
        with pytest.raises((CUT, requests.exceptions.ChunkedEncodingError)):
            requests.post(f"{proxy.url}/notes", json={"id": "1"}, timeout=PATIENCE_S)
        assert list(server.records("notes")) == ["1"]
        assert [seen.status for seen in proxy.requests] == [201]


def test_a_reply_stands_in_the_server_s_place(
    call: Callable[..., Response], proxy: FaultProxy
) -> None:
    proxy.always(Reply(503, {"error": "busy"}, {"Retry-After": "7"}), "PATCH /api/notes")
    answer = call("PATCH", "/notes/1", json={})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert call("GET", "/notes/1").status_code == 200
    proxy.clear_script()
    assert call("PATCH", "/notes/1", json={}).status_code == 200


def test_a_stalled_request_arrives_after_its_client_gave_up() -> None:
    with SyncServer() as server, FaultProxy(server.url) as proxy:
        proxy.script(Stall(0.5), match="POST")
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.post(f"{proxy.url}/notes", json={"id": "1"}, timeout=0.1)
        assert server.wait_for(lambda: server.records("notes"), PATIENCE_S)


def test_a_stop_ends_what_is_stalled(echo: str) -> None:
    proxy = FaultProxy(echo)
    proxy.start()
    proxy.always(Stall(600))
    results = []

    def ask() -> None:
        with pytest.raises(CUT):
            requests.get(proxy.url, timeout=PATIENCE_S)
        results.append("cut")

    thread = threading.Thread(target=ask)
    thread.start()
    assert proxy.wait_for(lambda: proxy.in_flight, PATIENCE_S)
    proxy.stop()
    thread.join(PATIENCE_S)
    assert results == ["cut"]
    assert not any(each.name.startswith("bytelyst-test") for each in threading.enumerate())


def test_an_outage_refuses_and_ends(call: Callable[..., Response], proxy: FaultProxy) -> None:
    with proxy.outage(), pytest.raises(CUT):
        call("GET", "/notes")
    assert call("GET", "/notes").status_code == 200


def test_a_server_that_is_not_there_is_a_bad_gateway() -> None:
    port = refuse_port()
    with FaultProxy(f"http://127.0.0.1:{port}") as proxy:
        answer = requests.get(f"{proxy.url}/notes", timeout=PATIENCE_S)
    assert answer.status_code == 502
    assert f"no answer from http://127.0.0.1:{port}" in answer.json()["error"]


def test_a_server_that_is_too_slow_is_a_bad_gateway() -> None:
    with SyncServer(latency_s=30) as server, FaultProxy(server.url, timeout=0.1) as proxy:
        answer = requests.get(f"{proxy.url}/notes", timeout=PATIENCE_S)
    assert answer.status_code == 502


@pytest.mark.parametrize("target", ["127.0.0.1:80", "ftp://example.com", "http://", "/api"])
def test_a_target_that_is_no_url_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="must be a URL"):
        FaultProxy(target)


# --- an engine behind it


def test_an_engine_delivers_once_through_all_of_it() -> None:
    faults = (DropAnswer(), Reply(502), Truncate(), Drop(), Stall(0.01))
    with SyncServer() as server, FaultProxy(server.url) as proxy:
        engine = create_sync_engine(
            base_url=proxy.url,
            entities={"notes": "/notes"},
            storage=":memory:",
            retry_delay=0.01,
            max_retry_delay=0.05,
            probe=None,
        )
        with engine:
            proxy.script(*faults, match="POST")
            item = engine.push("notes", {"id": "1", "title": "first"})
            assert engine.wait(item, PATIENCE_S) == "delivered"
        assert len(server.journal) == 1
        keys = {each.headers["idempotency-key"] for each in proxy.requests if each.method == "POST"}
        assert len(keys) == 1
