"""One ``requests.Session`` per thread, and what is worked out once for each of them.

Guarantees: a session is made in, and used by, one thread. It is closed by ``close()``, or when
its thread ends. A session of a parent process is neither used nor closed by a forked child: its
connections are the parent's.

A thread holds its ``Client`` strongly in a ``threading.local``; everything else holds it weakly,
so that it goes when the thread goes, and a finalizer closes the session. ``close()`` may run
while other threads send: what they sent is still answered, and then they get a new session.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_netrc_auth

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.transport.wire import WireAdapter

__all__ = ["Client", "Environment", "ThreadSessions"]

_GRAVEYARD: list[object] = []
"""Sessions of parent processes: referred to for ever, so that nothing closes them."""


@attrs.frozen
class Environment:
    """What the session and its surroundings say about one origin."""

    send_options: dict[str, Any] = attrs.field(repr=False)
    netrc: tuple[str, str] | None = attrs.field(repr=False)
    verified: bool


@attrs.define(eq=False, weakref_slot=True)
class Client:
    """One thread's session. ``closed`` is set by the thread that closes it, read by its own."""

    session: requests.Session
    closed: bool = False
    _environments: dict[str, Environment] = attrs.field(factory=dict, repr=False)

    def environment(self, origin: str, url: str) -> Environment:
        """Gives proxies, certificates and netrc for an origin; reads them at its first request.

        ``requests`` reads them at every request, which takes longer than all the rest it does.
        """
        known = self._environments.get(origin)
        if known is None:
            known = self._environments[origin] = _environment(self.session, url)
        return known

    def forget(self, origin: str) -> None:
        """Has them read again: the machine may have moved to another network."""
        self._environments.pop(origin, None)


class ThreadSessions:
    """The sessions of a transport. Any thread may call any method."""

    def __init__(self, factory: Callable[[], requests.Session] | None) -> None:
        self._factory = factory or _default_session
        self._begin()

    def get(self) -> Client:
        """The calling thread's client, made at its first use."""
        if self._process != os.getpid():
            self.abandon()
        client: Client | None = getattr(self._local, "client", None)
        if client is None or client.closed:
            client = self._local.client = self._open()
        return client

    def close(self) -> None:
        """Closes every session; the next ``get`` opens a new one."""
        if self._process != os.getpid():
            self.abandon()
        with self._lock:
            clients = list(self._clients)
            self._clients.clear()
        for client in clients:
            client.closed = True
            client.session.close()

    def abandon(self) -> None:
        """Forgets all sessions and closes none: they belong to the parent process.

        Called in a child after a fork, where only the forking thread is left.
        """
        _GRAVEYARD.append((self._local, list(self._clients)))
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._local = threading.local()
        self._lock = threading.Lock()  # guards the set of clients
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()

    def _open(self) -> Client:
        session = self._factory()
        if not isinstance(session, requests.Session):
            raise ConfigError(
                f"session_factory returned {type(session).__name__}: "
                "it has to return a requests.Session",
                field="session_factory",
                value=self._factory,
            )
        _pace(session)
        client = Client(session)
        # Bound to the process as well: in a child the threads of its parent are gone too.
        weakref.finalize(client, _retire, session, os.getpid()).atexit = False
        with self._lock:
            self._clients.add(client)
        return client


def _retire(session: requests.Session, process: int) -> None:
    if process == os.getpid():
        session.close()
    else:
        _GRAVEYARD.append(session)


class _Jar(RequestsCookieJar):
    """Looks at an answer's cookies only if it brings any."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        if "set-cookie" in response.info():
            super().extract_cookies(response, request)


def _default_session() -> requests.Session:
    session = requests.Session()
    session.cookies = _Jar()
    return session


def _pace(session: requests.Session) -> None:
    """Takes the place of the adapters that ``requests`` mounts by itself; others stay."""
    ours = WireAdapter()
    for prefix, adapter in [*session.adapters.items()]:
        if type(adapter) is HTTPAdapter and not adapter.max_retries.total:
            session.mount(prefix, ours)


def _environment(session: requests.Session, url: str) -> Environment:
    # Naming the session's own "verify" keeps the environment's bundle from overriding it.
    verify: Any = session.verify
    options: Any = session.merge_environment_settings(url, {}, True, verify, None)
    encrypted = url.lower().startswith("https:")
    if encrypted:
        _check_files(options["verify"], options["cert"])
    netrc = get_netrc_auth(url) if session.trust_env else None
    return Environment(options, netrc, verified=encrypted and bool(options["verify"]))


def _check_files(verify: bool | str | None, cert: str | tuple[str, str] | None) -> None:
    """A missing file is a setting to be repaired; requests raises a bare ``OSError`` for it."""
    bundle = DEFAULT_CA_BUNDLE_PATH if verify is True else verify
    files = {"verify": [bundle] if isinstance(bundle, str) else []}
    files["cert"] = [cert] if isinstance(cert, str) else list(cert or ())
    for field, paths in files.items():
        for path in paths:
            if not Path(path).exists():
                raise ConfigError(
                    f"the file {path!r} for TLS is not there: set the session's {field!r}, or the "
                    "environment's REQUESTS_CA_BUNDLE, to one that is",
                    field=field,
                    value=path,
                )
