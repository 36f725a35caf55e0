"""A proxy between a client and a server that does to each request what the weather says.

Who owns what: one thread accepts, one thread per connection reads requests, passes them on and
answers. The lock guards the counts and the table of live connections; it is never held while a
socket is at work. ``refuse`` and ``admit`` are for one thread at a time.
"""

import http.client
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress

import attrs

from bytelyst_sync.testing.raw import Answer, Line
from tests.torture.watchdog import Pulse

__all__ = ["NEVER", "Calm", "Exchange", "FaultProxy"]

NEVER = -1e9
_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive"})
_ANSWER_HOP = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive"})


class Calm:
    """The weather in which nothing happens."""

    def draw(self, seen):
        """Nothing."""
        return


@attrs.define
class Exchange:
    """One request in the proxy's hands: what a fault may do to it.

    ``forward`` has the server process the request and returns its answer; whether a fault calls
    it before or after it strikes is the difference between "lost" and "done, and nobody told".
    """

    line: Line
    seen: object
    forward: object

    @property
    def is_head(self):
        """Whether the answer has no body."""
        return self.seen.method == "HEAD"

    def answer(self, answer):
        """Answers as a server would; the connection stays open."""
        closing = self.seen.headers.get("connection", "").lower() == "close"
        if closing:
            answer = with_headers(answer, Connection="close")
        self.line.send(answer.encode(head_only=self.is_head))
        return not closing


def with_headers(answer, **more):
    """The answer with more headers."""
    return Answer(answer.status, {**answer.headers, **more}, answer.body)


class FaultProxy:
    """Listens on loopback and passes on to ``upstream``, a host and a port; a context manager.

    ``weather.draw(seen)`` gives each request's fault, an object with a ``name`` and a
    ``play(exchange)`` that says whether the connection stays open; ``None`` lets it through. May
    be replaced at any time. ``batch(seen, forward)`` answers what the server itself does not
    serve, or returns ``None``.
    """

    def __init__(self, upstream, weather=None, *, batch=None):
        self.weather = weather or Calm()
        self._upstream = upstream
        self._batch = batch
        self._lock = threading.Lock()
        self.requests = 0
        self.faults = Counter()
        self.in_flight = 0
        self.last_request = NEVER
        self.last_answer = NEVER
        self.closing = threading.Event()
        self._live = {}
        self._listener = self._bound(0)
        self.port = self._listener.getsockname()[1]
        self._held = None
        self._accepting = None
        self.admit()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def refusing(self):
        """Whether connections are refused now."""
        return self._held is not None

    def pulse(self):
        """When somebody last asked for or was given something, and how much is under way."""
        return Pulse(max(self.last_request, self.last_answer), self.in_flight)

    # --- connections as such

    def _bound(self, port):
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def admit(self):
        """Listens, after ``refuse`` again."""
        listener, self._held = self._held or self._listener, None
        listener.listen(1024)
        self._listener = listener
        self._accepting = threading.Thread(
            target=self._accept, args=(listener,), name="torture-proxy-accept", daemon=True
        )
        self._accepting.start()

    def refuse(self):
        """Resets the live connections and refuses new ones, on a port that stays its own."""
        self._stop_listening()
        self._held = self._bound(self.port)
        self.cut()

    @contextmanager
    def outage(self):
        """Refuses inside of the block."""
        self.refuse()
        try:
            yield
        finally:
            self.admit()

    def cut(self):
        """Resets the live connections, whatever they are at."""
        with self._lock:
            live = list(self._live.values())
        for sock in live:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _stop_listening(self):
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._accepting.join(5)
        self._listener.close()

    def close(self, timeout=5.0):
        """Ends everything; threads are joined within the timeout."""
        deadline = time.monotonic() + timeout
        self.closing.set()
        if self._held is not None:
            self._held.close()
        else:
            self._stop_listening()
        self.cut()
        with self._lock:
            threads = list(self._live)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self, listener):
        while True:
            try:
                sock, address = listener.accept()
            except OSError:
                return
            thread = threading.Thread(
                target=self._run, args=(sock, address), name="torture-proxy-line", daemon=True
            )
            self.last_request = time.monotonic()
            with self._lock:
                self._live[thread] = sock
            thread.start()

    def _run(self, sock, address):
        try:
            with suppress(OSError, ValueError, http.client.HTTPException):
                Line(sock, address, self)
        finally:
            sock.close()
            with self._lock:
                self._live.pop(threading.current_thread(), None)

    # --- requests

    def serve(self, line):
        """Called by ``Line`` with each connection."""
        upstream = _Upstream(*self._upstream)
        try:
            open_ = True
            while open_ and (seen := line.read()) is not None:
                with self._lock:
                    self.requests += 1
                    self.in_flight += 1
                    self.last_request = time.monotonic()
                try:
                    open_ = self._exchange(line, seen, upstream)
                finally:
                    with self._lock:
                        self.in_flight -= 1
                        self.last_answer = time.monotonic()
        finally:
            upstream.close()

    def _exchange(self, line, seen, upstream):
        def forward():
            answer = self._batch(seen, upstream.send) if self._batch is not None else None
            return upstream.send(seen) if answer is None else answer

        exchange = Exchange(line, seen, forward)
        fault = self.weather.draw(seen)
        if fault is None:
            return exchange.answer(forward())
        with self._lock:
            self.faults[fault.name] += 1
        return fault.play(exchange)


class _Upstream:
    """One connection to the server, opened again when it is gone."""

    def __init__(self, host, port):
        self._connection = http.client.HTTPConnection(host, port, timeout=30)

    def send(self, seen):
        """The server's answer."""
        target = seen.head.split(b" ", 2)[1].decode("latin-1") if seen.head else seen.path
        headers = {name: value for name, value in seen.headers.items() if name not in _HOP}
        self._connection.request(seen.method, target, seen.content or None, headers)
        response = self._connection.getresponse()
        body = response.read()
        kept = {
            name: value for name, value in response.getheaders() if name.lower() not in _ANSWER_HOP
        }
        return Answer(response.status, kept, body)

    def close(self):
        """Closes the connection."""
        self._connection.close()
