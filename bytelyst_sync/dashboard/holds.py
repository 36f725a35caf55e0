"""Discards that can be undone: they are kept in the store for 10 seconds, then carried out.

They are rows of the store, so that any process that serves the pages can undo them. A process that
ends before the time is over has discarded nothing: a hold that was missed is dropped by the next
one that comes across it, and its items stay.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator

import attrs

from bytelyst_sync.engine_core import EngineCore
from bytelyst_sync.inspection.listings import unchanged
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import META, Meta

__all__ = ["HELD_S", "Hold", "Holds"]

logger = SafeLogger("bytelyst_sync.dashboard")
HELD_S = 10.0
_MISSED_S = 60.0
_PREFIX = "ops discard/"


@attrs.frozen
class Hold:
    """Failed items that are to be discarded at ``due`` (wall clock), as they were seen."""

    id: str
    due: float
    actor: str
    seen: tuple[str, ...]

    def row(self) -> Meta:
        """The row that is stored."""
        return Meta(_PREFIX + self.id, json.dumps([self.due, self.actor, self.seen]))

    @classmethod
    def of(cls, row: Meta) -> Hold | None:
        """The hold in a stored row; ``None`` if the row is not a hold."""
        try:
            due, actor, seen = json.loads(row.value)
            return cls(row.name.removeprefix(_PREFIX), float(due), str(actor), tuple(seen))
        except (TypeError, ValueError):
            return None


def held(tx: Reader) -> Iterator[Hold]:
    """The holds of a store."""
    for row in tx.scan(META, None, (), after=(_PREFIX,), upto=(_PREFIX + "~",)):
        found = Hold.of(row)
        if found is not None:
            yield found


class Holds:
    """The holds of one store."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core

    def pending(self) -> list[Hold]:
        """The holds that can still be undone, the latest last."""
        now = self._core.clock.wall()
        found = self._core.running().storage.read(lambda tx: list(held(tx)))
        return sorted((each for each in found if now - each.due < _MISSED_S), key=lambda h: h.due)

    def add(self, seen: Iterable[str], actor: str) -> Hold:
        """Plans the discard of these items."""
        due = self._core.clock.wall() + HELD_S
        hold = Hold(secrets.token_hex(8), due, actor, tuple(dict.fromkeys(seen)))
        self._core.write(lambda work, _: work.tx.insert(META, hold.row()))
        return hold

    def undo(self, hold_id: str) -> bool:
        """Drops a hold; false if it was carried out, or undone before."""

        def drop(work: UnitOfWork, _: Runtime) -> bool:
            row = work.tx.get(META, _PREFIX + hold_id)
            if row is not None:
                work.tx.delete(META, row)
            return row is not None

        return self._core.write(drop)

    def finish_due(self) -> float | None:
        """Carries out what is due; returns seconds until the next one (``None``: there is none)."""
        now = self._core.clock.wall()
        found = self._core.running().storage.read(lambda tx: list(held(tx)))
        for hold in found:
            if hold.due <= now:
                self._finish(hold, missed=now - hold.due >= _MISSED_S)
        waits = [hold.due - now for hold in found if hold.due > now]
        # a clock that was set back makes a hold longer, but not for ever
        return min(HELD_S, *waits) if waits else None

    def _finish(self, hold: Hold, *, missed: bool) -> None:
        def discard(work: UnitOfWork, run: Runtime) -> int | None:
            row = work.tx.get(META, _PREFIX + hold.id)
            if row is None:
                return None
            work.tx.delete(META, row)
            if missed:
                return None
            ids = [item.id for item in unchanged(work.tx, hold.seen)]
            return run.control.discard_failed(work, ids) if ids else 0

        dropped = self._core.write(discard)
        if missed:
            logger.warning(
                "a discard of %d failed items by %s was not carried out in time: the items are"
                " still failed; discard them again",
                len(hold.seen),
                hold.actor,
            )
        elif dropped is not None:
            logger.info("%s discarded %d of %d failed items", hold.actor, dropped, len(hold.seen))
