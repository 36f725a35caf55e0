"""One ``requests.Session`` per thread, and what both transports do around an exchange.

Guarantees: a session is created in one thread and used by that thread only. It is closed by
``close()``, or when its thread ends. A forked child neither uses nor closes a session of its
parent: the connections belong to the parent. What a request imports is imported before: if another
thread forks during an import, the child keeps a module that is never complete.

A thread has a strong reference to its ``Client`` in a ``threading.local``; all other references are
weak. So it is released when the thread ends, and a finalizer closes the session. ``close()`` may
run while other threads send: they still get their answers, and a new session afterwards.
"""

from __future__ import annotations

import netrc  # noqa: F401 - requests would import it during a request; see above
import os
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import attrs
import requests
from requests.cookies import RequestsCookieJar
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_netrc_auth

from bytelyst_sync.errors import ConfigError, OfflineError
from bytelyst_sync.http.adapter import bound_adapters
from bytelyst_sync.http.deadlines import RequestDeadline
from bytelyst_sync.http.failures import failure, is_final
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.http.urls import server_name

__all__ = ["Client", "Environment", "SessionTransport"]

_IMPORTED_BY = os.getpid()
_keep_alive_forever: list[object] = []
"""Sessions of parent processes, referenced for ever so that the garbage collector closes none."""


@attrs.frozen
class Environment:
    """The settings of the session and the environment for one origin."""

    send_options: dict[str, Any] = attrs.field(repr=False)
    netrc: tuple[str, str] | None = attrs.field(repr=False)
    verified: bool


@attrs.define(eq=False, weakref_slot=True)
class Client:
    """The session of one thread. Any thread may set ``closed``; this thread reads it."""

    session: requests.Session
    closed: bool = False
    _environments: dict[str, Environment] = attrs.field(factory=dict, repr=False)

    def environment(self, url: str) -> Environment:
        """Proxies, certificates and netrc for an origin, read at the first request to it.

        ``requests`` reads them for every request, which takes most of its time.
        """
        server = "/".join(url.split("/", 3)[:3])
        known = self._environments.get(server)
        if known is None:
            known = self._environments[server] = _environment(self.session, url)
        return known

    def forget(self) -> None:
        """Makes the next request read them again: the machine may be in another network."""
        self._environments.clear()


class SessionTransport(ABC):
    """A transport that sends with the calling thread's session. Any thread may call any method.

    The time of a request, ``request_deadline`` seconds, begins with ``send``: what the factory, and
    a user's ``auth`` or adapter, take of it is not left for the request.
    """

    def __init__(
        self, factory: Callable[[], requests.Session] | None, request_deadline: float
    ) -> None:
        self._factory = factory or _default_session
        self._request_deadline = request_deadline
        self._begin()

    def send(self, request: Request) -> Response:
        """Sends once and waits for the whole answer, whatever its status.

        ``request.timeout`` is (connect, read) in seconds. A body may take one more second for every
        8 KiB, and may have 64 MiB.

        Raises ``OfflineError`` if no connection was made, ``TransportError`` if the outcome is
        unknown, ``ConfigError`` for a URL or header that cannot be sent, ``AuthError`` if ``auth``
        raised. Every exception of other code becomes one of these, also if it is no ``Exception``,
        except for ``KeyboardInterrupt`` in the main thread.
        """
        client: Client | None = None
        try:
            with RequestDeadline(self._request_deadline):
                client = self._client()
                response = self._exchange(client, request)
        except BaseException as error:
            if client is not None:
                client.forget()
            if is_final(error):
                raise
            once = client is None or self._sends_once(client, request)
            raise failure(error, request.url, sent_once=once) from error
        finally:
            if client is not None and client.closed:
                client.session.close()  # close() was called meanwhile: closes later connections
        if response.status == 401:
            client.forget()
        return response

    def close(self) -> None:
        """Closes the sessions of all threads; requests under way still get their answers.

        The transport remains usable: the next request opens a new session.
        """
        if self._process != os.getpid():
            self.after_fork()
        with self._lock:
            clients = list(self._clients)
            self._clients.clear()
        for client in clients:
            client.closed = True
            client.session.close()

    def after_fork(self) -> None:
        """In a forked child: forgets the parent's sessions without closing them."""
        _keep_alive_forever.append((self._local, list(self._clients)))
        self._begin()

    @abstractmethod
    def _exchange(self, client: Client, request: Request) -> Response:
        """Sends, and reads the answer; may raise anything."""

    def _sends_once(self, _client: Client, _request: Request) -> bool:
        """Whether nothing below this class repeats a request."""
        return True

    def _begin(self) -> None:
        self._process = os.getpid()
        self._local = threading.local()
        self._lock = threading.Lock()  # guards the set of clients
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()

    def _client(self) -> Client:
        """The calling thread's client, created at its first use."""
        if self._process != os.getpid():
            self.after_fork()
        client: Client | None = getattr(self._local, "client", None)
        if client is None or client.closed:
            client = self._local.client = self._open()
        return client

    def _open(self) -> Client:
        session = self._factory()
        if not isinstance(session, requests.Session):
            raise ConfigError(
                f"session_factory returned {type(session).__name__}: "
                "it has to return a requests.Session",
                field="session_factory",
                value=self._factory,
            )
        bound_adapters(session)
        client = Client(session)
        # the process is checked too: in a forked child, the parent's threads have ended
        weakref.finalize(client, _retire, session, os.getpid()).atexit = False
        with self._lock:
            self._clients.add(client)
        return client


def _retire(session: requests.Session, process: int) -> None:
    if process == os.getpid():
        session.close()
    else:
        _keep_alive_forever.append(session)


class _Jar(RequestsCookieJar):
    """A cookie jar that processes a response only if it has cookies."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        if "set-cookie" in response.info():
            super().extract_cookies(response, request)


def _default_session() -> requests.Session:
    session = requests.Session()
    session.cookies = _Jar()
    return session


def _environment(session: requests.Session, url: str) -> Environment:
    # the session's own "verify" is passed, so that the environment's bundle does not replace it
    verify: Any = session.verify
    proxies = _without_system_proxies(url) if _is_forked_on_macos() else {}
    options: Any = session.merge_environment_settings(url, proxies, True, verify, None)
    encrypted = url.lower().startswith("https:")
    if encrypted:
        _check_files(url, options["verify"], options["cert"])
    login = get_netrc_auth(url) if session.trust_env else None
    return Environment(options, login, verified=encrypted and bool(options["verify"]))


def _is_forked_on_macos() -> bool:
    """Whether reading the proxies of macOS would end the process: its frameworks do not work in a
    forked child (https://github.com/python/cpython/issues/77906).
    """
    return sys.platform == "darwin" and os.getpid() != _IMPORTED_BY and not getproxies_environment()


def _without_system_proxies(url: str) -> dict[str, str]:
    """Settings with which requests uses no proxy for the host, and does not query the system."""
    return {"no_proxy": urlsplit(url).hostname or ""}


def _check_files(url: str, verify: bool | str | None, cert: str | tuple[str, str] | None) -> None:
    """Raises ``OfflineError`` for a missing file: it may be replaced by an upgrade, or on a disk
    that is not mounted yet.
    """
    bundle = DEFAULT_CA_BUNDLE_PATH if verify is True else verify
    files = {"verify": [bundle] if isinstance(bundle, str) else []}
    files["cert"] = [cert] if isinstance(cert, str) else list(cert or ())
    for field, paths in files.items():
        for path in paths:
            if not os.access(path, os.R_OK):
                raise OfflineError(
                    f"no connection to {server_name(url)}: the file {path!r} for TLS cannot be "
                    f"read. Put it there, or set the session's {field!r} or the environment's "
                    "REQUESTS_CA_BUNDLE to another one; it is looked for again at the next attempt"
                )
