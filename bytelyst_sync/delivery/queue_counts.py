"""Reads the numbers that the status shows."""

from __future__ import annotations

from bytelyst_sync.events.status import QueueCounts
from bytelyst_sync.queue.claims import Claims
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.storage.base import Reader, Storage
from bytelyst_sync.storage.schema import ITEMS, Lane

__all__ = ["read_counts"]


def read_counts(storage: Storage, outbox: Outbox, claims: Claims, now: float) -> QueueCounts:
    """Exact numbers of the queue at this instant."""

    def read(tx: Reader) -> QueueCounts:
        queued, failed, conflicts = outbox.counts(tx)
        due = claims.next_due_at(tx, now)
        ready = tx.count(ITEMS, Lane.READY) > 0
        notice = storage.notice or getattr(storage, "listen_problem", None)
        return QueueCounts(queued, failed, conflicts, ready, due, notice)

    return storage.read(read)
