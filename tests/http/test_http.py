"""What the transport sends, with what sessions, and what its failures mean."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import http.client
import http.server
import inspect
import io
import pickle
import re
import socket
import ssl
import threading
import tracemalloc
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests.models
import responses
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPDigestAuth
from requests.models import PreparedRequest
from requests.sessions import Session
from urllib3.util.ssl_match_hostname import CertificateError

from bytelyst_sync.errors import AuthError, ConfigError, OfflineError, TransportError
from bytelyst_sync.http.body import read_body
from bytelyst_sync.http.failures import failure
from bytelyst_sync.http.requests_transport import HttpTransport
from bytelyst_sync.http.transport import MAX_BODY_BYTES, Request, Response
from bytelyst_sync.model import Json
from tests.typed import present

SECRET = "t0k3n"
API = "https://api.example.com/notes"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        names = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((self.command, self.path, names, body))
        status, headers, answer = self.server.answer(self)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - named by HTTP

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[Any] = []
        self.connections: list[Any] = []
        self.ended = threading.Semaphore(0)
        self.answer: Callable[[Any], tuple[int, dict[str, str], bytes]] = lambda handler: (
            200,
            {},
            b"{}",
        )
        self.url = f"http://127.0.0.1:{self.server_port}"

    def process_request(self, request: Any, client_address: tuple[str, int]) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.ended.release()

    def headers(self, index: int = -1) -> dict[str, str]:
        found: dict[str, str] = self.received[index][2]
        return found


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        for connection in server.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.shutdown()
        thread.join(10)


@pytest.fixture
def make() -> Iterator[Callable[..., HttpTransport]]:
    transports = []

    def make(**options: Any) -> HttpTransport:
        transports.append(HttpTransport(**options))
        return transports[-1]

    yield make
    for transport in transports:
        transport.close()


@pytest.fixture
def netrc(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login netrc password secret\n")


def with_session(**attributes: Any) -> Callable[[], Session]:
    def factory() -> Session:
        session = requests.Session()
        for name, value in attributes.items():
            current = getattr(session, name)
            if hasattr(current, "update"):
                current.update(value)
            else:
                setattr(session, name, value)
        return session

    return factory


class TestRequest:
    def test_method_headers_and_body(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
        make().send(Request("patch", f"{server.url}/notes/1?a=b", headers, b'{"a": 1}'))
        method, path, sent, body = server.received[0]
        assert (method, path, body) == ("PATCH", "/notes/1?a=b", b'{"a": 1}')
        assert sent.items() >= {"content-type": "application/json", "idempotency-key": "k"}.items()
        assert sent["content-length"] == "8"
        assert sent["accept-encoding"].startswith("gzip")

    @pytest.mark.parametrize(
        ("method", "body", "length"),
        [("POST", None, "0"), ("POST", b"", "0"), ("DELETE", None, "0"), ("GET", None, None)],
    )
    def test_no_body(
        self,
        make: Callable[..., HttpTransport],
        server: Server,
        method: str,
        body: bytes | None,
        length: str | None,
    ) -> None:
        make().send(Request(method, server.url, {"Transfer-Encoding": "chunked"}, body))
        assert server.headers().get("content-length") == length
        assert "transfer-encoding" not in server.headers()

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/notes/%2E%2E%2Fadmin",
            "/notes/%2e%2e",
            "/notes/a%20b?since=2026-01-01T00%3A00%3A00%2B00%3A00&x=(1)",
            "/notes//",
            "/notes/~a!$&'()*+,;=:@",
        ],
    )
    def test_url_goes_out_as_it_stands(
        self, make: Callable[..., HttpTransport], server: Server, path: str
    ) -> None:
        response = make().send(Request("GET", server.url + path))
        assert server.received[0][1].lower() == path.lower()
        assert response.url == server.url + path

    @pytest.mark.parametrize(
        ("written", "sent"),
        [
            ("", "/"),
            ("?a=1", "/?a=1"),
            ("/a b", "/a%20b"),
            ("/ü?q=ü", "/%C3%BC?q=%C3%BC"),
            ("/100%", "/100%25"),
            ("/a#part", "/a"),
            ("/a?f[x]=1", "/a?f%5Bx%5D=1"),
        ],
    )
    def test_other_urls_go_out_as_requests_mends_them(
        self, make: Callable[..., HttpTransport], server: Server, written: str, sent: str
    ) -> None:
        make().send(Request("GET", server.url + written))
        assert server.received[0][1] == sent

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "notes",
            "/notes",
            "api.example.com/notes",
            "ftp://api.example.com/notes",
            "http://",
            "http:///notes",
            "http://[::1/notes",
            "http://api.example.com:99999/notes",
            "http://.example.com/notes",
        ],
    )
    def test_url_that_is_none(self, make: Callable[..., HttpTransport], url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            make().send(Request("POST", f"{url}?q={SECRET}", body=b"{}"))
        assert caught.value.field == "url"
        assert SECRET not in f"{caught.value} {caught.value.value}"

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-A": f"{SECRET}\n"},
            {"X-A": f" {SECRET}"},
            {"X-A": f"{SECRET}\r\nX-B: 1"},
            {"X-A": f"{SECRET}€"},
            {"X-A": f"{SECRET}\0"},
            {"X A": SECRET},
            {"X:A": SECRET},
            {"": SECRET},
            {"X-A": 1},
        ],
    )
    def test_header_that_cannot_be_sent(
        self, make: Callable[..., HttpTransport], headers: dict[str, str]
    ) -> None:
        with pytest.raises(ConfigError, match="header") as caught:
            make().send(Request("GET", API, headers))
        assert SECRET not in str(caught.value)

    def test_header_of_auth_that_cannot_be_sent(self, make: Callable[..., HttpTransport]) -> None:
        def auth(prepared: PreparedRequest) -> PreparedRequest:
            prepared.headers["Authorization"] = f"Bearer {SECRET}\n"
            return prepared

        with pytest.raises(ConfigError, match="'Authorization'") as caught:
            make(auth=auth).send(Request("GET", API))
        assert SECRET not in str(caught.value)

    def test_method_that_is_none(self, make: Callable[..., HttpTransport]) -> None:
        with pytest.raises(ConfigError, match="HTTP method"):
            make().send(Request("GET /\r\n", API))


class TestResponse:
    def test_header_names_are_in_lower_case(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        server.answer = lambda handler: (201, {"ETag": '"3"', "X-Twice": "1"}, b"{}")
        response = make().send(Request("POST", server.url + "/a", body=b""))
        assert response.status == 201
        assert response.headers["etag"] == '"3"'
        assert all(name == name.lower() for name in response.headers)
        assert not response.verified

    @pytest.mark.parametrize("status", [200, 204, 400, 401, 404, 409, 429, 500, 503, 511])
    def test_every_status_is_an_answer(
        self, make: Callable[..., HttpTransport], server: Server, status: int
    ) -> None:
        server.answer = lambda handler: (status, {}, b"")
        assert make().send(Request("GET", server.url)).status == status

    @pytest.mark.parametrize("place", ["/elsewhere", "http://[", "http://a:x/", "\xff", ""])
    @pytest.mark.parametrize("factory", [None, requests.Session])
    def test_redirects_are_not_followed(
        self,
        make: Callable[..., HttpTransport],
        server: Server,
        factory: type[Session] | None,
        place: str,
    ) -> None:
        server.answer = lambda handler: (302, {"Location": place}, b"moved")
        transport = make(session_factory=factory)
        response = transport.send(Request("POST", server.url, body=b"{}"))
        assert (response.status, response.headers["location"]) == (302, place)
        assert response.body == b"moved"
        assert len(server.received) == 1

    def test_body_that_a_hook_has_read(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        hooks = {"response": [lambda response, **_: response.content and None]}
        transport = make(session_factory=with_session(hooks=hooks))
        assert transport.send(Request("GET", server.url)).body == b"{}"


class TestCredentials:
    def test_user_and_password(self, make: Callable[..., HttpTransport], server: Server) -> None:
        make(auth=("ann", "pw")).send(Request("GET", server.url))
        assert server.headers()["authorization"] == "Basic YW5uOnB3"

    def test_callable(self, make: Callable[..., HttpTransport], server: Server) -> None:
        class Signed(AuthBase):
            def __call__(self, prepared: PreparedRequest) -> PreparedRequest:
                prepared.headers["X-Signature"] = f"{prepared.method} {len(present(prepared.body))}"
                return prepared

        make(auth=Signed()).send(Request("POST", server.url, body=b"{}"))
        assert server.headers()["x-signature"] == "POST 2"

    def test_callable_that_changes_the_body(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        def wrap(prepared: PreparedRequest) -> PreparedRequest:
            assert isinstance(prepared.body, bytes)
            prepared.body = b"[" + prepared.body + b"]"
            return prepared

        make(auth=wrap).send(Request("POST", server.url, body=b"{}"))
        assert server.received[0][3] == b"[{}]"

    @pytest.mark.parametrize(
        "body", ["[grün]", io.BytesIO("[grün]".encode()), iter([b"[gr\xc3\xbc", b"n]"])]
    )
    def test_callable_that_makes_a_body_of_another_kind(
        self,
        make: Callable[..., HttpTransport],
        server: Server,
        body: str | io.BytesIO | Iterator[Any],
    ) -> None:
        def wrap(prepared: PreparedRequest) -> PreparedRequest:
            prepared.prepare_body(body, None)
            return prepared

        make(auth=wrap).send(Request("POST", server.url, body=b"{}"))
        assert server.received[0][3] == "[grün]".encode()
        assert server.headers()["content-length"] == "7"
        assert "transfer-encoding" not in server.headers()

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (AuthError("no token"), AuthError),
            (OfflineError("no network"), OfflineError),
            (KeyError(SECRET), AuthError),
            (OSError(1, SECRET), AuthError),
            (asyncio.CancelledError(SECRET), AuthError),
            (SystemExit(SECRET), AuthError),
            (requests.ConnectionError(SECRET), OfflineError),
            (requests.ReadTimeout(SECRET), OfflineError),
            (ConnectionRefusedError(1, SECRET), OfflineError),
            (socket.gaierror(1, SECRET), OfflineError),
            (
                urllib3.exceptions.MaxRetryError(urllib3.HTTPConnectionPool("h"), SECRET),
                OfflineError,
            ),
        ],
        ids=lambda value: getattr(value, "__name__", type(value).__name__),
    )
    @pytest.mark.parametrize("session", ["usual", "with its own request"])
    def test_what_auth_raises(
        self,
        make: Callable[..., HttpTransport],
        error: BaseException,
        kind: type[Exception],
        session: str,
    ) -> None:
        class Own(requests.Session):
            def request(self, *args: Any, **options: Any) -> requests.models.Response:
                return super().request(*args, **options)

        def broken(prepared: PreparedRequest) -> None:
            raise error

        factory = None if session == "usual" else Own
        with pytest.raises(kind) as caught:
            make(auth=broken, session_factory=factory).send(Request("GET", API))
        assert type(caught.value) is kind
        assert SECRET not in str(caught.value)
        if caught.value is not error:
            assert f"{type(error).__name__} in {__name__}, line " in str(caught.value)
            assert caught.value.__cause__ is error

    def test_an_interrupt_in_the_main_thread_is_no_failure(
        self, make: Callable[..., HttpTransport]
    ) -> None:
        def broken(prepared: PreparedRequest) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make(auth=broken).send(Request("GET", API))

    def test_digest(self, make: Callable[..., HttpTransport], server: Server) -> None:
        def answer(handler: Handler) -> tuple[int, Json, bytes]:
            given = handler.headers.get("Authorization", "")
            fields = dict(re.findall(r'(\w+)="?([^",]*)', given))

            def md5(*parts: str) -> str:
                return hashlib.md5(":".join(parts).encode()).hexdigest()

            expected = md5(
                md5("ann", "r", "pw"),
                "n0nce",
                fields.get("nc", ""),
                fields.get("cnonce", ""),
                "auth",
                md5(handler.command, handler.path),
            )
            if fields.get("response") == expected:
                return 200, {}, b"{}"
            challenge = 'Digest realm="r", nonce="n0nce", qop="auth"'
            return 401, {"WWW-Authenticate": challenge, "Set-Cookie": "a=b"}, b"denied"

        server.answer = answer
        transport = make(auth=HTTPDigestAuth("ann", "pw"))
        for _ in range(2):
            response = transport.send(Request("PUT", f"{server.url}/a%2Fb?c=d", body=b"{}"))
            assert (response.status, response.body) == (200, b"{}")
        assert [received[3] for received in server.received] == [b"{}"] * 3
        assert len(server.connections) == 1

    def test_wrong_digest_password_is_a_401(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        challenge = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}
        server.answer = lambda handler: (401, challenge, b"")
        response = make(auth=HTTPDigestAuth("ann", "pw")).send(Request("GET", server.url))
        assert response.status == 401

    def test_session_auth(
        self, make: Callable[..., HttpTransport], server: Server, netrc: None
    ) -> None:
        transport = make(session_factory=with_session(auth=("ann", "pw")))
        transport.send(Request("GET", server.url))
        assert server.headers()["authorization"] == "Basic YW5uOnB3"

    def test_netrc(self, make: Callable[..., HttpTransport], server: Server, netrc: None) -> None:
        make().send(Request("GET", server.url))
        assert server.headers()["authorization"] == "Basic bmV0cmM6c2VjcmV0"

    def test_netrc_is_not_asked_if_the_session_does_not_trust_it(
        self, make: Callable[..., HttpTransport], server: Server, netrc: None
    ) -> None:
        make(session_factory=with_session(trust_env=False)).send(Request("GET", server.url))
        assert "authorization" not in server.headers()

    def test_netrc_is_read_again_after_a_401(
        self, make: Callable[..., HttpTransport], server: Server, netrc: None, tmp_path: Path
    ) -> None:
        server.answer = lambda handler: (401, {}, b"")
        transport = make()
        transport.send(Request("GET", server.url))
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password pw\n")
        transport.send(Request("GET", server.url))
        assert server.headers()["authorization"] == "Basic YW5uOnB3"

    @pytest.mark.parametrize("attributes", [{}, {"auth": ("ann", "pw")}])
    def test_bearer_of_the_request_wins(
        self,
        make: Callable[..., HttpTransport],
        server: Server,
        netrc: None,
        attributes: dict[str, tuple[str, str]],
    ) -> None:
        transport = make(session_factory=with_session(**attributes))
        transport.send(Request("GET", server.url, {"authorization": "Bearer x"}))
        assert server.headers()["authorization"] == "Bearer x"

    def test_header_of_the_session_wins_over_netrc(
        self, make: Callable[..., HttpTransport], server: Server, netrc: None
    ) -> None:
        headers = {"Authorization": "Bearer x"}
        make(session_factory=with_session(headers=headers)).send(Request("GET", server.url))
        assert server.headers()["authorization"] == "Bearer x"

    def test_credentials_in_the_url(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        url = server.url.replace("//", "//ann:pw@")
        make().send(Request("GET", url))
        assert server.headers()["authorization"] == "Basic YW5uOnB3"

    def test_cookies(self, make: Callable[..., HttpTransport], server: Server) -> None:
        server.answer = lambda handler: (200, {"Set-Cookie": "sid=1; Path=/"}, b"{}")
        transport = make()
        transport.send(Request("GET", server.url))
        transport.send(Request("GET", server.url))
        assert server.headers(1)["cookie"] == "sid=1"
        transport.send(Request("GET", server.url, authorize=False))
        assert "cookie" not in server.headers(2)

    def test_request_without_credentials(
        self, make: Callable[..., HttpTransport], server: Server, netrc: None
    ) -> None:
        transport = make(
            auth=("ann", "pw"),
            session_factory=with_session(
                auth=("ann", "pw"),
                headers={"X-Api-Key": SECRET, "Authorization": SECRET, "User-Agent": "app"},
                params={"key": SECRET},
                cookies={"sid": SECRET},
            ),
        )
        headers = {"Authorization": SECRET, "Cookie": SECRET, "Accept": "text/plain"}
        transport.send(Request("GET", server.url, headers, authorize=False))
        assert SECRET not in str(server.received)
        assert "authorization" not in server.headers()
        assert server.headers()["user-agent"] == "app"
        assert server.headers()["accept"] == "text/plain"


class TestSessions:
    def test_what_the_session_brings(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        transport = make(
            session_factory=with_session(
                headers={"X-Team": "a", "Accept": "x/x", "Accept-Encoding": None},
                params={"key": "k e"},
                cookies={"sid": "1"},
            )
        )
        transport.send(Request("GET", f"{server.url}/a?b=c", {"accept": "application/json"}))
        sent = server.headers()
        assert server.received[0][1] == "/a?b=c&key=k+e"
        assert (sent["x-team"], sent["accept"], sent["cookie"]) == (
            "a",
            "application/json",
            "sid=1",
        )

    def test_hooks(self, make: Callable[..., HttpTransport], server: Server) -> None:
        seen = []
        hooks = {"response": [lambda response, **_: seen.append(response.status_code)]}
        make(session_factory=with_session(hooks=hooks)).send(Request("GET", server.url))
        assert seen == [200]

    def test_raise_for_status_in_a_hook_is_an_answer(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        server.answer = lambda handler: (409, {"ETag": '"4"'}, b'{"current": {}}')
        hooks = {"response": [lambda response, **_: response.raise_for_status()]}
        transport = make(session_factory=with_session(hooks=hooks))
        response = transport.send(Request("POST", server.url, body=b"{}"))
        assert (response.status, response.body) == (409, b'{"current": {}}')

    @pytest.mark.parametrize(
        "error",
        [
            ValueError(SECRET),
            OSError(SECRET),
            requests.ConnectionError(SECRET),
            requests.HTTPError(SECRET),
            asyncio.CancelledError(SECRET),
            SystemExit(SECRET),
        ],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("place", ["hook", "adapter", "session", "factory"])
    def test_what_the_code_of_others_raises(
        self,
        make: Callable[..., HttpTransport],
        server: Server,
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
        place: str,
    ) -> None:
        def broken(*_: object, **__: object) -> Any:
            raise error

        def factory() -> Session:
            if place == "factory":
                raise error
            session = requests.Session()
            if place == "hook":
                session.hooks["response"].append(broken)
            elif place == "adapter":
                session.mount("http://", HTTPAdapter(max_retries=1))
                monkeypatch.setattr(session.adapters["http://"], "send", broken)
            else:
                monkeypatch.setattr(session, "send", broken)
            return session

        with pytest.raises(TransportError) as caught:
            make(session_factory=factory).send(Request("GET", server.url))
        assert not isinstance(caught.value, OfflineError)
        assert f": {type(error).__name__} in {__name__}, line " in str(caught.value)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is error
        gc.collect()

    def test_adapters(self, make: Callable[..., HttpTransport]) -> None:
        class Canned(HTTPAdapter):
            def send(
                self, request: PreparedRequest, *_: Any, **__: Any
            ) -> requests.models.Response:
                raw = urllib3.HTTPResponse(io.BytesIO(), {"X-A": "1"}, 200, preload_content=False)
                return self.build_response(request, raw)

        def factory() -> Session:
            session = requests.Session()
            session.mount("mock://", Canned())
            session.mount("https://", Canned())
            return session

        assert make(session_factory=factory).send(Request("GET", API)).headers == {"x-a": "1"}

    def test_session_with_its_own_request(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        class OAuth(requests.Session):
            def request(
                self, method: Any, url: Any, *rest: Any, **options: Any
            ) -> requests.models.Response:
                options["headers"]["Authorization"] = "Bearer own"
                return super().request(method, url, *rest, **options)

        seen = []

        def factory() -> Session:
            session = OAuth()
            session.hooks["response"].append(lambda response, **_: seen.append(1))
            return session

        server.answer = lambda handler: (307, {"Location": "/b"}, b"")
        transport = make(session_factory=factory)
        response = transport.send(Request("PUT", f"{server.url}/a", {"X-A": "1"}, b"{}"))
        assert (response.status, response.headers["location"]) == (307, "/b")
        assert server.headers()["authorization"] == "Bearer own"
        assert (server.headers()["x-a"], server.received[0][3], seen) == ("1", b"{}", [1])
        transport.send(Request("GET", f"{server.url}/a", authorize=False))
        assert "authorization" not in server.headers()

    def test_factory_that_returns_none(self, make: Callable[..., HttpTransport]) -> None:
        with pytest.raises(ConfigError, match="session_factory returned NoneType"):
            make(session_factory=lambda: None).send(Request("GET", API))

    def test_one_session_per_thread(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        made = []

        class Counted(requests.Session):
            closed = 0

            def __init__(self) -> None:
                super().__init__()
                made.append(threading.get_ident())

            def close(self) -> None:
                type(self).closed += 1
                super().close()

        transport = make(session_factory=Counted)
        workers = []
        gate = threading.Barrier(3, timeout=10)

        def work() -> None:
            workers.append(threading.get_ident())
            gate.wait()
            for _ in range(2):
                assert transport.send(Request("GET", server.url)).status == 200

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(made) == sorted(workers)
        gc.collect()
        assert Counted.closed == 3  # with their threads

    def test_close_and_use_again(self, make: Callable[..., HttpTransport], server: Server) -> None:
        transport = make()
        for _ in range(2):
            transport.send(Request("GET", server.url))
            transport.close()
            transport.close()
        assert len(server.connections) == 2

    def test_close_from_another_thread(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        transport = make()
        transport.send(Request("GET", server.url))
        thread = threading.Thread(target=transport.close)
        thread.start()
        thread.join(10)
        transport.send(Request("GET", server.url))
        assert len(server.connections) == 2

    def test_close_while_a_request_is_under_way(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        arrived, release = threading.Event(), threading.Event()

        def answer(handler: Handler) -> tuple[int, Json, bytes]:
            arrived.set()
            release.wait(10)
            return 200, {}, b"{}"

        server.answer = answer
        transport = make()
        got = []
        thread = threading.Thread(
            target=lambda: got.append(transport.send(Request("GET", server.url)))
        )
        thread.start()
        assert arrived.wait(10)
        transport.close()
        release.set()
        thread.join(10)
        assert got[0].status == 200

    def test_close_between_two_steps_of_a_request(
        self, make: Callable[..., HttpTransport], server: Server
    ) -> None:
        def close(prepared: PreparedRequest) -> PreparedRequest:
            transport.close()
            return prepared

        transport = make(auth=close)
        assert transport.send(Request("GET", server.url)).status == 200
        assert server.ended.acquire(timeout=10)  # the connection did not stay open

    def test_missing_client_certificate(self, make: Callable[..., HttpTransport]) -> None:
        transport = make(session_factory=with_session(cert="/nowhere/client.pem"))
        with pytest.raises(OfflineError, match=r"client\.pem"):
            transport.send(Request("GET", API))


class TestResponsesLibrary:
    @responses.activate
    def test_answers(self, make: Callable[..., HttpTransport]) -> None:
        added = responses.post(API, json={"id": "1"}, status=201, headers={"ETag": "3"})
        response = make().send(Request("POST", API, {"X-A": "1"}, b'{"a": 1}'))
        assert (response.status, response.body) == (201, b'{"id": "1"}')
        assert (response.headers["etag"], response.verified) == ("3", True)
        assert added.calls[0].request.body == b'{"a": 1}'
        assert added.calls[0].request.headers["X-A"] == "1"

    @responses.activate
    def test_url_that_is_not_registered(self, make: Callable[..., HttpTransport]) -> None:
        with pytest.raises(TransportError) as caught:
            make().send(Request("GET", f"{API}?q={SECRET}"))
        assert not isinstance(caught.value, OfflineError)
        message = "no complete answer from api.example.com:443: ConnectionError in responses, line "
        assert str(caught.value).startswith(message)

    @responses.activate
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (requests.ConnectTimeout(), OfflineError),
            (requests.ReadTimeout(), TransportError),
            (requests.ConnectionError(SECRET), TransportError),
        ],
    )
    def test_errors(
        self,
        make: Callable[..., HttpTransport],
        error: requests.RequestException,
        kind: type[Exception],
    ) -> None:
        responses.get(API, body=error)
        with pytest.raises(TransportError) as caught:
            make().send(Request("GET", API))
        assert type(caught.value) is kind
        assert SECRET not in str(caught.value)


def upstream_exceptions() -> Iterator[Any]:
    for module in (requests.exceptions, urllib3.exceptions, http.client):
        for kind in vars(module).values():
            if (
                inspect.isclass(kind)
                and issubclass(kind, Exception)
                and not issubclass(kind, Warning)
                and kind.__module__ == module.__name__
            ):
                yield kind
    yield from (OSError, ConnectionResetError, socket.gaierror, ssl.SSLError, CertificateError)


NO_CONNECTION = {
    requests.ConnectTimeout,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NewConnectionError,
    CertificateError,
}
MISUSE = {
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.URLRequired,
    urllib3.exceptions.LocationParseError,
    urllib3.exceptions.LocationValueError,
    urllib3.exceptions.ProxySchemeUnknown,
    urllib3.exceptions.ProxySchemeUnsupported,
    urllib3.exceptions.URLSchemeUnknown,
}


class TestFailures:
    @pytest.mark.parametrize("kind", [*upstream_exceptions()], ids=lambda kind: kind.__qualname__)
    def test_every_upstream_exception_is_mapped(self, kind: Any) -> None:
        error = kind.__new__(kind, SECRET)
        error.args = (SECRET,)
        ours = failure(error, f"http://user:{SECRET}@h/?q={SECRET}")
        expected: type[Exception] = TransportError
        if issubclass(kind, tuple(NO_CONNECTION)):
            expected = OfflineError
        if kind in MISUSE:
            expected = ConfigError
        assert type(ours) is expected
        assert SECRET not in str(ours)
        assert ("'http://h/'" if kind in MISUSE else "h:80") in str(ours)

    def test_refusal_of_a_proxy_is_no_proof_by_itself(self) -> None:
        hung_up = http.client.RemoteDisconnected("x")
        error = requests.exceptions.ProxyError(urllib3.exceptions.ProxyError("x", hung_up))
        assert type(failure(error, API)) is TransportError

    def test_circular_causes(self) -> None:
        error, cause = requests.ConnectionError(), OSError()
        error.args, cause.args = (cause,), (error,)
        assert type(failure(error, API)) is TransportError

    @pytest.mark.parametrize("url", ["", "http://[", "http://h:x/"])
    def test_url_that_cannot_be_read(self, url: str) -> None:
        failure(requests.ConnectionError(), url)

    def test_missing_socks(
        self, make: Callable[..., HttpTransport], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxies = {"https": f"socks5://ann:{SECRET}@localhost:1"}
        monkeypatch.setattr(
            "requests.adapters.SOCKSProxyManager",
            lambda *_, **__: (_ for _ in ()).throw(
                requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")
            ),
        )
        with pytest.raises(ConfigError, match="PySocks"):
            make(session_factory=with_session(proxies=proxies)).send(Request("GET", API))

    @pytest.mark.parametrize("proxy", [f"x://{SECRET}", "http://", "http://[::1"])
    def test_unusable_proxy(self, make: Callable[..., HttpTransport], proxy: str) -> None:
        transport = make(session_factory=with_session(proxies={"https": proxy}))
        with pytest.raises(ConfigError) as caught:
            transport.send(Request("GET", API))
        assert SECRET not in str(caught.value)

    def test_pickles(self) -> None:
        error = failure(requests.ConnectTimeout(), API)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


class TestBody:
    """Bodies that do not come from urllib3 as it is today."""

    def read(self, raw: Any, limit: int = 8) -> bytes:
        response = requests.Response()
        response.raw = raw
        return read_body(response, "h:80", 1.0, limit)

    def test_raw_without_read1(self) -> None:
        class Old:
            length_remaining = 0

            def stream(self, size: int, decode_content: bool) -> Iterator[bytes]:
                yield from (b"ab", b"cd")

        assert self.read(Old()) == b"abcd"
        with pytest.raises(TransportError, match="larger than"):
            self.read(Old(), limit=3)

    def test_a_large_body_is_not_copied_at_its_end(self) -> None:
        """The interpreter lock is held meanwhile: a push would wait."""

        class Old:
            length_remaining = 0

            def stream(self, size: int, decode_content: bool) -> Iterator[bytes]:
                chunk = b"x" * size
                for _ in range(512):
                    yield chunk

        tracemalloc.start()
        try:
            body = self.read(Old(), limit=64 * 1024**2)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(body) == 32 * 1024**2
        assert peak < 1.5 * len(body)

    def test_short_body_that_is_taken_for_a_complete_one(self) -> None:
        class Old:
            length_remaining = 3

            def stream(self, size: int, decode_content: bool) -> Iterator[bytes]:
                yield b"ab"

        with pytest.raises(TransportError, match="cut off"):
            self.read(Old())

    def test_tiny_chunks_are_not_taken_for_ever(self) -> None:
        class Old:
            length_remaining = None
            given = 0

            def stream(self, size: int, decode_content: bool) -> Iterator[bytes]:
                while True:
                    self.given += 1
                    yield b"a"

        old = Old()
        with pytest.raises(TransportError, match="tiny chunks"):
            self.read(old, limit=MAX_BODY_BYTES)
        assert old.given < 200_000

    def test_a_few_tiny_chunks_are_a_body(self) -> None:
        class Old:
            length_remaining = None

            def stream(self, size: int, decode_content: bool) -> Iterator[bytes]:
                yield from (b"a" for _ in range(50_000))
                yield from (b"a" * 1000 for _ in range(3000))
                yield from (b"a" for _ in range(100_000))

        assert len(self.read(Old(), limit=MAX_BODY_BYTES)) == 3_150_000


def test_repr_shows_no_secret() -> None:
    request = Request("GET", f"{API}?q={SECRET}", {"Authorization": SECRET}, SECRET.encode())
    assert SECRET not in repr(request)
    assert SECRET not in repr(Response(200, {"x": SECRET}, SECRET.encode(), f"{API}?{SECRET}"))
    assert urllib.parse.urlsplit(API).netloc in repr(request)
