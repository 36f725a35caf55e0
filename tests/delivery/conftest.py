"""What the tests of delivery share: a real server on loopback, and engines that end with the test.

Engines here wait little between tries, and half of the span instead of a random share of it, so
that times can be told beforehand. Without ``auto_flush`` each flush is one try of what is due.
"""

import random
import threading
import time
from collections import Counter

import pytest

from bytelyst_sync import create_sync_engine
from bytelyst_sync.testing import RawServer, SyncServer

PATIENCE_S = 10.0
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@pytest.fixture(autouse=True)
def half_jitter(monkeypatch):
    """Every random share is a half."""
    monkeypatch.setattr(random, "random", lambda: 0.5)


@pytest.fixture
def server():
    with SyncServer() as running:
        yield running


@pytest.fixture
def raw():
    """``raw(step, ...)`` starts a server that plays this script."""
    servers = []

    def start(*script):
        servers.append(RawServer(script))
        return servers[-1]

    yield start
    for each in servers:
        each.close()


@pytest.fixture
def storage():
    """Where the queue lives; a module may say otherwise."""
    return ":memory:"


@pytest.fixture
def make(request, storage):
    """``make(**settings)`` gives an engine for the server; all are closed after the test.

    ``base_url`` may name another server than the fixture ``server``.
    """
    engines = []

    def build(**settings):
        if "base_url" not in settings:
            settings["base_url"] = request.getfixturevalue("server").url
        defaults = {
            "entities": {"notes": "/notes", "tasks": "/tasks"},
            "storage": storage,
            "probe": None,
            "retry_delay": 0.02,
            "max_retry_delay": 0.1,
            "timeout": (2.0, 5.0),
        }
        engine = create_sync_engine(**{**defaults, **settings})
        engines.append(engine)
        return engine

    yield build
    assert [engine.close() for engine in engines] == [True] * len(engines)


@pytest.fixture
def held(make):
    """``held(**settings)``: an engine that sends only while it is told to flush."""

    def build(**settings):
        return make(auto_flush=False, **settings)

    return build


@pytest.fixture
def drain():
    """``drain(engine)`` flushes until nothing is queued, or until ``enough()``; gives the number
    left.
    """

    def run(engine, enough=lambda: False):
        deadline = time.monotonic() + PATIENCE_S
        while engine.queue_length and not enough() and time.monotonic() < deadline:
            engine.flush(timeout=deadline - time.monotonic())
            first = next(engine.queue(), None)
            if first is not None:
                engine.wait(first, timeout=0.01)
        return engine.queue_length

    return run


@pytest.fixture
def writes():
    """``writes(server)``: the requests that were to change something, oldest first."""

    def of(server, path=""):
        return [
            seen
            for seen in server.requests
            if seen.method in WRITES and f"{seen.path}/".startswith(f"{path}/")
        ]

    return of


@pytest.fixture
def effects():
    """``effects(server)``: what the server applied, as (kind, id), oldest first."""

    def of(server, collection=None):
        return [
            (effect.kind, effect.id)
            for effect in server.journal
            if effect.by == "http" and collection in (None, effect.collection)
        ]

    return of


class Heard:
    """Collects what a callback is given, and waits for it."""

    def __init__(self):
        self._changed = threading.Condition()
        self._values = []

    def __call__(self, value):
        with self._changed:
            self._values.append(value)
            self._changed.notify_all()

    @property
    def values(self):
        """What came so far."""
        with self._changed:
            return list(self._values)

    def wait(self, predicate, timeout=PATIENCE_S):
        """Waits until the list of what came fulfils the predicate; false at the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self._values), timeout)


@pytest.fixture
def heard():
    """``heard()`` makes a callback that collects."""
    return Heard


class Tokens:
    """A bearer token callable: gives its tokens one after the other, the last one for ever."""

    def __init__(self, *tokens):
        self._lock = threading.Lock()
        self._tokens = list(tokens)
        self.calls = 0
        self.given = Counter()

    def __call__(self):
        with self._lock:
            self.calls += 1
            token = self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]
            self.given[token] += 1
            return token

    def then(self, *tokens):
        """What is given from now on."""
        with self._lock:
            self._tokens = list(tokens)


@pytest.fixture
def tokens():
    """``tokens("old", "new")`` makes such a callable."""
    return Tokens
