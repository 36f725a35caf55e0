"""Moves an altered or damaged row to a table of its own, so that the queue goes on without it.

Rows that depend on it are repaired: items that waited for a lost item are sent, a lost record is
pulled again, and an item whose conflict is lost has failed and needs a decision.
"""

from __future__ import annotations

import json
import time
from typing import Any

from bytelyst_sync.storage.base import Table, Transaction
from bytelyst_sync.storage.schema import (
    CONFLICTS,
    CURSOR_PREFIX,
    ITEMS,
    LINKS,
    META,
    RECORDS,
    SET_ASIDE,
    Item,
    Lane,
    SetAside,
)

__all__ = ["UnsoundRowError", "set_aside_row"]


class UnsoundRowError(Exception):
    """An altered or damaged row was read. The store sets it aside and runs the work again."""

    def __init__(self, table: Table[Any], row: Any, reason: str) -> None:
        super().__init__(table.name, reason)
        self.table = table
        self.row = row
        self.reason = reason

    def __str__(self) -> str:
        key = ", ".join(str(getattr(self.row, column)) for column in self.table.key)
        return (
            f"{self.table.name} {key}: a stored value {self.reason}; the row was set aside and is"
            " not used. Check the disk and who can write the file; compare with the server or a"
            " backup"
        )


def set_aside_row(tx: Transaction, table: Table[Any], row: Any, reason: str) -> None:
    """Moves the row to the table ``SET_ASIDE``, if it has not changed since it was read."""
    if _current(tx, table, row) != row:
        return
    number = tx.next_number()
    text = json.dumps(dict(zip(table.columns, row, strict=True)), default=str)
    tx.insert(SET_ASIDE, SetAside(number, table.name, text, reason, time.time()))
    tx.delete(table, row)
    if table is ITEMS:
        _release_dependants(tx, row)
    elif table is RECORDS:
        cursor = tx.get(META, CURSOR_PREFIX + row.entity)
        if cursor is not None:
            tx.delete(META, cursor)
    elif table is CONFLICTS:
        _fail_parked(tx, row.number)


def _current(tx: Transaction, table: Table[Any], row: Any) -> Any:
    try:
        return tx.get(table, *(getattr(row, column) for column in table.key))
    except UnsoundRowError as error:
        return error.row


def _release_dependants(tx: Transaction, lost: Item) -> None:
    """Items that waited for the lost one wait for the previous item of its record, or for none."""
    before = tx.scan(
        ITEMS, "record", (lost.entity, lost.record), after=(lost.seq,), limit=1, reverse=True
    )
    previous = next(before, None)
    for item in list(tx.scan(ITEMS, "blocker", (lost.seq,))):
        if previous is not None and (item.entity, item.record) == (lost.entity, lost.record):
            tx.replace(ITEMS, item, item._replace(blocker=previous.seq))
        else:
            lane = Lane.READY if item.lane == Lane.BLOCKED else item.lane
            tx.replace(ITEMS, item, item._replace(blocker=None, lane=int(lane)))
    tx.delete(LINKS, *list(tx.scan(LINKS, prefix=(lost.seq,))))


def _fail_parked(tx: Transaction, conflict: int) -> None:
    for lane in (Lane.PARKED, Lane.ASKING):
        parked = [item for item in _of_lane(tx, lane) if item.conflict == conflict]
        tx.update_many(ITEMS, parked, lane=int(Lane.FAILED), conflict=None)


def _of_lane(tx: Transaction, lane: Lane) -> list[Item]:
    entities = [entity for found, entity in tx.counts(ITEMS) if found == lane]
    return [item for each in entities for item in tx.scan(ITEMS, "lane", (int(lane), each))]
