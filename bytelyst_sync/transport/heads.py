"""The heads of HTTP messages: written in one go, and read in one go where they are plain.

``http.client`` reads an answer's head line by line and has it parsed as an e-mail's, which takes
more time than all the rest of an exchange. Nearly every head comes in one piece and says nothing
that needs a second look; those are read here, and every other is left to ``http.client``.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import attrs
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPHeaderDict

__all__ = ["MOST_HEAD_BYTES", "PlainHead", "WholeHead", "pairs", "plain_head", "request_head"]

V = TypeVar("V")

MOST_HEAD_BYTES = 1024 * 1024
_PLAIN = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2})(?: ([ -~]*))?\r\n"
    rb"((?:[!#-'*+.^`|~0-9A-Za-z_-]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
)
_WITHOUT_BODY = (204, 304)
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
    for name, value in pairs(headers):
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        lines.append(f"{name}: {text}")
    lines += ["", ""]
    return "\r\n".join(lines).encode("latin-1")


def pairs(headers: Mapping[str, V]) -> Iterable[tuple[str, V]]:
    """Names and values; the usual kind tells them all without being asked for one by one."""
    if isinstance(headers, CaseInsensitiveDict):
        return zip(headers, [value for _, value in headers.lower_items()], strict=True)
    return headers.items()


@attrs.frozen
class PlainHead:
    """The head of an answer, its own ``size`` in bytes and that of its body, ``length``."""

    status: int
    reason: str
    headers: HTTPHeaderDict
    length: int
    closes: bool
    size: int


def plain_head(data: bytes, asked: str) -> PlainHead | None:
    """The head that this begins with, for a request of the method ``asked``; ``None`` if it is not
    all there, or not plain: then it is for ``http.client`` to say what it means.
    """
    found = _PLAIN.match(data)
    if found is None:
        return None
    headers = HTTPHeaderDict()
    for line in found[3].decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        headers.add(name, value.lstrip(" \t"))
    if "transfer-encoding" in headers or len(headers.getlist("connection")) > 1:
        return None
    # two lengths are joined by a comma, and so are none
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        return None
    status = int(found[1])
    bare = status in _WITHOUT_BODY or asked == "HEAD"
    return PlainHead(
        status=status,
        reason=(found[2] or b"").decode("latin-1").strip(),
        headers=headers,
        length=0 if bare else int(length),
        closes="close" in headers.get("connection", "").lower(),
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
