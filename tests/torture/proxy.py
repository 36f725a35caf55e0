"""A proxy between a client and a server that treats each request as its schedule of faults says.

Who owns what: one thread accepts, one thread per connection reads requests, passes them on and
answers. The lock guards the counts and the table of live connections; it is never held while a
socket is at work. ``refuse`` and ``admit`` are for one thread at a time.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from bytelyst_sync.testing.raw import Answer, Connection, RecordedRequest
from tests.torture.faults import Fault
from tests.torture.watchdog import Pulse

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NEVER", "Calm", "Exchange", "FaultProxy"]

NEVER = -1e9
_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive"})
_ANSWER_HOP = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive"})


class Calm:
    """A schedule without faults."""

    def draw(self, seen: RecordedRequest) -> None:
        """Nothing."""
        return


@attrs.define
class Exchange:
    """One request in the proxy's hands: what a fault may do to it.

    ``forward`` has the server process the request and returns its answer; whether a fault calls
    it before or after it strikes is the difference between "lost" and "done, and nobody told".
    """

    line: Connection
    seen: RecordedRequest
    forward: Callable[[], Answer]

    @property
    def is_head(self) -> bool:
        """Whether the answer has no body."""
        return self.seen.method == "HEAD"

    def answer(self, answer: Answer) -> bool:
        """Answers as a server would; the connection stays open."""
        closing = self.seen.headers.get("connection", "").lower() == "close"
        if closing:
            answer = with_headers(answer, Connection="close")
        self.line.send(answer.encode(head_only=self.is_head))
        return not closing


def with_headers(answer: Answer, **more: str) -> Answer:
    """The answer with more headers."""
    return Answer(answer.status, {**answer.headers, **more}, answer.body)


BatchAnswer = Callable[[RecordedRequest, Callable[[RecordedRequest], Answer]], Answer | None]
"""Given a request, and what sends one to the server."""


class Schedule(Protocol):
    """The fault of each request; ``None`` lets it through."""

    def draw(self, seen: RecordedRequest) -> Fault | None: ...


class FaultProxy:
    """Listens on loopback and passes on to ``upstream``, a host and a port; a context manager.

    ``schedule.draw(seen)`` gives each request's fault, an object with a ``name`` and a
    ``play(exchange)`` that says whether the connection stays open; ``None`` lets it through. May
    be replaced at any time. ``batch(seen, forward)`` answers what the server itself does not
    serve, or returns ``None``.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        schedule: Schedule | None = None,
        *,
        batch: BatchAnswer | None = None,
    ) -> None:
        self.schedule: Schedule = schedule or Calm()
        self._upstream = upstream
        self._batch = batch
        self._lock = threading.Lock()
        self.requests = 0
        self.faults: Counter[str] = Counter()
        self.in_flight = 0
        self.last_request = NEVER
        self.last_answer = NEVER
        self.closing = threading.Event()
        self._live: dict[threading.Thread, socket.socket] = {}
        self._listener = self._bound(0)
        self.port: int = self._listener.getsockname()[1]
        self._held: socket.socket | None = None
        self.admit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def refusing(self) -> bool:
        """Whether connections are refused now."""
        return self._held is not None

    def pulse(self) -> Pulse:
        """When somebody last asked for or was given something, and how much is under way."""
        return Pulse(max(self.last_request, self.last_answer), self.in_flight)

    # --- connections as such

    def _bound(self, port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def admit(self) -> None:
        """Listens, after ``refuse`` again."""
        listener, self._held = self._held or self._listener, None
        listener.listen(1024)
        self._listener = listener
        self._accepting = threading.Thread(
            target=self._accept, args=(listener,), name="torture-proxy-accept", daemon=True
        )
        self._accepting.start()

    def refuse(self) -> None:
        """Resets the live connections and refuses new ones, on a port that stays its own."""
        self._stop_listening()
        self._held = self._bound(self.port)
        self.cut()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Refuses inside of the block."""
        self.refuse()
        try:
            yield
        finally:
            self.admit()

    def cut(self) -> None:
        """Resets the live connections, whatever they are at."""
        with self._lock:
            live = list(self._live.values())
        for sock in live:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._accepting.join(5)
        self._listener.close()

    def close(self, timeout: float = 5.0) -> None:
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

    def _accept(self, listener: socket.socket) -> None:
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

    def _run(self, sock: socket.socket, address: Any) -> None:
        try:
            with suppress(OSError, ValueError, http.client.HTTPException):
                # what a connection uses of its listener: serve(), closing
                Connection(sock, address, self)  # type: ignore[arg-type]
        finally:
            sock.close()
            with self._lock:
                self._live.pop(threading.current_thread(), None)

    # --- requests

    def serve(self, line: Connection) -> None:
        """Called by ``Connection`` with each connection."""
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

    def _exchange(self, line: Connection, seen: RecordedRequest, upstream: _Upstream) -> bool:
        def forward() -> Answer:
            answer = self._batch(seen, upstream.send) if self._batch is not None else None
            return upstream.send(seen) if answer is None else answer

        exchange = Exchange(line, seen, forward)
        fault = self.schedule.draw(seen)
        if fault is None:
            return exchange.answer(forward())
        with self._lock:
            self.faults[fault.name] += 1
        return fault.play(exchange)


class _Upstream:
    """One connection to the server, opened again when it is gone."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=30)

    def send(self, seen: RecordedRequest) -> Answer:
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

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()
