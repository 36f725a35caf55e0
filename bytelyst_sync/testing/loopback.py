"""``LoopbackServer``: the sockets of a scripted server on loopback, and the faults of connections.

Who owns what: the ``Listener`` owns the sockets and the threads, ``ScriptedFaults`` the script.
Every connection's thread ends within ``stop()``.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bytelyst_sync.testing.faults import Drop, DropAnswer, ScriptedFaults, Truncate
from bytelyst_sync.testing.http_messages import Answer, RecordedRequest
from bytelyst_sync.testing.listener import Connection, Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self


class LoopbackServer(ScriptedFaults):
    """A server on loopback whose connections fail as the script says; a context manager."""

    host: str = "127.0.0.1"
    port: int = 0
    _listener: Listener | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; with port 0 the system chooses one, which is used from then on."""
        if self._listener is None:
            self._listener = Listener(self.host, self.port, self._serve)
            self.port = int(self._listener.server_address[1])

    def stop(self, timeout: float = 5.0) -> None:
        """Refuse connections, cut the open ones, end the threads. ``start()`` may follow."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.close(timeout)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Refuse connections inside of the block, and serve on the same port after it."""
        self.stop()
        with socket.socket() as reserved:
            # bound but not listening: connections are refused, and nobody else can get the port
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind((self.host, self.port))
            try:
                yield
            finally:
                reserved.close()
                self.start()

    @property
    def url(self) -> str:
        """The URL of the server, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def _serve(self, connection: Connection) -> None:
        open_ = True
        while open_:
            try:
                request = connection.read()
            except ValueError as error:
                connection.send(
                    Answer.of(400, {"error": str(error)}, {"Connection": "close"}).encode()
                )
                return
            if request is None:
                return
            with self._handling(request):
                open_ = self._reply(connection, request)

    def _reply(self, connection: Connection, request: RecordedRequest) -> bool:
        """Answer one request; returns whether the connection stays open."""
        fault, answer = self._exchange(request, connection.wait)
        if isinstance(fault, Drop):
            connection.reset()
            return False
        if isinstance(fault, DropAnswer):
            return False
        closing = request.headers.get("connection", "").lower() == "close"
        if closing:
            answer = answer.with_header("Connection", "close")
        if isinstance(fault, Truncate):
            half = replace(answer, body=answer.body[: len(answer.body) // 2])
            connection.send(half.encode(declared=len(answer.body)))
            return False
        connection.send(answer.encode(head_only=request.method == "HEAD"))
        return not closing
