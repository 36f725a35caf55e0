"""Spans and metrics for OpenTelemetry. Needs the extra ``otel``.

``SyncConfig(telemetry=OpenTelemetry())`` uses the program's providers, or those that it is given.
Names follow OpenTelemetry's conventions: units in UCUM, seconds for durations, the attributes
``http.response.status_code``, ``error.type``, ``server.address`` and ``server.port`` where they
apply, its own under ``bytelyst_sync.``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from bytelyst_sync import __version__
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.events.telemetry import EVENTS, TelemetryEvent
from bytelyst_sync.model import SyncStatusInfo

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError(
        'OpenTelemetry needs the extra "otel": pip install "bytelyst-sync[otel]"'
    ) from error

__all__ = ["OpenTelemetry"]

_SCOPE = "bytelyst_sync"
_COUNTED = ("pushed", "coalesced", "delivered", "retried", "failed", "conflict", "pulled")
_NS = 1_000_000_000
_OF_REQUESTS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Boundaries in seconds, as the conventions have them for HTTP clients."""
_OF_DELIVERIES = (0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400)
"""From at once to a week offline."""
_GAUGES: tuple[tuple[str, str, str, Callable[[SyncStatusInfo], int]], ...] = (
    ("queue.length", "{operation}", "queued and not yet delivered", lambda i: i.queue_length),
    ("queue.failed", "{operation}", "failed and kept", lambda i: i.failed),
    ("queue.conflicts", "{conflict}", "waiting for a decision", lambda i: i.conflicts),
    ("online", "1", "1 if the network was there when it was last needed", lambda i: int(i.online)),
)
Attributes = dict[str, Any]


class OpenTelemetry:
    """A ``telemetry`` for ``SyncConfig``; any number of engines may share one.

    A span ``bytelyst_sync send`` for each request with operations; counters
    ``bytelyst_sync.pushed`` and so on; histograms ``bytelyst_sync.request.duration`` and
    ``bytelyst_sync.delivery.duration``. ``watch(engine)`` adds gauges of its queue.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        self._meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._watched: dict[weakref.ref[SyncEngine], Attributes] = {}
        self._counters = {
            name: self._meter.create_counter(
                f"{_SCOPE}.{name}",
                unit="{conflict}" if name == "conflict" else "{operation}",
                description=EVENTS[name].partition(";")[0],
            )
            for name in _COUNTED
        }
        self._requests = self._meter.create_histogram(
            f"{_SCOPE}.request.duration",
            unit="s",
            description="a request with operations",
            explicit_bucket_boundaries_advisory=_OF_REQUESTS,
        )
        self._deliveries = self._meter.create_histogram(
            f"{_SCOPE}.delivery.duration",
            unit="s",
            description="from push to acceptance",
            explicit_bucket_boundaries_advisory=_OF_DELIVERIES,
        )
        for name, unit, description, value in _GAUGES:
            self._meter.create_observable_gauge(
                f"{_SCOPE}.{name}", [self._recorder(value)], unit, description
            )

    def __call__(self, event: TelemetryEvent) -> None:
        """Takes one event."""
        about = _attributes(event)
        counter = self._counters.get(event.name)
        if counter is not None:
            counter.add(event.count, about)
        if event.name == "sent" and event.duration is not None:
            self._requests.record(event.duration, about)
            self._span(event, about)
        if event.name == "delivered" and event.duration is not None:
            self._deliveries.record(event.duration, about)

    def _span(self, event: TelemetryEvent, about: Attributes) -> None:
        end = int(event.time.timestamp() * _NS)
        span = self._tracer.start_span(
            f"{_SCOPE} send",
            kind=trace.SpanKind.CLIENT,
            start_time=end - int((event.duration or 0.0) * _NS),
            attributes={**about, f"{_SCOPE}.operations": event.count},
        )
        if "error.type" in about:
            span.set_status(trace.StatusCode.ERROR)
        span.end(end)

    def watch(self, engine: SyncEngine, attributes: Mapping[str, Any] | None = None) -> None:
        """Adds this engine's queue to the gauges, which are asked whenever metrics are read, until
        the engine is gone.

        ``attributes`` tell engines for one server apart, where there are several.
        """
        where = urlsplit(engine.config.base_url)
        about: Attributes = {"server.address": where.hostname or ""}
        if where.port is not None:
            about["server.port"] = where.port
        gone = self._watched.pop
        self._watched[weakref.ref(engine, lambda ref: gone(ref, None))] = {
            **about,
            **(attributes or {}),
        }

    def _recorder(
        self, value: Callable[[SyncStatusInfo], int]
    ) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        def observe(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            for ref, about in list(self._watched.items()):
                engine = ref()
                if engine is not None:
                    yield metrics.Observation(value(engine.status), about)

        return observe


def _attributes(event: TelemetryEvent) -> Attributes:
    failed = event.name == "sent" and event.outcome != "delivered"
    about = {
        f"{_SCOPE}.entity": event.entity,
        f"{_SCOPE}.operation": event.operation,
        "http.response.status_code": event.status,
        "error.type": event.outcome if failed else None,
    }
    return {name: value for name, value in about.items() if value is not None}
