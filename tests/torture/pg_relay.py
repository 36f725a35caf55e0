"""Passes bytes between a process and PostgreSQL: holds a COMMIT or its answer, cuts, swallows."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Relay"]

COMMIT = b"COMMIT\x00"
BOUND_S = 60.0


class Relay:
    """A context manager. Two threads for each connection; the events are all that they share."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.dark = False
        """Whether it swallows what it is sent."""
        self.held = threading.Event()
        """A COMMIT came, and is held as ``hold`` said."""
        self._holds: str | None = None
        self._go = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._listener.close()
        self.cut()

    def hold(self, what: str) -> None:
        """The next COMMIT is held: before it is passed on (``"commit"``), or its answer is."""
        self._go.clear()
        self.held.clear()
        self._holds = what

    def let_go(self) -> None:
        """What is held is passed on."""
        self._holds = None
        self._go.set()

    def cut(self) -> None:
        """Closes all connections."""
        for each in [*self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    @property
    def connections(self) -> int:
        """How many there have been since the last cut."""
        return len(self._sockets) // 2

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # it is being restarted
                    client.close()
                    continue
                self._sockets += [client, server]
                stuck = threading.Event()
                for copy, *pair in (
                    (self._requests, client, server),
                    (self._answers, server, client),
                ):
                    threading.Thread(target=copy, args=(*pair, stuck), daemon=True).start()

    def _requests(
        self, client: socket.socket, server: socket.socket, stuck: threading.Event
    ) -> None:
        with suppress(OSError):
            while some := client.recv(65536):
                if self._holds is not None and COMMIT in some:
                    what, self._holds = self._holds, None
                    if what == "commit":
                        self.held.set()
                        self._go.wait(BOUND_S)
                    else:
                        stuck.set()
                if not self.dark:
                    server.sendall(some)
        self._end(client, server)

    def _answers(
        self, server: socket.socket, client: socket.socket, stuck: threading.Event
    ) -> None:
        with suppress(OSError):
            while some := server.recv(65536):
                if stuck.is_set():
                    stuck.clear()
                    self.held.set()
                    self._go.wait(BOUND_S)
                if not self.dark:
                    client.sendall(some)
        self._end(client, server)

    @staticmethod
    def _end(*both: socket.socket) -> None:
        for each in both:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
