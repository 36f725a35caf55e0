"""Checks of what is in the queue: what failed, what is in conflict, what does not move on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from bytelyst_sync.cli.case import Case, Check, Finding, ok, warn
from bytelyst_sync.cli.look import Snapshot, look
from bytelyst_sync.cli.show import count_of, moment
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["CHECKS"]

_OLD = timedelta(days=1)
_AT_MOST = 1000


def _snapshot(case: Case) -> Snapshot | None:
    return case.read(look)


def failed(case: Case) -> Iterator[Finding]:
    """Nothing waits for a decision."""
    found = _snapshot(case)
    if found is None:
        return
    number = found.total.failed
    if number:
        said = f": {found.trouble}" if found.trouble is not None else ""
        yield warn(
            "failed",
            f"{count_of(number, 'item')} failed; later changes of the same record wait{said}",
            "`bytelyst-sync failed list`, then `failed retry` or `failed discard`",
        )
    if found.conflicts:
        yield warn(
            "conflicts",
            f"{count_of(found.conflicts, 'conflict')} parked: the records stay as they are here",
            "`bytelyst-sync conflicts list`, then `conflicts resolve`",
        )


def stuck(case: Case) -> Iterator[Finding]:
    """What is marked as being sent has a sender that lives."""
    found = _snapshot(case)
    if found is None or case.store is None or not found.total.sending:
        return
    sender = _pid(case)
    if sender is not None and not _lives(sender):
        yield warn(
            "queue",
            f"{count_of(found.total.sending, 'item')} stuck in sending: process {sender} ended at "
            "it",
            "`bytelyst-sync flush` (or the next start of the program) sends them again, under the "
            "same keys",
        )


def _pid(case: Case) -> int | None:
    """Who took the right to deliver last, as far as that is known."""
    if case.store is None or os.name != "posix":
        return None
    try:
        text = case.store.with_name(case.store.name + ".deliver").read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdigit() else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def waiting(case: Case) -> Iterator[Finding]:
    """What waits is not old, and is retried without much trouble."""
    found = _snapshot(case)
    if found is None:
        return
    total = found.total
    old = found.oldest is not None and datetime.now(timezone.utc) - found.oldest > _OLD
    if old and found.oldest is not None:
        yield warn(
            "queue",
            f"{total.waiting} waiting, the oldest queued {moment(found.oldest)}",
            "is the program running? `bytelyst-sync flush` delivers now and says what hinders",
        )
    elif total.retrying:
        said = "" if found.trouble is None else f" ({found.trouble})"
        yield warn(
            "queue",
            f"{total.waiting} waiting, {total.retrying} of them for another try{said}",
            "`bytelyst-sync queue` shows until when",
        )
    else:
        yield ok("queue", f"{total.waiting} waiting")


def foreign(case: Case) -> Iterator[Finding]:
    """Every queued item is of an entity that is configured."""
    found = _snapshot(case)
    if found is None or case.config is None:
        return
    strange = {
        name: numbers
        for name, numbers in found.entities.items()
        if name not in case.config.entities
    }
    for name, numbers in strange.items():
        number = numbers.waiting + numbers.failed + numbers.parked
        yield warn(
            "entities",
            f"{count_of(number, 'item')} of the entity {name!r}, which is not configured here",
            f'add it to [entities], or run the program that has it: {name} = "/…"',
        )


def stale(case: Case) -> Iterator[Finding]:
    """Records that must be read again, because an answer was lost."""
    config = case.config
    if config is None:
        return

    def count(tx: Reader) -> int:
        return sum(
            1
            for name in config.entities
            for _ in tx.scan(RECORDS, "stale", (name,), limit=_AT_MOST)
        )

    number = case.read(count)
    if number:
        yield ok("records", f"{count_of(number, 'record')} will be read again from the server")


CHECKS: tuple[Check, ...] = (waiting, failed, stuck, foreign, stale)
