"""The functions by which the parts of a pull report to the rest of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import attrs

from bytelyst_sync.model import StatusReason
from bytelyst_sync.storage.base import PullRight

__all__ = ["PullMonitor"]


class Note(Protocol):
    """Sets the last error of the status. A ``passing`` one is cleared when everything works
    again.
    """

    def __call__(self, message: str, *, passing: bool = True) -> None: ...


class Fault(Protocol):
    """Sets a fault of an entity in the status, until it is called with ``None``."""

    def __call__(
        self,
        source: Literal["pull", "reading"],
        entity: str,
        message: str | None,
        reason: StatusReason | None = None,
    ) -> None: ...


@attrs.frozen(kw_only=True)
class PullMonitor:
    """The functions that the parts of a pull call, from any thread."""

    note: Note
    fault: Fault
    network: Callable[[bool, bool], None]
    """Whether the network was reached, and if not, whether a captive portal answered."""
    credentials_refused: Callable[[], None]
    vanished: Callable[[str, str | None], None]
    """Called with the reason if the listing of an entity was not applied, and with ``None`` if it
    was.
    """
    allowed: Callable[[], bool]
    """Whether the background may send requests: not while offline, paused, throttled or closed."""
    random: Callable[[], float]
    """Returns a number in [0, 1), for the jitter of backoffs: many devices must not retry at the
    same time.
    """
    right: PullRight
    """The right to pull in the background, without being asked to."""
    finished: Callable[[bool], None]
    """Called after work in the background; the argument is whether it pulled and succeeded."""
