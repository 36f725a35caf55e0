"""The values of ``Store``: rules, rows, effects and errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from bytelyst_sync.testing.http_messages import Answer

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "ABSENT",
    "ApiError",
    "Effect",
    "Receive",
    "Record",
    "Row",
    "Rules",
    "Table",
    "iso",
    "matches",
]

Record = dict[str, Any]
Receive = Callable[[Record, float], object]


@dataclass(frozen=True, slots=True)
class Effect:
    """One applied change: what a correct client must cause exactly once.

    ``kind`` is ``create``, ``update``, ``replace`` or ``delete``. ``key`` is the idempotency key,
    and ``data`` is what was sent. ``before`` and ``after`` are the whole record, or ``None`` if
    there was none. ``by`` is ``http`` for requests, and ``other`` for changes made at the server.
    """

    collection: str
    id: str
    kind: str
    key: str | None = None
    data: Record | None = None
    before: Record | None = None
    after: Record | None = None
    at: float = 0.0
    by: str = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a store behaves; a wrong value raises ``ValueError``.

    ``id_source`` is who assigns ids (``client`` or ``server``), ``page_size`` the largest page of a
    pull. ``collections`` are the paths that exist (``None``: any). ``clock`` returns the seconds
    since the epoch. ``receivers`` are called with each record that is posted to a collection, and
    the time of its arrival. A record that exists already is passed to them too, and answered with
    200. If a receiver raises ``ValueError``, the answer is 422.
    """

    id_source: str = "client"
    page_size: int = 100
    idempotency: bool = True
    versions: bool = True
    collections: Collection[str] | None = None
    clock: Callable[[], float] = time.time
    receivers: Mapping[str, Receive] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.id_source not in ("client", "server"):
            raise ValueError(f"id_source={self.id_source!r}: must be 'client' or 'server'")
        if self.page_size < 1:
            raise ValueError(f"page_size={self.page_size!r}: must be at least 1")


@dataclass(frozen=True, slots=True)
class Row:
    """The latest state of one id; ``record`` is ``None`` after a delete."""

    id: Any
    record: Record | None
    version: int
    seq: int
    at: float


ABSENT: Final = Row(None, None, 0, 0, 0.0)
"""The row of an id that never existed."""


@dataclass(slots=True)
class Table:
    """A collection: its rows by id, and the (sequence, id) of every change."""

    rows: dict[str, Row] = field(default_factory=dict)
    order: list[tuple[int, str]] = field(default_factory=list)
    last_id: int = 0


class ApiError(Exception):
    """Ends the processing of a request with an error answer."""

    def __init__(
        self, status: int, message: str, current: Record | None = None, body: object = None
    ) -> None:
        super().__init__(message)
        if body is None:
            body = {"error": message} if current is None else {"error": message, "current": current}
        self.answer = Answer.of(status, body)


def iso(seconds: float) -> str:
    """A time as the server writes it: ISO 8601 in UTC, with microseconds."""
    moment = datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)
    return moment.isoformat(timespec="microseconds") + "Z"


def matches(record: Record, query: Mapping[str, str]) -> bool:
    """Whether a record has these values, compared as texts."""
    texts = {name: record[name] for name in query if name in record}
    for name, value in texts.items():
        texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts == query
