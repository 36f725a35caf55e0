"""What the probes take for a network."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bytelyst_sync import Request, SyncConfig
from bytelyst_sync.delivery.base_url_probe import BaseUrlProbe
from bytelyst_sync.delivery.probes import HttpProbe, TcpProbe
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.http.transport import Response

PROBED = {
    "the server": (200, {}, True),
    "the server refuses": (403, {}, True),
    "the server is down": (503, {}, True),
    "a redirect to the same host": (302, {"location": "http://api.example.com/v1"}, True),
    "a captive portal": (302, {"location": "http://portal.example.net/login"}, False),
    "a captive portal says so": (511, {}, False),
    "a proxy wants a password": (407, {}, False),
}


@pytest.mark.parametrize(("status", "headers", "online"), PROBED.values(), ids=PROBED)
def test_whose_answer_to_the_probe_counts(
    status: int, headers: dict[str, str], online: bool
) -> None:
    class Wire:
        def send(self, request: Request) -> Response:
            return Response(status, headers, b"", request.url)

    url = "http://api.example.com/"
    config = SyncConfig(base_url=url, entities={"notes": "/notes"}, storage=":memory:")
    assert BaseUrlProbe(Wire(), config)() is online


class Server:
    """Gives every connection the next answer, and hears what it asked."""

    def __init__(self, *answers: bytes) -> None:
        self.received: list[Any] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        answers = iter(self._answers)
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(20)
                with sock, contextlib.suppress(OSError):
                    while data := sock.recv(65536):
                        self.received.append(data.decode("latin-1"))
                        sock.sendall(next(answers, b""))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers = []

    def start(*answers: Any) -> Server:
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password t0k3n\n")
    monkeypatch.setenv("NETRC", str(netrc))


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
        return found


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class TestTcp:
    def test_open_port(self, serve: Callable[..., Server]) -> None:
        assert TcpProbe("127.0.0.1", serve().port)() is True

    def test_closed_port(self, unused_port: int) -> None:
        assert TcpProbe("127.0.0.1", unused_port)() is False

    @pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 70])
    def test_unknown_host(self, host: str) -> None:
        assert TcpProbe(host, 80)() is False

    def test_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def connect(address: tuple[str, int], timeout: float) -> None:
            assert (address, timeout) == (("h", 1), 3.0)
            raise TimeoutError

        monkeypatch.setattr(socket, "create_connection", connect)
        assert TcpProbe("h", 1)() is False


class TestHttp:
    @pytest.mark.parametrize("status", [200, 204, 301, 401, 403, 404, 500, 503])
    def test_any_answer_is_online(self, serve: Callable[..., Server], status: int) -> None:
        server = serve(answer(status))
        assert HttpProbe(server.url)() is True
        assert server.received[0].startswith("HEAD /api HTTP/1.1\r\n")
        assert "authorization" not in server.received[0].lower()
        assert "\r\nCache-Control: no-store\r\n" in server.received[0]

    @pytest.mark.parametrize("place", ["/login", "http://127.0.0.1:1/", "https://127.0.0.1/api"])
    def test_redirect_on_the_same_host_is_online(
        self, serve: Callable[..., Server], place: str
    ) -> None:
        server = serve(answer(302, f"Location: {place}"))
        assert HttpProbe(server.url)() is True
        assert len(server.received) == 1

    @pytest.mark.parametrize(
        "portal",
        [answer(407), answer(511), answer(302, "Location: http://portal.example.net/login")],
    )
    def test_portal(self, serve: Callable[..., Server], portal: bytes) -> None:
        assert HttpProbe(serve(portal).url)() is False

    @pytest.mark.parametrize("status", [405, 501])
    def test_get_where_head_is_not_served(self, serve: Callable[..., Server], status: int) -> None:
        server = serve(answer(status), answer(200, body=b"{}"))
        assert HttpProbe(server.url)() is True
        assert server.received[1].startswith("GET /api HTTP/1.1\r\n")

    def test_portal_that_serves_get_alone(self, serve: Callable[..., Server]) -> None:
        server = serve(answer(405), answer(302, "Location: http://portal.example.net/"))
        assert HttpProbe(server.url)() is False

    def test_get_that_is_not_answered_after_head_was(self, serve: Callable[..., Server]) -> None:
        server = serve(answer(405), b"rubbish\r\n\r\n")
        assert HttpProbe(server.url)() is True

    def test_get_that_is_refused_after_head_was_answered(
        self, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = serve(answer(405, "Connection: close"))
        connect = socket.socket.connect
        calls = []

        def once(sock: socket.socket, address: tuple[str, int]) -> Any:
            calls.append(address)
            if len(calls) > 1:
                raise ConnectionRefusedError
            return connect(sock, address)

        monkeypatch.setattr(socket.socket, "connect", once)
        assert HttpProbe(server.url)() is False

    def test_refused(self, unused_port: int) -> None:
        assert HttpProbe(f"http://127.0.0.1:{unused_port}/")() is False

    def test_garbage(self, serve: Callable[..., Server]) -> None:
        assert HttpProbe(serve(b"rubbish\r\n\r\n").url)() is False

    def test_no_answer(self, serve: Callable[..., Server]) -> None:
        assert HttpProbe(serve(b"").url, timeout=0.1)() is False

    def test_tls_that_fails(self, serve: Callable[..., Server]) -> None:
        server = serve(answer(400))
        assert HttpProbe(server.url.replace("http", "https", 1))() is False


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: TcpProbe("", 80), "host"),
        (lambda: TcpProbe("http://h", 80), "host"),
        (lambda: TcpProbe("h", 0), "port"),
        (lambda: TcpProbe("h", cast("int", "80")), "port"),
        (lambda: TcpProbe("h", True), "port"),
        (lambda: TcpProbe("h", 80, 0), "timeout"),
        (lambda: TcpProbe("h", 80, float("nan")), "timeout"),
        (lambda: HttpProbe("h"), "url"),
        (lambda: HttpProbe("ftp://h/"), "url"),
        (lambda: HttpProbe("http://h/", timeout=-1), "timeout"),
    ],
)
def test_wrong_settings_are_named(make: Callable[..., object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


def test_repr_shows_no_query() -> None:
    probe = HttpProbe("https://api.example.com/ping?key=t0k3n")
    assert repr(probe) == "HttpProbe(url='https://api.example.com/ping', timeout=3.05)"
    assert "t0k3n" not in repr(HttpProbe("https://ann:t0k3n@api.example.com/"))
    assert hash(probe) == hash(HttpProbe("https://api.example.com/ping?key=t0k3n"))
