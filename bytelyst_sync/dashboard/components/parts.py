"""Components of the pages: header, navigation, table, badge, dialog, toast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import attrs
from markupsafe import Markup

from bytelyst_sync.dashboard.components.icons import icon
from bytelyst_sync.dashboard.components.text import NOTHING, plain

__all__ = ["Badge", "Column", "Dialog", "NavLink", "PageHeader", "Sidebar", "Table", "Toast"]

Tone = Literal["neutral", "info", "good", "warn", "bad", "conflict"]


def PageHeader(
    title: str,
    description: str | Markup = "",
    *,
    breadcrumbs: Sequence[tuple[str, str]] = (),
    actions: Markup = NOTHING,
    badge: Markup = NOTHING,
) -> Markup:
    """The only ``h1`` of a page. ``breadcrumbs`` are texts and addresses of the pages above."""
    trail = Markup("")
    if breadcrumbs:
        links = Markup("").join(
            Markup('<li><a href="{}">{}</a>{}</li>').format(url, text, icon("chevron-right"))
            for text, url in breadcrumbs
        )
        trail = Markup(
            '<nav aria-label="Breadcrumbs"><ol class="bs-breadcrumbs">{}'
            '<li aria-current="page"><bdi>{}</bdi></li></ol></nav>'
        ).format(links, plain(title))
    about = Markup('<p class="bs-muted">{}</p>').format(description) if description else ""
    does = Markup('<div class="bs-actions">{}</div>').format(actions) if actions else ""
    return Markup(
        '<header class="bs-header">{}<div class="bs-header-row"><div>'
        "<h1><bdi>{}</bdi> {}</h1>{}</div>{}</div></header>"
    ).format(trail, plain(title), badge, about, does)


def Badge(text: str, tone: Tone = "neutral") -> Markup:
    """A word on a coloured background; it can be understood without the colour."""
    return Markup('<span class="bs-badge bs-{}">{}</span>').format(tone, text)


@attrs.frozen
class NavLink:
    """An entry of the sidebar; ``count`` is shown if it is not 0."""

    text: str
    url: str
    icon: str
    current: bool = False
    count: int = 0
    tone: Tone = "neutral"


def Sidebar(links: Iterable[NavLink], *, label: str = "Operations") -> Markup:
    """The navigation between the pages."""
    entries = Markup("").join(
        Markup('<li><a href="{}"{}>{}<span>{}</span>{}</a></li>').format(
            each.url,
            Markup(' aria-current="page"') if each.current else "",
            icon(each.icon),
            each.text,
            Badge(f"{each.count:,}", each.tone) if each.count else "",
        )
        for each in links
    )
    return Markup('<nav class="bs-nav" aria-label="{}"><ul>{}</ul></nav>').format(label, entries)


@attrs.frozen
class Column:
    """A column: its heading, whether it holds numbers, and whether small screens leave it out."""

    text: str
    number: bool = False
    wide: bool = False
    hidden: bool = False
    """The heading is for screen readers only."""

    @property
    def classes(self) -> str:
        """The CSS classes of the column's cells."""
        return " ".join(
            name for name, on in (("bs-number", self.number), ("bs-wide", self.wide)) if on
        )


def Table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[tuple[str, Sequence[object]]],
    *,
    row_heading: int | None = None,
    show_caption: bool = False,
) -> Markup:
    """A table that scrolls sideways in a region of its own where the screen is small.

    ``rows`` are pairs of the row's id and its cells, so that an update finds it again. The cell
    at ``row_heading`` names the row.
    """
    head = Markup("").join(
        Markup('<th scope="col" class="{}">{}</th>').format(
            each.classes,
            Markup('<span class="bs-sr-only">{}</span>').format(each.text)
            if each.hidden
            else each.text,
        )
        for each in columns
    )
    body = Markup("").join(
        Markup('<tr id="{}">{}</tr>').format(row_id, _cells(columns, cells, row_heading))
        for row_id, cells in rows
    )
    return Markup(
        '<div class="bs-table" role="region" aria-label="{0}" tabindex="0"><table>'
        '<caption class="{1}">{0}</caption><thead><tr>{2}</tr></thead><tbody>{3}</tbody>'
        "</table></div>"
    ).format(caption, "" if show_caption else "bs-sr-only", head, body)


def _cells(columns: Sequence[Column], cells: Sequence[object], heading: int | None) -> Markup:
    ordinary, row_heading = (
        Markup('<td class="{}">{}</td>'),
        Markup('<th scope="row" class="{}">{}</th>'),
    )
    return Markup("").join(
        (row_heading if n == heading else ordinary).format(column.classes, cell)
        for n, (column, cell) in enumerate(zip(columns, cells, strict=True))
    )


def Dialog(
    dialog_id: str,
    title: str,
    body: Markup,
    actions: Markup,
    *,
    close_url: str,
    close_text: str = "Keep it",
    shown: bool = False,
) -> Markup:
    """A question before something that cannot be undone. ``close_text`` is the answer "no".

    A link with ``data-dialog`` and the id opens it; without the script that link loads the page
    with ``shown``, and the dialog is a part of it.
    """
    return Markup(
        '<dialog id="{0}" class="bs-dialog" aria-labelledby="{0}-title"{1}><h2 id="{0}-title">{2}'
        '</h2>{3}<div class="bs-actions">{4}<a class="bs-button" href="{5}" data-close>{6}</a>'
        "</div></dialog>"
    ).format(
        dialog_id, Markup(" open") if shown else "", title, body, actions, close_url, close_text
    )


def Toast(
    toast_id: str,
    text: str | Markup,
    *,
    tone: Tone = "info",
    action: Markup = NOTHING,
    dismiss_url: str | None = None,
) -> Markup:
    """A message that stays until it is dismissed, or until the state that it reports ends."""
    name = {"good": "circle-check", "bad": "circle-x", "warn": "triangle-alert"}.get(tone, "info")
    away = (
        Markup("")
        if dismiss_url is None
        else Markup('<a class="bs-button bs-quiet" href="{}">{}<span class="bs-sr-only">Dismiss'
                    "</span></a>").format(dismiss_url, icon("x"))
    )  # fmt: skip
    return Markup(
        '<div class="bs-toast bs-{}" id="{}" role="status">{}<div>{}</div>{}{}</div>'
    ).format(tone, toast_id, icon(name), text, action, away)
