"""The adapter of the transport's sessions: the one of ``requests``, on bounded connections.

``HTTPAdapter.send`` is not overridden, so whatever replaces it (such as ``responses``) works here
too. What ``requests`` computes for every request is cached for each origin.
"""

from __future__ import annotations

from typing import Any

import requests
import urllib3
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from bytelyst_sync.http.connection import POOLS

__all__ = ["BoundedAdapter", "bound_adapters"]


class BoundedAdapter(HTTPAdapter):
    """Sends one request, on connections whose transfers are bounded in time. Used by one thread."""

    def __init__(self) -> None:
        self._pools: dict[tuple[object, ...], Any] = {}
        self._verified: object = None
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Creates the pools of direct connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Returns the pools of connections through ``proxy``; SOCKS has pools of its own."""
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = POOLS
        return manager

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Returns the pool for a request, without computing the key of a known pool again."""
        self._verified = None
        if proxies or cert or request.url is None:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        key = (*request.url.split("/", 3)[:3], verify)
        pool: Any = self._pools.get(key)
        if pool is None or pool.pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            super().cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
            self._pools[key] = pool
        self._verified = pool
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Sets what TLS must verify in a pool that is new."""
        if conn is not self._verified:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """The request target: path and query, or the whole URL for a proxy."""
        if proxies or request.url is None:
            return super().request_url(request, proxies)
        return "/" + request.url.partition("#")[0].split("/", 3)[3]

    def build_response(self, req: PreparedRequest, resp: Any) -> requests.Response:
        """The response as ``requests`` builds it; cookies are read only if it has some."""
        if "set-cookie" in resp.headers:
            return super().build_response(req, resp)
        response = requests.Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.encoding = get_encoding_from_headers(response.headers)
        response.raw, response.reason = resp, resp.reason
        response.url = req.url or ""
        response.request = req
        response.connection = self
        return response

    def close(self) -> None:
        """Closes all connections; the adapter remains usable."""
        self._pools.clear()
        self._verified = None
        super().close()


def bound_adapters(session: requests.Session) -> None:
    """Bounds the transfers of a session.

    Replaces the adapters that ``requests`` mounts itself. The user's adapters stay; their direct
    connections are bounded, unless the adapter creates pools of its own kind.
    """
    ours = BoundedAdapter()
    for prefix, adapter in [*session.adapters.items()]:
        if type(adapter) is HTTPAdapter and not adapter.max_retries.total:
            session.mount(prefix, ours)
            continue
        manager: Any = getattr(adapter, "poolmanager", None)
        usual = urllib3.poolmanager.pool_classes_by_scheme
        if getattr(manager, "pool_classes_by_scheme", None) is usual:
            manager.pool_classes_by_scheme = POOLS
