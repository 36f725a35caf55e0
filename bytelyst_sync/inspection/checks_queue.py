"""Checks of the queue: failed items, conflicts, items that are not delivered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from bytelyst_sync.inspection.deliverer import find_deliverer
from bytelyst_sync.inspection.doctor_context import Check, DoctorContext, Finding, ok, warn
from bytelyst_sync.inspection.snapshot import Snapshot, take_snapshot
from bytelyst_sync.inspection.text import count_of, moment
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["CHECKS"]

_OLD = timedelta(days=1)
_AT_MOST = 1000


def _snapshot(context: DoctorContext) -> Snapshot | None:
    return context.read(take_snapshot)


def failed(context: DoctorContext) -> Iterator[Finding]:
    """Checks that there are no failed items and no open conflicts."""
    snapshot = _snapshot(context)
    if snapshot is None:
        return
    number = snapshot.total.failed
    if number:
        reason = f": {snapshot.trouble}" if snapshot.trouble is not None else ""
        yield warn(
            "failed",
            f"{count_of(number, 'item')} failed; later changes of the same record wait{reason}",
            "`bytelyst-sync failed list`, then `failed retry` or `failed discard`",
        )
    if snapshot.conflicts:
        yield warn(
            "conflicts",
            f"{count_of(snapshot.conflicts, 'conflict')} parked: the records stay as they are here",
            "`bytelyst-sync conflicts list`, then `conflicts resolve`",
        )


def stuck(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the process that sends items is still alive."""
    snapshot = _snapshot(context)
    if snapshot is None or context.settings is None:
        return
    store, takeover_after_s = context.settings.store, context.settings.config.takeover_after
    deliverer = context.read(lambda tx: find_deliverer(tx, store, takeover_after_s))
    if deliverer is None:
        return
    if snapshot.total.sending and not deliverer.lives:
        yield warn(
            "queue",
            f"{count_of(snapshot.total.sending, 'item')} stuck in sending: process {deliverer.pid} "
            "ended while it sent them",
            "`bytelyst-sync flush` (or the next start of the program) sends them again, under the "
            "same keys",
        )
    elif deliverer.silent:
        yield warn(
            "queue",
            f"{deliverer.name} delivers, and gives no sign of life",
            f"continue it (kill -CONT {deliverer.pid}) or end it; another process takes over "
            f"after {takeover_after_s:g} s",
        )


def waiting(context: DoctorContext) -> Iterator[Finding]:
    """Checks that no item has waited for long, and that few are being retried."""
    snapshot = _snapshot(context)
    if snapshot is None:
        return
    total = snapshot.total
    old = snapshot.oldest is not None and datetime.now(timezone.utc) - snapshot.oldest > _OLD
    if old and snapshot.oldest is not None:
        yield warn(
            "queue",
            f"{total.waiting} waiting, the oldest queued {moment(snapshot.oldest)}",
            "is the program running? `bytelyst-sync flush` delivers now and says what hinders",
        )
    elif total.retrying:
        reason = "" if snapshot.trouble is None else f" ({snapshot.trouble})"
        yield warn(
            "queue",
            f"{total.waiting} waiting, {total.retrying} of them for another try{reason}",
            "`bytelyst-sync queue` shows until when",
        )
    else:
        yield ok("queue", f"{total.waiting} waiting")


def foreign(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the entities of all queued items are configured."""
    snapshot = _snapshot(context)
    if snapshot is None or context.config is None:
        return
    strange = {
        name: numbers
        for name, numbers in snapshot.entities.items()
        if name not in context.config.entities
    }
    for name, numbers in strange.items():
        number = numbers.waiting + numbers.failed + numbers.parked
        yield warn(
            "entities",
            f"{count_of(number, 'item')} of the entity {name!r}, which is not configured here",
            f'add it to [entities], or run the program that has it: {name} = "/…"',
        )


def stale(context: DoctorContext) -> Iterator[Finding]:
    """Counts the records that must be read again, because an answer was lost."""
    config = context.config
    if config is None:
        return

    def count(tx: Reader) -> int:
        return sum(
            1
            for name in config.entities
            for _ in tx.scan(RECORDS, "needs_refresh", (name,), limit=_AT_MOST)
        )

    number = context.read(count)
    if number:
        yield ok("records", f"{count_of(number, 'record')} will be read again from the server")


CHECKS: tuple[Check, ...] = (waiting, failed, stuck, foreign, stale)
