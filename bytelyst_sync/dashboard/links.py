"""Access to the pages that a command serves on loopback: a link for one use, then a cookie.

Any program of this machine can connect to the port, and any web page can send requests to it. So
the address has a random part, the link's token is valid once and for ten minutes, and the cookie
that replaces it is sent to that part only.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from bytelyst_sync.clock import Clock
from bytelyst_sync.dashboard.access import LOOPBACK, Actor, RefusedError, check_host
from bytelyst_sync.dashboard.http import from_environ

__all__ = ["LinkAccess"]

_GOOD_FOR_S = 600.0
_COOKIE = "bytelyst_ops_session"
_NO_STORE = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
]
App = Callable[[Mapping[str, Any], Callable[..., object]], Iterable[bytes]]


class LinkAccess:
    """Admits whoever has the link. ``_lock`` guards ``_token``."""

    def __init__(self, actor: Actor, clock: Clock, hosts: Collection[str] = LOOPBACK) -> None:
        self._actor = actor
        self._clock = clock
        self._hosts = hosts
        self._lock = threading.Lock()
        self._token: str | None = secrets.token_urlsafe(32)
        self._until = clock.monotonic() + _GOOD_FOR_S
        self._session = secrets.token_urlsafe(32)
        self.prefix = f"/{secrets.token_urlsafe(12)}/ops"
        """The address of the pages."""

    @property
    def link(self) -> str:
        """The path of the link, which is valid once."""
        return f"{self.prefix}/open?token={self._token}"

    def authorize(self, environ: Mapping[str, Any]) -> Actor | None:
        """The actor, if the request carries the cookie."""
        given = from_environ({**environ, "REQUEST_METHOD": "GET"}).cookies.get(_COOKIE, "")
        return self._actor if hmac.compare_digest(given.encode(), self._session.encode()) else None

    def serve(self, app: App) -> App:
        """The application behind the link."""

        def serving(
            environ: Mapping[str, Any], start_response: Callable[..., object]
        ) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path != self.prefix and not path.startswith(self.prefix + "/"):
                start_response("404 Not Found", _NO_STORE)
                return [b"Open the link that the command printed.\n"]
            inner = {
                **environ,
                "SCRIPT_NAME": self.prefix,
                "PATH_INFO": path.removeprefix(self.prefix) or "/",
            }
            if inner["PATH_INFO"] == "/open":
                return self._open(inner, start_response)
            return app(inner, start_response)

        return serving

    def _open(
        self, environ: Mapping[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        refusal = self._refusal(environ)
        if refusal is not None:
            start_response("403 Forbidden", _NO_STORE)
            return [f"Refused: {refusal}. Start the command again for a new link.\n".encode()]
        path = self.prefix.removesuffix("ops")
        cookie = f"{_COOKIE}={self._session}; Path={path}; HttpOnly; SameSite=Strict"
        headers = [*_NO_STORE, ("Set-Cookie", cookie), ("Location", f"{self.prefix}/")]
        start_response("303 See Other", headers)
        return [b""]

    def _refusal(self, environ: Mapping[str, Any]) -> str | None:
        try:
            request = from_environ(environ)
            check_host(request, self._hosts)
        except (RefusedError, ValueError) as error:
            return str(error)
        if request.method == "GET" and self._take(request.query.get("token")):
            return None
        return "the link was used before, or is older than ten minutes"

    def _take(self, given: str) -> bool:
        with self._lock:
            good = (
                self._token is not None
                and self._clock.monotonic() < self._until
                and hmac.compare_digest(given.encode(), self._token.encode())
            )
            if good:
                self._token = None
            return good
