"""What holds for every test, and engines on a transport that answers as it is told."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

import pytest

from bytelyst_sync import OfflineError, SyncEngine, TransportError, create_sync_engine
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.model import Json
from bytelyst_sync.safe_logging import forget_bursts
from bytelyst_sync.testing import SyncServer
from bytelyst_sync.testing.raw import RecordedRequest
from bytelyst_sync.testing.store import Rules, Store
from tests.typed import Eventually, InThread, NewEngine, NewPage, P, T, ViewOf

PATIENCE_S = 10.0
THREADS = "bytelyst-sync"
GRACE_S = 1.0

ScriptedAnswer = Response | BaseException | Callable[[Request], Response | BaseException]


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    """Fail a test after which threads of the package, started in it, still run.

    An engine of a wider fixture may keep its threads. The grace is for a thread that was told to
    end, but not waited for.
    """
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + GRACE_S
    started = [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.name.startswith(THREADS)
    ]
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
    left = [thread.name for thread in started if thread.is_alive()]
    if left:
        pytest.fail(f"threads left behind: {', '.join(left)}", pytrace=False)


@pytest.fixture(autouse=True)
def no_burst_of_an_earlier_test() -> None:
    """Have each test see its own first line of each kind."""
    forget_bursts()


class Scripted:
    """A transport that answers with what it was given: responses, exceptions, or functions of
    the request. The last one stays.
    """

    def __init__(self, *answers: ScriptedAnswer) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def send(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def new_engine() -> Iterator[NewEngine]:
    """Makes engines that are closed after the test and deliver only in ``flush`` unless told."""
    with contextlib.ExitStack() as stack:

        def make(url: str = "http://server.invalid", **settings: Any) -> SyncEngine:
            options: Json = {
                "base_url": url,
                "entities": {"notes": "/notes"},
                "storage": ":memory:",
                "auto_flush": False,
                "probe": None,
                "retry_delay": 1e-5,
                "max_retry_delay": 1e-5,
                "timeout": 10.0,
                **settings,
            }
            engine = create_sync_engine(**options)
            stack.callback(engine.close)
            return engine

        yield make


@pytest.fixture(name="scripted", scope="session")
def scripted_class() -> type[Scripted]:
    return Scripted


@pytest.fixture(scope="session")
def page() -> NewPage:
    """A response that is a page of records, or any other JSON."""

    def make(
        *items: object, status: int = 200, headers: dict[str, str] | None = None, **members: object
    ) -> Response:
        body = {"items": list(items), "cursor": "c1", "has_more": False, **members}
        return Response(status, headers or {}, json.dumps(body).encode(), "")

    return make


class Wire:
    """A network in process, between one client and a ``Store``: a transport.

    ``online=False`` refuses connections. ``lose`` is asked after each write has been processed,
    and says whether its answer is lost. ``before`` is called ahead of each request, ``after``
    once it was processed and before its answer arrives.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self.clock = clock
        self.online = True
        self.lose: Callable[[], object] = lambda: False
        self.before: Callable[[Any], object] = lambda seen: None
        self.after: Callable[[RecordedRequest], object] = lambda seen: None
        self.seen: list[RecordedRequest] = []

    def send(self, request: Request) -> Response:
        if not self.online:
            raise OfflineError("the wire is cut")
        parts = urlsplit(request.url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        seen = RecordedRequest.of(request.method, target, request.headers, request.body or b"")
        self.seen.append(seen)
        self.before(seen)
        answer = self.store.handle(seen)
        self.after(seen)
        if request.method not in ("GET", "HEAD") and self.lose():
            raise TransportError("the answer was lost")
        headers = {name.lower(): value for name, value in answer.headers.items()}
        headers["date"] = formatdate(self.clock(), usegmt=True)
        return Response(answer.status, headers, answer.body, request.url)


def eventually(predicate: Callable[[], T | None], timeout: float = PATIENCE_S) -> T:
    """Asks until it holds; for what another thread or process brings about on its own."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (found := predicate()):
        if time.monotonic() > deadline:
            pytest.fail("it did not come to pass in time")
        pause.wait(0.005)
    return found


@pytest.fixture(name="new_wire", scope="session")
def wire_class() -> type[Wire]:
    return Wire


@pytest.fixture
def wire() -> Wire:
    """A wire to a server of its own, in process."""
    return Wire(Store(Rules()))


@pytest.fixture
def server() -> Iterator[SyncServer]:
    """A server of the test's own, on the loopback interface."""
    with SyncServer() as running:
        yield running


@pytest.fixture(name="eventually", scope="session")
def eventually_function() -> Eventually:
    return eventually


@pytest.fixture(scope="session")
def view_of() -> ViewOf:
    """The local view of an entity by id."""

    def view(engine: SyncEngine, entity: str = "notes") -> dict[str, Json]:
        return {str(record["id"]): record for record in engine.records(entity)}

    return view


@pytest.fixture(scope="session")
def in_thread() -> InThread:
    """Runs a function beside the test: gives a function that waits for its result."""

    def start(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Callable[..., T]:
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work(*arguments, **named))
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def result(timeout: float = PATIENCE_S) -> T:
            thread.join(timeout)
            assert not thread.is_alive(), "it did not end in time"
            if errors:
                raise errors[0]
            return results[0]

        return result

    return start
