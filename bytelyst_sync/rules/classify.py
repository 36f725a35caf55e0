"""Classifies an answer: its verdict is a pure function of its facts.

The dialect's ``answers`` are tested first, then ``exists``, ``conflict`` and ``gone``, then the
status classes.
"""

from __future__ import annotations

import re
from enum import Enum

import attrs

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.model import SyncOperation

__all__ = [
    "FAILURES",
    "NO_ANSWER",
    "WORDS",
    "Doubt",
    "ResponseFacts",
    "Verdict",
    "classify",
    "classify_status",
    "doubt",
    "proves_unprocessed",
    "verdict_by_answers",
]


class Verdict(Enum):
    """What an answer, or its absence, means for the operation."""

    DELIVERED = "delivered"
    GONE = "an update of a record that is not there"
    CONFLICT = "the server's record is not what the change was based on"
    OFFLINE = "no connection made"
    UNKNOWN = "the answer was lost"
    BUSY = "busy"
    OUTAGE = "a gateway answered: the server behind it is down"
    SERVER_ERROR = "server error"
    CREDENTIALS = "credentials refused"
    REJECTED = "rejected"
    REDIRECT = "redirect refused"
    PORTAL = "captive portal"
    UNCLEAR = "accepted, but the answer cannot be understood"
    MAPPING = "the answer does not fit the dialect"
    STATE = "no write yet: the record had to be read first"
    LOOKUP = "no write yet: a lookup must show first that the record is not there"
    FOUND = "a lookup found the record: an earlier attempt was processed"
    NOT_SENT = "not sent: it, or the right to send it, expired while it waited to be sent"


FAILURES = frozenset({Verdict.UNKNOWN, Verdict.OUTAGE, Verdict.SERVER_ERROR})
"""The verdicts that the outage rule applies to: see ``rules/outage.py``."""

NO_ANSWER = FAILURES | {
    Verdict.OFFLINE,
    Verdict.BUSY,
    Verdict.PORTAL,
    Verdict.STATE,
    Verdict.LOOKUP,
    Verdict.NOT_SENT,
}
"""The verdicts that are no answer of the API itself, and so do not prove that it works."""

WORDS = {
    "delivered": Verdict.DELIVERED,
    "exists": Verdict.CONFLICT,
    "conflict": Verdict.CONFLICT,
    "gone": Verdict.GONE,
    "busy": Verdict.BUSY,
    "retry": Verdict.SERVER_ERROR,
    "rejected": Verdict.REJECTED,
    "credentials": Verdict.CREDENTIALS,
    "offline": Verdict.OFFLINE,
}
"""What a dialect's ``answers`` and its ``classify`` may return."""


class Doubt(Enum):
    """Whether a proxy may have sent the answer, so that it must be confirmed."""

    NONE = "no confirmation is needed"
    IF_HELD = "confirm it if the server is known to have had the record"
    IF_UNCHANGED = "confirm it if the record, read afterwards, shows no conflict"
    ALWAYS = "confirm it always: a rejection that is not JSON"


_NEVER_DOUBTED = frozenset({401, 407, 408, 425, 429})
_BY_STATUS = {
    401: Verdict.CREDENTIALS,
    407: Verdict.OFFLINE,
    408: Verdict.SERVER_ERROR,
    425: Verdict.SERVER_ERROR,
    429: Verdict.BUSY,
    # reverse proxies answer these if they cannot reach the server; 520 to 530 are Cloudflare's
    **dict.fromkeys((502, 503, 504, *range(520, 531)), Verdict.OUTAGE),
}


@attrs.frozen
class ResponseFacts:
    """The facts about an answer that classification uses.

    ``text``: the body. ``is_json``: it could be decoded as JSON. ``elsewhere``: a redirect points
    to another host. ``portal``: a captive portal may have answered, because the connection is plain
    http to another machine. ``waits``: there is a valid ``Retry-After``.
    """

    status: int
    text: str = attrs.field(default="", repr=False)
    is_json: bool = True
    elsewhere: bool = False
    portal: bool = True
    waits: bool = False


def classify(operation: SyncOperation, facts: ResponseFacts, dialect: Dialect) -> Verdict:
    """The meaning of an answer to a write."""
    status = facts.status
    stated = verdict_by_answers(facts, dialect) if dialect.answers else None
    if stated is not None:
        return stated
    creates = operation is SyncOperation.CREATE
    if (creates and dialect.exists and _exists(facts, dialect)) or status in dialect.conflict:
        return Verdict.CONFLICT
    if status in dialect.gone and not creates:
        return Verdict.DELIVERED if operation is SyncOperation.DELETE else Verdict.GONE
    verdict = classify_status(facts, json_due=dialect.answer == "json")
    unclear = verdict is Verdict.MAPPING and creates and status < 300
    return Verdict.UNCLEAR if unclear else verdict


def classify_status(facts: ResponseFacts, *, json_due: bool) -> Verdict:
    """The meaning of an answer by its status class alone, as for a read or a page."""
    status = facts.status
    in_between = Verdict.PORTAL if facts.portal else Verdict.MAPPING
    if 200 <= status < 300:
        fits = not json_due or not facts.text.strip() or facts.is_json
        return Verdict.DELIVERED if fits else in_between
    if 300 <= status < 400:
        return in_between if facts.elsewhere else Verdict.REDIRECT
    if status == 511 and facts.portal:
        return Verdict.PORTAL
    if status == 503 and facts.waits:
        return Verdict.BUSY
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Verdict.SERVER_ERROR if status >= 500 else Verdict.REJECTED


def doubt(facts: ResponseFacts, dialect: Dialect, *, creates: bool, is_read: bool) -> Doubt:
    """Whether a refusal must be confirmed before anything is dropped or failed because of it.

    ``is_read``: a reading of the record follows a conflict whose body is empty. If it shows that
    the record has changed, the conflict is proven.
    """
    status = facts.status
    if not 400 <= status < 500 or status in _NEVER_DOUBTED:
        return Doubt.NONE
    if not facts.is_json:
        is_bare_conflict = status in dialect.conflict and not facts.text.strip()
        return Doubt.IF_UNCHANGED if is_read and is_bare_conflict else Doubt.ALWAYS
    return Doubt.IF_HELD if status in dialect.gone and not creates else Doubt.NONE


def verdict_by_answers(facts: ResponseFacts, dialect: Dialect) -> Verdict | None:
    """The meaning of this answer by the dialect's ``answers``, for any operation."""
    for status, pattern, word in dialect.answers:
        if facts.status == status and (pattern is None or re.search(pattern, facts.text)):
            return WORDS[word]
    return None


def _exists(facts: ResponseFacts, dialect: Dialect) -> bool:
    return any(
        facts.status == status and (pattern is None or re.search(pattern, facts.text) is not None)
        for status, pattern in dialect.exists
    )


def proves_unprocessed(meaning: Verdict, status: int | None) -> bool:
    """Whether this attempt cannot have been processed, so that the item is not frozen:
    no connection was made, 401, 425, 429, or another 4xx but 408, 409 and 412.
    """
    if status is None:
        return meaning in (Verdict.OFFLINE, Verdict.CREDENTIALS, Verdict.REJECTED)
    return 400 <= status < 500 and status not in (408, 409, 412)
