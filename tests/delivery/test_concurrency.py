"""How many requests are under way at once, and on which threads."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from bytelyst_sync import Request, SyncEngine, SyncError
from bytelyst_sync.delivery.dispatcher import Dispatcher
from bytelyst_sync.delivery.sender_pool import Room, SenderPool
from bytelyst_sync.http.transport import Response
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.testing import SyncServer
from tests.typed import present

WORKER = "bytelyst-sync"
SLICE_S = 0.05
BOUND_S = 30.0


class Slow:
    """A transport that waits; it notes how many requests were under way, and on which threads."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self.threads: list[Any] = []
        self.most = 0
        self._under_way = 0
        self._lock = threading.Lock()

    def send(self, request: Request) -> Response:
        with self._lock:
            self.threads.append(threading.current_thread().name)
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        if self.wait_s:
            threading.Event().wait(self.wait_s)
        with self._lock:
            self._under_way -= 1
        return Response(200, {"content-type": "application/json"}, b"{}", request.url)


def deliver(engine: SyncEngine, count: int, entity: str = "notes") -> None:
    engine.push_many(entity, [{"id": f"{entity} {number}"} for number in range(count)])
    assert engine.flush(timeout=30).remaining == 0


def test_where_nothing_waits_the_worker_sends_by_itself(held: Callable[..., SyncEngine]) -> None:
    transport = Slow(0)
    deliver(held(transport=transport, workers=8), 300)
    # what other processes hold up may look like waiting, for a moment
    assert transport.threads.count(WORKER) > 200
    assert set(transport.threads[-50:]) == {WORKER}


@pytest.mark.parametrize("workers", [2, 8])
def test_where_waiting_dominates_there_are_as_many_as_allowed(
    held: Callable[..., SyncEngine], workers: int
) -> None:
    transport = Slow(0.02)
    deliver(held(transport=transport, workers=workers), 40 * workers)
    assert transport.most == workers
    assert transport.threads[0] == WORKER, "it begins with one"


def test_one_worker_stays_one_thread(held: Callable[..., SyncEngine]) -> None:
    transport = Slow(0.01)
    deliver(held(transport=transport), 30)
    assert (set(transport.threads), transport.most) == ({WORKER}, 1)


def test_when_the_wait_ends_the_worker_is_alone_again(held: Callable[..., SyncEngine]) -> None:
    transport = Slow(0.02)
    engine = held(transport=transport, workers=4)
    deliver(engine, 80)
    assert transport.most == 4
    transport.wait_s = 0
    deliver(engine, 300, "tasks")
    assert set(transport.threads[-50:]) == {WORKER}


def test_a_silent_request_does_not_hold_up_the_others(held: Callable[..., SyncEngine]) -> None:
    transport = Slow(0.02)
    engine = held(transport=transport, workers=4)
    deliver(engine, 80)
    silent = threading.Event()
    answer = transport.send

    def stall(request: Request) -> Response:
        if b'"stalled"' in present(request.body):
            assert silent.wait(10)
        return answer(request)

    transport.send = stall  # type: ignore[method-assign]  # replaced by the test
    stalled = engine.push("notes", {"id": "stalled"})
    others = engine.push_many("tasks", [{"id": number} for number in range(60)])
    flush = threading.Thread(target=engine.flush, args=(20,))
    flush.start()
    assert [engine.wait(item, timeout=10) for item in others] == ["delivered"] * 60
    assert engine.wait(stalled, timeout=0) == "sending"
    silent.set()
    flush.join(10)
    assert engine.wait(stalled, timeout=10) == "delivered"


class Crowded(ThreadingHTTPServer):
    daemon_threads = True
    url: str
    reported: Counter[Any]


@pytest.fixture
def stalled(
    make: Callable[..., SyncEngine], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SyncEngine, Counter[Any], threading.Semaphore]]:
    """An engine whose only request stands still on a sender thread; ``calls`` counts what its
    worker does.
    """
    transport = Slow(0.02)
    engine = make(transport=transport, workers=2)
    deliver(engine, 40)
    assert transport.most == 2
    arrived = threading.Event()
    go = threading.Event()
    calls: Counter[str] = Counter()
    looked = threading.Semaphore(0)
    answer, collect = transport.send, SenderPool.collect
    settle = Dispatcher.settle_and_claim

    def stall(request: Request) -> Response:
        arrived.set()
        assert go.wait(BOUND_S)
        return answer(request)

    def count_collects(
        pool: SenderPool, stopped: Callable[[], bool]
    ) -> list[tuple[Claim, AttemptResult]]:
        calls["collect"] += 1
        looked.release()
        return collect(pool, stopped)

    def count_commits(dispatcher: Dispatcher, room: Room) -> bool:
        calls["commit"] += 1
        return settle(dispatcher, room)

    transport.send = stall  # type: ignore[method-assign]  # replaced by the test
    engine.push("notes", {"id": "stalled"})
    assert arrived.wait(BOUND_S)
    monkeypatch.setattr(SenderPool, "collect", count_collects)
    monkeypatch.setattr(Dispatcher, "settle_and_claim", count_commits)
    yield engine, calls, looked
    go.set()


def test_while_a_request_is_under_way_and_nothing_is_ready_no_commit_is_made(
    stalled: tuple[SyncEngine, Counter[Any], threading.Semaphore],
) -> None:
    _, calls, looked = stalled
    for _ in range(8):
        assert looked.acquire(timeout=BOUND_S)
    assert calls["commit"] == 0


def test_closing_waits_for_a_request_under_way_without_looking_all_the_time(
    stalled: tuple[SyncEngine, Counter[Any], threading.Semaphore],
) -> None:
    engine, calls, _ = stalled
    began, before = time.monotonic(), calls["collect"]
    assert engine.close(timeout=0.5) is False
    looks = calls["collect"] - before
    assert looks <= 3 + (time.monotonic() - began) / SLICE_S


@pytest.fixture
def crowded() -> Iterator[ThreadingHTTPServer]:
    """A server that bears four requests at a time, and answers 429 to the fifth."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        lock = threading.Lock()
        under_way = 0
        reported: ClassVar[Counter[Any]] = Counter()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with self.lock:
                busy = Handler.under_way >= 4
                Handler.under_way += not busy
                self.reported[429 if busy else 200] += 1
                self.reported["most"] = max(self.reported["most"], Handler.under_way)
            if not busy:
                threading.Event().wait(0.02)
                with self.lock:
                    Handler.under_way -= 1
            self.send_response(429 if busy else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: str) -> None:
            """Says nothing."""

    with Crowded(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.reported = Handler.reported
        yield server
        server.shutdown()
        thread.join(5)


def test_it_finds_out_how_many_a_server_bears(
    make: Callable[..., SyncEngine], crowded: Crowded
) -> None:
    engine = make(base_url=crowded.url, workers=16)
    items = engine.push_many("notes", [{"id": number} for number in range(400)])
    assert engine.wait(items[-1], timeout=30) == "delivered"
    assert engine.flush(timeout=30).remaining == 0
    assert crowded.reported[200] == 400
    assert crowded.reported["most"] == 4
    assert 0 < crowded.reported[429] <= 20, "under a twentieth"


def test_where_no_thread_can_begin_the_worker_sends_by_itself(
    held: Callable[..., SyncEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the interpreter ends, on Python 3.12; or where there are too many."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "bytelyst-sync-send":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    transport = Slow(0.01)
    engine = held(transport=transport, workers=4)
    deliver(engine, 40)
    assert transport.most == 4
    engine._core.running().worker._dispatcher._pool.close(10)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    del transport.threads[:]
    deliver(engine, 20, entity="tasks")
    assert set(transport.threads) == {WORKER}


@pytest.mark.parametrize(
    "call",
    [SyncEngine.flush, SyncEngine.pull, SyncEngine.full_sync, SyncEngine.start, SyncEngine.resume],
)
def test_where_no_worker_can_begin_a_call_says_so_and_the_next_one_delivers(
    make: Callable[..., SyncEngine],
    monkeypatch: pytest.MonkeyPatch,
    server: SyncServer,
    call: Callable[[SyncEngine], object],
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    engine = make(base_url=server.url)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        engine.push("notes", {"id": "1"})
        with pytest.raises(SyncError, match=r"no thread .*can't start new thread.* stays queued"):
            call(engine)
        assert engine.queue_length == 1
    result = engine.flush(timeout=10)
    assert (result.success, result.pushed) == (True, 1)
