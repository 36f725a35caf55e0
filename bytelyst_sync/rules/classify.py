"""What an answer means (SPEC §4): a pure function of the answer's facts.

``exists``, ``conflict`` and ``gone`` are tested before the status classes.
"""

from __future__ import annotations

import re
from enum import Enum

import attrs

from bytelyst_sync.dialect import Dialect
from bytelyst_sync.model import SyncOperation

__all__ = ["WORDS", "Facts", "Meaning", "classify", "classify_status", "proves_unprocessed"]


class Meaning(Enum):
    """The rows of the table."""

    DELIVERED = "delivered"
    GONE = "an update of a record that is not there"
    CONFLICT = "the server's record is not what the change was based on"
    OFFLINE = "no connection made"
    UNKNOWN = "the answer was lost"
    BUSY = "busy"
    SERVER_ERROR = "server error"
    CREDENTIALS = "credentials refused"
    REJECTED = "rejected"
    REDIRECT = "redirect refused"
    PORTAL = "captive portal"
    MAPPING = "the answer does not fit the dialect"
    STATE = "no write yet: the record had to be read first"


WORDS = {
    "delivered": Meaning.DELIVERED,
    "conflict": Meaning.CONFLICT,
    "gone": Meaning.GONE,
    "busy": Meaning.BUSY,
    "retry": Meaning.SERVER_ERROR,
    "rejected": Meaning.REJECTED,
    "credentials": Meaning.CREDENTIALS,
    "offline": Meaning.OFFLINE,
}
"""What a dialect's own ``classify`` may say."""


@attrs.frozen
class Facts:
    """What classification looks at.

    ``text`` is the body, ``is_json`` whether it could be read as JSON; ``elsewhere`` says that a
    redirect points to another host; ``verified`` that TLS vouches for the server.
    """

    status: int
    text: str = attrs.field(default="", repr=False)
    is_json: bool = True
    elsewhere: bool = False
    verified: bool = False


def classify(operation: SyncOperation, facts: Facts, dialect: Dialect) -> Meaning:
    """The meaning of an answer to a write."""
    status = facts.status
    if operation is SyncOperation.CREATE and _exists(facts, dialect):
        return Meaning.CONFLICT
    if status in dialect.conflict:
        return Meaning.CONFLICT
    if status in dialect.gone and operation is SyncOperation.DELETE:
        return Meaning.DELIVERED
    if status in dialect.gone and operation is SyncOperation.UPDATE:
        return Meaning.GONE
    return classify_status(facts, json_due=dialect.answer == "json")


def classify_status(facts: Facts, *, json_due: bool) -> Meaning:
    """The meaning of an answer by its status class alone, as for a read or a page."""
    status = facts.status
    if 200 <= status < 300:
        if not json_due or not facts.text.strip() or facts.is_json:
            return Meaning.DELIVERED
        return Meaning.MAPPING if facts.verified else Meaning.PORTAL
    if 300 <= status < 400:
        if not facts.elsewhere:
            return Meaning.REDIRECT
        return Meaning.MAPPING if facts.verified else Meaning.PORTAL
    if status == 511:
        return Meaning.PORTAL
    if status in (429, 503):
        return Meaning.BUSY
    if status in (408, 425) or status >= 500:
        return Meaning.SERVER_ERROR
    if status == 401:
        return Meaning.CREDENTIALS
    return Meaning.REJECTED


def _exists(facts: Facts, dialect: Dialect) -> bool:
    return any(
        facts.status == status and (pattern is None or re.search(pattern, facts.text) is not None)
        for status, pattern in dialect.exists
    )


def proves_unprocessed(meaning: Meaning, status: int | None) -> bool:
    """Whether this attempt cannot have been processed, so that the item is not frozen (SPEC §2):
    no connection made, 401, 425, 429, or another 4xx but 408, 409 and 412.
    """
    if status is None:
        return meaning in (Meaning.OFFLINE, Meaning.CREDENTIALS, Meaning.REJECTED)
    return 400 <= status < 500 and status not in (408, 409, 412)
