"""HTTP messages as values: a request as a server received it, and an answer with its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from urllib3 import HTTPHeaderDict

__all__ = ["Answer", "Headers", "RecordedRequest", "Seen", "encode_json"]

Headers = Mapping[str, str]

REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
NO_BODY: Final = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as a server saw it.

    ``path`` is percent-encoded, without the query; ``target`` is the path with the query.
    ``headers`` has lower-case names. ``body`` is the parsed JSON, the bytes if they are no JSON, or
    ``None`` if nothing was sent. ``content`` has the bytes of the body, ``head`` those before it.
    ``status`` is that of the answer, or 0 without one. ``at`` is the server's time in seconds since
    the epoch.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None
    status: int = 0
    at: float = 0.0
    content: bytes = field(default=b"", repr=False)
    head: bytes = field(default=b"", repr=False)
    target: str = field(default="", repr=False)

    @classmethod
    def of(
        cls, method: str, target: str, headers: Mapping[str, str], content: bytes = b""
    ) -> RecordedRequest:
        """Read a request's method and target, its headers and its body."""
        path, _, query = target.partition("?")
        body: Any = None
        if content:
            try:
                # NaN and Infinity are not JSON; ``int`` refuses their names.
                body = json.loads(content, parse_constant=int)
            except (ValueError, RecursionError):
                body = content
        pairs = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        names = {name.lower(): value for name, value in headers.items()}
        return cls(method.upper(), path, pairs, names, body, content=content, target=target)

    @property
    def raw(self) -> bytes:
        """The request's bytes, with any chunking of the body undone."""
        return self.head + self.content


Seen = RecordedRequest
"""The former name of ``RecordedRequest``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, its headers and the bytes of its body."""

    status: int
    headers: Headers = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(cls, status: int, body: object = None, headers: Headers | None = None) -> Answer:
        """An answer with a body: bytes or a text unchanged, any other value except ``None`` as
        JSON.
        """
        if body is None or isinstance(body, bytes):
            return cls(status, dict(headers or {}), body or b"")
        if isinstance(body, str):
            typed, content = {"Content-Type": "text/plain; charset=utf-8"}, body.encode()
        else:
            typed, content = {"Content-Type": "application/json"}, encode_json(body)
        if any(name.lower() == "content-type" for name in headers or {}):
            typed = {}
        return cls(status, {**typed, **(headers or {})}, content)

    def with_header(self, name: str, value: str) -> Answer:
        """A copy with this header set; other headers may still occur several times."""
        headers = HTTPHeaderDict(self.headers)
        headers[name] = value
        return replace(self, headers=headers)

    def encode(self, *, declared: int | None = None, head_only: bool = False) -> bytes:
        """The encoded bytes; ``declared`` replaces the true Content-Length."""
        bodiless = self.status in NO_BODY
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if not bodiless:
            lines.append(f"Content-Length: {len(self.body) if declared is None else declared}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return head if bodiless or head_only else head + self.body


def encode_json(value: object) -> bytes:
    """Compact JSON in ASCII, so that any text survives."""
    return json.dumps(value, separators=(",", ":")).encode()
