"""HTTP on bare sockets: requests, answers, a listener, and `RawServer`, which misbehaves by script.

Who owns what: a `Listener` has one accepting thread and one thread per connection. A connection's
socket is read, written and closed by its own thread only; `Listener.close` merely shuts it down to
wake that thread. The listener's lock guards the table of live connections, `RawServer`'s condition
its script and its records; neither is held while a socket or a script step is at work.
"""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from bytelyst_sync.clock import SystemClock

if TYPE_CHECKING:
    from typing_extensions import Self

Headers = Mapping[str, str]

REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
LONGEST_LINE: Final = 65_536
NO_BODY: Final = frozenset({204, 304})
_CLOCK: Final = SystemClock()


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as a server saw it.

    `path` is as it came: percent-encoded, without the query. `headers` has lower-cased names.
    `body` is the parsed JSON, `None` where nothing was sent, or the bytes where they are no JSON;
    `content` always holds the bytes, `head` those before them. `status` is what was answered,
    0 where no answer was made; `at` is the server's clock in epoch seconds.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None
    status: int = 0
    at: float = 0.0
    content: bytes = field(default=b"", repr=False)
    head: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str], content: bytes = b"") -> Seen:
        """Read a request's method and target, its headers and its body."""
        path, _, query = target.partition("?")
        body: Any = None
        if content:
            try:
                # NaN and Infinity are not JSON; `int` refuses their names.
                body = json.loads(content, parse_constant=int)
            except (ValueError, RecursionError):
                body = content
        pairs = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        names = {name.lower(): value for name, value in headers.items()}
        return cls(method.upper(), path, pairs, names, body, content=content)

    @property
    def raw(self) -> bytes:
        """The request's bytes, with any chunking of the body undone."""
        return self.head + self.content


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, its headers and the bytes of its body."""

    status: int
    headers: Headers = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(cls, status: int, body: object = None, headers: Headers | None = None) -> Answer:
        """An answer with bytes or text as they are, and anything else but `None` as JSON."""
        if body is None or isinstance(body, bytes):
            return cls(status, dict(headers or {}), body or b"")
        if isinstance(body, str):
            typed, content = {"Content-Type": "text/plain; charset=utf-8"}, body.encode()
        else:
            typed, content = {"Content-Type": "application/json"}, encode_json(body)
        if any(name.lower() == "content-type" for name in headers or {}):
            typed = {}
        return cls(status, {**typed, **(headers or {})}, content)

    def encode(self, *, declared: int | None = None, head_only: bool = False) -> bytes:
        """The bytes for the wire; `declared` replaces the true Content-Length."""
        bodiless = self.status in NO_BODY
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if not bodiless:
            lines.append(f"Content-Length: {len(self.body) if declared is None else declared}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return head if bodiless or head_only else head + self.body


def encode_json(value: object) -> bytes:
    """Compact JSON in ASCII, so that any text survives."""
    return json.dumps(value, separators=(",", ":")).encode()


class Line(socketserver.StreamRequestHandler):
    """One live connection, in the hands of its own thread."""

    disable_nagle_algorithm = True
    rbufsize = LONGEST_LINE
    server: Listener

    def handle(self) -> None:
        """Give the connection to the listener's owner until it lets go."""
        self.server.serve(self)

    def read(self) -> Seen | None:
        """The next request, or `None` at the end; `ValueError` if what came is no HTTP/1."""
        start = self.rfile.readline(LONGEST_LINE)
        if not start:
            return None
        method, target, version = start.decode("latin-1").split()
        if not version.startswith("HTTP/1."):
            raise ValueError(f"{version} is not HTTP/1")
        head, headers = [start], {}
        while (line := self.rfile.readline(LONGEST_LINE)) not in (b"\r\n", b"\n"):
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise ValueError(f"{line!r} is no header")
            headers[name.lower()] = value.strip()
            head.append(line)
        if headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            content = b"".join(iter(self._chunk, b""))
        else:
            content = self._exactly(int(headers.get("content-length", "0")))
        return replace(Seen.of(method, target, headers, content), head=b"".join([*head, line]))

    def _exactly(self, size: int) -> bytes:
        content = self.rfile.read(size) if size > 0 else b""
        if len(content) != size:
            raise ValueError(f"a body of {size} bytes ended after {len(content)}")
        return content

    def _chunk(self) -> bytes:
        chunk = self._exactly(int(self.rfile.readline(LONGEST_LINE).split(b";")[0], 16))
        self.rfile.readline(LONGEST_LINE)
        return chunk

    def send(self, data: bytes) -> None:
        """Send all of it in one call."""
        self.request.sendall(data)

    def reset(self) -> None:
        """Make the coming close an RST: the peer sees a reset, not an end."""
        linger = struct.pack("ii", 1, 0)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def wait(self, seconds: float) -> None:
        """Wait; a closing listener cuts that short with `ConnectionAbortedError`."""
        if self.server.closing.wait(seconds):
            raise ConnectionAbortedError("the server is closing")


class Listener(socketserver.TCPServer):
    """A listening socket whose connections are each given to `serve` in a thread of their own."""

    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, serve: Callable[[Line], None]) -> None:
        self.serve = serve
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[threading.Thread, socket.socket] = {}
        super().__init__((host, port), Line)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.02,), name="bytelyst-test-accept", daemon=True
        )
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the connection's thread."""
        thread = threading.Thread(
            target=self._run, args=(request, client_address), name="bytelyst-test-line", daemon=True
        )
        with self._lock:
            self._live[thread] = request
        thread.start()

    def _run(self, request: Any, client_address: Any) -> None:
        try:
            # A peer that is gone or speaks no HTTP ends its connection and nothing else; any
            # other error is a mistake in a test's hook and must surface in the thread's hook.
            with suppress(OSError, ValueError):
                self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)
            with self._lock:
                self._live.pop(threading.current_thread(), None)

    def shutdown_request(self, request: Any) -> None:
        """Close without a FIN of its own, which would hide a reset."""
        request.close()

    def close(self, timeout: float = 5.0) -> None:
        """Refuse new connections, cut the live ones, and join every thread within `timeout`."""
        deadline = _CLOCK.monotonic() + timeout
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._thread.join(max(0.0, deadline - _CLOCK.monotonic()))
        with self._lock:
            live = dict(self._live)
        for request in live.values():
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        for thread in live:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - _CLOCK.monotonic()))


@dataclass(frozen=True, slots=True)
class Step:
    """What is done to one request, or, `on_accept`, to a new connection before it is read.

    `play` gets the connection and whether it may stay open, and returns whether it does.
    """

    name: str
    play: Callable[[Line, bool], bool]
    on_accept: bool = False


def refuse_port(host: str = "127.0.0.1") -> int:
    """A port number that refuses connections: bound a moment ago and closed again."""
    with socket.socket() as bound:
        bound.bind((host, 0))
        return int(bound.getsockname()[1])


def _reset(line: Line, _more: bool) -> bool:
    line.reset()
    return False


def reset_before() -> Step:
    """Reset a new connection before reading from it."""
    return Step("reset_before", _reset, on_accept=True)


def reset_after() -> Step:
    """Read the whole request, then reset the connection."""
    return Step("reset_after", _reset)


def silent(seconds: float) -> Step:
    """Read the request and say nothing for so long, then close."""

    def play(line: Line, _more: bool) -> bool:
        line.wait(seconds)
        return False

    return Step("silent", play)


def truncated(status: int = 200, declared: int = 100, sent: int | bytes = 10) -> Step:
    """Declare a body of so many bytes, send fewer (these, or so many of any), and close."""
    body = b"[" * sent if isinstance(sent, int) else sent
    part = Answer(status, {"Content-Type": "application/json"}, body)
    return garbage(part.encode(declared=declared), name="truncated")


def garbage(data: bytes, *, name: str = "garbage") -> Step:
    """Answer with these bytes as they are, and close."""

    def play(line: Line, _more: bool) -> bool:
        line.send(data)
        return False

    return Step(name, play)


def answer(status: int = 200, body: object = None, headers: Headers | None = None) -> Step:
    """Answer properly and keep the connection open; `body` as for `Answer.of`."""

    def play(line: Line, more: bool) -> bool:
        extra = {} if more else {"Connection": "close"}
        line.send(Answer.of(status, body, {**(headers or {}), **extra}).encode())
        return more

    return Step("answer", play)


def stale_keepalive(status: int = 200, body: object = None, headers: Headers | None = None) -> Step:
    """Answer as if the connection stayed open and close it, which a client may notice in time."""
    return garbage(Answer.of(status, body, headers).encode(), name="stale_keepalive")


def portal(body: str = "<html><body>Please log in to this network</body></html>") -> Step:
    """The login page of a captive portal: 200 and HTML, whatever was asked."""
    return answer(200, body, {"Content-Type": "text/html"})


def redirect(status: int, location: str) -> Step:
    """Point somewhere else."""
    return answer(status, None, {"Location": location})


def drip(chunks: Iterable[bytes], interval_s: float, status: int = 200) -> Step:
    """Answer with a JSON body that comes in pieces, `interval_s` apart."""
    pieces = list(chunks)

    def play(line: Line, more: bool) -> bool:
        whole = Answer(status, {"Content-Type": "application/json"}, b"".join(pieces))
        line.send(whole.encode(head_only=True))
        for piece in pieces:
            line.wait(interval_s)
            line.send(piece)
        return more

    return Step("drip", play)


class RawServer:
    """Plays one step of a script per request, on loopback; a context manager.

    When the script is exhausted a request is recorded and its connection closed. `requests` and
    `connections` may be read from any thread.
    """

    def __init__(self, script: Iterable[Step] = (), *, host: str = "127.0.0.1") -> None:
        self._changed = threading.Condition()
        self._script = list(script)
        self._requests: list[Seen] = []
        self._connections = 0
        self._listener = Listener(host, 0, self._serve)
        self.port = int(self._listener.server_address[1])
        self.url = f"http://{host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def requests(self) -> list[Seen]:
        """What was read so far, oldest first; `raw` has a request's bytes."""
        with self._changed:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        with self._changed:
            return self._connections

    @property
    def remaining(self) -> list[Step]:
        """The steps that are still to be played."""
        with self._changed:
            return list(self._script)

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until so many requests were read; `False` at the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._requests) >= count, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Stop listening, cut the connections and join the threads."""
        self._listener.close(timeout)

    def _serve(self, line: Line) -> None:
        with self._changed:
            self._connections += 1
            step = self._script.pop(0) if self._next_is_on_accept() else None
        if step is not None:
            step.play(line, False)
            return
        while (seen := line.read()) is not None:
            with self._changed:
                self._requests.append(seen)
                self._changed.notify_all()
                step = self._script.pop(0) if self._script else None
                more = not self._next_is_on_accept()
            if step is None or not step.play(line, more):
                return

    def _next_is_on_accept(self) -> bool:
        return bool(self._script) and self._script[0].on_accept
