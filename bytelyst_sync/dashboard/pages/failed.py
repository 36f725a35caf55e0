"""Failed items: the reasons, and actions on those that the page showed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from markupsafe import Markup

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.dashboard.components.parts import Column, Table
from bytelyst_sync.dashboard.components.text import count_of, moment, plain
from bytelyst_sync.dashboard.http import Response, redirect
from bytelyst_sync.dashboard.pages.queue import entity_names, item_link
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.inspection.listings import Failed, failed_page, unchanged
from bytelyst_sync.inspection.text import as_json
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["decide", "show", "undo"]

logger = SafeLogger("bytelyst_sync.dashboard")
_COLUMNS = (
    Column("Select", hidden=True),
    Column("Record"),
    Column("Operation", wide=True),
    Column("Reason"),
    Column("Queued", wide=True),
    Column("Tries", number=True, wide=True),
)
_MOST_REASONS = 8


def show(context: Context) -> Response:
    """Failed items, oldest first, by reason and by a field of the payload."""
    query = context.query
    entity, reason = query.get("entity"), query.get("reason")
    field, wanted = query.get("field"), query.get("equals")
    read = partial(
        failed_page,
        entity=entity or None,
        reason=reason or None,
        matches=_field_filter(context, field, wanted) if field else None,
        after=query.number("after"),
    )
    page, number = context.source.read(lambda tx: (read(tx), tx.count(ITEMS, Lane.FAILED)))
    held = {seen for hold in context.site.holds.pending() for seen in hold.seen}
    rows = [(f"item-{each.item.seq}", _cells(context, each, held)) for each in page.rows]
    reasons = list(page.reasons.items())
    return context.page(
        "failed.html",
        "Failed",
        live=True,
        table=Table("Failed changes", _COLUMNS, rows, row_heading=1),
        shown=len(rows),
        selectable=sum(each.seen not in held for each in page.rows),
        number=number,
        reason=reason,
        reasons=reasons[:_MOST_REASONS],
        more_reasons=max(0, len(reasons) - _MOST_REASONS),
        entity=entity,
        entities=entity_names(context),
        field=field,
        equals=wanted,
        filtered=bool(entity or reason or field),
        examined_all=page.examined_all,
        next_url=None if page.after is None else context.request.here(after=page.after),
        first_url=context.request.here("after") if query.get("after") else None,
    )


def _field_filter(context: Context, field: str, wanted: str) -> Callable[[Item], bool]:
    """Whether a field of the payload has this value, as the actor may see it."""
    context.require("payload")

    def matches(item: Item) -> bool:
        value: Any = context.site.redact(item.entity, loads(item.data))
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return wanted in (value if isinstance(value, str) else as_json(value), str(value))

    return matches


def _cells(context: Context, row: Failed, held: set[str]) -> list[object]:
    item = row.item
    later = (
        Markup('<span class="bs-muted">with {}</span>').format(count_of(row.later, "later change"))
        if row.later
        else ""
    )
    return [
        _checkbox(context, row, held),
        Markup("{} {}").format(item_link(context, item), later),
        item.operation,
        Markup('<span class="bs-reason">{}</span>').format(plain(row.reason)),
        moment(as_datetime(item.time)),
        item.retries,
    ]


def _checkbox(context: Context, row: Failed, held: set[str]) -> Markup:
    if not context.may("operate"):
        return Markup("")
    if row.seen in held:
        return Markup('<span class="bs-sr-only">is being discarded</span>…')
    label = f"Select {row.item.entity} {row.item.record}"
    return Markup(
        '<input type="checkbox" name="seen" value="{}" id="select-{}" aria-label="{}">'
        '<input type="hidden" name="shown" value="{}">'
    ).format(row.seen, row.item.seq, plain(label), row.seen)


# --- what can be done


def decide(context: Context) -> Response:
    """Retries or discards: the selected ones, or all that the page showed."""
    form = context.form
    verb, _, which = form.get("action").partition("-")
    seen = list(dict.fromkeys(form.all("shown" if which == "shown" else "seen")))
    back = {name: form.get(name) for name in ("entity", "reason", "field", "equals", "after")}
    back = {name: text for name, text in back.items() if text}
    if not seen or verb not in ("retry", "discard"):
        return redirect(context.request.url("failed", done="none", **back))
    if verb == "discard":
        context.site.holds.add(seen, context.actor.name)
        context.site.background.wake()
        return redirect(context.request.url("failed", **back))
    number = context.source.core.write(partial(_retry, seen))
    logger.info("%s queued %d failed items again", context.actor.name, number)
    skipped = len(seen) - number
    url = context.request.url("failed", done="retried", n=str(number), skipped=skipped, **back)
    return redirect(url)


def _retry(seen: list[str], work: UnitOfWork, run: Runtime) -> int:
    ids = [item.id for item in unchanged(work.tx, seen)]
    return run.control.reprocess(work, ids) if ids else 0


def undo(context: Context) -> Response:
    """Drops a discard that is held."""
    done = context.site.holds.undo(context.params["hold"])
    return redirect(context.request.url("failed", done="undone" if done else "too-late"))
