"""Ids: one record has one key, and a key never addresses another resource.

Ids compare as strings: ``7`` and ``"7"`` are one record. Characters with a meaning in URLs are
percent-encoded; ids that cannot be encoded safely are refused.

A local id names a record until the server gives its id. Its form is ``local-`` and 32 hexadecimal
digits in the layout of a version 7 UUID (RFC 9562), so it contains the time of its creation.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from enum import Enum
from typing import Any
from urllib.parse import quote

from bytelyst_sync.errors import InvalidDataError, RejectedError

__all__ = [
    "LOCAL_ID",
    "LOCAL_PREFIX",
    "folded_id",
    "is_local",
    "local_id_time",
    "new_local_id",
    "problem_of",
    "record_key",
    "url_segment",
]

LOCAL_PREFIX = "local-"
LOCAL_ID = re.compile("local-[0-9a-f]{32}")

_SOUND = re.compile("[A-Za-z0-9_-]+")
"""Most ids have only these characters, and need no further check."""
_UNCARRIED = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def record_key(value: Any, entity: str, field: str) -> str:
    """The key of the record with this id; raises ``InvalidDataError`` for a value that is no id."""
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
    """Why this text cannot be an id; ``None`` if it can."""
    if not key:
        return "is empty"
    if "." in key and {".", ".."} & set(key.split("/")):
        return "has a '.' or '..' segment, which URLs resolve away"
    if _UNCARRIED.search(key):
        return "has control characters or lone surrogates"
    return None


def folded_id(key: str) -> str:
    """The id in lower case and in normal form C: equal for ids that some servers and file systems
    take for one and the same.
    """
    if key.isascii():
        return key.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", key).casefold())


def url_segment(key: str) -> str:
    """The key as one segment of a URL's path; ``RejectedError`` if it cannot be encoded."""
    problem = problem_of(key)
    if problem:
        raise RejectedError(f"the id {key[:80]!r} {problem}", record_id=key)
    return quote(key, safe="")


def is_local(key: str) -> bool:
    """Whether this is a local id, to be replaced by one that the server gives."""
    return key.startswith(LOCAL_PREFIX)


def new_local_id(now: float, random: bytes) -> str:
    """A local id; ``now`` is seconds since the epoch, ``random`` at least 10 bytes."""
    return f"{LOCAL_PREFIX}{int(now * 1000) & 0xFFFFFFFFFFFF:012x}7{random.hex()[:19]}"


def local_id_time(key: str) -> float | None:
    """When a local id was created, in seconds since the epoch; ``None`` if this is no local id, or
    one of release 0.1, which has no time.
    """
    digits = key.removeprefix(LOCAL_PREFIX)
    if LOCAL_ID.fullmatch(key) is None or digits[12] != "7":
        return None
    return int(digits[:12], 16) / 1000
