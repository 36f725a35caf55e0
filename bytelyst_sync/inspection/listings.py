"""Pages of the queue and of the failed items. Reading one costs the same wherever it begins."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Callable, Collection, Iterator

import attrs

from bytelyst_sync.inspection.snapshot import LANES
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.queue.report import reason_in
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["Failed", "FailedPage", "ItemPage", "failed_page", "fingerprint", "items_page"]
__all__ += ["STATES", "later_items", "reason_of", "unchanged"]

_MOST_EXAMINED = 2000
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_URL = re.compile(r"^https?://\S+: | from https?://[^\s:]+(?::\d+)?[^\s:]*(?=[:;]|$)")
_DIGITS = re.compile(r"(?<!HTTP )\b\d{4,}\b")
_LONGEST_REASON = 160


@attrs.frozen
class ItemPage:
    """Some items in the order of the queue. ``after``: the argument for the next page."""

    items: list[Item]
    after: int | None


def items_page(
    tx: Reader,
    lanes: Collection[Lane],
    *,
    entity: str | None = None,
    after: int | None = None,
    limit: int = 50,
) -> ItemPage:
    """The items of these lanes after a position."""
    start = None if after is None else (after,)
    scans = [
        tx.scan(ITEMS, "lane", (lane, name), after=start, limit=limit + 1)
        for lane, name in tx.counts(ITEMS)
        if lane in lanes and entity in (None, name)
    ]
    merged = heapq.merge(*scans, key=lambda item: item.position)
    items = [item for item, _ in zip(merged, range(limit + 1), strict=False)]
    more = len(items) > limit
    items = items[:limit]
    return ItemPage(items, items[-1].position if more else None)


def later_items(tx: Reader, item: Item) -> list[Item]:
    """The later items of the same record: with a failed create they are dropped as well."""
    if item.operation != SyncOperation.CREATE.value:
        return []
    return [
        each
        for each in tx.scan(ITEMS, "record", (item.entity, item.record), after=(item.seq,))
        if not each.expired
    ]


def fingerprint(tx: Reader, item: Item) -> str:
    """A hash of an item as it is shown to a user. It changes with the item's content, its error,
    each attempt, and the later items that are dropped with it.
    """
    later = [(each.seq, each.id) for each in later_items(tx, item)]
    parts = (item.id, item.lane, item.retries, item.error, item.data, later)
    return f"{item.seq}.{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}"


def reason_of(item: Item) -> str:
    """The error of an item without the parts that differ between records, for grouping."""
    text = " ".join((item.error or "no reason is stored").split())
    text = reason_in(text, item.operation, item.entity, item.record)
    text = _URL.sub("", text)
    if len(item.record) > 2:
        text = text.replace(item.record, "…")
    text = _DIGITS.sub("…", _UUID.sub("…", text))
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 1]}…"


@attrs.frozen
class Failed:
    """A failed item, as it is shown to a user."""

    item: Item
    seen: str
    """Its fingerprint."""
    reason: str
    later: int
    """How many later items of its record are dropped with it."""


@attrs.frozen
class FailedPage:
    """Failed items that match, oldest first.

    ``reasons`` counts the reasons of the items that were examined. ``after`` is the argument for
    the next page; ``examined_all``: there are no more items.
    """

    rows: list[Failed]
    reasons: dict[str, int]
    after: int | None
    examined_all: bool


def failed_page(
    tx: Reader,
    *,
    entity: str | None = None,
    reason: str | None = None,
    matches: Callable[[Item], bool] | None = None,
    after: int | None = None,
    limit: int = 50,
) -> FailedPage:
    """Failed items by reason. At most 2,000 of them are examined for one page."""
    reasons: dict[str, int] = {}
    rows: list[Failed] = []
    page = items_page(tx, (Lane.FAILED,), entity=entity, after=after, limit=_MOST_EXAMINED)
    rest = None
    for item in page.items:
        text = reason_of(item)
        reasons[text] = reasons.get(text, 0) + 1
        if reason not in (None, text) or (matches is not None and not matches(item)):
            continue
        if len(rows) < limit:
            rows.append(Failed(item, fingerprint(tx, item), text, len(later_items(tx, item))))
        elif rest is None:
            rest = rows[-1].item.position
    ordered = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    return FailedPage(rows, dict(ordered), rest or page.after, page.after is None)


def unchanged(tx: Reader, seen: Collection[str]) -> Iterator[Item]:
    """The items with these fingerprints that are still failed, and have not changed."""
    for each in dict.fromkeys(seen):
        number, _, _ = each.partition(".")
        if number.isascii() and number.isdigit() and len(number) < 19:
            item = tx.get(ITEMS, int(number))
            if item is not None and item.lane == Lane.FAILED and fingerprint(tx, item) == each:
                yield item


STATES = {word: lane for lane, word in LANES.items()}
"""The lanes by their names for users."""
