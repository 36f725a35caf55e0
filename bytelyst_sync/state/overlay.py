"""A transaction in memory: changed rows on top of a store that is only read.

Rules run on it as on a transaction of the store, so their result is known before anything is
written. ``over`` puts it on a consistent view of the store; its own changes stay. A row that was
changed in the overlay hides later changes of that row in the store.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from bytelyst_sync.storage.base import Reader, Table, Value
from bytelyst_sync.storage.derived import DerivedTransaction, picker

__all__ = ["FIRST_NUMBER", "Overlay"]

R = TypeVar("R", bound=Any)
V = TypeVar("V", bound=int | str)
Key = tuple[Value, ...]
_MISSING = object()
FIRST_NUMBER = 1 << 61
"""The overlay's numbers are larger than all numbers of a store, so its rows come last."""


class Overlay(DerivedTransaction):
    """The ``Transaction`` of the storage port. Owned by one thread at a time."""

    _base: Reader

    def __init__(self) -> None:
        self._rows: dict[str, dict[Key, Any]] = {}
        """By table and key; ``None`` for a row that was removed."""
        self._counts: dict[str, dict[Key, int]] = {}
        """The differences to the store's counts, by table."""
        self._number = FIRST_NUMBER
        self._journal: list[tuple[dict[Key, Any], Key, Any]] = []
        """The former values of the changes since the last ``keep``: (dictionary, key, value)."""

    def over(self, base: Reader) -> Overlay:
        """Puts this overlay on a view of the store, and undoes the changes that were not kept."""
        self.undo()
        self._base = base
        return self

    def keep(self) -> None:
        """The changes made so far stay."""
        self._journal.clear()

    def undo(self) -> None:
        """Takes back the changes since the last ``keep``, last first."""
        while self._journal:
            values, key, former = self._journal.pop()
            if former is _MISSING:
                del values[key]
            else:
                values[key] = former

    def get(self, table: Table[R], *key: Value) -> R | None:
        """As the port says."""
        rows = self._rows.get(table.name, {})
        return rows[key] if key in rows else self._base.get(table, *key)

    def scan(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        *,
        after: tuple[Value, ...] | None = None,
        upto: tuple[Value, ...] | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[R]:
        """As the port says."""
        base = self._base.scan(table, index, prefix, after=after, upto=upto, reverse=reverse)
        rows = self._rows.get(table.name)
        if rows:
            key_of = picker(table.columns, table.key)
            order_of = picker(table.columns, table.order(index))
            indexed = len(table.indexes[index]) if index is not None else 0
            inside = _bounds(prefix, after, upto, reverse=reverse)
            own = [
                row
                for row in rows.values()
                if row is not None and None not in order_of(row)[:indexed] and inside(order_of(row))
            ]
            own.sort(key=order_of, reverse=reverse)
            others = (row for row in base if key_of(row) not in rows)
            base = heapq.merge(others, own, key=order_of, reverse=reverse)
        return base if limit is None else islice(base, max(limit, 0))

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        """As the port says."""
        if self._rows.get(table.name):
            return super().fetch(table, prefix, values)
        return self._base.fetch(table, prefix, values)

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        """As the port says."""
        if self._rows.get(table.name):
            return super().present(table, index, prefix, values)
        return self._base.present(table, index, prefix, values)

    def first_of_each(
        self,
        table: Table[R],
        index: str,
        prefix: tuple[Value, ...],
        values: Iterable[V],
        *,
        reverse: bool = False,
    ) -> dict[V, R]:
        """As the port says."""
        if self._rows.get(table.name):
            return super().first_of_each(table, index, prefix, values, reverse=reverse)
        return self._base.first_of_each(table, index, prefix, values, reverse=reverse)

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        """As the port says."""
        counts = dict(self._base.counts(table))
        for values, number in self._counts.get(table.name, {}).items():
            counts[values] = counts.get(values, 0) + number
        return {values: number for values, number in counts.items() if number > 0}

    def last_number(self) -> int:
        """As the port says."""
        return self._number if self._number > FIRST_NUMBER else self._base.last_number()

    def next_number(self) -> int:
        """As the port says."""
        self._number += 1
        return self._number

    def insert(self, table: Table[R], *rows: R) -> None:
        """As the port says."""
        for row in rows:
            self._set(table, None, row)

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """As the port says."""
        self._set(table, old, new)

    def delete(self, table: Table[R], *rows: R) -> None:
        """As the port says."""
        for row in rows:
            self._set(table, row, None)

    def _set(self, table: Table[R], old: R | None, new: R | None) -> None:
        key_of = picker(table.columns, table.key)
        rows = self._rows.setdefault(table.name, {})
        for row, by in ((old, -1), (new, 1)):
            if row is None:
                continue
            self._put(rows, key_of(row), row if by > 0 else None)
            if table.counted:
                counts = self._counts.setdefault(table.name, {})
                counted = picker(table.columns, table.counted)(row)
                self._put(counts, counted, counts.get(counted, 0) + by)

    def _put(self, values: dict[Key, Any], key: Key, value: Any) -> None:
        self._journal.append((values, key, values.get(key, _MISSING)))
        values[key] = value


def _bounds(
    prefix: Key, after: Key | None, upto: Key | None, *, reverse: bool
) -> Callable[[Key], bool]:
    """Whether a row with these columns lies within a scan's bounds."""
    start = len(prefix)

    def inside(order: Key) -> bool:
        rest = order[start:]
        if order[:start] != prefix:
            return False
        if reverse:
            return (after is None or rest[: len(after)] < after) and (
                upto is None or rest[: len(upto)] >= upto
            )
        return (after is None or rest[: len(after)] > after) and (
            upto is None or rest[: len(upto)] <= upto
        )

    return inside
