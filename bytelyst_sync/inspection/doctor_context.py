"""What the checks of ``doctor`` share: the settings and the store, and their findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import attrs
from requests.utils import get_environ_proxies, select_proxy

from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.http.requests_transport import HttpTransport
from bytelyst_sync.http.transport import Response, Transport
from bytelyst_sync.inspection.settings import Settings
from bytelyst_sync.inspection.store_files import INSPECTORS, Inspector
from bytelyst_sync.storage.base import Reader, Storage
from bytelyst_sync.storage.location import SQLITE
from bytelyst_sync.wiring import transport_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Check", "DoctorContext", "Finding", "Level", "fail", "ok", "warn"]

T = TypeVar("T")


class Level(Enum):
    """The severity of a finding."""

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
        """The documented JSON."""
        return {
            "level": self.level.value,
            "check": self.about,
            "message": self.text,
            "remedy": self.remedy or None,
        }


def ok(about: str, text: str) -> Finding:
    """A finding: no fault."""
    return Finding(Level.OK, about, text)


def warn(about: str, text: str, remedy: str) -> Finding:
    """A finding: it works now, but may fail later."""
    return Finding(Level.WARN, about, text, remedy)


def fail(about: str, text: str, remedy: str) -> Finding:
    """A finding: it does not work."""
    return Finding(Level.FAIL, about, text, remedy)


class DoctorContext:
    """The settings, the store and the server that are checked; results that later checks use."""

    def __init__(
        self,
        settings: Settings | None,
        error: ConfigError | None = None,
        storage: Storage | None = None,
    ) -> None:
        self.settings = settings
        self.error = error
        self._storage = storage
        """The open store of an engine; without it, the file is opened for each reading."""
        self.readable = True
        """Whether the store can be read; set by the check of its pages."""
        self.reachable = False
        """Whether the server accepts connections; set by the checks of the network."""
        self.answer: Response | None = None
        """The server's last response."""
        self._open = ExitStack()
        self._transport: Transport | None = None

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
        """The settings, if they are valid."""
        return None if self.settings is None else self.settings.config

    @property
    def store(self) -> Path | None:
        """The path of the store, if it exists."""
        there = self.settings is not None and self.settings.store.is_file()
        return self.settings.store if self.settings is not None and there else None

    @property
    def has_file(self) -> bool:
        """Whether the store is a file, or will be one."""
        return self._storage is None or self.store is not None

    @property
    def transport(self) -> Transport:
        """The transport of the requests. It adds the credentials, except for a bearer token."""
        if self._transport is None:
            self._transport = HttpTransport() if self.config is None else transport_of(self.config)
            if self.config is None or self._transport is not self.config.transport:
                self._open.callback(getattr(self._transport, "close", lambda: None))
        return self._transport

    @property
    def server(self) -> tuple[str, str, int] | None:
        """The scheme, host and port of the connection."""
        return None if self.config is None else _place(self.config.base_url)

    @property
    def proxy(self) -> tuple[str, str, int] | None:
        """The proxy for the server in the environment's settings."""
        if self.config is None:
            return None
        url = self.config.base_url
        proxy = select_proxy(url, get_environ_proxies(url))
        return _place(proxy if "://" in proxy else f"http://{proxy}") if proxy else None

    def read(self, work: Callable[[Reader], T]) -> T | None:
        """Runs ``work`` on the store, read-only; ``None`` if there is no readable store."""
        if self._storage is not None:
            return self._storage.read(work)
        if self.store is None or not self.readable:
            return None
        return self.inspector.read(self.store, work)

    @property
    def inspector(self) -> Inspector:
        """The inspector of the store's file."""
        kind = SQLITE if self.settings is None else self.settings.kind
        inspector: Inspector = INSPECTORS[kind]
        return inspector


def _place(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    return parts.scheme, parts.hostname or "", port


Check = Callable[[DoctorContext], Iterable[Finding]]
