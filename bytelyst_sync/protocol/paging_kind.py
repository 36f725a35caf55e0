"""How the pages of an entity are asked for, as its dialect says. Immutable."""

from __future__ import annotations

from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.page import Position

__all__ = ["PagingKind"]

_LEAST_SIZE = 10
"""The smallest size of pages that a server chooses by itself."""


class PagingKind:
    """The kind of one entity's pages."""

    def __init__(self, codec: EntityCodec) -> None:
        self.codec = codec
        self.entity = codec.entity
        self._dialect = codec.dialect
        self._kind, self._name = self._dialect.paging
        self._listing = codec.requests.listing
        counts = {"page", "offset"} & {self._kind, *self._listing.placeholders}
        self._counts = bool(counts) and self._kind in ("page", "offset", "more", "full")
        """Whether pages are requested by their number, or by the number of their first row."""
        self._start = self._dialect.first_number
        self._resumes = self._kind in ("more", "full", "") and not self._counts
        """Whether each page is requested with the cursor of the previous one."""
        self._cursor_kind, _, self._cursor_name = (self._dialect.cursor or "").partition(":")

    @property
    def counts_pages(self) -> bool:
        """Whether pages are requested by a number."""
        return self._counts

    @property
    def follows_links(self) -> bool:
        """Whether each page names the next one."""
        return self._kind in ("url", "header", "rel", "step", "token")

    @property
    def begins_at_link(self) -> bool:
        """Whether the cursor is a link for the next pull."""
        return self._cursor_kind == "url"

    def begin(self, cursor: str | None, *, longest: int = 0) -> Position:
        """Where a pull begins; ``longest``: how many rows the longest page had so far."""
        url = cursor if self.begins_at_link else None
        return Position(cursor, url, longest=longest, from_start=cursor is None)

    def before_first(self, cursor: str | None, *, whole: bool) -> Position | None:
        """The position of rows before the first page; ``None`` if there can be none.

        ``whole``: the server's own count shows that no row is missing.
        """
        known = whole or not self._start or self._dialect.start is not None
        return None if known else Position(cursor, page=-1, offset=-1)

    @property
    def is_sized(self) -> bool:
        """Whether a page can be asked for with so many rows."""
        return bool(self._listing.size_parameter) or "limit" in self._listing.placeholders

    @property
    def is_single_page(self) -> bool:
        """Whether there is one page by the dialect, of which a larger one can be asked for."""
        return not self._kind and self.is_sized

    @property
    def counts_rows(self) -> bool:
        """Whether pages are requested by the number of their first row."""
        return self._counts and "offset" in {self._kind, *self._listing.placeholders}

    def may_be_cut(self, count: int) -> bool:
        """Whether a page with so many rows may have been cut off: as many were asked for or, where
        the server chooses, it is such a number as servers choose.
        """
        size = self._page_length()
        return count == size if size else count >= _LEAST_SIZE and count % 5 == 0

    def _page_length(self) -> int:
        """How many rows a page is asked to have; 0: the server chooses."""
        size = self.entity.config.page_size
        if size is None:
            name = self._name or self._dialect.page_size
            setting = self.entity.config.params.get(name, self._dialect.query.get(name))
            size = int(setting) if setting is not None and str(setting).isdigit() else 0
        return size
