"""Redirects: which are followed, where they point, and when one gives a captive portal away.

``requests`` turns a redirected POST, and on 302 and 303 any write, into a GET that answers 200
with nothing stored; and it follows to other servers. Here a request stays what it is, and stays
where it was sent to (SPEC section 4).
"""

from __future__ import annotations

import contextlib
from urllib.parse import urljoin, urlsplit

import attrs

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.transport.base import Request, Response, Transport

__all__ = ["follow", "is_portal", "origin", "presentable", "redirect_target"]

_READS = frozenset({"GET", "HEAD"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def follow(transport: Transport, request: Request, *, limit: int = 5) -> Response:
    """Sends, and follows up to ``limit`` redirects that stay on the request's origin.

    A write follows 307 and 308 alone, with its method and body; a read also 301, 302 and 303.
    Any other redirect is returned as it came. Raises what ``send`` raises.
    """
    followed = _REDIRECTS if request.method.upper() in _READS else _SAME_METHOD
    response = transport.send(request)
    for _ in range(limit):
        if response.status not in followed:
            break
        target = _target(response, request.url)
        if target is None or origin(target) != origin(request.url):
            break
        request = attrs.evolve(request, url=target)
        response = transport.send(request)
    return response


def redirect_target(response: Response, asked_url: str = "") -> str | None:
    """Where a redirect points, as an absolute URL fit for messages.

    It has neither query nor fragment nor credentials. ``None`` if the response is no redirect or
    names no place. ``asked_url`` is what a relative place is resolved against if the response
    does not tell its own URL.
    """
    target = _target(response, asked_url)
    return None if target is None else presentable(target)


def is_portal(response: Response, asked_url: str) -> bool:
    """Tells whether this answer came from a captive portal and not from the server asked.

    That is status 511 (RFC 6585), and over plain http a redirect to another host.
    """
    if response.status == 511:
        return True
    if urlsplit(asked_url).scheme.lower() != "http":
        return False
    target = _target(response, asked_url)
    return target is not None and origin(target)[1] != origin(asked_url)[1]


def origin(url: str) -> tuple[str, str, int]:
    """The scheme, host and port of a URL, in the form in which origins are compared.

    Raises ``ConfigError`` for anything but an absolute http or https URL.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        port = parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not host:
        shown = presentable(url)
        raise ConfigError(
            f"{shown!r} is no URL to send to: an absolute http or https URL is needed",
            field="url",
            value=shown,
        )
    return scheme, host, _DEFAULT_PORTS[scheme] if port is None else port


def presentable(url: str) -> str:
    """As much of a URL as a message may show: no query, no fragment, no credentials."""
    bare = url.partition("?")[0].partition("#")[0]
    scheme, slashes, rest = bare.partition("://")
    authority, slash, path = (rest if slashes else scheme).partition("/")
    shown = f"{authority.rpartition('@')[2]}{slash}{path}"
    return f"{scheme}://{shown}" if slashes else shown


def _target(response: Response, asked_url: str) -> str | None:
    """The absolute URL that an http redirect points to, ``None`` if there is none."""
    location = response.headers.get("location", "").strip()
    if response.status not in _REDIRECTS or not location:
        return None
    with contextlib.suppress(UnicodeError):
        # http.client reads headers as latin-1; servers write them in UTF-8.
        location = location.encode("latin-1").decode("utf-8")
    try:
        target = urljoin(response.url or asked_url, location).partition("#")[0]
        origin(target)
    except ValueError:
        return None
    return target
