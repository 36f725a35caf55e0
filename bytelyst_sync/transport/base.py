"""The transport port: one request goes out, one response comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import attrs

__all__ = ["MAX_BODY_BYTES", "Request", "Response", "Transport"]

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The largest body that is accepted from a server, after decompression."""


@attrs.frozen
class Request:
    """One request. ``timeout`` is (connect, read) in seconds.

    ``repr`` shows neither body nor headers nor query. ``authorize`` is false for requests that
    must not carry credentials, such as a probe.
    """

    method: str
    url: str = attrs.field(repr=lambda url: repr(url.split("?")[0]))
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    timeout: tuple[float, float] = (3.05, 30.0)
    authorize: bool = True

    def within(self, seconds: float) -> Request:
        """The same, with no more patience than this for its answer.

        Connecting keeps half a second: with less, a network that is there seems not to be.
        """
        connect, read = self.timeout
        limits = (min(connect, max(seconds, 0.5)), min(read, max(seconds, 0.05)))
        return self if limits == self.timeout else attrs.evolve(self, timeout=limits)


@attrs.frozen
class Response:
    """What came back, whatever its status. Header names are in lower case.

    ``url`` is what answered, ``verified`` tells whether that was over TLS with a verified
    certificate.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    url: str = attrs.field(default="", repr=lambda url: repr(url.split("?")[0]))
    verified: bool = False


@runtime_checkable
class Transport(Protocol):
    """Anything that can carry a request; called from several threads at once.

    Redirects are not followed here. An object may also have ``close()`` and ``after_fork()``.
    """

    def send(self, request: Request) -> Response:
        """Sends and waits for the whole answer.

        Raises ``OfflineError`` if no connection was made, so that nothing can have been
        processed, and ``TransportError`` where the outcome is unknown.
        """
        ...
