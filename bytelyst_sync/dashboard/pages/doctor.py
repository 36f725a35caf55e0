"""The checks of ``bytelyst-sync doctor`` as a page."""

from __future__ import annotations

from bytelyst_sync.dashboard.http import Response
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.inspection.doctor import examine
from bytelyst_sync.inspection.doctor_context import Level

__all__ = ["examine_all", "show"]


def show(context: Context) -> Response:
    """The checks that cost little: nothing is sent, and the store's pages are not all read."""
    return _page(context, thorough=False)


def examine_all(context: Context) -> Response:
    """All checks, those of the network and of every page of the store too."""
    return _page(context, thorough=True)


def _page(context: Context, *, thorough: bool) -> Response:
    with context.source.doctor() as case:
        findings = list(examine(case, network=thorough, every_page=thorough))
    fails = [each for each in findings if each.level is Level.FAIL]
    warns = [each for each in findings if each.level is Level.WARN]
    order = [Level.FAIL, Level.WARN, Level.OK]
    return context.page(
        "doctor.html",
        "Doctor",
        findings=sorted(findings, key=lambda each: order.index(each.level)),
        fails=len(fails),
        warns=len(warns),
        thorough=thorough,
    )
