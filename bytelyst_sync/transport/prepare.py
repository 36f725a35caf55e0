"""A ``PreparedRequest``, made directly.

``Session.request`` merges, encodes and normalises whatever it may be given. What is sent here is
bytes to a finished URL: a tenth of that work gives the same request, and a URL that goes out as
it stands, where requests would decode ``%2E%2E`` and so address another resource.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.transport.base import Request
from bytelyst_sync.transport.failures import failure, server_name
from bytelyst_sync.transport.heads import pairs

__all__ = ["Auth", "SentHeaders", "prepare", "sendable_url"]

Auth = tuple[str, str] | Callable[[requests.PreparedRequest], requests.PreparedRequest]
"""What requests takes for ``auth``: user and password, or a callable such as an ``AuthBase``."""

_PLAIN_URL = re.compile(
    r"(https?://[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[0-9]{1,5})?)/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*"
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff][\t -~\x80-\xff]*)?")
_BAD_IN_VALUE = re.compile(r"[^\t -~\x80-\xff]")
_BLANKS = frozenset(" \t")
_TEXT = frozenset({str})
_PRIVATE_HEADERS = frozenset({"authorization", "cookie"})
_HARMLESS_HEADERS = frozenset({"accept", "accept-encoding", "connection", "user-agent"})


def sendable_url(request: Request, session: requests.Session) -> tuple[str, str]:
    """The URL that is sent, and its beginning up to the path.

    Raises ``ConfigError`` if it is none that can be sent.
    """
    params = session.params if request.authorize else None
    url = request.url
    plain = _PLAIN_URL.fullmatch(url)
    if plain and not params and ("%" not in url or not _BAD_ESCAPE.search(url)):
        return url, plain[1]
    mended = requests.PreparedRequest()
    try:
        mended.prepare_url(url, params)
        parts = urlsplit(mended.url or "")
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise failure(requests.exceptions.InvalidURL(), url) from error
    return mended.url or "", f"{parts.scheme}://{parts.netloc}"


def prepare(
    request: Request,
    url: str,
    session: requests.Session,
    auth: Auth | None,
    netrc: tuple[str, str] | None,
) -> requests.PreparedRequest:
    """Makes what ``session.send`` takes.

    A request's own ``Authorization`` header gives way to ``auth`` alone, and one among the
    session's headers also to the session's ``auth``, but not to netrc. Raises ``ConfigError`` for
    a method or header that HTTP cannot carry, and what ``auth`` raises.
    """
    prepared = _Prepared(request, url, session)
    if request.authorize:
        _authorize(prepared, request, session, auth, netrc)
    # Checked last, for "auth" may read a token from a file, line break and all.
    unsound = _unsound(prepared.headers)
    if unsound is not None:
        raise ConfigError(
            f"the header {unsound!r} for {server_name(url)} cannot be sent: "
            "names are ASCII tokens, values are Latin-1 text without line breaks",
            field="headers",
            value=unsound,
        )
    return prepared


def _authorize(
    prepared: _Prepared,
    request: Request,
    session: requests.Session,
    auth: Auth | None,
    netrc: tuple[str, str] | None,
) -> None:
    if auth is None:
        if "authorization" in map(str.lower, request.headers):
            return
        auth = session.auth
    if not auth and "Authorization" not in prepared.headers:
        auth = netrc
        if auth is None and "@" in (prepared.url or ""):
            prepared.prepare_auth(None)  # takes what the URL says
    if auth:
        prepared.sign(auth)


class SentHeaders(CaseInsensitiveDict[Any]):
    """A request's headers as they go out. ``unwatched``: nobody but the transport sees the answer,
    which may then be taken as it comes.
    """

    unwatched = False


class _Prepared(requests.PreparedRequest):
    def __init__(self, request: Request, url: str, session: requests.Session) -> None:
        super().__init__()
        self.method = request.method.upper()
        if not _TOKEN.fullmatch(self.method):
            raise ConfigError(
                f"{request.method!r} is no HTTP method", field="method", value=request.method
            )
        self.url = url
        self.headers = _headers(request, session)
        self.body = request.body
        if request.body is not None or self.method not in {"GET", "HEAD"}:
            self.headers["Content-Length"] = str(len(request.body or b""))
        if request.authorize and len(session.cookies):
            self._cookies = RequestsCookieJar()
            self._cookies.update(session.cookies)
            self.prepare_cookies(self._cookies)

    def sign(self, auth: Any) -> None:
        """Has ``auth`` say who is asking."""
        if self._cookies is None:
            self._cookies = RequestsCookieJar()  # HTTPDigestAuth wants one, if it is empty
        self.prepare_auth(auth)


def _headers(request: Request, session: requests.Session) -> SentHeaders:
    merged: dict[str, tuple[str, Any]] = {}
    for name, value in pairs(session.headers):
        lower = name.lower()
        if request.authorize or lower in _HARMLESS_HEADERS:
            merged[lower] = name, value
    for name, value in request.headers.items():
        lower = name.lower()
        if request.authorize or lower not in _PRIVATE_HEADERS:
            merged[lower] = name, value
    # A body of bytes is never chunked. In requests, None takes a default header away.
    merged.pop("transfer-encoding", None)
    return SentHeaders([pair for pair in merged.values() if pair[1] is not None])


def _unsound(headers: Mapping[str, Any]) -> str | None:
    """The name of a header that cannot be sent; nearly always there is none, and one look at all
    of them tells.
    """
    told = [*pairs(headers)]
    names, values = [name for name, _ in told], [value for _, value in told]
    if (
        _TEXT.issuperset(map(type, values))
        and _TOKEN.fullmatch("".join(names))
        and "" not in names
        and not _BAD_IN_VALUE.search("".join(values))
        and _BLANKS.isdisjoint([text[:1] for text in values])
    ):
        return None
    return next((name for name, value in told if not _is_sound(name, value)), None)


def _is_sound(name: str, value: Any) -> bool:
    text = isinstance(value, bytes) or (isinstance(value, str) and _VALUE.fullmatch(value))
    return bool(text and _TOKEN.fullmatch(name))
