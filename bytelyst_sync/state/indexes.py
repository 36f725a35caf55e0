"""Indexes of the local view: the values that the fields of records may have.

A record's view is computed from its server state and its queued items. So each stored state and
each queued item has index entries of its own, and a record may be listed under a value that a later
item replaces. An entry only makes a record a candidate; its view decides.

Entries of states are written with the state. Entries of items are written later, many at a time,
so that indexes do not make a push slower. The items after the mark (a row of META) are the *tail*.
A query reads the tail itself; if it is long, the query writes its entries first.

The indexes of a store are listed in a row of META, so every process that writes to the store keeps
them up to date, whatever its own settings are. A process that writes reads that row again once a
second; a new index of a store in use is built after twice that time.
"""

from __future__ import annotations

import os

import attrs

from bytelyst_sync.config.entity import Entities
from bytelyst_sync.state.index_catalog import (
    Catalog,
    Index,
    add_entries,
    load_catalog,
    set_mark,
    store_catalog,
    tail_of,
)
from bytelyst_sync.state.indexing_transaction import IndexingTransaction
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import INDEX_ENTRIES, RECORDS

__all__ = ["Indexes", "index_some"]

_PAGE = 500
_REREAD_AFTER_S = 1.0
_LEARNED_AFTER_S = 2 * _REREAD_AFTER_S


class Indexes:
    """The indexes in an engine's settings, and those of its store.

    Any thread may use it: the indexes of the store are one attribute, replaced as a whole.
    ``private``: the store is encrypted, so values are stored as keyed hashes.
    """

    def __init__(self, entities: Entities, *, private: bool) -> None:
        self._private = private
        self._configured = {
            name: [(path, entity.ids_at(path) is not None) for path in entity.config.indexes]
            for name, entity in entities.items()
            if entity.config.indexes and entity.replica
        }
        self._known: tuple[Catalog, float] | None = None
        """The indexes of the store, and when they were read, on the monotonic clock."""

    def reread(self) -> None:
        """Makes the next transaction read the store's indexes again."""
        self._known = None

    def wants(self, entity: str) -> bool:
        """Whether the settings have an index of this entity."""
        return entity in self._configured

    def maintained(self, tx: Transaction, now: float, monotonic: float) -> Transaction:
        """A transaction that keeps the indexes up to date, at this reading of the two clocks."""
        known = self._known
        if known is not None and monotonic - known[1] < _REREAD_AFTER_S:
            catalog = known[0]
        else:
            stored = load_catalog(tx)
            catalog = self._define(tx, stored, now)
            if catalog == stored:
                self._known = stored, monotonic
            else:
                # not cached: this transaction may fail
                store_catalog(tx, catalog)
                set_mark(tx, 0)  # the new index has no item yet
        return IndexingTransaction(tx, catalog) if catalog.indexes else tx

    def _define(self, tx: Transaction, known: Catalog, now: float) -> Catalog:
        """The catalog with the indexes in the settings.

        Indexes of entities for which the settings have none stay: another process may use them.
        """
        indexes: list[Index] = []
        for each in known.indexes:
            configured = self._configured.get(each.entity)
            if configured is None or (each.path, each.ids) in configured:
                indexes.append(each)
        known_fields = {(each.entity, each.path) for each in indexes}
        # an empty store needs no build, and no other process writes to it yet
        ready = tx.last_number() == 0
        for entity, fields in self._configured.items():
            indexes += [
                Index(tx.next_number(), entity, path, ids, ready, now)
                for path, ids in fields
                if (entity, path) not in known_fields
            ]
        retired = {each.number for each in known.indexes} - {each.number for each in indexes}
        secret = known.secret
        if indexes and self._private and secret is None:
            secret = os.urandom(32).hex()
        return Catalog(tuple(indexes), (*known.retired, *sorted(retired)), secret)


def index_some(tx: Transaction, entity: str, now: float) -> bool:
    """Does one step of the work on the indexes of an entity; false if there was nothing to do.

    Deletes entries of former indexes, then writes those of states that an index lacks, then those
    of the items in the tail.
    """
    catalog = load_catalog(tx)
    if catalog.retired:
        store_catalog(tx, attrs.evolve(catalog, retired=_without_entries(tx, catalog.retired)))
        return True
    missing = [each for each in catalog.by_entity.get(entity, ()) if not each.ready]
    settled = [each for each in missing if not 0 <= now - each.since < _LEARNED_AFTER_S]
    if settled:
        _index_states(tx, catalog, settled[0])
        return True
    items = tail_of(tx, _PAGE)
    if items:
        add_entries(tx, [entry for item in items for entry in catalog.entries(item)])
        set_mark(tx, items[-1].seq)
    return bool(items)


def _index_states(tx: Transaction, catalog: Catalog, index: Index) -> None:
    """Writes the entries of one page of states in one index."""
    after = None if index.built_upto is None else (index.built_upto,)
    rows = list(tx.scan(RECORDS, None, (index.entity,), after=after, limit=_PAGE))
    alone = attrs.evolve(catalog, indexes=(index,))
    add_entries(tx, [entry for row in rows for entry in alone.entries(row)])
    if len(rows) == _PAGE:
        built = attrs.evolve(index, built_upto=rows[-1].record)
    else:
        built = attrs.evolve(index, ready=True, built_upto=None)
    indexes = tuple(built if each is index else each for each in catalog.indexes)
    store_catalog(tx, attrs.evolve(catalog, indexes=indexes))


def _without_entries(tx: Transaction, retired: tuple[int, ...]) -> tuple[int, ...]:
    """Deletes some entries of the first of these indexes; returns the indexes that still have
    some.
    """
    entries = list(tx.scan(INDEX_ENTRIES, None, retired[:1], limit=_PAGE))
    tx.delete(INDEX_ENTRIES, *entries)
    return retired if len(entries) == _PAGE else retired[1:]
