"""Which thread sends a claim, how many are made ahead of it, and which are given back."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from bytelyst_sync.delivery import sender_pool
from bytelyst_sync.delivery.batching import Batcher
from bytelyst_sync.delivery.sender_pool import Room, SenderPool, Slices
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.outcome import Outcome
from bytelyst_sync.rules.classify import Verdict

BOUND_S = 30.0
DELIVERED = AttemptResult(meaning=Verdict.DELIVERED, status=201)
FAST_S, SLOW_S, COMMIT_S = 0.001, 0.3, 0.1


class Server:
    """Answers after so many seconds of a clock that nothing else moves; it may hold an answer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.takes_s = SLOW_S
        self.threads: dict[Any, Any] = {}
        self.held: dict[Any, Any] = {}

    def monotonic(self) -> float:
        return self.now

    def send(self, group: Any) -> Outcome:
        (name,) = group
        self.threads[name] = threading.current_thread()
        began, go = self.held.get(name, (threading.Event(), None))
        began.set()
        assert go is None or go.wait(BOUND_S)
        self.now += self.takes_s
        return Outcome([(cast("Any", name), DELIVERED)])

    def hold(self, name: str) -> tuple[threading.Event, threading.Event]:
        self.held[name] = threading.Event(), threading.Event()
        found: tuple[threading.Event, threading.Event] = self.held[name]
        return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(sender_pool, "_clock", made)
    return made


@pytest.fixture
def new_pool(server: Server) -> Iterator[Callable[..., Any]]:
    made = []

    def new(*, shared: bool) -> Any:
        slices = Slices(length_s=0.05, items=1000, shared=shared)
        batcher = Batcher({}, {})
        pool = SenderPool(server.send, batcher, workers=1, batch_size=100, slices=slices)
        made.append(pool)
        return pool

    yield new
    for began, go in server.held.values():
        began.set()
        go.set()
    for pool in made:
        assert pool.close(BOUND_S)


def deliver(pool: Any, server: Server, *names: str) -> list[str]:
    """What the worker does: the commit before it takes some time."""
    server.now += COMMIT_S
    pool.submit(list(names))
    return [name for name, _ in pool.collect(lambda: False)]


def test_in_a_shared_queue_the_next_request_begins_before_the_answer_is_settled(
    server: Server, new_pool: Callable[..., Any]
) -> None:
    pool = new_pool(shared=True)
    assert deliver(pool, server, "first") == ["first"]
    assert pool.room() == Room(1)
    began, go = server.hold("second")
    pool.submit(["second"])
    server.now += COMMIT_S
    collecting = threading.Thread(target=pool.collect, args=(lambda: False,))
    collecting.start()
    assert began.wait(BOUND_S)
    while collecting.is_alive():  # until it sees that its slice has ended
        server.now += COMMIT_S
        collecting.join(0.01)
    assert server.threads["first"] is threading.current_thread()
    assert server.threads["second"] is not threading.current_thread()
    assert pool.room() == Room(0, 1), "nobody would begin it at once"
    third, _ = server.hold("third")
    pool.submit(["third"])
    assert not third.is_set()
    go.set()
    assert third.wait(BOUND_S), "it begins while the worker is away"
    assert pool.room() == Room(0, 1)


def test_alone_in_a_queue_it_claims_nothing_ahead(
    server: Server, new_pool: Callable[..., Any]
) -> None:
    pool = new_pool(shared=False)
    for name in ("first", "second", "third"):
        assert deliver(pool, server, name) == [name]
        assert pool.room() == Room(1)
    assert set(server.threads.values()) == {threading.current_thread()}


def test_quick_commits_are_not_worth_a_claim_ahead(
    server: Server, new_pool: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.COMMIT_S", SLOW_S / 1000)
    pool = new_pool(shared=True)
    for name in ("first", "second", "third"):
        assert deliver(pool, server, name) == [name]
        assert pool.room() == Room(1)
    assert set(server.threads.values()) == {threading.current_thread()}


@pytest.mark.parametrize(("shared", "given_back"), [(True, 48), (False, 0)])
def test_when_the_server_becomes_slow_others_get_what_was_claimed(
    server: Server, new_pool: Callable[..., Any], shared: bool, given_back: int
) -> None:
    pool = new_pool(shared=shared)
    server.takes_s = FAST_S
    deliver(pool, server, "first")
    assert 40 < pool.room().now <= 50
    names = [f"{number}" for number in range(50)]
    server.takes_s = 3.0
    assert deliver(pool, server, *names) == ["0"]
    left = pool.surplus()
    assert sorted(left, key=int) == names[50 - given_back :]
    assert pool.in_flight == 49 - given_back, "the earliest ones stay here"
