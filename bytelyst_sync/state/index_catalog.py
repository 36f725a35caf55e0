"""The indexes that a store has, and the entries of its rows: see ``indexes``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any

import attrs

from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.index_keys import index_key
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.paths import at
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import (
    INDEX_ENTRIES,
    INDEXED_UPTO,
    INDEXES,
    ITEMS,
    META,
    IndexEntry,
    Item,
    Meta,
    Record,
)

__all__ = [
    "Catalog",
    "Index",
    "add_entries",
    "load_catalog",
    "mark_of",
    "remove_entries",
    "set_mark",
    "store_catalog",
    "tail_of",
]

_DELETE = SyncOperation.DELETE.value
_OF_STATE = 0
"""The source of the entries of a server state; the entries of an item have its ``seq``."""


@attrs.frozen
class Index:
    """One indexed field. ``ids``: its values are ids. ``ready``: every row has its entries."""

    number: int
    entity: str
    path: str
    ids: bool
    ready: bool = False
    since: float = 0.0
    """When it was defined, by the wall clock."""
    built_upto: str | None = None
    """The last record whose state has its entries."""


@attrs.frozen(slots=False)
class Catalog:
    """The indexes of a store, as they are stored in a row of META."""

    indexes: tuple[Index, ...] = ()
    retired: tuple[int, ...] = ()
    """The numbers of former indexes that still have entries."""
    secret: str | None = None
    """In an encrypted store: the key of the hashes that are stored instead of values."""

    @cached_property
    def by_entity(self) -> dict[str, list[Index]]:
        """The indexes of each entity that has any."""
        indexes: dict[str, list[Index]] = {}
        for each in self.indexes:
            indexes.setdefault(each.entity, []).append(each)
        return indexes

    @property
    def ordered(self) -> bool:
        """Whether entries are in the order of their values."""
        return self.secret is None

    def key(self, index: Index, value: Any) -> str:
        """The text under which a value is stored."""
        key = index_key(value, ids=index.ids)
        if self.secret is None:
            return key
        secret = bytes.fromhex(self.secret)
        return hashlib.blake2b(key.encode(), key=secret, digest_size=16).hexdigest()

    def entries(self, row: Item | Record) -> list[IndexEntry]:
        """The entries of one row."""
        indexes = self.by_entity.get(row.entity)
        if indexes is None:
            return []
        if isinstance(row, Item):
            if row.operation == _DELETE:
                return []
            data, source = loads(row.data), row.seq
        else:
            if row.state is None:
                return []
            data, source = loads(row.state), _OF_STATE
        return [
            IndexEntry(each.number, self.key(each, at(data, each.path)), row.record, source)
            for each in indexes
        ]


@lru_cache(maxsize=64)
def _parsed(text: str) -> Catalog:
    stored = json.loads(text)
    indexes = tuple(Index(**each) for each in stored["indexes"])
    return Catalog(indexes, tuple(stored["retired"]), stored["secret"])


def load_catalog(tx: Reader) -> Catalog:
    """The indexes that the store has."""
    row = tx.get(META, INDEXES)
    return Catalog() if row is None else _parsed(row.value)


def store_catalog(tx: Transaction, catalog: Catalog) -> None:
    """Stores the indexes of the store."""
    old, new = tx.get(META, INDEXES), Meta(INDEXES, json.dumps(attrs.asdict(catalog)))
    if old is None:
        tx.insert(META, new)
    else:
        tx.replace(META, old, new)


def tail_of(tx: Reader, limit: int) -> list[Item]:
    """The first items of the tail."""
    return list(tx.scan(ITEMS, None, (), after=(mark_of(tx),), limit=limit))


def mark_of(tx: Reader) -> int:
    """The ``seq`` of the last item that is indexed."""
    row = tx.get(META, INDEXED_UPTO)
    return 0 if row is None else int(row.value)


def set_mark(tx: Transaction, seq: int) -> None:
    """Stores that all items up to this ``seq`` are indexed."""
    old, new = tx.get(META, INDEXED_UPTO), Meta(INDEXED_UPTO, str(seq))
    if old is None:
        tx.insert(META, new)
    else:
        tx.replace(META, old, new)


def add_entries(tx: Transaction, entries: Iterable[IndexEntry]) -> None:
    """Writes entries; a build may have written some of them before."""
    new = list(entries)
    if not new:
        return
    try:
        tx.insert(INDEX_ENTRIES, *new)
    except ValueError:
        for entry in new:
            if tx.get(INDEX_ENTRIES, *entry) is None:
                tx.insert(INDEX_ENTRIES, entry)


def remove_entries(tx: Transaction, entries: Iterable[IndexEntry]) -> None:
    """Removes entries; rows that a build has not reached have none yet."""
    old = list(entries)
    if not old:
        return
    try:
        tx.delete(INDEX_ENTRIES, *old)
    except LookupError:
        for entry in old:
            if tx.get(INDEX_ENTRIES, *entry) is not None:
                tx.delete(INDEX_ENTRIES, entry)
