"""The default API, without sockets.

``Store.handle`` answers a request as a correct REST API does: versions, preconditions, tombstones,
cursors, idempotency keys. ``SyncServer`` and ``FakeServer`` connect it to clients.

Who owns what: one lock guards the tables, the journal, the remembered answers and the log. It is
held while one request is processed and one line of the log is written; the only user code that runs
under it is the clock. Records are replaced, never changed, so snapshots stay the same.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from bytelyst_sync.testing.http_messages import Answer, RecordedRequest
from bytelyst_sync.testing.store_values import (
    ABSENT,
    ApiError,
    Effect,
    Record,
    Row,
    Rules,
    Table,
    iso,
    matches,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KINDS", "WRITES", "Effect", "Outcome", "Rules", "Store"]

Outcome = tuple[Answer, "Effect | None"]

WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
KINDS: Final = {"PUT": "replace", "PATCH": "update", "DELETE": "delete"}


class Store:
    """Collections of records behind the default API; safe to call from any thread.

    ``keep`` is called with each effect and its answer, as one JSON object, before they are applied.
    ``lines`` are such objects, which restore the state of an earlier store.
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
            if "received" in line:
                name, record, arrived = line["received"]
                self.rules.receivers.get(name, _no_receiver)(record, arrived)
        if not self._epoch:
            self._commit({"epoch": secrets.token_hex(4)})

    def handle(
        self, request: RecordedRequest, *, during: Callable[[], None] | None = None
    ) -> Answer:
        """Process one request and return its answer.

        ``during`` is called outside of the lock while the request's Idempotency-Key counts as in
        progress, to simulate slow work. If it raises, nothing is done.
        """
        key = self._key_of(request)
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

    def _key_of(self, request: RecordedRequest) -> str | None:
        """The request's idempotency key; ``None``: it has none, or is no write."""
        return request.headers.get("idempotency-key") if request.method in WRITES else None

    def id_field(self, collection: str) -> str:  # noqa: ARG002 - for those that differ
        """The field that holds the id of a collection's records."""
        return "id"

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
        """Change the record with the ``id`` of ``data`` as somebody else would, at epoch time
        ``at``.

        ``kind`` as in ``Effect``; ``create`` and ``replace`` stand for each other. Returns what is
        stored afterwards (``None`` after a delete). ``KeyError`` if there is nothing to update or
        delete.
        """
        with self._lock:
            id_field = self.id_field(collection)
            record_id = data.get(id_field)
            if record_id is None:
                record_id = self._tables[collection].last_id + 1
                data = {**data, id_field: record_id}
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
        """Invalidate all cursors (410); with ``wipe``, also delete all data."""
        with self._lock:
            self._commit({"epoch": secrets.token_hex(4), "wipe": wipe})

    def _reserve(self, request: RecordedRequest, key: str | None) -> Answer | None:
        """Reserve the key for this request, or return an answer: a replay, 422 or 409."""
        if key is None or not self.rules.idempotency:
            return None
        with self._lock:
            if key in self._in_progress:
                return ApiError(409, "this Idempotency-Key's request is in progress").answer
            if key not in self._answers:
                self._in_progress.add(key)
                return None
            fingerprint, answer = self._answers[key]
        if fingerprint != _fingerprint(request):
            return ApiError(422, "this Idempotency-Key was used for another request").answer
        return replace(answer, headers={**answer.headers, "Idempotent-Replayed": "true"})

    def _process(self, request: RecordedRequest, key: str | None) -> Answer:
        line: Record = {}
        try:
            answer, effect = self._route(request)
            if effect is not None:
                line["effect"] = _as_line(effect, key=key)
            self._receive(request, answer, line)
        except ApiError as refused:
            answer = refused.answer
        if key is not None and self.rules.idempotency:
            stored = [answer.status, dict(answer.headers), answer.body.decode()]
            line["answer"] = [key, _fingerprint(request), *stored]
        if line:
            self._commit(line)
        return answer

    def _receive(self, request: RecordedRequest, answer: Answer, line: Record) -> None:
        """Calls the collection's receiver with an accepted create, and adds it to the log line."""
        name = unquote(request.path[1:])
        receive = self.rules.receivers.get(name)
        if receive is None or request.method != "POST" or answer.status not in (200, 201):
            return
        now = self.rules.clock()
        try:
            receive(_object(request), now)
        except ValueError as error:
            line.clear()
            raise ApiError(422, str(error)) from None
        line["received"] = [name, _object(request), now]

    def _route(self, request: RecordedRequest) -> Outcome:
        if request.method == "HEAD":
            return Answer(204), None
        try:
            name, *rest = (unquote(part, errors="strict") for part in request.path[1:].split("/"))
        except UnicodeDecodeError:
            raise ApiError(400, "the path is not percent-encoded UTF-8") from None
        known = self.rules.collections
        if not name or "" in rest or len(rest) > 1 or (known is not None and name not in known):
            raise ApiError(404, f"nothing is at {request.path}")
        if rest:
            return self._route_record(request, name, rest[0])
        if request.method == "GET":
            return self._pull(request, name), None
        if request.method == "POST":
            return self._create(request, name)
        raise ApiError(405, f"{request.method} is not for a collection")

    def _create(self, request: RecordedRequest, name: str) -> Outcome:
        data = _object(request)
        if self.rules.id_source == "server":
            record = {**data, "id": self._tables[name].last_id + 1}
            effect = self._effect(name, str(record["id"]), "create", record)
            return self._written(201, replace(effect, data=data))
        record_id = data.get("id")
        if not isinstance(record_id, (str, int)) or isinstance(record_id, bool) or record_id == "":
            raise ApiError(400, "the record needs an id: text or a whole number")
        current = self._current(name, str(record_id))
        if current is not None and name in self.rules.receivers:
            return self._shown(200, current), None
        if current is not None:
            raise ApiError(409, f"{name}/{record_id} exists", current)
        return self._written(201, self._effect(name, str(record_id), "create", data))

    def _route_record(self, request: RecordedRequest, name: str, record_id: str) -> Outcome:
        if request.method != "GET" and request.method not in KINDS:
            raise ApiError(405, f"{request.method} is not for a record")
        data = _object(request) if request.method in ("PUT", "PATCH") else None
        current = self._current(name, record_id)
        if current is None:
            if request.method != "PUT" or "if-match" in request.headers:
                deleted = record_id in self._tables[name].rows
                raise ApiError(410 if deleted else 404, f"{name}/{record_id} is not there")
            return self._written(201, self._effect(name, record_id, "create", data))
        if request.method == "GET":
            return self._shown(200, current), None
        if request.headers.get("if-none-match", "").strip() == "*":
            raise ApiError(412, f"{name}/{record_id} exists", current)
        expected = request.headers.get("if-match")
        if expected is not None and self.rules.versions:
            tags = {tag.strip().removeprefix("W/").strip('"') for tag in expected.split(",")}
            if not tags & {"*", str(current["version"])}:
                raise ApiError(412, f"{name}/{record_id} has changed", current)
        return self._written(200, self._effect(name, record_id, KINDS[request.method], data))

    def _written(self, status: int, effect: Effect) -> Outcome:
        return self._shown(status, effect.after), effect

    def _shown(self, status: int, record: Record | None) -> Answer:
        if record is None:
            return Answer(204)
        tag = {"ETag": f'"{record["version"]}"'} if self.rules.versions else {}
        return Answer.of(status, record, tag)

    def _pull(self, request: RecordedRequest, name: str) -> Answer:
        query = dict(request.query)
        since = self._position(query.pop("since", ""))
        limit = query.pop("limit", str(self.rules.page_size))
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit)):
            raise ApiError(400, f"limit={limit!r}: must be a whole number of at least 1")
        size = min(int(limit), self.rules.page_size)
        table = self._tables[name]
        rows: list[tuple[int, Record]] = []
        for seq, row_id in table.order[bisect_left(table.order, ((since or 0) + 1, "")) :]:
            row = table.rows[row_id]
            matching = since is not None if row.record is None else matches(row.record, query)
            if row.seq == seq and matching:
                rows.append((seq, row.record or {"id": row.id, "deleted": True}))
            if len(rows) > size:
                break
        more = len(rows) > size
        position = f"{self._epoch}:{rows[size - 1][0] if more else self._seq}"
        items = [record for _, record in rows[:size]]
        cursor = base64.urlsafe_b64encode(position.encode()).decode()
        return Answer.of(200, {"items": items, "cursor": cursor, "has_more": more})

    def _position(self, cursor: str) -> int | None:
        if not cursor:
            return None
        try:
            epoch, _, seq = base64.urlsafe_b64decode(cursor.encode()).decode("ascii").partition(":")
            position = int(seq)
        except ValueError:
            raise ApiError(400, f"since={cursor!r} is no cursor of this server") from None
        if epoch != self._epoch or position > self._seq:
            raise ApiError(410, "this cursor has expired: pull without one")
        return position

    def _current(self, name: str, record_id: str) -> Record | None:
        return self._tables[name].rows.get(record_id, ABSENT).record

    def _effect(
        self, name: str, record_id: str, kind: str, data: Record | None, at: float | None = None
    ) -> Effect:
        """The effect of a change; nothing is applied yet."""
        row = self._tables[name].rows.get(record_id, ABSENT)
        now = self.rules.clock() if at is None else at
        after: Record | None = None
        if data is not None:
            after = self._changed(name, row.record, data) if kind == "update" else dict(data)
            id_field = self.id_field(name)
            source = row.record or data
            same = str(source.get(id_field)) == record_id
            after[id_field] = source[id_field] if same else record_id
            after = self._stamped(name, after, row.version + 1, now)
        return Effect(name, record_id, kind, None, data, row.record, after, now)

    def _changed(self, name: str, record: Record | None, data: Record) -> Record:  # noqa: ARG002
        """The record after an update."""
        return {**(record or {}), **data}

    def _stamped(self, name: str, record: Record, version: int, now: float) -> Record:  # noqa: ARG002
        """The record with the fields that the server sets."""
        stamps = {"version": version, "updatedAt": iso(now)} if self.rules.versions else {}
        return {**record, **stamps}

    def _forget(self) -> None:
        self._tables: defaultdict[str, Table] = defaultdict(Table)
        self._journal: list[Effect] = []
        self._answers: dict[str, tuple[str, Answer]] = {}
        self._seq = 0
        self._epoch = ""

    def _commit(self, line: Record) -> None:
        """Write the line to the log, then apply it: without the log, nothing changes."""
        self._keep(line)
        self._apply(line)

    def _apply(self, line: Record) -> None:
        if line.get("wipe"):
            self._forget()
        self._epoch = line.get("epoch", self._epoch)
        if "effect" in line:
            effect = Effect(**line["effect"])
            table = self._tables[effect.collection]
            row = table.rows.get(effect.id, ABSENT)
            effect = replace(effect, before=row.record)
            typed = (
                row.id if effect.after is None else effect.after[self.id_field(effect.collection)]
            )
            self._seq += 1
            table.rows[effect.id] = Row(typed, effect.after, row.version + 1, self._seq, effect.at)
            table.order.append((self._seq, effect.id))
            if _whole(effect.id):
                table.last_id = max(table.last_id, int(effect.id))
            self._journal.append(effect)
        if "answer" in line:
            key, fingerprint, status, headers, body = line["answer"]
            self._answers[key] = (fingerprint, Answer(status, headers, body.encode()))


def _no_receiver(_record: Record, _arrived: float) -> None:
    """For records in the log whose collection has no receiver any more."""


def _as_line(effect: Effect, **changes: str | None) -> Record:
    """The effect as JSON, without ``before``, which is known when the line is applied."""
    values = {name: getattr(effect, name) for name in Effect.__slots__ if name != "before"}
    return {**values, **changes}


def _object(request: RecordedRequest) -> Record:
    if not isinstance(request.body, dict):
        raise ApiError(400, "the body must be a JSON object")
    return request.body


def _whole(record_id: str) -> bool:
    return record_id.isascii() and record_id.isdigit() and len(record_id) < 16


def _fingerprint(request: RecordedRequest) -> str:
    start = f"{request.method} {request.path}\n".encode()
    return hashlib.sha256(start + request.content).hexdigest()
