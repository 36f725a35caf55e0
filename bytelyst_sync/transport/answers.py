"""What an attempt came to, in values: the response as it was heard, and what it means."""

from __future__ import annotations

import json
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
        return json.loads(response.body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return MISSING


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
