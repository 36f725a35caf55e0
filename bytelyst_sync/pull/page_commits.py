"""Commits pages with their cursor, a bounded number of rows at a time.

A push that arrives meanwhile waits for one of these commits at most. Rows are encoded before their
commit begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import attrs

from bytelyst_sync.clock import let_others_run
from bytelyst_sync.config.entity import Entity
from bytelyst_sync.protocol.page import Page
from bytelyst_sync.protocol.page_rows import Row, SkippedRow
from bytelyst_sync.protocol.paging import Pager
from bytelyst_sync.pull.results import PullResult
from bytelyst_sync.replica.cursors import (
    EXPIRED,
    FIRST,
    QUERY,
    RESTORED,
    PullProgress,
    load,
    query_digest,
    store,
)
from bytelyst_sync.replica.remote_changes import RemoteChanges
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["OvertakenError", "PageCommits"]

T = TypeVar("T")
_ROWS_PER_COMMIT = 100
_CHARS_PER_COMMIT = 256 * 1024
_LARGE_CHARS = 64 * 1024
"""After a commit of more than this, the pull rests, so that pushes that wait come first."""


class OvertakenError(Exception):
    """Another process has changed the cursor."""


class PageCommits:
    """Commits what pulls have fetched. Safe to use from several threads."""

    def __init__(self, state: StateStore, remote_changes: RemoteChanges) -> None:
        self.state = state
        self.remote_changes = remote_changes

    def stored(self, entity: Entity) -> PullProgress:
        """The stored progress of the entity's pull."""
        return self.state.read(lambda tx: load(tx, entity))

    def begin(self, pager: Pager, reason: str | None = None) -> PullProgress:
        """The progress at which a pull starts. It starts a listing of everything if there is no
        cursor for the query, or for this ``reason``.
        """
        query = query_digest(pager.query)

        def why(stored: PullProgress) -> str | None:
            if stored.query not in (None, query):
                return QUERY
            begun = stored.cursor is not None or stored.listing is not None
            return reason if reason is not None or begun else FIRST

        def begin(work: UnitOfWork) -> PullProgress:
            stored = load(work.tx, pager.entity)
            reason_now = why(stored)
            begun = attrs.evolve(stored, query=query)
            if reason_now is not None:
                begun = stored.begins(work.tx.next_number(), reason_now, query)
            store(work.tx, pager.entity, begun)
            return begun

        stored = self.stored(pager.entity)
        goes_on = stored.query == query and why(stored) is None
        return stored if goes_on else self.state.write(begin)

    def apply(
        self,
        entity: Entity,
        progress: PullProgress,
        page: Page,
        began: int,
        result: PullResult,
        *,
        cursor: str | None,
        check: Callable[[], None],
    ) -> PullProgress:
        """Commits the rows of a page, in several commits. The last one also stores the cursor, if
        it may be stored by then.

        ``began`` is the store's last number when the page was requested. ``check`` is called
        between two commits, and raises if the pull must end.
        """
        chunks = _chunks(entity, page, result)
        chunk = next(chunks, [])
        while True:
            following = next(chunks, None)
            new = progress
            result.take(entity.name, len(chunk))
            if following is None and cursor is not None and self.is_mapped(entity, result):
                new = attrs.evolve(progress, cursor=cursor)
            self._commit(entity, progress, new, chunk, began, result)
            progress = new
            if following is None:
                return progress
            chars = sum(len(row.text or "") for row in chunk)
            if chars > _LARGE_CHARS:
                let_others_run(chars)
            check()
            chunk = following

    def is_mapped(self, entity: Entity, result: PullResult) -> bool:
        """Whether rows of the entity fit the dialect. A bad row is skipped. But if no row was ever
        good, the configuration is wrong, and the cursor does not move.
        """
        mismatches = result.mismatches.get(entity.name, 0)
        if (
            not mismatches
            or mismatches < result.skipped[entity.name]
            or result.taken.get(entity.name)
        ):
            return True
        return self.state.read(lambda tx: any(tx.scan(RECORDS, None, (entity.name,), limit=1)))

    def _commit(
        self,
        entity: Entity,
        progress: PullProgress,
        new: PullProgress,
        rows: list[Row],
        began: int,
        result: PullResult,
    ) -> None:
        def apply(work: UnitOfWork) -> CommitEffects:
            work.effects.pulled += self.remote_changes.apply_page(
                work,
                entity,
                rows,
                began=began,
                listed_by=progress.listing,
                by_content=progress.reason in (EXPIRED, RESTORED) and progress.listing is not None,
            )
            if new != progress:
                store(work.tx, entity, new)
            return work.effects

        if rows or new != progress:
            result.count(self.commit(entity, progress, apply))

    def advance(self, entity: Entity, progress: PullProgress, new: PullProgress) -> PullProgress:
        """Stores the progress of the pull."""
        if new != progress:
            self.commit(entity, progress, lambda work: store(work.tx, entity, new))
        return new

    def commit(self, entity: Entity, progress: PullProgress, rule: Callable[[UnitOfWork], T]) -> T:
        """Runs a rule in a transaction, if the stored progress is still the expected one."""

        def run(work: UnitOfWork) -> T:
            if load(work.tx, entity) != progress:
                raise OvertakenError
            return rule(work)

        return self.state.write(run)


def _chunks(entity: Entity, page: Page, result: PullResult) -> Iterator[list[Row]]:
    """The good rows in the parts that are committed; a part of bad rows alone is empty."""
    part: list[Row] = []
    read = size = 0
    for row in page.rows():
        length = 0
        if isinstance(row, SkippedRow):
            result.skip(entity.name, row)
        else:
            length = len(row.text or "")
        if read == _ROWS_PER_COMMIT or (part and size + length > _CHARS_PER_COMMIT):
            yield part
            part, read, size = [], 0, 0
        if isinstance(row, Row):
            part.append(row)
        read, size = read + 1, size + length
    if read:
        yield part
