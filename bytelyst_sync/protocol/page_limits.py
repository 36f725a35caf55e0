"""Ends a listing that would never end: repeated pages, pages without rows, too many pages."""

from __future__ import annotations

from bytelyst_sync.errors import TransportError
from bytelyst_sync.protocol.error_messages import MappingError
from bytelyst_sync.protocol.page import Page, Position

__all__ = ["PageLimits"]

_MOST_PAGES = 100_000
_MOST_EMPTY = 50
"""A server that filters after it divided its rows into pages may return some pages without rows."""
_MOST_REPEATED = 10
_LEAST_COMMON = 3


class PageLimits:
    """Watches one pass over an entity's pages. Used by one thread."""

    def __init__(self, entity: str) -> None:
        self._entity = entity
        self._restarts = 0
        self._begin()

    def _begin(self) -> None:
        self._pages = 0
        self._empty = 0
        self._repeated = 0
        self._last = 0
        self._last_keys: set[int] = set()
        self._places: set[tuple[object, ...]] = set()
        self._signatures: set[int] = set()

    def restart(self) -> None:
        """Starts the pass again because its cursor has expired. This may happen once."""
        self._restarts += 1
        if self._restarts > 1:
            raise self._error("the server takes no cursor that it gave")
        self._begin()

    def check(self, position: Position, page: Page) -> None:
        """Raises ``TransportError`` if the listing would not end after this page."""
        self._places.add(_place(position))
        self._check_overlap(position, page)
        following = page.next
        if following is None:
            return
        self._pages += 1
        self._empty = 0 if page.count else self._empty + 1
        if _place(following) in self._places:
            raise self._error("its next page is one that was read already")
        if self._empty > _MOST_EMPTY:
            raise self._error(f"{self._empty} pages in a row have no rows, and name a next one")
        if self._pages > _MOST_PAGES:
            raise self._error(f"it has more than {_MOST_PAGES:,} pages")
        if page.count and page.signature == self._last and _is_counted(following):
            raise self._error(
                "one page is as the page before it; is the parameter's name right, and the number "
                "at which pages begin (`start`)?"
            )
        self._repeated += page.count > 0 and page.signature in self._signatures
        if self._repeated > _MOST_REPEATED:
            raise self._error("it brings the same rows again and again")
        self._signatures.add(page.signature)
        self._last = page.signature

    def _check_overlap(self, position: Position, page: Page) -> None:
        """Raises if a page has all but one row of the page before it: what was sent as the number
        of a page counts rows. Where rows move between pages, it is a few.
        """
        earlier, self._last_keys = self._last_keys, page.key_hashes
        common = len(earlier & page.key_hashes)
        if not _is_counted(position) or page.signature == self._last:
            return
        if common >= max(_LEAST_COMMON, len(page.key_hashes) - 1):
            raise MappingError(
                f"{self._entity}: {common} rows of one page are those of the page before it, so "
                "that the listing is not whole: if `next_page` names the number of a row, say "
                '"offset:" in place of "page:", or "{offset}" in place of "{page}"',
                entity=self._entity,
            )

    def _error(self, reason: str) -> TransportError:
        return TransportError(
            f"{self._entity}: the listing would never end: {reason} (`next_page`, `since`)",
            entity=self._entity,
        )


def _is_counted(position: Position) -> bool:
    return position.page > 0 or position.offset > 0


def _place(position: Position) -> tuple[object, ...]:
    """The values in the request for the page at this position."""
    if position.url is not None:
        return (position.url,)
    cursor = position.behind or position.cursor
    return (cursor, position.token, position.page, position.offset, position.size)
