"""Spans and metrics for OpenTelemetry. Needs the extra ``otel``.

``SyncConfig(telemetry=OpenTelemetry())`` uses the program's providers, or those that it is given.
Names follow OpenTelemetry's conventions: units in UCUM, seconds for durations, the attributes
``http.response.status_code`` and ``error.type`` where they apply, its own under
``bytelyst_sync.``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bytelyst_sync.model import SyncStatusInfo
from bytelyst_sync.telemetry import EVENTS, TelemetryEvent

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


class OpenTelemetry:
    """A ``telemetry`` for ``SyncConfig``.

    A span ``bytelyst_sync send`` for each request with operations; counters
    ``bytelyst_sync.pushed`` and so on; histograms ``bytelyst_sync.request.duration`` and
    ``bytelyst_sync.delivery.duration``. ``watch(engine)`` adds gauges of its queue.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self._meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._counters = {
            name: self._meter.create_counter(
                f"{_SCOPE}.{name}", unit="{operation}", description=EVENTS[name].partition(";")[0]
            )
            for name in _COUNTED
        }
        self._requests = self._meter.create_histogram(
            f"{_SCOPE}.request.duration", unit="s", description="a request with operations"
        )
        self._deliveries = self._meter.create_histogram(
            f"{_SCOPE}.delivery.duration", unit="s", description="from push to acceptance"
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

    def _span(self, event: TelemetryEvent, about: dict[str, Any]) -> None:
        end = int(event.time.timestamp() * _NS)
        span = self._tracer.start_span(
            f"{_SCOPE} send",
            kind=trace.SpanKind.CLIENT,
            start_time=end - int((event.duration or 0.0) * _NS),
            attributes={**about, f"{_SCOPE}.operations": event.count},
        )
        if event.outcome != "delivered":
            span.set_status(trace.StatusCode.ERROR)
        span.end(end)

    def watch(self, engine: Any) -> None:
        """Adds gauges of this engine's queue, asked whenever metrics are read."""

        def gauge(name: str, unit: str, field: str) -> None:
            def observe(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
                info: SyncStatusInfo = engine.status
                return [metrics.Observation(int(getattr(info, field)))]

            self._meter.create_observable_gauge(f"{_SCOPE}.{name}", [observe], unit=unit)

        gauge("queue.length", "{operation}", "queue_length")
        gauge("queue.failed", "{operation}", "failed")
        gauge("queue.conflicts", "{conflict}", "conflicts")
        gauge("online", "1", "online")


def _attributes(event: TelemetryEvent) -> dict[str, Any]:
    about = {
        f"{_SCOPE}.entity": event.entity,
        f"{_SCOPE}.operation": event.operation,
        "http.response.status_code": event.status,
        "error.type": event.outcome if event.outcome != "delivered" else None,
    }
    return {name: value for name, value in about.items() if value is not None}
