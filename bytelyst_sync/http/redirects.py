"""Follows redirects, finds their targets, and recognises captive portals.

``requests`` turns a redirected POST, and on 302 and 303 any write, into a GET, which is answered
with 200 although nothing was stored. It also follows to other servers. Here a request keeps its
method, its body and its origin.
"""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.errors import ConfigError, OfflineError
from bytelyst_sync.http.transport import Request, Response, Transport
from bytelyst_sync.http.urls import join, origin, rebased, redacted, server_name

__all__ = ["follow", "is_from_server", "is_portal", "may_be_portal", "redirect_target"]

_READS = frozenset({"GET", "HEAD"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})


def follow(transport: Transport, request: Request, *, limit: int = 5) -> Response:
    """Sends, and follows up to ``limit`` redirects that stay on the request's origin.

    A write follows only 307 and 308, with its method and body; a read also 301, 302 and 303. Any
    other redirect is returned. Raises what ``send`` raises, and ``OfflineError`` for status 407:
    a proxy requires a password, and the server was not reached.
    """
    followed = _REDIRECTS if request.method.upper() in _READS else _SAME_METHOD
    response = transport.send(request)
    for _ in range(limit):
        target = _target(response, request.url) if response.status in followed else None
        # only path and query differ from the request's own URL
        url = None if target is None else rebased(request.url, target)
        if url is None:
            break
        request = attrs.evolve(request, url=url)
        response = transport.send(request)
    if response.status == 407:
        raise OfflineError(
            f"no connection to {server_name(request.url)}: the proxy asks for a password "
            "(HTTP 407); set it in the proxy's URL"
        )
    return response


def redirect_target(response: Response, asked_url: str = "") -> str | None:
    """The target of a redirect, as an absolute URL for messages.

    It has neither query nor fragment nor credentials. ``None`` if the response is no redirect or
    has no target. ``asked_url`` is the base of a relative target if the response has no URL.
    """
    target = _target(response, asked_url)
    return None if target is None else redacted(target)


def is_portal(response: Response, asked_url: str) -> bool:
    """Whether this answer came from a captive portal and not from the server.

    That is so for status 511 (RFC 6585), and over plain http for a redirect to another host.
    """
    if response.status == 511:
        return True
    scheme, host, _ = origin(asked_url)
    target = _target(response, asked_url) if scheme == "http" else None
    return target is not None and origin(target)[1] != host


def may_be_portal(url: str) -> bool:
    """Whether a captive portal may answer in place of this server: over plain http, and not on
    this machine.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    local = host in ("localhost", "::1", "[::1]") or host.startswith("127.")
    return parts.scheme.lower() == "http" and not local


def is_from_server(response: Response, asked_url: str) -> bool:
    """Whether the server itself answered: not a captive portal, nor a proxy that requires a
    password.
    """
    return response.status != 407 and not is_portal(response, asked_url)


def _target(response: Response, asked_url: str) -> str | None:
    """The absolute URL of a redirect's target; ``None`` if there is none that can be sent."""
    location = response.headers.get("location", "").strip()
    if response.status not in _REDIRECTS or not location:
        return None
    with contextlib.suppress(UnicodeError):
        # http.client decodes headers as Latin-1; servers encode them in UTF-8
        location = location.encode("latin-1").decode("utf-8")
    with contextlib.suppress(ConfigError):
        return join(response.url or asked_url, location)
    return None
