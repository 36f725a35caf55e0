"""The adapter of the transport's own sessions: no read and no write without an end.

A socket's timeout starts anew with every byte, so that a server which drips its headers or its
body holds a client for hours; and urllib3 gives a request's body no more time than the connect
timeout, so that a large one never gets through a slow line. Here both take what ``Pace`` grants.
A small request goes out in one piece, where urllib3 sends its headers first.
"""

from __future__ import annotations

import http.client
import io
import socket
from typing import TYPE_CHECKING, Any, cast

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from bytelyst_sync.transport.base import MAX_BODY_BYTES
from bytelyst_sync.transport.body import SLOWEST_BYTES_PER_S, Pace
from bytelyst_sync.transport.redirects import presentable

if TYPE_CHECKING:
    from requests import PreparedRequest
    from typing_extensions import Buffer

__all__ = ["WireAdapter"]

_HELD_BYTES = 64 * 1024
_MOST_HEAD_BYTES = 1024 * 1024
_MOST_BYTES = MAX_BODY_BYTES + _MOST_HEAD_BYTES
"""What may come over the wire for one answer, whatever it is wrapped in."""


class _PacedReader(io.RawIOBase):
    """Reads a socket; from the first byte on against a ``Pace``."""

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._sock = sock
        self._timeout_s = timeout_s
        self._raw = sock.makefile("rb", buffering=0)
        self._pace: Pace | None = None
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        if self._pace is not None:
            left_s = self._pace.left_s()
            if left_s <= 0:
                raise TimeoutError("the answer came too slowly")
            self._sock.settimeout(min(self._timeout_s, left_s))
        count = self._raw.readinto(buffer)
        if self._pace is None:
            self._pace = Pace(self._timeout_s)
        self._pace.moved(count or 0)
        self._count += count or 0
        if self._count > _MOST_BYTES:
            raise TimeoutError(f"the answer has no end within {_MOST_BYTES // 1024**2} MiB")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedSocket:
    """What ``http.client.HTTPResponse`` needs of a socket: a file to read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedIOBase:
        timeout_s = self._sock.gettimeout()
        if mode != "rb" or timeout_s is None:
            return self._sock.makefile("rb")
        return io.BufferedReader(_PacedReader(self._sock, timeout_s))


class _WholeHead:
    """The file that an answer's head is read from. ``http.client`` takes the end of the stream
    for the end of the headers, and so an answer that was cut off there for a whole one.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self._count = 0

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self.file.readline(limit)
        if not line and self._count:
            raise http.client.IncompleteRead(b"")
        self._count += len(line)
        if self._count > _MOST_HEAD_BYTES:
            raise TimeoutError("the answer's head has no end")
        return line

    def close(self) -> None:
        self.file.close()


class _PacedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(cast("socket.socket", _PacedSocket(sock)), *args, **options)

    def begin(self) -> None:
        """Reads the status line and the headers, to their end."""
        head = _WholeHead(self.fp)
        self.fp = cast("io.BufferedReader", head)
        try:
            super().begin()
        finally:
            if cast("object", self.fp) is head:
                self.fp = head.file
        # urllib3 would log what is wrong with the headers, and quote them and the whole URL
        self.msg.defects.clear()
        self.msg.set_payload("")


class _LoggedURL(str):
    """What a log may show of a URL, in place of the ``whole`` one: urllib3 logs each."""

    __slots__ = ("whole",)

    whole: str

    @classmethod
    def of(cls, url: str) -> _LoggedURL:
        """This URL, shown without its query."""
        shown = cls(presentable(url))
        shown.whole = url
        return shown


class _PacedConnection(HTTPConnection):
    response_class = _PacedResponse
    _held: bytearray | None = None

    def request(self, method: str, url: str, *args: Any, **options: Any) -> None:
        """Sends a request; one that is small, in one piece and not headers first."""
        self._held = bytearray()
        try:
            super().request(method, getattr(url, "whole", url), *args, **options)
            self._release()
        finally:
            self._held = None

    def send(self, data: Any) -> None:
        held = self._held
        if held is not None and isinstance(data, bytes) and len(held) + len(data) < _HELD_BYTES:
            held += data
            return
        self._release()
        self._write(data)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held:
            self._write(bytes(held))

    def _write(self, data: Any) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        if self.sock is not None and self.timeout is not None and isinstance(data, bytes):
            self.sock.settimeout(self.timeout + len(data) / SLOWEST_BYTES_PER_S)
        super().send(data)


class _PacedHTTPSConnection(_PacedConnection, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _PacedConnection

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **options: Any) -> Any:
        return super()._make_request(conn, method, _LoggedURL.of(url), *args, **options)


class _HTTPSPool(_HTTPPool, HTTPSConnectionPool):
    ConnectionCls = _PacedHTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class WireAdapter(HTTPAdapter):
    """Sends once, without urllib3's own retries, on connections whose transfers end in time."""

    def __init__(self) -> None:
        self._pools: dict[tuple[object, ...], Any] = {}
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Makes the pools of direct connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

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
        key = (*request.url.split("/", 3)[:3], verify)
        pool: Any = self._pools.get(key)
        if pool is None or pool.pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._pools[key] = pool
        return pool

    def close(self) -> None:
        """Closes all connections; the adapter remains usable."""
        self._pools.clear()
        super().close()

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Gives the pools of connections through ``proxy``; those of SOCKS have their own kind."""
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager
