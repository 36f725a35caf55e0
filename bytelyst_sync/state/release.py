"""Makes items ready that waited for others, many at once.

Most items wait for the one before it of their own record, and are ready when that one has left the
queue. Whether an item is such a one is found with a few storage calls for all of them. For the
others the next item that they wait for is searched, one by one (``transitions.update_lane``).
"""

from __future__ import annotations

from collections.abc import Iterable

from bytelyst_sync.model import SyncOperation
from bytelyst_sync.state.transitions import update_lane
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ALIASES, ITEMS, LINKS, Item, Lane

__all__ = ["release"]

_DELETE = SyncOperation.DELETE.value


def release(work: UnitOfWork, seqs: Iterable[int]) -> None:
    """Unblocks the items that waited for these, which have left the queue."""
    waiting = work.tx.matching(ITEMS, "blocker", (), seqs)
    if not waiting:
        return
    ready = _next_of_records(work.tx, waiting)
    work.tx.update_many(ITEMS, ready, lane=int(Lane.READY), blocker=None)
    done = {item.seq for item in ready}
    for item in waiting:
        if item.seq not in done:
            update_lane(work, item)


def _next_of_records(tx: Transaction, waiting: list[Item]) -> list[Item]:
    """Those that are the first items of their records, and wait for no item of another record."""
    linked: set[int] = set()
    deletes_wait = next(tx.scan(LINKS, limit=1), None) is not None
    if deletes_wait:
        linked = tx.present(LINKS, None, (), [item.seq for item in waiting])
    by_entity: dict[str, list[Item]] = {}
    for item in waiting:
        if (
            item.lane == Lane.BLOCKED
            and item.due is None
            and item.seq not in linked
            and not (deletes_wait and item.operation == _DELETE)
        ):
            by_entity.setdefault(item.entity, []).append(item)
    found: list[Item] = []
    for entity, items in by_entity.items():
        records = [item.record for item in items]
        # of a record with two ids, a later item may be sent already
        renamed = tx.present(ALIASES, "record", (entity,), records)
        first = tx.first_of_each(ITEMS, "record", (entity,), records)
        found += [
            item
            for item in items
            if item.record not in renamed and first[item.record].seq == item.seq
        ]
    return found
