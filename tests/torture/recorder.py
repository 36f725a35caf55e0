"""The default API below ``/api``, which remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.testing.raw import Answer, Connection, Listener, RecordedRequest
from bytelyst_sync.testing.store import Rules, Store

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Recorder", "engine_at"]


class Recorder:
    """The default API below ``/api``, which remembers what it was asked; a context manager."""

    def __init__(
        self,
        answer: Callable[[RecordedRequest], Answer | None] | None = None,
        *,
        host: str = "127.0.0.1",
        store: Store | None = None,
    ) -> None:
        self.store = store or Store(Rules())
        self.seen: list[RecordedRequest] = []
        self.connections = 0
        self.answer = answer
        self._listener = Listener(host, 0, self._serve)
        self.port = int(self._listener.server_address[1])
        self.url = f"http://{host}:{self.port}/api"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self, line: Connection) -> None:
        self.connections += 1
        while (seen := line.read()) is not None:
            self.seen.append(seen)
            made = self.answer(seen) if self.answer else None
            if made is None:
                below = seen.path.removeprefix("/api")
                made = self.store.handle(_at(seen, below))
            line.send(made.encode(head_only=seen.method == "HEAD"))


def _at(seen: RecordedRequest, path: str) -> RecordedRequest:
    return type(seen)(
        seen.method, path or "/", seen.query, seen.headers, seen.body, content=seen.content
    )


def engine_at(url: str, entities: dict[str, Any] | None = None, **settings: Any) -> SyncEngine:
    """An engine that does nothing by itself, and gives up soon."""
    options = {
        "base_url": url,
        "entities": entities or {"notes": "/notes"},
        "storage": ":memory:",
        "auto_flush": False,
        "probe": None,
        "timeout": (1.0, 2.0),
        "retry_delay": 0.01,
        "max_retry_delay": 0.05,
        "max_retries": 1,
        "exit_timeout": 0.0,
    }
    return create_sync_engine(**{**options, **settings})
