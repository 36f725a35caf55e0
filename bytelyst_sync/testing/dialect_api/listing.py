"""Pulls on the server's side: the rows that a request selects, and the page for them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import attrs

from bytelyst_sync.rules.cursors import rank
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.rules.times import zone_named
from bytelyst_sync.testing.dialect_api.routes import Match, values_in
from bytelyst_sync.testing.dialect_api.shapes import place
from bytelyst_sync.testing.http_messages import Answer

if TYPE_CHECKING:
    from bytelyst_sync.config.entity import Entity
    from bytelyst_sync.testing.dialect_api.shapes import Shapes
    from bytelyst_sync.testing.http_messages import RecordedRequest

__all__ = ["ListedRow", "Lister", "PageRequest", "opaque"]

Json = dict[str, Any]
_AFTER, _SINCE = "_after", "_since"
"""The parameters in the links of this server to the next page, and for the next pull."""
_MOST = 10_000


@attrs.frozen
class ListedRow:
    """A row of a collection: a record or a tombstone."""

    seq: int
    record: Json
    deleted: bool


@attrs.frozen
class PageRequest:
    """The parameters of a pull. ``cursor``: ``None`` for everything."""

    cursor: str | None
    size: int
    skip: int
    """How many rows of the listing were on the previous pages."""
    after: int | None
    """The sequence of the last row of the previous page."""
    filters: Mapping[str, str]


class Lister:
    """The pages of one entity."""

    def __init__(self, entity: Entity, shapes: Shapes, page_size: int) -> None:
        self._entity = entity
        self._dialect = dialect = entity.dialect
        self._shapes = shapes
        self._page_size = page_size
        self._kind, self._name = dialect.paging
        self._cursor_kind, _, self._cursor_name = (dialect.cursor or "").partition(":")
        self._zone = zone_named(dialect.time_zone)
        self._templates: dict[str, Any] = {**dialect.query, **entity.config.params}
        if dialect.since is not None and "cursor" not in entity.listing_placeholders:
            parameter, template = dialect.since
            marked = template.format(cursor="\0").replace("\0", "{cursor}")
            self._templates[parameter] = marked
        for kind in ("page", "offset"):
            if self._kind == kind and kind not in entity.listing_placeholders:
                self._templates[self._name] = f"{{{kind}}}"
        full = self._kind == "full" and "limit" not in entity.listing_placeholders
        self._size_parameter = self._name if full else dialect.page_size

    @property
    def by_value(self) -> bool:
        """Whether the cursor is the largest value of a field, and no text of the server's."""
        return self._cursor_kind == "max"

    def request(self, request: RecordedRequest, match: Match) -> PageRequest:
        """The parameters of this request; ``ValueError`` for an invalid number."""
        query = {**match.query, **_members(request)}
        values = {**match.values, **values_in(self._templates, query)}
        values.update(values_in(self._dialect.headers, _by_name(self._dialect.headers, request)))
        size = self._size(values.get("limit", query.get(self._size_parameter)))
        start = self._dialect.first_number
        skip, after = 0, None
        if "page" in values:
            skip = (_number("page", values["page"]) - start) * size
        elif "offset" in values:
            skip = _number("offset", values["offset"]) - start
        place = values.get("token", request.query.get(_AFTER))
        if place and place[0] == "s":
            after = _number("token", place[1:])
        elif place:
            skip = _number("token", place[1:])
        cursor = values.get("cursor", request.query.get(_SINCE))
        known = {*self._templates, self._size_parameter, _AFTER, _SINCE}
        filters = {name: each for name, each in query.items() if name not in known}
        return PageRequest(
            None if cursor in (None, "", self._dialect.first_cursor) else cursor,
            size,
            max(0, skip),
            after,
            {
                **{name: each for name, each in filters.items() if name.isidentifier()},
                **self._fixed_filters(request),
            },
        )

    def _fixed_filters(self, request: RecordedRequest) -> dict[str, str]:
        """The filters in the request that are ``params`` of the entity and name a field."""
        params = self._entity.config.params
        filters = {name: request.query[name] for name in params if name in request.query}
        return {
            name: each
            for name, each in filters.items()
            if name.isidentifier() and "{" not in str(params[name])
        }

    def _size(self, requested: str | None) -> int:
        if self._kind in ("", "step"):
            return _MOST  # the listing does not go on: it has one page
        if requested is None:
            return self._page_size
        size = _number("limit", requested)
        if size < 1:
            raise ValueError(f"limit={requested!r}: must be at least 1")
        # a full page means that there are more rows: a shorter one would end the listing
        return min(size, _MOST) if self._kind == "full" else min(size, self._page_size)

    def sorted(self, rows: Sequence[ListedRow], cursor: str | None) -> list[ListedRow]:
        """The rows in the order of the listing, from the value of the cursor on."""
        if not self.by_value:
            return sorted(rows, key=lambda row: row.seq)
        ranked = [(self._rank(row), row.seq, row) for row in rows]
        if cursor is not None:
            least = rank(cursor, self._zone)
            ranked = [each for each in ranked if each[0] >= least]
        return [row for *_, row in sorted(ranked, key=lambda each: each[:2])]

    def _rank(self, row: ListedRow) -> Any:
        value = at(row.record, self._cursor_name)
        return rank("" if value is MISSING else value, self._zone)

    def page(
        self,
        request: RecordedRequest,
        requested: PageRequest,
        rows: Sequence[ListedRow],
        cursor_at: Any,
    ) -> Answer:
        """The page; ``rows`` is the whole listing, ``cursor_at(seq)`` the cursor at a sequence
        number.
        """
        rest = [row for row in rows if requested.after is None or row.seq > requested.after]
        rest = rest[requested.skip :]
        here, more = rest[: requested.size], len(rest) > requested.size
        elements = [self._element(row) for row in here]
        cursor = cursor_at(here[-1].seq if more else None)
        body: Any
        if self._dialect.items is None:
            body = elements[0] if elements else {}
        else:
            body = place({}, self._dialect.items, elements)
        headers: dict[str, str] = {}
        if self._cursor_kind == "url" and not more and isinstance(body, dict):
            query = {name: each for name, each in request.query.items() if name != _AFTER}
            link = urlencode({**query, _SINCE: cursor}, quote_via=quote)
            body = place(body, self._cursor_name, f"?{link}")
        elif self._cursor_kind == "body" and isinstance(body, dict):
            body = place(body, self._cursor_name, cursor)
        elif self._cursor_kind == "header":
            headers[self._cursor_name] = cursor
        body = self._counted(body, headers, len(rows))
        if self._kind == "more":
            body = place(body, self._name, more)
        if more:
            mark = f"s{here[-1].seq}" if not self.by_value else f"o{requested.skip + len(here)}"
            body = self._linked(request, body, headers, mark)
        return Answer.of(200, body, headers)

    def _counted(self, body: Any, headers: dict[str, str], count: int) -> Any:
        path, _, header = (self._dialect.total or "").partition("header:")
        if header:
            headers[header] = str(count)
        elif path:
            return place(body, path, count)
        return body

    def _linked(
        self, request: RecordedRequest, body: Any, headers: dict[str, str], mark: str
    ) -> Any:
        query = {**request.query, _AFTER: mark}
        link = "?" + urlencode(query, quote_via=quote)
        if self._kind == "url":
            return place(body, self._name, link)
        if self._kind == "token":
            return place(body, self._name, mark)
        if self._kind == "header":
            headers[self._name] = link
        elif self._kind == "rel":
            headers["Link"] = f'<{link}>; rel="{self._name}"'
        return body

    def _element(self, row: ListedRow) -> Any:
        return place({}, self._dialect.item, self._shapes.shown(row.record))


def opaque(epoch: str, seq: int) -> str:
    """An opaque cursor."""
    return base64.urlsafe_b64encode(f"{epoch}:{seq}".encode()).decode()


def _by_name(templates: Mapping[str, str], request: RecordedRequest) -> dict[str, str]:
    """The headers of a request, by their names in the dialect."""
    return {
        name: request.headers[name.lower()] for name in templates if name.lower() in request.headers
    }


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ValueError(f"{name}={text!r}: must be a whole number")
    return int(text)


def _members(request: RecordedRequest) -> dict[str, str]:
    """The parameters of a listing by POST, as texts like those of a query."""
    body = request.body if request.method != "GET" else None
    members = body if isinstance(body, dict) else {}
    return {
        name: each if isinstance(each, str) else json.dumps(each) for name, each in members.items()
    }
