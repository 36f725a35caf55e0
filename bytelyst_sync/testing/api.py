"""The behaviour that ``SyncServer`` and ``FakeServer`` share.

A server class reads a request, passes it to ``Api._exchange`` within ``Api._handling``, and sends
the answer, or breaks it as the fault says. Everything else is here: tokens, latency, direct
changes, and the ``Store``, which owns the data; ``ScriptedFaults`` has the faults and the records
of requests.

Hooks and the store run outside of the condition of ``ScriptedFaults``.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.testing.dialect_api.store import DialectStore
from bytelyst_sync.testing.faults import (
    Drop,
    DropAnswer,
    Fault,
    Lose,
    Reply,
    ScriptedFaults,
    Stall,
    Truncate,
)
from bytelyst_sync.testing.http_messages import Answer, RecordedRequest, encode_json
from bytelyst_sync.testing.store import Store
from bytelyst_sync.testing.store_values import Effect, Receive, Record, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bytelyst_sync.config.settings import GivenEntity

__all__ = [
    "Api",
    "ApiSettings",
    "Drop",
    "DropAnswer",
    "Fault",
    "Lose",
    "Reply",
    "Stall",
    "Truncate",
]


class JsonLines:
    """A file of JSON lines. A line survives a crash of the process, not of the machine."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def load(self) -> list[Record]:
        """All complete lines; removes an incomplete last line. ``ValueError`` if the file is
        damaged.
        """
        content = self._path.read_bytes() if self._path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self._path.open("r+b") as file:
                file.truncate(whole)
        return [json.loads(line) for line in content[:whole].splitlines()]

    def append(self, line: Record) -> None:
        """Add one line."""
        with self._path.open("ab", buffering=0) as file:
            file.write(encode_json(line) + b"\n")


class ApiSettings(TypedDict, total=False):
    """The keywords of ``Api``, for type checkers."""

    dialect: Dialect | None
    entities: Mapping[str, GivenEntity] | None
    id_source: str
    token: str | Collection[str] | None
    state: str | Path | None
    page_size: int
    idempotency: bool
    versions: bool
    latency_s: float
    collections: Collection[str] | None
    clock: Callable[[], float]
    receivers: Mapping[str, Receive] | None


class Api(ScriptedFaults):
    """A REST API that tests can inspect, change and break: the common part of two server classes.

    Any ``/name`` is a collection, and the API is the default one. With a ``dialect`` it is the API
    that this dialect describes. ``entities``, as in ``SyncConfig``, names its collections, with
    their endpoints, id fields, sources of ids and dialects; without them any ``/name`` is one.

    ``id_source`` is who assigns ids (``client`` or ``server``), ``page_size`` the largest page of a
    pull. ``collections`` are the paths that exist (``None``: any). ``state`` is a file that stores
    everything; ``clock`` returns the seconds since the epoch. ``receivers`` are called with records
    that are posted to a collection of the default API, such as the events of experiments: see
    ``Rules``.

    ``token`` (``None``, one bearer token, or several), ``latency_s`` and ``reject`` (a callable
    that may answer a request before it is processed) may be set at any time; every method may be
    called from any thread. Do not change the values in snapshots.
    """

    # twelve arguments: settings with defaults, of which a test passes one or two, by name
    def __init__(
        self,
        *,
        dialect: Dialect | None = None,
        entities: Mapping[str, GivenEntity] | None = None,
        id_source: str = "client",
        token: str | Collection[str] | None = None,
        state: str | Path | None = None,
        page_size: int = 100,
        idempotency: bool = True,
        versions: bool = True,
        latency_s: float = 0.0,
        collections: Collection[str] | None = None,
        clock: Callable[[], float] = time.time,
        receivers: Mapping[str, Receive] | None = None,
    ) -> None:
        super().__init__(clock)
        self.token = token
        self.latency_s = latency_s
        self.reject: Callable[[RecordedRequest], Reply | None] | None = None
        rules = Rules(
            id_source=id_source,
            page_size=page_size,
            idempotency=idempotency,
            versions=versions,
            collections=collections,
            clock=clock,
            receivers={} if receivers is None else receivers,
        )
        log_options: dict[str, Any] = {}
        if state is not None:
            log = JsonLines(state)
            log_options = {"lines": log.load(), "keep": log.append}
        if dialect is None and entities is None:
            self._store = Store(rules, **log_options)
        else:
            default = Dialect() if dialect is None else dialect
            self._store = DialectStore(rules, default, entities, **log_options)

    @property
    def journal(self) -> list[Effect]:
        """Every applied change, oldest first: a snapshot."""
        return self._store.journal

    def records(self, collection: str) -> dict[str, Record]:
        """The live records by id (as text): a snapshot."""
        return self._store.records(collection)

    def put(self, collection: str, record: Record, *, at: float | None = None) -> Record:
        """Create or replace a record as somebody else would; returns it as it is stored."""
        return self._change(collection, "replace", record, at) or {}

    def patch(
        self, collection: str, record_id: object, changes: Record, *, at: float | None = None
    ) -> Record:
        """Change fields of a record as somebody else would; ``KeyError`` if it is not there."""
        return (
            self._change(
                collection, "update", {**changes, **self._named(collection, record_id)}, at
            )
            or {}
        )

    def remove(self, collection: str, record_id: object, *, at: float | None = None) -> None:
        """Delete a record as somebody else would; ``KeyError`` if it is not there."""
        self._change(collection, "delete", self._named(collection, record_id), at)

    def _named(self, collection: str, record_id: object) -> Record:
        return {self._store.id_field(collection): record_id}

    def expire_cursors(self) -> None:
        """Make the server answer 410 to all former cursors."""
        self._store.renew()

    def wipe(self) -> None:
        """Forget all records, tombstones, ids, keys, effects and cursors; requests are kept."""
        self._store.renew(wipe=True)
        self._tick()

    def _change(self, collection: str, kind: str, data: Record, at: float | None) -> Record | None:
        stored = self._store.change(collection, kind, data, at=at)
        self._tick()
        return stored

    def _answer(
        self, request: RecordedRequest, fault: Fault | None, wait: Callable[[float], None]
    ) -> Answer:
        answer = self._processed(request, fault, wait)
        dated = {"Date": formatdate(self._clock(), usegmt=True), **answer.headers}
        return replace(answer, headers=dated)

    def _processed(
        self, request: RecordedRequest, fault: Fault | None, wait: Callable[[float], None]
    ) -> Answer:
        reply = fault if isinstance(fault, Reply) else None
        if reply is None and self.reject is not None:
            reply = self.reject(request)
        if reply is not None:
            return Answer.of(reply.status, reply.body, reply.headers)
        if not self._authorised(request):
            challenge = {"WWW-Authenticate": "Bearer"}
            return Answer.of(401, {"error": "missing or unknown bearer token"}, challenge)
        pause_s = self.latency_s + (fault.seconds if isinstance(fault, Stall) else 0.0)
        if pause_s <= 0:
            return self._store.handle(request)
        return self._store.handle(request, during=lambda: wait(pause_s))

    def _authorised(self, request: RecordedRequest) -> bool:
        if self.token is None:
            return True
        accepted = (self.token,) if isinstance(self.token, str) else tuple(self.token)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and token.strip() in accepted
