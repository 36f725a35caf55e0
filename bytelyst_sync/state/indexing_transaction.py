"""A transaction that keeps the indexes of the local view: see ``indexes``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from bytelyst_sync.state.index_catalog import (
    Catalog,
    add_entries,
    mark_of,
    remove_entries,
    set_mark,
    tail_of,
)
from bytelyst_sync.storage.base import Table, Transaction, Value
from bytelyst_sync.storage.schema import ITEMS, RECORDS, IndexEntry, Item, Record

__all__ = ["IndexingTransaction"]

R = TypeVar("R", bound=Any)
_MANY = 64
"""If so many items are queued at once, their entries are written at once."""


class IndexingTransaction:
    """A transaction that writes and removes index entries with the rows that they belong to."""

    def __init__(self, tx: Transaction, catalog: Catalog) -> None:
        self._tx = tx
        self._catalog = catalog
        self._mark: int | None = None
        """The last item that is indexed, once it was read."""
        self._queued = 0
        """How many items were queued since the tail was indexed."""
        self.get = tx.get
        self.scan = tx.scan
        self.fetch = tx.fetch
        self.select = tx.select
        self.present = tx.present
        self.matching = tx.matching
        self.first_of_each = tx.first_of_each
        self.count = tx.count
        self.counts = tx.counts
        self.last_number = tx.last_number
        self.next_number = tx.next_number
        self.take = tx.take

    def insert(self, table: Table[R], *rows: R) -> None:
        """As the port says."""
        self._tx.insert(table, *rows)
        if table is RECORDS:
            add_entries(self._tx, self._entries(rows))
        elif table is ITEMS and rows:
            if rows[-1].seq != self.last_number():
                # not at the end of the queue: it takes the place of an item that may have been
                # indexed
                add_entries(self._tx, self._entries(self._indexed(table, rows)))
            self._queued += len(rows)
            if self._queued >= _MANY:
                self._index_tail(self._queued + _MANY)
                self._queued = 0

    def _index_tail(self, limit: int) -> None:
        """Writes the entries of the tail, unless it is longer."""
        tail = tail_of(self._tx, limit)
        if tail and len(tail) < limit:
            add_entries(self._tx, self._entries(tail))
            set_mark(self._tx, tail[-1].seq)
            self._mark = None

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """As the port says."""
        self._tx.replace(table, old, new)
        self._change(table, ((old, new),))

    def replace_all(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        """As the port says."""
        changed = list(pairs)
        self._tx.replace_all(table, changed)
        self._change(table, changed)

    def update_many(self, table: Table[R], rows: Sequence[R], **values: Value) -> list[R]:
        """As the port says."""
        new = self._tx.update_many(table, rows, **values)
        self._change(table, zip(rows, new, strict=True))
        return new

    def delete(self, table: Table[R], *rows: R) -> None:
        """As the port says."""
        self._tx.delete(table, *rows)
        if table is RECORDS or table is ITEMS:
            remove_entries(self._tx, self._entries(self._indexed(table, rows)))

    def _indexed(self, table: Table[Any], rows: Iterable[R]) -> Iterable[R]:
        """The rows that have entries: not items of the tail."""
        if table is not ITEMS:
            return rows
        if self._mark is None:
            self._mark = mark_of(self._tx)
        mark = self._mark
        return [row for row in rows if row.seq <= mark]

    def _entries(self, rows: Iterable[Item | Record]) -> list[IndexEntry]:
        return [entry for row in rows for entry in self._catalog.entries(row)]

    def _change(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        if table is not ITEMS and table is not RECORDS:
            return
        content = _item_content if table is ITEMS else _record_content
        changed = {old: new for old, new in pairs if content(old) != content(new)}
        if changed:
            indexed = list(self._indexed(table, changed))
            before = set(self._entries(indexed))
            after = set(self._entries(changed[row] for row in indexed))
            remove_entries(self._tx, before - after)
            add_entries(self._tx, after - before)


def _item_content(item: Item) -> tuple[Value, ...]:
    return item.data, item.record, item.operation


def _record_content(record: Record) -> tuple[Value, ...]:
    return record.state, record.record
