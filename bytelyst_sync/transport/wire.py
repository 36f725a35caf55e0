"""The adapter of the transport's own sessions: requests' own steps, with less to do in each.

``requests`` and urllib3 work out for every request what is the same for all that go to one origin,
and make ready for retries, redirects and streams that are never asked for here.
``HTTPAdapter.send`` is left as it is, so that what takes its place (such as ``responses``) takes
the place of this.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from types import NoneType
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import extract_cookies_to_jar
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from bytelyst_sync.transport.line import Line, TLSLine, WholeAnswer
from bytelyst_sync.transport.redirects import presentable

if TYPE_CHECKING:
    import urllib3
    from requests import PreparedRequest

__all__ = ["WireAdapter"]

logger = logging.getLogger("bytelyst_sync.wire")


class _Pool(HTTPConnectionPool):
    """The connections to one origin, or through one proxy to it."""

    ConnectionCls = Line

    def urlopen(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        *,
        timeout: urllib3.Timeout,
        **_: Any,
    ) -> urllib3.HTTPResponse:
        """Sends once. The answer's body is still to be read, but where the answer came whole and
        nobody else sees it.
        """
        if not isinstance(body, (bytes, NoneType)):
            body, headers = _whole(body, headers)
        line: Any = self._get_conn()
        try:
            line.timeout = timeout.connect_timeout
            if self.proxy is not None:
                headers = self._through_proxy(line, headers)
            self._validate_conn(line)
            # a server may answer, and hang up, before it has read everything
            with suppress(BrokenPipeError, ConnectionResetError):
                line.ask(method, url, headers, body)
            line.sock.settimeout(timeout.read_timeout)
            unwatched = getattr(headers, "unwatched", False)
            answer: urllib3.HTTPResponse = line.answer(method, url, self, unwatched=unwatched)
        except BaseException:
            line.close()
            self._put_conn(None)
            raise
        if isinstance(answer, WholeAnswer):
            self._put_conn(line)
        if logger.isEnabledFor(logging.DEBUG):
            path = presentable(url)
            logger.debug(
                '%s:%s "%s %s HTTP/1.1" %s', self.host, self.port, method, path, answer.status
            )
        return answer

    def _through_proxy(self, line: Any, headers: Any) -> Any:
        if self.scheme == "https":
            if line.sock is None:
                self._prepare_proxy(line)
            return headers
        return CaseInsensitiveDict({**headers, **self.proxy_headers})


class _TLSPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = TLSLine


_POOLS = {"http": _Pool, "https": _TLSPool}


class WireAdapter(HTTPAdapter):
    """Sends once, on connections whose transfers end in time."""

    def __init__(self) -> None:
        self._pools: dict[tuple[object, ...], Any] = {}
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Makes the pools of direct connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Gives the pools of connections through ``proxy``; those of SOCKS have their own kind."""
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Any = None,
        cert: Any = None,
    ) -> Any:
        """Gives the pool for a request; a known one without working out its key again."""
        if proxies or cert or request.url is None:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        key = _key(request.url, verify)
        pool: Any = self._pools.get(key)
        if pool is None or pool.pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            super().cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
            self._pools[key] = pool
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Tells a pool what TLS is to make sure of; a known one was told."""
        if cert or self._pools.get(_key(url, verify)) is not conn:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """What is asked for: a path with its query, or all of the URL where a proxy is asked."""
        if proxies or request.url is None:
            return super().request_url(request, proxies)
        return "/" + request.url.partition("#")[0].split("/", 3)[3]

    def build_response(self, req: PreparedRequest, resp: Any) -> requests.Response:
        """Makes of an answer what requests makes of it."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers.itermerged())
        response.encoding = get_encoding_from_headers(response.headers)
        response.raw, response.reason = resp, resp.reason
        response.url = req.url or ""
        if "set-cookie" in response.headers:
            extract_cookies_to_jar(response.cookies, req, resp)  # type: ignore[no-untyped-call]
        response.request = req
        response.connection = self
        if isinstance(resp, WholeAnswer):
            response._content = resp.content  # noqa: SLF001
            response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
        return response

    def close(self) -> None:
        """Closes all connections; the adapter remains usable."""
        self._pools.clear()
        super().close()


def _key(url: str, verify: object) -> tuple[object, ...]:
    return (*url.split("/", 3)[:3], verify)


def _whole(body: Any, headers: Any) -> tuple[bytes, Any]:
    """A body of a user's own making: text, a file or an iterator of bytes."""
    if isinstance(body, str):
        data = body.encode("utf-8")
    else:
        data = body.read() if hasattr(body, "read") else b"".join(body)
    headers = CaseInsensitiveDict(headers)
    headers.pop("Transfer-Encoding", None)
    headers["Content-Length"] = str(len(data))
    return data, headers
