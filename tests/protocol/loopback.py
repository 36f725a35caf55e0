"""An API of a test's own on loopback: a function from requests to answers."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bytelyst_sync.testing import Seen
from bytelyst_sync.testing.listener import Connection
from bytelyst_sync.testing.raw import Answer, Listener

if TYPE_CHECKING:
    from typing_extensions import Self


class Loopback:
    """Answers each request with what ``handle(request)`` returns: a status and a body, or an
    ``Answer``; ``None`` closes the connection. A context manager. ``requests`` are those so far.
    """

    def __init__(self, handle: Callable[[Any], Any]) -> None:
        self.handle = handle
        self.requests: list[Seen] = []
        self._lock = threading.Lock()
        self._listener = Listener("127.0.0.1", 0, self._serve)
        self.url = f"http://127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def said(self) -> list[str]:
        """Method and target of each request, as they came."""
        lines = [request.head.split(b"\r\n")[0].decode() for request in self.requests]
        return [line.removesuffix(" HTTP/1.1") for line in lines]

    def _serve(self, line: Connection) -> None:
        while (request := line.read()) is not None:
            with self._lock:
                self.requests.append(request)
                found = self.handle(request)
            if found is None:
                return
            answer = found if isinstance(found, Answer) else Answer.of(*found)
            line.send(answer.encode(head_only=request.method == "HEAD"))
