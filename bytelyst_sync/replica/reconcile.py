"""Finds and removes the records that a complete listing of an entity lacks.

Only a record whose stored state is older than the listing can be lacking. Each function handles
one page of the stored records and returns the key to continue after, ``None`` at the end. Runs
inside a storage transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import RecordChange
from bytelyst_sync.replica.remote_changes import RemoteChanges
from bytelyst_sync.replica.server_state import mark_lost, mark_stale, put_row
from bytelyst_sync.replica.similar_ids import folded_column
from bytelyst_sync.replica.vanishing import is_implausible
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.state.transitions import first
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ALIASES, CONFLICTS, RECORDS, UNLISTED, Record

__all__ = [
    "ListingSurvey",
    "each_page",
    "lacking_keys",
    "leave_view",
    "prune_tombstones",
    "remove_lacking",
    "survey_page",
]

_PAGE = 500
_COMMITTED = 100


@attrs.define
class ListingSurvey:
    """How many records are stored, and how many of them are missing in a listing.

    ``listed`` counts the records in the listing, old and new. ``gone`` counts the missing records
    that an answer to a write has already reported as gone. ``uncertain`` has the keys of missing
    records whose state was stored during the listing: they may be newer than it, or deleted.
    """

    held: int = 0
    listed: int = 0
    lacking: int = 0
    gone: int = 0
    uncertain: list[str] = attrs.field(factory=list)

    def is_implausible(self, max_vanish: float, *, empty_is: bool) -> bool:
        """Whether more records are lacking than can have been deleted.

        ``empty_is``: a listing without any record is implausible too.
        """
        if max_vanish >= 1.0:
            return False
        if empty_is and self.listed == 0 and self.lacking > self.gone:
            return True
        return is_implausible(self.lacking, self.held, max_vanish)


def survey_page(
    tx: Reader, entity: Entity, listing: int, since: int, after: str | None, survey: ListingSurvey
) -> str | None:
    """Counts what a listing lacks. ``since`` is the number of the listing before it."""
    rows = _rows(tx, entity, after, _PAGE)
    for row in rows:
        survey.listed += row.listed_by == listing
        if row.state is not None and row.changed_seq <= listing:
            survey.held += 1
            survey.lacking += row.listed_by != listing
        elif row.state is not None and row.listed_by != listing:
            survey.uncertain.append(row.record)
        elif row.lost_seq is not None and since < row.lost_seq:
            survey.held += 1
            survey.lacking += 1
            survey.gone += 1
    return _end(rows, _PAGE)


def lacking_keys(
    tx: Reader, entity: Entity, listing: int, after: str | None
) -> tuple[list[tuple[str, bool]], str | None]:
    """The keys that a listing lacks, each with whether operations on it are queued."""
    rows = _rows(tx, entity, after, _PAGE)
    keys = [(row.record, _is_queued(tx, entity, row)) for row in _lacking(rows, listing)]
    return keys, _end(rows, _PAGE)


def remove_lacking(
    work: UnitOfWork,
    entity: Entity,
    remote_changes: RemoteChanges,
    listing: int,
    after: str | None,
    *,
    keep_queued: bool,
    may_be_lost: bool,
) -> str | None:
    """Treats the records that a listing lacks as deleted at the server.

    ``keep_queued``: a record with queued operations stays until they have left the queue.
    ``may_be_lost``: its state is kept for ``reupload``.
    """
    if keep_queued and after is None:
        _doubt_conflicts(work.tx, entity)
    rows = _rows(work.tx, entity, after, _COMMITTED)
    for row in _lacking(rows, listing):
        if keep_queued and _is_queued(work.tx, entity, row):
            put_row(work.tx, row, row._replace(listed_by=UNLISTED))
            continue
        began = work.tx.last_number()
        work.effects.pulled += remote_changes.apply(
            work, entity, row.record, None, None, began=began
        )
        if may_be_lost:
            mark_lost(work.tx, entity, row.record, row.state)
    return _end(rows, _COMMITTED)


def _doubt_conflicts(tx: Transaction, entity: Entity) -> None:
    """Marks the records in open conflicts to be read again after these: the server may have lost
    the state that a conflict shows as its side.
    """
    for conflict in list(tx.scan(CONFLICTS, "open")):
        if conflict.entity == entity.name:
            key = conflict.record
            row = tx.get(RECORDS, entity.name, key)
            new = row or Record(entity.name, key, None, None, 0, 0, folded=folded_column(key))
            put_row(tx, row, new._replace(listed_by=UNLISTED))


def leave_view(
    work: UnitOfWork, entity: Entity, listing: int, after: str | None, *, reread_queued: bool
) -> str | None:
    """Removes the records that a listing lacks from the view; they may still exist at the server.

    A record with queued operations stays; with ``reread_queued`` it is marked to be read again.
    """
    rows = _rows(work.tx, entity, after, _COMMITTED)
    for row in _lacking(rows, listing):
        if _is_queued(work.tx, entity, row):
            if reread_queued:
                mark_stale(work.tx, entity, row.record)
            continue
        work.tx.delete(RECORDS, row)
        work.effects.pulled += 1
        work.effects.note("pulled", entity.name)
        if work.effects.watch and row.state is not None:
            before = loads(row.state)
            work.effects.changes.append(
                RecordChange(
                    entity=entity.name,
                    record_id=row.record,
                    before=before,
                    after=None,
                    origin="remote",
                )
            )
    return _end(rows, _COMMITTED)


def prune_tombstones(tx: Transaction, entity: Entity, upto: int, after: str | None) -> str | None:
    """Forgets deleted records whose state last changed up to this number, and their aliases."""
    rows = _rows(tx, entity, after, _PAGE)
    pruned = set()
    for row in rows:
        old = row.state is None and 0 < row.changed_seq <= upto
        settled = row.deferred_state is None and row.needs_refresh is None
        if old and settled and not _is_queued(tx, entity, row):
            tx.delete(RECORDS, row)
            pruned.add(row.record)
    if pruned:
        for alias in list(tx.scan(ALIASES, None, (entity.name,))):
            if alias.record in pruned:
                tx.delete(ALIASES, alias)
    return _end(rows, _PAGE)


def each_page(handle: Callable[[str | None], str | None]) -> None:
    """Calls ``handle`` with the key to continue after until it returns ``None``."""
    after = handle(None)
    while after is not None:
        after = handle(after)


def _rows(tx: Reader, entity: Entity, after: str | None, limit: int) -> list[Record]:
    bound = None if after is None else (after,)
    return list(tx.scan(RECORDS, None, (entity.name,), after=bound, limit=limit))


def _end(rows: list[Record], limit: int) -> str | None:
    return rows[-1].record if len(rows) == limit else None


def _lacking(rows: list[Record], listing: int) -> Iterator[Record]:
    return (
        row
        for row in rows
        if row.state is not None and row.listed_by != listing and row.changed_seq <= listing
    )


def _is_queued(tx: Reader, entity: Entity, row: Record) -> bool:
    return first(tx, entity.name, row.record) is not None
