"""Whether a write may be sent after its record was read: ``check_before_write``."""

from __future__ import annotations

from typing import Any

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.errors import RejectedError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.merge import same
from bytelyst_sync.rules.versions import same_version
from bytelyst_sync.storage.schema import Item

__all__ = ["objection"]


def objection(
    entity: Entity, item: Item, state: dict[str, Any] | None, reading: AttemptResult
) -> AttemptResult | None:
    """Why the item must not be sent, after its record was read; ``None``: it may be sent.

    The known ``state`` may come from a create whose answer was not the whole record. What it lacks
    was filled in by the server then, and is no change of others. A full write needs it, so the
    record that was read is stored first.
    """
    record = reading.record
    if reading.meaning is not Verdict.DELIVERED or record is None or state is None:
        return attrs.evolve(reading, unprocessed=True)
    if item.version is not None and reading.version is not None:
        unchanged, is_known = same_version(item.version, reading.version), True
    else:
        is_known = same(state, record, entity.bookkeeping)
        unchanged = is_known or _only_filled_in(entity, item, state, record)
    if unchanged and not is_known and _is_whole(entity, item):
        return attrs.evolve(reading, meaning=Verdict.STATE)
    if unchanged:
        return None
    error = RejectedError(
        "the record was changed at the server since it was last read",
        entity=entity.name,
        record_id=item.record,
    )
    return attrs.evolve(reading, meaning=Verdict.CONFLICT, error=error, unprocessed=True)


def _only_filled_in(
    entity: Entity, item: Item, state: dict[str, Any], record: dict[str, Any]
) -> bool:
    """Whether the state lacks what the server fills in, and the rest is the same.

    Such a state lacks fields of the server's own too, which each record from the server has.
    """
    if not any(name in record and name not in state for name in entity.bookkeeping):
        return False
    named = state.keys() | loads(item.data).keys()
    known = {name: value for name, value in record.items() if name in named}
    return same(state, known, entity.bookkeeping)


def _is_whole(entity: Entity, item: Item) -> bool:
    return entity.dialect.patch == "full" and item.operation == SyncOperation.UPDATE.value
