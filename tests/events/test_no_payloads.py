"""No payload, token or query string is in events, spans, metrics or logs. Ids of records are in log
lines only, which name the record that they are about.
"""

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import fields
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bytelyst_sync import EntityConfig, SyncEngine, SyncStats, TelemetryEvent, create_sync_engine
from bytelyst_sync.contrib.otel import OpenTelemetry
from bytelyst_sync.events.telemetry import EVENTS, LoggingTelemetry
from bytelyst_sync.testing import Drop, Reply, SyncServer
from tests.typed import present

PLANTED = {
    "payload": "planted-payload",
    "id": "planted-id",
    "token": "planted-token",
    "query": "planted-query",
    "header": "planted-header",
    "server": "planted-word-of-the-server",
}


class Everything:
    """All that an observer could have kept."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.spans = InMemorySpanExporter()
        self.metrics = InMemoryMetricReader()
        self.providers = TracerProvider(), MeterProvider([self.metrics])
        self.providers[0].add_span_processor(SimpleSpanProcessor(self.spans))
        self.adapters = OpenTelemetry(*self.providers), LoggingTelemetry()

    def __call__(self, event: TelemetryEvent) -> None:
        self.events.append(event)
        for adapter in self.adapters:
            adapter(event)

    def texts(self) -> Iterator[str]:
        """Everything as text."""
        yield from map(repr, self.events)
        for span in self.spans.get_finished_spans():
            yield span.to_json()
        yield present(self.metrics.get_metrics_data()).to_json()


@pytest.fixture
def everything() -> Iterator[Everything]:
    made = Everything()
    yield made
    for provider in made.providers:
        provider.shutdown()


def settle(engine: SyncEngine) -> None:
    """Flushes until nothing is queued; the delays are of milliseconds."""
    deadline = time.monotonic() + 10
    while engine.queue_length and time.monotonic() < deadline:
        engine.flush(5)
    assert engine.queue_length == 0


def test_logs_and_telemetry_show_no_secrets(
    everything: Everything, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = PLANTED["payload"]
    with SyncServer() as server:
        server.token = PLANTED["token"]
        theirs = {"title": PLANTED["server"], "key": PLANTED["query"]}
        server.put("notes", {"id": PLANTED["id"] + "9", **theirs})
        engine = create_sync_engine(
            base_url=server.url,
            entities={
                "notes": EntityConfig("/notes", params={"key": PLANTED["query"]}),
                "tasks": "/tasks",
            },
            storage=":memory:",
            auth=lambda: PLANTED["token"],
            headers={"X-Key": PLANTED["header"]},
            telemetry=everything,
            probe=None,
            auto_flush=False,
            retry_delay=0.001,
            max_retry_delay=0.002,
            max_retries=2,
        )
        everything.adapters[0].watch(engine)
        engine.pull()
        engine.push("notes", {"id": PLANTED["id"], "title": secret})
        engine.push("notes", {"id": PLANTED["id"], "body": secret}, "update")  # coalesced
        server.script(Reply(500, {"error": PLANTED["server"]}), Drop(), match="POST")
        settle(engine)
        server.patch("notes", PLANTED["id"] + "9", {"title": "another " + PLANTED["server"]})
        engine.push("notes", {"id": PLANTED["id"] + "9", "title": secret}, "update")
        settle(engine)  # a conflict
        server.script(Reply(422, {"error": PLANTED["server"], "sent": secret}), match="POST /tasks")
        engine.push("tasks", {"id": PLANTED["id"] + "7", "title": secret})
        settle(engine)  # failed
        server.put("notes", {"id": PLANTED["id"] + "8", **theirs})
        engine.pull()
        engine.close()
    assert {event.name for event in everything.events} == set(EVENTS)
    # whoever carries the requests logs their paths at DEBUG, and with them ids
    ours = [
        each
        for each in caplog.records
        if each.name.startswith("bytelyst_sync") and each.name != "bytelyst_sync.wire"
    ]
    telemetry = [each for each in ours if each.name == "bytelyst_sync.telemetry"]
    assert len(telemetry) == len(everything.events)
    texts = [*everything.texts(), repr(engine.stats()), *(repr(vars(each)) for each in telemetry)]
    assert len(everything.spans.get_finished_spans()) == engine.stats().requests
    named = [each for each in ours if PLANTED["id"] in each.getMessage()]
    assert any(
        "failed (HTTP 422): engine.failed() shows why" in each.getMessage() for each in named
    )
    for text in texts:
        for planted in PLANTED.values():
            assert planted not in text
    for name, planted in PLANTED.items():
        assert name == "id" or planted not in caplog.text


def test_no_field_could_hold_one() -> None:
    """Names of entities and operations, numbers and words of ours: there is no place for more."""
    assert {each.name for each in fields(TelemetryEvent)} == {
        "name",
        "time",
        "entity",
        "operation",
        "count",
        "duration",
        "status",
        "outcome",
    }
    kinds = {each.name: each.type for each in fields(SyncStats)}
    assert set(kinds.values()) <= {"int", "float | None", "datetime"}
