"""Whether a listing is whole when its last page was read: by ``total``, and by whatever else the
answer says about further rows.

Pure functions; each returns the error that says what is missing, or ``None``.
"""

from __future__ import annotations

from typing import Any

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.errors import RejectedError, SyncError, TransportError
from bytelyst_sync.protocol.error_messages import MappingError, mapping_mismatch
from bytelyst_sync.protocol.other_pages import count_elsewhere, more_elsewhere, next_elsewhere
from bytelyst_sync.protocol.page import Position
from bytelyst_sync.protocol.responses import DecodedResponse
from bytelyst_sync.rules.paths import at

__all__ = [
    "all_marked",
    "count_at_first",
    "fewer_than_total",
    "not_in_order",
    "page_missing",
    "rows_elsewhere",
    "total_in",
]

_LINK_KINDS = ("", "url", "header", "rel", "token")
"""The kinds of ``next_page`` by which nothing but a link, or nothing at all, goes on."""


def total_in(entity: str, dialect: Dialect, decoded: DecodedResponse) -> int | None:
    """The number of rows in the listing, by the server's own count (``total``). Raises
    ``MappingError`` if the answer has no number there.
    """
    if dialect.total is None:
        return None
    place, _, header = dialect.total.partition("header:")
    value: Any = at(decoded.body, place) if not header else decoded.headers.get(header.lower())
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        text = mapping_mismatch("total", dialect.total, "a whole number", decoded.body)
        raise MappingError(f"{entity}: {text}", entity=entity)
    return value


def fewer_than_total(
    entity: str, dialect: Dialect, rows: int, total: int | None, *, start: int | None
) -> SyncError | None:
    """The error if the listing has fewer ``rows`` than its ``total``. ``start``: the number at
    which pages were expected to begin, if they are counted.
    """
    if total is None or rows >= total:
        return None
    likely = "does the server limit its pages to fewer rows than are asked for?"
    if start is not None:
        likely = f"do pages begin at another number than {start} (`start`)?"
    return TransportError(
        f"{entity}: the listing is not whole: `total` ({dialect.total!r}) says {total} rows, and "
        f"{rows} came; {likely}",
        entity=entity,
    )


def page_missing(entity: str, dialect: Dialect, status: int) -> SyncError:
    """The error if there is no page where the one before it said that there is."""
    return RejectedError(
        f"{entity}: the next page answered HTTP {status}, so that the listing is not whole; is "
        f"`next_page` ({dialect.next_page!r}) right? If the server answers so after its last page, "
        "say where it counts its rows (`total`)",
        entity=entity,
        status=status,
    )


def all_marked(entity: str, dialect: Dialect, mark: str) -> SyncError:
    """The error if all rows of a page are deleted by a mark that living records may have."""
    name = dialect.tombstone
    return MappingError(
        f"{entity}: `tombstone` ({name!r}) is a field that is set in deleted records only, and all "
        f"rows of a page have it, such as {mark[:80]!r}: if one value of it means that a record is "
        f"deleted, say which, tombstone='{name}=VALUE'",
        entity=entity,
    )


def not_in_order(entity: str, dialect: Dialect) -> SyncError:
    """The error if a page whose largest value is where the next one begins has its rows in another
    order: those that follow with smaller values would be lost.
    """
    return MappingError(
        f"{entity}: the rows of a page are not in the order of `cursor` ({dialect.cursor!r}), and "
        "the next page begins at its largest value, so that other rows would be lost: have the "
        "server sort by it, the smallest first (`query`)",
        entity=entity,
    )


def count_at_first(
    dialect: Dialect, decoded: DecodedResponse, position: Position, *, filtered: bool
) -> int | None:
    """The ``first_count`` of a position after this answer; ``None`` if the listing need not have so
    many rows: it is ``filtered`` or begins at a cursor.
    """
    if not position.is_first:
        return position.first_count
    if filtered or not position.from_start or dialect.total is not None:
        return None
    found = count_elsewhere(decoded.headers, decoded.body)
    return None if found is None else found[1]


def rows_elsewhere(
    entity: str, dialect: Dialect, decoded: DecodedResponse, rows: int, *, first_count: int | None
) -> SyncError | None:
    """The error if the answer itself says that there are more rows, in a place that the dialect
    does not read. ``first_count``: the count in the first page's answer; ``None``: no count can be
    compared with ``rows``.

    Rows may be created where the listing has already been, which the last count includes, and
    deleted where it has not been yet, which the first one includes: the smaller one counts.
    """
    kind, name = dialect.paging
    if kind == "step":
        return None  # the program's own function has decided
    read = frozenset({name, (dialect.cursor or "").partition(":")[2]})
    further = None
    if kind in _LINK_KINDS or kind == "more":
        tokens = kind != "more"
        further = next_elsewhere(decoded.headers, decoded.body, read, tokens=tokens)
    if further is not None and further[1] != dialect.next_page:
        return MappingError(
            f"{entity}: by `next_page` ({dialect.next_page!r}) the listing ends after {rows} "
            f"rows, but the answer names a next page in {further[0]}: say "
            f"next_page={further[1]!r}",
            entity=entity,
        )
    found = count_elsewhere(decoded.headers, decoded.body)
    if first_count is not None and found is not None and rows < min(first_count, found[1]):
        count = min(first_count, found[1])
        return MappingError(
            f"{entity}: by `next_page` ({dialect.next_page!r}) the listing ends after {rows} rows, "
            f"but the answer counts {count} (total={found[0]!r}): check `next_page` and where "
            "pages begin (`start`). If that counts something else, give `next_page` as a function "
            "that returns None after the last page",
            entity=entity,
        )
    flag = more_elsewhere(decoded.body, read) if kind in _LINK_KINDS or kind == "more" else None
    if flag is not None:
        return MappingError(
            f"{entity}: by `next_page` ({dialect.next_page!r}) the listing ends after {rows} rows, "
            f"but `{flag}` in the answer says that there are more: check `next_page`. If it means "
            "something else, give `next_page` as a function that returns None after the last page",
            entity=entity,
        )
    return None
