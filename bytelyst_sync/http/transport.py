"""The transport port: one request goes out, one response comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import attrs

__all__ = ["MAX_BODY_BYTES", "REQUEST_DEADLINE_S", "Request", "Response", "Transport"]

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The largest body that is accepted from a server, after decompression."""

REQUEST_DEADLINE_S = 60.0
"""The longest time from the call of ``send``, ``auth`` included, to an answer's last byte, unless
another one is configured.
"""


@attrs.frozen
class Request:
    """One request. ``timeout`` is (connect, read) in seconds.

    ``repr`` shows neither body nor headers nor query. ``authorize`` is false for requests that
    must not carry credentials, such as a probe. ``first_bytes``: the rest of the answer's body is
    not needed, and a transport may omit it.
    """

    method: str
    url: str = attrs.field(repr=lambda url: repr(url.split("?")[0]))
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    timeout: tuple[float, float] = (3.05, 30.0)
    authorize: bool = True
    first_bytes: int | None = None

    def within(self, seconds: float) -> Request:
        """The same request with timeouts of at most so many seconds.

        The connect timeout is at least half a second: with less, a working network seems absent.
        """
        connect, read = self.timeout
        limits = (min(connect, max(seconds, 0.5)), min(read, max(seconds, 0.05)))
        return self if limits == self.timeout else attrs.evolve(self, timeout=limits)


@attrs.frozen
class Response:
    """A response of any status. Header names are in lower case.

    ``url`` is the URL that answered. ``verified``: the connection used TLS with a verified
    certificate.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    url: str = attrs.field(default="", repr=lambda url: repr(url.split("?")[0]))
    verified: bool = False


@runtime_checkable
class Transport(Protocol):
    """Anything that can send a request; called from several threads at once.

    Redirects are not followed here. An object may also have ``close()`` and ``after_fork()``.
    """

    def send(self, request: Request) -> Response:
        """Sends and waits for the whole answer.

        Raises ``OfflineError`` if no connection was made, so that nothing can have been
        processed, and ``TransportError`` if the outcome is unknown.
        """
        ...
