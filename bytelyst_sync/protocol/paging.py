"""Builds the requests for pages, and interprets the answers, as a dialect says.

There is one immutable ``Pager`` for each entity; the state of a pull is a ``Position``.
"""

from __future__ import annotations

from typing import Any

import attrs

from bytelyst_sync.errors import RejectedError, SyncError, TransportError
from bytelyst_sync.http.links import linked
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.error_messages import MappingError, mapping_mismatch
from bytelyst_sync.protocol.linked_pages import linked_page, next_token
from bytelyst_sync.protocol.listing import ListingValues
from bytelyst_sync.protocol.listing_ends import (
    all_marked,
    count_at_first,
    fewer_than_total,
    not_in_order,
    page_missing,
    rows_elsewhere,
    total_in,
)
from bytelyst_sync.protocol.page import Page, Position
from bytelyst_sync.protocol.page_body import PageRows, read_page, rows_in
from bytelyst_sync.protocol.page_rows import RowReader
from bytelyst_sync.protocol.page_survey import PageSurvey
from bytelyst_sync.protocol.paging_kind import PagingKind
from bytelyst_sync.protocol.responses import DecodedResponse, decode_response
from bytelyst_sync.protocol.short_pages import (
    after_short_page,
    is_doubtful,
    refused_growth,
    unreachable_rows,
)
from bytelyst_sync.rules.backoff import parse_date
from bytelyst_sync.rules.cursors import LargestCursor, is_far_future, is_of_another_kind
from bytelyst_sync.rules.json_text import canonical
from bytelyst_sync.rules.paths import MISSING, at, at_or_last
from bytelyst_sync.rules.times import earlier_by, zone_named

__all__ = ["Pager"]

Json = dict[str, Any]
_NOT_FOUND = 404
_PAST_THE_END = (400, 404, 416, 422)
"""How servers refuse a page behind the last one."""


class Pager(PagingKind):
    """The pages of one entity. ``account`` is the name that the store belongs to."""

    def __init__(self, codec: EntityCodec, account: str | None = None) -> None:
        super().__init__(codec)
        self._reader = RowReader(codec)
        self._zone = zone_named(self._dialect.time_zone)
        config = self.entity.config
        self.query = canonical([self._listing.url, config.params, self._dialect.query, account])
        """Identifies the listing: a stored cursor is valid for this listing only."""

    @property
    def filtered(self) -> bool:
        """Whether the listing is filtered, so that the server may have other records."""
        return bool(self.entity.config.params)

    def is_unstable(self, pages: int) -> bool:
        """Whether rows may be missing because records moved between so many pages.

        This can happen if pages are numbered, or if the largest value of a field becomes the
        cursor: a record that changes while the pages are read moves to another page, and so moves
        others across the boundary of a page. A cursor of the server's own is not affected.
        """
        linked = self.follows_links and self._cursor_kind in ("max", "")
        return pages > 1 and (self._counts or linked)

    def request(self, position: Position) -> Request:
        """The request for the page at this position."""
        cursor = self._dialect.first_cursor
        if position.behind is not None:
            cursor = position.behind
        elif position.cursor is not None and not self.begins_at_link:
            cursor = earlier_by(position.cursor, self._dialect.overlap, self._zone)
        values = ListingValues(
            cursor=cursor,
            page=self._start + position.page,
            offset=max(0, self._start + position.offset),
            token=position.token,
            limit=position.size or self.entity.config.page_size,
            grown=position.size is not None,
        )
        if position.url is not None:
            return self._listing.at(position.url, values)
        return self._listing.page(values)

    def proves_start(self, first_keys: frozenset[str], response: Response) -> bool:
        """Whether the answer for the page before the first shows that there is none: an error, or
        the first page again. Two pages without rows prove nothing.

        Raises ``MappingError`` if there are rows before the first page: they would be lost.
        """
        if not 200 <= response.status < 300:
            return 400 <= response.status < 500 or response.status == 500
        try:
            keys = self.page(Position(None), response).keys()
        except TransportError:
            return True
        by_row = "offset" in {self._kind, *self._listing.placeholders}
        earlier = keys[:1] if by_row else keys
        if earlier and first_keys.isdisjoint(earlier):
            raise MappingError(
                f"{self.entity.name}: pages were expected to begin at {self._start}; the server "
                f"has other rows at {self._start - 1}, which would be lost. Say where its pages "
                "begin: `start=0` or `start=1`",
                entity=self.entity.name,
            )
        return bool(earlier)

    def page(self, position: Position, response: Response, *, portal: bool = True) -> Page:
        """The page in an answer. Raises a ``SyncError`` if the answer does not fit the dialect.

        ``portal``: a captive portal may have answered.
        """
        now = parse_date(response.headers.get("date"))
        largest = self._largest(position, now)
        survey = PageSurvey(
            self._dialect,
            self.entity.id_field,
            self._reader,
            largest,
            counts_pages=self._counts,
        )
        decoded = self._decoded(response, survey)
        if position.doubted is not None and decoded.status in _PAST_THE_END:
            return Page((), self._reader, position.new_cursor, None, resumable=False)
        error = self._refusal(position, decoded, portal=portal)
        if error is not None:
            raise error
        elements = rows_in(decoded.body, self._dialect.items)
        if elements is None:
            expected = "an object" if self._dialect.items is None else "a list"
            if isinstance(decoded.body, (list, PageRows)):
                expected += ' (if the body is the list, say items="")'
            raise self._mismatch("items", self._dialect.items or "", expected, decoded.body)
        if position.from_start and survey.doubtful_mark is not None:
            raise all_marked(self.entity.name, self._dialect, survey.doubtful_mark)
        cursor, implausible = self._cursor(position, survey, decoded, now)
        total = total_in(self.entity.name, self._dialect, decoded)
        if position.behind is not None and elements:
            raise unreachable_rows(self.entity.name, position)
        onward = attrs.evolve(
            position,
            new_cursor=cursor,
            rows=position.rows + len(elements),
            longest=max(position.longest, len(elements)),
            doubted=None,
            first_count=count_at_first(self._dialect, decoded, position, filtered=self.filtered),
        )
        following = self._next(position, onward, len(elements), total, decoded, survey.signature)
        if following is None and cursor is None and self._cursor_kind in ("body", "url"):
            # where pages name the next one, the cursor may be in the last page alone
            self._require_cursor(at(decoded.body, self._cursor_name), decoded)
        if following is None and self._kind == "full":
            following = self._after_short(position, onward, len(elements), total, survey.signature)
        return Page(
            elements,
            self._reader,
            cursor,
            following,
            self._resumes and cursor is not None,
            survey.signature,
            survey.keys,
            implausible,
            self._unordered(survey)
            if following is not None
            else self._lacking(position, onward, total, decoded),
            is_whole=following is None and total is not None and onward.rows >= total,
            names_next=following is not None or self._names_next(decoded),
        )

    def _refusal(
        self, position: Position, decoded: DecodedResponse, *, portal: bool
    ) -> SyncError | None:
        if decoded.status == _NOT_FOUND and not position.is_first:
            return page_missing(self.entity.name, self._dialect, decoded.status)
        error = self.codec.page_error(decoded, portal=portal)
        if isinstance(error, RejectedError) and position.tied:
            return refused_growth(self.entity.name, position, error)
        return error

    def _decoded(self, response: Response, survey: PageSurvey) -> DecodedResponse:
        if not 200 <= response.status < 300:
            return decode_response(response)
        body = read_page(response.body, self._dialect.items, survey.look)
        return DecodedResponse(
            response.status, response.headers, body, response.url, response.verified, response.body
        )

    # --- the cursor

    def _largest(self, position: Position, now: float | None) -> LargestCursor | None:
        if self._cursor_kind != "max":
            return None
        earlier = position.new_cursor if position.new_cursor is not None else position.cursor
        epoch = self._cursor_name in self._dialect.updated_at
        return LargestCursor(earlier, now, self._zone, epoch=epoch)

    def _cursor(
        self, position: Position, survey: PageSurvey, decoded: DecodedResponse, now: float | None
    ) -> tuple[str | None, int]:
        """The cursor after this page, and how many values cannot become it."""
        if survey.largest is not None:
            return survey.largest.result()
        earlier = position.new_cursor if position.new_cursor is not None else position.cursor
        cursor = self._given_cursor(position, decoded)
        unfit = cursor is MISSING or is_of_another_kind(earlier, cursor, self._zone)
        far = cursor != position.cursor and is_far_future(cursor, now, self._zone)
        return (earlier, 1) if unfit or far else (cursor, 0)

    def _given_cursor(self, position: Position, decoded: DecodedResponse) -> Any:
        """The cursor that the server gave; ``MISSING`` if it is no string or number."""
        if self._cursor_kind == "header":
            here = decoded.headers.get(self._cursor_name.lower())
            # changes during a listing of several pages come after the first page's cursor
            return here or position.new_cursor if self._resumes else position.new_cursor or here
        if self._cursor_kind not in ("body", "url"):
            return None
        value = at(decoded.body, self._cursor_name)
        if not self.follows_links:
            self._require_cursor(value, decoded)
        if value is None or value is MISSING:
            return position.new_cursor
        if self.begins_at_link:
            return self._link_of_cursor(value, decoded)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return str(getattr(value, "text", value))
        return MISSING

    def _require_cursor(self, value: Any, decoded: DecodedResponse) -> None:
        """Raises if there is no place for a cursor in this page, and pulls begin at one."""
        if value is not MISSING or (self._dialect.since is None and not self.begins_at_link):
            return
        expected = "a link for the next pull" if self.begins_at_link else "a string or number"
        raise self._mismatch("cursor", self._cursor_name, expected, decoded.body)

    def _link_of_cursor(self, value: Any, decoded: DecodedResponse) -> str:
        if not isinstance(value, str):
            expected = 'a link for the next pull (`"url:"`; anything else is `"body:"`)'
            raise self._mismatch("cursor", self._cursor_name, expected, decoded.body, value)
        asked = self._listing.url.partition("?")[0]
        return linked_page(self.entity, asked, decoded.url, value, field="cursor")

    # --- the next page

    def _next(
        self,
        position: Position,
        onward: Position,
        count: int,
        total: int | None,
        decoded: DecodedResponse,
        signature: int,
    ) -> Position | None:
        if self._kind in ("more", "full"):
            if self._kind == "more":
                more = self._has_more(onward, count, decoded)
            else:
                more = self._is_full(position, onward, count, total)
            if more and self._counts:
                return self._counted(onward, count)
            return self._resumed(position, onward, count) if more else None
        if self._kind in ("page", "offset"):
            if count == 0 or onward.rows == total or signature == position.doubted:
                return None
            # more rows than the server counts: it counts something else, or rows have moved
            doubted = signature if total is not None and onward.rows > total else None
            return attrs.evolve(self._counted(onward, count), doubted=doubted)
        if self._kind == "token":
            token = next_token(self.entity, decoded.body)
            return None if token is None else attrs.evolve(onward, url=None, token=token)
        url = self._next_url(decoded)
        if not url:
            return None
        asked = self._listing.url.partition("?")[0]
        return attrs.evolve(onward, url=linked_page(self.entity, asked, decoded.url, url))

    def _counted(self, onward: Position, count: int) -> Position:
        """The next position, by the number of the page and of its first row."""
        return attrs.evolve(onward, page=onward.page + 1, offset=onward.offset + count)

    def _after_short(
        self, position: Position, onward: Position, count: int, total: int | None, signature: int
    ) -> Position | None:
        """Where to go on after a page that is shorter than asked for; ``None``: it was the last."""
        if not is_doubtful(position, count, total):
            return None
        if not self._counts:
            largest = self._cursor_kind == "max"
            return after_short_page(position, onward, signature, largest=largest, zone=self._zone)
        if signature == position.doubted:
            return None
        return attrs.evolve(self._counted(onward, count), doubted=signature)

    def _is_full(self, position: Position, onward: Position, count: int, total: int | None) -> bool:
        size = position.size or self._page_length()
        rows = onward.rows if self._counts else count
        return (bool(size) and count >= size) or (total is not None and count > 0 and rows < total)

    def _has_more(self, onward: Position, count: int, decoded: DecodedResponse) -> bool:
        flag = at(decoded.body, self._name)
        if flag is MISSING:
            # some servers omit the flag instead of sending false; one more request shows it
            return count > 0 and (self._counts or onward.new_cursor not in (None, onward.cursor))
        if flag is not None and not isinstance(flag, bool):
            expected = f'true or false (`"more:"`; a token is `"token:{self._name}"`)'
            raise self._mismatch("next_page", self._name, expected, decoded.body, flag)
        return flag is True

    def _resumed(self, position: Position, onward: Position, count: int) -> Position | None:
        """The next page by the cursor. If all rows have the same cursor, or none, it is a larger
        page with the same cursor.
        """
        cursor = onward.new_cursor
        if cursor is not None and cursor != position.cursor:
            return Position(
                cursor,
                new_cursor=cursor,
                rows=onward.rows,
                longest=onward.longest,
                from_start=onward.from_start,
                first_count=onward.first_count,
            )
        grows = self._cursor_kind == "max" and count > position.tied and self.is_sized
        if not grows:
            raise TransportError(
                f"{self.entity.name}: the server says that there is more, but its cursor "
                f"(`{self._dialect.cursor}`) does not move on, with pages of {count} rows; set a "
                "larger `page_size`, or check `cursor` and `since`; if the id of the last row asks "
                'for the next page, say next_page="token:LIST.-1.ID"',
                entity=self.entity.name,
            )
        return attrs.evolve(onward, size=2 * count, tied=count)

    def _next_url(self, decoded: DecodedResponse) -> str | None:
        target: Any = None
        if self._kind == "step":
            target = self.codec.steps.next_page(decoded)
        elif self._kind == "url":
            target = at(decoded.body, self._name)
        elif self._kind == "header":
            target = decoded.headers.get(self._name.lower())
        elif self._kind == "rel":
            target = linked(decoded.headers.get("link", ""), self._name)
        if target is MISSING or target is None or target is False or target == "":
            return None
        if not isinstance(target, str) or not ("/" in target or "?" in target):
            expected = (
                f'a URL (a token is `"token:{self._name}"`)' if self._kind == "url" else "a URL"
            )
            raise self._mismatch("next_page", self._name, expected, decoded.body, target)
        return target

    def _names_next(self, decoded: DecodedResponse) -> bool:
        if self._kind in ("url", "token"):
            return at_or_last(decoded.body, self._name) is not MISSING
        return self._kind == "header" and self._name.lower() in decoded.headers

    # --- whether it is whole

    def _unordered(self, survey: PageSurvey) -> SyncError | None:
        """Why rows would be lost after this page, which is not the last one."""
        if not self._resumes or survey.largest is None or survey.largest.is_ordered:
            return None
        return not_in_order(self.entity.name, self._dialect)

    def _lacking(
        self, position: Position, onward: Position, total: int | None, decoded: DecodedResponse
    ) -> SyncError | None:
        """Why the listing is incomplete after its last page, or ``None``. If each page has its own
        cursor, each has its own total.
        """
        name, dialect, first_count = self.entity.name, self._dialect, onward.first_count
        rows = onward.rows - position.rows if self._resumes else onward.rows
        start = self._start if self._counts else None
        goes_on = not position.is_first or self._names_next(decoded)
        if dialect.tombstone is not None and goes_on and not self._counts:
            first_count = None  # `next_page` works, and deleted records may be counted
        return fewer_than_total(name, dialect, rows, total, start=start) or rows_elsewhere(
            name, dialect, decoded, onward.rows, first_count=first_count
        )

    def _mismatch(
        self, field: str, path: str, expected: str, body: Any, value: Any = None
    ) -> SyncError:
        text = mapping_mismatch(field, path, expected, body if value is None else value)
        return MappingError(f"{self.entity.name}: {text}", entity=self.entity.name)
