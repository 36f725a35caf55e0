"""``FaultProxy``: a proxy for a real server that breaks connections and answers as a test says.

Who owns what: the thread of each connection forwards its requests, each over a new connection to
the server that is closed after the answer. So a request fails only by the script.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3 import HTTPHeaderDict

from bytelyst_sync.testing.faults import Fault, Reply, Stall
from bytelyst_sync.testing.http_messages import Answer, RecordedRequest
from bytelyst_sync.testing.loopback import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FaultProxy"]

HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "content-length", "expect"),
    }
)
"""Headers about one connection, or that are set again for the next one."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts whose servers get the proxy's name, so that their links lead back to the proxy."""


class FaultProxy(LoopbackServer):
    """A proxy on loopback for the real server at ``target``; a context manager. Use ``proxy.url``
    as the ``base_url`` of your program: it contains the path of ``target``.
    Requests and answers pass unchanged until a fault is scripted: ``Drop`` resets the connection
    before the server gets the request, ``DropAnswer`` and ``Truncate`` lose its answer, ``Stall``
    delays the request, and ``Reply`` answers instead of the server. If the server cannot be
    reached, or does not answer within ``timeout`` seconds, the answer is 502.

    A server on this machine gets the ``Host`` of the proxy, so that its links lead back to the
    proxy; any other server gets its own name. In headers of answers (``Location``, ``Link``), the
    server's origin is replaced by the proxy's. Bodies are not changed; if they contain links with
    another host, ``Dialect(rebase_links=True)`` follows them through the proxy.

    ``ca_certs`` is a file of certificates to trust instead of those of ``certifi``.
    Raises ``ValueError`` for a ``target`` that is no http or https URL.
    """

    def __init__(
        self,
        target: str,
        *,
        port: int = 0,
        timeout: float = 30.0,
        ca_certs: str | None = None,
    ) -> None:
        parts = urlsplit(target)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            raise ValueError(f"target={target!r}: must be a URL with http:// or https://")
        super().__init__()
        self.port = port
        self.target = target.rstrip("/")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path.rstrip("/")
        self._names_proxy = parts.hostname in _LOOPBACK
        self._timeout = timeout
        self._tls = ssl.create_default_context(cafile=ca_certs or certifi.where())

    @property
    def url(self) -> str:
        """The proxy's address with the path of the target, without a slash at the end."""
        return self._own_origin + self._path

    @property
    def _own_origin(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _answer(
        self, request: RecordedRequest, fault: Fault | None, wait: Callable[[float], None]
    ) -> Answer:
        if isinstance(fault, Reply):
            return Answer.of(fault.status, fault.body, fault.headers)
        if isinstance(fault, Stall):
            wait(fault.seconds)
        return self._forwarded(request)

    def _forwarded(self, request: RecordedRequest) -> Answer:
        """The server's answer to this request, or a 502."""
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        if not self._names_proxy:
            headers.pop("host", None)
        try:
            with urllib3.PoolManager(ssl_context=self._tls, timeout=self._timeout) as connections:
                response = connections.urlopen(
                    request.method,
                    self._origin + request.target,
                    body=request.content or None,
                    headers={**headers, "connection": "close"},
                    retries=False,
                    redirect=False,
                    decode_content=False,
                )
        except urllib3.exceptions.HTTPError as error:
            reason = f"{type(error).__name__}: {error}"
            message = f"FaultProxy: no answer from {self._origin} ({reason})"
            return Answer.of(502, {"error": message})
        return Answer(response.status, self._passed_on(response.headers), response.data)

    def _passed_on(self, headers: HTTPHeaderDict) -> HTTPHeaderDict:
        passed = HTTPHeaderDict()
        for name, value in headers.iteritems():
            if name.lower() not in HOP_BY_HOP:
                passed.add(name, value.replace(self._origin, self._own_origin))
        return passed
