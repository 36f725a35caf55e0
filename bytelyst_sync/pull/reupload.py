"""Queues creates of the records that a wiped or restored server has lost. Runs inside a storage
transaction.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.replica.cursors import load, store
from bytelyst_sync.replica.view import fold
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.state.transitions import is_changeable, items_of, remove
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import RECORDS, Record

__all__ = ["reupload"]


def reupload(
    work: UnitOfWork, entity: Entity, outbox: Outbox, ids: Collection[str] | None = None
) -> int:
    """Queues creates of the lost records, with their queued edits; returns how many.

    These are the records that the latest listing lacked, if it was not applied, and those that
    disappeared without a tombstone. ``ids`` names any other records instead.
    """
    progress = load(work.tx, entity)
    lost = [
        row
        for row in work.tx.scan(RECORDS, None, (entity.name,))
        if (
            row.record in ids
            if ids is not None
            else _is_lost(row, progress.held_back and progress.held_back[0])
        )
    ]
    queued = sum(_send_again(work, entity, outbox, row) for row in lost)
    if ids is None and progress.held_back is not None:
        store(work.tx, entity, attrs.evolve(progress, held_back=None, listed=work.tx.last_number()))
    return queued


def _is_lost(row: Record, held_back: int | None) -> bool:
    if row.state is None:
        return row.lost_state is not None
    lacking = held_back is not None and row.listed_by != held_back
    return lacking and row.changed_seq <= (held_back or 0)


def _send_again(work: UnitOfWork, entity: Entity, outbox: Outbox, row: Record) -> bool:
    text = row.state if row.state is not None else row.lost_state
    items = items_of(work.tx, entity.name, row.record)
    if text is None or not all(is_changeable(item) for item in items):
        return False
    record = fold(entity, loads(text), items)
    if record is None:
        return False
    for item in reversed(items):
        remove(work, item)
    work.tx.delete(RECORDS, row)
    versions = [each[6:] for each in entity.dialect.version if each.startswith("field:")]
    data = {name: value for name, value in record.items() if name not in versions}
    request = PushRequest(entity, SyncOperation.CREATE, work.now, row.record, data)
    outbox.push(work, [request])
    return True
