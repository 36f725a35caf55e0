"""Code of others that raises anything, anywhere: credentials, sessions, transports, probes,
callbacks, filters and handlers of logging.
"""

import asyncio
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests

from bytelyst_sync import Dialect, EntityConfig, Request, SyncError, create_sync_engine
from bytelyst_sync.http.transport import Response
from bytelyst_sync.testing import SyncServer
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.leaks import left_over, no_proc, threads

SECRET = "s3cret-of-an-exception"
MAX_RETRY_DELAY_S = 0.2
SLACK_S = 3.0
CALL_S = 0.2
CALL_SLACK_S = 3.0
MOST_PER_S = 400
"""Calls into code of others in a second, of one kind: a loop without a pause makes thousands."""
WORKER = "bytelyst-sync"


class TimeoutOfOthersError(BaseException):
    """As gevent's ``Timeout``: no ``Exception``."""


KINDS = (
    RuntimeError,
    OSError,
    ValueError,
    StopIteration,
    MemoryError,
    RecursionError,
    asyncio.CancelledError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    TimeoutOfOthersError,
)


class Hostility:
    """Raises, for a share ``rate`` of the calls; counts them. Any thread may call it."""

    def __init__(self, rng: random.Random) -> None:
        self._lock = threading.Lock()
        self._rng = rng
        self.rate = 0.0
        self.calls: Counter[str] = Counter()
        self.raised: Counter[str] = Counter()

    def strike(self, place: str) -> None:
        """Perhaps raises."""
        with self._lock:
            self.calls[place] += 1
            if self._rng.random() >= self.rate:
                return
            kind = self._rng.choice(KINDS)
            self.raised[f"{place}: {kind.__name__}"] += 1
        raise kind(SECRET)

    def auth(self) -> str:
        """Credentials."""
        self.strike("auth")
        return "token"

    def probe(self) -> bool:
        """A probe."""
        self.strike("probe")
        return True

    def decide(self, _: object) -> str:
        """A conflict's callback."""
        self.strike("on_conflict")
        return "local"

    def callback(self, place: str) -> Callable[..., None]:
        """A callback of any signature."""
        return lambda *_: self.strike(place)


class HostileSession(requests.Session):
    """Raises before the request, or after the answer."""

    def __init__(self, hostility: Hostility) -> None:
        super().__init__()
        self.hostility = hostility

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Sends it between two strikes."""
        self.hostility.strike("session")
        response = super().send(request, **options)
        self.hostility.strike("session, after")
        return response


class HostileTransport:
    """A transport of the program's own, on one session for each thread."""

    def __init__(self, hostility: Hostility) -> None:
        self._hostility = hostility
        self._local = threading.local()

    def send(self, request: Request) -> Response:
        """The port's one method."""
        self._hostility.strike("transport")
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        answer = session.request(
            request.method,
            request.url,
            headers=dict(request.headers),
            data=request.body,
            timeout=2.0,
            allow_redirects=False,
        )
        self._hostility.strike("transport, after")
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers, answer.content, answer.url)


class HostileLog(logging.Handler):
    """A handler that raises, and a filter that does."""

    def __init__(self, hostility: Hostility) -> None:
        super().__init__(logging.DEBUG)
        self._hostility = hostility

    def emit(self, record: logging.LogRecord) -> None:
        """Called with each record."""
        self._hostility.strike("log handler")


@contextmanager
def hostile_logging(hostility: Hostility) -> Iterator[None]:
    """On the package's logger, at the level at which most is logged."""
    logger = logging.getLogger("bytelyst_sync")
    handler, level = HostileLog(hostility), logger.level

    def strike(_: logging.LogRecord) -> bool:
        hostility.strike("log filter")
        return True

    handler.addFilter(strike)
    logger.addHandler(handler)
    logger.addFilter(strike)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.removeFilter(strike)
        logger.setLevel(level)


class Life:
    """One engine amid hostile code; then that code behaves, and all is delivered."""

    def __init__(self, trial: Trial, server: SyncServer, number: int) -> None:
        self.rng = random.Random(trial.random.getrandbits(48))
        self.server = server
        self.hostility = Hostility(self.rng)
        self.pause = threading.Event()
        self.collection = f"c{number}"
        self.path = trial.folder / f"{number}.db"
        own = number % 2 == 0
        hostile = self.hostility
        self.engine = create_sync_engine(
            base_url=server.url,
            entities={
                "things": EntityConfig(
                    f"/{self.collection}",
                    conflict="manual",
                    on_conflict=hostile.decide,
                )
            },
            storage=self.path if self.rng.random() < 0.5 else ":memory:",
            auth=hostile.auth,
            transport=HostileTransport(hostile) if own else None,
            session_factory=None if own else lambda: HostileSession(hostile),
            probe=hostile.probe,
            probe_interval=0.1,
            pull_interval=0.2 if self.rng.random() < 0.5 else None,
            timeout=(1.0, 2.0),
            retry_delay=0.02,
            max_retry_delay=MAX_RETRY_DELAY_S,
            max_retries=10_000,
            durability="normal",
            workers=self.rng.choice((1, 4)),
            dialect=Dialect(),
            exit_timeout=0.0,
        )
        self.engine.on_status_change(hostile.callback("on_status_change"))
        self.engine.on_change(hostile.callback("on_change"))
        self.engine.on_failure(hostile.callback("on_failure"))
        self.pushed: set[str] = set()
        self.worst_s = 0.0

    def run(self) -> None:
        """The whole life."""
        engine, hostile = self.engine, self.hostility
        with hostile_logging(hostile):
            hostile.rate = self.rng.choice((0.2, 0.5, 1.0))
            for _ in range(self.rng.randint(3, 6)):
                self._push(self.rng.randint(1, 5))
                self._call()
                self._see_it_pauses()
            hostile.rate = 0.0
            self._see_it_recovers()
            self._check_texts()
            check(engine.close(timeout=5.0), "close ends the worker")

    def _push(self, count: int) -> None:
        for _ in range(count):
            key = str(self.rng.randrange(8))
            with suppress(KeyboardInterrupt):
                self.engine.save("things", {"id": key, "n": len(self.pushed), "text": "x"})
                self.pushed.add(key)
            if self.rng.random() < 0.3:
                self.server.put(self.collection, {"id": key, "n": -1, "theirs": 1})

    def _call(self) -> None:
        """What a program calls in the midst of it: ends in time, and raises no others' errors."""
        name = self.rng.choice(("flush", "pull", "full_sync", "status", "nothing"))
        watch = Stopwatch()
        # a KeyboardInterrupt on the main thread may be Ctrl-C, and is the program's
        with suppress(SyncError, KeyboardInterrupt):
            if name == "status":
                _ = self.engine.status
            elif name != "nothing":
                getattr(self.engine, name)(timeout=CALL_S)
        check(watch.fair_s < CALL_S + CALL_SLACK_S, f"{name} ends in time: {watch.seconds:.1f} s")

    def _see_it_pauses(self) -> None:
        before, began = Counter(self.hostility.calls), time.monotonic()
        self.pause.wait(self.rng.uniform(0.1, 0.3))
        seconds = max(time.monotonic() - began, 0.1)
        for place, count in (self.hostility.calls - before).items():
            if not place.startswith("log"):
                rate = count / seconds
                check(rate < MOST_PER_S, f"{place} is not called without a pause: {rate:.0f} a s")

    def _see_it_recovers(self) -> None:
        """Without a call of anybody's, but for the decisions that are a person's."""
        engine = self.engine
        watch = Stopwatch()
        while engine.queue_length and watch.fair_s < MAX_RETRY_DELAY_S + SLACK_S:
            for conflict in list(engine.conflicts()):
                engine.resolve(conflict, "local")  # one that a callback raised in is parked
            self.pause.wait(0.01)
        self.worst_s = watch.seconds
        left, failed = list(engine.queue()), list(engine.failed())
        check(
            not left and not failed,
            f"all is delivered {watch.seconds:.1f} s after the others' code behaves: {len(left)}"
            f" left, {failed[:2]}, {engine.status!r}, {engine.status.last_error};"
            f" raised before: {self.hostility.raised.most_common(4)}",
        )
        for conflict in list(engine.conflicts()):
            engine.resolve(conflict, "local")
        check(engine.full_sync(timeout=10).success, f"a sync succeeds: {engine.status!r}")
        there = self.server.records(self.collection)
        missing = self.pushed - there.keys()
        check(not missing, f"nothing is lost: {missing}")
        for key in self.pushed:
            check(self.engine.get("things", key) == there[key], f"{key}: the view is the server's")

    def _check_texts(self) -> None:
        """Texts of others' exceptions may quote secrets."""
        shown = repr(self.engine.status) + str(self.engine.status.last_error)
        check(SECRET not in shown, f"no text of an exception is shown: {shown}")
        for path in self.path.parent.glob(f"{self.path.name}*"):
            check(SECRET.encode() not in path.read_bytes(), f"none is written to {path.name}")


@scenario("threads", "code of others raises anything, anywhere: no dead, stuck or spinning worker")
def code_that_raises(trial: Trial) -> dict[str, object]:
    """Also what is no ``Exception``."""
    count = trial.rounds(6, 120)
    died: list[str] = []
    previous = threading.excepthook
    threading.excepthook = lambda reported: died.append(
        f"{reported.thread} of {reported.exc_type.__name__}"
    )
    raised: Counter[str] = Counter()
    worst = 0.0
    pushes = 0
    try:
        with SyncServer() as server:
            before = threads() if no_proc() is None else []
            for number in range(count):
                life = Life(trial, server, number)
                try:
                    life.run()
                finally:
                    life.engine.close(timeout=1.0)
                check(not died, f"no thread dies: {died[:3]}")
                raised += life.hostility.raised
                pushes += len(life.pushed)
                worst = max(worst, life.worst_s)
            left = left_over(before, threads()) if no_proc() is None else []
            left = [name for name in left if name.startswith(WORKER[:15])]
            check(not left, f"no thread is left: {left}")
    finally:
        threading.excepthook = previous
    places = {each.partition(":")[0] for each in raised}
    return {
        "engines": count,
        "raised": raised.total(),
        "kinds": len({each.rpartition(" ")[2] for each in raised}),
        "places": len(places),
        "slowest to recover s": worst,
        "threads died": 0,
    }
