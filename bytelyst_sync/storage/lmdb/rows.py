"""The primitives of ``OrderedView`` in one transaction of LMDB.

All tables and indexes are in one tree of keys and values; see ``keys.py``. The value of an index
entry is the stored key of its row. Changes of counters are collected and written once, before the
commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bytelyst_sync.errors import StorageError
from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.lmdb.counters import Counters, KnownCounters, Mark, is_count
from bytelyst_sync.storage.lmdb.errors import DamagedError
from bytelyst_sync.storage.lmdb.keys import (
    COUNTERS,
    END,
    SEQUENCE,
    complete,
    decode_values,
    encode,
    encode_row,
    is_cut,
    lower_bound,
    space_of,
    start_of,
    stored_key,
    upper_bound,
)
from bytelyst_sync.storage.ordered import TOP, Key
from bytelyst_sync.storage.ordered_tables import Counts, Layout, layout_of
from bytelyst_sync.storage.row_checks import (
    is_sound,
    row_maker,
    row_reader,
)
from bytelyst_sync.storage.schema import TABLES
from bytelyst_sync.storage.set_aside import UnsoundRowError

if TYPE_CHECKING:
    import lmdb

__all__ = ["LmdbRows"]


class LmdbRows:
    """Rows, entries and counters in one transaction, used by one thread."""

    def __init__(
        self, transaction: lmdb.Transaction[bytes], known: KnownCounters | None = None
    ) -> None:
        self._transaction = transaction
        self._counters = Counters(known)
        self._changes = 0
        """How many changes there were: a scan finds its place again after each."""
        self._last_key: tuple[Layout | None, Key, bytes] = None, (), b""

    def use(self, transaction: lmdb.Transaction[bytes]) -> None:
        """Goes on in a transaction within this one, or in this one again after it."""
        self._transaction = transaction
        self._changes += 1

    def _key(self, layout: Layout, key: Key) -> bytes:
        """The stored key of a row; that of the last one is kept, for its entries."""
        known_layout, known_key, stored = self._last_key
        if key is not known_key or layout is not known_layout:
            stored = stored_key(encode(space_of(layout.table, None), key))
            self._last_key = layout, key, stored
        return stored

    # -- rows ------------------------------------------------------------------------------------

    def get(self, layout: Layout, key: Key) -> Any | None:
        """See ``OrderedRows``."""
        stored = self._key(layout, key)
        raw = self._transaction.get(stored)
        return None if raw is None else self._row(layout, stored, raw, key)

    def add(self, layout: Layout, key: Key, row: Any, entries: list[tuple[str, Key]]) -> bool:
        """See ``OrderedRows``."""
        table, put = layout.table, self._transaction.put
        stored = stored_key(encode(space_of(table, None), key))
        self._changes += 1
        if not put(stored, encode_row(table, stored, row), overwrite=False):
            if is_cut(stored):
                self.get(layout, key)  # raises StorageError if it is the row of another key
            return False
        for index, entry in entries:
            if not put(stored_key(encode(space_of(table, index), entry)), stored, overwrite=False):
                raise _entry_twice(table, index)
        return True

    def swap(self, layout: Layout, key: Key, row: Any) -> Any | None:
        """See ``OrderedRows``."""
        stored = self._key(layout, key)
        there = self._raw_row(layout, stored, key)
        if there is not None:
            self._changes += 1
            self._transaction.put(stored, encode_row(layout.table, stored, row))
        return there

    def drop(self, layout: Layout, key: Key) -> Any | None:
        """See ``OrderedRows``."""
        stored = self._key(layout, key)
        there = self._raw_row(layout, stored, key)
        if there is not None:
            self._changes += 1
            self._transaction.delete(stored)
        return there

    def _raw_row(self, layout: Layout, stored: bytes, key: Key) -> Any | None:
        """The row as it is stored, even if a column has a wrong type: it may be about to go."""
        try:
            raw = self._transaction.get(stored)
            return None if raw is None else self._row(layout, stored, raw, key)
        except UnsoundRowError as error:
            return error.row

    def _row(self, layout: Layout, stored: bytes, raw: bytes, key: Key | None = None) -> Any:
        values = complete(layout.table, decode_values(stored, raw))
        if values is None:
            raise DamagedError(f"a row of {layout.table.name} has a wrong checksum")
        row = row_reader(layout.table)(values)
        if key is not None and is_cut(stored) and layout.key(row) != key:
            raise StorageError(
                f"{layout.table.name} {key} has the same hash as another long key: shorten the id"
            )
        return row

    # -- entries ---------------------------------------------------------------------------------

    def add_entry(self, layout: Layout, index: str, entry: Key, key: Key) -> None:
        """See ``OrderedRows``."""
        stored = stored_key(encode(space_of(layout.table, index), entry))
        self._changes += 1
        if not self._transaction.put(stored, self._key(layout, key), overwrite=False):
            raise _entry_twice(layout.table, index)

    def drop_entry(self, layout: Layout, index: str, entry: Key) -> None:
        """See ``OrderedRows``."""
        stored = stored_key(encode(space_of(layout.table, index), entry))
        self._changes += 1
        if not self._transaction.delete(stored):
            raise DamagedError(f"the index {index} of {layout.table.name} lacks an entry")

    def has(self, layout: Layout, index: str | None, start: Key) -> bool:
        """Whether a row has an entry (``None``: a key) that begins with these values."""
        low = encode(space_of(layout.table, index), start)
        if lower_bound(low) != low:  # it may be in a cut key
            rows = self.rows(layout, index, start, (*start, TOP), reverse=False)
            return next(rows, None) is not None
        with self._transaction.cursor() as cursor:
            if not cursor.set_range(low):
                return False
            key = cursor.key()
        # a text that goes on after a NUL begins alike, but for the next byte
        return key.startswith(low) and key[len(low) : len(low) + 1] != END

    def rows(
        self, layout: Layout, index: str | None, start: Key, stop: Key, *, reverse: bool
    ) -> Iterator[Any]:
        """See ``OrderedRows``."""
        space = space_of(layout.table, index)
        low, high = encode(space, start), encode(space, stop)
        alike: list[tuple[bytes, Any]] = []
        for stored, raw in self._between(lower_bound(low), upper_bound(high), reverse=reverse):
            row = self._row(layout, stored, raw) if index is None else self._indexed(layout, raw)
            if alike and start_of(alike[0][0]) != start_of(stored):
                yield from _sorted(layout, index, alike, low, high, reverse=reverse)
                alike = []
            if is_cut(stored):
                alike.append((stored, row))
            elif low <= stored < high:
                yield row
        yield from _sorted(layout, index, alike, low, high, reverse=reverse)

    def _indexed(self, layout: Layout, stored: bytes) -> Any:
        raw = self._transaction.get(stored)
        if raw is None:
            raise DamagedError(f"an index of {layout.table.name} has an entry without a row")
        return self._row(layout, stored, raw)

    def _between(
        self, low: bytes, high: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """The stored keys with ``low <= key < high`` and their values, in order."""
        last: bytes | None = None
        while True:
            changes = self._changes
            with self._transaction.cursor() as cursor:
                if reverse:
                    there = cursor.prev() if cursor.set_range(last or high) else cursor.last()
                else:
                    there = cursor.set_range(last or low)
                if not there:
                    return
                for key, value in cursor.iterprev() if reverse else cursor.iternext():
                    if key < low or key >= high:
                        return
                    if key == last:
                        continue
                    last = key
                    yield key, value
                    if changes != self._changes:
                        break
                else:
                    return

    def unsound_rows(self, table: Table[Any]) -> Iterator[Any]:
        """The rows that are malformed or out of range."""
        space = space_of(table, None)
        for stored, raw in self._between(space, space + END):
            values = complete(table, decode_values(stored, raw))
            if values is None:
                raise DamagedError(f"a row of {table.name} has a wrong checksum")
            row = row_maker(table)(values)
            if not is_sound(table, row):
                yield row

    # -- counters --------------------------------------------------------------------------------

    def counts(self, layout: Layout) -> Counts:
        """See ``OrderedRows``."""
        start = encode(COUNTERS, (layout.table.name,))
        counts: Counts = {}
        for key, raw in self._between(start, start + END):
            values = decode_values(key, raw)
            if not is_count(values):
                raise DamagedError("a counter is damaged")
            counts[tuple(values[:-1])] = values[-1]
        return self._counters.apply_to(layout, counts)

    def add_to_count(self, layout: Layout, counted: Key, by: int) -> None:
        """See ``OrderedRows``."""
        self._counters.add(layout, counted, by)

    def recount(self) -> None:
        """Counts all rows again, after a row with wrong counted columns was removed."""
        for key in [key for key, _ in self._between(COUNTERS, COUNTERS + END) if key != SEQUENCE]:
            self._transaction.delete(key)
        self._counters.forget()
        self._changes += 1
        for layout in map(layout_of, TABLES):
            if layout.counted is not None:
                for row in self.rows(layout, None, (), (TOP,), reverse=False):
                    self.add_to_count(layout, layout.counted(row), 1)

    def last_number(self) -> int:
        """See ``OrderedRows``."""
        return self._counters.last_number(self._transaction)

    def set_last_number(self, number: int) -> None:
        """See ``OrderedRows``."""
        self._counters.set_last_number(number)

    def mark(self) -> Mark:
        """The state before a job, for ``reset``."""
        return self._counters.mark()

    def reset(self, mark: Mark) -> None:
        """Restores the state of a ``mark``."""
        self._counters.reset(mark)

    def settle(self) -> int:
        """Writes the counters, before the commit.

        Returns the last number of the sequence; ``-1`` if this transaction did not need it.
        """
        return self._counters.settle(self._transaction)


def _entry_twice(table: Table[Any], index: str) -> DamagedError:
    return DamagedError(f"the index {index} of {table.name} has an entry twice")


def _sorted(
    layout: Layout,
    index: str | None,
    alike: list[tuple[bytes, Any]],
    low: bytes,
    high: bytes,
    *,
    reverse: bool,
) -> Iterator[Any]:
    """Rows whose keys were cut, and start alike, in the order of the whole keys."""
    if not alike:
        return
    space = space_of(layout.table, index)
    pick = layout.key if index is None else layout.entries[index]
    whole = [(encode(space, pick(row) or ()), row) for _, row in alike]
    for key, row in sorted(whole, reverse=reverse):
        if low <= key < high:
            yield row
