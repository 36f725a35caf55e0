"""OpenTelemetry: what the program's exporters are given."""

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics._internal.point import Metric
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import bytelyst_sync
from bytelyst_sync import TelemetryEvent, create_sync_engine
from bytelyst_sync.contrib.otel import OpenTelemetry
from bytelyst_sync.errors import OfflineError, TransportError
from bytelyst_sync.events.telemetry import EVENTS
from bytelyst_sync.http.transport import Response
from bytelyst_sync.testing import ManualClock
from tests.typed import NewEngine, NewPage, present

NS = 1_000_000_000


class Backend:
    """Where spans and metrics end up."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider([self._metrics])
        self.telemetry = OpenTelemetry(self.tracer_provider, self.meter_provider)

    @property
    def spans(self) -> Any:
        return self._spans.get_finished_spans()

    @property
    def metrics(self) -> dict[str, Metric]:
        data = self._metrics.get_metrics_data()
        if data is None:
            return {}
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert (scope.scope.name, scope.scope.version) == (
            "bytelyst_sync",
            bytelyst_sync.__version__,
        )
        return {metric.name: metric for metric in scope.metrics}

    def points(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        return {
            tuple(sorted(present(point.attributes).items())): point
            for point in self.metrics[name].data.data_points
        }

    def values(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        return {key: point.value for key, point in self.points(name).items()}


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.meter_provider.shutdown()
    made.tracer_provider.shutdown()


CREATE = (("bytelyst_sync.entity", "notes"), ("bytelyst_sync.operation", "create"))


def worked(
    engine: Callable[..., bytelyst_sync.SyncEngine],
    *answers: bytelyst_sync.TransportError | Callable[..., bytelyst_sync.Response],
    backend: Backend,
    **settings: Any,
) -> bytelyst_sync.SyncEngine:
    """An engine that pushed and flushed one note, and has told all of it."""
    writer = engine(*answers, telemetry=backend.telemetry, **settings)
    writer.push("notes", {"id": "1", "title": "x"})
    writer.flush(10)
    writer.close()
    return writer


def test_a_request_is_a_span(
    engine: Callable[..., bytelyst_sync.SyncEngine],
    answer: Callable[..., Callable[[bytelyst_sync.Request], Response]],
    backend: Backend,
    clock: ManualClock,
) -> None:
    worked(engine, answer(201, seconds=0.25), backend=backend)
    (span,) = backend.spans
    assert (span.name, span.kind) == ("bytelyst_sync send", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        **dict(CREATE),
        "http.response.status_code": 201,
        "bytelyst_sync.operations": 1,
    }
    assert (span.end_time - span.start_time) / NS == pytest.approx(0.25, abs=1e-6)
    assert span.end_time / NS == pytest.approx(clock.wall(), abs=1e-6)
    assert span.parent is None


@pytest.mark.parametrize(
    ("status", "error"), [(403, "rejected"), (500, "server_error"), (429, "busy")]
)
def test_a_request_that_failed(
    engine: Callable[..., bytelyst_sync.SyncEngine],
    answer: Callable[..., Callable[[bytelyst_sync.Request], Response]],
    backend: Backend,
    status: int,
    error: str,
) -> None:
    worked(engine, answer(status, {"error": "no"}), backend=backend)
    (span,) = backend.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert present(span.attributes)["error.type"] == error
    assert present(span.attributes)["http.response.status_code"] == status


def test_a_request_without_an_answer_has_no_status(
    engine: Callable[..., bytelyst_sync.SyncEngine], backend: Backend
) -> None:
    worked(engine, TransportError("the secret that was lost"), backend=backend)
    (span,) = backend.spans
    assert present(span.attributes)["error.type"] == "unknown"
    assert "http.response.status_code" not in present(span.attributes)


def test_a_batch_says_how_much_it_carried(
    engine: Callable[..., bytelyst_sync.SyncEngine],
    answer: Callable[..., Callable[[bytelyst_sync.Request], Response]],
    backend: Backend,
) -> None:
    writer = engine(answer(503), telemetry=backend.telemetry, dialect=bytelyst_sync.Dialect.kinto())
    writer.push_many("notes", [{"id": str(number)} for number in range(5)])
    writer.flush(10)
    writer.close()
    (span,) = backend.spans
    assert present(span.attributes)["bytelyst_sync.operations"] == 5


def test_what_is_counted(
    engine: Callable[..., bytelyst_sync.SyncEngine],
    answer: Callable[..., Callable[[bytelyst_sync.Request], Response]],
    backend: Backend,
    page: NewPage,
) -> None:
    current = {"current": {"id": "9", "a": 5, "version": "v2"}}
    writer = engine(
        page({"id": "9", "a": 1, "version": "v1"}),
        answer(412, current),
        answer(500),
        answer(403, {"error": "no"}),
        answer(201),
        telemetry=backend.telemetry,
    )
    writer.pull()
    writer.push("notes", {"id": "9", "a": 2}, "update")
    for number in range(3):
        writer.push("notes", {"id": str(number)})
    writer.push("notes", {"id": "2", "a": 1}, "update")
    writer.flush(10)
    writer.close()
    update = (CREATE[0], ("bytelyst_sync.operation", "update"))
    status = ("http.response.status_code",)
    assert {name: backend.values(f"bytelyst_sync.{name}") for name in COUNTED} == {
        "pushed": {CREATE: 3, update: 1},
        "coalesced": {update: 1},
        "delivered": {CREATE: 1},
        "retried": {(*CREATE, (*status, 500)): 1},
        "failed": {(*CREATE, (*status, 403)): 1},
        "conflict": {update: 1},
        "pulled": {CREATE[:1]: 1},
    }


COUNTED = set(EVENTS) - {"sent", "status"}
UNITS = {
    **{f"bytelyst_sync.{name}": "{operation}" for name in COUNTED},
    "bytelyst_sync.conflict": "{conflict}",
    "bytelyst_sync.request.duration": "s",
    "bytelyst_sync.delivery.duration": "s",
    "bytelyst_sync.queue.length": "{operation}",
    "bytelyst_sync.queue.failed": "{operation}",
    "bytelyst_sync.queue.conflicts": "{conflict}",
    "bytelyst_sync.online": "1",
}


def test_units_and_descriptions(
    engine: Callable[..., bytelyst_sync.SyncEngine], backend: Backend
) -> None:
    idle = engine()
    backend.telemetry.watch(idle)
    for name in EVENTS:
        backend.telemetry(TelemetryEvent(name=name, time=ManualClock().now, duration=1.0))
    assert {name: metric.unit for name, metric in backend.metrics.items()} == UNITS
    assert all(metric.description for metric in backend.metrics.values())


def test_the_time_of_requests_and_of_deliveries(
    engine: Callable[..., bytelyst_sync.SyncEngine],
    answer: Callable[..., Callable[[bytelyst_sync.Request], Response]],
    backend: Backend,
    clock: ManualClock,
) -> None:
    writer = engine(answer(201, seconds=0.25), telemetry=backend.telemetry)
    writer.push("notes", {"id": "1"})
    clock.advance(100)
    writer.flush(10)
    writer.close()
    (request,) = backend.points("bytelyst_sync.request.duration").values()
    assert (request.count, request.sum) == (1, pytest.approx(0.25))
    assert dict(request.attributes) == {**dict(CREATE), "http.response.status_code": 201}
    assert request.explicit_bounds[0] == 0.005
    (delivery,) = backend.points("bytelyst_sync.delivery.duration").values()
    assert (delivery.count, delivery.sum) == (1, pytest.approx(100.25))
    assert delivery.explicit_bounds[-1] == 7 * 24 * 3600


# --- gauges


WHERE = (("server.address", "server.invalid"),)


def test_a_queue_is_watched(
    engine: Callable[..., bytelyst_sync.SyncEngine],
    answer: Callable[..., Callable[[bytelyst_sync.Request], Response]],
    backend: Backend,
) -> None:
    writer = engine(answer(403, {"error": "no"}))
    backend.telemetry.watch(writer)
    writer.push("notes", {"id": "1"})
    writer.flush(10)
    writer.push_many("notes", [{"id": "2"}, {"id": "3"}])
    assert {name: backend.values(f"bytelyst_sync.{name}") for name in GAUGES} == {
        "queue.length": {WHERE: 2},
        "queue.failed": {WHERE: 1},
        "queue.conflicts": {WHERE: 0},
        "online": {WHERE: 1},
    }


GAUGES = ("queue.length", "queue.failed", "queue.conflicts", "online")


def test_an_engine_that_is_offline(
    engine: Callable[..., bytelyst_sync.SyncEngine], backend: Backend
) -> None:
    writer = engine(OfflineError("nobody"))
    backend.telemetry.watch(writer)
    writer.push("notes", {"id": "1"})
    writer.flush(10)
    assert backend.values("bytelyst_sync.online") == {WHERE: 0}


def test_several_engines_share_one(
    engine: Callable[..., bytelyst_sync.SyncEngine], backend: Backend, new_engine: NewEngine
) -> None:
    first, second = engine(), engine()
    other = new_engine("http://other.invalid:8443", telemetry=backend.telemetry)
    backend.telemetry.watch(first, {"store": "a"})
    backend.telemetry.watch(second, {"store": "b"})
    backend.telemetry.watch(other)
    second.push("notes", {"id": "1"})
    other.push_many("notes", [{"id": "1"}, {"id": "2"}])
    assert backend.values("bytelyst_sync.queue.length") == {
        (*WHERE, ("store", "a")): 0,
        (*WHERE, ("store", "b")): 1,
        (("server.address", "other.invalid"), ("server.port", 8443)): 2,
    }


def test_one_that_is_gone_is_not_kept(backend: Backend) -> None:
    engine = create_sync_engine(
        base_url="http://server.invalid",
        entities={"notes": "/notes"},
        storage=":memory:",
        auto_flush=False,
        probe=None,
    )
    backend.telemetry.watch(engine)
    engine.close()
    assert backend.values("bytelyst_sync.queue.length") == {WHERE: 0}
    del engine
    gc.collect()
    assert "bytelyst_sync.queue.length" not in backend.metrics


# --- without it


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('not there')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import bytelyst_sync.contrib.otel"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        'ImportError: OpenTelemetry needs the extra "otel": pip install "bytelyst-sync[otel]"'
    )


def test_the_package_does_not_load_it() -> None:
    program = (
        "import sys\nfrom bytelyst_sync import create_sync_engine\n"
        "e = create_sync_engine(base_url='http://x', entities={'n': '/n'}, storage=':memory:')\n"
        "e.stats(); e.close()\nprint(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_programs_own_providers_are_the_default(
    engine: Callable[..., bytelyst_sync.SyncEngine],
) -> None:
    """Without an SDK they do nothing, and nothing is raised."""
    writer = engine(telemetry=OpenTelemetry())
    writer.push("notes", {"id": "1"})
    assert writer.flush(10).success
