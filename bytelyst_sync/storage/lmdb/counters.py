"""The sequence and the counts of rows, in one transaction of LMDB.

Changes are collected, and written once, before the commit. What the last commit of this process
left is kept: a transaction that follows it, which LMDB's numbers of transactions tell, does not
read and decode it again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bytelyst_sync.storage.lmdb.errors import DamagedError
from bytelyst_sync.storage.lmdb.keys import (
    COUNTERS,
    SEQUENCE,
    decode_values,
    encode,
    encode_values,
    stored_key,
)
from bytelyst_sync.storage.ordered import Key
from bytelyst_sync.storage.ordered_tables import Counts, Layout
from bytelyst_sync.storage.row_checks import LARGEST_NUMBER

if TYPE_CHECKING:
    import lmdb

__all__ = ["Counters", "KnownCounters", "Mark"]

_Place = tuple[Layout, Key]
Mark = tuple[dict[_Place, int], int]
_MOST_KNOWN = 1000


class KnownCounters:
    """What the file has since a commit of this process, if no other one followed it.

    Used by the holder of the write lock.
    """

    def __init__(self) -> None:
        self._commit = -1
        self.number = -1
        """The last number of the sequence; -1: unknown."""
        self.counts: dict[_Place, int] = {}
        """Some counts of the file."""
        self.is_marked = False
        """Whether the file says that commits may be unsynced."""

    def start(self, commit: int) -> None:
        """Forgets everything unless this transaction follows the commit that is known."""
        if self._commit != commit - 1:
            self.number, self.counts, self.is_marked = -1, {}, False
        self._commit = -1

    def keep(self, commit: int) -> None:
        """What is here is what this commit left."""
        if len(self.counts) > _MOST_KNOWN:
            self.counts = {}
        self._commit = commit


class Counters:
    """The sequence, and the rows per combination of counted columns. Used by one thread."""

    def __init__(self, known: KnownCounters | None = None) -> None:
        self._known = known or KnownCounters()
        self._added: dict[_Place, int] = {}
        """Changes of the counts."""
        self._number = self._stored_number = -1
        """The last number of the sequence here and in the file; -1 before it was read."""

    def last_number(self, transaction: lmdb.Transaction[bytes]) -> int:
        """The last number of the sequence."""
        if self._number < 0:
            number: Any = self._known.number
            if number < 0:
                raw = transaction.get(SEQUENCE)
                number = 0 if raw is None else decode_values(SEQUENCE, raw)
                if type(number) is not int or not 0 <= number < LARGEST_NUMBER:
                    raise DamagedError("the sequence is damaged")
            self._number = self._stored_number = number
        return self._number

    def set_last_number(self, number: int) -> None:
        """Advances the sequence."""
        self._number = number

    def add(self, layout: Layout, counted: Key, by: int) -> None:
        """Adds to the number of rows with these counted columns."""
        place = layout, counted
        self._added[place] = self._added.get(place, 0) + by

    def apply_to(self, layout: Layout, counts: Counts) -> Counts:
        """The counts of a table: those of the file with the changes of this transaction."""
        for (counted_layout, counted), by in self._added.items():
            if counted_layout is layout:
                counts[counted] = counts.get(counted, 0) + by
        return {counted: number for counted, number in counts.items() if number}

    def forget(self) -> None:
        """All counts were deleted from the file."""
        self._added = {}
        self._known.counts = {}

    def mark(self) -> Mark:
        """The state before a job, for ``reset``."""
        return self._added.copy(), self._number

    def reset(self, mark: Mark) -> None:
        """Restores the state of a ``mark``."""
        self._added, self._number = mark

    def settle(self, transaction: lmdb.Transaction[bytes]) -> int:
        """Writes the changes, before the commit.

        Returns the last number of the sequence; ``-1`` if this transaction did not need it.
        """
        if self._number != self._stored_number:
            transaction.put(SEQUENCE, encode_values(SEQUENCE, self._number))
        if self._number >= 0:
            self._known.number = self._number
        for place, by in self._added.items():
            if by:
                self._settle(transaction, place, by)
        return self._number

    def _settle(self, transaction: lmdb.Transaction[bytes], place: _Place, by: int) -> None:
        layout, counted = place
        key = _key_of(layout.table.name, counted)
        before = self._known.counts.get(place)
        if before is None:
            raw = transaction.get(key)
            values = [0] if raw is None else decode_values(key, raw)
            if not is_count(values):
                raise DamagedError("a counter is damaged")
            before = values[-1]
        number = self._known.counts[place] = before + by
        if number > 0:
            transaction.put(key, encode_values(key, (*counted, number)))
        elif number == 0:
            transaction.delete(key)
        else:
            raise DamagedError("a counter is damaged")


def is_count(values: Any) -> bool:
    """Whether a stored count is one: the counted columns and a number."""
    return type(values) is list and len(values) > 0 and type(values[-1]) is int


@lru_cache(maxsize=_MOST_KNOWN)
def _key_of(table: str, counted: Key) -> bytes:
    return stored_key(encode(COUNTERS, (table, *counted)))
