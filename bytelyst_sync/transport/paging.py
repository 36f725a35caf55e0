"""Pulling by pages: the requests, and what a page says, as a dialect describes them (SPEC §8).

A ``Pager`` is made once per entity and immutable; the state of one pull is in ``Position``.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import attrs

from bytelyst_sync.errors import RejectedError, SyncError, TransportError
from bytelyst_sync.rules.paths import MISSING, at, describe
from bytelyst_sync.transport.base import Request, Response
from bytelyst_sync.transport.mapping import Mapper, Version, decode_json
from bytelyst_sync.transport.redirects import origin

__all__ = ["Page", "Pager", "Position", "Route", "Row", "went_back"]

Json = dict[str, Any]
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_REL_NEXT = re.compile(r';\s*rel\s*=\s*"?[^";]*\bnext\b', re.IGNORECASE)


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
    version: Version


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
        self._entity = mapper.entity
        self._dialect = mapper.dialect
        kind, _, name = (self._dialect.next_page or "").partition(":")
        self._kind, self._name = kind, name
        cursor_kind, _, cursor_name = (self._dialect.cursor or "").partition(":")
        self._cursor_kind, self._cursor_name = cursor_kind, cursor_name

    @property
    def restless(self) -> bool:
        """Whether rows may be lost when records move between pages while they are read."""
        return self._kind in ("page", "offset")

    def request(self, position: Position) -> Request:
        """The request for the page at this position."""
        if position.url is not None:
            return self._mapper.listing(position.url)
        url, params = self._mapper.listing_url(), dict(self._dialect.query)
        size = self._entity.config.page_size
        if size is not None:
            params[self._name if self._kind == "full" else "limit"] = size
        params.update(self._entity.config.params)
        cursor = position.cursor if position.cursor is not None else self._dialect.first_cursor
        if self._dialect.since is not None and cursor is not None:
            name, template = self._dialect.since
            params[name] = template.format(cursor=cursor)
        if self._kind == "page":
            params[self._name] = position.page
        if self._kind == "offset" and position.offset:
            params[self._name] = position.offset
        return self._mapper.listing(_with_query(url, params))

    def page(self, position: Position, response: Response) -> Page:
        """What the answer says; raises under ``SyncError`` where it does not fit the dialect."""
        body = decode_json(response)
        items = at(body, self._dialect.items) if body is not MISSING else MISSING
        if not isinstance(items, list):
            raise self._misfit("items", self._dialect.items, "a list", body)
        rows = [self._row(element) for element in items]
        cursor = self._cursor(position, body, items, response)
        following = self._next(position, cursor, body, items, response)
        resumable = self._kind in ("more", "full", "") and cursor is not None
        return Page(rows, cursor, following, resumable)

    def _row(self, element: Any) -> Row:
        record = at(element, self._dialect.item)
        field = self._entity.id_field
        value = record.get(field) if isinstance(record, dict) else None
        if (
            not isinstance(record, dict)
            or isinstance(value, bool)
            or (not isinstance(value, (str, int)) or value == "")
        ):
            raise self._misfit("item", self._dialect.item, f"a record with `{field}`", element)
        if self._mapper.is_tombstone(record):
            return Row(str(value), None, self._mapper.version_of(record))
        return Row(str(value), record, self._mapper.version_of(record))

    # --- the cursor

    def _cursor(
        self, position: Position, body: Any, items: list[Any], response: Response
    ) -> str | None:
        if self._cursor_kind == "header":
            found = response.headers.get(self._cursor_name.lower())
            return position.found or found
        if self._cursor_kind == "body":
            value = at(body, self._cursor_name)
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                return str(value)
            if value is MISSING and self._dialect.since is not None:
                raise self._misfit("cursor", self._cursor_name, "a string or number", body)
            return position.found
        if self._cursor_kind == "max":
            return self._largest(position, items)
        return None

    def _largest(self, position: Position, items: list[Any]) -> str | None:
        best: Any = None
        for element in items:
            value = at(at(element, self._dialect.item), self._cursor_name)
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                best = value if best is None else max(best, value, key=_rank)
        earlier = position.found if position.found is not None else position.cursor
        if best is None:
            return earlier
        text = str(best)
        return text if earlier is None or _rank(text) >= _rank(earlier) else earlier

    # --- the next page

    def _next(
        self,
        position: Position,
        cursor: str | None,
        body: Any,
        items: list[Any],
        response: Response,
    ) -> Position | None:
        kind, name = self._kind, self._name
        onward = attrs.evolve(position, found=cursor)
        if kind == "more":
            more = at(body, name)
            return self._onward(position, cursor) if more is True else None
        if kind == "full":
            size = self._page_length()
            return self._onward(position, cursor) if size and len(items) >= size else None
        if kind == "page":
            return attrs.evolve(onward, page=position.page + 1) if items else None
        if kind == "offset":
            return attrs.evolve(onward, offset=position.offset + len(items)) if items else None
        url = None
        if kind == "url":
            url = at(body, name)
        elif kind == "header":
            url = response.headers.get(name.lower())
        elif kind == "rel":
            url = _link(response.headers.get("link", ""))
        if not isinstance(url, str) or not url:
            return None
        return attrs.evolve(onward, url=self._same_origin(response, url))

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

    def _same_origin(self, response: Response, url: str) -> str:
        asked = self._mapper.listing_url()
        target = ""
        try:
            target = urljoin(response.url or asked, url)
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
        where = f"`{path}`" if path else "the top"
        came = "the body is no JSON" if body is MISSING else f"what came is {describe(body)}"
        return TransportError(
            f"{self._entity.name}: `{field}` expects {expected} at {where}; {came}",
            entity=self._entity.name,
        )


def _rank(value: Any) -> tuple[int, float, str]:
    """Orders numbers, strings of digits, and other strings."""
    text = str(value)
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)


def went_back(old: str | None, new: str | None) -> bool:
    """Whether an orderable cursor is less than before: the server was wiped or restored."""
    if old is None or new is None:
        return False
    texts = [each.strip('"') for each in (old, new)]
    if not all(each.isascii() and each.isdigit() for each in texts):
        return False
    before, now = (each.lstrip("0") for each in texts)
    return (len(now), now) < (len(before), before)


def _link(header: str) -> str | None:
    for target, parameters in _LINK.findall(header):
        if _REL_NEXT.search(parameters):
            return str(target)
    return None


def _with_query(url: str, params: Json) -> str:
    if not params:
        return url
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), *_pairs(params)]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _pairs(params: Json) -> list[tuple[str, str]]:
    pairs = []
    for name, value in params.items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            text = json.dumps(each) if isinstance(each, (bool, dict)) else str(each)
            pairs.append((name, text))
    return pairs
