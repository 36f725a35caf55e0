"""What the tests of delivery share: a real server on loopback, and engines that end with the test.

Engines here wait little between tries, and half of the span instead of a random share of it, so
that times can be told beforehand. Without ``auto_flush`` each flush is one try of what is due.
"""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.testing import RawServer, Reply, Seen, SyncServer
from bytelyst_sync.testing.raw import Step

PATIENCE_S = 10.0
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@pytest.fixture(autouse=True)
def half_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every random share is a half."""
    monkeypatch.setattr(random, "random", lambda: 0.5)


@pytest.fixture
def raw() -> Iterator[Callable[..., RawServer]]:
    """``raw(step, ...)`` starts a server that plays this script."""
    servers = []

    def start(*script: Step) -> RawServer:
        servers.append(RawServer(script))
        return servers[-1]

    yield start
    for each in servers:
        each.close()


@pytest.fixture
def storage() -> str:
    """Where the queue lives; a module may say otherwise."""
    return ":memory:"


@pytest.fixture
def make(request: pytest.FixtureRequest, storage: str) -> Iterator[Callable[..., SyncEngine]]:
    """``make(**settings)`` gives an engine for the server; all are closed after the test.

    ``base_url`` may name another server than the fixture ``server``.
    """
    engines = []

    def build(**settings: Any) -> SyncEngine:
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
def held(make: Callable[..., SyncEngine]) -> Callable[..., SyncEngine]:
    """``held(**settings)``: an engine that sends only while it is told to flush."""

    def build(**settings: Any) -> SyncEngine:
        return make(auto_flush=False, **settings)

    return build


@pytest.fixture
def drain() -> Callable[..., int]:
    """``drain(engine)`` flushes until nothing is queued, or until ``enough()``; gives the number
    left.
    """

    def run(engine: SyncEngine, enough: Callable[..., object] = lambda: False) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while engine.queue_length and not enough() and time.monotonic() < deadline:
            engine.flush(timeout=deadline - time.monotonic())
            first = next(engine.queue(), None)
            if first is not None:
                engine.wait(first, timeout=0.01)
        return engine.queue_length

    return run


@pytest.fixture
def poisoned(server: SyncServer) -> Callable[..., SyncServer]:
    """``poisoned(engine)``: pushes others, which the server takes, until note 1 has failed.

    The server never takes note 1, also before the call: the worker may be faster than the test.
    Returns the server.
    """
    numbers = itertools.count(1000)

    def refuse_with(answer: Reply) -> None:
        server.reject = lambda seen: (
            answer if isinstance(seen.body, dict) and seen.body.get("id") == "1" else None
        )

    refuse_with(Reply(500))

    def run(engine: SyncEngine, reply: Reply | None = None) -> SyncServer:
        if reply is not None:
            refuse_with(reply)
        deadline = time.monotonic() + PATIENCE_S
        while not engine.status.failed and time.monotonic() < deadline:
            other = engine.push("notes", {"id": str(next(numbers))})
            engine.wait(other, timeout=PATIENCE_S)
        return server

    return run


@pytest.fixture
def writes() -> Callable[..., list[Seen]]:
    """``writes(server)``: the requests that were to change something, oldest first."""

    def of(server: SyncServer, path: str = "") -> list[Seen]:
        return [
            seen
            for seen in server.requests
            if seen.method in WRITES and f"{seen.path}/".startswith(f"{path}/")
        ]

    return of


@pytest.fixture
def effects() -> Callable[..., list[tuple[str, str]]]:
    """``effects(server)``: what the server applied, as (kind, id), oldest first."""

    def of(server: SyncServer, collection: None = None) -> list[tuple[str, str]]:
        return [
            (effect.kind, effect.id)
            for effect in server.journal
            if effect.by == "http" and collection in (None, effect.collection)
        ]

    return of


class Recorder:
    """Collects what a callback is given, and waits for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._values: list[Any] = []

    def __call__(self, value: object) -> None:
        with self._changed:
            self._values.append(value)
            self._changed.notify_all()

    @property
    def values(self) -> list[Any]:
        """What came so far."""
        with self._changed:
            return list(self._values)

    def wait(self, predicate: Callable[..., object], timeout: float = PATIENCE_S) -> Any:
        """Waits until the list of what came fulfils the predicate; false at the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self._values), timeout)


@pytest.fixture
def recorder() -> type[Recorder]:
    """``recorder()`` makes a callback that collects what it is called with."""
    return Recorder


class Tokens:
    """A bearer token callable: gives its tokens one after the other, the last one for ever."""

    def __init__(self, *tokens: str) -> None:
        self._lock = threading.Lock()
        self._tokens = list(tokens)
        self.calls = 0
        self.given: Counter[str] = Counter()

    def __call__(self) -> str:
        with self._lock:
            self.calls += 1
            token = self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]
            self.given[token] += 1
            return token

    def then(self, *tokens: str) -> None:
        """What is given from now on."""
        with self._lock:
            self._tokens = list(tokens)


@pytest.fixture
def tokens() -> type[Tokens]:
    """``tokens("old", "new")`` makes such a callable."""
    return Tokens
