"""Queries of the local view, and listings of the queue and the conflicts.

They read page by page, so that no read transaction stays open while the caller works with a
record. A query needs constant memory, unless it is ordered by a field without an index: then it
holds ``limit`` records, or all records if there is no limit.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from sys import maxsize
from typing import Any, NamedTuple

import attrs

from bytelyst_sync.config.entity import Entities, Entity
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import RecordView, SyncItem, ViewState
from bytelyst_sync.replica.index_scan import (
    LongTailError,
    Page,
    Source,
    choose_source,
    usable_indexes,
)
from bytelyst_sync.replica.view import canonical_key, view_state
from bytelyst_sync.rules.ordering import Ordering, compile_ordering
from bytelyst_sync.rules.where import Condition, Where, compile_where
from bytelyst_sync.state.commit_effects import as_sync_item
from bytelyst_sync.state.unit_of_work import StateStore
from bytelyst_sync.storage.base import Reader, Storage
from bytelyst_sync.storage.schema import CONFLICTS, ITEMS, ConflictRow, Item, Lane

__all__ = ["Query", "compile_query", "conflict_rows", "queued_items"]

Json = dict[str, Any]
_PAGE = 500
_NOT_QUEUED = (Lane.FAILED, Lane.PARKED)


class _Match(NamedTuple):
    """A record that matches."""

    key: str
    record: Json
    state: ViewState


@attrs.frozen
class Query:
    """A checked query of one entity's view."""

    state: StateStore
    entities: Entities
    entity: Entity
    where: Where
    ordering: Ordering | None
    limit: int | None

    def records(self) -> Iterator[Json]:
        """The records."""
        return (match.record for match in self._matches())

    def views(self) -> Iterator[RecordView]:
        """The records, each with its state."""
        return (RecordView(match.record, match.state) for match in self._matches())

    def count(self) -> int:
        """How many records match."""
        if not self.where.is_empty:
            return sum(1 for _ in self._in_source_order())
        return sum(self._pages(lambda _, page: sum(slot.exists for slot in page.slots)))

    def _matches(self) -> Iterator[_Match]:
        source = self._source()
        matches = self._in_source_order(source)
        ordering = self.ordering
        if ordering is None or source.ordered:
            return islice(matches, self.limit)

        def ordered() -> Iterator[_Match]:
            if self.limit is None:
                yield from sorted(matches, key=self._order)
            else:
                yield from heapq.nsmallest(self.limit, matches, key=self._order)

        return ordered()

    def _order(self, match: _Match) -> Any:
        ordering = self.ordering or Ordering(())
        return ordering.key(match.record, match.key)

    def _source(self) -> Source:
        conditions, limit = self.where.conditions, self.limit
        return choose_source(
            self.state, self.entity, conditions, self._current, self.ordering, limit
        )

    def _in_source_order(self, source: Source | None = None) -> Iterator[_Match]:
        """Every record that matches, in the order of the source."""
        predicate = self.where.predicate
        for page in self._pages(self._matching, source):
            for match in page:
                if predicate is None or predicate(match.record):
                    yield match

    def _pages(
        self, take: Callable[[Reader, Page], Any], source: Source | None = None
    ) -> Iterator[Any]:
        """The result of ``take`` for each page of the source, each page in its own transaction."""
        if not self.entity.replica or self.limit == 0:
            return
        chosen = source or self._source()

        def read(tx: Reader, after: Any) -> tuple[Any, Any]:
            page = chosen.page(tx, after)
            return take(tx, page), page.after

        after: Any = None
        while True:
            try:
                rows, after = self.state.read(partial(read, after=after))
            except LongTailError:
                usable_indexes(self.state, self.entity)
                continue
            yield rows
            if after is None:
                return

    def _matching(self, tx: Reader, page: Page) -> list[_Match]:
        """The records of a page that match."""
        conditions = self._current(tx)
        matching = []
        for number, slot in enumerate(page.slots):
            record = slot.record(self.entity)
            if (
                record is not None
                and (page.belongs is None or page.belongs(number, record))
                and all(each.matches(record) for each in conditions)
            ):
                matching.append(_Match(slot.key, record, view_state(slot.items)))
        return sorted(matching, key=self._order) if page.sort else matching

    def _current(self, tx: Reader) -> tuple[Condition, ...]:
        """The conditions, with aliases replaced by the records' ids in this transaction."""
        return self.where.resolved(
            lambda entity, local: canonical_key(tx, self.entities[entity], local)
        )


def compile_query(
    state: StateStore,
    entities: Entities,
    entity: Entity,
    where: object = None,
    order_by: object = None,
    limit: object = None,
) -> Query:
    """Checks a query; ``InvalidDataError`` says what is wrong with it."""
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise InvalidDataError(
            f"limit is {limit!r}; give a whole number from 0, or None", path="limit"
        )
    compiled = compile_where(entity, where), compile_ordering(order_by)
    return Query(state, entities, entity, *compiled, None if limit is None else min(limit, maxsize))


def queued_items(storage: Storage) -> Iterator[SyncItem]:
    """The items queued at the time of the call, oldest first, without those that left since."""
    upto = storage.read(
        lambda tx: next((each.seq for each in tx.scan(ITEMS, reverse=True, limit=1)), 0)
    )

    def pages() -> Iterator[SyncItem]:
        after = 0
        while True:
            page = storage.read(partial(_page, after=after, upto=upto))
            for item in page:
                if item.lane not in _NOT_QUEUED:
                    yield as_sync_item(item)
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    return pages()


def _page(tx: Reader, after: int, upto: int) -> list[Item]:
    return list(tx.scan(ITEMS, None, (), after=(after,), upto=(upto,), limit=_PAGE))


def conflict_rows(tx: Reader, *, settled: bool) -> list[ConflictRow]:
    """Open conflicts, or settled ones, oldest first."""
    return list(tx.scan(CONFLICTS, "closed" if settled else "open"))
