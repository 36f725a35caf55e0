"""Ids: one record has one key, and a key never addresses another resource.

Ids compare as strings: ``7`` and ``"7"`` are one record (SPEC §2). What a URL would misread is
percent-encoded; what no encoding can save is refused (SPEC §6).
"""

from __future__ import annotations

import re
import uuid
from enum import Enum
from typing import Any
from urllib.parse import quote

from bytelyst_sync.errors import InvalidDataError, RejectedError

__all__ = ["LOCAL_PREFIX", "is_local", "problem_of", "record_key", "url_segment"]

LOCAL_PREFIX = "local-"
"""What ids begin with that stand in until the server gives one (``id_source="server"``)."""


_SOUND = re.compile("[A-Za-z0-9_-]+")
"""Most ids are of these alone, and nothing can be wrong with them."""
_UNCARRIED = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def record_key(value: Any, entity: str, field: str) -> str:
    """The key of the record that has this id; ``InvalidDataError`` if it can be none."""
    if type(value) is str and _SOUND.fullmatch(value):
        return value
    path = f"$.{field}"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidDataError(
            f"{entity}: the id at {path} is a {type(value).__name__}; "
            "an id is a non-empty string or a whole number",
            path=path,
            entity=entity,
        )
    key = str(value)
    problem = problem_of(key)
    if problem:
        way_out = "use another id" if key else "leave the field out to have one made"
        raise InvalidDataError(
            f"{entity}: the id {key[:80]!r} at {path} {problem}; {way_out}",
            path=path,
            entity=entity,
        )
    return key


def problem_of(key: str) -> str | None:
    """Why this text can be no id, of whomever it comes; ``None`` if it can."""
    if not key:
        return "is empty"
    if "." in key and {".", ".."} & set(key.split("/")):
        return "has a '.' or '..' segment, which URLs resolve away"
    if _UNCARRIED.search(key):
        return "has control characters or lone surrogates"
    return None


def url_segment(key: str) -> str:
    """The key as one segment of a URL's path; ``RejectedError`` if no encoding can save it."""
    problem = problem_of(key)
    if problem:
        raise RejectedError(f"the id {key[:80]!r} {problem}", record_id=key)
    return quote(key, safe="")


def is_local(key: str) -> bool:
    """Whether this id was made here to stand in for one that the server will give."""
    return key.startswith(LOCAL_PREFIX)
