"""Settled conflicts; queues the side that lost again."""

from __future__ import annotations

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.dashboard.components.parts import Badge, Column, Table
from bytelyst_sync.dashboard.components.text import moment, plain
from bytelyst_sync.dashboard.http import Response, redirect
from bytelyst_sync.dashboard.pages.conflicts import conflict_link
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.commit_effects import as_conflict
from bytelyst_sync.storage.schema import CONFLICTS, SETTLED, ConflictRow

__all__ = ["recover", "show"]

logger = SafeLogger("bytelyst_sync.dashboard")
_SHOWN = 50
_COLUMNS = (
    Column("Record"),
    Column("Operation", wide=True),
    Column("Fields"),
    Column("Settled"),
    Column("When", wide=True),
)
_WORDS = {"local": "this side won", "remote": "the server won", "merged": "merged"}


def show(context: Context) -> Response:
    """The settled conflicts, the latest first."""
    after = context.query.number("after")
    start = None if after is None else (after,)
    rows, number = context.source.read(
        lambda tx: (
            list(tx.scan(CONFLICTS, "closed", after=start, limit=_SHOWN + 1, reverse=True)),
            tx.count(CONFLICTS, SETTLED),
        )
    )
    shown = rows[:_SHOWN]
    more = len(rows) > _SHOWN
    return context.page(
        "settled.html",
        "Settled conflicts",
        live=True,
        table=Table(
            "Settled conflicts",
            _COLUMNS,
            [(f"conflict-{row.number}", _cells(context, row)) for row in shown],
            row_heading=0,
        ),
        shown=len(shown),
        number=number,
        next_url=context.request.here(after=shown[-1].closed) if more else None,
        first_url=context.request.here("after") if after is not None else None,
    )


def _cells(context: Context, row: ConflictRow) -> list[object]:
    return [
        conflict_link(context, row),
        row.operation,
        plain(", ".join(loads(row.fields)) or "all"),
        Badge(_WORDS.get(row.resolution or "", row.resolution or ""), "good"),
        moment(None if row.closed_time is None else as_datetime(row.closed_time)),
    ]


def recover(context: Context) -> Response:
    """Queues the record again as it was on one side of a settled conflict."""
    number = int(context.params["number"])
    row = context.source.read(lambda tx: tx.get(CONFLICTS, number))
    side = context.form.get("side")
    if row is None or row.open is not None or side not in ("local", "remote"):
        raise InvalidDataError(f"conflict {number} is not settled, or no side was chosen", path="$")
    conflict = as_conflict(row)
    data = conflict.local if side == "local" else conflict.remote
    engine = context.source.engine
    if data is None:
        engine.delete(conflict.entity, conflict.record_id)
    else:
        engine.save(conflict.entity, data)
    logger.info("%s recovered the %s side of conflict %d", context.actor.name, side, number)
    return redirect(context.request.url("queue", done="recovered"))
