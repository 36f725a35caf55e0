"""What the checks of ``doctor`` share: the case that is looked at, and what they find."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import attrs
from requests.utils import get_environ_proxies, select_proxy

from bytelyst_sync.cli.settings import Settings
from bytelyst_sync.config import SyncConfig, is_token_provider
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.sqlite_view import ReadView
from bytelyst_sync.transport.base import Response
from bytelyst_sync.transport.http import HttpTransport

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Case", "Check", "Finding", "Level", "fail", "ok", "open_for_reading", "warn"]

T = TypeVar("T")


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@attrs.frozen
class Finding:
    """One line of the report; ``remedy`` says what to do about it."""

    level: Level
    about: str
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, str | None]:
        """The documented shape."""
        return {
            "level": self.level.value,
            "check": self.about,
            "message": self.text,
            "remedy": self.remedy or None,
        }


def ok(about: str, text: str) -> Finding:
    """All is as it should be."""
    return Finding(Level.OK, about, text)


def warn(about: str, text: str, remedy: str) -> Finding:
    """It works, and may not always."""
    return Finding(Level.WARN, about, text, remedy)


def fail(about: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, about, text, remedy)


class Case:
    """What is looked at. What one check learns stands here for those after it."""

    def __init__(self, settings: Settings | None, error: ConfigError | None) -> None:
        self.settings = settings
        self.error = error
        self.readable = True
        """Whether the store can be read: found out by the check of its pages."""
        self.reachable = False
        """Whether the server takes connections: found out by the checks of the network."""
        self.answer: Response | None = None
        """What the server said last."""
        self._open = ExitStack()
        self._transport: HttpTransport | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def config(self) -> SyncConfig | None:
        """The settings, if they are right."""
        return None if self.settings is None else self.settings.config

    @property
    def store(self) -> Path | None:
        """The store, if it is there."""
        there = self.settings is not None and self.settings.store.is_file()
        return self.settings.store if self.settings is not None and there else None

    @property
    def transport(self) -> HttpTransport:
        """What carries the requests; with the credentials, but for a bearer token."""
        if self._transport is None:
            auth = None if self.config is None else self.config.auth
            self._transport = HttpTransport(auth=None if is_token_provider(auth) else auth)
            self._open.callback(self._transport.close)
        return self._transport

    @property
    def server(self) -> tuple[str, str, int] | None:
        """The scheme, host and port that are connected to."""
        return None if self.config is None else _place(self.config.base_url)

    @property
    def proxy(self) -> tuple[str, str, int] | None:
        """The proxy that the environment puts before the server."""
        if self.config is None:
            return None
        url = self.config.base_url
        found = select_proxy(url, get_environ_proxies(url))
        return _place(found if "://" in found else f"http://{found}") if found else None

    def read(self, work: Callable[[Reader], T]) -> T | None:
        """Runs it on the store as it is, read-only; ``None`` if there is none to be read."""
        if self.store is None or not self.readable:
            return None
        try:
            with closing(open_for_reading(self.store)) as connection:
                view = ReadView(connection)
                connection.execute("BEGIN")
                try:
                    return work(view)
                finally:
                    view.end()
                    connection.execute("ROLLBACK")
        except sqlite3.Error:
            return None


def _place(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    return parts.scheme, parts.hostname or "", port


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, and leaves nothing beside the file.

    Without a log nobody is writing, and SQLite would make one even to read.
    """
    wal = path.with_name(path.name + "-wal")
    mode = "ro" if wal.exists() else "ro&immutable=1"
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}", uri=True, timeout=5.0, isolation_level=None
    )


Check = Callable[[Case], Iterable[Finding]]
