"""Engines on a scripted transport and a clock that stands still, whose events are collected."""

import json
import threading

import pytest

from bytelyst_sync.testing import ManualClock
from bytelyst_sync.transport.base import Response

PATIENCE_S = 10.0


class Collected:
    """A telemetry that keeps what it is told."""

    def __init__(self):
        self._changed = threading.Condition()
        self._events = []

    def __call__(self, event):
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    @property
    def all(self):
        with self._changed:
            return list(self._events)

    def wait(self, predicate):
        """Waits until the events so far fulfil the predicate; fails otherwise."""
        with self._changed:
            assert self._changed.wait_for(lambda: predicate(self._events), PATIENCE_S), self._events

    def of(self, name, number=1):
        """The events of that name, when there are so many."""
        self.wait(lambda events: sum(each.name == name for each in events) >= number)
        found = [each for each in self.all if each.name == name]
        assert len(found) == number, found
        return found


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def events():
    return Collected()


@pytest.fixture(name="collected", scope="session")
def collected_class():
    return Collected


@pytest.fixture
def answer(clock):
    """``answer(200, {"id": "1"}, seconds=0.25)``: a response that took so long."""

    def make(status=201, body=None, seconds=0.0, **headers):
        def respond(request):
            clock.advance(seconds)
            text = b"" if body is None else json.dumps(body).encode()
            return Response(status, headers, text, "")

        return respond

    return make


@pytest.fixture
def engine(new_engine, scripted, clock, events, answer):
    """``engine(answer, ..., **settings)``: an engine with these answers, that tells ``events``."""

    def make(*answers, **settings):
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
