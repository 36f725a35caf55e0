"""A connection: a request goes out, an answer's head comes in, and no transfer is without an end.

A socket's timeout starts anew with every byte, so that a server which drips its headers or its
body holds a client for hours; and urllib3 gives a request's body no more time than the connect
timeout, so that a large one never gets through a slow line. Here both take what ``Pace`` grants.

urllib3 connects, with names, proxies and TLS. A small request goes out in one piece, where urllib3
and ``http.client`` send its head first. A connection is used by one thread at a time.
"""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from bytelyst_sync.transport.base import MAX_BODY_BYTES
from bytelyst_sync.transport.body import SLOWEST_BYTES_PER_S, Pace
from bytelyst_sync.transport.heads import (
    MOST_HEAD_BYTES,
    PlainHead,
    WholeHead,
    plain_head,
    request_head,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Line", "TLSLine", "WholeAnswer"]

_ONE_PIECE_BYTES = 64 * 1024
_FIRST_BYTES = 16 * 1024
_MOST_BYTES = MAX_BODY_BYTES + MOST_HEAD_BYTES
"""What may come over the wire for one answer, whatever it is wrapped in."""


class _PacedReader(io.RawIOBase):
    """Reads what was ``received``, and then the socket, against a ``Pace`` from there on."""

    def __init__(self, sock: socket.socket, timeout_s: float | None, received: bytes) -> None:
        self._sock = sock
        self._timeout_s = timeout_s
        self._raw = sock.makefile("rb", buffering=0)
        self._received = received
        self._count = len(received)
        self._pace = None if timeout_s is None else Pace(timeout_s)
        if self._pace is not None:
            self._pace.moved(len(received))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        if self._received:
            view = memoryview(buffer)
            taken, self._received = self._received[: len(view)], self._received[len(view) :]
            view[: len(taken)] = taken
            return len(taken)
        return self._receive(buffer)

    def _receive(self, buffer: Buffer) -> int | None:
        if self._pace is None or self._timeout_s is None:
            return self._raw.readinto(buffer)
        left_s = self._pace.left_s()
        if left_s <= 0:
            raise TimeoutError("the answer came too slowly")
        self._sock.settimeout(min(self._timeout_s, left_s))
        count = self._raw.readinto(buffer) or 0
        self._pace.moved(count)
        self._count += count
        if self._count > _MOST_BYTES:
            raise TimeoutError(f"the answer has no end within {_MOST_BYTES // 1024**2} MiB")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedSocket:
    """What ``http.client.HTTPResponse`` needs of a socket: a file to read."""

    def __init__(self, sock: socket.socket, received: bytes) -> None:
        self._sock = sock
        self._received = received

    def makefile(self, _mode: str) -> io.BufferedIOBase:
        timeout_s = self._sock.gettimeout()
        return io.BufferedReader(_PacedReader(self._sock, timeout_s, self._received))


class _Answer(http.client.HTTPResponse):
    """An answer of which some was ``received``, with its ``head`` if that is plain."""

    def __init__(
        self, sock: socket.socket, method: str, received: bytes, head: PlainHead | None
    ) -> None:
        super().__init__(cast("socket.socket", _PacedSocket(sock, received)), method=method)
        self._head = head

    def begin(self) -> None:
        """Reads the status line and the headers, to their end."""
        if self._head is not None:
            self._take(self._head)
            return
        head = WholeHead(self.fp)
        self.fp = cast("io.BufferedReader", head)
        try:
            super().begin()
        finally:
            if cast("object", self.fp) is head:
                self.fp = head.file

    def _read_status(self) -> tuple[str, int, str]:
        """Skips what a server says ahead of its answer (RFC 9110 §15.2); ``http.client`` knows 100
        alone. 101 would be the end of HTTP on this connection, and is nothing to skip.
        """
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 102 <= status < 200:
                return version, status, reason
            while self.fp.readline(MOST_HEAD_BYTES) not in (b"\r\n", b"\n", b""):
                pass

    def _take(self, head: PlainHead) -> None:
        self.fp.read(head.size)
        self.status = self.code = head.status
        self.reason, self.version = head.reason, 11
        self.headers = self.msg = cast("Any", head.headers)
        self.chunked, self.chunk_left = False, None
        self.length = head.length
        self.will_close = head.closes


class WholeAnswer(urllib3.HTTPResponse):
    """An answer that came in one piece: its ``content`` is here, its connection needed no more."""

    def __init__(self, head: PlainHead, content: bytes, asked: str) -> None:
        super().__init__(
            body=io.BytesIO(content),
            headers=head.headers,
            status=head.status,
            version=11,
            reason=head.reason,
            preload_content=False,
            decode_content=False,
            request_method=asked,
        )
        self.content = content
        self.length_remaining = None  # it is not read from here


class Line(HTTPConnection):
    """A connection without TLS. Raises what urllib3, ``http.client`` and sockets do."""

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str | bytes],
        body: bytes | None,
    ) -> None:
        """Sends a request, which is known to be sound; connects where that is still to be done."""
        if self.sock is None:
            self.connect()
        head = request_head(method, target, self._authority, headers)
        if not body:
            self._write(head)
        elif len(body) < _ONE_PIECE_BYTES:
            self._write(head + body)
        else:
            self._write(head)
            self._write(body)

    def answer(
        self, method: str, target: str, pool: Any, *, unwatched: bool
    ) -> urllib3.HTTPResponse:
        """Waits for the head of the answer; the body is still to be read from what is returned,
        and then the connection goes back to its pool. If it is all there, and ``unwatched`` by
        hooks that might look at where it comes from, it is a ``WholeAnswer``, and done.
        """
        # the end of a stream is the number 0 where TLS runs inside of TLS
        received = self.sock.recv(_FIRST_BYTES) or b""
        head = plain_head(received, method)
        if unwatched and head is not None and _is_all(head, received):
            if head.closes:
                self.close()
            return WholeAnswer(head, received[head.size :], method)
        answer = _Answer(self.sock, method, received, head)
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        if answer.will_close:
            self.close()
        return urllib3.HTTPResponse(
            body=answer,
            headers=cast("Any", answer.msg if head is not None else answer.msg.items()),
            status=answer.status,
            version=answer.version,
            reason=answer.reason,
            preload_content=False,
            decode_content=False,
            original_response=answer,
            pool=pool,
            connection=self,
            enforce_content_length=True,
            request_method=method,
            request_url=target,
        )

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == self.default_port else f"{host}:{self.port}"

    def _write(self, data: bytes) -> None:
        sock = self.sock
        if self.timeout is not None:
            sock.settimeout(self.timeout + len(data) / SLOWEST_BYTES_PER_S)
        sock.sendall(data)


class TLSLine(Line, HTTPSConnection):
    """A connection with TLS."""


def _is_all(head: PlainHead, received: bytes) -> bool:
    """Whether all of an answer is here, with nothing to be decoded and no cookies to be kept."""
    whole = len(received) == head.size + head.length
    return whole and "set-cookie" not in head.headers and "content-encoding" not in head.headers
