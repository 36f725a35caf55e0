"""A faster transport: urllib3's pools and connections, without ``requests`` around them.

urllib3 connects (names, proxies, TLS), and ``http.client`` sends and receives on its connections.
There are no sessions, cookies, netrc, hooks or adapters. Tools that hook ``requests`` or urllib3's
``urlopen``, to mock or record requests, do not see these requests.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import partial
from typing import Any

import requests
import urllib3
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from bytelyst_sync.http.body import decoded_chunks, joined
from bytelyst_sync.http.prepare import check_headers, framed_headers, method_of
from bytelyst_sync.http.sessions import Client, SessionTransport
from bytelyst_sync.http.transport import MAX_BODY_BYTES, REQUEST_DEADLINE_S, Request, Response
from bytelyst_sync.http.urls import redacted, sendable
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["Urllib3Transport"]

logger = SafeLogger("bytelyst_sync.http")


class Urllib3Transport(SessionTransport):
    """Sends requests through urllib3's connections; any thread may call any method.

    ``auth`` is a user and password. (A callable that returns a bearer token is a setting of the
    engine, and works with every transport.) ``headers`` are sent with every request. ``verify`` is
    the path of a CA bundle, ``cert`` that of a client certificate or a pair of certificate and key;
    ``proxies`` maps schemes to the URLs of proxies. Without them the environment's proxies and
    certificates are used. ``request_deadline`` is the longest time in seconds from the call of
    ``send`` to the last byte.
    """

    def __init__(
        self,
        *,
        auth: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
        request_deadline: float = REQUEST_DEADLINE_S,
    ) -> None:
        def settings() -> requests.Session:
            session = requests.Session()
            session.headers.update(headers or {})
            session.verify, session.cert = verify, cert
            session.proxies.update(proxies or {})
            return session

        super().__init__(settings, request_deadline)
        self._auth = auth

    def _exchange(self, client: Client, request: Request) -> Response:
        prepared: Any = requests.PreparedRequest()
        prepared.method, prepared.url = method_of(request), sendable(request.url)
        prepared.headers = framed_headers(request, prepared.method, client.session.headers)
        prepared.body = request.body
        if request.authorize:
            self._authorize(prepared)
        check_headers(prepared.headers, prepared.url)
        environment = client.environment(prepared.url)
        options = environment.send_options
        adapter: Any = client.session.get_adapter(prepared.url)
        tls, proxies = {"verify": options["verify"], "cert": options["cert"]}, options["proxies"]
        pool = adapter.get_connection_with_tls_context(prepared, proxies=proxies, **tls)
        adapter.cert_verify(pool, prepared.url, **tls)
        target = adapter.request_url(prepared, proxies)
        answer, body = _on_pool(pool, prepared, target, request.timeout)
        headers: dict[str, str] = {}
        for name, value in answer.headers.items():
            lower = name.lower()
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
        return Response(answer.status, headers, body, prepared.url, environment.verified)

    def _authorize(self, prepared: requests.PreparedRequest) -> None:
        url = prepared.url or ""
        if self._auth is not None:
            HTTPBasicAuth(*self._auth)(prepared)
        elif "@" in url and "Authorization" not in prepared.headers:
            HTTPBasicAuth(*get_auth_from_url(url))(prepared)


def _on_pool(
    pool: Any, prepared: Any, target: str, timeout: tuple[float, float]
) -> tuple[http.client.HTTPResponse, bytes]:
    """Sends on a connection of the pool, and returns it to the pool after a complete answer."""
    connection: Any = pool._get_conn()  # noqa: SLF001 - urllib3 has no public way to lend one
    # those of a SOCKS proxy are urllib3's own
    by_hand = partial(http.client.HTTPConnection.request, connection)
    send = getattr(connection, "send_request", by_hand)
    complete = False
    try:
        connection.timeout, read_timeout = timeout
        if pool.proxy is not None and pool.scheme == "https":
            if connection.sock is None:
                pool._prepare_proxy(connection)  # noqa: SLF001
        elif pool.proxy is not None:
            prepared.headers.update(pool.proxy_headers)
        pool._validate_conn(connection)  # noqa: SLF001
        # a server may answer, and close the connection, before it has read everything
        with suppress(BrokenPipeError, ConnectionResetError):
            send(prepared.method, target, prepared.body, prepared.headers)
        connection.sock.settimeout(read_timeout)
        answer = http.client.HTTPConnection.getresponse(connection)
        body = _body(answer, prepared, read_timeout)
        complete = True
    finally:
        if not complete:
            connection.close()
        pool._put_conn(connection if complete else None)  # noqa: SLF001
    if logger.is_enabled_for(logging.DEBUG):
        shown = (pool.host, pool.port, prepared.method, redacted(target), answer.status)
        logger.debug('%s:%s "%s %s HTTP/1.1" %s', *shown)
    return answer, body


def _body(answer: http.client.HTTPResponse, prepared: Any, timeout_s: float) -> bytes:
    length = answer.length
    if length is not None and length <= MAX_BODY_BYTES and "content-encoding" not in answer.headers:
        with closing(answer):
            return answer.read()
    raw = urllib3.HTTPResponse(
        answer,
        answer.headers.items(),  # type: ignore[arg-type]  # pairs are taken as well
        answer.status,
        preload_content=False,
        decode_content=False,
        original_response=answer,
        request_method=prepared.method,
    )
    with closing(answer):
        return joined(decoded_chunks(raw), raw, prepared.url, timeout_s)
