"""The values of an attempt: the decoded response, and its meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.errors import SyncError, TransportError
from bytelyst_sync.http.transport import Response
from bytelyst_sync.http.urls import server_name
from bytelyst_sync.rules.backoff import parse_date, parse_retry_after
from bytelyst_sync.rules.classify import NO_ANSWER, Doubt, Verdict, proves_unprocessed
from bytelyst_sync.rules.json_text import DEEPEST, dumps, is_too_deep, loads
from bytelyst_sync.rules.paths import MISSING

__all__ = [
    "MAX_VALUES",
    "UNSENT",
    "AttemptResult",
    "DecodedResponse",
    "decode_json",
    "decode_response",
    "failure",
    "requested_pauses",
]

Json = dict[str, Any]
_MATCHED_BYTES = 65536
_PAGES = (Verdict.MAPPING, Verdict.UNCLEAR, Verdict.REDIRECT)
_SEPARATORS = (b",", b"[", b"{")

MAX_VALUES = 2_000_000
"""The most JSON values in one answer. They are counted before the answer is decoded."""


@attrs.frozen(kw_only=True)
class AttemptResult:
    """The result of an attempt. ``record`` is the server's record in the answer, ``current`` the
    one in the answer to a conflict. ``retry_after`` and ``backoff`` are in seconds. ``from_api``:
    the body is JSON or empty, as in the API's own answers. ``doubt``: whether the answer must be
    confirmed.
    """

    meaning: Verdict
    error: SyncError | None = None
    record: Json | None = attrs.field(default=None, repr=False)
    version: str | int | None = None
    server_id: Any = None
    status: int | None = None
    retry_after: float | None = None
    backoff: float | None = None
    unprocessed: bool = False
    from_api: bool = True
    doubt: Doubt = Doubt.NONE
    lists_none: bool = False
    """Whether the listing that confirmed the answer contains no records."""

    @property
    def proves_api(self) -> bool:
        """Whether the API itself answered, so that it works. A page in place of JSON proves
        nothing: a gateway, a proxy or a web site may have sent it.
        """
        return self.meaning not in NO_ANSWER and (self.from_api or self.meaning not in _PAGES)


UNSENT = AttemptResult(meaning=Verdict.NOT_SENT, unprocessed=True)
"""The result of an attempt that sent nothing: the item goes back into the queue as it was."""


def failure(meaning: Verdict, error: SyncError) -> AttemptResult:
    """The result of an attempt without an answer."""
    return AttemptResult(
        meaning=meaning, error=error, unprocessed=proves_unprocessed(meaning, None)
    )


@attrs.frozen
class DecodedResponse:
    """A response with its body decoded, or the part of a batch's response for one operation.

    ``body`` is ``MISSING`` if it is empty or no JSON. Names of headers are in lower case.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: Any = attrs.field(repr=False)
    url: str = attrs.field(default="", repr=False)
    verified: bool = False
    raw: bytes | None = attrs.field(default=None, repr=False)

    @property
    def from_api(self) -> bool:
        """Whether the body is JSON or empty, as in the API's own answers."""
        return self.body is not MISSING or not (self.raw or b"").strip()

    def redirects_elsewhere(self, base: str) -> bool:
        """Whether it is a redirect to another host, or to no URL; ``base`` is the API's URL."""
        target = self.headers.get("location")
        if not 300 <= self.status < 400 or not target:
            return False
        try:
            host = urlsplit(target).hostname
        except ValueError:
            return True
        return host is not None and host != urlsplit(self.url or base).hostname

    def server_now(self, now: float) -> float:
        """The time of the response by the server's clock; ``now`` is the time by ours."""
        date = parse_date(self.headers.get("date"))
        return now if date is None else date

    @property
    def text(self) -> str:
        """The beginning of the body, as text."""
        if self.raw is not None:
            return self.raw[:_MATCHED_BYTES].decode("utf-8", "replace")
        return "" if self.body is MISSING else dumps(self.body)[:_MATCHED_BYTES]


def decode_response(response: Response) -> DecodedResponse:
    """The response, with its body decoded once."""
    body = decode_json(response)
    return DecodedResponse(
        response.status, response.headers, body, response.url, response.verified, response.body
    )


def requested_pauses(
    decoded: DecodedResponse, now: float, longest_s: float
) -> tuple[float | None, float | None]:
    """The seconds in ``Retry-After`` and ``Backoff``. A date is compared with the server's clock.

    They are at most ``longest_s`` if the answer is not the API's own, but a proxy's page, for
    example. ``now`` is the time by our clock.
    """
    headers = decoded.headers
    then = decoded.server_now(now)
    waits = [parse_retry_after(headers.get(name), then) for name in ("retry-after", "backoff")]
    if not decoded.from_api:
        waits = [None if wait is None else min(wait, longest_s) for wait in waits]
    return waits[0], waits[1]


def decode_json(response: Response) -> Any:
    """The body as JSON, whatever its content type says; ``MISSING`` if it is none or empty.

    Raises ``TransportError`` for a body that may hold more than ``MAX_VALUES`` values.
    """
    if not response.body.strip():
        return MISSING
    # 20 KB of gzip may expand to 64 MiB of brackets, and those to a gigabyte of objects
    values = sum(map(response.body.count, _SEPARATORS))
    if values > MAX_VALUES:
        raise TransportError(
            f"the answer of {server_name(response.url)} has about {values:,} JSON values, and "
            f"{MAX_VALUES:,} are read at most: ask for smaller pages (page_size), or batch less",
            status=response.status,
        )
    try:
        text = response.body.decode(json.detect_encoding(response.body), "surrogatepass")
        body = loads(text)
    except (ValueError, RecursionError):
        return MISSING
    brackets = response.body.count(b"[") + response.body.count(b"{")
    return MISSING if brackets > DEEPEST and is_too_deep(body) else body
