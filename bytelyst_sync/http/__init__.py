"""HTTP: the transport port and its implementations, with bounds on time and size."""

from __future__ import annotations

from bytelyst_sync.http.transport import Request, Response, Transport

__all__ = ["Request", "Response", "Transport"]
