"""The port of a pull to the server."""

from __future__ import annotations

from typing import Protocol

from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.responses import AttemptResult

__all__ = ["ServerReader"]


class ServerReader(Protocol):
    """Sends read requests. Called from the thread that pulls."""

    def read(self, codec: EntityCodec, key: str, /) -> AttemptResult:
        """Reads the record from the server; ``GONE`` if there is none."""

    def fetch(self, codec: EntityCodec, request: Request, /) -> Response:
        """The response to the request of a page. Raises ``SyncError``."""

    def is_portal(self, codec: EntityCodec, /) -> bool:
        """Whether a captive portal answers instead of the server; sends a second request."""
