"""`SyncServer`: the default API of SPEC section 8 on loopback, with faults on demand.

Run as a program it serves until SIGTERM:
``python -m bytelyst_sync.testing.server --port 8000 --state notes.jsonl``

Who owns what: the `Listener` owns the sockets and the threads, the `Store` the records. The
server's condition guards the scripted faults and the records of requests, and is notified when a
request arrives, when one was processed, and on direct changes; hooks, predicates and the store run
outside of it. Every connection's thread ends within `stop()`.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bytelyst_sync.testing.raw import Answer, Headers, Line, Listener, Seen, encode_json
from bytelyst_sync.testing.store import Effect, Record, Rules, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from typing_extensions import Self

    Match = str | Callable[[Seen], bool] | None


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


class SyncServer:
    """A REST API on loopback that tests can inspect, change and break; a context manager.

    Any ``/name`` is a collection. `token` (`None`, one bearer token, or several), `latency_s` and
    `reject` (a callable that may answer a request before it is processed) may be set at any time;
    every method may be called from any thread. What the snapshots show is not to be changed.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
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
        self.host = host
        self.port = port
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
        self._listener: Listener | None = None
        self._changed = threading.Condition()
        self._ticks = 0
        self._in_flight: dict[int, Seen] = {}
        self._requests: list[Seen] = []
        self._script: list[tuple[Fault | None, Match]] = []
        self._standing: list[tuple[Fault, Match]] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; with port 0 the system chooses one, which is kept from then on."""
        if self._listener is None:
            self._listener = Listener(self.host, self.port, self._serve)
            self.port = int(self._listener.server_address[1])

    def stop(self, timeout: float = 5.0) -> None:
        """Refuse connections, cut the live ones, end the threads; `start()` goes on from there."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.close(timeout)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Refuse connections inside of the block, and serve on the same port after it."""
        self.stop()
        with socket.socket() as held:
            # Bound but not listening: refused, and nobody else can be given the port meanwhile.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((self.host, self.port))
            try:
                yield
            finally:
                held.close()
                self.start()

    @property
    def url(self) -> str:
        """Where the server is, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

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
        """Wait until `predicate` holds, asked after every request and change; `False` if late."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                ticks = self._ticks
            if predicate():
                return True
            with self._changed:
                left = deadline - time.monotonic()
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

    def _serve(self, line: Line) -> None:
        open_ = True
        while open_:
            try:
                seen = line.read()
            except ValueError as error:
                line.send(Answer.of(400, {"error": str(error)}, {"Connection": "close"}).encode())
                return
            if seen is None:
                return
            with self._changed:
                self._in_flight[id(line)] = seen
            self._tick()
            try:
                open_ = self._exchange(line, seen)
            finally:
                with self._changed:
                    self._in_flight.pop(id(line), None)
                self._tick()

    def _exchange(self, line: Line, seen: Seen) -> bool:
        """Deal with one request; says whether the connection stays open."""
        fault = self._next_fault(seen)
        if isinstance(fault, Drop):
            line.reset()
            self._record(seen, 0)
            return False
        answer = self._answer(line, seen, fault)
        self._record(seen, answer.status)
        if isinstance(fault, Lose):
            return False
        closing = seen.headers.get("connection", "").lower() == "close"
        headers = {"Date": formatdate(self._clock(), usegmt=True), **answer.headers}
        if closing:
            headers["Connection"] = "close"
        answer = replace(answer, headers=headers)
        if isinstance(fault, Truncate):
            half = replace(answer, body=answer.body[: len(answer.body) // 2])
            line.send(half.encode(declared=len(answer.body)))
            return False
        line.send(answer.encode(head_only=seen.method == "HEAD"))
        return not closing

    def _answer(self, line: Line, seen: Seen, fault: Fault | None) -> Answer:
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
        return self._store.handle(seen, during=lambda: line.wait(pause_s))

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


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bytelyst_sync.testing.server",
        description="Serve bytelyst_sync's default API on loopback, for tests and trials.",
    )
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--state", metavar="FILE", help="keep everything in this file")
    parser.add_argument("--token", action="append", help="a bearer token to ask for; repeatable")
    parser.add_argument("--id-source", choices=("client", "server"), default="client")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args(argv)
    if not 0 <= options.port <= 65_535:
        parser.error(f"--port {options.port}: must be within 0 and 65535")
    if not 0 <= options.latency_ms <= 3_600_000:
        parser.error(f"--latency-ms {options.latency_ms}: must be within 0 and 3600000")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server = SyncServer(
            options.port,
            id_source=options.id_source,
            token=options.token,
            state=options.state,
            latency_s=options.latency_ms / 1000,
        )
        server.start()
    except (OSError, ValueError) as error:
        parser.exit(1, f"cannot serve: {error}\n")
    sys.stdout.write(f"listening on {server.url}\n")
    sys.stdout.flush()
    stopped.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
