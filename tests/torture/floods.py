"""Answers without an end, or without measure: what a hostile server sends to one request.

Each has a function of the ``Connection``, which sends until the client closes it. No answer is in
memory as a whole.
"""

import zlib
from collections.abc import Callable
from functools import lru_cache

import attrs

from bytelyst_sync.testing.raw import Connection

__all__ = ["FLOODS", "SLOW", "Flood"]


@attrs.frozen
class Flood:
    """``prepare`` is called before time and memory are measured."""

    send: Callable[[Connection], None]
    prepare: Callable[[], object] = lambda: None


FLOODS: dict[str, Flood] = {}
SLOW = {"chunks of one byte", "trailers", "empty gzip members"}
"""Those whose 64 MiB take seconds to be read, a few bytes at a time."""
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n\r\n"
TEN_GB = 10 * 10**9
PIECE = 65_536


def flood(name: str, head: bytes, piece: bytes) -> None:
    """``head``, and then ``piece`` until ten gigabytes are sent or the client hangs up."""
    size = max(1, PIECE // len(piece))
    block = piece * size

    def send(line: Connection) -> None:
        line.send(head)
        for _ in range(TEN_GB // len(block)):
            line.send(block)

    FLOODS[name] = Flood(send)


flood("a body of 10 GB, declared", OK + b"Content-Length: %d\r\n\r\n" % TEN_GB, b" ")
flood("a body with no length", OK + b"\r\n", b" ")
flood("chunks of 64 KiB", CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n")
flood("chunks of one byte", CHUNKED, b"1\r\n \r\n")
flood("one chunk of a terabyte", CHUNKED + b"FFFFFFFFFF\r\n", b" ")
flood("a chunk's size without end", CHUNKED, b"0")
flood("a chunk's extension without end", CHUNKED + b"2;", b"e")
flood("trailers", CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: b\r\n")
flood("a trailer without end", CHUNKED + b"2\r\n{}\r\n0\r\nX-A: ", b"b")
flood("headers", OK, b"X-A: b\r\n")
flood("a header without end", OK + b"X-A: ", b"b")
flood("a folded header without end", OK + b"X-A: b\r\n", b" bbbbbbbb\r\n")
flood("a status line without end", b"HTTP/1.1 200 ", b"b")
flood("100 Continue", b"", b"HTTP/1.1 100 Continue\r\n\r\n")
flood("headers of 100 Continue", b"HTTP/1.1 100 Continue\r\n", b"X-A: b\r\n")
flood("103 Early Hints", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
flood("empty lines", b"", b"\r\n")


def _gzip(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    return compressor.compress(data) + compressor.flush()


def _bomb() -> bytes:
    """Ten gigabytes of zeros, packed; made of one megabyte, as a full flush forgets the past."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = compressor.compress(b"\0") + compressor.flush(zlib.Z_FULL_FLUSH)
    block = compressor.compress(b"\0" * (1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return head + block * (TEN_GB >> 20)


def bomb(name: str, coding: bytes, wrap: int) -> None:
    """A packed body that is ten gigabytes unpacked, in so many layers."""

    @lru_cache
    def packed() -> bytes:
        body = _bomb()
        for _ in range(wrap):
            body = _gzip(body)
        return body

    def send(line: Connection) -> None:
        body = packed()
        head = b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(body))
        line.send(OK + head + body)

    FLOODS[name] = Flood(send, packed)


bomb("a gzip bomb", b"gzip", 0)
bomb("a gzip bomb within gzip", b"gzip, gzip", 1)
bomb("a gzip bomb three layers deep", b"gzip, gzip, gzip", 2)
flood("gzip of nothing", GZIP + _gzip(b"")[:-8][:10], b"\x00\x00\x00\xff\xff")
flood("empty gzip members", GZIP, _gzip(b""))


def _many_codings(line: Connection) -> None:
    codings = b", ".join([b"gzip"] * 5000)
    line.send(OK + b"Content-Encoding: " + codings + b"\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\0")


FLOODS["five thousand codings"] = Flood(_many_codings)
