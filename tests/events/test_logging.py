"""``LoggingTelemetry``: one line for each event."""

import logging
from collections.abc import Callable

import pytest

from bytelyst_sync import Request, SyncEngine, TelemetryEvent
from bytelyst_sync.events.telemetry import EVENTS, LoggingTelemetry
from bytelyst_sync.http.transport import Response
from bytelyst_sync.testing import ManualClock

NOW = ManualClock().now


def records(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    return [(each.name, each.levelname, each.getMessage()) for each in caplog.records]


def test_a_line_says_what_happened(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    event = TelemetryEvent(
        name="sent",
        time=NOW,
        entity="notes",
        operation="create",
        duration=0.25,
        status=201,
        outcome="delivered",
    )
    LoggingTelemetry()(event)
    line = "sent entity=notes operation=create count=1 duration=0.250000 status=201"
    assert records(caplog) == [("bytelyst_sync.telemetry", "DEBUG", f"{line} outcome=delivered")]


def test_the_fields_are_there_for_structured_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    LoggingTelemetry()(TelemetryEvent(name="pulled", time=NOW, entity="notes", count=3))
    (record,) = caplog.records
    extra = {name: value for name, value in vars(record).items() if name.startswith("sync_")}
    assert extra == {"sync_event": "pulled", "sync_entity": "notes", "sync_count": 3}


@pytest.mark.parametrize("name", EVENTS)
def test_only_failures_are_warnings(caplog: pytest.LogCaptureFixture, name: str) -> None:
    caplog.set_level(logging.DEBUG)
    LoggingTelemetry(level=logging.INFO)(TelemetryEvent(name=name, time=NOW))
    assert [each.levelname for each in caplog.records] == [
        "WARNING" if name == "failed" else "INFO"
    ]


def test_a_higher_level_is_the_level_of_failures_too(caplog: pytest.LogCaptureFixture) -> None:
    LoggingTelemetry(level=logging.ERROR)(TelemetryEvent(name="failed", time=NOW))
    assert caplog.records[0].levelname == "ERROR"


@pytest.mark.parametrize("logger", ["shop.sync", logging.getLogger("shop.sync")])
def test_the_logger_is_the_programs_choice(
    caplog: pytest.LogCaptureFixture, logger: str | logging.Logger
) -> None:
    LoggingTelemetry(logger, logging.WARNING)(TelemetryEvent(name="pushed", time=NOW))
    assert [each.name for each in caplog.records] == ["shop.sync"]


def test_no_line_is_formatted_for_a_disabled_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    LoggingTelemetry()(TelemetryEvent(name="pushed", time=NOW))
    assert records(caplog) == []


def test_an_engine_writes_its_day(
    caplog: pytest.LogCaptureFixture,
    engine: Callable[..., SyncEngine],
    answer: Callable[..., Callable[[Request], Response]],
) -> None:
    caplog.set_level(logging.DEBUG)
    writer = engine(answer(403, {"error": "no"}, seconds=0.5), telemetry=LoggingTelemetry("day"))
    writer.push("notes", {"id": "1"})
    writer.flush(10)
    writer.close()
    lines = [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "day"]
    about = "entity=notes operation=create count=1"
    assert lines == [
        ("DEBUG", f"pushed {about} duration=0.000000"),
        ("DEBUG", "status count=1 duration=0.000000 outcome=syncing"),
        (
            "DEBUG",
            f"sent {about} duration=0.500000 status=403 outcome=rejected",
        ),
        (
            "WARNING",
            f"failed {about} duration=0.500000 status=403",
        ),
        ("DEBUG", "status count=1 duration=0.500000 outcome=error"),
        ("DEBUG", "status count=1 duration=0.000000 outcome=closed"),
    ]
