"""Restores deleted records: a create of a record that the server keeps as a tombstone is sent as an
update of it (``Dialect.revive``). Runs inside a storage transaction.
"""

from __future__ import annotations

from typing import Any

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["Revival", "revival_of"]

_SAMPLED = 20


@attrs.frozen
class Revival:
    """An update that restores a record: the tombstone's version, and the value of the mark of
    deletion in a record that exists.
    """

    version: str | int | None
    mark: Any = attrs.field(default=None, repr=False)


def revival_of(tx: Reader, entity: Entity, key: str) -> Revival | None:
    """The update that a create of this record is sent as; ``None``: it is sent as a create."""
    row = tx.get(RECORDS, entity.name, key)
    if row is None or row.state is not None or row.version is None or row.lost_state is not None:
        return None
    for other in tx.scan(RECORDS, None, (entity.name,), limit=_SAMPLED):
        mark = MISSING if other.state is None else at(loads(other.state), entity.tombstone_path)
        if mark is not MISSING:
            return Revival(row.version, mark)
    return Revival(row.version)
