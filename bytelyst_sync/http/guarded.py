"""A transport that asks before each request whether it may be sent."""

from __future__ import annotations

from collections.abc import Callable

from bytelyst_sync.errors import TransportError
from bytelyst_sync.http.transport import Request, Response, Transport

__all__ = ["GuardedTransport"]


class GuardedTransport:
    """Sends what ``allowed`` allows. ``refusal`` is the text of the error for all else."""

    def __init__(self, transport: Transport, allowed: Callable[[], bool], refusal: str) -> None:
        self._transport = transport
        self._allowed = allowed
        self._refusal = refusal

    def send(self, request: Request) -> Response:
        """See ``Transport``."""
        if self._allowed():
            return self._transport.send(request)
        raise TransportError(self._refusal)
