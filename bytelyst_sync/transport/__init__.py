"""How requests travel: the port, and what stands behind it."""

from __future__ import annotations

from bytelyst_sync.transport.base import Request, Response, Transport

__all__ = ["Request", "Response", "Transport"]
