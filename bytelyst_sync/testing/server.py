"""``SyncServer``: the API that the default dialect speaks on loopback, with faults on demand.

Run as a program it serves until SIGTERM:
``python -m bytelyst_sync.testing.server --port 8000 --state notes.jsonl``

``LoopbackServer`` has the sockets, ``Api`` everything else.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import TYPE_CHECKING

from bytelyst_sync.testing.api import Api
from bytelyst_sync.testing.loopback import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from bytelyst_sync.testing.api import ApiSettings


class SyncServer(LoopbackServer, Api):
    """A REST API on loopback that tests can inspect, change and break; a context manager.

    It has the methods and settings of ``Api``, behind real sockets at ``url``. With port 0 the
    system chooses one. ``latency_s`` is the delay before a request is processed, in seconds.
    """

    def __init__(
        self, port: int = 0, *, host: str = "127.0.0.1", **settings: Unpack[ApiSettings]
    ) -> None:
        super().__init__(**settings)
        self.host = host
        self.port = port


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
