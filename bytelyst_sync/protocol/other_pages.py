"""What an answer says about further rows in places that the dialect does not name.

A wrong ``next_page`` ends a listing after its first page, and nothing else would show it. The
places are those that the usual frameworks and standards have:

| place | from |
|---|---|
| ``Link: <...>; rel="next"`` | RFC 8288 |
| ``@odata.nextLink``, ``links.next``, ``_links.next.href``, ``next``, and whatever else begins \
with ``next`` and is a URL | OData, JSON:API, HAL, Django REST Framework, Salesforce |
| ``nextPageToken``, ``next_cursor`` and the like | Google, Slack, AWS |
| ``has_more``, ``hasNextPage``, ``done`` and the like | Stripe, GraphQL, Salesforce |
| ``totalElements``, ``totalResults``, ``meta.total``, ``X-Total-Count``, ``Content-Range`` | \
Spring, SCIM, Laravel, json-server, PostgREST |

Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bytelyst_sync.http.links import linked
from bytelyst_sync.rules.paths import MISSING, at

__all__ = ["count_elsewhere", "more_elsewhere", "next_elsewhere"]

_HOLDERS = (
    *("", "meta", "_meta", "metadata", "info", "page", "paging", "pagination", "meta.pagination"),
    *("pageInfo", "page_info", "links", "_links", "response_metadata"),
)
"""Objects in which a page is described."""
_LINK = re.compile(r"(@?odata\.)?next(?!.*(sync|delta))", re.IGNORECASE)
"""Names of links to the next page; a link for the next pull has another name."""
_URLS = ("href", "link", "url")
"""The members of an object for the next page that may hold its URL."""
_MORE = (
    *("has_more", "hasMore", "has_next", "hasNext", "hasNextPage", "has_next_page", "moreResults"),
    *("more", "isTruncated", "IsTruncated", "is_truncated", "truncated"),
)
_DONE = ("done", "isLast", "is_last", "last", "isLastPage", "end_of_stream")
_TOKENS = (
    *("nextPageToken", "next_page_token", "nextToken", "next_token", "NextToken"),
    *("nextCursor", "next_cursor", "continuationToken", "continuation_token"),
    "next.after",
)
_COUNT_HEADERS = ("x-total-count", "x-total", "x-wp-total", "x-pagination-total-count")
_COUNTS = (
    *("totalElements", "totalItems", "totalResults", "totalCount", "totalRecords", "totalRows"),
    *("total_elements", "total_items", "total_results", "total_count", "total_records"),
    *("total_rows", "totalSize", "total_size", "@odata.count", "odata.count"),
)
_PLAIN_COUNTS = ("total", "count")
"""Names that count the rows of a listing if they are in an object that describes a page, or alone
beside the rows.
"""
_OF_PAGES = frozenset(
    {
        *("page", "pages", "per_page", "perPage", "page_size", "pageSize", "size", "limit"),
        *("offset", "skip", "startIndex", "startAt", "max_results", "maxResults"),
        *("next", "previous", "prev"),
        *("total_pages", "totalPages", "last_page", "current_page", "currentPage"),
        *("has_more", "hasMore"),
    }
)
_RANGE = re.compile(r"\S*\s*(?:\d+-\d+|\*)/(\d+)")


def next_elsewhere(
    headers: Mapping[str, str], body: Any, read: frozenset[str], *, tokens: bool = True
) -> tuple[str, str] | None:
    """Where the answer names a next page, and the ``next_page`` that would follow it; ``None`` if
    it names none. ``read`` are the paths that the dialect reads.

    ``tokens``: a token counts as well. Some servers give one with the last page, too.
    """
    if linked(headers.get("link", ""), "next"):
        return '`Link: rel="next"`', "rel:next"
    for holder, found in _objects(body):
        for name in filter(_LINK.match, found):
            path, value = f"{holder}{name}", found[name]
            if isinstance(value, dict):
                url = next((each for each in _URLS if each in value), "")
                path, value = f"{path}.{url}", value.get(url)
            if isinstance(value, str) and ("/" in value or "?" in value) and path not in read:
                return f"`{path}`", f"url:{path}"
        for name in _TOKENS if tokens else ():
            path, value = f"{holder}{name}", at(found, name)
            if isinstance(value, str) and value and path not in read:
                return f"`{path}`", f"token:{path}"
    return None


def count_elsewhere(headers: Mapping[str, str], body: Any) -> tuple[str, int] | None:
    """How many rows the whole listing has, and where the answer says so (a value of ``total``);
    ``None`` if it does not.
    """
    for name in _COUNT_HEADERS:
        text = headers.get(name, "")
        if text.isascii() and text.isdigit():
            return f"header:{name}", int(text)
    span = _RANGE.fullmatch(headers.get("content-range", ""))
    if span is not None:
        return "header:content-range", int(span[1])
    for holder, found in _objects(body):
        describes = not _OF_PAGES.isdisjoint(found) or (not holder and len(found) == 2)
        for name in (*_COUNTS, *(_PLAIN_COUNTS if describes else ())):
            value = found.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return f"{holder}{name}", value
    return None


def more_elsewhere(body: Any, read: frozenset[str]) -> str | None:
    """Where a flag in the answer says that there are more rows; ``None`` if none says so."""
    for holder, found in _objects(body):
        for names, more in ((_MORE, True), (_DONE, False)):
            for name in names:
                if found.get(name) is more and f"{holder}{name}" not in read:
                    return f"{holder}{name}"
    return None


def _objects(body: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for holder in _HOLDERS:
        found = at(body, holder)
        if found is not MISSING and isinstance(found, Mapping):
            yield f"{holder}." if holder else "", found
