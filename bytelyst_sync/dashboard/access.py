"""Access control: actors and their rights, allowed hosts, and forms that other sites cannot send.

A page shows data of the store and changes its queue, so every request is checked in this order: the
``Host`` header (a page of another site cannot reach a loopback address by a name of its own), the
actor that ``authorize`` names, and for a POST the site that it comes from and the form's token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.dashboard.http import Request

__all__ = [
    "ALL_RIGHTS",
    "LOOPBACK",
    "Actor",
    "Authorize",
    "FormToken",
    "FormTokens",
    "RefusedError",
    "Right",
    "check_host",
    "check_site",
    "cookie_token",
]

Right = Literal["view", "operate", "payload", "command"]
ALL_RIGHTS: Final[frozenset[Right]] = frozenset(("view", "operate", "payload", "command"))
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""The allowed hosts, if none are given."""
COOKIE = "bytelyst_ops"
FIELD = "form_token"


def _rights(given: Collection[Right]) -> frozenset[Right]:
    unknown = set(given) - ALL_RIGHTS
    if unknown:
        allowed = ", ".join(sorted(ALL_RIGHTS))
        raise ValueError(f"rights are {allowed}; not {', '.join(map(repr, sorted(unknown)))}")
    return frozenset(given)


@attrs.frozen
class Actor:
    """Who sends a request. ``rights``: ``view`` to see the pages, ``operate`` to change the queue,
    ``payload`` to see and edit data of records, ``command`` to send commands to other machines.
    ``name`` is logged with each action.
    """

    name: str
    rights: frozenset[Right] = attrs.field(converter=_rights)

    def may(self, right: Right) -> bool:
        """Whether the actor has this right."""
        return right in self.rights


Authorize = Callable[[Mapping[str, Any]], "Actor | None"]
"""Returns the actor for a WSGI environ; ``None`` for somebody who may not see the pages."""


class RefusedError(Exception):
    """A refused request: HTTP 403, with a reason that the page shows."""


@attrs.frozen
class FormToken:
    """The hidden field of a response's forms; ``valid``: whether this request's form had it."""

    name: str
    value: str
    valid: bool
    cookie: str | None = None
    """The ``Set-Cookie`` header that a response with a form needs."""


FormTokens = Callable[[Request, Actor], FormToken]


def cookie_token(request: Request, actor: Actor) -> FormToken:
    """A token bound to a random cookie and to the actor.

    It is an HMAC with the cookie's value as the key. The server stores nothing, so any
    process can check it.
    """
    session, cookie = request.cookies.get(COOKIE, ""), None
    given = request.form.get(FIELD)
    valid = bool(session) and hmac.compare_digest(_hmac(session, actor), given.encode())
    if not session:
        session = secrets.token_urlsafe(32)
        secure = "; Secure" if request.scheme == "https" else ""
        cookie = f"{COOKIE}={session}; Path={request.url()}; HttpOnly; SameSite=Strict{secure}"
    return FormToken(FIELD, _hmac(session, actor).decode(), valid, cookie)


def _hmac(session: str, actor: Actor) -> bytes:
    text = f"form/{actor.name}".encode()
    return hmac.new(session.encode(), text, hashlib.sha256).hexdigest().encode()


def check_host(request: Request, hosts: Collection[str] | None) -> None:
    """Raises ``RefusedError`` for a ``Host`` header that is not among ``hosts``, whatever its port.

    ``None``: the framework has already checked it.
    """
    if hosts is None:
        return
    host = request.host.lower()
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if host not in hosts and name not in hosts:
        raise RefusedError(
            f"the host {request.host!r} is not one of these pages: add it to hosts=[…] of ops_app"
        )


def check_site(request: Request) -> None:
    """Raises ``RefusedError`` for a POST from a page of another site."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise RefusedError("the form was sent by a page of another site")
        return
    origin = urlsplit(request.headers.get("origin", ""))
    if (origin.scheme, origin.netloc.lower()) != (request.scheme, request.host.lower()):
        raise RefusedError("the request does not say that it comes from these pages (Origin)")
