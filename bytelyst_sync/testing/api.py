"""The behaviour that `SyncServer` and `FakeServer` share, whatever carries the requests.

A face reads a request, gives it to `Api._exchange` within `Api._dealing_with`, and sends what comes
back, or breaks it as the fault says. All else is here, once: faults, tokens, latency, the records
of requests, and the `Store`, which owns the data.

Who owns what: the condition guards the scripted faults and the records of requests, and is notified
when a request arrives, when one was processed, and on direct changes; hooks, predicates, waits and
the store run outside of it.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.testing.raw import Answer, Headers, Seen, encode_json
from bytelyst_sync.testing.store import Effect, Record, Rules, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    Match = str | Callable[[Seen], bool] | None

_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer with this, without processing; bytes and text as they are, other bodies as JSON."""

    status: int
    body: Any = None
    headers: Headers = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop:
    """Reset the connection before processing."""


@dataclass(frozen=True, slots=True)
class Lose:
    """Process, then close the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Take so long to process; the request's Idempotency-Key is in progress meanwhile."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Truncate:
    """Process, then send the answer's full Content-Length, half of its body, and close."""


Fault = Reply | Drop | Lose | Stall | Truncate


class Exchange(NamedTuple):
    """What a face is to do: send the answer, or break it as the fault says (`Drop`: send none)."""

    fault: Fault | None
    answer: Answer


class JsonLines:
    """A file of JSON lines, each written at once: it outlives the process, not the machine."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def load(self) -> list[Record]:
        """All whole lines; what a kill left of a last one is cut off. `ValueError` if damaged."""
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


class Api:
    """A REST API that tests can inspect, change and break: what its two faces have in common.

    Any ``/name`` is a collection. `id_source` says who gives ids (``client`` or ``server``),
    `page_size` caps a page of a pull, `collections` limits the paths that exist (`None`: any);
    `state` is a file that keeps everything, `clock` returns epoch seconds.

    `token` (`None`, one bearer token, or several), `latency_s` and `reject` (a callable that may
    answer a request before it is processed) may be set at any time; every method may be called
    from any thread. What the snapshots show is not to be changed.
    """

    def __init__(
        self,
        *,
        id_source: str = "client",
        token: str | Collection[str] | None = None,
        state: str | Path | None = None,
        page_size: int = 100,
        idempotency: bool = True,
        versions: bool = True,
        latency_s: float = 0.0,
        collections: Collection[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.token = token
        self.latency_s = latency_s
        self.reject: Callable[[Seen], Reply | None] | None = None
        self._clock = clock
        rules = Rules(
            id_source=id_source,
            page_size=page_size,
            idempotency=idempotency,
            versions=versions,
            collections=collections,
            clock=clock,
        )
        if state is None:
            self._store = Store(rules)
        else:
            log = JsonLines(state)
            self._store = Store(rules, lines=log.load(), keep=log.append)
        self._changed = threading.Condition()
        self._ticks = 0
        self._in_flight: dict[int, Seen] = {}
        self._requests: list[Seen] = []
        self._script: list[tuple[Fault | None, Match]] = []
        self._standing: list[tuple[Fault, Match]] = []

    @property
    def journal(self) -> list[Effect]:
        """Every applied change, oldest first: a snapshot."""
        return self._store.journal

    @property
    def requests(self) -> list[Seen]:
        """Every request that was dealt with, in that order: a snapshot."""
        with self._changed:
            return list(self._requests)

    @property
    def in_flight(self) -> list[Seen]:
        """The requests that were read and are being dealt with right now: a snapshot."""
        with self._changed:
            return list(self._in_flight.values())

    def records(self, collection: str) -> dict[str, Record]:
        """The live records by id (as text): a snapshot."""
        return self._store.records(collection)

    def put(self, collection: str, record: Record, *, at: float | None = None) -> Record:
        """Create or replace a record as somebody else would; returns it as it is stored."""
        return self._change(collection, "replace", record, at) or {}

    def patch(
        self, collection: str, record_id: object, changes: Record, *, at: float | None = None
    ) -> Record:
        """Change fields of a record as somebody else would; `KeyError` if it is not there."""
        return self._change(collection, "update", {**changes, "id": record_id}, at) or {}

    def remove(self, collection: str, record_id: object, *, at: float | None = None) -> None:
        """Delete a record as somebody else would; `KeyError` if it is not there."""
        self._change(collection, "delete", {"id": record_id}, at)

    def expire_cursors(self) -> None:
        """Make every cursor given so far answer 410."""
        self._store.renew()

    def wipe(self) -> None:
        """Forget all records, tombstones, ids, keys, effects and cursors; requests are kept."""
        self._store.renew(wipe=True)
        self._tick()

    def script(self, *faults: Fault | None, match: Match = None) -> None:
        """Queue faults, each for the next request that fits; `None` lets one through.

        `match` is a callable on the request, a method (``"POST"``), or a method and a path
        (``"GET /notes"``: that path and all below it). Without it any request fits, probes too.
        """
        with self._changed:
            self._script += [(fault, match) for fault in faults]

    def always(self, fault: Fault, match: Match = None) -> None:
        """Do this to every fitting request that the script leaves alone."""
        with self._changed:
            self._standing.append((fault, match))

    def clear_script(self) -> None:
        """Drop all faults, queued and standing."""
        with self._changed:
            self._script.clear()
            self._standing.clear()

    def wait_for(self, predicate: Callable[[], object], timeout: float = 5.0) -> bool:
        """Wait until `predicate` holds, asked after every request and change; `False` if late.

        `timeout` is in seconds of real time.
        """
        deadline = _CLOCK.monotonic() + timeout
        while True:
            with self._changed:
                ticks = self._ticks
            if predicate():
                return True
            with self._changed:
                left = deadline - _CLOCK.monotonic()
                if not self._changed.wait_for(lambda: self._ticks != ticks, max(0.0, left)):  # noqa: B023 - called at once
                    return False

    def _change(self, collection: str, kind: str, data: Record, at: float | None) -> Record | None:
        stored = self._store.change(collection, kind, data, at=at)
        self._tick()
        return stored

    def _tick(self) -> None:
        with self._changed:
            self._ticks += 1
            self._changed.notify_all()

    @contextmanager
    def _dealing_with(self, seen: Seen) -> Iterator[None]:
        """Inside of the block the request is in flight."""
        with self._changed:
            self._in_flight[id(seen)] = seen
        self._tick()
        try:
            yield
        finally:
            with self._changed:
                self._in_flight.pop(id(seen), None)
            self._tick()

    def _exchange(self, seen: Seen, wait: Callable[[float], None]) -> Exchange:
        """Process one request as the script says; `wait` spends seconds, or raises to give up."""
        fault = self._next_fault(seen)
        if isinstance(fault, Drop):
            self._record(seen, 0)
            return Exchange(fault, Answer(0))
        answer = self._answer(seen, fault, wait)
        self._record(seen, answer.status)
        dated = {"Date": formatdate(self._clock(), usegmt=True), **answer.headers}
        return Exchange(fault, replace(answer, headers=dated))

    def _answer(self, seen: Seen, fault: Fault | None, wait: Callable[[float], None]) -> Answer:
        reply = fault if isinstance(fault, Reply) else None
        if reply is None and self.reject is not None:
            reply = self.reject(seen)
        if reply is not None:
            return Answer.of(reply.status, reply.body, reply.headers)
        if not self._authorised(seen):
            challenge = {"WWW-Authenticate": "Bearer"}
            return Answer.of(401, {"error": "missing or unknown bearer token"}, challenge)
        pause_s = self.latency_s + (fault.seconds if isinstance(fault, Stall) else 0.0)
        if pause_s <= 0:
            return self._store.handle(seen)
        return self._store.handle(seen, during=lambda: wait(pause_s))

    def _authorised(self, seen: Seen) -> bool:
        if self.token is None:
            return True
        accepted = (self.token,) if isinstance(self.token, str) else tuple(self.token)
        scheme, _, token = seen.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and token.strip() in accepted

    def _next_fault(self, seen: Seen) -> Fault | None:
        with self._changed:
            scripted, standing = list(self._script), list(self._standing)
        for entry in scripted:
            if _fits(entry[1], seen):
                with self._changed:
                    # Another connection may have taken it since.
                    if any(entry is queued for queued in self._script):
                        self._script = [queued for queued in self._script if queued is not entry]
                        return entry[0]
        return next((fault for fault, match in standing if _fits(match, seen)), None)

    def _record(self, seen: Seen, status: int) -> None:
        with self._changed:
            self._requests.append(replace(seen, status=status, at=self._clock()))


def _fits(match: Match, seen: Seen) -> bool:
    if match is None:
        return True
    if not isinstance(match, str):
        return match(seen)
    method, _, path = match.partition(" ")
    below = f"{path.rstrip('/')}/"
    return method == seen.method and (not path or f"{seen.path}/".startswith(below))
