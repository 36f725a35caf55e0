"""The addresses of the pages, and the function that serves each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import attrs

from bytelyst_sync.dashboard.access import Right
from bytelyst_sync.dashboard.http import Request, Response
from bytelyst_sync.dashboard.pages import (
    ab_testing,
    conflicts,
    device,
    doctor,
    failed,
    fleet,
    gallery,
    items,
    metrics,
    overview,
    queue,
    settled,
    workers,
)
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.rules.device_keys import DEVICE_ID

__all__ = ["ROUTES", "Route", "find_route"]


_PARTS = {
    "seq": "(?P<seq>[0-9]{1,18})",
    "number": "(?P<number>[0-9]{1,18})",
    "device": f"(?P<device>{DEVICE_ID})",
    "hold": "(?P<hold>[0-9a-f]{1,32})",
    "key": "(?P<key>.{1,200})",
}
"""The patterns of the named parts of a path."""


@attrs.frozen
class Route:
    """``pattern`` is the path below the prefix, ``right`` what the actor needs."""

    method: str
    pattern: str
    serve: Callable[[Context], Response]
    right: Right = "view"
    live: bool = False
    """Whether the page asks the server for changes."""
    charts: bool = False
    """Whether it shows samples, too."""
    ages: bool = False
    """Whether it changes with time alone."""

    def match(self, path: str) -> dict[str, str] | None:
        """The named parts of a path, if it is one of this route."""
        pattern = re.sub(r"<(\w+)>", lambda name: _PARTS[name[1]], self.pattern)
        found = re.fullmatch(pattern, path)
        return None if found is None else found.groupdict()


ROUTES = (
    Route("GET", "/", overview.show, live=True, charts=True),
    Route("GET", "/workers", workers.show, live=True, ages=True),
    Route("GET", "/fleet", fleet.show, live=True, ages=True),
    Route("GET", "/fleet/<device>", device.show, live=True, ages=True),
    Route("POST", "/fleet/<device>/commands", device.command, "command"),
    Route("GET", "/queue", queue.show, live=True),
    Route("GET", "/items/<seq>", items.show, live=True),
    Route("POST", "/items/<seq>/cancel", items.cancel, "operate"),
    Route("POST", "/items/<seq>/repair", items.repair, "operate"),
    Route("GET", "/failed", failed.show, live=True),
    Route("POST", "/failed", failed.decide, "operate"),
    Route("POST", "/held/<hold>/undo", failed.undo, "operate"),
    Route("GET", "/conflicts", conflicts.show, live=True),
    Route("GET", "/conflicts/settled", settled.show, live=True),
    Route("GET", "/conflicts/<number>", conflicts.compare, live=True),
    Route("POST", "/conflicts/<number>", conflicts.resolve, "operate"),
    Route("POST", "/conflicts/<number>/recover", settled.recover, "operate"),
    Route("GET", "/ab-testing", ab_testing.show, live=True),
    Route("GET", "/ab-testing/<key>", ab_testing.variants, live=True),
    Route("POST", "/ab-testing/<key>", ab_testing.change, "operate"),
    Route("GET", "/doctor", doctor.show),
    Route("POST", "/doctor", doctor.examine_all, "operate"),
    Route("GET", "/metrics", metrics.show),
    Route("GET", "/components", gallery.show),
)


def find_route(request: Request) -> tuple[Route | None, dict[str, str], Iterable[str]]:
    """The route of a request and the parts of its path; else the methods that the path allows."""
    method = "GET" if request.method == "HEAD" else request.method
    path = request.path if request.path == "/" else request.path.rstrip("/")
    allowed = []
    for route in ROUTES:
        params = route.match(path)
        if params is not None and route.method == method:
            return route, params, ()
        allowed += [] if params is None else [route.method]
    return None, {}, allowed
