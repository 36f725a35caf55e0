"""Engines for tests: in memory, for a test server, closed at the end of the test."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import attrs

from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.engine import SyncEngine

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EngineFactory"]

SETTINGS: Final = {
    "storage": ":memory:",
    "probe": None,
    "retry_delay": 0.01,
    "max_retry_delay": 0.1,
    "timeout": (2.0, 5.0),
    "exit_timeout": 0.0,
}
"""The settings for tests: nothing is stored on the disk, and waits are short."""


class EngineFactory:
    """Creates engines for the server at ``base_url``, and closes them; a context manager.

    Their queue is in memory, they wait at most 0.1 s between attempts, and they do not probe:
    ``flush()`` or the next attempt finds the network again. Any thread may call it.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._lock = threading.Lock()
        """Guards the list of engines."""
        self._engines: list[SyncEngine] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, config: SyncConfig | None = None, /, **settings: Any) -> SyncEngine:
        """A new engine. ``settings`` are those of ``SyncConfig``; ``entities`` has no default.

        All other settings are those of ``config``, such as your program's own, except for the
        settings for tests. Raises ``ConfigError`` for a wrong or missing setting.
        """
        chosen: dict[str, Any] = {"base_url": self.base_url, **SETTINGS, **settings}
        if "retry_delay" in settings and "max_retry_delay" not in settings:
            del chosen["max_retry_delay"]  # which may be less than that
        base = {} if config is None else attrs.asdict(config, recurse=False)
        engine = SyncEngine(SyncConfig.from_mapping({**base, **chosen}))
        with self._lock:
            self._engines.append(engine)
        return engine

    def close(self, timeout: float = 5.0) -> None:
        """Close all engines, each within ``timeout`` seconds.

        ``TimeoutError`` if one did not stop: a request or a callback of it is still running.
        """
        with self._lock:
            engines, self._engines = self._engines, []
        late = [engine for engine in engines if not engine.close(timeout)]
        if late:
            raise TimeoutError(f"still at work {timeout:g} s after close(): {late!r}")
