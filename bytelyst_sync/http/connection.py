"""urllib3's connections and pools, with bounds on time and size.

The timeout of a socket starts again with every byte, so a server that sends its headers or its body
byte by byte could hold a client for hours. And urllib3 allows a request's body no more time than
the connect timeout, so a large body never gets through a slow connection. Here both have a
``TransferDeadline``.

urllib3 and ``http.client`` do everything else. If another library has replaced urllib3's connection
classes, as vcrpy does, its classes are used. A connection is used by one thread at a time.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError
from urllib3.util import SKIP_HEADER

from bytelyst_sync.http.deadlines import SLOWEST_BYTES_PER_S, TransferDeadline, request_left_s
from bytelyst_sync.http.transport import MAX_BODY_BYTES
from bytelyst_sync.http.urls import redacted

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["POOLS", "Connection", "TLSConnection"]

_ONE_PIECE_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 1024 * 1024
_MAX_BYTES = MAX_BODY_BYTES + _MAX_HEAD_BYTES
"""The most bytes that are received for one answer, whatever its encoding."""


class _BoundedReader(io.RawIOBase):
    """Reads an answer from a socket, bounded in time and size.

    ``http.client`` uses it as the socket, from which it only needs ``makefile``.
    """

    def __init__(self, sock: socket.socket) -> None:
        timeout_s = sock.gettimeout()
        self._sock = sock
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._raw = cast("io.RawIOBase", sock.makefile("rb", 0))
        self._count = 0
        self._deadline = TransferDeadline(self._timeout_s)
        self.in_head = True

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        left_s = self._deadline.left_s()
        if left_s <= 0:
            raise TimeoutError("the answer came too slowly")
        limit_s = min(self._timeout_s, left_s)
        self._sock.settimeout(None if limit_s == math.inf else limit_s)
        count = self._raw.readinto(buffer) or 0
        # http.client takes the end of the stream for the end of the headers
        if not count and self.in_head and self._count:
            raise http.client.IncompleteRead(b"")
        self._deadline.extend(count)
        self._count += count
        if self._count > (_MAX_HEAD_BYTES if self.in_head else _MAX_BYTES):
            raise TimeoutError("the answer has no end")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that is read within the bounds."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        self._reader = _BoundedReader(sock)
        super().__init__(cast("socket.socket", self._reader), *args, **options)

    def begin(self) -> None:
        super().begin()
        self._reader.in_head = False
        if self.length == 0 and self.chunked:
            # a response with this status has no body, whatever the headers announce; if the server
            # sends one, it must not be read as the next answer
            self.chunked = False
            del self.headers["Transfer-Encoding"]
            self.will_close = True
        # urllib3 would log what it could not parse, and that may quote a secret
        self.headers.defects.clear()
        self.headers.set_payload("")

    def _read_status(self) -> tuple[str, int, str]:
        """Skips interim answers (RFC 9110 §15.2); ``http.client`` skips only 100. 101 is not
        skipped, because it ends HTTP on this connection.
        """
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 102 <= status < 200:
                return version, status, reason
            while self.fp.readline(_MAX_HEAD_BYTES) not in (b"\r\n", b"\n", b""):
                pass


class _Bounded(HTTPConnection):
    """The common part of connections with and without TLS."""

    response_class = _Response
    _unsent: list[bytes] | None = None

    def connect(self) -> None:
        left_s = request_left_s()
        if left_s > 0:
            self.timeout = left_s if self.timeout is None else min(self.timeout, left_s)
            super().connect()
            left_s = request_left_s()
        if left_s <= 0:
            self.close()
            raise ConnectTimeoutError(self, "connecting took the request's whole time")

    def putrequest(self, method: str, url: str, *args: Any, **options: Any) -> None:
        super().putrequest(method, getattr(url, "sent", url), *args, **options)

    def putheader(self, header: Any, *values: Any) -> None:
        if SKIP_HEADER in values:
            super().putheader(header, *values)
        else:  # urllib3 searches each value for that word alone
            http.client.HTTPConnection.putheader(self, header, *values)

    def request(self, *args: Any, **options: Any) -> None:
        """Sends a request; head and body at once if they are small."""
        self._check_time()
        self._unsent = []
        try:
            super().request(*args, **options)
            self._flush()
        finally:
            self._unsent = None

    def send_request(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, Any]
    ) -> None:
        """Sends a request as ``request`` does, but without urllib3's checks: it was checked before.

        ``http.client.HTTPConnection.getresponse`` reads its answer.
        """
        self._check_time()
        self._unsent = []
        try:
            http.client.HTTPConnection.request(self, method, target, body, headers)
            self._flush()
        finally:
            self._unsent = None

    def _check_time(self) -> None:
        """Raises if the request's time is over, also on an open connection."""
        if request_left_s() <= 0:
            self.close()
            raise ConnectTimeoutError(self, "the request's whole time passed before it was sent")

    def send(self, data: Any) -> None:
        if self._unsent is None or not isinstance(data, bytes):
            self._flush()
            self._send(data)
        else:
            self._unsent.append(data)
            if sum(map(len, self._unsent)) > _ONE_PIECE_BYTES:
                self._flush()

    def _flush(self) -> None:
        pieces, self._unsent = self._unsent, None
        if pieces:
            self._send(b"".join(pieces))
            self._unsent = []

    def _send(self, data: Any) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        if self.sock is not None and self.timeout is not None:
            granted_s = self.timeout + len(data) / SLOWEST_BYTES_PER_S
            self.sock.settimeout(max(0.001, min(granted_s, request_left_s())))
        super().send(data)


class Connection(_Bounded):
    """A connection without TLS."""


class TLSConnection(_Bounded, HTTPSConnection):
    """A connection with TLS."""


class _LoggedTarget(str):
    """The target of a request without its query, as urllib3 logs it; ``sent`` is all of it."""

    __slots__ = ("sent",)
    sent: str


class _BoundedPool(HTTPConnectionPool):
    _plain_pool: type[HTTPConnectionPool] = HTTPConnectionPool
    _classes: Mapping[object, Any] = {HTTPConnection: Connection}

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # noqa: N802 - named by urllib3
        """The class of new connections: the bounded one, or the one that another library set."""
        plain = self._plain_pool.ConnectionCls
        return self._classes.get(plain, plain)

    def _make_request(  # type: ignore[override]  # urlopen passes the rest by name
        self, conn: Any, method: str, url: str, **options: Any
    ) -> Any:
        target = url
        if isinstance(conn, _Bounded) and "?" in url:
            target = _LoggedTarget(redacted(url))
            target.sent = url
        return super()._make_request(conn, method, target, **options)


class _BoundedTLSPool(_BoundedPool, HTTPSConnectionPool):  # type: ignore[override]  # as above
    _plain_pool = HTTPSConnectionPool
    _classes: Mapping[object, Any] = {HTTPSConnection: TLSConnection}


POOLS = {"http": _BoundedPool, "https": _BoundedTLSPool}
"""The pools by scheme, for ``PoolManager.pool_classes_by_scheme``."""
