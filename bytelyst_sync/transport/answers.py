"""What an attempt came to, in values: the response as it was heard, and what it means."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import attrs

from bytelyst_sync.errors import SyncError
from bytelyst_sync.rules.classify import Meaning, proves_unprocessed
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.paths import MISSING
from bytelyst_sync.transport.base import Response

__all__ = ["Answer", "Heard", "decode_json", "failure", "hear"]

Json = dict[str, Any]
_MATCHED_BYTES = 65536
_DEEPEST = 200


@attrs.frozen(kw_only=True)
class Answer:
    """What an attempt came to. ``record`` is the server's record if the answer carried it;
    ``current`` the one that a conflict answer carried. ``retry_after`` and ``backoff`` are in
    seconds.
    """

    meaning: Meaning
    error: SyncError | None = None
    record: Json | None = attrs.field(default=None, repr=False)
    version: str | int | None = None
    server_id: Any = None
    status: int | None = None
    retry_after: float | None = None
    backoff: float | None = None
    unprocessed: bool = False


def failure(meaning: Meaning, error: SyncError) -> Answer:
    """The answer that stands for an attempt which brought none."""
    return Answer(meaning=meaning, error=error, unprocessed=proves_unprocessed(meaning, None))


@attrs.frozen
class Heard:
    """A response with its body decoded, or one operation's share of a batch's response.

    ``body`` is ``MISSING`` if it is empty or no JSON. Names of headers are in lower case.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: Any = attrs.field(repr=False)
    url: str = attrs.field(default="", repr=False)
    verified: bool = False
    raw: bytes | None = attrs.field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The beginning of the body, as text."""
        if self.raw is not None:
            return self.raw[:_MATCHED_BYTES].decode("utf-8", "replace")
        return "" if self.body is MISSING else dumps(self.body)[:_MATCHED_BYTES]


def hear(response: Response) -> Heard:
    """The response, with its body decoded once."""
    body = decode_json(response)
    return Heard(
        response.status, response.headers, body, response.url, response.verified, response.body
    )


def decode_json(response: Response) -> Any:
    """The body as JSON, whatever its content type says; ``MISSING`` if it is none or empty."""
    if not response.body.strip():
        return MISSING
    try:
        text = response.body.decode(json.detect_encoding(response.body), "surrogatepass")
        body = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return MISSING
    return MISSING if _is_too_deep(response.body, body) else body


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond a float cannot be stored or sent again")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def _is_too_deep(raw: bytes, body: Any) -> bool:
    """Whether it is nested deeper than anything that compares or merges it could follow."""
    if raw.count(b"[") + raw.count(b"{") <= _DEEPEST:
        return False
    level = [body]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += [value for value in each.values() if isinstance(value, (dict, list))]
            elif isinstance(each, list):
                inner += [value for value in each if isinstance(value, (dict, list))]
        if not inner:
            return False
        level = inner
    return True
