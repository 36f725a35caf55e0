"""The transport of requests: one session per thread, one try per send, every end told exactly.

It sends nothing twice and follows no redirect: whether a request may be repeated is decided by
those who know what it does. What an answer means is not decided here either: every status is an
answer. Messages name the server, never a payload, a token or a query.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import requests
import urllib3

from bytelyst_sync.transport.base import Request, Response
from bytelyst_sync.transport.body import read_body
from bytelyst_sync.transport.failures import UPSTREAM, failure
from bytelyst_sync.transport.prepare import Auth, SentHeaders, prepare, sendable_url
from bytelyst_sync.transport.sessions import Environment, ThreadSessions

__all__ = ["Auth", "HttpTransport"]

_READS = frozenset({"GET", "HEAD"})


class HttpTransport:
    """Sends requests through ``requests``; any thread may call any method.

    ``auth`` is anything requests takes for it: a user and password, or a callable that is given
    the prepared request. Where the request brings no ``Authorization`` header of its own, the
    session's ``auth`` and the user's netrc serve as they do in requests. A request with
    ``authorize=False`` goes without any of these, without cookies, and without the session's own
    headers and parameters.

    ``session_factory`` returns a ``requests.Session``; it is called in each thread that sends,
    and its sessions are closed by ``close()`` and when their thread ends. They keep their
    headers, parameters, cookies, hooks, proxies, certificates and adapters. An adapter that
    retries is not altered, so leave retries out of it: it would repeat writes that may have been
    processed, and a failure to connect is then reported as an unknown outcome. The package's own
    session never retries, and bounds the time of a whole transfer; other adapters bound that of
    each receive alone. The hook ``raise_for_status`` does no harm: the answer counts.

    The environment's proxies and certificates, and netrc, are read once per thread and origin,
    and again after a failure or a 401.
    """

    def __init__(
        self,
        *,
        auth: Auth | None = None,
        session_factory: Callable[[], requests.Session] | None = None,
    ) -> None:
        self._auth = auth
        self._sessions = ThreadSessions(session_factory)

    def send(self, request: Request) -> Response:
        """Sends once and waits for the whole answer, whatever its status.

        ``request.timeout`` is (connect, read) in seconds; a whole body may take a second more for
        every 8 KiB of it, and 64 MiB is the most that is read.

        Raises ``OfflineError`` if no connection was made, ``TransportError`` if the outcome is
        unknown, ``ConfigError`` for a URL or header that cannot be sent, and lets through what
        ``auth``, the session factory and the session's hooks raise.
        """
        client = self._sessions.get()
        session = client.session
        url, origin = sendable_url(request, session)
        environment = client.environment(origin, url)
        exchange = _Exchange(session)
        transmit = self._transmission(request, url, session, environment, exchange)
        try:
            response = _received(_answer(transmit), request, url, exchange, environment)
        except UPSTREAM as error:
            client.forget(origin)
            if error is exchange.error_of_hook:
                raise
            once = request.method.upper() in _READS or not _resends(session, url)
            raise failure(error, url, sent_once=once) from error
        finally:
            if client.closed:  # after it was handed out: what it opened since then
                session.close()
        if response.status == 401:
            client.forget(origin)
        return response

    def close(self) -> None:
        """Closes the sessions of all threads; what they are sending is still answered.

        The transport remains usable: the next request opens a session again.
        """
        self._sessions.close()

    def after_fork(self) -> None:
        """To be called in a child process: leaves the parent its sessions, unclosed."""
        self._sessions.abandon()

    def _transmission(
        self,
        request: Request,
        url: str,
        session: requests.Session,
        environment: Environment,
        exchange: _Exchange,
    ) -> Callable[[], requests.Response]:
        """Prepares everything; the call of what it returns touches the network."""
        kind = type(session)
        own_way = (
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
                auth=self._auth,
                timeout=request.timeout,
                allow_redirects=False,
                stream=True,
                hooks={"response": exchange.hooks},
            )
        prepared = prepare(request, url, session, self._auth, environment.netrc)
        if isinstance(prepared.headers, SentHeaders):  # else ``auth`` has put others there
            hooked = prepared.hooks["response"] or session.hooks.get("response")
            plain = getattr(session.send, "__func__", None) is requests.Session.send
            prepared.headers.unwatched = plain and not hooked
        prepared.hooks["response"] += exchange.hooks
        return partial(
            session.send,
            prepared,
            timeout=request.timeout,
            allow_redirects=False,
            **environment.send_options,
        )


class _Exchange:
    """The hooks of one request and what they saw; it stays within the sending thread."""

    def __init__(self, session: requests.Session) -> None:
        self.location: str | None = None
        self.error_of_hook: BaseException | None = None
        self.hooks: list[Callable[..., Any]] = [
            *map(self._watched, session.hooks.get("response", ())),
            self._take_location,
        ]

    def _watched(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(response: requests.Response, *args: Any, **options: Any) -> Any:
            try:
                return hook(response, *args, **options)
            except Exception as error:
                if getattr(error, "response", None) is None:
                    self.error_of_hook = error
                    response.close()
                raise

        return call

    def _take_location(self, response: requests.Response, **_: Any) -> None:
        # Even where it does not follow, requests looks ahead: it would read the redirect's body
        # without a bound and fail at a place that is no URL.
        if response.is_redirect:
            self.location = response.headers.pop("location")


def _answer(transmit: Callable[[], requests.Response]) -> requests.Response:
    try:
        return transmit()
    except requests.HTTPError as error:
        if error.response is None:
            raise
        return error.response


def _received(
    response: requests.Response,
    request: Request,
    url: str,
    exchange: _Exchange,
    environment: Environment,
) -> Response:
    try:
        body = read_body(response, url, request.timeout[1])
    finally:
        response.close()
    headers = dict(response.headers.lower_items())
    if exchange.location is not None:
        headers.setdefault("location", exchange.location)
    return Response(
        status=response.status_code,
        headers=headers,
        body=body,
        url=response.url or url,
        verified=environment.verified,
    )


def _resends(session: requests.Session, url: str) -> bool:
    """Tells whether the session's adapter may repeat a request that a server has seen."""
    try:
        retries = getattr(session.get_adapter(url), "max_retries", None)
    except requests.exceptions.InvalidSchema:
        return False
    if not isinstance(retries, urllib3.Retry) or retries.total is False or retries.total == 0:
        return False
    budgets = (retries.read, retries.other, retries.status if retries.status_forcelist else 0)
    return any(budget is None or budget > 0 for budget in budgets if budget is not False)
