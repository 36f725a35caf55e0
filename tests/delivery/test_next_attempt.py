"""No state strands an item: whatever blocks delivery, the next attempt comes within
``max_retry_delay``, or when the server asked for it, and what was blocked is delivered soon after
the trouble ends. Nobody calls ``flush``.
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bytelyst_sync import (
    OfflineError,
    Request,
    SyncEngine,
    SyncStatus,
    TransportError,
    create_sync_engine,
)
from bytelyst_sync.http.failures import failure
from bytelyst_sync.http.transport import Response
from bytelyst_sync.testing import ManualClock, Seen
from bytelyst_sync.testing.raw import RecordedRequest
from bytelyst_sync.testing.store import Rules, Store
from tests.typed import Eventually

URL = "http://api.example.com"
LONGEST_S = 300.0
JITTER_S = (0.25, 0.25, 0.25)
"""More than the jitter after a reconnect."""
SPARE_S = (*JITTER_S, LONGEST_S, *JITTER_S, LONGEST_S, *JITTER_S)
"""A wait that the engine began while the clock was being moved ends that much later."""
POLLS = 20
PAGE = b"<html>Please sign in</html>"
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html"}


def answer(
    status: int, headers: dict[str, str] | None = None, body: bytes = b"{}"
) -> Callable[..., Response]:
    return lambda world, seen: Response(status, {**JSON, **(headers or {})}, body, URL + seen.path)


def page(status: int) -> Callable[..., Response]:
    return answer(status, HTML, PAGE)


def raises(make_error: Callable[..., Any]) -> "Callable[[World | int, Seen | int], None]":
    def play(world: "World | int", seen: Seen | int) -> None:
        raise make_error()

    return play


def lost(world: "World", seen: Seen) -> None:
    world.store.handle(seen)
    raise TransportError("the answer was lost")


def one_record_fails(world: "World", seen: Seen) -> Response | None:
    if seen.method != "GET" and "bad" in str(seen.body):
        return answer(500)(world, seen)
    return None


TROUBLES: dict[str, Callable[..., Any]] = {
    "no network": raises(lambda: OfflineError("no route")),
    "no CA bundle": raises(
        lambda: failure(OSError("Could not find a suitable TLS CA certificate bundle"), URL)
    ),
    "code that raises": raises(lambda: RuntimeError("a bug of the transport")),
    "portal": page(200),
    "login elsewhere": answer(302, {"location": "http://portal.example/login"}),
    "407": answer(407),
    "401": answer(401),
    "429": answer(429),
    "429, an hour": answer(429, {"retry-after": "3600"}),
    "503, a minute": answer(503, {"retry-after": "60"}),
    "503": answer(503),
    "502 page, a day": answer(502, {**HTML, "retry-after": "86400"}, PAGE),
    "backoff": answer(500, {"backoff": "1000"}),
    "500": answer(500),
    "408": answer(408),
    "404 page": page(404),
    "lost answers": lost,
    "one record": one_record_fails,
}
AUTH: dict[str, Callable[..., Any]] = {
    "a token": lambda: "good",
    "no network": raises(lambda: OfflineError("no route")),
    "raises": raises(lambda: ValueError("no such user")),
    "nothing": lambda: None,
}
PROBES: dict[str, Callable[..., Any]] = {
    "true": lambda: True,
    "false": lambda: False,
    "raises": raises(lambda: OSError("?")),
}


class World:
    """A server and the way to it, each with a trouble of its own or none."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(Rules(clock=self.clock.wall))
        self.trouble: str | None = None
        self.auth, self.probe = "a token", "true"
        self.attempts = 0
        self.asked_until = 0.0
        """Until when the server wants no request."""
        self._lock = threading.Lock()

    def attempted(self) -> None:
        with self._lock:
            self.attempts += 1

    def send(self, request: Request) -> Response:
        self.attempted()
        target = request.url.removeprefix(URL)
        seen = RecordedRequest.of(request.method, target, request.headers, request.body or b"")
        response = None
        if self.trouble is not None:
            response = TROUBLES[self.trouble](self, seen)
        if response is None:
            done = self.store.handle(seen)
            headers = {name.lower(): value for name, value in done.headers.items()}
            response = Response(done.status, headers, done.body, request.url)
        asked = [response.headers.get(name) for name in ("retry-after", "backoff")]
        for seconds in map(float, filter(None, asked)):
            if response.headers.get("content-type") == "text/html":
                seconds = min(seconds, LONGEST_S)  # noqa: PLW2901 - a page asks for no more
            self.asked_until = max(self.asked_until, self.clock.monotonic() + seconds)
        return response

    def token(self) -> Any:
        self.attempted()
        auth = AUTH[self.auth]
        return auth() if self.auth in ("a token", "nothing") else auth(0, 0)

    def is_there(self) -> Any:
        probe = PROBES[self.probe]
        return probe() if self.probe != "raises" else probe(0, 0)

    def heal(self) -> None:
        self.trouble, self.auth = None, "a token"

    def longest_wait(self) -> float:
        asked = self.asked_until - self.clock.monotonic()
        return max(LONGEST_S, asked) + 0.001


STEPS = st.lists(
    st.tuples(
        st.sampled_from([None, *TROUBLES]),
        st.sampled_from(["a token", "a token", *AUTH]),
        st.sampled_from([0.0, 0.7, 40.0, 1000.0]),
        st.sampled_from(["none", "ok", "bad"]),
    ),
    min_size=1,
    max_size=5,
)


class Patience:
    """Asks whether it holds, and lets the clock go on a little when the engine has had time to act:
    a probe that succeeds is followed by the attempt after a random share of half a second.
    """

    def __init__(
        self,
        world: World,
        holds: Callable[..., bool],
        steps: tuple[float, ...] | list[float] = SPARE_S,
    ) -> None:
        self.world, self.holds = world, holds
        self.steps = list(steps)
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        if self.holds():
            return True
        if self.steps and self.asked % POLLS == 0:
            self.world.clock.advance(self.steps.pop(0))
        return False


def waits_for_an_attempt(world: World, engine: SyncEngine, eventually: Eventually) -> None:
    """The clock passes the longest wait there may be; something is tried, or nothing is left."""
    since = world.attempts
    world.clock.advance(world.longest_wait())
    eventually(Patience(world, lambda: world.attempts > since or not engine.queue_length))
    # what an answer asks for counts from when the engine has taken it in
    eventually(lambda: engine.status.status is not SyncStatus.SYNCING)


def go_through(
    steps: Any,
    eventually: Eventually,
    *,
    probe: str | None,
    workers: int = 1,
) -> None:
    """Plays the steps (trouble, auth, seconds, what is pushed); then all is well again."""
    world = World()
    world.probe = probe or "true"
    engine = create_sync_engine(
        base_url=URL,
        entities={"notes": "/notes"},
        storage=":memory:",
        transport=world,
        clock=world.clock,
        auth=world.token,
        probe=None if probe is None else world.is_there,
        retry_delay=1.0,
        max_retry_delay=LONGEST_S,
        max_retries=10**6,
        give_up_after=1e9,
        workers=workers,
    )
    with engine:
        pushed: set[Any] = set()
        for number, (trouble, auth, seconds, push) in enumerate(steps):
            world.trouble, world.auth = trouble, auth
            if push != "none" or not pushed:
                key = f"{push}{number}"
                pushed.add(key)
                engine.push("notes", {"id": key})
            eventually(lambda: engine.status.status is not SyncStatus.SYNCING)
            world.clock.advance(seconds)
            for _ in range(2):
                waits_for_an_attempt(world, engine, eventually)
            assert not list(engine.failed()), "nothing failed that heals by itself"
        world.heal()
        # an attempt that began before may fail after it
        steps = [world.longest_wait(), *SPARE_S]
        eventually(Patience(world, lambda: not engine.queue_length, steps))
        assert set(world.store.records("notes")) == pushed


@pytest.mark.parametrize("probe", [None, "true", "false"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_next_attempt_after_one_trouble_is_in_time(
    eventually: Eventually, trouble: str, probe: str | None
) -> None:
    go_through([(trouble, "a token", 0.7, "bad")], eventually, probe=probe)


@pytest.mark.parametrize("auth", AUTH)
def test_the_next_attempt_after_trouble_with_credentials_is_in_time(
    eventually: Eventually, auth: str
) -> None:
    go_through([("401", auth, 0.7, "ok"), (None, auth, 0.7, "ok")], eventually, probe=None)


@pytest.mark.parametrize("probe", [None, *PROBES])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_next_attempt_after_any_troubles_is_in_time(
    eventually: Eventually, probe: str | None, workers: int
) -> None:
    @settings(
        max_examples=12,
        deadline=None,
        phases=[Phase.generate],  # an example that fails takes ten seconds
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def run(steps: list[tuple[str | None, str, float, str]]) -> None:
        go_through(steps, eventually, probe=probe, workers=workers)

    run()
