"""Tools that hook requests, urllib3, http.client or sockets see and steer the traffic."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpretty
import pytest
import pytest_socket
import requests
import requests_cache
import vcr
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.sessions import Session
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from vcr.errors import CannotOverwriteExistingCassetteException

from bytelyst_sync import OfflineError, TransportError, create_sync_engine
from bytelyst_sync.http.requests_transport import HttpTransport
from bytelyst_sync.http.transport import Request
from bytelyst_sync.testing import Seen, SyncServer

NOTE = b'{"id": "1"}'
NO_STORE = {"Cache-Control": "no-store"}


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    transport = HttpTransport()
    yield transport
    transport.close()


def post(url: str, number: int = 1) -> Request:
    body = b'{"id": "%d"}' % number
    headers = {"Content-Type": "application/json", "Idempotency-Key": f"key-{number}"}
    return Request("POST", f"{url}/notes?secret={number}", headers, body)


def writes(server: SyncServer) -> list[Seen]:
    return [seen for seen in server.requests if seen.method == "POST"]


# vcrpy replaces a connection in use, and leaves its socket to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("warm", [False, True], ids=["new connection", "connection in use"])
def test_vcrpy_records_and_replays(
    transport: HttpTransport, server: SyncServer, tmp_path: Path, warm: bool
) -> None:
    cassette = str(tmp_path / "cassette.yaml")
    if warm:
        transport.send(post(server.url, 9))
    with vcr.use_cassette(cassette) as recorded:
        sent = transport.send(post(server.url))
        assert (sent.status, len(recorded)) == (201, 1)
    assert len(writes(server)) == 1 + warm
    with vcr.use_cassette(cassette, record_mode="none") as played:
        assert transport.send(post(server.url)).body == sent.body
        assert played.play_count == 1
        with pytest.raises(TransportError) as caught:
            transport.send(post(server.url, 2))
        assert CannotOverwriteExistingCassetteException.__name__ in str(caught.value)
        assert "secret" not in str(caught.value)
    assert len(writes(server)) == 1 + warm
    assert transport.send(post(server.url, 3)).status == 201
    assert len(writes(server)) == 2 + warm


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_httpretty_answers_in_place_of_the_network(transport: HttpTransport) -> None:
    with httpretty.enabled():
        httpretty.register_uri(
            httpretty.POST, "http://api.example.com/notes", body=NOTE, status=201
        )
        for _ in range(2):
            response = transport.send(post("http://api.example.com"))
            assert (response.status, response.body) == (201, NOTE)
        assert httpretty.last_request().headers["Idempotency-Key"] == "key-1"
        assert httpretty.last_request().body == NOTE


@pytest.mark.parametrize("headers", [{}, NO_STORE], ids=["cached", "no-store"])
def test_requests_cache_installed_globally(server: SyncServer, headers: dict[str, str]) -> None:
    requests_cache.install_cache(backend="memory", expire_after=60)
    transport = HttpTransport()
    try:
        for _ in range(2):
            response = transport.send(Request("GET", f"{server.url}/notes", headers))
            assert response.status == 200
            assert b"items" in response.body
        assert transport.send(post(server.url)).status == 201
    finally:
        transport.close()
        requests_cache.uninstall_cache()  # type: ignore[no-untyped-call]  # it has no types
    assert len([seen for seen in server.requests if seen.method == "GET"]) == (2 if headers else 1)


def test_a_pull_is_not_answered_by_a_cache(server: SyncServer, tmp_path: Path) -> None:
    requests_cache.install_cache(backend="memory", expire_after=60)
    try:
        with create_sync_engine(
            base_url=server.url, entities={"notes": "/notes"}, storage=":memory:", probe=None
        ) as engine:
            for _ in range(3):  # the later ones ask for one URL
                assert engine.pull(timeout=10).pulled == 0
            server.put("notes", {"id": "1", "title": "theirs"})
            assert engine.pull(timeout=10).pulled == 1
    finally:
        requests_cache.uninstall_cache()  # type: ignore[no-untyped-call]  # it has no types


@pytest.mark.parametrize("kind", [RequestsInstrumentor, URLLib3Instrumentor])
def test_opentelemetry_traces_requests(
    server: SyncServer, kind: type[RequestsInstrumentor | URLLib3Instrumentor]
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    kind().instrument(tracer_provider=provider)
    transport = HttpTransport()
    try:
        assert transport.send(post(server.url)).status == 201
    finally:
        kind().uninstrument()
        transport.close()
    (span,) = exporter.get_finished_spans()
    assert span.name == "POST"
    trace_id = f"{span.context.trace_id:032x}"
    assert trace_id in writes(server)[0].headers["traceparent"]


def test_sentry_traces_requests(server: SyncServer) -> None:
    program = f"""
        import sentry_sdk
        from sentry_sdk.transport import Transport
        from bytelyst_sync.http.requests_transport import HttpTransport
        from bytelyst_sync.http.transport import Request

        sent = []

        class Kept(Transport):
            def capture_envelope(self, envelope):
                sent.append(envelope.get_transaction_event())

        sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", transport=Kept, traces_sample_rate=1.0)
        transport = HttpTransport()
        with sentry_sdk.start_transaction(name="sync"):
            url = "{server.url}/notes"
            headers = {{"Content-Type": "application/json"}}
            assert transport.send(Request("POST", url, headers, b'{{"id": "1"}}')).status == 201
        transport.close()
        (span,) = [span for event in sent if event for span in event["spans"]]
        assert span["op"] == "http.client", span
        assert span["data"]["http.response.status_code"] == 201, span
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "sentry-trace" in writes(server)[0].headers


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_pytest_socket_blocks_connections(transport: HttpTransport, server: SyncServer) -> None:
    pytest_socket.disable_socket()
    try:
        with pytest.raises(OfflineError, match="SocketBlockedError"):
            transport.send(post(server.url))
    finally:
        pytest_socket.enable_socket()
    assert transport.send(post(server.url)).status == 201


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_pytest_socket_allows_some_hosts(transport: HttpTransport, server: SyncServer) -> None:
    pytest_socket.socket_allow_hosts(["127.0.0.2"])
    try:
        with pytest.raises(OfflineError, match="SocketConnectBlockedError"):
            transport.send(post(server.url))
    finally:
        pytest_socket._remove_restrictions()
    assert transport.send(post(server.url)).status == 201


class UnixConnection(HTTPConnection):
    """To a socket in the file system, as packages for it do it."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class UnixPool(HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path = path

    def _new_conn(self) -> UnixConnection:
        return UnixConnection(self.path)


class UnixAdapter(HTTPAdapter):
    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: Any,
        proxies: Mapping[str, str] | None = None,
        cert: object = None,
    ) -> UnixPool:
        return UnixPool(unquote(urlsplit(request.url).netloc))

    def request_url(self, request: PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        return request.path_url


def test_an_adapter_for_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "Api.sock"
    answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(answer)

    def factory() -> Session:
        session = requests.Session()
        session.mount("http+unix://", UnixAdapter())
        return session

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        with create_sync_engine(
            base_url=f"http+unix://{quote(str(path), safe='')}",
            entities={"notes": "/notes"},
            storage=":memory:",
            session_factory=factory,
            probe=None,
        ) as engine:
            engine.push("notes", {"id": "1"})
            assert engine.flush(timeout=10).success
        thread.join(10)


def test_an_adapter_of_the_users_own_carries_the_requests(server: SyncServer) -> None:
    class Counting(HTTPAdapter):
        sent = 0

        def send(self, request: PreparedRequest, *rest: Any, **options: Any) -> Response:
            type(self).sent += 1
            request.headers["X-Adapter"] = str(threading.get_ident())
            return super().send(request, *rest, **options)

    def factory() -> Session:
        session = requests.Session()
        session.mount(server.url, Counting())
        return session

    transport = HttpTransport(session_factory=factory)
    assert transport.send(post(server.url)).status == 201
    transport.close()
    assert Counting.sent == 1
    assert writes(server)[0].headers["x-adapter"] == str(threading.get_ident())
