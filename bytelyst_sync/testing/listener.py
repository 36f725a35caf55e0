"""A listening socket on loopback, and its connections, which read requests and send bytes.

Who owns what: a ``Listener`` has one accepting thread and one thread per connection. A connection's
socket is read, written and closed by its own thread only; ``Listener.close`` merely shuts it down
to wake that thread. The listener's lock guards the table of live connections, and is not held while
a socket is at work.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.testing.http_messages import RecordedRequest

__all__ = ["Connection", "Listener"]

LONGEST_LINE: Final = 65_536
_CLOCK: Final = SystemClock()


class Connection(socketserver.StreamRequestHandler):
    """One open connection, used by its own thread."""

    disable_nagle_algorithm = True
    rbufsize = LONGEST_LINE
    server: Listener

    def handle(self) -> None:
        """Call the listener's ``serve`` with the connection."""
        self.server.serve(self)

    def read(self) -> RecordedRequest | None:
        """The next request, or ``None`` at the end; ``ValueError`` if it is no HTTP/1."""
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
        return replace(
            RecordedRequest.of(method, target, headers, content), head=b"".join([*head, line])
        )

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
        """Makes the following close send an RST: the peer sees a reset, not an end."""
        linger = struct.pack("ii", 1, 0)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def wait(self, seconds: float) -> None:
        """Wait; a closing listener cuts that short with ``ConnectionAbortedError``."""
        if self.server.closing.wait(seconds):
            raise ConnectionAbortedError("the server is closing")


class Listener(socketserver.TCPServer):
    """A listening socket that calls ``serve`` for each connection, in a separate thread."""

    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, serve: Callable[[Connection], None]) -> None:
        self.serve = serve
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[threading.Thread, socket.socket] = {}
        super().__init__((host, port), Connection)
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
            # a peer that is gone or sends no HTTP only ends its connection; any other error is a
            # bug in a test's hook, and is raised in the thread
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
        """Refuse new connections, cut the live ones, and join every thread within ``timeout``."""
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
