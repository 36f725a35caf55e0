"""A small server written from ``docs/protocol.rst`` alone, in one process with its clients.

It shares no code with the package or with ``bytelyst_sync.testing``: what both would get wrong
alike, a comparison with this one shows. A ``World`` says which of the things that servers in the
field do it does.
"""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import formatdate
from random import Random
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from bytelyst_sync import OfflineError, Request, TransportError
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from tests.typed import present

HTML = b"<html><body><h1>Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class World:
    """What the server does, and what happens on the way to it.

    ``gone`` is how it answers a write to a deleted record: ``404``, ``410``, ``412`` with the
    tombstone as the current record, or ``200`` with the tombstone. ``current`` is where a refusal
    carries the current record: under ``current``, as the ``body``, or nowhere (``read``).
    """

    id_source: Literal["client", "server"] = "client"
    page_size: int = 100
    gone: int = 410
    refusal: int = 412
    current: str = "current"
    keys: bool = True
    """Whether it remembers Idempotency-Keys."""
    normalises: bool = False
    """Whether it trims text and writes numbers and times its own way."""
    whole_seconds: bool = False
    """Whether ``updatedAt`` counts whole seconds, so that times tie."""
    empty_answers: bool = False
    """Whether a write is answered without the record."""
    versions: bool = True
    """Whether it counts versions and compares them."""
    unique: str | None = None
    """A field whose value no two records share."""


class Refusal(Exception):  # noqa: N818 - an answer, not an error of the server
    """Ends a request with this answer."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass
class State:
    """What a backup keeps."""

    rows: dict[str, Any] = field(default_factory=dict)
    """By id: the record, or its tombstone."""
    changes: dict[str, Any] = field(default_factory=dict)
    """By id: the number of its last change."""
    last: int = 0
    last_id: int = 0
    oldest: int = 0
    """Cursors before this one have expired."""
    answers: dict[str, Any] = field(default_factory=dict)
    """By Idempotency-Key."""


class Server:
    """The records of one collection, ``/notes``."""

    def __init__(self, world: World, clock: Callable[[], float] = time.time) -> None:
        self.world = world
        self.clock = clock
        self.state = State()
        self.journal: list[Any] = []
        """The Idempotency-Key of each write that was applied."""

    # --- for who looks at it from outside

    def live(self) -> Json:
        """The records that are not deleted, by id."""
        return {key: row for key, row in self.state.rows.items() if not row.get("deleted")}

    def expire_cursors(self) -> None:
        """All that were given so far; tombstones are forgotten, and the rest is numbered anew."""
        for key, row in list(self.state.rows.items()):
            self.state.changes.pop(key, None)
            if not row.get("deleted"):
                self.state.last += 1
                self.state.changes[key] = self.state.last
        self.state.oldest = self.state.last - len(self.state.changes)

    def change(self, key: str, data: Json | None) -> None:
        """Somebody else writes these fields; ``None`` deletes the record."""
        row = self.live().get(key, {"id": key})
        self.put(key, {"id": key, "deleted": True} if data is None else {**row, **data})

    def backup(self) -> State:
        return copy.deepcopy(self.state)

    def restore(self, backup: State) -> None:
        """As from a backup: all that happened since did not."""
        self.state = copy.deepcopy(backup)

    # --- requests

    def answer(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None
    ) -> tuple[int, Json, Json | None]:
        """Status, headers and body of the answer."""
        parts = urlsplit(url)
        if method == "HEAD":
            return 204, {}, None
        key = headers.get("idempotency-key") if method != "GET" and self.world.keys else None
        if key in self.state.answers:
            found: tuple[int, Json, Json | None] = self.state.answers[key]
            return found
        try:
            done = self.route(method, parts, headers, content)
        except Refusal as refusal:
            return refusal.status, {}, refusal.body
        if method != "GET":
            self.journal.append(headers.get("idempotency-key"))
        if key is not None:
            self.state.answers[key] = done
        return done

    def route(
        self, method: str, parts: SplitResult, headers: dict[str, str], content: bytes | None
    ) -> tuple[int, Json, Json | None]:
        steps = [unquote(step) for step in parts.path.strip("/").split("/")]
        if steps[0] != "notes" or len(steps) > 2:
            raise Refusal(404, {"error": "no such path"})
        data = json.loads(content) if content else None
        if len(steps) == 1:
            return self.collection(method, parse_qs(parts.query), data)
        return self.one(method, steps[1], headers.get("if-match"), data)

    def collection(
        self, method: str, query: Json, data: Json | None
    ) -> tuple[int, Json, Json | None]:
        if method == "GET":
            return self.page(query.get("since", [None])[0])
        if self.world.id_source == "server":
            self.state.last_id += 1
            data = {**present(data), "id": self.state.last_id}
        assert data is not None
        key = str(data["id"])
        self.check_unique(data, key)
        if key in self.live():
            raise Refusal(409, self.shown_as_current(self.state.rows[key]))
        return self.written(201, self.put(key, data))

    def page(self, since: str | None) -> tuple[int, Json, Json]:
        if since is not None and int(since) < self.state.oldest:
            raise Refusal(410, {"error": "the cursor has expired"})
        after = -1 if since is None else int(since)
        found = sorted((number, key) for key, number in self.state.changes.items())
        found = [(n, key) for n, key in found if n > after]
        page = found[: self.world.page_size]
        more = len(found) > len(page)
        rows = [self.state.rows[key] for _, key in page]
        if since is None:
            rows = [row for row in rows if not row.get("deleted")]
        cursor = page[-1][0] if more else max(self.state.last, self.state.oldest)
        return 200, {}, {"items": rows, "cursor": str(cursor), "has_more": more}

    def one(
        self, method: str, key: str, condition: str | None, data: Json | None
    ) -> tuple[int, Json, Json | None]:
        row = self.state.rows.get(key)
        if row is None:
            raise Refusal(404, {"error": "no such record"})
        if row.get("deleted"):
            return self.to_deleted(method, row)
        if method == "GET":
            return 200, self.tag(row), row
        if (
            condition is not None
            and self.world.versions
            and condition.strip('"') != str(row["version"])
        ):
            raise Refusal(self.world.refusal, self.shown_as_current(row))
        if method == "DELETE":
            self.put(key, {"id": row["id"], "deleted": True})
            return 204, {}, None
        assert data is not None
        self.check_unique(data, key)
        return self.written(200, self.put(key, {**row, **data, "id": row["id"]}))

    def to_deleted(self, method: str, row: Json) -> tuple[int, Json, Json]:
        if method == "GET" or method == "DELETE" or self.world.gone in (404, 410):
            status = self.world.gone if self.world.gone in (404, 410) else 404
            raise Refusal(status, {"error": "it was deleted"})
        if self.world.gone == 412:
            raise Refusal(412, {"current": row})
        return 200, {}, row

    def check_unique(self, data: Json, key: str) -> None:
        name = self.world.unique
        if name is None or data.get(name) is None:
            return
        for other, row in self.live().items():
            if other != key and row.get(name) == self.stored(data[name]):
                raise Refusal(409, {"current": row})

    def shown_as_current(self, row: Json) -> Json:
        if self.world.current == "read":
            return {"error": "conflict"}
        return row if self.world.current == "body" else {"error": "conflict", "current": row}

    def put(self, key: str, data: Json) -> Json:
        before = self.state.rows.get(key, {})
        at = int(self.clock()) if self.world.whole_seconds else round(self.clock(), 6)
        stamp = datetime.fromtimestamp(at, timezone.utc).isoformat()
        row = {name: self.stored(value) for name, value in data.items()}
        if self.world.versions:
            row["version"] = before.get("version", 0) + 1
        if not row.get("deleted"):
            row["updatedAt"] = stamp
        self.state.last += 1
        self.state.rows[key] = row
        self.state.changes[key] = self.state.last
        return row

    def stored(self, value: str | int) -> str | float:
        if not self.world.normalises:
            return value
        if isinstance(value, dict):
            return {name: self.stored(each) for name, each in value.items()}
        if isinstance(value, str):
            try:
                return float(value) if "." in value else value.strip()
            except ValueError:
                return value.strip()
        return value

    def tag(self, row: Json) -> Json:
        return {"etag": f'"{row["version"]}"'} if self.world.versions else {}

    def written(self, status: int, row: Json) -> tuple[int, Json, Json | None]:
        headers = self.tag(row)
        if self.world.empty_answers and self.world.id_source == "client":
            return 204, headers, None
        return status, headers, row


class Wire:
    """A transport between one client and the server, on which things go wrong.

    ``trouble`` is how likely a write is lost on its way, its answer lost, or answered by a gateway
    with a page; ``losing`` so many of the next answers are lost.
    """

    def __init__(self, server: Server, rng: Random) -> None:
        self.server = server
        self.rng = rng
        self.online = True
        self.trouble = 0.0
        self.losing = 0
        self.html = False
        self.created: set[Any] = set()
        """The names in what was created through it."""

    def send(self, request: Request) -> Response:
        if not self.online:
            raise OfflineError("the wire is cut")
        writes = request.method not in ("GET", "HEAD")
        fate = self.fate() if writes else None
        if fate == "lost on the way":
            raise TransportError("the connection broke")
        if fate == "gateway":
            return self.page(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        status, more, body = self.server.answer(request.method, request.url, headers, request.body)
        if request.method == "POST" and status == 201:
            self.created.add(json.loads(present(request.body)).get("name"))
        if fate == "answer lost":
            raise TransportError("the answer was lost")
        if fate == "gateway after":
            return self.page(request)
        content = b"" if body is None else json.dumps(body).encode()
        date = formatdate(self.server.clock(), usegmt=True)
        return Response(status, {**more, "date": date}, content, request.url)

    def fate(self) -> str | None:
        if self.losing:
            self.losing -= 1
            return "answer lost"
        if self.rng.random() >= self.trouble:
            return None
        fates = ["lost on the way", "answer lost", "answer lost"]
        found: str | None = self.rng.choice(
            [*fates, *(("gateway", "gateway after") if self.html else ())]
        )
        return found

    def page(self, request: Request) -> Response:
        return Response(502, {"content-type": "text/html"}, HTML, request.url)
