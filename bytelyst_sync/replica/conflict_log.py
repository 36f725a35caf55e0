"""Stores conflicts: the open ones, and for some time the settled ones with the side that lost.

Runs inside a storage transaction.
"""

from __future__ import annotations

import json
from typing import Any

from bytelyst_sync.rules.conflict import Sides, real_conflicts
from bytelyst_sync.rules.json_text import dumps
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import CONFLICTS, OPEN, SETTLED, ConflictRow, Item

__all__ = ["add_open", "add_settled", "settle"]

_KEPT_S = 30 * 86_400.0
_KEPT_NUMBER = 1000
_PRUNED_AT_ONCE = 10


def add_settled(
    work: UnitOfWork, items: list[Item], sides: Sides, version: str | int | None, side: str
) -> None:
    """Stores a conflict that a strategy has settled."""
    row = _row(work, items, sides, version)
    work.tx.insert(CONFLICTS, _closed(work, row, side))
    _prune(work)


def add_open(
    work: UnitOfWork, items: list[Item], sides: Sides, version: str | int | None, stage: int
) -> ConflictRow:
    """Stores a conflict that a callback or a person must decide."""
    row = _row(work, items, sides, version)._replace(stage=stage)
    work.tx.insert(CONFLICTS, row)
    return row


def settle(work: UnitOfWork, row: ConflictRow, side: str) -> None:
    """Marks an open conflict as settled; ``side`` won."""
    work.tx.replace(CONFLICTS, row, _closed(work, row, side))
    _prune(work)


def _row(
    work: UnitOfWork, items: list[Item], sides: Sides, version: str | int | None
) -> ConflictRow:
    number = work.tx.next_number()
    return ConflictRow(
        number=number,
        entity=items[0].entity,
        record=items[0].record,
        operation=items[-1].operation,
        local=_text(sides.local),
        remote=_text(sides.remote),
        base=_text(sides.base),
        version=version,
        local_time=max(item.time for item in items),
        remote_time=sides.remote_time,
        fields=json.dumps(real_conflicts(sides)),
        open=number,
        stage=OPEN,
    )


def _text(value: dict[str, Any] | None) -> str | None:
    return None if value is None else dumps(value)


def _closed(work: UnitOfWork, row: ConflictRow, side: str) -> ConflictRow:
    return row._replace(
        open=None,
        stage=SETTLED,
        resolution=side,
        closed=work.tx.next_number(),
        closed_time=work.now,
    )


def _prune(work: UnitOfWork) -> None:
    """Deletes settled conflicts older than 30 days, but keeps the newest 1,000 of any age."""
    excess = work.tx.count(CONFLICTS, SETTLED) - _KEPT_NUMBER
    if excess <= 0:
        return
    for row in list(work.tx.scan(CONFLICTS, "closed", limit=min(excess, _PRUNED_AT_ONCE))):
        if row.closed_time is not None and row.closed_time < work.now - _KEPT_S:
            work.tx.delete(CONFLICTS, row)
