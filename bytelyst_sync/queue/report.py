"""The state of the queue after a flush: how many items are queued, failed and parked, and why."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import attrs

from bytelyst_sync.model import Problem
from bytelyst_sync.protocol.error_messages import SEE_FAILED
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["MOST_PROBLEMS", "QueueReport", "queue_report", "reason_in", "status_shown"]

MOST_PROBLEMS = 20
_STATUS = re.compile(r"\bHTTP (\d{3})\b")
_VERB = re.compile(r"(?: in a batch of \S+)? (?:rejected|failed|was not sent): ")
_PROBLEMATIC = (Lane.FAILED, Lane.PARKED, Lane.DELAYED, Lane.READY)


@attrs.frozen
class QueueReport:
    """The queue of some entities. ``has_left``: whether an item that was queued at the call is
    still queued.
    """

    remaining: int
    failed: int
    parked: int
    has_left: bool
    problems: tuple[Problem, ...] = ()


def queue_report(tx: Reader, entities: Collection[str], upto: int) -> QueueReport:
    """Reports on the items of these entities; ``upto`` is the store's last number at the call."""
    counts: dict[int, int] = dict.fromkeys(Lane, 0)
    remaining = 0
    for (lane, entity), number in tx.counts(ITEMS).items():
        remaining += number if lane not in (Lane.FAILED, Lane.PARKED) else 0
        counts[lane] += number if entity in entities else 0
    failed, parked = counts[Lane.FAILED], counts[Lane.PARKED]
    has_left = any(item.lane != Lane.FAILED for item in tx.scan(ITEMS, None, (), upto=(upto,)))
    problems = tuple(_problems(tx, entities)) if failed or parked or has_left else ()
    return QueueReport(remaining, failed, parked, has_left, problems)


def _problems(tx: Reader, entities: Collection[str]) -> Iterator[Problem]:
    left = MOST_PROBLEMS
    for lane in _PROBLEMATIC:
        for entity in entities:
            for item in tx.scan(ITEMS, "lane", (lane, entity), limit=left):
                if left and (item.error is not None or lane in (Lane.FAILED, Lane.PARKED)):
                    left -= 1
                    yield _problem(item)


def _problem(item: Item) -> Problem:
    message = item.error or "both sides changed the record; see engine.conflicts()"
    return Problem(item.entity, item.record, _status_in(message), message)


def _status_in(message: str) -> int | None:
    match = _STATUS.search(message)
    return None if match is None else int(match[1])


def reason_in(message: str, operation: str, entity: str, record: str) -> str:
    """An item's error without the operation, the record and the pointer to ``failed()``: for
    places that show these beside it.
    """
    text = message.removesuffix(SEE_FAILED).removeprefix(f"{entity} {record}: ")
    subject = f"{operation} of {entity}/{record}"
    verb = _VERB.match(text, len(subject)) if text.startswith(subject) else None
    return text if verb is None else text[verb.end() :]


def status_shown(message: str | None) -> str:
    """The HTTP status in an item's error, for a log line: ``" (HTTP 422)"``, or nothing."""
    status = _status_in(message or "")
    return "" if status is None else f" (HTTP {status})"
