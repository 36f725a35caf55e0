"""Streams over the store: pages by key, so that no read transaction stays open while the caller
does whatever it does with what it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from bytelyst_sync.entity import Entity
from bytelyst_sync.model import SyncItem
from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.state.effects import as_sync_item
from bytelyst_sync.state.replica import view_page
from bytelyst_sync.storage.base import Reader, Storage
from bytelyst_sync.storage.schema import CONFLICTS, ITEMS, ConflictRow, Item, Lane

__all__ = ["conflict_rows", "queued_items", "view_records"]

Json = dict[str, Any]
_PAGE = 500
_NOT_QUEUED = (Lane.FAILED, Lane.PARKED)


def view_records(storage: Storage, entity: Entity, where: Json) -> Iterator[Json]:
    """The records of the local view that equal ``where`` in its fields."""
    if not entity.replica:
        return
    after: str | None = None
    while True:
        bound = after
        page, after = storage.read(partial(view_page, entity=entity, after=bound))
        for record in page:
            if all(
                name in record and same_value(record[name], value) for name, value in where.items()
            ):
                yield record
        if after is None:
            return


def queued_items(storage: Storage) -> Iterator[SyncItem]:
    """What was queued when this was called, oldest first, as far as it still is."""
    upto = storage.read(lambda tx: tx.last_number())

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
