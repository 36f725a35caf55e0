"""The default API of SPEC section 8, as behaviour without sockets.

`Store.handle` answers a request as a well-made REST API would: versions, preconditions,
tombstones, cursors, idempotency keys. A face puts it behind a socket or a mocked transport.

Who owns what: one lock guards the tables, the journal, the remembered answers and the log. It is
held for one request's pure work and one line of the log, never while user code but the clock runs.
Records are replaced, never changed in place, so what a snapshot shows does not move afterwards.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from bytelyst_sync.testing.raw import Answer, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

Record = dict[str, Any]
Outcome = tuple[Answer, "Effect | None"]

WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
KINDS: Final = {"PUT": "replace", "PATCH": "update", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Effect:
    """One applied change: what a correct client must cause exactly once.

    `kind` is ``create``, ``update``, ``replace`` or ``delete``; `key` the Idempotency-Key; `data`
    what was sent; `before` and `after` the whole record, `None` where
    there is none; `by` is ``http`` for requests, ``other`` for changes made at the server.
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
    """How a store behaves; a wrong value raises `ValueError`.

    `id_source` says who gives ids (``client`` or ``server``), `page_size` caps a page of a pull,
    `collections` limits the paths that exist (`None`: any), `clock` returns epoch seconds.
    """

    id_source: str = "client"
    page_size: int = 100
    idempotency: bool = True
    versions: bool = True
    collections: Collection[str] | None = None
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if self.id_source not in ("client", "server"):
            raise ValueError(f"id_source={self.id_source!r}: must be 'client' or 'server'")
        if self.page_size < 1:
            raise ValueError(f"page_size={self.page_size!r}: must be at least 1")


@dataclass(frozen=True, slots=True)
class _Row:
    """One id's newest state; `record` is `None` once it was deleted."""

    id: Any
    record: Record | None
    version: int
    seq: int


_NOTHING: Final = _Row(None, None, 0, 0)


@dataclass(slots=True)
class _Table:
    """A collection: rows by id, and every change's (sequence, id), stale ones included."""

    rows: dict[str, _Row] = field(default_factory=dict)
    order: list[tuple[int, str]] = field(default_factory=list)
    last_id: int = 0


class _ApiError(Exception):
    """Ends a request's processing with an error answer."""

    def __init__(self, status: int, message: str, current: Record | None = None) -> None:
        super().__init__(message)
        body: Record = {"error": message}
        self.answer = Answer.of(status, body if current is None else {**body, "current": current})


class Store:
    """Collections of records behind the default API; safe to call from any thread.

    `keep` is given each effect together with its remembered answer, as one JSON object, before
    it takes hold; `lines`, what was kept so far, bring an earlier store's state back.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        lines: Iterable[Record] = (),
        keep: Callable[[Record], object] = lambda _line: None,
    ) -> None:
        self.rules = rules
        self._keep = keep
        self._lock = threading.Lock()
        self._in_progress: set[str] = set()
        self._forget()
        for line in lines:
            self._apply(line)
        if not self._epoch:
            self._commit({"epoch": secrets.token_hex(4)})

    def handle(self, request: Seen, *, during: Callable[[], None] | None = None) -> Answer:
        """Process one request and return its answer.

        `during` stands for the time the work takes: it is called outside of the lock while the
        request's Idempotency-Key counts as in progress. If it raises, nothing was done.
        """
        key = request.headers.get("idempotency-key") if request.method in WRITES else None
        early = self._reserve(request, key)
        try:
            if during is not None:
                during()
            if early is not None:
                return early
            with self._lock:
                return self._process(request, key)
        finally:
            if early is None and key is not None:
                with self._lock:
                    self._in_progress.discard(key)

    @property
    def journal(self) -> list[Effect]:
        """Every applied effect, oldest first: a snapshot."""
        with self._lock:
            return list(self._journal)

    def records(self, collection: str) -> dict[str, Record]:
        """The live records by id: a snapshot."""
        with self._lock:
            rows = self._tables[collection].rows.items()
            return {key: dict(row.record) for key, row in rows if row.record is not None}

    def change(
        self, collection: str, kind: str, data: Record, *, at: float | None = None
    ) -> Record | None:
        """Change the record with the `id` of `data` as somebody else would, at epoch time `at`.

        `kind` as in `Effect`; ``create`` and ``replace`` stand for each other. Returns what is
        stored then (`None` after a delete). `KeyError` if there is nothing to update or delete.
        """
        with self._lock:
            record_id = data.get("id")
            if record_id is None:
                record_id = self._tables[collection].last_id + 1
                data = {**data, "id": record_id}
            exists = self._current(collection, str(record_id)) is not None
            if kind in ("create", "replace"):
                kind = "replace" if exists else "create"
            elif not exists:
                raise KeyError(f"{collection}/{record_id} is not there")
            sent = None if kind == "delete" else deepcopy(data)
            effect = self._effect(collection, str(record_id), kind, sent, at)
            self._commit({"effect": _as_line(effect, by="other")})
            return effect.after

    def renew(self, *, wipe: bool = False) -> None:
        """Make every cursor given so far answer 410; with `wipe`, forget everything else too."""
        with self._lock:
            self._commit({"epoch": secrets.token_hex(4), "wipe": wipe})

    def _reserve(self, request: Seen, key: str | None) -> Answer | None:
        """Claim the key for this request, or answer at once: a replay, 422 or 409."""
        if key is None or not self.rules.idempotency:
            return None
        with self._lock:
            if key in self._in_progress:
                return _ApiError(409, "this Idempotency-Key's request is in progress").answer
            if key not in self._answers:
                self._in_progress.add(key)
                return None
            fingerprint, answer = self._answers[key]
        if fingerprint != _fingerprint(request):
            return _ApiError(422, "this Idempotency-Key was used for another request").answer
        return replace(answer, headers={**answer.headers, "Idempotent-Replayed": "true"})

    def _process(self, request: Seen, key: str | None) -> Answer:
        line: Record = {}
        try:
            answer, effect = self._route(request)
            if effect is not None:
                line["effect"] = _as_line(effect, key=key)
        except _ApiError as refused:
            answer = refused.answer
        if key is not None and self.rules.idempotency:
            kept = [answer.status, dict(answer.headers), answer.body.decode()]
            line["answer"] = [key, _fingerprint(request), *kept]
        if line:
            self._commit(line)
        return answer

    def _route(self, request: Seen) -> Outcome:
        if request.method == "HEAD":
            return Answer(204), None
        try:
            name, *rest = (unquote(part, errors="strict") for part in request.path[1:].split("/"))
        except UnicodeDecodeError:
            raise _ApiError(400, "the path is not percent-encoded UTF-8") from None
        known = self.rules.collections
        if not name or "" in rest or len(rest) > 1 or (known is not None and name not in known):
            raise _ApiError(404, f"nothing is at {request.path}")
        if rest:
            return self._route_record(request, name, rest[0])
        if request.method == "GET":
            return self._pull(request, name), None
        if request.method == "POST":
            return self._create(request, name)
        raise _ApiError(405, f"{request.method} is not for a collection")

    def _create(self, request: Seen, name: str) -> Outcome:
        data = _object(request)
        if self.rules.id_source == "server":
            named = {**data, "id": self._tables[name].last_id + 1}
            effect = self._effect(name, str(named["id"]), "create", named)
            return self._written(201, replace(effect, data=data))
        record_id = data.get("id")
        if not isinstance(record_id, (str, int)) or isinstance(record_id, bool) or record_id == "":
            raise _ApiError(400, "the record needs an id: text or a whole number")
        current = self._current(name, str(record_id))
        if current is not None:
            raise _ApiError(409, f"{name}/{record_id} exists", current)
        return self._written(201, self._effect(name, str(record_id), "create", data))

    def _route_record(self, request: Seen, name: str, record_id: str) -> Outcome:
        if request.method != "GET" and request.method not in KINDS:
            raise _ApiError(405, f"{request.method} is not for a record")
        data = _object(request) if request.method in ("PUT", "PATCH") else None
        current = self._current(name, record_id)
        if current is None:
            if request.method != "PUT" or "if-match" in request.headers:
                gone = record_id in self._tables[name].rows
                raise _ApiError(410 if gone else 404, f"{name}/{record_id} is not there")
            return self._written(201, self._effect(name, record_id, "create", data))
        if request.method == "GET":
            return self._shown(200, current), None
        if request.headers.get("if-none-match", "").strip() == "*":
            raise _ApiError(412, f"{name}/{record_id} exists", current)
        expected = request.headers.get("if-match")
        if expected is not None and self.rules.versions:
            tags = {tag.strip().removeprefix("W/").strip('"') for tag in expected.split(",")}
            if not tags & {"*", str(current["version"])}:
                raise _ApiError(412, f"{name}/{record_id} has changed", current)
        return self._written(200, self._effect(name, record_id, KINDS[request.method], data))

    def _written(self, status: int, effect: Effect) -> Outcome:
        return self._shown(status, effect.after), effect

    def _shown(self, status: int, record: Record | None) -> Answer:
        if record is None:
            return Answer(204)
        tag = {"ETag": f'"{record["version"]}"'} if self.rules.versions else {}
        return Answer.of(status, record, tag)

    def _pull(self, request: Seen, name: str) -> Answer:
        query = dict(request.query)
        since = self._position(query.pop("since", ""))
        limit = query.pop("limit", str(self.rules.page_size))
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit)):
            raise _ApiError(400, f"limit={limit!r}: must be a whole number of at least 1")
        size = min(int(limit), self.rules.page_size)
        table = self._tables[name]
        found: list[tuple[int, Record]] = []
        for seq, row_id in table.order[bisect_left(table.order, ((since or 0) + 1, "")) :]:
            row = table.rows[row_id]
            wanted = since is not None if row.record is None else _matches(row.record, query)
            if row.seq == seq and wanted:
                found.append((seq, row.record or {"id": row.id, "deleted": True}))
            if len(found) > size:
                break
        more = len(found) > size
        position = f"{self._epoch}:{found[size - 1][0] if more else self._seq}"
        items = [record for _, record in found[:size]]
        cursor = base64.urlsafe_b64encode(position.encode()).decode()
        return Answer.of(200, {"items": items, "cursor": cursor, "has_more": more})

    def _position(self, cursor: str) -> int | None:
        if not cursor:
            return None
        try:
            epoch, _, seq = base64.urlsafe_b64decode(cursor.encode()).decode("ascii").partition(":")
            position = int(seq)
        except ValueError:
            raise _ApiError(400, f"since={cursor!r} is no cursor of this server") from None
        if epoch != self._epoch or position > self._seq:
            raise _ApiError(410, "this cursor has expired: pull without one")
        return position

    def _current(self, name: str, record_id: str) -> Record | None:
        return self._tables[name].rows.get(record_id, _NOTHING).record

    def _effect(
        self, name: str, record_id: str, kind: str, data: Record | None, at: float | None = None
    ) -> Effect:
        """What the change will have done; nothing is applied yet."""
        row = self._tables[name].rows.get(record_id, _NOTHING)
        now = self.rules.clock() if at is None else at
        after: Record | None = None
        if data is not None:
            after = {**row.record, **data} if kind == "update" and row.record else dict(data)
            given = row.record or data
            after["id"] = given["id"] if str(given.get("id")) == record_id else record_id
            if self.rules.versions:
                after["version"] = row.version + 1
                moment = datetime.fromtimestamp(now, timezone.utc).replace(tzinfo=None)
                after["updatedAt"] = moment.isoformat(timespec="microseconds") + "Z"
        return Effect(name, record_id, kind, None, data, row.record, after, now)

    def _forget(self) -> None:
        self._tables: defaultdict[str, _Table] = defaultdict(_Table)
        self._journal: list[Effect] = []
        self._answers: dict[str, tuple[str, Answer]] = {}
        self._seq = 0
        self._epoch = ""

    def _commit(self, line: Record) -> None:
        """Keep the line, then apply it: a log that cannot be written changes nothing."""
        self._keep(line)
        self._apply(line)

    def _apply(self, line: Record) -> None:
        if line.get("wipe"):
            self._forget()
        self._epoch = line.get("epoch", self._epoch)
        if "effect" in line:
            effect = Effect(**line["effect"])
            table = self._tables[effect.collection]
            row = table.rows.get(effect.id, _NOTHING)
            effect = replace(effect, before=row.record)
            typed = row.id if effect.after is None else effect.after["id"]
            self._seq += 1
            table.rows[effect.id] = _Row(typed, effect.after, row.version + 1, self._seq)
            table.order.append((self._seq, effect.id))
            if _whole(effect.id):
                table.last_id = max(table.last_id, int(effect.id))
            self._journal.append(effect)
        if "answer" in line:
            key, fingerprint, status, headers, body = line["answer"]
            self._answers[key] = (fingerprint, Answer(status, headers, body.encode()))


def _as_line(effect: Effect, **changes: str | None) -> Record:
    """The effect as JSON; what was before is known wherever the line is applied."""
    values = {name: getattr(effect, name) for name in Effect.__slots__ if name != "before"}
    return {**values, **changes}


def _object(request: Seen) -> Record:
    if not isinstance(request.body, dict):
        raise _ApiError(400, "the body must be a JSON object")
    return request.body


def _whole(record_id: str) -> bool:
    return record_id.isascii() and record_id.isdigit() and len(record_id) < 16


def _matches(record: Record, query: dict[str, str]) -> bool:
    shown = {name: record[name] for name in query if name in record}
    for name, value in shown.items():
        shown[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return shown == query


def _fingerprint(request: Seen) -> str:
    start = f"{request.method} {request.path}\n".encode()
    return hashlib.sha256(start + request.content).hexdigest()
