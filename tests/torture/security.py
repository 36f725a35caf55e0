"""Other origins, and certificates that nobody vouches for."""

import os
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from unittest import mock

import requests

from bytelyst_sync import Dialect, EntityConfig, SyncEngine, SyncResult
from bytelyst_sync.testing.raw import Answer, RecordedRequest
from bytelyst_sync.testing.store import Rules, Store
from tests.torture.harness import Trial, check, scenario
from tests.torture.recorder import Recorder, engine_at

try:
    import trustme
except ImportError:
    trustme = None  # type: ignore[assignment]  # it is optional


# --- other origins


def _elsewhere(here: int, evil: int) -> list[str]:
    """Places that are not this server, written in ways that deceive."""
    there = f"127.0.0.1:{evil}"
    return [
        f"http://{there}/x",
        f"//{there}/x",
        f"https://{there}/x",
        f"http://user:pass@{there}/x",
        f"http://127.0.0.1:{here}@{there}/x",
        f"http://127.0.0.1:{here}%40{there}/x",
        f"http://127.0.0.1:{here}\\@{there}/x",
        f"http:\\\\{there}\\x",
        f"\\\\{there}\\x",
        f"/\\{there}/x",
        f" //{there}/x",
        f"\t//{there}/x",
        f"ht\ttp://{there}/x",
        f"http:////{there}/x",
        f"http:/{there}/x",
        f"HTTP://{there}/x#@127.0.0.1:{here}",
        f"http://localhost:{here}/api/x",
        f"http://127.1:{here}/api/x",
        f"http://2130706433:{here}/api/x",
        f"http://127.0.0.1.:{here}/api/x",
        f"https://127.0.0.1:{here}/api/x",
        f"http://[::ffff:127.0.0.1]:{here}/api/x",
        f"http://127.0.0.1:{evil}.{here}/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "javascript:alert(1)",
        "data:application/json,{}",
    ]


class Session(requests.Session):
    """One whose own headers are secret too."""

    def __init__(self) -> None:
        super().__init__()
        self.headers["X-Session-Key"] = "planted-session"


def _credentials(rng: random.Random) -> dict[str, Any]:
    """A way to be known to a server."""
    return rng.choice(
        [
            {"auth": lambda: "planted-bearer"},
            {"auth": ("planted-user", "planted-pass")},
            {"headers": {"X-Api-Key": "planted-key", "Authorization": "Basic planted"}},
            {"session_factory": Session, "auth": lambda: "planted-bearer"},
        ]
    )


def _redirect(code: int, place: str, _: RecordedRequest) -> Answer:
    return Answer.of(code, None, {"Location": place})


def _ways(place: str) -> Iterator[tuple[str, Dialect, Callable[[RecordedRequest], Answer]]]:
    """How a server may send its client to a place: a dialect, and an answer to what is asked."""
    page = {"items": [{"id": "1"}], "cursor": "c", "has_more": False}
    for code in (301, 302, 303, 307, 308):
        yield (
            f"a {code}",
            Dialect(),
            partial(_redirect, code, place),
        )
    linked: dict[str, Any] = {"since": None, "cursor": None}
    bodies = Answer.of(200, {**page, "next": place})
    yield "next in the body", Dialect(next_page="url:next", **linked), lambda _: bodies
    headed = Answer.of(200, page, {"Next-Page": place})
    yield "next in a header", Dialect(next_page="header:Next-Page", **linked), lambda _: headed
    link = Answer.of(200, page, {"Link": f'<{place}>; rel="next"'})
    yield "next in Link", Dialect(next_page="rel:next", **linked), lambda _: link
    cursor = Answer.of(200, {**page, "cursor": place, "has_more": True})
    yield "a cursor", Dialect(), lambda _: cursor
    located = Answer.of(201, {"id": "1"}, {"Location": place, "Content-Location": place})
    yield "a created place", Dialect(), lambda _: located


def _go(engine: SyncEngine) -> None:
    """All that makes an engine talk."""
    engine.push("notes", {"id": "1", "n": 1})
    engine.flush(timeout=5)
    engine.pull(timeout=5)
    engine.push("notes", {"id": "2", "n": 1})
    engine.delete("notes", "1")
    engine.flush(timeout=5)


@scenario("security", "nothing, least of all Authorization, goes to another origin")
def other_origins(trial: Trial) -> dict[str, object]:
    """Redirects, next links and cursors that point elsewhere."""
    cases, asked = 0, 0
    with Recorder(lambda _: Answer.of(200, {"items": []})) as evil, Recorder() as home:
        places = _elsewhere(home.port, evil.port)
        chosen = trial.random.sample(places, trial.rounds(9, len(places)))
        for place in chosen:
            for way, dialect, answer in _ways(place):
                cases += 1
                home.answer = answer
                del home.seen[:]
                settings = _credentials(trial.random)
                probe = trial.random.choice((None, "auto"))
                with engine_at(home.url, dialect=dialect, probe=probe, **settings) as engine:
                    _go(engine)
                asked += len(home.seen)
                message = f"{way} to {place!r}"
                check(not evil.connections, f"{message}: there it asked {evil.seen[:2]}")
                hosts = {seen.headers["host"] for seen in home.seen}
                check(hosts <= {f"127.0.0.1:{home.port}"}, f"{message}: it asked for {hosts}")
                outside = [
                    seen.path for seen in home.seen if not f"{seen.path}/".startswith("/api/")
                ]
                # a place on the same server is its own affair, and the only ones are those below
                check(not outside or way != "a cursor", f"{message}: the cursor led to {outside}")
    return {"places": len(chosen), "cases": cases, "requests": asked, "to other origins": 0}


# --- certificates


class TlsServer:
    """Shakes hands with its certificate and keeps whatever a client then says."""

    def __init__(self, certificate: Any, *, store: Store | None = None) -> None:
        self.received: list[bytes] = []
        self.handshakes = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        self._store = store or Store(Rules())
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            plain.settimeout(3)
            with plain, suppress(OSError):
                self.handshakes += 1
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    self.received.append(secure.recv(65_536))
                    secure.sendall(Answer.of(200, {"items": []}).encode())


def _certificates() -> tuple[Any, Any, dict[str, Any]]:
    """Certificates that nobody should take, by what is wrong with them."""
    ours, theirs = trustme.CA(), trustme.CA()
    past = datetime.now(timezone.utc) - timedelta(days=1)
    good = ours.issue_cert("127.0.0.1", "localhost")
    bad = {
        "of an unknown authority": theirs.issue_cert("127.0.0.1", "localhost"),
        "of another host": ours.issue_cert("elsewhere.test"),
        "expired": ours.issue_cert("127.0.0.1", "localhost", not_after=past),
    }
    return ours, good, bad


ENVIRONMENTS = [
    {},
    {"CURL_CA_BUNDLE": ""},
    {"REQUESTS_CA_BUNDLE": ""},
    {"PYTHONHTTPSVERIFY": "0"},
    {"SSL_CERT_FILE": os.devnull},
]


@scenario(
    "security",
    "a server whose certificate is not trusted hears nothing",
    missing=lambda: "trustme is not installed" if trustme is None else None,
)
def untrusted_tls(trial: Trial) -> dict[str, object]:
    """Every wrong certificate, in every environment that might turn verification off."""
    ours, good, bad = _certificates()
    bundle = trial.folder / "authority.pem"
    ours.cert_pem.write_to_path(str(bundle))
    refused = 0
    with ExitStack() as stack:
        for wrong, certificate in bad.items():
            server = TlsServer(certificate)
            stack.callback(server.close)
            for more in ENVIRONMENTS:
                trusted = {} if "unknown" in wrong else {"REQUESTS_CA_BUNDLE": str(bundle)}
                message = f"a certificate {wrong}, {more or 'plain environment'}"
                with mock.patch.dict(os.environ, {**trusted, **more}):
                    result, error = _talk(server)
                check(not server.received, f"{message}: it received {server.received}")
                check(not result.success and result.offline, f"{message}: {result}")
                check("certificate" in error, f"{message}: the error does not say so: {error}")
                refused += 1
            check(server.handshakes >= len(ENVIRONMENTS), "the server was asked each time")
        server = TlsServer(good)
        stack.callback(server.close)
        with mock.patch.dict(os.environ, {"REQUESTS_CA_BUNDLE": str(bundle)}):
            result, _ = _talk(server)
        check(server.received, "a certificate that is trusted is taken")
    return {"refused": refused, "taken": len(server.received)}


def _talk(server: TlsServer) -> tuple[SyncResult, str]:
    url = f"https://127.0.0.1:{server.port}"
    entities = {"notes": EntityConfig("/notes")}
    with engine_at(url, entities, auth=lambda: "planted", probe="auto") as engine:
        engine.push("notes", {"id": "1", "secret": "planted"})
        result = engine.flush(timeout=5)
        return result, str(engine.status.last_error)
