"""What carries the requests: sessions, transports, credentials; and what never shows in a log."""

import asyncio
import base64
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import requests
import requests.models
from requests.models import PreparedRequest
from requests.sessions import Session

from bytelyst_sync import (
    AuthError,
    Dialect,
    OfflineError,
    RecordChange,
    Request,
    SyncEngine,
    SyncItem,
    SyncStatus,
    SyncStatusInfo,
    TransportError,
)
from bytelyst_sync.http.transport import Response
from bytelyst_sync.testing import DropAnswer, Reply, Seen, SyncServer
from tests.delivery.conftest import Recorder
from tests.typed import T, present

NOTE = {"id": "1", "title": "first"}


def only(iterable: Iterable[T]) -> T:
    """The one element of it."""
    (element,) = iterable
    return element


# --- sessions


def test_a_session_factory_gives_the_sessions(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    made = []

    def factory() -> Session:
        session = requests.Session()
        session.headers["X-Session"] = "ours"
        made.append((session, threading.get_ident()))
        return session

    engine = held(session_factory=factory)
    engine.push_many("notes", [{"id": n} for n in range(5)])
    assert engine.flush(timeout=10).success
    assert len(made) == 1
    assert {seen.headers["x-session"] for seen in writes(server)} == {"ours"}


def test_each_sender_thread_has_one_session_of_its_own(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    made, lock = [], threading.Lock()

    def factory() -> Session:
        with lock:
            made.append(threading.get_ident())
        return requests.Session()

    server.latency_s = 0.02
    engine = held(session_factory=factory, workers=4)
    for _ in range(2):
        engine.push_many("notes", [{} for _ in range(40)])
        assert engine.flush(timeout=20).success
    assert 2 <= len(made) <= 5
    assert len(made) == len(set(made))


def test_sessions_are_closed_with_the_engine(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    closed = []

    class Session(requests.Session):
        def close(self) -> None:
            closed.append(self)
            super().close()

    engine = held(session_factory=Session)
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    assert closed == []
    assert engine.close()
    assert len(closed) == 1


@pytest.mark.parametrize("kind", ["raises", "returns no session"])
def test_a_broken_session_factory_loses_nothing(
    held: Callable[..., SyncEngine], server: SyncServer, drain: Callable[..., int], kind: str
) -> None:
    good = threading.Event()

    def factory() -> Session | str:
        if good.is_set():
            return requests.Session()
        if kind == "raises":
            raise LookupError("no certificate yet")
        return "no session"

    engine = held(session_factory=factory)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.pushed) == (False, 0)
    assert only([*engine.queue(), *engine.failed()]).last_error
    good.set()
    engine.reprocess_failed()
    assert drain(engine) == 0
    assert [effect.kind for effect in server.journal] == ["create"]


def test_hooks_of_a_session_that_raise_lose_nothing(
    held: Callable[..., SyncEngine], server: SyncServer, drain: Callable[..., int]
) -> None:
    angry = threading.Event()
    angry.set()

    def hook(_response: requests.models.Response, **_: Any) -> None:
        if angry.is_set():
            raise LookupError("a bug of the program")

    def factory() -> Session:
        session = requests.Session()
        session.hooks["response"].append(hook)
        return session

    engine = held(session_factory=factory)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.errors, result.remaining) == (False, 1, 1)
    assert "LookupError" in present(only(engine.queue()).last_error)
    angry.clear()
    assert drain(engine) == 0
    assert [effect.kind for effect in server.journal] == ["create"]


# --- transports


class Lines:
    """A transport that is no HTTP: it writes down and answers what it is told to."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.seen: list[Any] = []
        self.closed = 0

    def send(self, request: Request) -> Any:
        self.seen.append(request)
        answer = self.answers.pop(0) if self.answers else Response(204)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


def test_a_transport_takes_the_place_of_http(held: Callable[..., SyncEngine]) -> None:
    lines = Lines()
    engine = held(base_url="https://api.example.com/v1/", transport=lines, timeout=(1.0, 2.0))
    item = engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    request = only(lines.seen)
    assert (request.method, request.url) == ("POST", "https://api.example.com/v1/notes")
    assert request.body == b'{"id":"1","title":"first"}'
    assert request.headers["Idempotency-Key"] == item.id
    assert request.timeout == (1.0, 2.0)
    assert engine.close()
    assert lines.closed == 1


def test_a_transport_needs_nothing_but_send(held: Callable[..., SyncEngine]) -> None:
    class Bare:
        def send(self, request: Request) -> Response:
            return Response(200)

    engine = held(base_url="https://api.example.com", transport=Bare())
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success


@pytest.mark.parametrize(
    ("error", "offline", "reported"),
    [
        (OfflineError("the modem is off"), True, "the modem is off"),
        (TransportError("no answer"), False, "no answer"),
        (LookupError("s3cr3t"), False, f"LookupError in {__name__}, line "),
        (asyncio.CancelledError("s3cr3t"), False, f"CancelledError in {__name__}, line "),
        (SystemExit("s3cr3t"), False, f"SystemExit in {__name__}, line "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_transport_raises_means_what_it_says(
    held: Callable[..., SyncEngine],
    drain: Callable[..., int],
    error: BaseException,
    offline: bool,
    reported: str,
) -> None:
    lines = Lines(error)
    engine = held(base_url="https://api.example.com", transport=lines)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.offline) == (False, offline)
    item = only(engine.queue())
    assert item.retry_count == 0
    assert reported in present(item.last_error)
    assert "s3cr3t" not in present(item.last_error)
    assert drain(engine) == 0
    first, second = lines.seen
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body


def test_a_token_reaches_a_transport_too(held: Callable[..., SyncEngine]) -> None:
    lines = Lines(Response(401), Response(204))
    tokens = iter(["old", "new"])
    engine = held(base_url="https://api.example.com", transport=lines, auth=lambda: next(tokens))
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    assert [each.headers["Authorization"] for each in lines.seen] == ["Bearer old", "Bearer new"]


# --- credentials and headers


def test_a_user_and_a_password_are_basic_auth(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    engine = held(auth=("ada", "pass:word"))
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    expected = base64.b64encode(b"ada:pass:word").decode()
    assert only(writes(server)).headers["authorization"] == f"Basic {expected}"


def test_a_requests_auth_object_signs_each_request(
    held: Callable[..., SyncEngine], server: SyncServer, writes: Callable[..., list[Seen]]
) -> None:
    class Signature(requests.auth.AuthBase):
        def __call__(self, request: PreparedRequest) -> PreparedRequest:
            request.headers["X-Signature"] = f"{request.method}:{len(request.body or b'')}"
            return request

    engine = held(auth=Signature())
    engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    request = only(writes(server))
    assert request.headers["x-signature"] == f"POST:{len(request.content)}"


AUTH_WITHOUT_NETWORK = {
    "refused": ConnectionRefusedError(111, "s3cr3t"),
    "a request that timed out": requests.Timeout("s3cr3t"),
    "a request that made no connection": requests.ConnectionError("s3cr3t"),
}


@pytest.mark.parametrize("error", AUTH_WITHOUT_NETWORK.values(), ids=AUTH_WITHOUT_NETWORK)
@pytest.mark.parametrize("kind", ["callable", "auth object"])
def test_auth_that_finds_no_network_is_offline_and_spends_nothing(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    drain: Callable[..., int],
    error: BaseException,
    kind: str,
) -> None:
    errors = [error]

    def token() -> str:
        if errors:
            raise errors.pop()
        return "token"

    class Bearer(requests.auth.AuthBase):
        def __call__(self, request: PreparedRequest) -> PreparedRequest:
            request.headers["Authorization"] = f"Bearer {token()}"
            return request

    engine = held(auth=token if kind == "callable" else Bearer(), max_retries=0)
    engine.push("notes", NOTE)
    result = engine.flush(timeout=10)
    assert (result.success, result.offline) == (False, True)
    assert only(engine.queue()).retry_count == 0
    assert "s3cr3t" not in f"{only(engine.queue()).last_error} {engine.status.last_error}"
    # nothing was sent, so that the item can still be changed
    engine.push("notes", {"id": "1", "title": "second"}, "update")
    assert engine.queue_length == 1
    assert drain(engine) == 0


@pytest.mark.parametrize("kind", ["callable", "auth object"])
@pytest.mark.parametrize("error", [KeyError("s3cr3t"), asyncio.CancelledError(), SystemExit(1)])
def test_auth_that_raises_anything_is_one_failed_attempt(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    drain: Callable[..., int],
    error: BaseException,
    kind: str,
) -> None:
    errors = [error]

    def token(request: PreparedRequest | None = None) -> str | PreparedRequest:
        if errors:
            raise errors.pop()
        return "token" if request is None else request

    def sign(request: PreparedRequest) -> Any:
        return token(request)

    class Signed(requests.auth.AuthBase):
        def __call__(self, request: PreparedRequest) -> PreparedRequest:
            found: PreparedRequest = sign(request)
            return found

    engine = held(auth=token if kind == "callable" else Signed(), max_retries=0)
    engine.push("notes", NOTE)
    assert not engine.flush(timeout=10).success
    reported = f"{only(engine.queue()).last_error} {engine.status.last_error}"
    assert type(error).__name__ in reported
    assert "s3cr3t" not in reported
    assert drain(engine) == 0
    assert [effect.kind for effect in server.journal] == ["create"]


def test_headers_go_with_every_request_and_never_displace_ours(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held(headers={"X-App": "demo", "User-Agent": "app/1", "Content-Type": "text/plain"})
    item = engine.push("notes", NOTE)
    assert engine.flush(timeout=10).success
    engine.pull("notes", timeout=10)
    for seen in server.requests:
        assert (seen.headers["x-app"], seen.headers["user-agent"]) == ("demo", "app/1")
    write = server.requests[0]
    assert write.headers["content-type"] == "application/json"
    assert write.headers["idempotency-key"] == item.id


def test_readings_and_probes_are_not_for_caches(
    make: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = make(probe="auto", probe_interval=0.05, dialect=Dialect(check_before_write=True))
    server.put("notes", {"id": "7", "title": "base"})
    engine.pull("notes", timeout=10)
    engine.push("notes", {"id": "7", "title": "mine"}, "update")
    assert engine.flush(timeout=10).success
    (read,) = [seen for seen in server.requests if seen.path == "/notes/7" and seen.method == "GET"]
    assert read.headers["cache-control"] == "no-store"
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    assert server.wait_for(lambda: any(seen.method == "HEAD" for seen in server.requests))
    stored = {seen.method: seen.headers.get("cache-control") for seen in server.requests}
    assert stored == {"HEAD": "no-store", "GET": "no-store", "POST": None, "PATCH": None}


def test_every_write_has_a_key_and_reads_have_none(
    held: Callable[..., SyncEngine], server: SyncServer
) -> None:
    engine = held()
    engine.push("notes", NOTE)
    engine.flush(timeout=10)
    engine.push("notes", {"id": "1", "title": "x"}, "update")
    engine.flush(timeout=10)
    engine.delete("notes", "1")
    engine.flush(timeout=10)
    engine.pull("notes", timeout=10)
    keys = {seen.method: seen.headers.get("idempotency-key") for seen in server.requests}
    assert keys.pop("GET") is None
    assert len(set(keys.values())) == len(keys) == 3
    assert None not in keys.values()


@pytest.mark.parametrize("auth", [("ada", "secret"), lambda: "secret"], ids=["pair", "token"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_authorization_goes_to_another_origin(
    held: Callable[..., SyncEngine],
    server: SyncServer,
    auth: tuple[str, str] | Callable[..., str],
    status: int,
    host: str,
) -> None:
    with SyncServer() as other:
        place = f"http://{host}:{other.port}/notes"
        server.always(Reply(status, headers={"Location": place}))
        engine = held(auth=auth)
        engine.push("notes", NOTE)
        engine.flush(timeout=10)
        engine.pull("notes", timeout=10)
        assert all("authorization" not in seen.headers for seen in other.requests)
        assert all("secret" not in str(seen.headers) for seen in other.requests)
        assert [seen for seen in other.requests if seen.method != "HEAD"] == []


# --- logs

SECRETS = ("confidential", "s3cr3t-token", "hunter2", "needle-in-query", "cookie-value")


def test_nothing_secret_is_logged_whatever_happens(
    make: Callable[..., SyncEngine],
    server: SyncServer,
    caplog: pytest.LogCaptureFixture,
    drain: Callable[..., int],
    recorder: type[Recorder],
) -> None:
    caplog.set_level(logging.DEBUG)
    server.token = "s3cr3t-token-2"
    tokens = iter(["s3cr3t-token-1", *["s3cr3t-token-2"] * 50])
    engine = make(
        auth=lambda: next(tokens),
        headers={"X-Api-Key": "hunter2"},
        max_retries=2,
        probe="auto",
        probe_interval=0.05,
    )

    def broken(_value: RecordChange | SyncStatusInfo | SyncItem) -> None:
        raise LookupError("in a callback")

    for subscribe in (engine.on_status_change, engine.on_change, engine.on_failure):
        subscribe(broken)
    place = f"{server.url}/notes?needle-in-query=1"
    server.script(
        Reply(500, {"error": "confidential"}),
        DropAnswer(),
        Reply(422, {"error": "the title confidential is taken"}),
        Reply(302, headers={"Location": place}),
        Reply(503),
        Reply(200, "<html>confidential</html>", {"Set-Cookie": "c=cookie-value"}),
        match="POST",
    )
    for number in range(8):
        engine.push("notes", {"id": number, "title": "confidential"})
    assert server.wait_for(lambda: len(server.journal) >= 5)
    drain(engine)
    with server.outage():
        engine.push("notes", {"id": "offline", "title": "confidential"})
        engine.flush(timeout=10)
    drain(engine)
    server.script(Reply(500, {"error": "confidential"}), match="GET")
    engine.pull(timeout=10)
    engine.pull(timeout=10)
    assert engine.close()
    own = [record for record in caplog.records if record.name.startswith("bytelyst_sync")]
    assert own
    formatter = logging.Formatter("%(name)s %(message)s")
    for record in own:
        text = formatter.format(record)
        for secret in SECRETS:
            assert secret not in text
    assert {record.name.split(".")[0] for record in own} == {"bytelyst_sync"}


def test_what_user_code_raises_is_not_logged_with_its_words(
    held: Callable[..., SyncEngine], server: SyncServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def auth() -> None:
        raise LookupError("s3cr3t-token has expired")

    engine = held(auth=auth)
    engine.push("notes", {"id": "1", "title": "confidential"})
    engine.flush(timeout=10)
    assert engine.status.status is SyncStatus.ERROR
    assert engine.close()
    own = [record for record in caplog.records if record.name.startswith("bytelyst_sync")]
    text = "\n".join(logging.Formatter("%(message)s").format(record) for record in own)
    for secret in SECRETS:
        assert secret not in text


def test_no_repr_shows_a_secret(held: Callable[..., SyncEngine], server: SyncServer) -> None:
    engine = held(auth=("ada", "hunter2"), headers={"X-Api-Key": "s3cr3t-token"})
    engine.push("notes", {"id": "1", "title": "confidential"})
    server.script(Reply(401), match="POST")
    result = engine.flush(timeout=10)
    shown = repr((engine, engine.config, result, engine.status, list(engine.queue())))
    for secret in SECRETS:
        assert secret not in shown
    assert AuthError.__name__ not in shown
