"""A batch endpoint in front of a server that has none: ``POST /batch`` as ``BatchFormat`` says it.

Some of the operations in a batch meet a fault of their own: a status in place of their answer, or
no answer at all.
"""

import json
import random
import threading
from collections.abc import Callable
from typing import Any

from bytelyst_sync.testing.raw import Answer, RecordedRequest, encode_json

__all__ = ["BatchFace"]


class BatchFace:
    """``rate`` is the share of operations that meet a fault of their own."""

    def __init__(self, rng: random.Random, rate: float) -> None:
        self._lock = threading.Lock()
        self._rng = rng
        self.rate = rate
        self.batches = 0
        self.operations = 0
        self.part_faults = 0

    def __call__(
        self, seen: RecordedRequest, send: Callable[[RecordedRequest], Answer]
    ) -> Answer | None:
        """The answer to a batch; ``None`` for any other request."""
        if seen.path != "/batch":
            return None
        if not isinstance(seen.body, dict) or not isinstance(seen.body.get("requests"), list):
            return Answer.of(400, {"error": "no list of requests"})
        asked = seen.body["requests"]
        with self._lock:
            self.batches += 1
            self.operations += len(asked)
            draws = [self._draw() for _ in asked]
            shortened = self._rng.random() < self.rate / 5
        parts = [
            self._part(seen, request, draw, send)
            for request, draw in zip(asked, draws, strict=True)
        ]
        if shortened:
            del parts[len(parts) // 2 :]
        return Answer.of(200, {"responses": parts})

    def _draw(self) -> tuple[str, int] | None:
        if self._rng.random() >= self.rate:
            return None
        self.part_faults += 1
        kind = self._rng.choice(("before", "after", "busy", "no status"))
        return kind, self._rng.choice((500, 502, 504))

    def _part(
        self,
        seen: RecordedRequest,
        request: dict[str, Any],
        draw: tuple[str, int] | None,
        send: Callable[[RecordedRequest], Answer],
    ) -> dict[str, object]:
        kind, code = draw or (None, 0)
        if kind == "before":
            return {"status": code, "headers": {}, "body": {"error": "not done"}}
        if kind == "busy":
            return {"status": 429, "headers": {"Retry-After": "0"}, "body": None}
        answer = send(_alone(seen, request))
        if kind == "after":
            return {"status": code, "headers": {}, "body": {"error": "done"}}
        if kind == "no status":
            return {"headers": {}}
        body = json.loads(answer.body) if answer.body else None
        return {"status": answer.status, "headers": dict(answer.headers), "body": body}


def _alone(seen: RecordedRequest, request: dict[str, Any]) -> RecordedRequest:
    """One operation of the batch, as the request that it would be alone: to the byte, or the
    server would not know it again when it comes alone.
    """
    content = b"" if request.get("body") is None else encode_json(request["body"])
    headers = {name.lower(): str(value) for name, value in (request.get("headers") or {}).items()}
    if "authorization" in seen.headers:
        headers["authorization"] = seen.headers["authorization"]
    headers["content-type"] = "application/json"
    return RecordedRequest.of(request["method"], request["path"], headers, content)
