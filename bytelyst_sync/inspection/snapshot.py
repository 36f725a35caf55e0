"""The numbers of a store at one instant, read in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.config.entity import compile_entities
from bytelyst_sync.inspection.deliverer import Deliverer, find_deliverer
from bytelyst_sync.inspection.settings import Settings
from bytelyst_sync.model import StatusReason
from bytelyst_sync.queue.line import Line
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import CONFLICTS, ITEMS, OPEN, Item, Lane

__all__ = ["LANES", "Numbers", "Snapshot", "Trouble", "take_snapshot"]

LANES = {
    Lane.READY: "ready",
    Lane.DELAYED: "retrying",
    Lane.BLOCKED: "blocked",
    Lane.SENDING: "sending",
    Lane.ASKING: "asking",
    Lane.FAILED: "failed",
    Lane.PARKED: "parked",
}
_NOT_WAITING = ("failed", "parked")


@attrs.define
class Numbers:
    """The numbers of an entity's items, by state."""

    ready: int = 0
    retrying: int = 0
    blocked: int = 0
    sending: int = 0
    asking: int = 0
    failed: int = 0
    parked: int = 0

    @property
    def waiting(self) -> int:
        """Queued and not yet delivered; neither failed nor parked."""
        return self.ready + self.retrying + self.blocked + self.sending + self.asking

    def as_json(self) -> dict[str, int]:
        """The documented shape."""
        return {"waiting": self.waiting, **attrs.asdict(self)}

    def __add__(self, other: Numbers) -> Numbers:
        mine, others = attrs.asdict(self), attrs.asdict(other)
        return Numbers(**{name: mine[name] + others[name] for name in mine})


@attrs.frozen
class Trouble:
    """The error of one item."""

    entity: str
    record_id: str
    error: str

    def __str__(self) -> str:
        return self.error


@attrs.frozen
class Snapshot:
    """A store at one instant. Times are aware UTC datetimes."""

    exists: bool = True
    entities: dict[str, Numbers] = attrs.field(factory=dict)
    conflicts: int = 0
    oldest: datetime | None = None
    next_retry: datetime | None = None
    trouble: Trouble | None = None
    deliverer: str | None = None
    """The process that delivers."""
    reason: StatusReason | None = None

    @property
    def total(self) -> Numbers:
        """All entities together."""
        return sum(self.entities.values(), Numbers())

    def as_json(self) -> dict[str, Any]:
        """The documented shape."""
        total = self.total
        return {
            "exists": self.exists,
            "queue_length": total.waiting,
            "failed": total.failed,
            "conflicts": self.conflicts,
            "queue": total.as_json(),
            "entities": {name: each.as_json() for name, each in self.entities.items()},
            "oldest": _iso(self.oldest),
            "next_retry": _iso(self.next_retry),
            "last_error": None if self.trouble is None else self.trouble.error,
            "reason": self.reason,
            "deliverer": self.deliverer,
        }


def take_snapshot(tx: Reader, settings: Settings | None = None) -> Snapshot:
    """Reads the numbers. It takes the same time with one and with a million queued items.

    ``settings`` are needed for the process that delivers, and for the reason of a delay.
    """
    entities: dict[str, Numbers] = {}
    for (lane, name), number in sorted(tx.counts(ITEMS).items(), key=lambda each: each[0][1]):
        numbers = entities.setdefault(name, Numbers())
        setattr(numbers, LANES[Lane(lane)], number)
    firsts = [
        item
        for lane, word in LANES.items()
        if word not in _NOT_WAITING
        for name in entities
        for item in tx.scan(ITEMS, "lane", (lane, name), limit=1)
    ]
    due = next(tx.scan(ITEMS, "due", limit=1), None)
    deliverer = None
    if settings is not None:
        deliverer = find_deliverer(tx, settings.store, settings.config.takeover_after)
    return Snapshot(
        entities=entities,
        conflicts=tx.count(CONFLICTS, OPEN),
        oldest=as_datetime(min(item.time for item in firsts)) if firsts else None,
        next_retry=None if due is None or due.due is None else as_datetime(due.due),
        trouble=_trouble(tx, entities, due),
        deliverer=None if deliverer is None or not deliverer.delivers else deliverer.name,
        reason=_reason(tx, settings, deliverer),
    )


def _reason(
    tx: Reader, settings: Settings | None, deliverer: Deliverer | None
) -> StatusReason | None:
    """Why delivery is held up, as far as the store shows."""
    if deliverer is not None and deliverer.silent:
        return "deliverer"
    if settings is None or settings.config.order != "strict":
        return None
    queue = Line(compile_entities(settings.config), strict=True)
    return None if queue.stopped_by(tx) is None else "blocked"


def _trouble(tx: Reader, entities: dict[str, Numbers], due: Item | None) -> Trouble | None:
    """The error of the next item to be retried, else of the first failed item."""
    failed = (
        item for name in entities for item in tx.scan(ITEMS, "lane", (Lane.FAILED, name), limit=1)
    )
    for item in (due, *failed):
        if item is not None and item.error:
            return Trouble(item.entity, item.record, item.error)
    return None


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
