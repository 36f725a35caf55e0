"""Components: typed functions that return safe markup, for Jinja and Django templates alike.

Texts that they are given are escaped, ``Markup`` is taken as it is. Colours, borders and radius
come from the custom properties ``--bs-…`` of ``static/ops.css``, light and dark.
"""

from bytelyst_sync.dashboard.components.icons import icon
from bytelyst_sync.dashboard.components.parts import (
    Badge,
    Column,
    Dialog,
    NavLink,
    PageHeader,
    Sidebar,
    Table,
    Toast,
)
from bytelyst_sync.dashboard.components.states import (
    EmptyState,
    ErrorPage,
    LoadingSkeleton,
    LoadingSpinner,
    NotFoundPage,
)

__all__ = [
    "Badge",
    "Column",
    "Dialog",
    "EmptyState",
    "ErrorPage",
    "LoadingSkeleton",
    "LoadingSpinner",
    "NavLink",
    "NotFoundPage",
    "PageHeader",
    "Sidebar",
    "Table",
    "Toast",
    "icon",
]
