"""Builds the two sides of a conflict from the stored server state and the queued items.

Runs inside a storage transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bytelyst_sync.clock import BOOT
from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.replica.view import fold, server_state
from bytelyst_sync.rules.clock_offset import corrected_time
from bytelyst_sync.rules.conflict import Sides
from bytelyst_sync.rules.decimals import names_in
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.rules.patch import apply_patch, compose
from bytelyst_sync.rules.paths import MISSING
from bytelyst_sync.rules.times import record_time, zone_named
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import Item

__all__ = ["pushed_at", "remote_time", "sides_of"]

Json = dict[str, Any]
CREATE, DELETE = SyncOperation.CREATE.value, SyncOperation.DELETE.value


def sides_of(
    work: UnitOfWork, entity: Entity, items: Sequence[Item], remote: Json | None, offset: float
) -> Sides:
    """The sides: the queued operations, and the server's record ``remote``.

    ``offset``: how many seconds the server's clock is ahead of this machine's.
    """
    base = server_state(work.tx, entity, items[0].record)
    edits = _edits(entity, items)
    local_time = pushed_at(work, items)
    server_fields = frozenset(entity.dialect.server_fields)
    users = {
        name
        for name in entity.bookkeeping & edits.keys()
        if base is None or not same_value(edits[name], base.get(name, MISSING))
    }
    return Sides(
        base=base,
        local=fold(entity, base, items),
        remote=remote,
        edits=edits,
        later=_edits(entity, items[1:]),
        rebased=_rebased(entity, items, remote),
        recreated=any(item.operation == DELETE for item in items),
        local_time=None if local_time is None else local_time + offset,
        remote_time=remote_time(entity, remote),
        ignore=server_fields | (entity.bookkeeping - users) | {entity.id_field},
        server_fields=server_fields,
        decimals=names_in(*(item.decimals for item in items)),
        patch=entity.patch_rule,
        asks=entity.on_conflict is not None,
    )


def pushed_at(work: UnitOfWork, items: Sequence[Item]) -> float | None:
    """When the last of these was pushed, corrected to this machine's clock as it is now.

    ``None`` if the clock was wrong at one of the pushes, and it is not known by how much.
    """
    times: list[float] = []
    for item in items:
        here = item.boot == BOOT
        time = corrected_time(
            item.time,
            work.now,
            booted=item.booted if here else None,
            booted_now=work.booted if here else None,
        )
        if time is None:
            return None
        times.append(time)
    return max(times)


def remote_time(entity: Entity, remote: Json | None) -> float | None:
    """When the server's record says that it was changed."""
    dialect = entity.dialect
    return record_time(remote, dialect.updated_at, zone_named(dialect.time_zone))


def _since_delete(items: Sequence[Item]) -> list[Item]:
    """The operations after the last delete, which makes earlier ones irrelevant."""
    since: list[Item] = []
    for item in items:
        since = [] if item.operation == DELETE else [*since, item]
    return since


def _edits(entity: Entity, items: Sequence[Item]) -> Json:
    """The fields that these operations set."""
    edits: Json = {}
    for item in _since_delete(items):
        data = loads(item.data)
        if item.operation == CREATE:
            edits = data
        else:
            edits = compose(edits, data, entity.patch_rule) or {**edits, **data}
    return edits


def _rebased(entity: Entity, items: Sequence[Item], remote: Json | None) -> Json | None:
    """The server's record after these operations; a create sets its fields."""
    if remote is None or items[-1].operation == DELETE:
        return None
    state = remote
    for item in _since_delete(items):
        rule = "shallow" if item.operation == CREATE else entity.patch_rule
        state = apply_patch(state, loads(item.data), rule)
    return state
