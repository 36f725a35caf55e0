"""Every component in each of its states."""

from __future__ import annotations

from datetime import timedelta

from markupsafe import Markup

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.dashboard import components as c
from bytelyst_sync.dashboard.charts import line_chart
from bytelyst_sync.dashboard.components.icons import ICONS
from bytelyst_sync.dashboard.http import Response
from bytelyst_sync.dashboard.site import Context

__all__ = ["show"]


def show(context: Context) -> Response:
    """The components as they are used on the pages."""
    return context.page("gallery.html", "Components", sections=_sections(context))


def _sections(context: Context) -> list[tuple[str, str, list[tuple[str, Markup]]]]:
    home = context.request.url()
    tones: list[c.parts.Tone] = ["neutral", "info", "good", "warn", "bad", "conflict"]
    shown = context.query.get("dialog") == "shown"
    here = context.request.here("dialog")
    return [
        ("Badge", "A word on a coloured ground.", [
            ("every tone", Markup(" ").join(c.Badge(each, each) for each in tones)),
        ]),
        ("Table", "Scrolls in a region of its own.", [
            ("two rows", c.Table("Example", [c.Column("Record"), c.Column("Tries", number=True)],
                                 [("gallery-1", ["orders/17", 3]), ("gallery-2", ["orders/18", 0])],
                                 row_heading=0)),
        ]),
        ("Toast", "A message that stays until it is dismissed.", [
            ("done", c.Toast("gallery-toast-1", "3 changes queued again.", tone="good",
                             dismiss_url=here)),
            ("with a way back", c.Toast("gallery-toast-2", "Will be discarded in a few seconds.",
                                        tone="warn", action=Markup(
                                            '<a class="bs-button" href="{}">Undo</a>'
                                        ).format(here))),
        ]),
        ("Dialog", "A question before something that cannot be undone.", [
            ("closed, and opened by a link", Markup(
                '<a class="bs-button" href="{}" data-dialog="gallery-dialog">Open</a>{}'
            ).format(context.request.here(dialog="shown"), c.Dialog(
                "gallery-dialog", "Take this change back?", Markup("<p>It is not sent.</p>"),
                Markup('<a class="bs-button bs-destructive" href="{}">Take it back</a>')
                .format(here), close_url=here, shown=shown))),
        ]),
        ("EmptyState", "What to do next, where there is nothing.", [
            ("with an action", c.EmptyState("Nothing failed", "Changes that the server refuses are"
                                            " shown here.", level=4, action_url=home,
                                            action="Overview")),
        ]),
        ("ErrorPage", "A reference for the log, and no traceback.", [
            ("with a reference", c.ErrorPage(reference="3f9c2a1b77d0", retry_url=here,
                                             home_url=home, level=4)),
        ]),
        ("NotFoundPage", "A real 404, with a way back.", [
            ("with a way back", c.NotFoundPage(home_url=home, back_url=here, level=4)),
        ]),
        ("LoadingSpinner", "Appears after 300 ms; still where motion is unwanted.", [
            ("loading", c.LoadingSpinner()),
        ]),
        ("LoadingSkeleton", "Bones in the place of lines.", [
            ("three lines", c.LoadingSkeleton(3)),
        ]),
        ("Charts", "Made on the server, with the numbers as a table.", [
            ("a value over time", _chart()),
            ("too few samples", line_chart("gallery-empty", "Queue", "changes", [])),
        ]),
        ("Icons", "Lucide, beside a text.", [
            ("all of them", Markup(" ").join(
                Markup('<span class="bs-icon-name">{}{}</span>').format(c.icon(name), name)
                for name in ICONS)),
        ]),
    ]  # fmt: skip


def _chart() -> Markup:
    began = as_datetime(1_700_000_000)
    values = (2, 5, 9, 14, 12, 9, 9, 6, 4, 3, 1, 0)
    points = [(began + timedelta(seconds=5 * n), float(each)) for n, each in enumerate(values)]
    return line_chart("gallery-chart", "Queue", "changes", points)
