"""An answer's body, bounded in bytes and in time.

A server, or whoever answers in its place, decides neither how much memory nor how much time an
answer may take: 64 MiB after decompression, and the read timeout plus a second for every 8 KiB. Nor
how much work: pieces of a byte or two are taken a hundred thousand times, and then given up.
"""

from __future__ import annotations

from collections.abc import Iterator

import requests
import urllib3

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import TransportError
from bytelyst_sync.transport.base import MAX_BODY_BYTES
from bytelyst_sync.transport.failures import server_name

__all__ = ["SLOWEST_BYTES_PER_S", "Pace", "read_body"]

SLOWEST_BYTES_PER_S = 8 * 1024
"""Below this rate a transfer runs out of time."""

_CHUNK_BYTES = 64 * 1024
_MOST_CRUMBS = 100_000
_CRUMB_BYTES = 16


class Pace:
    """The time one transfer may take: ``timeout_s`` seconds and one more for every 8 KiB.

    The clock starts when the pace is made. Used by one thread.
    """

    # Not passed in: a frozen clock would let a dripping server hold its client for ever.
    _clock = SystemClock()

    def __init__(self, timeout_s: float) -> None:
        self._deadline_s = self._clock.monotonic() + timeout_s

    def moved(self, count: int) -> None:
        """Grants the time for ``count`` more bytes."""
        self._deadline_s += count / SLOWEST_BYTES_PER_S

    def left_s(self) -> float:
        """The seconds that are left, zero or less once they are spent."""
        return self._deadline_s - self._clock.monotonic()


def read_body(
    response: requests.Response, url: str, timeout_s: float, limit: int = MAX_BODY_BYTES
) -> bytes:
    """Reads what is left of an answer and decodes its ``Content-Encoding``.

    ``url`` is what was asked; messages name its server. Raises ``TransportError`` for a body that
    is larger than ``limit`` bytes, came too slowly or was cut off, and lets the exceptions of
    requests and urllib3 through. The connection goes back to its pool after a complete body only;
    closing the response is left to the caller.
    """
    announced = getattr(response.raw, "length_remaining", None)
    if announced is not None and announced > limit:
        raise _too_large(url, limit)
    known = getattr(response, "_content", None)
    body = known if isinstance(known, bytes) else _received(response, url, timeout_s, limit)
    if len(body) > limit:
        raise _too_large(url, limit)
    # an adapter of the user's may take a short body for a complete one
    if getattr(response.raw, "length_remaining", None):
        raise TransportError(f"the answer of {server_name(url)} was cut off")
    return body


def _received(response: requests.Response, url: str, timeout_s: float, limit: int) -> bytes:
    # one buffer, because a server may cut its answer into pieces of a byte
    body = bytearray()
    pace = Pace(timeout_s)
    for number, chunk in enumerate(_chunks(response)):
        body += chunk
        if len(body) > limit:
            raise _too_large(url, limit)
        if number > _MOST_CRUMBS and len(body) < number * _CRUMB_BYTES:
            raise TransportError(f"the answer of {server_name(url)} comes in crumbs without an end")
        pace.moved(len(chunk))
        if pace.left_s() <= 0:
            raise TransportError(
                f"the answer of {server_name(url)} came too slowly to wait for its end"
            )
    return bytes(body)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    raw = response.raw
    consumed = getattr(response, "_content_consumed", False)
    if consumed or not (isinstance(raw, urllib3.HTTPResponse) and hasattr(raw, "read1")):
        yield from response.iter_content(_CHUNK_BYTES)
        return
    # one receive at a time, where iter_content waits for a whole chunk
    plain = "content-encoding" not in raw.headers
    while chunk := raw.read1(_CHUNK_BYTES, decode_content=not plain):
        yield chunk
        if plain and raw.length_remaining == 0:
            break


def _too_large(url: str, limit: int) -> TransportError:
    return TransportError(f"the answer of {server_name(url)} is larger than {limit // 1024**2} MiB")
