"""What the tests of pull, view and conflicts share: a server, an engine on it, and a wire."""

import random
import threading
import time
from email.utils import formatdate
from urllib.parse import urlsplit

import pytest

from bytelyst_sync import OfflineError, TransportError
from bytelyst_sync.testing import SyncServer
from bytelyst_sync.testing.raw import Seen
from bytelyst_sync.testing.store import Rules, Store
from bytelyst_sync.transport.base import Response

PATIENCE_S = 10.0


class Wire:
    """A network in process, between one client and a ``Store``: a transport.

    ``online=False`` refuses connections. ``lose`` is asked after each write has been processed,
    and says whether its answer is lost. ``before`` is called ahead of each request, ``after``
    once it was processed and before its answer arrives.
    """

    def __init__(self, store, *, clock=time.time):
        self.store = store
        self.clock = clock
        self.online = True
        self.lose = lambda: False
        self.before = lambda seen: None
        self.after = lambda seen: None
        self.seen = []

    def send(self, request):
        if not self.online:
            raise OfflineError("the wire is cut")
        parts = urlsplit(request.url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        seen = Seen.of(request.method, target, request.headers, request.body or b"")
        self.seen.append(seen)
        self.before(seen)
        answer = self.store.handle(seen)
        self.after(seen)
        if request.method not in ("GET", "HEAD") and self.lose():
            raise TransportError("the answer was lost")
        headers = {name.lower(): value for name, value in answer.headers.items()}
        headers["date"] = formatdate(self.clock(), usegmt=True)
        return Response(answer.status, headers, answer.body, request.url)


def eventually(predicate, timeout=PATIENCE_S):
    """Asks until it holds; for what another thread or process brings about on its own."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (found := predicate()):
        if time.monotonic() > deadline:
            pytest.fail("it did not come to pass in time")
        pause.wait(0.005)
    return found


@pytest.fixture
def server():
    with SyncServer() as running:
        yield running


@pytest.fixture(autouse=True)
def steady_backoff(monkeypatch):
    """No flush tries again what it has just tried, and by the next one the backoff is over."""
    monkeypatch.setattr(random, "random", lambda: 0.5)


@pytest.fixture
def engine(server, new_engine):
    return new_engine(server.url)


@pytest.fixture(name="new_wire", scope="session")
def wire_class():
    return Wire


@pytest.fixture
def wire():
    """A wire to a server of its own, in process."""
    return Wire(Store(Rules()))


@pytest.fixture(name="eventually", scope="session")
def eventually_function():
    return eventually


@pytest.fixture(scope="session")
def view_of():
    """The local view of an entity by id."""

    def view(engine, entity="notes"):
        return {str(record["id"]): record for record in engine.records(entity)}

    return view


@pytest.fixture(scope="session")
def in_thread():
    """Runs a function beside the test: gives a function that waits for its result."""

    def start(work, *arguments):
        results, errors = [], []

        def run():
            try:
                results.append(work(*arguments))
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def result(timeout=PATIENCE_S):
            thread.join(timeout)
            assert not thread.is_alive(), "it did not end in time"
            if errors:
                raise errors[0]
            return results[0]

        return result

    return start
