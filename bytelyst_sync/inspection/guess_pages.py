"""Guesses from its first page how a listing continues: the first rule with a result decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from bytelyst_sync.inspection.samples import Sample, first_at
from bytelyst_sync.protocol.other_pages import next_elsewhere
from bytelyst_sync.rules.paths import at

__all__ = ["NEXT_URLS", "PAGE_NUMBERS", "NextPage", "next_page_of"]

Json = dict[str, Any]
NEXT_URLS = (
    *("next", "links.next", "_links.next.href", "links.next.href", "@odata.nextLink", "nextLink"),
    *("next_page_url", "next_url", "paging.next", "meta.next", "info.next", "pagination.next"),
    *("pagination.links.next", "meta.pagination.links.next", "hydra:view.hydra:next", "next_page"),
)
_TOKENS = (
    *("next_page_token", "nextPageToken", "next_cursor", "nextCursor", "nextToken", "next_token"),
    *("meta.next_cursor", "meta.nextCursor", "pagination.next_cursor", "paging.cursors.after"),
    *("response_metadata.next_cursor", "continuationToken", "bookmark", "after", "next"),
)
_TOKENS_ALONE = ("next_cursor", "nextCursor", "next_page_token", "nextPageToken")
_TOKEN_PARAMETERS = {"Token": "pageToken", "token": "page_token", "ursor": "cursor"}
_FLAGS = ("has_more", "hasMore", "has_next", "hasNext", "more")
PAGE_NUMBERS = (
    *("page", "number", "current_page", "currentPage", "pageNumber", "meta.page"),
    *("meta.current_page", "meta.pagination.page", "pagination.page", "meta.currentPage"),
)
_PAGE_COUNTS = (
    *("pages", "total_pages", "totalPages", "last_page", "pageCount", "per_page", "perPage"),
    *("size", "pageSize", "page_size", "last", "meta.last_page", "meta.total_pages"),
    *("meta.per_page", "meta.pagination.pageCount", "pagination.pages", "pagination.per_page"),
)
_OFFSETS = ("offset", "skip", "startIndex", "meta.offset", "pagination.offset")


@attrs.frozen
class NextPage:
    """``next_page`` of a dialect, the reason, and the parameters that belong to it."""

    value: str
    why: str
    query: Json = attrs.field(factory=dict)


def next_page_of(listing: Sample) -> NextPage:
    """How this listing continues."""
    rules = (
        _by_header,
        _by_url,
        _by_token,
        _by_any_name,
        _by_number,
        _by_offset,
        _by_null,
        _by_flag,
    )
    for rule in rules:
        result = rule(listing.body, listing.headers)
        if result is not None:
            return result
    why = (
        "nothing names a next page. A guess, and a pull fails if the API ignores it: say how pages "
        "are asked for (offset:PARAMETER, token:PATH, ...), or false if there is always one page"
    )
    return NextPage("page:page", why)


def _by_header(_: Any, headers: Mapping[str, str]) -> NextPage | None:
    if 'rel="next"' in headers.get("link", ""):
        return NextPage("rel:next", "the header Link names the next page")
    if "next-page" in headers:
        return NextPage("header:Next-Page", "the header Next-Page has its URL")
    return None


def _by_url(body: Any, _: Mapping[str, str]) -> NextPage | None:
    for path in NEXT_URLS:
        value = at(body, path)
        if isinstance(value, str) and ("/" in value or "?" in value):
            why = "its URL is there (if it names another host: rebase_links = true)"
            return NextPage(f"url:{path}", why)
    return None


def _by_token(body: Any, _: Mapping[str, str]) -> NextPage | None:
    for path in _TOKENS:
        value = at(body, path)
        last = value is None and path in _TOKENS_ALONE
        if (isinstance(value, str) and value) or last:
            parameters = _TOKEN_PARAMETERS.items()
            name = next((each for part, each in parameters if part in path), "cursor")
            why = "a token for the next page" + (", null on the last one" if last else "")
            return NextPage(f"token:{path}", why, {name: "{token}"})
    return None


def _by_any_name(body: Any, headers: Mapping[str, str]) -> NextPage | None:
    found = next_elsewhere(headers, body, frozenset())
    if found is None:
        return None
    kind, _, path = found[1].partition(":")
    if kind == "url":
        return NextPage(
            found[1], "its URL is there (if it names another host: rebase_links = true)"
        )
    query = {path.rpartition(".")[2]: "{token}"} if kind == "token" else {}
    return NextPage(found[1], "a token for the next page; its parameter is a guess", query)


def _by_number(body: Any, _: Mapping[str, str]) -> NextPage | None:
    number = first_at(body, PAGE_NUMBERS)
    if number is None or not isinstance(number[1], int) or first_at(body, _PAGE_COUNTS) is None:
        return None
    why = f"pages have numbers: `{number[0]}` is {number[1]}; the name of the parameter is a guess"
    return NextPage("page:page", why)


def _by_offset(body: Any, _: Mapping[str, str]) -> NextPage | None:
    offset = first_at(body, _OFFSETS)
    if offset is None:
        return None
    return NextPage(f"offset:{offset[0].rpartition('.')[2]}", f"`{offset[0]}` counts rows")


def _by_null(body: Any, _: Mapping[str, str]) -> NextPage | None:
    for path in NEXT_URLS:
        if at(body, path) is None:
            return NextPage(f"url:{path}", "null in this sample, which is the last page: a URL?")
    return None


def _by_flag(body: Any, _: Mapping[str, str]) -> NextPage | None:
    for path in _FLAGS:
        if isinstance(at(body, path), bool):
            why = (
                "says whether there is more. How the next page is asked for is not in the answer: "
                "by `cursor` and `since`, by the id of the last row (token:LIST.-1.ID, which "
                "`query` sends), or in Python by a function"
            )
            return NextPage(f"more:{path}", why)
    return None
