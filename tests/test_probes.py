"""What the probes take for a network."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.probes import HttpProbe, TcpProbe


class Server:
    """Gives every connection the next answer, and hears what it asked."""

    def __init__(self, *answers):
        self.heard = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        answers = iter(self._answers)
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(20)
                with sock, contextlib.suppress(OSError):
                    while data := sock.recv(65536):
                        self.heard.append(data.decode("latin-1"))
                        sock.sendall(next(answers, b""))

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listener.close()


@pytest.fixture
def serve():
    servers = []

    def start(*answers):
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password t0k3n\n")
    monkeypatch.setenv("NETRC", str(netrc))


@pytest.fixture
def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answer(status, *headers, body=b""):
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class TestTcp:
    def test_open_port(self, serve):
        assert TcpProbe("127.0.0.1", serve().port)() is True

    def test_closed_port(self, unused_port):
        assert TcpProbe("127.0.0.1", unused_port)() is False

    @pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 70])
    def test_unknown_host(self, host):
        assert TcpProbe(host, 80)() is False

    def test_timeout(self, monkeypatch):
        def connect(address, timeout):
            assert (address, timeout) == (("h", 1), 3.0)
            raise TimeoutError

        monkeypatch.setattr(socket, "create_connection", connect)
        assert TcpProbe("h", 1)() is False


class TestHttp:
    @pytest.mark.parametrize("status", [200, 204, 301, 401, 403, 404, 500, 503])
    def test_any_answer_is_online(self, serve, status):
        server = serve(answer(status))
        assert HttpProbe(server.url)() is True
        assert server.heard[0].startswith("HEAD /api HTTP/1.1\r\n")
        assert "authorization" not in server.heard[0].lower()

    @pytest.mark.parametrize("place", ["/login", "http://127.0.0.1:1/", "https://127.0.0.1/api"])
    def test_redirect_on_the_same_host_is_online(self, serve, place):
        server = serve(answer(302, f"Location: {place}"))
        assert HttpProbe(server.url)() is True
        assert len(server.heard) == 1

    @pytest.mark.parametrize(
        "portal", [answer(511), answer(302, "Location: http://portal.example.net/login")]
    )
    def test_portal(self, serve, portal):
        assert HttpProbe(serve(portal).url)() is False

    @pytest.mark.parametrize("status", [405, 501])
    def test_get_where_head_is_not_served(self, serve, status):
        server = serve(answer(status), answer(200, body=b"{}"))
        assert HttpProbe(server.url)() is True
        assert server.heard[1].startswith("GET /api HTTP/1.1\r\n")

    def test_portal_that_serves_get_alone(self, serve):
        server = serve(answer(405), answer(302, "Location: http://portal.example.net/"))
        assert HttpProbe(server.url)() is False

    def test_get_that_is_not_answered_after_head_was(self, serve):
        server = serve(answer(405), b"rubbish\r\n\r\n")
        assert HttpProbe(server.url)() is True

    def test_get_that_is_refused_after_head_was_answered(self, serve, monkeypatch):
        server = serve(answer(405, "Connection: close"))
        connect = socket.socket.connect
        calls = []

        def once(sock, address):
            calls.append(address)
            if len(calls) > 1:
                raise ConnectionRefusedError
            return connect(sock, address)

        monkeypatch.setattr(socket.socket, "connect", once)
        assert HttpProbe(server.url)() is False

    def test_refused(self, unused_port):
        assert HttpProbe(f"http://127.0.0.1:{unused_port}/")() is False

    def test_garbage(self, serve):
        assert HttpProbe(serve(b"rubbish\r\n\r\n").url)() is False

    def test_no_answer(self, serve):
        assert HttpProbe(serve(b"").url, timeout=0.1)() is False

    def test_tls_that_fails(self, serve):
        server = serve(answer(400))
        assert HttpProbe(server.url.replace("http", "https", 1))() is False


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: TcpProbe("", 80), "host"),
        (lambda: TcpProbe("http://h", 80), "host"),
        (lambda: TcpProbe("h", 0), "port"),
        (lambda: TcpProbe("h", "80"), "port"),
        (lambda: TcpProbe("h", True), "port"),
        (lambda: TcpProbe("h", 80, 0), "timeout"),
        (lambda: TcpProbe("h", 80, float("nan")), "timeout"),
        (lambda: HttpProbe("h"), "url"),
        (lambda: HttpProbe("ftp://h/"), "url"),
        (lambda: HttpProbe("http://h/", timeout=-1), "timeout"),
    ],
)
def test_wrong_settings_are_named(make, field):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


def test_repr_shows_no_query():
    probe = HttpProbe("https://api.example.com/ping?key=t0k3n")
    assert repr(probe) == "HttpProbe(url='https://api.example.com/ping', timeout=3.05)"
    assert "t0k3n" not in repr(HttpProbe("https://ann:t0k3n@api.example.com/"))
    assert hash(probe) == hash(HttpProbe("https://api.example.com/ping?key=t0k3n"))
