"""``RawServer``: an HTTP server on a socket that misbehaves as a script says, and the steps of
scripts.

Who owns what: each connection has a thread of the ``Listener``, which plays the steps. The server's
condition guards its script and its records; it is not held during I/O or a step.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bytelyst_sync.testing.http_messages import (
    Answer,
    Headers,
    RecordedRequest,
    Seen,
    encode_json,
)
from bytelyst_sync.testing.listener import Connection, Listener

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Answer",
    "Connection",
    "Headers",
    "Listener",
    "RawServer",
    "RecordedRequest",
    "Seen",
    "Step",
    "answer",
    "drip",
    "encode_json",
    "garbage",
    "portal",
    "redirect",
    "refuse_port",
    "reset_after",
    "reset_before",
    "silent",
    "stale_keepalive",
    "truncated",
]


@dataclass(frozen=True, slots=True)
class Step:
    """The action for one request, or with ``on_accept`` for a new connection before it is read.

    ``play`` gets the connection and whether it may stay open, and returns whether it does.
    """

    name: str
    play: Callable[[Connection, bool], bool]
    on_accept: bool = False


def refuse_port(host: str = "127.0.0.1") -> int:
    """A port number that refuses connections: bound a moment ago and closed again."""
    with socket.socket() as bound:
        bound.bind((host, 0))
        return int(bound.getsockname()[1])


def _reset(connection: Connection, _more: bool) -> bool:
    connection.reset()
    return False


def reset_before() -> Step:
    """Reset a new connection before reading from it."""
    return Step("reset_before", _reset, on_accept=True)


def reset_after() -> Step:
    """Read the whole request, then reset the connection."""
    return Step("reset_after", _reset)


def silent(seconds: float) -> Step:
    """Read the request, send nothing for so many seconds, then close."""

    def play(connection: Connection, _more: bool) -> bool:
        connection.wait(seconds)
        return False

    return Step("silent", play)


def truncated(status: int = 200, declared: int = 100, sent: int | bytes = 10) -> Step:
    """Declare a body of so many bytes, send fewer (these bytes, or so many), and close."""
    body = b"[" * sent if isinstance(sent, int) else sent
    part = Answer(status, {"Content-Type": "application/json"}, body)
    return garbage(part.encode(declared=declared), name="truncated")


def garbage(data: bytes, *, name: str = "garbage") -> Step:
    """Send these bytes, and close."""

    def play(connection: Connection, _more: bool) -> bool:
        connection.send(data)
        return False

    return Step(name, play)


def answer(status: int = 200, body: object = None, headers: Headers | None = None) -> Step:
    """Send a correct answer and keep the connection open; ``body`` as for ``Answer.of``."""

    def play(connection: Connection, more: bool) -> bool:
        extra = {} if more else {"Connection": "close"}
        connection.send(Answer.of(status, body, {**(headers or {}), **extra}).encode())
        return more

    return Step("answer", play)


def stale_keepalive(status: int = 200, body: object = None, headers: Headers | None = None) -> Step:
    """Answer as if the connection stayed open, but close it."""
    return garbage(Answer.of(status, body, headers).encode(), name="stale_keepalive")


def portal(body: str = "<html><body>Please log in to this network</body></html>") -> Step:
    """The login page of a captive portal: 200 and HTML for any request."""
    return answer(200, body, {"Content-Type": "text/html"})


def redirect(status: int, location: str) -> Step:
    """Answer with a redirect."""
    return answer(status, None, {"Location": location})


def drip(chunks: Iterable[bytes], interval_s: float, status: int = 200) -> Step:
    """Answer with a JSON body in pieces, ``interval_s`` seconds apart."""
    pieces = list(chunks)

    def play(connection: Connection, more: bool) -> bool:
        whole = Answer(status, {"Content-Type": "application/json"}, b"".join(pieces))
        connection.send(whole.encode(head_only=True))
        for piece in pieces:
            connection.wait(interval_s)
            connection.send(piece)
        return more

    return Step("drip", play)


class RawServer:
    """Plays one step of a script per request, on loopback; a context manager.

    After the last step, a request is recorded and its connection closed. ``requests`` and
    ``connections`` may be read from any thread.
    """

    def __init__(self, script: Iterable[Step] = (), *, host: str = "127.0.0.1") -> None:
        self._changed = threading.Condition()
        self._script = list(script)
        self._requests: list[RecordedRequest] = []
        self._connections = 0
        self._listener = Listener(host, 0, self._serve)
        self.port = int(self._listener.server_address[1])
        self.url = f"http://{host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, oldest first; ``raw`` has a request's bytes."""
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
        """Wait until so many requests were read; ``False`` at the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._requests) >= count, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Stop listening, cut the connections and join the threads."""
        self._listener.close(timeout)

    def _serve(self, connection: Connection) -> None:
        with self._changed:
            self._connections += 1
            step = self._script.pop(0) if self._next_is_on_accept() else None
        if step is not None:
            step.play(connection, False)
            return
        while (request := connection.read()) is not None:
            with self._changed:
                self._requests.append(request)
                self._changed.notify_all()
                step = self._script.pop(0) if self._script else None
                more = not self._next_is_on_accept()
            if step is None or not step.play(connection, more):
                return

    def _next_is_on_accept(self) -> bool:
        return bool(self._script) and self._script[0].on_accept
