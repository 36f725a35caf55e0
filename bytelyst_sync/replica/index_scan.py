"""Finds the records of a query: by their ids, by an index, or by reading all of them.

A *source* returns the records that may match, page by page, each page in its own transaction.
Sources that use an index also read the items that are not indexed yet. All sources except
``ByOrder`` return the records in the order of their ids.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.errors import StorageError
from bytelyst_sync.replica.view import ViewSlot, slots_after, slots_of
from bytelyst_sync.rules.index_keys import index_key, is_exact
from bytelyst_sync.rules.ordering import Field, Ordering
from bytelyst_sync.rules.paths import at
from bytelyst_sync.rules.where import Condition
from bytelyst_sync.state.index_catalog import Catalog, Index, load_catalog, tail_of
from bytelyst_sync.state.indexes import index_some
from bytelyst_sync.state.unit_of_work import StateStore
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import INDEX_ENTRIES, IndexEntry

__all__ = ["LongTailError", "Page", "Source", "choose_source", "usable_indexes"]

Json = dict[str, Any]
_PAGE = 500
_LONGEST_TAIL = 200
_FEW = 2000
_AT_ONCE = 50
_LAST = sys.maxsize
_SAMPLE = 64
_END = "\U0010ffff"


class LongTailError(Exception):
    """More items are not indexed yet than a query reads directly."""


class Page(NamedTuple):
    """Records that may match, and where the next page begins (``None``: no more).

    ``belongs``: whether the record of a slot still has the value that the index lists it under.
    ``sort``: the page has all records of one index key, which does not give their order.
    """

    slots: Sequence[ViewSlot]
    after: Any
    belongs: Callable[[int, Json], bool] | None = None
    sort: bool = False


class Source(Protocol):
    """Returns records that may match a query."""

    @property
    def ordered(self) -> bool:
        """Whether it returns them in the order of the query."""
        ...

    def page(self, tx: Reader, after: Any) -> Page:
        """The page that begins after this place (``None``: the first)."""
        ...


@attrs.frozen
class Everything:
    """All records. ``first``: how many records the first page has."""

    entity: Entity
    first: int = _PAGE
    ordered: bool = False

    def page(self, tx: Reader, after: Any) -> Page:
        """The next records by id."""
        size = self.first if after is None else _PAGE
        return Page(*slots_after(tx, self.entity, after, size))


@attrs.frozen
class ByIds:
    """The records with these ids; ``ids`` is called in each transaction."""

    entity: Entity
    ids: Callable[[Reader], list[Any]]
    ordered: bool = False

    def page(self, tx: Reader, after: Any) -> Page:
        """The next records of them by id."""
        unique = {each for each in self.ids(tx) if isinstance(each, str)}
        ids = sorted(each for each in unique if after is None or each > after)
        some = ids[:_PAGE]
        return Page(slots_of(tx, self.entity, some), some[-1] if len(ids) > _PAGE else None)


@attrs.frozen
class ByValues:
    """The records that an index lists under one of some values."""

    entity: Entity
    index: Index
    values: Callable[[Reader], list[Any]]
    ordered: bool = False

    def sample(self, tx: Reader) -> int:
        """How many entries there are, up to a few."""
        number = self.index.number
        scans = [
            tx.scan(INDEX_ENTRIES, None, (number, key), limit=_SAMPLE)
            for key in self._keys(tx, load_catalog(tx))
        ]
        return sum(len(list(each)) for each in scans)

    def _keys(self, tx: Reader, catalog: Catalog) -> set[str]:
        return {catalog.key(self.index, each) for each in self.values(tx)}

    def page(self, tx: Reader, after: Any) -> Page:
        """The next records by id. Reads a part of each value's entries, and returns the records up
        to the id that all parts have reached.
        """
        catalog = load_catalog(tx)
        keys = self._keys(tx, catalog)
        bound = None if after is None else (after, _LAST)
        end: str | None = None
        ids: set[str] = set()
        for key in keys:
            prefix = (self.index.number, key)
            entries = list(tx.scan(INDEX_ENTRIES, None, prefix, after=bound, limit=_PAGE))
            ids.update(entry.record for entry in entries)
            if len(entries) == _PAGE and (end is None or entries[-1].record < end):
                end = entries[-1].record
        for entry in _tail(tx, catalog, self.index):
            if entry.value in keys and (after is None or entry.record > after):
                ids.add(entry.record)
        chosen = sorted(each for each in ids if end is None or each <= end)
        return Page(slots_of(tx, self.entity, chosen), end)


@attrs.frozen
class ByRange:
    """The records that an index lists between two values. Includes records with a value of another
    kind, so that the comparison raises an error for them.
    """

    entity: Entity
    index: Index
    low: str
    high: str
    ordered: bool = False

    @classmethod
    def of(cls, entity: Entity, index: Index, conditions: Iterable[Condition]) -> ByRange | None:
        """The range that the conditions ask for; ``None`` if they ask for none."""
        ranges = [each for each in conditions if each.path == index.path and each.is_range()]
        lows = [index_key(each.value) for each in ranges if each.operator.startswith("gt")]
        highs = [index_key(each.value) for each in ranges if each.operator.startswith("lt")]
        kinds = {each[:1] for each in lows + highs}
        if index.ids or len(kinds) != 1:
            return None
        (kind,) = kinds
        return cls(entity, index, max(lows, default=kind), min(highs, default=kind + _END))

    def is_small(self, tx: Reader) -> bool:
        """Whether there are so few entries that ordering their records costs little."""
        prefix = (self.index.number,)
        some = tx.scan(
            INDEX_ENTRIES, None, prefix, after=(self.low,), upto=(self.high, _END), limit=_FEW
        )
        return len(list(some)) < _FEW

    def page(self, tx: Reader, after: Any) -> Page:
        """The next records by id; ``after`` carries the ids, which are collected once."""
        ids = self._ids(tx) if after is None else after
        some, rest = ids[:_PAGE], ids[_PAGE:]
        return Page(slots_of(tx, self.entity, some), rest or None)

    def _ids(self, tx: Reader) -> list[str]:
        kind = self.low[:1]
        nulls, beyond = index_key(None), chr(ord(kind) + 1)
        ids: set[str] = set()
        for low, high in ((nulls, kind), (self.low, self.high), (beyond, _END)):
            entries = tx.scan(
                INDEX_ENTRIES, None, (self.index.number,), after=(low,), upto=(high, _END)
            )
            ids.update(entry.record for entry in entries)
        exact = tx.scan(INDEX_ENTRIES, None, (self.index.number, self.low))
        ids.update(entry.record for entry in exact)
        ids.update(entry.record for entry in _tail(tx, load_catalog(tx), self.index))
        return sorted(ids)


@attrs.frozen
class ByOrder:
    """All records in the order of an index."""

    entity: Entity
    index: Index
    descending: bool
    ordered: bool = True

    def page(self, tx: Reader, after: Any) -> Page:
        """The next records: those of several keys, or all of one key that does not order them.

        ``after`` is a key and, if it has more records, the last one that was returned.
        """
        tail = _tail(tx, load_catalog(tx), self.index)
        key, record = after or (None, None)
        listed: list[tuple[str, str]] = []
        sort = False
        while len(listed) < _AT_ONCE and not sort:
            following = key if record is not None else self._next_key(tx, key, tail)
            if following is None:
                key = None
                break
            if not is_exact(following):
                if listed:
                    break
                sort = True
            key = following
            ids, record = self._records(tx, key, record, tail, None if sort else _PAGE)
            listed += [(key, each) for each in ids]
        keys = [each for each, _ in listed]

        def belongs(number: int, record: Json) -> bool:
            return index_key(at(record, self.index.path)) == keys[number]

        slots = slots_of(tx, self.entity, [each for _, each in listed])
        return Page(slots, None if key is None else (key, record), belongs, sort)

    def _records(
        self, tx: Reader, key: str, after: str | None, tail: list[IndexEntry], limit: int | None
    ) -> tuple[list[str], str | None]:
        """Records listed under a key, and the last one if there may be more."""
        bound = None if after is None else (after, _LAST)
        prefix = (self.index.number, key)
        entries = list(tx.scan(INDEX_ENTRIES, None, prefix, after=bound, limit=limit))
        end = entries[-1].record if len(entries) == limit else None
        ids = {entry.record for entry in entries}
        ids.update(
            entry.record
            for entry in tail
            if entry.value == key
            and (after is None or entry.record > after)
            and (end is None or entry.record <= end)
        )
        return sorted(ids), end

    def _next_key(self, tx: Reader, key: str | None, tail: list[IndexEntry]) -> str | None:
        """The next value that any record is listed under."""
        after = None
        if key is not None:
            after = (key,) if self.descending else (key, _END, _LAST)
        entries = tx.scan(
            INDEX_ENTRIES,
            None,
            (self.index.number,),
            after=after,
            limit=1,
            reverse=self.descending,
        )
        keys = {entry.value for entry in entries} | {entry.value for entry in tail}
        if self.descending:
            return max((each for each in keys if key is None or each < key), default=None)
        return min((each for each in keys if key is None or each > key), default=None)


def _tail(tx: Reader, catalog: Catalog, index: Index) -> list[IndexEntry]:
    """The entries of the items in the tail, which are not stored yet."""
    items = tail_of(tx, _LONGEST_TAIL + 1)
    if len(items) > _LONGEST_TAIL:
        raise LongTailError
    alone = attrs.evolve(catalog, indexes=(index,))
    return [entry for item in items for entry in alone.entries(item)]


def usable_indexes(state: StateStore, entity: Entity) -> dict[str, Index]:
    """The usable indexes of an entity, by path; updates them first if they are behind.

    Empty if the store cannot be written to: then a query reads everything.
    """
    if not state.indexes.wants(entity.name):
        return {}
    try:
        while state.read(lambda tx: _is_behind(state, tx, entity)) and state.write(
            lambda work: index_some(work.tx, entity.name, work.now)
        ):
            pass
    except StorageError:
        return {}
    indexes = state.read(load_catalog).by_entity.get(entity.name, ())
    return {
        each.path: each
        for each in indexes
        if each.ready and each.ids == (entity.ids_at(each.path) is not None)
    }


def _is_behind(state: StateStore, tx: Reader, entity: Entity) -> bool:
    indexes = load_catalog(tx).by_entity.get(entity.name, ())
    if not {each.path for each in indexes}.issuperset(entity.config.indexes):
        state.indexes.reread()  # the next write defines them
        return True
    if not all(each.ready for each in indexes):
        return True
    return len(tail_of(tx, _LONGEST_TAIL + 1)) > _LONGEST_TAIL


def choose_source(
    state: StateStore,
    entity: Entity,
    conditions: tuple[Condition, ...],
    current: Callable[[Reader], tuple[Condition, ...]],
    ordering: Ordering | None,
    limit: int | None,
) -> Source:
    """The cheapest source for a query. ``current`` gives its conditions, in the same order, with
    the ids that the records go by in a transaction.
    """

    def values_of(tx: Reader, number: int) -> list[Any]:
        return current(tx)[number].exact_values() or []

    exact = [n for n, each in enumerate(conditions) if each.exact_values() is not None]
    for number in exact:
        if conditions[number].path == entity.id_field:
            return ByIds(entity, partial(values_of, number=number))
    fields = {each.path for each in conditions} | {each.path for each in _fields(ordering)}
    if not fields.intersection(entity.config.indexes):
        whole = ordering is None and not conditions and limit is not None
        return Everything(entity, min(max(limit or 1, 1), _PAGE) if whole else _PAGE)
    indexes = usable_indexes(state, entity)
    listed = [
        ByValues(entity, indexes[conditions[number].path], partial(values_of, number=number))
        for number in exact
        if conditions[number].path in indexes
    ]
    if listed:
        return state.read(lambda tx: min(listed, key=lambda each: each.sample(tx)))
    if not state.read(load_catalog).ordered:
        return Everything(entity)
    ranges = [ByRange.of(entity, each, conditions) for each in indexes.values()]
    usable = [each for each in ranges if each is not None]
    by_order = _by_order(entity, indexes, ordering)
    if by_order is not None and (limit is not None or not usable):
        return state.read(lambda tx: next((r for r in usable if r.is_small(tx)), by_order))
    return usable[0] if usable else Everything(entity)


def _fields(ordering: Ordering | None) -> tuple[Field, ...]:
    return () if ordering is None else ordering.fields


def _by_order(
    entity: Entity, indexes: dict[str, Index], ordering: Ordering | None
) -> ByOrder | None:
    fields = _fields(ordering)
    index = indexes.get(fields[0].path) if len(fields) == 1 else None
    if index is None or index.ids:
        return None
    return ByOrder(entity, index, fields[0].descending)
