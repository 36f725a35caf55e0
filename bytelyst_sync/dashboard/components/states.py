"""Components for pages without content: errors, missing pages, loading, empty lists."""

from __future__ import annotations

from markupsafe import Markup

from bytelyst_sync.dashboard.components.icons import icon
from bytelyst_sync.dashboard.components.text import NOTHING, plain

__all__ = ["EmptyState", "ErrorPage", "LoadingSkeleton", "LoadingSpinner", "NotFoundPage"]


def ErrorPage(
    title: str = "This page could not be shown",
    message: str = "The fault is on this side, and it is in the log.",
    *,
    reference: str | None = None,
    retry_url: str | None = None,
    home_url: str | None = None,
    level: int = 1,
) -> Markup:
    """An error without its traceback. ``reference`` is its id in the log."""
    return _state(
        "circle-alert",
        title,
        message,
        level=level,
        kind="destructive",
        extra=Markup("")
        if reference is None
        else Markup('<p class="bs-muted">Reference <code>{}</code></p>').format(plain(reference)),
        actions=_links((retry_url, "Try again", True), (home_url, "Overview", retry_url is None)),
    )


def NotFoundPage(
    message: str = "There is nothing at this address. It may have been delivered meanwhile.",
    *,
    home_url: str | None = None,
    back_url: str | None = None,
    back: str = "Back",
    level: int = 1,
) -> Markup:
    """The page for HTTP 404, with a link back."""
    return _state(
        "file-question-mark",
        "Not found",
        message,
        level=level,
        actions=_links((back_url, back, True), (home_url, "Overview", back_url is None)),
    )


def EmptyState(
    title: str,
    message: str = "",
    *,
    level: int = 2,
    icon_name: str = "inbox",
    action_url: str | None = None,
    action: str = "",
) -> Markup:
    """Nothing to show, and what to do next. ``level`` is that of the heading."""
    return _state(
        icon_name, title, message, level=level, actions=_links((action_url, action, False))
    )


def _links(*links: tuple[str | None, str, bool]) -> Markup:
    return Markup("").join(
        Markup('<a class="bs-button{}" href="{}">{}</a>').format(
            " bs-primary" if primary else "", url, text
        )
        for url, text, primary in links
        if url is not None
    )


def _state(
    icon_name: str,
    title: str,
    message: str,
    *,
    level: int,
    kind: str = "",
    extra: Markup = NOTHING,
    actions: Markup = NOTHING,
) -> Markup:
    if level not in range(1, 7):
        raise ValueError(f"a heading has a level from 1 to 6, not {level}")
    text = Markup("<p>{}</p>").format(message) if message else Markup("")
    below = Markup('<div class="bs-actions">{}</div>').format(actions) if actions else Markup("")
    return Markup(
        '<div class="bs-state {kind}"><span class="bs-state-icon">{icon}</span>'
        "<h{level}>{title}</h{level}>{text}{extra}{below}</div>"
    ).format(
        kind=kind, icon=icon(icon_name), level=level, title=title, text=text, extra=extra,
        below=below,
    )  # fmt: skip


def LoadingSpinner(label: str = "Loading…") -> Markup:
    """A spinner that appears after 300 ms; it does not move if the user prefers less motion."""
    return Markup(
        '<span class="bs-spinner" role="status">{}<span class="bs-sr-only">{}</span></span>'
    ).format(icon("loader-circle"), label)


def LoadingSkeleton(rows: int = 3, label: str = "Loading…") -> Markup:
    """Grey bars in the place of ``rows`` lines that are being loaded."""
    bones = Markup("").join(
        Markup('<span class="bs-bone bs-bone-{}" aria-hidden="true"></span>').format(n % 3)
        for n in range(max(1, rows))
    )
    return Markup(
        '<div class="bs-skeleton" aria-busy="true">'
        '<span class="bs-sr-only" role="status">{}</span>{}</div>'
    ).format(label, bones)
