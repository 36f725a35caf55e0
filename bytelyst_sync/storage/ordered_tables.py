"""The reader and the transaction of the port, over any ordered map.

``MemoryStorage`` and ``LmdbStorage`` share this module. A store implements ``OrderedRows``: a few
primitives for rows and for the entries of indexes, in the order of tuples. This module decides
which entries a row has, which bounds a scan has, and how rows are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, Protocol, TypeVar

from bytelyst_sync.storage.base import Table, Value
from bytelyst_sync.storage.derived import DerivedTransaction, picker
from bytelyst_sync.storage.ordered import TOP, Key

__all__ = ["Counts", "Layout", "OrderedRows", "OrderedView", "layout_of"]

R = TypeVar("R", bound=Any)
V = TypeVar("V", bound=int | str)
Counts = dict[Key, int]


def _entry_picker(table: Table[Any], index: str) -> Callable[[Any], Key | None]:
    """A function from a row to its entry in the index, or to ``None`` if the index omits it."""
    pick, width = picker(table.columns, table.order(index)), len(table.indexes[index])

    def entry_of(row: Any) -> Key | None:
        entry = pick(row)
        return None if None in entry[:width] else entry

    return entry_of


class Layout:
    """Functions from a row of one table to its key, its entries and its counted columns."""

    def __init__(self, table: Table[Any]) -> None:
        self.table = table
        self.key = picker(table.columns, table.key)
        self.entries = {name: _entry_picker(table, name) for name in table.indexes}
        self._entries = [
            (name, self._places(columns), picker(table.columns, table.order(name)))
            for name, columns in table.indexes.items()
        ]
        self.key_of_entry = {name: picker(table.order(name), table.key) for name in table.indexes}
        """By index: a function from an entry to the key of its row."""
        self.counted = picker(table.columns, table.counted) if table.counted else None

    def _places(self, columns: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(map(self.table.columns.index, columns))

    def entries_of(self, row: Any) -> list[tuple[str, Key]]:
        """The entries of a row, each with its index."""
        entries = []
        for name, places, pick in self._entries:
            for place in places:
                if row[place] is None:
                    break
            else:
                entries.append((name, pick(row)))
        return entries


@cache
def layout_of(table: Table[Any]) -> Layout:
    """The layout of this table, built once."""
    return Layout(table)


class OrderedRows(Protocol):
    """The primitives of a store, for one transaction. A reader needs ``get``, ``rows``, ``counts``
    and ``last_number`` only.

    Keys and entries are tuples. Bounds are tuples too, and may end with ``TOP``.
    """

    def get(self, layout: Layout, key: Key) -> Any | None:
        """The row with this key, or ``None``."""
        ...

    def rows(
        self, layout: Layout, index: str | None, start: Key, stop: Key, *, reverse: bool
    ) -> Iterator[Any]:
        """The rows whose entry (``None``: whose key) is in ``start <= entry < stop``, in order."""
        ...

    def add(self, layout: Layout, key: Key, row: Any, entries: list[tuple[str, Key]]) -> bool:
        """Adds a row and its entries; false, without a change, if there is one with this key."""
        ...

    def swap(self, layout: Layout, key: Key, row: Any) -> Any | None:
        """Replaces the row with this key and returns the old one; ``None`` if there is none."""
        ...

    def drop(self, layout: Layout, key: Key) -> Any | None:
        """Removes the row with this key and returns it; ``None`` if there is none."""
        ...

    def add_entry(self, layout: Layout, index: str, entry: Key, key: Key) -> None:
        """Adds the entry of the row with this key to an index."""
        ...

    def drop_entry(self, layout: Layout, index: str, entry: Key) -> None:
        """Removes an entry from an index."""
        ...

    def counts(self, layout: Layout) -> Counts:
        """How many rows each combination of the counted columns has; a new dictionary."""
        ...

    def add_to_count(self, layout: Layout, counted: Key, by: int) -> None:
        """Adds to the number of rows with these counted columns."""
        ...

    def last_number(self) -> int:
        """The number of the sequence that was returned last."""
        ...

    def set_last_number(self, number: int) -> None:
        """Advances the sequence."""
        ...


class OrderedView(DerivedTransaction):
    """The ``Reader`` and the ``Transaction`` of the port, for the thread that runs its ``work``."""

    def __init__(self, rows: OrderedRows) -> None:
        self._rows: OrderedRows | None = rows

    def end(self) -> None:
        """Each later call raises ``RuntimeError``."""
        self._rows = None

    # -- the reader ------------------------------------------------------------------------------

    def get(self, table: Table[R], *key: Value) -> R | None:
        """The row with this key, or ``None``."""
        row: R | None = self._open().get(layout_of(table), key)
        return row

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
        """Rows in the order of an index or of the key, read while they are iterated."""
        table.scan_order(index, len(prefix) + max(len(after or ()), len(upto or ())))
        if None in prefix:
            return iter(())
        start = prefix if upto is None or not reverse else prefix + upto
        stop = (*prefix, TOP) if upto is None or reverse else (*prefix, *upto, TOP)
        if after is not None:
            if reverse:
                stop = (*prefix, *after)
            else:
                start = (*prefix, *after, TOP)
        rows = self._open().rows(layout_of(table), index, start, stop, reverse=reverse)
        return self._while_open(rows if limit is None else islice(rows, max(limit, 0)))

    def _while_open(self, rows: Iterator[Any]) -> Iterator[Any]:
        while True:
            self._open()
            try:
                row = next(rows)
            except StopIteration:
                return
            yield row

    def counts(self, table: Table[R]) -> Counts:
        """The rows per combination of the counted columns that has any."""
        return self._open().counts(layout_of(table))

    def last_number(self) -> int:
        """The number that ``next_number`` returned last."""
        return self._open().last_number()

    # -- the transaction -------------------------------------------------------------------------

    def insert(self, table: Table[R], *rows: R) -> None:
        """Adds rows; ``ValueError`` if a key is there already."""
        store, layout = self._open(), layout_of(table)
        for row in rows:
            key = layout.key(row)
            if not store.add(layout, key, row, layout.entries_of(row)):
                raise ValueError(f"{table.name} already has {key}")
            if layout.counted is not None:
                store.add_to_count(layout, layout.counted(row), 1)

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """Changes a row; ``LookupError`` if it is not there, ``ValueError`` if its new key is."""
        store, layout = self._open(), layout_of(table)
        key = layout.key(new)
        if layout.key(old) != key:
            if store.get(layout, key) is not None:
                raise ValueError(f"{table.name} already has {key}")
            self.delete(table, old)
            self.insert(table, new)
            return
        there = store.swap(layout, key, new)
        if there is None:
            raise LookupError(f"{table.name} has no {key}")
        for index, entry_of in layout.entries.items():
            before, after = entry_of(there), entry_of(new)
            if before != after:
                if before is not None:
                    store.drop_entry(layout, index, before)
                if after is not None:
                    store.add_entry(layout, index, after, key)
        if layout.counted is not None:
            counted, counted_now = layout.counted(there), layout.counted(new)
            if counted != counted_now:
                store.add_to_count(layout, counted, -1)
                store.add_to_count(layout, counted_now, 1)

    def delete(self, table: Table[R], *rows: R) -> None:
        """Removes rows; ``LookupError`` if one is not there."""
        store, layout = self._open(), layout_of(table)
        for row in rows:
            key = layout.key(row)
            there = store.drop(layout, key)
            if there is None:
                raise LookupError(f"{table.name} has no {key}")
            for index, entry in layout.entries_of(there):
                store.drop_entry(layout, index, entry)
            if layout.counted is not None:
                store.add_to_count(layout, layout.counted(there), -1)

    def next_number(self) -> int:
        """The next number of the sequence."""
        store = self._open()
        number = store.last_number() + 1
        store.set_last_number(number)
        return number

    def _open(self) -> OrderedRows:
        if self._rows is None:
            raise RuntimeError(
                "the transaction has ended: use its reader and its rows inside of work only"
            )
        return self._rows
