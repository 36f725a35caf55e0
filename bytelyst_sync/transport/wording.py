"""What is said of an answer that is no success: which error, in which words.

The texts may quote what the server said, and so a payload: they are kept, and never logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bytelyst_sync.errors import (
    AuthError,
    OfflineError,
    RejectedError,
    SyncError,
    TransportError,
)
from bytelyst_sync.rules.backoff import parse_retry_after
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.paths import MISSING, describe
from bytelyst_sync.transport.answers import Heard
from bytelyst_sync.transport.base import Response
from bytelyst_sync.transport.redirects import presentable, redirect_target

__all__ = ["error_of", "misfit"]

_MESSAGE_FIELDS = ("message", "detail", "reason", "description", "errors", "error", "title")
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-correlation-id")


def misfit(knob: str, path: str, expected: str, body: Any) -> str:
    """A dialect's field that does not fit: which one, what was expected, what came."""
    where = f"at `{path}`" if path else "at the top of the body"
    came = "the body is empty or no JSON" if body is MISSING else f"what came is {describe(body)}"
    return f"`{knob}` was expected {where}: {expected}; {came}"


def error_of(
    meaning: Meaning,
    entity: str,
    key: str,
    heard: Heard,
    *,
    base: str,
    record: str,
    now: float,
    write: bool,
) -> SyncError:
    """The error for an answer, to a ``write`` or to a reading. ``record`` is the dialect's path to
    a record, ``now`` the wall clock.
    """
    kind, text = _wording(meaning, heard, base, record)
    if write and meaning is Meaning.MAPPING and heard.body is MISSING:
        text += '. Dialect(answer="any") accepts answers to writes that are no JSON'
    headers: Mapping[str, str] = heard.headers
    request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), None)
    return kind(
        f"{entity} {key}: {presentable(heard.url) + ': ' if heard.url else ''}{text}",
        entity=entity,
        record_id=key,
        status=heard.status,
        retry_after=parse_retry_after(headers.get("retry-after"), now),
        request_id=request_id,
    )


def _wording(meaning: Meaning, heard: Heard, base: str, record: str) -> tuple[type[SyncError], str]:
    status = heard.status
    said = _server_message(heard)
    if meaning is Meaning.REDIRECT or (meaning is Meaning.MAPPING and 300 <= status < 400):
        response = Response(status, heard.headers, b"", heard.url)
        where = redirect_target(response, base)
        return RejectedError, (
            f"HTTP {status}: the server redirects to "
            f"{where or presentable(heard.headers.get('location', 'nowhere'))}, and a write that "
            "follows it could be lost; set base_url or the endpoint to where it points "
            "(often it is only a trailing slash)"
        )
    if meaning is Meaning.PORTAL:
        return OfflineError, (
            f"HTTP {status}: something between here and the server answered in its place, "
            "such as the login page of a network"
        )
    if meaning is Meaning.MAPPING:
        content_type = heard.headers.get("content-type", "no content type")
        told = (
            misfit("record", record, "a record", heard.body)
            if heard.body is not MISSING
            else f"`record` was expected in JSON; what came is no JSON ({content_type})"
        )
        return TransportError, f"HTTP {status}: {told}"
    if meaning is Meaning.CREDENTIALS:
        return AuthError, f"HTTP {status}: the server refused the credentials{said}"
    if meaning in (Meaning.BUSY, Meaning.SERVER_ERROR):
        return TransportError, f"HTTP {status}{said}"
    return RejectedError, f"HTTP {status}{said}"


def _server_message(heard: Heard) -> str:
    """What the server said, shortened."""
    found: Any = heard.body
    if isinstance(found, dict):
        named = [found[name] for name in _MESSAGE_FIELDS if found.get(name)]
        found = named[0] if named else found
    if isinstance(found, (dict, list)):
        found = dumps(found)
    if not isinstance(found, str):
        if "html" in heard.headers.get("content-type", ""):
            return ""
        found = heard.text[:500]
    text = " ".join(found.split())
    return f": {text[:300]}" if text else ""
