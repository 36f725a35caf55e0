"""The heads of HTTP messages: written in one go, and read in one go where they are plain.

``http.client`` reads an answer's head line by line and has it parsed as an e-mail's, which takes
more time than all the rest of an exchange. Nearly every head comes in one piece and says nothing
that needs a second look; those are read here, and every other is left to ``http.client``.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["MOST_HEAD_BYTES", "PlainHead", "WholeHead", "plain_head", "request_head"]

MOST_HEAD_BYTES = 1024 * 1024
_PLAIN = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2})(?: ([ -~]*))?\r\n"
    rb"((?:[!#-'*+.^`|~0-9A-Za-z_-]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
)
_FRAMING = ("content-length", "connection")
_LENGTH = re.compile(r"[0-9]{1,18}")


def request_head(
    method: str, target: str, authority: str, headers: Mapping[str, str | bytes]
) -> bytes:
    """A request's beginning, up to its body; all of it is known to be sound."""
    lines = [f"{method} {target} HTTP/1.1"]
    if "Host" not in headers:
        lines.append(f"Host: {authority}")
    if "Accept-Encoding" not in headers:
        lines.append("Accept-Encoding: identity")
    for name, value in headers.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        lines.append(f"{name}: {text}")
    lines += ["", ""]
    return "\r\n".join(lines).encode("latin-1")


@attrs.frozen
class PlainHead:
    """The head of an answer whose length it tells. ``size`` is its own, in bytes."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    length: int
    closes: bool
    size: int


def plain_head(data: bytes) -> PlainHead | None:
    """The head that this begins with; ``None`` if it is not all there, or not plain: then it is
    for ``http.client`` to say what it means.
    """
    found = _PLAIN.match(data)
    if found is None:
        return None
    headers = http.client.HTTPMessage()
    seen: dict[str, str] = {}
    for line in found[3].decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.lstrip(" \t")
        headers.set_raw(name, value)
        lower = name.lower()
        if lower in seen and lower in _FRAMING:
            return None
        seen[lower] = value
    length = seen.get("content-length", "")
    if "transfer-encoding" in seen or not _LENGTH.fullmatch(length):
        return None
    return PlainHead(
        status=int(found[1]),
        reason=(found[2] or b"").decode("latin-1").strip(),
        headers=headers,
        length=int(length),
        closes="close" in seen.get("connection", "").lower(),
        size=found.end(),
    )


class WholeHead:
    """The file that an answer's head is read from. ``http.client`` takes the end of the stream
    for the end of the headers, and so an answer that was cut off there for a whole one.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self._count = 0

    def readline(self, limit: int = -1) -> bytes:
        """The next line; the stream must not end before the head does."""
        line: bytes = self.file.readline(limit)
        if not line and self._count:
            raise http.client.IncompleteRead(b"")
        self._count += len(line)
        if self._count > MOST_HEAD_BYTES:
            raise TimeoutError("the answer's head has no end")
        return line

    def close(self) -> None:
        """Closes the file."""
        self.file.close()
