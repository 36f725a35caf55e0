"""The items that wait to be delivered."""

from __future__ import annotations

from functools import partial

from markupsafe import Markup

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.dashboard.components.parts import Badge, Column, Table, Tone
from bytelyst_sync.dashboard.components.text import moment, value
from bytelyst_sync.dashboard.http import Response
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.inspection.listings import STATES, items_page
from bytelyst_sync.inspection.snapshot import LANES
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["entity_names", "item_link", "show", "state_badge"]

WAITING = ("ready", "retrying", "blocked", "sending", "asking")
_TONES: dict[str, Tone] = {
    "retrying": "warn",
    "sending": "info",
    "blocked": "neutral",
    "failed": "bad",
    "parked": "conflict",
    "asking": "conflict",
}
_WORDS = {"parked": "in conflict", "asking": "being decided"}
_COLUMNS = (
    Column("No.", number=True, wide=True),
    Column("Record"),
    Column("Operation"),
    Column("State"),
    Column("Queued", wide=True),
    Column("Tries", number=True, wide=True),
    Column("Next try", wide=True),
)


def show(context: Context) -> Response:
    """A page of the queue, oldest first."""
    query = context.query
    state, entity = query.get("state"), query.get("entity")
    lanes = [STATES[state]] if state in WAITING else [STATES[each] for each in WAITING]
    read = partial(items_page, lanes=lanes, entity=entity or None, after=query.number("after"))
    page, counts = context.source.read(lambda tx: (read(tx), tx.counts(ITEMS)))
    number = sum(
        count for (lane, name), count in counts.items()
        if lane in lanes and entity in ("", name)
    )  # fmt: skip
    rows = [(f"item-{item.seq}", _cells(context, item)) for item in page.items]
    return context.page(
        "queue.html",
        "Queue",
        live=True,
        table=Table("Queued changes", _COLUMNS, rows, row_heading=1),
        shown=len(rows),
        number=number,
        state=state,
        states=[(each, _WORDS.get(each, each)) for each in WAITING],
        entity=entity,
        entities=entity_names(context),
        next_url=None if page.after is None else context.request.here(after=page.after),
        first_url=context.request.here("after") if query.get("after") else None,
    )


def entity_names(context: Context) -> list[str]:
    """The entities that are configured or in the queue."""
    counts = context.source.read(lambda tx: tx.counts(ITEMS))
    return list(dict.fromkeys((*context.source.entities, *(str(name) for _, name in counts))))


def item_link(context: Context, item: Item) -> Markup:
    """The record of an item, as a link to the item."""
    return Markup('<a class="bs-record" href="{}">{}<span>{}</span></a>').format(
        context.request.url(f"items/{item.seq}"), value(item.entity), value(item.record)
    )


def state_badge(lane: int) -> Markup:
    """The state of an item in a word."""
    word = LANES[Lane(lane)]
    return Badge(_WORDS.get(word, word), _TONES.get(word, "neutral"))


def _cells(context: Context, item: Item) -> list[object]:
    return [
        item.seq,
        item_link(context, item),
        item.operation,
        state_badge(item.lane),
        moment(as_datetime(item.time)),
        item.retries,
        moment(None if item.due is None else as_datetime(item.due), due=True),
    ]
