"""Applies the states of records that the server returned in a page, a read or an answer.

A state is stored, deferred until the outcome of an operation is known, or handled as a conflict.
Runs inside a storage transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import RecordChange, SyncOperation
from bytelyst_sync.protocol.page_rows import Row
from bytelyst_sync.replica.conflicts import Resolver
from bytelyst_sync.replica.server_ids import forget_aliases
from bytelyst_sync.replica.server_state import (
    DELETED,
    defer_state,
    mark_stale,
    put_row,
    replace_state,
)
from bytelyst_sync.replica.similar_ids import folded_column, report_similar
from bytelyst_sync.replica.view import track_change
from bytelyst_sync.rules.json_text import dumps, loads
from bytelyst_sync.rules.merge import same
from bytelyst_sync.rules.versions import same_version
from bytelyst_sync.state.transitions import is_frozen, items_of
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import (
    ASKED,
    CONFLICTS,
    ITEMS,
    OPEN,
    RECORDS,
    ConflictRow,
    Item,
    Lane,
    Record,
)

__all__ = ["RemoteChanges"]

Json = dict[str, Any]
Version = str | int | None


class RemoteChanges:
    """Applies states of records that the server returned."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def apply_page(
        self,
        work: UnitOfWork,
        entity: Entity,
        rows: Sequence[Row],
        *,
        began: int,
        listed_by: int | None = None,
        by_content: bool = False,
    ) -> int:
        """``apply`` for the rows of a page; returns how many changed something.

        Unknown records, as in a first pull, are inserted together.
        """
        held = self._held(work.tx, entity, [row.key for row in rows])
        new: dict[str, Row] = {}
        others: list[Row] = []
        for row in rows:
            if row.key in held or row.key in new:
                others.append(row)
            else:
                new[row.key] = row
        news = self._apply_new(work, entity, list(new.values()), listed_by)
        for row in others:
            news += self.apply(
                work,
                entity,
                row.key,
                row.record,
                row.version,
                began=began,
                listed_by=listed_by,
                by_content=by_content,
            )
        return news

    def _held(self, tx: Transaction, entity: Entity, keys: list[str]) -> set[str]:
        """The keys with a stored server state or queued items."""
        prefix = (entity.name,)
        return tx.present(RECORDS, None, prefix, keys) | tx.present(ITEMS, "record", prefix, keys)

    def _apply_new(
        self,
        work: UnitOfWork,
        entity: Entity,
        rows: list[Row],
        listed_by: int | None,
    ) -> int:
        if not rows:
            return 0
        folded = {row.key: folded_column(row.key) for row in rows}
        report_similar(work, entity, folded)
        forget_aliases(work, entity, [row.key for row in rows if row.record is not None])
        work.tx.insert(
            RECORDS,
            *(
                Record(
                    entity.name,
                    row.key,
                    row.text,
                    row.version,
                    work.tx.next_number(),
                    listed_by or 0,
                    folded=folded[row.key],
                )
                for row in rows
            ),
        )
        work.effects.sighted += 0 if listed_by is None else len(rows)
        existing = [row for row in rows if row.record is not None]
        if existing:
            work.effects.note("pulled", entity.name, count=len(existing))
        if work.effects.watch:
            work.effects.changes += [
                RecordChange(
                    entity=entity.name,
                    record_id=row.key,
                    before=None,
                    after=row.record,
                    origin="remote",
                )
                for row in existing
            ]
        return len(existing)

    def apply(
        self,
        work: UnitOfWork,
        entity: Entity,
        key: str,
        state: Json | None,
        version: Version,
        *,
        began: int,
        listed_by: int | None = None,
        by_content: bool = False,
    ) -> bool:
        """Applies the record's ``state`` at the server (``None``: deleted).

        ``began`` is the store's last number when the request was sent. If the record has changed
        here since then, the state may be outdated: it is not stored, and the record is marked to
        be read again. ``by_content``: compares contents even if versions are equal, as after the
        server was restored. Returns whether the state was new.
        """
        row = work.tx.get(RECORDS, entity.name, key)
        if state is not None and (row is None or row.state is None):
            forget_aliases(work, entity, [key])
        if listed_by is not None and (row is None or row.listed_by != listed_by):
            work.effects.sighted += 1
            row = row and put_row(work.tx, row, row._replace(listed_by=listed_by))
        known = row is not None and self._known(row, state, version, by_content=by_content)
        conflict = _open_conflict(work.tx, entity, key) if known else None
        if conflict is not None and not same_version(conflict.version, version):
            if conflict.number > began:
                mark_stale(work.tx, entity, key)
                return False
            known = False  # the server went back to what both sides started from
        if row is not None and known and same_version(version, row.version):
            return self._take_known(work, entity, row, state)
        if row is not None and not known and row.changed_seq > began:
            mark_stale(work.tx, entity, key)
            return False
        items = items_of(work.tx, entity.name, key)
        under_way = any(is_frozen(item) for item in items)
        if row is not None and known and not under_way:
            return self._take_known(work, entity, row, state)
        # while an answer is still to come, a known state without a version may also be a newer one
        if under_way:
            seen_now = (
                listed_by if listed_by is not None else (row.listed_by if row is not None else 0)
            )
            defer_state(work.tx, entity, key, state, version, seen_now)
            return False
        with track_change(work, entity, key, "remote"):
            news = self._take(work, entity, key, row, items, state, version, listed_by)
        if news:
            work.effects.note("pulled", entity.name)
        return news

    def _take(
        self,
        work: UnitOfWork,
        entity: Entity,
        key: str,
        row: Record | None,
        items: list[Item],
        state: Json | None,
        version: Version,
        listed_by: int | None,
    ) -> bool:
        old = loads(row.state) if row is not None and row.state is not None else None
        known = row is not None and row.changed_seq > 0
        if not items:
            replace_state(work.tx, entity, key, row, state, version, listed_by=listed_by)
            return not (known and same(old, state, entity.bookkeeping)) and not (
                not known and state is None
            )
        decided = [item for item in items if item.conflict is None]
        if len(decided) < len(items):
            number = next(item.conflict for item in items if item.conflict is not None)
            self._resolver.update_open(work, entity, number, state, version)
            settled = work.tx.get(RECORDS, entity.name, key)
            if settled is not None:
                self._clear_marks(work.tx, settled)
            return True
        unknown_base = not known and items[0].operation != SyncOperation.CREATE.value
        if (known and same(old, state, entity.bookkeeping)) or (unknown_base and state is not None):
            replace_state(work.tx, entity, key, row, state, version, listed_by=listed_by)
            self._rebase(work.tx, items[0], version)
            return unknown_base
        self._resolver.resolve_queued(work, entity, items, state, version)
        if listed_by is not None:
            settled = work.tx.get(RECORDS, entity.name, key)
            if settled is not None:
                put_row(work.tx, settled, settled._replace(listed_by=listed_by))
        return True

    def apply_deferred(self, work: UnitOfWork, entity: Entity, key: str) -> None:
        """Applies the record's deferred state, if no item of the record is frozen any more."""
        row = work.tx.get(RECORDS, entity.name, key)
        if row is None or row.deferred_state is None:
            return
        if any(is_frozen(item) for item in items_of(work.tx, entity.name, key)):
            return
        state = None if row.deferred_state == DELETED else loads(row.deferred_state)
        put_row(work.tx, row, row._replace(deferred_state=None, deferred_version=None))
        self.apply(
            work,
            entity,
            key,
            state,
            row.deferred_version,
            began=max(row.changed_seq, work.tx.last_number()),
        )

    def _known(
        self, row: Record, state: Json | None, version: Version, *, by_content: bool
    ) -> bool:
        """Whether this state is already stored."""
        if row.changed_seq == 0:
            return False
        if state is None or row.state is None:
            return state is None and row.state is None
        versions = version is not None and row.version is not None
        if versions and not (by_content and same_version(version, row.version)):
            return same_version(version, row.version)
        return bool(loads(row.state) == state)

    def _take_known(
        self, work: UnitOfWork, entity: Entity, row: Record, state: Json | None
    ) -> bool:
        """Completes the stored state: the answer to the write that led to this version may not have
        contained the fields that the server set.
        """
        self._clear_marks(work.tx, row)
        text = None if state is None else dumps(state)
        if text == row.state:
            return False
        news = not same(loads(row.state or DELETED), state, entity.bookkeeping)
        settled = work.tx.get(RECORDS, entity.name, row.record) or row
        with track_change(work, entity, row.record, "remote") if news else nullcontext():
            put_row(work.tx, settled, settled._replace(state=text))
        return news

    def _clear_marks(self, tx: Transaction, row: Record) -> None:
        if row.needs_refresh is not None or row.deferred_state is not None:
            put_row(
                tx,
                row,
                row._replace(needs_refresh=None, deferred_state=None, deferred_version=None),
            )

    def _rebase(self, tx: Transaction, head: Item, version: Version) -> None:
        if head.operation != SyncOperation.CREATE.value and head.lane != Lane.SENDING:
            tx.replace(ITEMS, head, head._replace(version=version))


def _open_conflict(tx: Transaction, entity: Entity, key: str) -> ConflictRow | None:
    """The record's open conflict."""
    if not (tx.count(CONFLICTS, OPEN) or tx.count(CONFLICTS, ASKED)):
        return None
    return next(tx.scan(CONFLICTS, "record", (entity.name, key)), None)
