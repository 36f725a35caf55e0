"""After a full listing: what it did not bring is gone at the server (SPEC §6).

Only records whose server state is older than the listing are taken to be gone. With queued edits
that is a conflict of an edit and a delete; under a filter (``params``) it may only mean that the
record left the filter, so one with queued edits is read instead. Runs in a storage transaction.
"""

from __future__ import annotations

from bytelyst_sync.entity import Entity
from bytelyst_sync.state.arrivals import Arrivals
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.lanes import first
from bytelyst_sync.state.server_states import mark_stale
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["sweep_page"]

_PAGE = 500


def sweep_page(
    tx: Transaction,
    entity: Entity,
    arrivals: Arrivals,
    full: int,
    after: str | None,
    effects: Effects,
    now: float,
) -> str | None:
    """Looks at one page of held records; returns the key to go on after, ``None`` at the end.

    Tombstones older than the listing are dropped with it: it was complete without them.
    """
    bound = None if after is None else (after,)
    rows = list(tx.scan(RECORDS, None, (entity.name,), after=bound, limit=_PAGE))
    for row in rows:
        if row.seen == full or row.stamp > full:
            continue
        queued = first(tx, entity.name, row.record) is not None
        if row.state is None:
            if not queued and row.beside is None and row.stale is None:
                tx.delete(RECORDS, row)
        elif queued and entity.config.params:
            mark_stale(tx, entity, row.record)
        else:
            began = tx.last_number()
            effects.pulled += arrivals.arrive(
                tx, entity, row.record, None, None, began=began, effects=effects, now=now
            )
    return rows[-1].record if len(rows) == _PAGE else None
