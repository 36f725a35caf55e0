"""Logins that expire: session cookies with CSRF tokens, and auth objects that log in again."""

import secrets
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests
from requests.models import PreparedRequest, Response
from requests.sessions import Session

from bytelyst_sync import Dialect, SyncEngine
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Seen
from bytelyst_sync.testing.raw import Answer
from tests.protocol.loopback import Loopback
from tests.typed import present

EXPIRED = ((403, "credentials were not provided", "credentials"),)
PAGE = {"items": [], "cursor": "c", "has_more": False}


class Site:
    """A server with logins as Django has them: ``status`` is what it says to a session that it does
    not know, ``held`` the number of requests that wait for each other before that.
    """

    def __init__(self, status: int = 403) -> None:
        self.status = status
        self.sessions: dict[Any, Any] = {}
        self.logins = 0
        self.stored: list[Any] = []
        self.taken = True
        self.lock = threading.Lock()
        self.url = ""

    def __call__(self, request: Seen) -> Answer | tuple[int, Json]:
        if request.path == "/login":
            self.logins += 1
            session, token = secrets.token_hex(4), secrets.token_hex(4)
            if self.taken:
                self.sessions[session] = token
            cookies = {"Set-Cookie": f"sessionid={session}; Path=/"}
            return Answer.of(200, {"csrf": token}, cookies)
        held = self.sessions.get(self.cookie(request))
        if held is None:
            return self.status, {"detail": "Authentication credentials were not provided."}
        if request.method == "GET":
            return 200, PAGE
        if request.headers.get("x-csrftoken") != held:
            return 403, {"detail": "CSRF Failed: CSRF token missing."}
        self.stored.append(request.body["id"])
        return 201, request.body

    @staticmethod
    def cookie(request: Seen) -> str | None:
        for pair in request.headers.get("cookie", "").split("; "):
            name, _, value = pair.partition("=")
            if name == "sessionid":
                return value
        return None


def log_in(url: str) -> Callable[[], Session]:
    """What a program writes as its ``session_factory``."""

    def factory() -> Session:
        session = requests.Session()
        session.headers["X-CSRFToken"] = session.post(f"{url}/login").json()["csrf"]
        return session

    return factory


@pytest.fixture
def site(loopback: Callable[..., Loopback]) -> Site:
    site = Site()
    site.url = loopback(site).url
    return site


def engine_on(site: Site, connect: Callable[..., SyncEngine], **settings: Any) -> SyncEngine:
    settings.setdefault("session_factory", log_in(site.url))
    return connect(site, Dialect(answers=EXPIRED), engine=settings)


def test_a_session_that_expired_is_opened_anew_and_the_write_sent_again(
    site: Site, connect: Callable[..., SyncEngine]
) -> None:
    engine = engine_on(site, connect)
    engine.push("notes", {"id": "1"})
    assert engine.flush(timeout=10).success
    site.sessions.clear()
    engine.push("notes", {"id": "2"})
    assert engine.flush(timeout=10).success
    assert (site.stored, site.logins) == (["1", "2"], 2)


@pytest.mark.parametrize("status", [401, 403])
def test_the_same_for_a_pull(site: Site, connect: Callable[..., SyncEngine], status: int) -> None:
    site.status = status
    engine = engine_on(site, connect)
    assert engine.pull().success
    site.sessions.clear()
    assert engine.pull().success
    assert site.logins == 2


def test_a_login_that_is_refused_pauses_delivery_until_it_is_taken(
    site: Site, connect: Callable[..., SyncEngine]
) -> None:
    engine = engine_on(site, connect, retry_delay=60.0, max_retry_delay=60.0)
    site.taken = False
    engine.push("notes", {"id": "1"})
    result = engine.flush(timeout=10)
    assert (result.success, result.remaining) == (False, 1)
    assert engine.status.reason == "credentials"
    assert "not provided" in present(engine.status.last_error)
    assert site.logins == 2, "asked anew once, and not again for the same refusal"
    site.taken = True
    assert engine.flush(timeout=10).success
    assert site.stored == ["1"]


def test_another_403_is_no_matter_of_the_session(
    site: Site, connect: Callable[..., SyncEngine]
) -> None:
    def without_token() -> Session:
        session = log_in(site.url)()
        del session.headers["X-CSRFToken"]
        return session

    engine = engine_on(site, connect, session_factory=without_token)
    engine.push("notes", {"id": "1"})
    assert not engine.flush(timeout=10).success
    (failed,) = engine.failed()
    assert "CSRF token missing" in present(failed.last_error)


def test_several_senders_open_each_a_new_session_once(
    site: Site, connect: Callable[..., SyncEngine]
) -> None:
    engine = engine_on(site, connect, workers=3)
    engine.push_many("notes", [{"id": f"a{number}"} for number in range(9)])
    assert engine.flush(timeout=20).success
    before = site.logins
    site.sessions.clear()
    engine.push_many("notes", [{"id": f"b{number}"} for number in range(9)])
    assert engine.flush(timeout=20).success
    assert len(site.stored) == len(set(site.stored)) == 18
    assert site.logins - before <= 4


class LogIn(requests.auth.AuthBase):
    """Keeps a token until an answer refuses it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = None

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self.token is None:
            self.token = requests.post(f"{self.url}/login").json()["token"]
        request.headers["Authorization"] = f"Token {self.token}"
        request.register_hook("response", self.forget)  # type: ignore[no-untyped-call]  # of requests
        return request

    def forget(self, response: Response, **_: Any) -> None:
        if response.status_code == 401:
            self.token = None


def test_an_auth_object_that_logs_in_again_is_asked_anew(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    tokens: list[Any] = []

    def handle(request: Seen) -> tuple[int, Json]:
        if request.path == "/login":
            tokens.append(f"t{len(tokens)}")
            return 200, {"token": tokens[-1]}
        if request.headers.get("authorization") != f"Token {tokens[-1]}" or tokens[-1] == "t0":
            return 401, {"detail": "Invalid token."}
        if request.path == "/notes/1":
            return 200, {"id": "1"}
        return (200, PAGE) if request.method == "GET" else (201, request.body)

    api = loopback(handle)
    engine = connect(api, Dialect(), engine={"auth": LogIn(api.url)})
    engine.push("notes", {"id": "1"})
    assert engine.flush(timeout=10).success
    tokens.append("another")
    assert engine.pull().success
    assert engine.status.reason is None


def test_answers_hold_for_readings_too(
    loopback: Callable[..., Loopback], connect: Callable[..., SyncEngine]
) -> None:
    """A listing that is refused for a while is no error of the mapping."""
    api = loopback(lambda request: (404, {"detail": "warming up"}))
    engine = connect(api, Dialect(answers=((404, "warming", "busy"),)))
    result = engine.pull()
    assert not result.success
    assert "HTTP 404 'warming up'" in present(engine.status.last_error)
