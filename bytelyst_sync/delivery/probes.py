"""Probes: callables that return whether the network is there.

A probe returns ``True`` or ``False`` and raises nothing; it is called by one thread at a time.
Any callable that returns a bool is one.
"""

from __future__ import annotations

import socket
from typing import Any

import attrs

from bytelyst_sync.errors import ConfigError, OfflineError, SyncError, TransportError
from bytelyst_sync.http.redirects import is_from_server
from bytelyst_sync.http.requests_transport import HttpTransport
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.http.urls import origin, redacted

__all__ = ["HttpProbe", "TcpProbe"]


def _positive(_: Any, field: attrs.Attribute[float], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ConfigError(
            f"{field.name} is {value!r}: a number of seconds above 0 is needed",
            field=field.name,
            value=value,
        )


def _port(_: Any, field: attrs.Attribute[int], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise ConfigError(
            f"{field.name} is {value!r}: a number from 1 to 65535 is needed",
            field=field.name,
            value=value,
        )


def _host(_: Any, field: attrs.Attribute[str], value: Any) -> None:
    if not isinstance(value, str) or not value or "/" in value:
        raise ConfigError(
            f"{field.name} is {value!r}: a host name or an address is needed",
            field=field.name,
            value=value,
        )


def _url(_: Any, __: attrs.Attribute[str], value: str) -> None:
    origin(value)


@attrs.frozen
class TcpProbe:
    """Online is when ``host`` takes a connection on ``port`` within ``timeout`` seconds.

    The time counts for each of the host's addresses; the look-up of its name takes what the
    system's resolver takes.
    """

    host: str = attrs.field(validator=_host)
    port: int = attrs.field(validator=_port)
    timeout: float = attrs.field(default=3.0, validator=_positive)

    def __call__(self) -> bool:
        """Tells whether a connection was made; it is closed at once."""
        try:
            socket.create_connection((self.host, self.port), self.timeout).close()
        except (OSError, UnicodeError):
            return False
        return True


@attrs.frozen
class HttpProbe:
    """Online is when ``url`` gives any HTTP answer, except that of a captive portal.

    Asks with HEAD, and with GET where HEAD is not served (405, 501): a portal may answer only
    that. ``timeout`` is in seconds, for connecting and for each answer. The environment's proxies
    are used; no credentials are sent, no redirect is followed, and no connection is kept. A
    portal is a redirect to another host over plain http, or status 511 (RFC 6585); 407 is a proxy
    that asks for a password. Certificates are verified: a portal in place of an https server is no
    answer.
    """

    url: str = attrs.field(validator=_url, repr=lambda url: repr(redacted(url)))
    timeout: float = attrs.field(default=3.05, validator=_positive)

    def __call__(self) -> bool:
        """Tells whether the server answered, and not a portal in its place."""
        transport = HttpTransport()
        try:
            answer = self._ask(transport, "HEAD")
            if answer.status in {405, 501}:
                try:
                    answer = self._ask(transport, "GET")
                except OfflineError:
                    return False
                except TransportError:
                    return True  # HEAD was answered; GET may be too large or too slow to read
            return is_from_server(answer, self.url)
        except SyncError:
            return False
        finally:
            transport.close()

    def _ask(self, transport: HttpTransport, method: str) -> Response:
        timeout = (self.timeout, self.timeout)
        headers = {"Cache-Control": "no-store"}
        return transport.send(Request(method, self.url, headers, timeout=timeout, authorize=False))
