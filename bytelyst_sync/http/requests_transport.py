"""The default transport: ``requests``, with one session per thread and one attempt per send.

Requests go through ``Session.send`` and urllib3 unchanged, so tools that hook these see the traffic
and can change it. Nothing is sent twice and no redirect is followed: the callers know whether a
request may be repeated. They also interpret the answers: a response of any status is returned.
Messages name the server, but never a payload, a token or a query.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import requests
import urllib3

from bytelyst_sync.http.body import read_body
from bytelyst_sync.http.prepare import Auth, guarded, prepare
from bytelyst_sync.http.sessions import Client, Environment, SessionTransport
from bytelyst_sync.http.transport import REQUEST_DEADLINE_S, Request, Response
from bytelyst_sync.http.urls import sendable

__all__ = ["Auth", "HttpTransport"]

_READS = frozenset({"GET", "HEAD"})


class HttpTransport(SessionTransport):
    """Sends requests through ``requests``; any thread may call any method.

    ``auth`` is anything that requests accepts: a user and password, or a callable that takes the
    prepared request. For a request without an ``Authorization`` header of its own, the session's
    ``auth`` and the user's netrc are used as in requests. A request with ``authorize=False`` is
    sent without any of these, without cookies, and without the session's headers and parameters.

    ``session_factory`` returns a ``requests.Session``; it is called in each thread that sends,
    and its sessions are closed by ``close()`` and when their thread ends. They keep their
    headers, parameters, cookies, hooks, proxies, certificates and adapters. Do not use an adapter
    with retries: it would repeat writes that may have been processed, and a failed connection would
    be reported as an unknown outcome. The package's own session never retries. A hook that raises
    for a status has no effect: the response is returned.

    ``request_deadline`` is the longest time in seconds from the call of ``send`` to the last byte,
    ``auth`` included; then the socket is closed, or nothing is sent. It applies to direct
    connections and http proxies. If an adapter has its own kind of connections, only each receive
    and the body are bounded.

    The environment's proxies and certificates, and netrc, are read once per thread and origin,
    and again after a failure or a 401.
    """

    def __init__(
        self,
        *,
        auth: Auth | None = None,
        session_factory: Callable[[], requests.Session] | None = None,
        request_deadline: float = REQUEST_DEADLINE_S,
    ) -> None:
        super().__init__(session_factory, request_deadline)
        self._auth = auth

    def _exchange(self, client: Client, request: Request) -> Response:
        session = client.session
        url = sendable(request.url, session.params if request.authorize else None)
        environment = client.environment(url)
        hooks = _Hooks(session)
        try:
            transmit = self._transmission(request, url, session, environment, hooks)
            response = hooks.response = _answer(transmit)
            body = read_body(response, url, request.timeout[1], first_bytes=request.first_bytes)
        finally:
            hooks.close()
        headers = dict(response.headers.lower_items())
        if hooks.location is not None:
            headers.setdefault("location", hooks.location)
        return Response(
            status=response.status_code,
            headers=headers,
            body=body,
            url=response.url or url,
            verified=environment.verified,
        )

    def _sends_once(self, client: Client, request: Request) -> bool:
        if request.method.upper() in _READS:
            return True
        try:
            retries = getattr(client.session.get_adapter(request.url), "max_retries", None)
        except requests.exceptions.InvalidSchema:
            return True
        if not isinstance(retries, urllib3.Retry) or retries.total is False or retries.total == 0:
            return True
        budgets = (retries.read, retries.other, retries.status if retries.status_forcelist else 0)
        return not any(budget is None or budget > 0 for budget in budgets if budget is not False)

    def _transmission(
        self,
        request: Request,
        url: str,
        session: requests.Session,
        environment: Environment,
        hooks: _Hooks,
    ) -> Callable[[], requests.Response]:
        """Prepares the request; returns a function that sends it."""
        kind = type(session)
        own_way = kind is not requests.Session and (
            kind.request is not requests.Session.request
            or kind.prepare_request is not requests.Session.prepare_request
        )
        if own_way and request.authorize:
            return partial(
                session.request,
                request.method,
                request.url,
                headers=dict(request.headers),
                data=request.body,
                auth=guarded(self._auth),
                timeout=request.timeout,
                allow_redirects=False,
                stream=True,
                hooks={"response": hooks.all()},
            )
        prepared = prepare(request, url, session, self._auth, environment.netrc)
        prepared.hooks["response"] += hooks.all()
        return partial(
            session.send,
            prepared,
            timeout=request.timeout,
            allow_redirects=False,
            **environment.send_options,
        )


def _answer(transmit: Callable[[], requests.Response]) -> requests.Response:
    """Sends; if a hook raised an error with a response, returns that response."""
    try:
        return transmit()
    except requests.HTTPError as error:
        if error.response is None:
            raise
        return error.response


class _Hooks:
    """The hooks of one request. Used by the sending thread."""

    def __init__(self, session: requests.Session) -> None:
        self.location: str | None = None
        self.response: requests.Response | None = None
        self._users = session.hooks.get("response", ())

    def all(self) -> list[Callable[..., Any]]:
        """The hooks of the session, between those of the transport."""
        noted = [self._note] if self._users else []
        return [*noted, *self._users, self._take_location]

    def close(self) -> None:
        """Closes the response, also where a hook raised."""
        if self.response is not None:
            self.response.close()
            self.response = None  # it refers to the hooks: no cycle for the garbage collector

    def _note(self, response: requests.Response, **_: Any) -> None:
        self.response = response

    def _take_location(self, response: requests.Response, **_: Any) -> None:
        # requests examines redirects even if it does not follow them: it would read the body
        # without a bound, and fail for a target that is no URL
        if response.is_redirect:
            self.location = response.headers.pop("location")
