"""The requests of a listing: the templates of its URL and headers, filled with cursor and page.

The parameters of a listing by POST are members of a JSON body, with numbers as numbers.

Immutable; any thread may use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.http.transport import Request
from bytelyst_sync.http.urls import with_query
from bytelyst_sync.rules.json_text import dumps
from bytelyst_sync.rules.paths import MISSING
from bytelyst_sync.rules.templates import filled

__all__ = ["Listing", "ListingValues"]


@attrs.frozen(kw_only=True)
class ListingValues:
    """The values in the request for one page; ``None``: the parameter is left out.

    ``grown``: ``limit`` replaces the value in the query, because a page of that size is too small.
    """

    cursor: str | None = None
    page: int | None = None
    offset: int | None = None
    token: str | None = None
    limit: int | None = None
    grown: bool = False


class Listing:
    """The listing of one entity: ``method`` and ``url`` are those of the dialect's ``pull``, with
    the endpoint filled in.
    """

    def __init__(
        self,
        entity: Entity,
        method: str,
        url: str,
        headers: Mapping[str, str],
        timeout: tuple[float, float],
    ) -> None:
        self._dialect = entity.dialect
        self._method = method
        self._has_body = method == "POST"
        """Whether the parameters of a page are members of a JSON body."""
        self._media_type = self._dialect.media_type("pull")
        self._parts = urlsplit(url)
        self._url_query = parse_qsl(self._parts.query, keep_blank_values=True)
        self._entity_params = entity.config.params
        self._headers = headers
        self._timeout = timeout
        self.url = url
        """The template of the URL without the parameters of a page."""
        self.placeholders = entity.listing_placeholders
        """The placeholders in the templates. These values are not sent as parameters too."""
        kind, name = entity.dialect.paging
        self.size_parameter = "" if "limit" in self.placeholders else entity.dialect.page_size
        if kind == "full" and self.size_parameter:
            self.size_parameter = name
        self._number = (kind, name) if kind not in self.placeholders else ("", "")

    def page(self, values: ListingValues) -> Request:
        """The request for a page by its number, cursor or token."""
        by_name = attrs.asdict(values)
        path = filled(self._parts.path, {name: _segment(each) for name, each in by_name.items()})
        own = ((name, filled(each, by_name)) for name, each in self._url_query)
        query = [(name, each) for name, each in own if each is not MISSING]
        if not self._has_body:
            query += self._filled_params(values).items()
        url = with_query(urlunsplit(self._parts._replace(path=path, query="")), query)
        return self.at(url, values)

    def at(self, url: str, values: ListingValues) -> Request:
        """The request for a page at a URL from the server. A body has the parameters too."""
        by_name = attrs.asdict(values)
        texts = {name: filled(each, by_name) for name, each in self._headers.items()}
        headers = {name: each for name, each in texts.items() if each is not MISSING}
        if not self._has_body:
            return Request(self._method, url, headers, None, self._timeout)
        headers["Content-Type"] = self._media_type
        body = dumps(self._filled_params(values)).encode("utf-8")
        return Request(self._method, url, headers, body, self._timeout)

    def _filled_params(self, values: ListingValues) -> dict[str, Any]:
        """The parameters of a page that have a value."""
        by_name = attrs.asdict(values)
        templates = self._params(values).items()
        params = {name: filled(each, by_name, typed=self._has_body) for name, each in templates}
        return {name: each for name, each in params.items() if each is not MISSING}

    def _params(self, values: ListingValues) -> dict[str, Any]:
        """The parameters of a page, as templates."""
        params: dict[str, Any] = dict(self._dialect.query)
        if values.limit is not None and self.size_parameter:
            params[self.size_parameter] = values.limit
        params.update(self._entity_params)
        if values.grown and self.size_parameter:
            params[self.size_parameter] = values.limit
        if self._dialect.since is not None and "cursor" not in self.placeholders:
            name, template = self._dialect.since
            if values.cursor is not None:
                params[name] = template.format(cursor=values.cursor)
        kind, name = self._number
        if kind == "page":
            params[name] = values.page
        elif kind == "offset" and values.offset:
            params[name] = values.offset
        return params


def _segment(value: Any) -> Any:
    return quote(value, safe="") if isinstance(value, str) else value
