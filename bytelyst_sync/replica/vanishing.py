"""Detects from the answers to writes that the server was wiped or restored from an old backup.

Such a server answers every update with "gone". Each such answer counts as a lacking record, as in
a listing (``max_vanish``). Runs inside a storage transaction.
"""

from __future__ import annotations

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.replica.cursors import load, store
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["gone_is_plausible", "held_back_message", "is_implausible"]

_MOST_COUNTED = 100_000
_LEAST = 10
"""Fewer records than this never count as a mass disappearance."""


def is_implausible(lacking: int, held: int, max_vanish: float) -> bool:
    """Whether more records are lacking than can have been deleted."""
    return max_vanish < 1.0 and lacking >= _LEAST and lacking > max_vanish * held


def gone_is_plausible(work: UnitOfWork, entity: Entity, *, lists_none: bool = False) -> bool:
    """Whether to believe the answer to a write that one more record is gone.

    If not, the entity is held back as after an implausible listing, and the status's reason is
    ``vanished``. ``lists_none``: the server lists no records at all, so all that are held are gone.
    """
    max_vanish = entity.max_vanish
    progress = load(work.tx, entity)
    if lists_none and progress.held_back is not None:
        return False
    lost_rows = work.tx.scan(RECORDS, "lost", (entity.name,), after=(progress.listed,))
    before = sum(1 for _ in lost_rows)
    gone = before + 1
    if lists_none:
        gone = held = before + _held(work.tx, entity, most=_MOST_COUNTED)
    elif not is_implausible(gone, gone, max_vanish):
        return True
    else:
        held = before + _held(work.tx, entity, most=round(gone / max_vanish) if max_vanish else 0)
    if not is_implausible(gone, held, max_vanish):
        return True
    if progress.held_back is None:
        held_back = (0, gone, held)
        store(work.tx, entity, attrs.evolve(progress, held_back=held_back))
        work.effects.vanished[entity.name] = held_back_message(entity.name, held_back)
    return False


def held_back_message(name: str, held_back: tuple[int, int, int]) -> str:
    """The message for the status; ``held_back`` is ``PullProgress.held_back``."""
    _, lacking, held = held_back
    return (
        f"{name}: the server does not have {lacking} of {held} records that are held here; "
        f"was it wiped or restored? None was removed: reconcile({name!r}, accept=True) "
        f"removes them, reupload({name!r}) sends them again"
    )


def _held(tx: Reader, entity: Entity, *, most: int) -> int:
    """How many records are stored; stops counting above ``most``."""
    count = 0
    for row in tx.scan(RECORDS, None, (entity.name,)):
        count += row.state is not None
        if count > most:
            break
    return count
