"""One page of a listing, and where a pull is in the listing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from bytelyst_sync.errors import SyncError
from bytelyst_sync.protocol.page_rows import Row, RowReader, SkippedRow

__all__ = ["Page", "Position"]


@attrs.frozen
class Position:
    """The position of a pull: the stored cursor, and values from the pages so far."""

    cursor: str | None
    url: str | None = None
    token: str | None = None
    """The token for this page, from the previous page."""
    page: int = 0
    """How many pages were read before this one; -1: the page before the first."""
    offset: int = 0
    """How many rows were read before this page."""
    new_cursor: str | None = None
    """The new cursor after the pages so far."""
    size: int | None = None
    """How many rows are requested, if more rows have the same cursor than a page contains."""
    tied: int = 0
    """How many rows the previous page had, if all of them have the same cursor."""
    rows: int = 0
    """How many rows the previous pages had in all."""
    longest: int = 0
    """How many rows the longest page had, of this pull and of those before it."""
    doubted: int | None = None
    """The signature of the previous page, if it was shorter than requested, and maybe the last."""
    behind: str | None = None
    """The cursor that is requested instead, to find out whether rows are behind ``cursor``."""
    from_start: bool = False
    """Whether the listing began without a cursor, so that ``rows`` counts all of it."""
    first_count: int | None = None
    """The count of all rows in the first page's answer, where the dialect does not read it."""

    @property
    def is_first(self) -> bool:
        """Whether no page was read before this one."""
        begins = self.url is None or self.url == self.cursor
        return self.rows == 0 and self.page == 0 and begins and self.token is None


@attrs.frozen
class Page:
    """One page. ``next`` is the position of the next page (``None``: this was the last one).
    ``resumable``: ``cursor`` may be stored with this page already.
    """

    elements: Sequence[Any] = attrs.field(repr=False)
    reader: RowReader = attrs.field(repr=False)
    cursor: str | None
    next: Position | None
    resumable: bool
    signature: int = 0
    """Equal for pages that have the same ids in the same order."""
    key_hashes: set[int] = attrs.field(factory=set, repr=False)
    """A hash of each of its ids, if pages are asked for by number; else empty."""
    implausible: int = 0
    """How many values cannot become the cursor: far in the future, or of another kind."""
    lacking: SyncError | None = None
    """Why the listing is incomplete, although this was its last page."""
    is_whole: bool = False
    """Whether this was the last page, and the server's own count shows that no row is missing."""
    names_next: bool = False
    """Whether the answer has the place that names the next page, even if it is empty there."""

    @property
    def count(self) -> int:
        """How many rows it has."""
        return len(self.elements)

    def rows(self) -> Iterator[Row | SkippedRow]:
        """Its rows. Those of a large page are parsed while they are iterated."""
        for element in self.elements:
            row = self.reader.row(element)
            if row is not None:
                yield row

    def keys(self) -> list[str]:
        """The keys of its rows, in their order."""
        return [row.key for row in self.rows() if isinstance(row, Row)]
