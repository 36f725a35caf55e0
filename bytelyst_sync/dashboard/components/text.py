"""Values of a store as text for a page: escaped, and with nothing that changes how it is shown."""

from __future__ import annotations

from datetime import datetime, timezone

from markupsafe import Markup

from bytelyst_sync.inspection.text import clean, count_of

__all__ = ["NOTHING", "count_of", "moment", "plain", "value"]


NOTHING = Markup("")
"""No markup."""


def plain(text: object) -> str:
    """The text with escapes for control characters, bidirectional marks and the like."""
    return clean(str(text))


def value(text: object, *, code: bool = False) -> Markup:
    """A value of the store, kept apart from the direction of the text around it."""
    tag = "code" if code else "bdi"
    return Markup("<{0}>{1}</{0}>").format(Markup(tag), plain(text))  # noqa: S704 - one of two


def moment(when: datetime | None, absent: str = "–", *, due: bool = False) -> Markup:
    """A time in UTC. The script of the pages shows how long ago it was. If something is ``due`` at
    that time, it also shows that the time has come.
    """
    if when is None:
        return Markup("{}").format(absent)
    utc = when.astimezone(timezone.utc)
    return Markup('<time datetime="{}" data-moment="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"),
        "due" if due else "",
        f"{utc:%Y-%m-%d %H:%M:%S} UTC",
    )
