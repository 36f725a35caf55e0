"""Checks of a listing's mapping that need a request of their own, made once for each entity.

A wrong ``start`` loses the pages before the first, a wrong ``next_page`` all but the first: neither
shows in the pages that were read.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bytelyst_sync.errors import AuthError, RejectedError, TransportError
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.protocol.error_messages import MappingError, mapping_mismatch
from bytelyst_sync.protocol.page import Page, Position
from bytelyst_sync.protocol.paging import Pager
from bytelyst_sync.protocol.responses import decode_response

__all__ = ["ListingProofs"]

Fetch = Callable[[Request], Response]
_LEAST_ROWS = 10
"""The fewest rows of a first page by which it is checked that rows are counted."""


@attrs.frozen
class ListingProofs:
    """What is proven by now. The lock of an entity's pull is held by the caller."""

    _starts: set[str] = attrs.field(factory=set)
    """Entities for which it was checked that the first page is the first one."""
    _links: set[str] = attrs.field(factory=set)
    """Entities whose answers were seen to name a next page, or at least its place."""
    _totals: set[str] = attrs.field(factory=set)
    """Entities whose ``total`` was seen not to be the size of a page."""
    _offsets: set[str] = attrs.field(factory=set)
    """Entities whose offset was seen to count rows."""
    _longest: dict[str, int] = attrs.field(factory=dict)

    def begin(self, pager: Pager, cursor: str | None) -> Position:
        """Where a pull begins."""
        return pager.begin(cursor, longest=self._longest.get(pager.entity.name, 0))

    def check(
        self, pager: Pager, position: Position, page: Page, first_keys: frozenset[str], fetch: Fetch
    ) -> Page:
        """The page; with the reason in ``lacking`` if it is the last, and the listing proves to be
        cut off after the first page. Called before the page is applied.

        Raises ``MappingError`` if rows are before the first page.
        """
        name = pager.entity.name
        self._longest[name] = max(self._longest.get(name, 0), page.count)
        if page.names_next:
            self._links.add(name)
        if page.next is not None:
            return page
        if pager.counts_pages and name not in self._starts:
            self._check_start(pager, position, page, first_keys, fetch)
        if pager.follows_links and name not in self._links and page.lacking is None:
            return self._check_links(pager, position, page, fetch)
        if page.lacking is not None:
            return page
        if pager.is_single_page and page.count and pager.may_be_cut(page.count):
            return self._check_single_page(pager, position, page, fetch)
        if page.is_whole and position.is_first and pager.counts_pages:
            return self._check_total(pager, position, page, fetch)
        if (
            pager.counts_rows
            and page.count == 0
            and position.page == 1
            and position.offset >= _LEAST_ROWS
        ):
            return self._check_offset(pager, position, page, fetch)
        return page

    def _check_start(
        self, pager: Pager, position: Position, page: Page, first_keys: frozenset[str], fetch: Fetch
    ) -> None:
        before = pager.before_first(position.cursor, whole=page.is_whole)
        if before is not None:
            try:
                response = fetch(pager.request(before))
            except TransportError:
                return  # some servers crash on such a request: the next pull asks again
            if not pager.proves_start(first_keys, response):
                return
        self._starts.add(pager.entity.name)

    def _check_links(self, pager: Pager, position: Position, page: Page, fetch: Fetch) -> Page:
        """Asks for a page of one row: it must name a next one, as there are more."""
        if page.count < 2 or page.is_whole or not pager.is_sized:
            return page
        single = Position(position.cursor, size=1)
        try:
            response = fetch(pager.request(single))
            shorter = pager.page(single, response)
        except (AuthError, TransportError):
            return page  # the next pull asks again
        except RejectedError:
            self._links.add(pager.entity.name)  # the server gives no page of one row
            return page
        if shorter.count == 1 and not shorter.names_next:
            return attrs.evolve(page, lacking=_no_next_page(pager, response, page.count))
        self._links.add(pager.entity.name)
        return page

    def _check_single_page(
        self, pager: Pager, position: Position, page: Page, fetch: Fetch
    ) -> Page:
        """Asks for a larger page: it must have no more rows, as the only page is said to be it."""
        name, size = pager.entity.name, 2 * page.count
        larger = attrs.evolve(position, size=size)
        try:
            found = pager.page(larger, fetch(pager.request(larger)))
        except (AuthError, TransportError):
            return page  # the next pull asks again
        except RejectedError as error:
            if not pager.entity.config.page_size:
                return page
            came = f"a page of {size} was refused ({error})"
        else:
            if found.count <= page.count:
                return page
            came = f"{size} were asked for, and {found.count} came"
        asked = "was asked for" if pager.entity.config.page_size else "came"
        mismatch = MappingError(
            f"{name}: a page of {page.count} rows {asked}, and next_page=None says that there is "
            f"no other one; but {came}. Say how the listing goes on (`next_page`), or leave out "
            "`page_size`",
            entity=name,
        )
        return attrs.evolve(page, lacking=mismatch)

    def _check_total(self, pager: Pager, position: Position, page: Page, fetch: Fetch) -> Page:
        """Asks for the second page, if ``total`` says that there is none and may be the size of a
        page.
        """
        name = pager.entity.name
        if name in self._totals or not pager.may_be_cut(page.count):
            return page
        second = attrs.evolve(position, page=1, offset=page.count, rows=page.count)
        try:
            found = pager.page(second, fetch(pager.request(second)))
        except (AuthError, TransportError):
            return page  # the next pull asks again
        except RejectedError:
            found = attrs.evolve(page, elements=())
        if found.count and not page.key_hashes & found.key_hashes:
            error = MappingError(
                f"{name}: `total` ({pager.codec.dialect.total!r}) says that the listing has "
                f"{page.count} rows, but there is a second page with {found.count} others: is it "
                "the size of a page?",
                entity=name,
            )
            return attrs.evolve(page, lacking=error)
        self._totals.add(name)
        return page

    def _check_offset(self, pager: Pager, position: Position, page: Page, fetch: Fetch) -> Page:
        """Asks for the last row of the first page by its number: it must come, if rows are counted
        and not pages.
        """
        name = pager.entity.name
        if name in self._offsets:
            return page
        last = attrs.evolve(position, offset=position.offset - 1)
        try:
            found = pager.page(last, fetch(pager.request(last)))
        except (AuthError, TransportError, RejectedError):
            return page  # the next pull asks again
        if found.count == 0:
            error = MappingError(
                f"{name}: the first page has {position.rows} rows, but none comes from the number "
                f"of the last of them on: `next_page` ({pager.codec.dialect.next_page!r}) seems to "
                'be the number of a page, so say "page:" in place of "offset:"',
                entity=name,
            )
            return attrs.evolve(page, lacking=error)
        self._offsets.add(name)
        return page


def _no_next_page(pager: Pager, response: Response, count: int) -> MappingError:
    kind, path = pager.codec.dialect.paging
    shown = pager.codec.dialect.next_page
    name = pager.entity.name
    if kind in ("url", "token"):
        expected = "the next page, for one of so many rows was asked for and came"
        text = mapping_mismatch("next_page", path, expected, decode_response(response).body)
    else:
        text = f"`next_page` ({shown!r}) names no next page, though one row was asked for and came"
    return MappingError(
        f"{name}: {text}. The listing has {count} rows or more, and all but its first page may be "
        "missing (`next_page=None`: the server has no pages)",
        entity=name,
    )
