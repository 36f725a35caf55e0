"""Icons of Lucide 1.62.0 (ISC; see ``static/LICENSES.txt``)."""

from __future__ import annotations

import json
from importlib.resources import files

from markupsafe import Markup

__all__ = ["ICONS", "icon"]

ICONS: dict[str, str] = json.loads((files(__package__) / "icons.json").read_text("utf-8"))
"""The inside of each ``<svg>``, by the icon's name at Lucide."""


def icon(name: str) -> Markup:
    """An icon beside a text: screen readers skip it."""
    return Markup(
        '<svg class="bs-icon" viewBox="0 0 24 24" width="16" height="16" fill="none"'
        ' stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"'
        ' aria-hidden="true" focusable="false">{}</svg>'
    ).format(Markup(ICONS[name]))  # noqa: S704 - shapes of the file above
