"""What is learnt of a page's rows while they are read for the first time."""

from __future__ import annotations

from typing import Any

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.protocol.page_rows import RowReader
from bytelyst_sync.rules.cursors import LargestCursor
from bytelyst_sync.rules.tombstone import is_doubtful_mark

__all__ = ["PageSurvey"]

_FEWEST_ROWS = 2
"""One row may be the only record, and deleted."""


class PageSurvey:
    """The survey of one page. ``signature`` is equal for the same ids in the same order; ``keys``
    has a hash of each id, if pages are asked for by number.
    """

    def __init__(
        self,
        dialect: Dialect,
        id_field: str,
        reader: RowReader,
        largest: LargestCursor | None,
        *,
        counts_pages: bool,
    ) -> None:
        self.largest = largest
        self.signature = 0
        self.keys: set[int] = set()
        self._counts_pages = counts_pages
        self._id_field = id_field
        self._reader = reader
        self._path = (dialect.cursor or "").partition(":")[2]
        mark = dialect.tombstone
        self._mark = None if mark is None or "=" in mark else mark
        self._count = self._doubtful = 0
        self._last_mark = ""

    def look(self, element: Any) -> None:
        """Takes one element into account."""
        key = self._reader.value(element, self._id_field)
        self.signature = hash((self.signature, str(key)))
        if self._counts_pages:  # of a page of a million rows they take as much as its text
            self.keys.add(hash(str(key)))
        if self._mark is not None:
            self._count += 1
            mark = self._reader.value(element, self._mark)
            if is_doubtful_mark(mark):
                self._doubtful += 1
                self._last_mark = mark
        if self.largest is not None:
            self.largest.look(self._reader.value(element, self._path))

    @property
    def doubtful_mark(self) -> str | None:
        """A mark of a deleted record that all rows have, and living ones may have too."""
        is_everywhere = self._doubtful == self._count >= _FEWEST_ROWS
        return self._last_mark if is_everywhere else None
