"""What the answer to a write says against its status: an error in a 2xx answer, and another id than
the one that was sent, outside of the place where the record was expected.

Pure functions; each returns the problem in words, or ``None``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.protocol.responses import DecodedResponse
from bytelyst_sync.protocol.server_messages import message_in
from bytelyst_sync.rules.json_text import dumps

__all__ = ["last_segment", "other_id_in", "refusal_in"]

_FLAGS = ("success", "ok")
_SIGNS = frozenset({*_FLAGS, "status", "error", "errors"})
_FAILURES = frozenset({"error", "fail", "failed", "failure"})
_WRAPPERS = ("data", "result", "record", "item", "object", "row")
"""Usual names of the member that contains the record."""


def refusal_in(decoded: DecodedResponse) -> str | None:
    """The problem if an answer with status 2xx and no record in it says that the write failed, as
    ``{"success": false}``, ``{"status": "error"}`` and ``{"error": {...}}`` do.
    """
    body = decoded.body
    if not 200 <= decoded.status < 300 or not isinstance(body, dict) or _SIGNS.isdisjoint(body):
        return None
    place = next((name for name in _FLAGS if body.get(name) is False), None)
    status = body.get("status")
    if place is None and isinstance(status, str) and status.lower() in _FAILURES:
        place = "status"
    if place is None:
        errors = (name for name in ("error", "errors") if _is_error(body.get(name)))
        place = next(errors, None)
    if place is None:
        return None
    said = " ".join((message_in(body) or dumps(body)).split())[:300]
    return (
        f"HTTP {decoded.status}, but the answer says that the write failed (`{place}`): {said}. "
        f"Say what such an answer means, for example answers=(({decoded.status}, "
        f'{_pattern(place, body[place])!r}, "rejected"),); "delivered" if it means success'
    )


def other_id_in(entity: Entity, key: str, decoded: DecodedResponse) -> str | None:
    """The problem if the answer to a create, which has no record where one was expected, names
    another id in a usual wrapper of the record or in ``Location``.
    """
    advice = 'where the server gives the ids, say id_source="server"'
    body = decoded.body if isinstance(decoded.body, dict) else {}
    for name in dict.fromkeys((*_WRAPPERS, entity.name, entity.name.removesuffix("s"))):
        inside = body.get(name)
        given = inside.get(entity.id_field) if isinstance(inside, dict) else None
        is_id = isinstance(given, (str, int)) and not isinstance(given, bool)
        if is_id and str(given) != key:
            return (
                f"the answer is about another record, {str(given)[:80]!r} in `{name}`: if that is "
                f"where the record is, say record={name!r}; {advice}"
            )
    location = decoded.headers.get("location", "")
    given = last_segment(location) if location else None
    if given is not None and given != key and _is_below(location, decoded.url):
        return f"the answer is about another record, {given[:80]!r} in `Location`; {advice}"
    return None


def last_segment(location: str) -> str | None:
    """The last segment of the ``Location`` header's path, decoded: the id of a new record."""
    path = urlsplit(location).path.rstrip("/") if "[" not in location else ""
    return unquote(path.rpartition("/")[2]) or None


def _is_below(location: str, url: str) -> bool:
    """Whether this is the URL of a record in the collection at ``url``."""
    collection = urlsplit(url).path.rstrip("/")
    return urlsplit(location).path.rstrip("/").rpartition("/")[0] == collection != ""


def _is_error(value: Any) -> bool:
    return value is True or (isinstance(value, (str, list, dict)) and bool(value))


def _pattern(place: str, value: Any) -> str:
    """A pattern that such answers match."""
    if isinstance(value, (bool, str)) and place not in ("error", "errors"):
        return f'"{place}": ?{dumps(value)}'
    return f'"{place}"'
