"""What follows a page that is shorter than asked for, where a page's length says if there is more.

A server may limit its pages to fewer rows than it is asked for. So such a page is the last one only
if a longer page was seen before; else one more request is made:

- The rows are counted, or lead to another cursor: for the page after it. That ends the listing if
  it is refused, brings the same rows or is shorter.
- All rows share the cursor that they were asked for with: for what is behind that cursor. Rows
  there would never be reached, which is an error.

Pure functions.
"""

from __future__ import annotations

from datetime import tzinfo

import attrs

from bytelyst_sync.errors import RejectedError, SyncError, TransportError
from bytelyst_sync.protocol.page import Position
from bytelyst_sync.rules.times import following

__all__ = ["after_short_page", "is_doubtful", "refused_growth", "unreachable_rows"]


def is_doubtful(position: Position, count: int, total: int | None) -> bool:
    """Whether a page of so many rows may be short because the server limits its pages.

    Nobody limits pages to one row.
    """
    return total is None and count > 1 and count >= position.longest and position.behind is None


def after_short_page(
    position: Position, onward: Position, signature: int, *, largest: bool, zone: tzinfo
) -> Position | None:
    """Where to go on after a doubtful page; ``None``: there is no way to find out.

    ``largest``: the cursor is the largest value of a field.
    """
    cursor = onward.new_cursor
    if cursor is None:
        return None
    if cursor != position.cursor:
        return Position(
            cursor,
            new_cursor=cursor,
            rows=onward.rows,
            longest=onward.longest,
            doubted=signature,
            from_start=onward.from_start,
            first_count=onward.first_count,
        )
    behind = following(cursor, zone) if largest else None
    return None if behind is None else attrs.evolve(onward, behind=behind, doubted=signature)


def refused_growth(entity: str, position: Position, error: SyncError) -> SyncError:
    """The error if a page is refused that was asked to be longer, for more rows share a cursor than
    a page has.
    """
    return RejectedError(
        f"{entity}: all {position.tied} rows of a page have the cursor {position.new_cursor!r}, so "
        f"that a page of {position.size} was asked for, which was refused: {error}. Is the listing "
        "in the order of `cursor`, from the value in `since` on? Else list by number, token or "
        "link (`next_page`)",
        entity=entity,
        status=error.status,
    )


def unreachable_rows(entity: str, position: Position) -> TransportError:
    """The error for rows behind a cursor that all rows of a short page share."""
    return TransportError(
        f"{entity}: the server returns fewer rows for a page than are requested, and all of them "
        f"have the cursor {position.new_cursor!r}, so that the rows behind them are not reached. "
        "List by number (`next_page`), or request larger pages in a way that the server obeys "
        "(`page_size`)",
        entity=entity,
    )
