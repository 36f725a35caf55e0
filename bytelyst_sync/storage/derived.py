"""Base classes that implement methods of the port with its other methods.

A store inherits from these classes, and overrides each method that its database can do faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from bytelyst_sync.storage.base import Reader, Table, Transaction, Value

__all__ = ["DerivedReader", "DerivedTransaction", "picker"]

R = TypeVar("R", bound=NamedTuple)
V = TypeVar("V", bound=int | str)


class DerivedReader(Reader):
    """A reader that needs only ``get``, ``scan``, ``counts`` and ``last_number``."""

    def fetch(self, table: Table[R], prefix: tuple[Value, ...], values: Iterable[V]) -> dict[V, R]:
        """The rows whose key is the prefix and one of these values, by that value."""
        rows = ((each, self.get(table, *prefix, each)) for each in values)
        return {each: row for each, row in rows if row is not None}

    def select(
        self, table: Table[R], columns: tuple[str, ...], keys: Iterable[V]
    ) -> dict[V, tuple[Value, ...]]:
        """Some columns of the rows that have one of these keys, by key."""
        pick = picker(table.columns, columns)
        return {key: pick(row) for key, row in self.fetch(table, (), keys).items()}

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        """Which of these values some row has in the column that follows the prefix."""
        return {
            each
            for each in values
            if next(self.scan(table, index, (*prefix, each), limit=1), None) is not None
        }

    def matching(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> list[R]:
        """All rows that have one of these values in the column that follows the prefix."""
        if next(self.scan(table, index, prefix, limit=1), None) is None:
            return []  # cheaper than to look for each value
        found = self.present(table, index, prefix, values)
        return [row for each in found for row in self.scan(table, index, (*prefix, each))]

    def first_of_each(
        self,
        table: Table[R],
        index: str,
        prefix: tuple[Value, ...],
        values: Iterable[V],
        *,
        reverse: bool = False,
    ) -> dict[V, R]:
        """The first or last row with each of these values in the column that follows the prefix."""
        wanted = list(values)
        if len(wanted) > 1:  # cheaper than to look for each value
            wanted = list(self.present(table, index, prefix, wanted))
        first: dict[V, R] = {}
        for each in wanted:
            for row in self.scan(table, index, (*prefix, each), reverse=reverse, limit=1):
                first[each] = row
        return first


class DerivedTransaction(DerivedReader, Transaction):
    """A transaction that needs only a reader and the changes of single rows."""

    def replace_all(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        """``replace`` for many."""
        for old, new in list(pairs):  # they may come from a scan of the table
            self.replace(table, old, new)

    def update_many(self, table: Table[R], rows: Sequence[R], **values: Value) -> list[R]:
        """Sets the same columns in all of these rows, and returns the new rows."""
        new = [row._replace(**values) for row in rows]
        self.replace_all(table, zip(rows, new, strict=True))
        return new

    def take(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        *,
        upto: tuple[Value, ...] | None = None,
        limit: int | None = None,
    ) -> Iterator[R]:
        """``scan``: for a store in which one transaction at a time can change rows."""
        return self.scan(table, index, prefix, upto=upto, limit=limit)


@cache
def picker(columns: tuple[str, ...], picked: tuple[str, ...]) -> Callable[[Any], tuple[Value, ...]]:
    """A function from a row with these columns to the tuple of those that are ``picked``."""
    places = [columns.index(column) for column in picked]
    if len(places) == 1:
        only = places[0]
        return lambda row: (row[only],)
    if not places:
        return lambda _: ()
    return itemgetter(*places)
