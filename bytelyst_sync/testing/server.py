"""`SyncServer`: the default API of SPEC section 8 on loopback, with faults on demand.

Run as a program it serves until SIGTERM:
``python -m bytelyst_sync.testing.server --port 8000 --state notes.jsonl``

Who owns what: the `Listener` owns the sockets and the threads, `Api` everything that is not a
socket. Every connection's thread ends within `stop()`.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bytelyst_sync.testing.api import Api, Drop, Lose, Truncate
from bytelyst_sync.testing.raw import Answer, Line, Listener, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from typing_extensions import Self


class SyncServer(Api):
    """A REST API on loopback that tests can inspect, change and break; a context manager.

    It is what `Api` is, behind real sockets at ``url``. With port 0 the system chooses one. Times
    are in seconds; `latency_s` is spent before a request is processed.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        id_source: str = "client",
        token: str | Collection[str] | None = None,
        state: str | Path | None = None,
        page_size: int = 100,
        idempotency: bool = True,
        versions: bool = True,
        latency_s: float = 0.0,
        collections: Collection[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            id_source=id_source,
            token=token,
            state=state,
            page_size=page_size,
            idempotency=idempotency,
            versions=versions,
            latency_s=latency_s,
            collections=collections,
            clock=clock,
        )
        self.host = host
        self.port = port
        self._listener: Listener | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; with port 0 the system chooses one, which is kept from then on."""
        if self._listener is None:
            self._listener = Listener(self.host, self.port, self._serve)
            self.port = int(self._listener.server_address[1])

    def stop(self, timeout: float = 5.0) -> None:
        """Refuse connections, cut the live ones, end the threads; `start()` goes on from there."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.close(timeout)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Refuse connections inside of the block, and serve on the same port after it."""
        self.stop()
        with socket.socket() as held:
            # Bound but not listening: refused, and nobody else can be given the port meanwhile.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((self.host, self.port))
            try:
                yield
            finally:
                held.close()
                self.start()

    @property
    def url(self) -> str:
        """Where the server is, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def _serve(self, line: Line) -> None:
        open_ = True
        while open_:
            try:
                seen = line.read()
            except ValueError as error:
                line.send(Answer.of(400, {"error": str(error)}, {"Connection": "close"}).encode())
                return
            if seen is None:
                return
            with self._dealing_with(seen):
                open_ = self._reply(line, seen)

    def _reply(self, line: Line, seen: Seen) -> bool:
        """Answer one request; says whether the connection stays open."""
        fault, answer = self._exchange(seen, line.wait)
        if isinstance(fault, Drop):
            line.reset()
            return False
        if isinstance(fault, Lose):
            return False
        closing = seen.headers.get("connection", "").lower() == "close"
        if closing:
            answer = replace(answer, headers={**answer.headers, "Connection": "close"})
        if isinstance(fault, Truncate):
            half = replace(answer, body=answer.body[: len(answer.body) // 2])
            line.send(half.encode(declared=len(answer.body)))
            return False
        line.send(answer.encode(head_only=seen.method == "HEAD"))
        return not closing


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bytelyst_sync.testing.server",
        description="Serve bytelyst_sync's default API on loopback, for tests and trials.",
    )
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--state", metavar="FILE", help="keep everything in this file")
    parser.add_argument("--token", action="append", help="a bearer token to ask for; repeatable")
    parser.add_argument("--id-source", choices=("client", "server"), default="client")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args(argv)
    if not 0 <= options.port <= 65_535:
        parser.error(f"--port {options.port}: must be within 0 and 65535")
    if not 0 <= options.latency_ms <= 3_600_000:
        parser.error(f"--latency-ms {options.latency_ms}: must be within 0 and 3600000")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server = SyncServer(
            options.port,
            id_source=options.id_source,
            token=options.token,
            state=options.state,
            latency_s=options.latency_ms / 1000,
        )
        server.start()
    except (OSError, ValueError) as error:
        parser.exit(1, f"cannot serve: {error}\n")
    sys.stdout.write(f"listening on {server.url}\n")
    sys.stdout.flush()
    stopped.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
