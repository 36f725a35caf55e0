"""The errors for answers that are no success: their class and their text.

A text says what happened to which record, the status with the server's message, and what to do
next: ``create of notes/7 rejected: HTTP 422 'title too long'; see engine.failed()``. It may quote
the server's message, and so a payload: it is stored, but never logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bytelyst_sync.errors import (
    AuthError,
    OfflineError,
    RejectedError,
    SyncError,
    TransportError,
)
from bytelyst_sync.http.redirects import redirect_target
from bytelyst_sync.http.transport import Response
from bytelyst_sync.http.urls import redacted
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.responses import DecodedResponse
from bytelyst_sync.protocol.server_messages import message_in
from bytelyst_sync.rules.backoff import parse_retry_after
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.json_text import dumps
from bytelyst_sync.rules.paths import MISSING, describe

__all__ = [
    "SEE_FAILED",
    "MappingError",
    "PortalError",
    "error_about",
    "error_of",
    "item_error_text",
    "mapping_mismatch",
]

SEE_FAILED = "; see engine.failed()"
"""The end of the error of a failed item."""

_UNREADABLE = (Verdict.MAPPING, Verdict.UNCLEAR)
_WRITES = frozenset(SyncOperation)
_WRONG_PLACE = frozenset({404, 405, 410, 501})
"""Statuses that may say that ``base_url`` or the endpoint is wrong: the error names the URL."""
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-correlation-id")


class PortalError(OfflineError):
    """A captive portal may have answered in the server's place."""


class MappingError(TransportError):
    """An answer does not fit the dialect: the configuration is wrong."""


def mapping_mismatch(knob: str, path: str, expected: str, body: Any) -> str:
    """The text for an answer that does not fit a field of the dialect: the field, the expected
    value, and the actual one.
    """
    where = f"at `{path}`" if path else "at the top of the body"
    actual = "the body is empty or no JSON" if body is MISSING else f"what came is {describe(body)}"
    return f"`{knob}` was expected {where}: {expected}; {actual}"


def item_error_text(error: SyncError, operation: str, entity: str, record: str) -> str:
    """The text of an error for the item that it happened to. An error of the network, for example,
    does not name the item by itself.
    """
    subject, text = f"{operation} of {entity}/{record}", str(error)
    if text.startswith(subject):
        return text
    if text.startswith("batch of "):
        return f"{subject} in a {text}"
    reason = text.removeprefix(f"{entity}: ").removeprefix(f"{entity}/{record}: ")
    return f"{subject} failed: {reason}"


def error_about(
    operation: str, entity: str, key: str, what: str, *, status: int | None = None
) -> TransportError:
    """The error for an answer that does not fit the operation on a record."""
    text = f"{operation} of {entity}/{key} failed: {what}"
    return TransportError(text, entity=entity, record_id=key, status=status)


def error_of(
    meaning: Verdict,
    subject: tuple[str, str, str | None],
    decoded: DecodedResponse,
    *,
    base: str,
    record: str,
    now: float,
) -> SyncError:
    """The error for the answer to a write, a read or a pull. ``subject`` is the operation, the
    entity, and the record's key if it is about one; ``record`` is the dialect's path to a record,
    ``now`` the wall clock.
    """
    operation, entity, key = subject
    due = "a page (`items`)" if operation == "pull" else "`record`"
    kind, text = _wording(meaning, decoded, base, record, due)
    write = operation in _WRITES
    if write and meaning in _UNREADABLE and decoded.body is MISSING:
        text += '. Dialect(answer="any") accepts answers to writes that are no JSON'
    rejected = kind is RejectedError
    if write and rejected:
        text += SEE_FAILED
    named = entity if key is None else f"{entity}/{key}"
    headers: Mapping[str, str] = decoded.headers
    request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), None)
    return kind(
        f"{operation} of {named} {'rejected' if rejected else 'failed'}: {text}",
        entity=entity,
        record_id=key,
        status=decoded.status,
        retry_after=parse_retry_after(headers.get("retry-after"), decoded.server_now(now)),
        request_id=request_id,
    )


def _location(decoded: DecodedResponse) -> str:
    """The target of a redirect; a text that is no URL is not shown."""
    location = decoded.headers.get("location", "")
    try:
        urlsplit(location)
    except ValueError:
        return "something that is no URL"
    return redacted(location) or "nowhere"


def _wording(
    meaning: Verdict, decoded: DecodedResponse, base: str, record: str, due: str
) -> tuple[type[SyncError], str]:
    status = decoded.status
    quoted = _server_message(decoded)
    url = redacted(decoded.url)
    origin = f" from {url}" if url else ""
    if meaning is Verdict.REDIRECT or (meaning is Verdict.MAPPING and 300 <= status < 400):
        response = Response(status, decoded.headers, b"", decoded.url)
        where = redirect_target(response, base)
        return RejectedError, (
            f"HTTP {status}{origin}: the server redirects to "
            f"{where or _location(decoded)}, and a write that "
            "follows it could be lost; set base_url or the endpoint to where it points "
            "(often it is only a trailing slash)"
        )
    if meaning is Verdict.PORTAL:
        return PortalError, (
            f"HTTP {status}{origin}: something between here and the server answered in its place, "
            "such as the sign-in page of a network; or base_url is a web site and no API"
        )
    if meaning in _UNREADABLE:
        content_type = decoded.headers.get("content-type", "no content type")
        advice = (
            mapping_mismatch("record", record, "a record", decoded.body)
            if decoded.body is not MISSING
            else f"{due} was expected in JSON; what came is no JSON ({content_type})"
        )
        accepted = "accepted, and it is not known as what: " if meaning is Verdict.UNCLEAR else ""
        return MappingError, f"HTTP {status}{origin}: {accepted}{advice}"
    if meaning is Verdict.CREDENTIALS:
        return AuthError, f"HTTP {status}{quoted}: the server refused the credentials"
    if meaning is Verdict.OFFLINE:
        proxy = "a proxy of this network asks for a password"
        return OfflineError, f"HTTP {status}: {proxy if status == 407 else 'there is no network'}"
    if meaning in (Verdict.BUSY, Verdict.OUTAGE, Verdict.SERVER_ERROR):
        return TransportError, f"HTTP {status}{quoted}"
    return RejectedError, f"HTTP {status}{quoted}{origin if status in _WRONG_PLACE else ''}"


def _server_message(decoded: DecodedResponse) -> str:
    """The server's message, shortened and in quotes; ``""`` if it answered with a record."""
    message: Any = decoded.body
    if isinstance(message, (dict, list)):
        quoted = message_in(message)
        if not quoted and decoded.status in (409, 412):
            return ""
        message = quoted or dumps(message)
    if not isinstance(message, str):
        if "html" in decoded.headers.get("content-type", ""):
            return ""
        message = decoded.text[:500]
    text = " ".join(message.split())
    return f" '{text[:300]}'" if text else ""
