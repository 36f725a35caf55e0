"""Answers without an end, or without measure: what a hostile server sends to one request.

Each is a function of the connection (``Line``), which sends until the client has had enough. None
is ever held in memory as a whole.
"""

import zlib
from functools import lru_cache

__all__ = ["FLOODS", "SLOW"]

FLOODS = {}
SLOW = {"chunks of one byte", "trailers", "empty gzip members"}
"""Those whose 64 MiB take seconds to be read, a few bytes at a time."""
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n\r\n"
TEN_GB = 10 * 10**9
PIECE = 65_536


def flood(name, head, piece):
    """``head``, and then ``piece`` until ten gigabytes are sent or the client hangs up."""
    size = max(1, PIECE // len(piece))
    block = piece * size

    def send(line):
        line.send(head)
        for _ in range(TEN_GB // len(block)):
            line.send(block)

    FLOODS[name] = send


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


def _gzip(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def _bomb():
    """Ten gigabytes of zeros, packed; made of one megabyte, as a full flush forgets the past."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b"\0") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"\0" * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (TEN_GB >> 20)


def bomb(name, coding, wrap):
    """A packed body that is ten gigabytes unpacked, in so many layers."""

    @lru_cache
    def packed():
        body = _bomb()
        for _ in range(wrap):
            body = _gzip(body)
        return body

    def send(line):
        body = packed()
        head = b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(body))
        line.send(OK + head + body)

    send.prepare = packed

    FLOODS[name] = send


bomb("a gzip bomb", b"gzip", 0)
bomb("a gzip bomb within gzip", b"gzip, gzip", 1)
bomb("a gzip bomb three layers deep", b"gzip, gzip, gzip", 2)
flood("gzip of nothing", GZIP + _gzip(b"")[:-8][:10], b"\x00\x00\x00\xff\xff")
flood("empty gzip members", GZIP, _gzip(b""))


def _many_codings(line):
    codings = b", ".join([b"gzip"] * 5000)
    line.send(OK + b"Content-Encoding: " + codings + b"\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\0")


FLOODS["five thousand codings"] = _many_codings
