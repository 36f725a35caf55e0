"""How many requests are under way at once, and on which threads."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bytelyst_sync.transport.base import Response

WORKER = "bytelyst-sync"


class Slow:
    """A transport that waits; it notes how many requests were under way, and on which threads."""

    def __init__(self, wait_s):
        self.wait_s = wait_s
        self.threads = []
        self.most = 0
        self._under_way = 0
        self._lock = threading.Lock()

    def send(self, request):
        with self._lock:
            self.threads.append(threading.current_thread().name)
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        if self.wait_s:
            threading.Event().wait(self.wait_s)
        with self._lock:
            self._under_way -= 1
        return Response(200, {"content-type": "application/json"}, b"{}", request.url)


def deliver(engine, count, entity="notes"):
    engine.push_many(entity, [{"id": f"{entity} {number}"} for number in range(count)])
    assert engine.flush(timeout=30).remaining == 0


def test_where_nothing_waits_the_worker_sends_by_itself(held):
    transport = Slow(0)
    deliver(held(transport=transport, workers=8), 300)
    # what other processes hold up may look like waiting, for a moment
    assert transport.threads.count(WORKER) > 200
    assert set(transport.threads[-50:]) == {WORKER}


@pytest.mark.parametrize("workers", [2, 8])
def test_where_waiting_dominates_there_are_as_many_as_allowed(held, workers):
    transport = Slow(0.02)
    deliver(held(transport=transport, workers=workers), 40 * workers)
    assert transport.most == workers
    assert transport.threads[0] == WORKER, "it begins with one"


def test_one_worker_stays_one_thread(held):
    transport = Slow(0.01)
    deliver(held(transport=transport), 30)
    assert (set(transport.threads), transport.most) == ({WORKER}, 1)


def test_when_the_wait_ends_the_worker_is_alone_again(held):
    transport = Slow(0.02)
    engine = held(transport=transport, workers=4)
    deliver(engine, 80)
    assert transport.most == 4
    transport.wait_s = 0
    deliver(engine, 300, "tasks")
    assert set(transport.threads[-50:]) == {WORKER}


def test_a_silent_request_does_not_hold_up_the_others(held):
    transport = Slow(0.02)
    engine = held(transport=transport, workers=4)
    deliver(engine, 80)
    silent = threading.Event()
    answer = transport.send

    def stall(request):
        if b'"stalled"' in request.body:
            assert silent.wait(10)
        return answer(request)

    transport.send = stall
    stalled = engine.push("notes", {"id": "stalled"})
    others = engine.push_many("tasks", [{"id": number} for number in range(60)])
    flush = threading.Thread(target=engine.flush, args=(20,))
    flush.start()
    assert [engine.wait(item, timeout=10) for item in others] == ["delivered"] * 60
    assert engine.wait(stalled, timeout=0) == "sending"
    silent.set()
    flush.join(10)
    assert engine.wait(stalled, timeout=10) == "delivered"


@pytest.fixture
def crowded():
    """A server that bears four requests at a time, and answers 429 to the fifth."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        lock, under_way, told = threading.Lock(), 0, Counter()

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            with self.lock:
                busy = Handler.under_way >= 4
                Handler.under_way += not busy
                self.told[429 if busy else 200] += 1
                self.told["most"] = max(self.told["most"], Handler.under_way)
            if not busy:
                threading.Event().wait(0.02)
                with self.lock:
                    Handler.under_way -= 1
            self.send_response(429 if busy else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.told = Handler.told
        yield server
        server.shutdown()
        thread.join(5)


def test_it_finds_out_how_many_a_server_bears(make, crowded):
    engine = make(base_url=crowded.url, workers=16)
    items = engine.push_many("notes", [{"id": number} for number in range(400)])
    assert engine.wait(items[-1], timeout=30) == "delivered"
    assert engine.flush(timeout=30).remaining == 0
    assert crowded.told[200] == 400
    assert crowded.told["most"] == 4
    assert 0 < crowded.told[429] <= 20, "under a twentieth"


def test_where_no_thread_can_begin_the_worker_sends_by_itself(held, monkeypatch):
    """As while the interpreter ends, on Python 3.12; or where there are too many."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "bytelyst-sync-send":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    transport = Slow(0.01)
    engine = held(transport=transport, workers=4)
    deliver(engine, 40)
    assert transport.most == 4
    engine._runtime.worker._deliverer._pipe.close(10)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    del transport.threads[:]
    deliver(engine, 20, entity="tasks")
    assert set(transport.threads) == {WORKER}
