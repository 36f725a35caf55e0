"""Engines on a scripted transport and a clock that stands still, whose events are collected."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync import Request, SyncEngine, TelemetryEvent
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from bytelyst_sync.testing import ManualClock
from tests.conftest import Scripted
from tests.typed import NewEngine

PATIENCE_S = 10.0


class Collected:
    """A telemetry that keeps what it is told."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[Any] = []

    def __call__(self, event: TelemetryEvent) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    @property
    def all(self) -> list[TelemetryEvent]:
        with self._changed:
            return list(self._events)

    def wait(self, predicate: Callable[..., bool]) -> None:
        """Waits until the events so far fulfil the predicate; fails otherwise."""
        with self._changed:
            assert self._changed.wait_for(lambda: predicate(self._events), PATIENCE_S), self._events

    def of(self, name: str, number: int = 1) -> list[TelemetryEvent]:
        """The events of that name, when there are so many."""
        self.wait(lambda events: sum(each.name == name for each in events) >= number)
        found = [each for each in self.all if each.name == name]
        assert len(found) == number, found
        return found


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def events() -> Collected:
    return Collected()


@pytest.fixture(name="collected", scope="session")
def collected_class() -> type[Collected]:
    return Collected


@pytest.fixture
def answer(clock: ManualClock) -> Callable[..., Callable[[Request], Response]]:
    """``answer(200, {"id": "1"}, seconds=0.25)``: a response that took so long."""

    def make(
        status: int = 201, body: Json | None = None, seconds: float = 0.0, **headers: str
    ) -> Callable[[Request], Response]:
        def respond(request: Request) -> Response:
            clock.advance(seconds)
            text = b"" if body is None else json.dumps(body).encode()
            return Response(status, headers, text, "")

        return respond

    return make


@pytest.fixture
def engine(
    new_engine: NewEngine,
    scripted: type[Scripted],
    clock: ManualClock,
    events: Collected,
    answer: Callable[..., Callable[[Request], Response]],
) -> Callable[..., SyncEngine]:
    """``engine(answer, ..., **settings)``: an engine with these answers, that tells ``events``."""

    def make(
        *answers: Response | Exception | Callable[..., Response], **settings: Any
    ) -> SyncEngine:
        transport = scripted(*(answers or (answer(),)))
        return new_engine(
            **{
                "transport": transport,
                "clock": clock,
                "telemetry": events,
                "retry_delay": 1.0,
                "max_retry_delay": 60.0,
                **settings,
            }
        )

    return make
