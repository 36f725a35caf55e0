"""The server's record arrives, from a page, a reading or an answer: taken, kept beside, or met
as a conflict (SPEC §5, §6). Runs inside a storage transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bytelyst_sync.entity import Entity
from bytelyst_sync.model import RecordChange, SyncOperation
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.merge import same
from bytelyst_sync.rules.versions import same_version
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.lanes import is_frozen, items_of
from bytelyst_sync.state.replica import watching
from bytelyst_sync.state.resolver import Resolver
from bytelyst_sync.state.server_states import (
    DELETED,
    keep_beside,
    mark_stale,
    put_row,
    replace_state,
)
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ITEMS, RECORDS, Item, Lane, Record
from bytelyst_sync.transport.paging import Row

__all__ = ["Arrivals"]

Json = dict[str, Any]
Version = str | int | None


class Arrivals:
    """Takes in states of records that the server reported."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def arrive_together(
        self,
        tx: Transaction,
        entity: Entity,
        rows: Sequence[Row],
        *,
        began: int,
        effects: Effects,
        now: float,
        seen: int | None = None,
    ) -> int:
        """``arrive`` for the rows of a page; how many were news.

        Those of records that nothing is held of, as in a first pull all are, go in together.
        """
        held = self._held(tx, entity, [row.key for row in rows])
        new: dict[str, Row] = {}
        others: list[Row] = []
        for row in rows:
            if row.key in held or row.key in new:
                others.append(row)
            else:
                new[row.key] = row
        news = self._arrive_new(tx, entity, list(new.values()), effects, seen)
        for row in others:
            news += self.arrive(
                tx,
                entity,
                row.key,
                row.record,
                row.version,
                began=began,
                effects=effects,
                now=now,
                seen=seen,
            )
        return news

    def _held(self, tx: Transaction, entity: Entity, keys: list[str]) -> set[str]:
        """The keys among these that there are rows of, known or queued."""
        prefix = (entity.name,)
        return tx.present(RECORDS, None, prefix, keys) | tx.present(ITEMS, "record", prefix, keys)

    def _arrive_new(
        self, tx: Transaction, entity: Entity, rows: list[Row], effects: Effects, seen: int | None
    ) -> int:
        if not rows:
            return 0
        states = [None if row.record is None else dumps(row.record) for row in rows]
        tx.insert(
            RECORDS,
            *(
                Record(entity.name, row.key, state, row.version, tx.next_number(), seen or 0)
                for row, state in zip(rows, states, strict=True)
            ),
        )
        effects.sighted += 0 if seen is None else len(rows)
        brought = [row for row in rows if row.record is not None]
        if brought:
            effects.note("pulled", entity.name, count=len(brought))
        if effects.watch:
            effects.changes += [
                RecordChange(
                    entity=entity.name,
                    record_id=row.key,
                    before=None,
                    after=row.record,
                    origin="remote",
                )
                for row in brought
            ]
        return len(brought)

    def arrive(
        self,
        tx: Transaction,
        entity: Entity,
        key: str,
        state: Json | None,
        version: Version,
        *,
        began: int,
        effects: Effects,
        now: float,
        seen: int | None = None,
    ) -> bool:
        """The server says that the record is ``state`` (``None``: deleted).

        ``began`` is the store's last number when the request was sent: a state asked for before
        the record last changed here does not replace it; the record is read instead. Returns
        whether it was news.
        """
        row = tx.get(RECORDS, entity.name, key)
        if seen is not None and (row is None or row.seen != seen):
            effects.sighted += 1
            row = row and put_row(tx, row, row._replace(seen=seen))
        if row is not None and self._known(row, state, version):
            self._settle_marks(tx, row)
            return False
        if row is not None and row.stamp > began:
            mark_stale(tx, entity, key)
            return False
        items = items_of(tx, entity.name, key)
        if any(is_frozen(item) for item in items):
            seen_now = seen if seen is not None else (row.seen if row is not None else 0)
            keep_beside(tx, entity, key, state, version, seen_now)
            return False
        with watching(tx, entity, key, "remote", effects):
            news = self._take(tx, entity, key, row, items, state, version, effects, now, seen)
        if news:
            effects.note("pulled", entity.name)
        return news

    def _take(
        self,
        tx: Transaction,
        entity: Entity,
        key: str,
        row: Record | None,
        items: list[Item],
        state: Json | None,
        version: Version,
        effects: Effects,
        now: float,
        seen: int | None,
    ) -> bool:
        old = json.loads(row.state) if row is not None and row.state is not None else None
        known = row is not None and row.stamp > 0
        if not items:
            replace_state(tx, entity, key, row, state, version, seen=seen)
            return not (known and same(old, state, entity.bookkeeping)) and not (
                not known and state is None
            )
        decided = [item for item in items if item.conflict is None]
        if len(decided) < len(items):
            number = next(item.conflict for item in items if item.conflict is not None)
            self._resolver.newer_remote(tx, entity, number, state, version, effects, now)
            settled = tx.get(RECORDS, entity.name, key)
            if settled is not None:
                self._settle_marks(tx, settled)
            return True
        unknown_base = not known and items[0].operation != SyncOperation.CREATE.value
        if (known and same(old, state, entity.bookkeeping)) or (unknown_base and state is not None):
            replace_state(tx, entity, key, row, state, version, seen=seen)
            self._rebase(tx, items[0], version)
            return unknown_base
        self._resolver.meet(tx, entity, items, state, version, effects, now)
        if seen is not None:
            settled = tx.get(RECORDS, entity.name, key)
            if settled is not None:
                put_row(tx, settled, settled._replace(seen=seen))
        return True

    def decide_beside(
        self, tx: Transaction, entity: Entity, key: str, effects: Effects, now: float
    ) -> None:
        """Nothing of the record is frozen any more: what was kept beside it is taken in."""
        row = tx.get(RECORDS, entity.name, key)
        if row is None or row.beside is None:
            return
        if any(is_frozen(item) for item in items_of(tx, entity.name, key)):
            return
        state = None if row.beside == DELETED else json.loads(row.beside)
        put_row(tx, row, row._replace(beside=None, beside_version=None))
        self.arrive(
            tx,
            entity,
            key,
            state,
            row.beside_version,
            began=max(row.stamp, tx.last_number()),
            effects=effects,
            now=now,
        )

    def _known(self, row: Record, state: Json | None, version: Version) -> bool:
        """Whether this is the state that is already held."""
        if row.stamp == 0:
            return False
        if state is None or row.state is None:
            return state is None and row.state is None
        if version is not None and row.version is not None:
            return same_version(version, row.version)
        return bool(json.loads(row.state) == state)

    def _settle_marks(self, tx: Transaction, row: Record) -> None:
        if row.stale is not None or row.beside is not None:
            put_row(tx, row, row._replace(stale=None, beside=None, beside_version=None))

    def _rebase(self, tx: Transaction, head: Item, version: Version) -> None:
        if head.operation != SyncOperation.CREATE.value and head.lane != Lane.SENDING:
            tx.replace(ITEMS, head, head._replace(version=version))
