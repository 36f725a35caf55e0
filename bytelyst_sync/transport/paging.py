"""Pulling by pages: the requests, and what a page says, as a dialect describes them (SPEC §8).

A ``Pager`` is made once per entity and immutable; the state of one pull is in ``Position``.
"""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import urljoin

import attrs

from bytelyst_sync.errors import RejectedError, SyncError, TransportError
from bytelyst_sync.rules.cursors import rank
from bytelyst_sync.rules.ids import problem_of
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.transport.answers import Heard
from bytelyst_sync.transport.base import Request
from bytelyst_sync.transport.mapping import Mapper
from bytelyst_sync.transport.redirects import origin
from bytelyst_sync.transport.urls import with_query
from bytelyst_sync.transport.wording import misfit

__all__ = ["Page", "Pager", "Position", "Route", "Row"]

logger = logging.getLogger("bytelyst_sync.puller")

Json = dict[str, Any]
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_REL = re.compile(r';\s*rel\s*=\s*"?([^";,]*)', re.IGNORECASE)
_NOT_FOUND = 404


@attrs.frozen
class Position:
    """Where a pull is: the stored cursor, and what the pages so far said."""

    cursor: str | None
    url: str | None = None
    page: int = 1
    offset: int = 0
    found: str | None = None
    """The cursor that the pages so far amount to."""


@attrs.frozen
class Row:
    """One record of a page; ``record=None``: deleted."""

    key: str
    record: Json | None
    version: str | int | None


@attrs.frozen
class Page:
    """One page. ``next`` is where to go on (``None``: this was the last), ``resumable`` whether
    ``cursor`` may be stored with this page already.
    """

    rows: list[Row]
    cursor: str | None
    next: Position | None
    resumable: bool


class Route:
    """The pages of one pass so far: notices one that would never end."""

    def __init__(self, entity: str) -> None:
        self._entity = entity
        self._restarts = 0
        self._urls: set[str] = set()
        self._last: list[str] = []

    def begin_anew(self) -> None:
        """The pass starts again, because the cursor is no good any more; once is enough."""
        self._restarts += 1
        if self._restarts > 1:
            raise self._endless("the server takes no cursor that it gave")
        self._urls.clear()
        self._last = []

    def take(self, page: Page) -> None:
        """Goes on to the page's next one; raises if that goes in a circle."""
        following = page.next
        if following is None:
            return
        keys = [row.key for row in page.rows]
        if following.url is not None:
            if following.url in self._urls:
                raise self._endless("its next page is one that was read already")
            self._urls.add(following.url)
        elif keys and keys == self._last and (following.page > 1 or following.offset):
            raise self._endless("one page is as the page before it; is the parameter's name right?")
        self._last = keys

    def _endless(self, why: str) -> TransportError:
        return TransportError(
            f"{self._entity}: the pull would never end: {why} (`next_page`, `since`)",
            entity=self._entity,
        )


class Pager:
    """The pages of one entity."""

    def __init__(self, mapper: Mapper) -> None:
        self._mapper = mapper
        self._requests = mapper.requests
        self._entity = mapper.entity
        self._dialect = mapper.dialect
        kind, _, self._name = (self._dialect.next_page or "").partition(":")
        self._kind = "step" if mapper.steps.pages else kind
        self._resumes = self._kind in ("more", "full", "")
        """Whether each page is asked for with the cursor of the one before it."""
        self._cursor_kind, _, self._cursor_name = (self._dialect.cursor or "").partition(":")

    def restless(self, pages: int) -> bool:
        """Whether rows may have been lost because records moved between so many pages.

        A server that follows its own order through the pages loses none; where the order is that
        of numbers, or of a field whose largest value becomes the cursor, a row that moves down
        while pages are read makes another one slip by.
        """
        numbered = self._kind in ("page", "offset")
        linked = self._kind in ("url", "header", "rel", "step")
        return pages > 1 and (numbered or (linked and self._cursor_kind in ("max", "")))

    def request(self, position: Position) -> Request:
        """The request for the page at this position."""
        if position.url is not None:
            return self._requests.listing(position.url)
        params = dict(self._dialect.query)
        size = self._entity.config.page_size
        if size is not None:
            params[self._name if self._kind == "full" else self._dialect.page_size] = size
        params.update(self._entity.config.params)
        cursor = position.cursor if position.cursor is not None else self._dialect.first_cursor
        if self._dialect.since is not None and cursor is not None:
            name, template = self._dialect.since
            params[name] = template.format(cursor=cursor)
        if self._kind == "page":
            params[self._name] = position.page
        if self._kind == "offset" and position.offset:
            params[self._name] = position.offset
        return self._requests.listing(with_query(self._requests.listing_url(), params))

    def page(self, position: Position, heard: Heard) -> Page:
        """What the answer says; raises under ``SyncError`` where it does not fit the dialect."""
        if heard.status == _NOT_FOUND and self._is_past_the_end(position):
            return Page([], position.found, None, resumable=False)
        refusal = self._mapper.refusal(heard)
        if refusal is not None:
            raise refusal
        items = at(heard.body, self._dialect.items)
        if not isinstance(items, list):
            raise self._misfit("items", self._dialect.items, "a list", heard.body)
        found = [(element, self._found(element)) for element in items]
        rows = self._usable([self._row(*each) for each in found if each[1] is not None])
        cursor = self._cursor(position, found, heard)
        following = self._next(position, cursor, items, heard)
        resumable = self._resumes and cursor is not None
        return Page(rows, cursor, following, resumable)

    def _is_past_the_end(self, position: Position) -> bool:
        """Whether a page that is not there only says that there are no more by now."""
        return position.page > 1 or (position.url is not None and self.restless(2))

    def _found(self, element: Any) -> Any:
        return self._mapper.steps.decode(at(element, self._dialect.item))

    def _row(self, element: Any, record: Any) -> Row:
        field = self._entity.id_field
        if not isinstance(record, dict) and isinstance(element, dict):
            # the mark of a deleted record may stand where it had its place
            record = element if self._mapper.is_tombstone(element) else record
        value = record.get(field) if isinstance(record, dict) else None
        named = isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""
        if not isinstance(record, dict) or not named:
            expected = f"a record with the field `{field}` (`id_field`)"
            came = record if isinstance(record, dict) else element
            raise self._misfit("item", self._dialect.item, expected, came)
        version = self._mapper.version_of(record)
        gone = self._mapper.is_tombstone(record) or (
            element is not record and self._mapper.is_tombstone(element)
        )
        return Row(str(value), None if gone else record, version)

    def _usable(self, rows: list[Row]) -> list[Row]:
        """Leaves out what the dialect skips, and what could never be asked for by its id."""
        skipped = self._dialect.skip_ids
        if skipped:
            rows = [row for row in rows if not row.key.startswith(skipped)]
        usable = [row for row in rows if problem_of(row.key) is None]
        if len(usable) < len(rows):
            count = len(rows) - len(usable)
            message = "%s: %d record(s) left out of a page: no URL can carry their ids"
            logger.warning(message, self._entity.name, count)
        return usable

    # --- the cursor

    def _cursor(self, position: Position, found: list[tuple[Any, Any]], heard: Heard) -> str | None:
        if self._cursor_kind == "header":
            here = heard.headers.get(self._cursor_name.lower())
            # where one listing goes on, what changes meanwhile comes after the first page's
            return here or position.found if self._resumes else position.found or here
        if self._cursor_kind == "body":
            value = at(heard.body, self._cursor_name)
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                return str(value)
            if value is MISSING and self._dialect.since is not None:
                raise self._misfit("cursor", self._cursor_name, "a string or number", heard.body)
            return position.found
        if self._cursor_kind == "max":
            return self._largest(position, found)
        return None

    def _largest(self, position: Position, found: list[tuple[Any, Any]]) -> str | None:
        best: Any = None
        for element, record in found:
            value = at(record, self._cursor_name)
            value = at(element, self._cursor_name) if value is MISSING else value
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                best = value if best is None else max(best, value, key=rank)
        earlier = position.found if position.found is not None else position.cursor
        if best is None:
            return earlier
        text = str(best)
        return text if earlier is None or rank(text) >= rank(earlier) else earlier

    # --- the next page

    def _next(
        self, position: Position, cursor: str | None, items: list[Any], heard: Heard
    ) -> Position | None:
        kind, name = self._kind, self._name
        onward = attrs.evolve(position, found=cursor)
        if kind == "more":
            more = at(heard.body, name)
            # some servers leave a flag out that is false; where it may be meant otherwise, one
            # more request tells
            unsaid = more is MISSING and bool(items) and cursor not in (None, position.cursor)
            return self._onward(position, cursor) if more is True or unsaid else None
        if kind == "full":
            size = self._page_length()
            return self._onward(position, cursor) if size and len(items) >= size else None
        if kind == "page":
            return attrs.evolve(onward, page=position.page + 1) if items else None
        if kind == "offset":
            return attrs.evolve(onward, offset=position.offset + len(items)) if items else None
        url = self._next_url(heard)
        if not isinstance(url, str) or not url:
            return None
        return attrs.evolve(onward, url=self._same_origin(heard, url))

    def _next_url(self, heard: Heard) -> Any:
        if self._kind == "step":
            return self._mapper.steps.next_page(heard.body, heard.headers)
        if self._kind == "url":
            return at(heard.body, self._name)
        if self._kind == "header":
            return heard.headers.get(self._name.lower())
        if self._kind == "rel":
            return _link(heard.headers.get("link", ""), self._name)
        return None

    def _onward(self, position: Position, cursor: str | None) -> Position:
        if cursor is None or cursor == position.cursor:
            raise TransportError(
                f"{self._entity.name}: the server says that there is more, but its cursor "
                f"(`{self._dialect.cursor}`) does not move on; the pull would never end",
                entity=self._entity.name,
            )
        return Position(cursor=cursor, found=cursor)

    def _page_length(self) -> int:
        size = self._entity.config.page_size
        if size is None:
            given = self._entity.config.params.get(self._name, self._dialect.query.get(self._name))
            size = int(given) if given is not None and str(given).isdigit() else 0
        return size

    def _same_origin(self, heard: Heard, url: str) -> str:
        asked = self._requests.listing_url()
        target = ""
        try:
            target = urljoin(heard.url or asked, url)
            same = origin(target) == origin(asked)
        except (SyncError, ValueError):
            same = False
        if not same:
            raise RejectedError(
                f"{self._entity.name}: the server's next page (`{self._dialect.next_page}`) is on "
                "another origin than base_url; it is not followed",
                entity=self._entity.name,
            )
        return target

    def _misfit(self, field: str, path: str, expected: str, body: Any) -> SyncError:
        told = misfit(field, path, expected, body)
        return TransportError(f"{self._entity.name}: {told}", entity=self._entity.name)


def _link(header: str, relation: str) -> str | None:
    for target, parameters in _LINK.findall(header):
        named = _REL.search(parameters)
        if named is not None and relation.lower() in named[1].lower().split():
            return str(target)
    return None
