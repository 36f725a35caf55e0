"""The first page: the state in words, the counts of each entity, and charts."""

from __future__ import annotations

from urllib.parse import urlsplit

from markupsafe import Markup

from bytelyst_sync.dashboard.charts import line_chart
from bytelyst_sync.dashboard.components.parts import Column, Table
from bytelyst_sync.dashboard.components.text import value
from bytelyst_sync.dashboard.health import health
from bytelyst_sync.dashboard.http import Response
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.inspection.snapshot import Numbers, Snapshot

__all__ = ["show"]

_COLUMNS = ("waiting", "sending", "retrying", "blocked", "failed", "parked")


def show(context: Context) -> Response:
    """The state, the counts and the charts."""
    source = context.source
    snapshot = source.snapshot()
    history = context.site.history
    samples, rates = history.samples, [] if source.beside else history.rates()
    return context.page(
        "overview.html",
        "Overview",
        live=True,
        health=health(snapshot, source.info()),
        total=snapshot.total,
        conflicts=snapshot.conflicts,
        notice=source.storage.notice,
        origin=_origin(source.engine.config.base_url),
        store=source.name,
        beside=source.beside,
        entities=_entities(context, snapshot),
        queue_chart=line_chart(
            "chart-queue", "Queue", "changes", [(each.time, each.queued) for each in samples]
        ),
        delivery_chart=line_chart(
            "chart-delivery", "Delivered", "per minute", [(r.time, r.delivered) for r in rates]
        ),
        retry_chart=line_chart(
            "chart-retries", "Retries", "per minute", [(r.time, r.retried) for r in rates]
        ),
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"


def _entities(context: Context, snapshot: Snapshot) -> Markup:
    known = context.source.entities
    names = list(dict.fromkeys((*known, *snapshot.entities)))
    columns = [Column("Entity")] + [
        Column("in conflict" if name == "parked" else name, number=True, wide=name in _MINOR)
        for name in _COLUMNS
    ]
    rows = []
    for name in names:
        numbers = snapshot.entities.get(name, Numbers()).as_json()
        strange = "" if name in known else Markup(' <span class="bs-muted">not configured</span>')
        link = Markup('<a href="{}">{}</a>{}').format(
            context.request.url("queue", entity=name), value(name), strange
        )
        rows.append((f"entity-{name}", [link, *(_number(numbers[each]) for each in _COLUMNS)]))
    return Table("Changes by entity", columns, rows, row_heading=0)


_MINOR = ("sending", "retrying", "blocked")


def _number(number: int) -> Markup:
    tone = "bs-zero" if number == 0 else ""
    return Markup('<span class="{}">{:,}</span>').format(tone, number)
