"""Telemetry events: names, counts and times of an engine's work, never payloads.

``SyncConfig(telemetry=...)`` takes any callable with one ``TelemetryEvent`` argument. It is called
on a separate thread, one event at a time, in order. It may be slow; exceptions are logged. If too
many events wait, new ones are dropped and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import attrs

__all__ = ["EVENTS", "OUTCOMES", "LoggingTelemetry", "SyncStats", "Telemetry", "TelemetryEvent"]

EVENTS: Mapping[str, str] = {
    "pushed": "operations were queued; duration: of their commit",
    "coalesced": "operations were merged into queued ones; duration: of their commit",
    "sent": "a request with operations was answered or failed; duration: of the request",
    "delivered": "operations were accepted by the server; duration: since they were pushed, mean",
    "retried": "operations will be tried again; duration: until then, mean",
    "failed": "operations were moved to failed; duration: since they were pushed, mean",
    "conflict": "both sides changed a record; duration: since its change was pushed here, mean",
    "pulled": "changes of others were applied; duration: of their commit",
    "status": "the engine's status changed to `outcome`; duration: in the one before",
}
"""Every event by its name: what it means, and what its duration is, in seconds."""

OUTCOMES: Mapping[str, str] = {
    "delivered": "accepted",
    "conflict": "the server's record is not what the change was based on",
    "gone": "the server does not have the record of an update",
    "rejected": "refused for good",
    "redirect": "redirected to another URL, and not followed",
    "server_error": "a server error; it may be tried again",
    "outage": "a gateway did not reach the server",
    "unknown": "no complete answer",
    "unclear": "accepted, but the answer cannot be understood",
    "found": "a lookup found the record: an earlier attempt was processed",
    "mapping": "an answer that does not fit the dialect",
    "busy": "the server asked to try again later",
    "credentials": "the credentials were refused",
    "offline": "no connection made",
    "portal": "a captive portal answered",
    "mixed": "a batch whose operations have different outcomes",
    "split": "a batch that was refused as a whole, and is sent in parts",
}
"""Every ``outcome`` of an event ``sent``."""


@attrs.frozen(kw_only=True)
class TelemetryEvent:
    """An event, or ``count`` equal events at once.

    ``duration`` is in seconds (see ``EVENTS``), ``status`` an HTTP status. ``outcome`` is the
    outcome of a request (see ``OUTCOMES``), or the engine's new status.
    """

    name: str
    time: datetime
    entity: str | None = None
    operation: str | None = None
    count: int = 1
    duration: float | None = None
    status: int | None = None
    outcome: str | None = None


class Telemetry(Protocol):
    """The type of ``SyncConfig(telemetry=...)``."""

    def __call__(self, event: TelemetryEvent, /) -> object:
        """Handles one event."""
        ...


@attrs.frozen(kw_only=True)
class SyncStats:
    """Numbers of one engine since it was created; durations are in seconds.

    ``requests`` counts requests with operations in them, ``request_duration`` is their mean;
    ``delivery_duration`` the mean from push to acceptance. ``queue_length``, ``failed_now`` and
    ``conflicts_now`` are as of this instant.
    """

    since: datetime
    pushed: int = 0
    coalesced: int = 0
    requests: int = 0
    sent: int = 0
    delivered: int = 0
    retried: int = 0
    failed: int = 0
    conflicts: int = 0
    pulled: int = 0
    request_duration: float | None = None
    delivery_duration: float | None = None
    queue_length: int = 0
    failed_now: int = 0
    conflicts_now: int = 0
    dropped_events: int = 0
    """Events that were dropped because ``telemetry`` was too slow."""


class LoggingTelemetry:
    """Writes events to a logger, one line each: ``failed`` as warnings, the rest as ``level``.

    ``logger`` is a logger or its name. The fields are also in each record's ``extra``, under
    ``sync_`` and their name, for structured logs.
    """

    def __init__(
        self,
        logger: logging.Logger | str = "bytelyst_sync.telemetry",
        level: int = logging.DEBUG,
    ) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._level = level

    def __call__(self, event: TelemetryEvent) -> None:
        """Writes one event."""
        level = max(self._level, logging.WARNING) if event.name == "failed" else self._level
        if not self._logger.isEnabledFor(level):
            return
        fields = {
            name: value
            for name, value in attrs.asdict(event).items()
            if value is not None and name not in ("name", "time")
        }
        text = " ".join(f"{name}={_short(value)}" for name, value in fields.items())
        extra = {f"sync_{name}": value for name, value in fields.items()}
        self._logger.log(
            level, "%s %s", event.name, text, extra={"sync_event": event.name, **extra}
        )


def _short(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)
