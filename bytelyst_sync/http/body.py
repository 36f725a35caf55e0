"""The body of an answer, bounded in bytes, time and work, for any adapter.

The limits are 64 MiB after decompression, the read timeout and a second more for every 8 KiB, the
request's deadline, and 100,000 chunks of a few bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import requests
import urllib3

from bytelyst_sync.errors import TransportError
from bytelyst_sync.http.deadlines import TransferDeadline
from bytelyst_sync.http.transport import MAX_BODY_BYTES
from bytelyst_sync.http.urls import server_name

__all__ = ["CHUNK_BYTES", "decoded_chunks", "joined", "read_body"]

CHUNK_BYTES = 64 * 1024
_MAX_TINY_CHUNKS = 100_000
_TINY_CHUNK_BYTES = 16


def read_body(
    response: requests.Response,
    url: str,
    timeout_s: float,
    limit: int = MAX_BODY_BYTES,
    first_bytes: int | None = None,
) -> bytes:
    """Reads the rest of an answer and decodes its ``Content-Encoding``. If the body is longer than
    ``first_bytes``, reads only its beginning.

    ``url`` is the URL of the request; messages name its server. Raises ``TransportError`` for a
    body that is larger than ``limit`` bytes, too slow or cut off, and passes on the exceptions of
    requests and urllib3. The connection returns to its pool only after a complete body. The caller
    closes the response.
    """
    raw = response.raw
    known = getattr(response, "_content", None)
    if isinstance(known, bytes):  # a hook has read it, or it comes from a cache
        return joined(iter([known]), None, url, timeout_s, limit)[:first_bytes]
    if isinstance(raw, urllib3.HTTPResponse) and hasattr(raw, "read1"):
        chunks: Iterator[bytes] = decoded_chunks(raw)
    else:
        chunks = response.iter_content(CHUNK_BYTES)
    if first_bytes is not None:
        beginning, length = [], 0
        while length < first_bytes and (chunk := next(chunks, b"")):
            beginning.append(chunk)
            length += len(chunk)
        return b"".join(beginning)[:first_bytes]
    return joined(chunks, raw, url, timeout_s, limit)


def decoded_chunks(raw: urllib3.HTTPResponse) -> Iterator[bytes]:
    """The decoded body, one receive at a time."""
    plain = "content-encoding" not in raw.headers
    while chunk := raw.read1(CHUNK_BYTES, decode_content=not plain):
        yield chunk
        if plain and raw.length_remaining == 0:
            break


def joined(
    chunks: Iterator[bytes], raw: Any, url: str, timeout_s: float, limit: int = MAX_BODY_BYTES
) -> bytes:
    """Joins the chunks of ``raw``'s body; raises as ``read_body`` does."""
    announced = getattr(raw, "length_remaining", None)
    # One buffer, because a server may cut its answer into chunks of a byte. To copy all of it at
    # the end would stop every other thread for that time.
    body, length = BytesIO(), 0
    deadline = TransferDeadline(timeout_s)
    problem = "is larger than {limit} MiB" if announced is not None and announced > limit else None
    for number, chunk in enumerate(() if problem else chunks):
        length += body.write(chunk)
        deadline.extend(len(chunk))
        if length > limit:
            problem = "is larger than {limit} MiB"
        elif number > _MAX_TINY_CHUNKS and length < number * _TINY_CHUNK_BYTES:
            problem = "comes in tiny chunks without an end"
        elif deadline.left_s() <= 0:
            problem = "came too slowly to wait for its end"
        if problem:
            break
    # a user's adapter may take a short body for a complete one
    if not problem and getattr(raw, "length_remaining", None):
        problem = "was cut off"
    if problem:
        message = problem.format(limit=limit // 1024**2)
        raise TransportError(f"the answer of {server_name(url)} {message}")
    return body.getvalue()
