"""``FakeServer``: the API that the default dialect speaks behind ``responses``, without sockets.

Who owns what: ``Api`` owns everything except one callback, which is registered with ``responses``
and runs in the thread that sends a request. The number of outages is guarded by the condition of
``Api``; an event ends all waits at the exit.

Needs ``responses``.
"""

from __future__ import annotations

import errno
import http.client
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import responses
import urllib3
from urllib3.connection import HTTPConnection

from bytelyst_sync.clock import FOREVER_S
from bytelyst_sync.testing.api import Api
from bytelyst_sync.testing.faults import Drop, DropAnswer, Truncate
from bytelyst_sync.testing.http_messages import Answer, RecordedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self, Unpack

    from bytelyst_sync.testing.api import ApiSettings

__all__ = ["FakeServer"]

Reaction = tuple[int, dict[str, str], bytes]


class FakeServer(Api):
    """A REST API at any URL that exists in ``responses`` only; no socket is opened.

    It has the methods and settings of ``Api``, and behaves as ``SyncServer``. As a context manager
    it receives every request that ``requests`` sends in this process: it answers those to
    ``base_url`` and below it, and all others fail. To use it together with your own mocks,
    ``register`` it with them. Close the engine before you leave the block: later requests go to the
    real network.

    A ``latency_s`` or a ``Stall`` takes real time, in seconds, but no longer than the request's
    read timeout: then the request is processed, and the client gets a timeout.

    Raises ``ValueError`` for a ``base_url`` that is no http or https URL.
    """

    def __init__(
        self, base_url: str = "https://api.example.com", **settings: Unpack[ApiSettings]
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url={base_url!r}: must be a URL with http:// or https://")
        super().__init__(**settings)
        prepared = requests.Request("GET", base_url.rstrip("/")).prepare()
        self._base = str(prepared.url).rstrip("/")
        self._root = urlsplit(self._base).path
        self._outages = 0
        self._closing = threading.Event()
        self._mock: responses.RequestsMock | None = None

    def __enter__(self) -> Self:
        if self._mock is not None:
            raise RuntimeError("this FakeServer is in use already: leave its block first")
        self._closing.clear()
        self._mock = responses.RequestsMock(assert_all_requests_are_fired=False)
        self.register(self._mock)
        self._mock.start()
        return self

    def __exit__(self, *_: object) -> None:
        mock, self._mock = self._mock, None
        self._closing.set()
        if mock is not None:
            mock.stop(allow_assert=False)
            mock.reset()

    @property
    def url(self) -> str:
        """The URL of the server, without a slash at the end."""
        return self._base

    def register(self, mock: responses.RequestsMock | None = None) -> None:
        """Answer the requests to the server's URL that this mock receives; the mock handles all
        others. The default is the mock of ``@responses.activate``. Register your own answers for
        the server's URLs first: of two that match, ``responses`` drops the earlier one. If the mock
        asserts that all responses were called, this counts as one of them.
        """
        target: Any = responses.mock if mock is None else mock
        target.add(_Anything(self._base, self._react))

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Refuse connections inside of the block; requests under way are still answered."""
        with self._changed:
            self._outages += 1
        try:
            yield
        finally:
            with self._changed:
                self._outages -= 1

    def _react(self, request: requests.PreparedRequest) -> Reaction:
        if self._outages:
            line = HTTPConnection(urlsplit(self._base).hostname or "")
            refused = urllib3.exceptions.NewConnectionError(line, "connection refused: an outage")
            raise requests.ConnectionError(refused, request=request)
        recorded = self._recorded(request)
        remaining = _RemainingTime(request, self._closing)
        with self._handling(recorded):
            fault, answer = self._exchange(recorded, remaining.wait)
        if isinstance(fault, Drop):
            reset = ConnectionResetError(errno.ECONNRESET, "connection reset by peer")
            raise _broken("connection aborted", reset, request)
        if isinstance(fault, DropAnswer):
            no_answer = http.client.RemoteDisconnected("connection closed without an answer")
            raise _broken("connection aborted", no_answer, request)
        if remaining.timed_out:
            raise requests.ReadTimeout("read timed out", request=request)
        if isinstance(fault, Truncate):
            raise _cut_off(answer, request)
        body = b"" if request.method == "HEAD" else answer.body
        headers = dict(answer.headers)
        if answer.status not in (204, 304):
            headers["Content-Length"] = str(len(answer.body))
        return answer.status, headers, body

    def _recorded(self, request: requests.PreparedRequest) -> RecordedRequest:
        body: Any = request.body or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        target = request.path_url[len(self._root) :]
        if not target.startswith("/"):
            target = f"/{target}"
        return RecordedRequest.of(request.method or "", target, request.headers, content)


class _Anything(responses.CallbackResponse):
    """Any method on a URL or below it."""

    def __init__(self, base: str, callback: Callable[[Any], Reaction]) -> None:
        below = re.compile(re.escape(base) + r"(?:[/?].*)?\Z", re.DOTALL)
        super().__init__("any method", below, callback, content_type=None)
        self._below = below

    def matches(self, request: requests.PreparedRequest) -> tuple[bool, str]:
        """Whether it answers this request, and if not, why."""
        if self._below.match(str(request.url)):
            return True, ""
        return False, "URL does not match"


class _RemainingTime:
    """The time that one request may still take. Used by the thread that sends it."""

    def __init__(self, request: requests.PreparedRequest, closing: threading.Event) -> None:
        options = getattr(request, "req_kwargs", {})
        self._seconds = _read_timeout(options.get("timeout"))
        self._request = request
        self._closing = closing
        self.timed_out = False

    def wait(self, seconds: float) -> None:
        self.timed_out = seconds >= self._seconds
        if self._closing.wait(min(seconds, self._seconds)):
            aborted = ConnectionAbortedError("the server is closing")
            raise _broken("connection aborted", aborted, self._request)


def _read_timeout(timeout: Any) -> float:
    if isinstance(timeout, urllib3.Timeout):
        timeout = timeout.read_timeout
    elif isinstance(timeout, tuple):
        timeout = timeout[1]
    return float(timeout) if isinstance(timeout, (int, float)) else FOREVER_S


def _broken(
    what: str, cause: Exception, request: requests.PreparedRequest
) -> requests.ConnectionError:
    """The exception of requests for a connection that is lost before an answer."""
    return requests.ConnectionError(urllib3.exceptions.ProtocolError(what, cause), request=request)


def _cut_off(answer: Answer, request: requests.PreparedRequest) -> Exception:
    """The exception of requests for a connection that is lost during an answer."""
    half = len(answer.body) // 2
    short = http.client.IncompleteRead(answer.body[:half], len(answer.body) - half)
    broken = urllib3.exceptions.ProtocolError("connection broken", short)
    return requests.exceptions.ChunkedEncodingError(broken, request=request)
