"""``DialectStore``: a store of records behind the API that a dialect describes.

It is a ``Store`` with the same locks, journal and keys, but with other requests and answers. Their
form depends on the entities: dialect, endpoint, id field and source of ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bytelyst_sync.config.entity import Entity, compile_entities
from bytelyst_sync.config.settings import EntityConfig, SyncConfig
from bytelyst_sync.rules.patch import apply_patch
from bytelyst_sync.testing.dialect_api.listing import ListedRow, opaque
from bytelyst_sync.testing.dialect_api.part import Part
from bytelyst_sync.testing.dialect_api.routes import Match
from bytelyst_sync.testing.dialect_api.shapes import place
from bytelyst_sync.testing.http_messages import Answer
from bytelyst_sync.testing.store import WRITES, Outcome, Store
from bytelyst_sync.testing.store_values import ABSENT, ApiError, Record, Row, Rules, matches

if TYPE_CHECKING:
    from bytelyst_sync.config.dialect import Dialect
    from bytelyst_sync.config.settings import GivenEntity
    from bytelyst_sync.testing.http_messages import RecordedRequest
    from bytelyst_sync.testing.store_values import Effect

__all__ = ["DialectStore"]

_BASE = "http://testing.invalid"


class DialectStore(Store):
    """Collections of records behind any dialect. Without ``entities``, every ``/name`` is one."""

    def __init__(
        self,
        rules: Rules,
        dialect: Dialect,
        entities: Mapping[str, GivenEntity] | None,
        **log: Any,
    ) -> None:
        self._dialect = dialect
        self._any = entities is None
        self._parts: dict[str, Part] = {}
        self._rules = rules
        if entities is not None:
            compiled = compile_entities(
                SyncConfig(base_url=_BASE, storage=":memory:", entities=entities, dialect=dialect)
            )
            self._parts = {name: self._part_of(each) for name, each in compiled.items()}
        self._open = self._part_of(self._entity("name")) if self._any else None
        super().__init__(rules, **log)

    def _entity(self, name: str) -> Entity:
        source = self._rules.id_source
        config = EntityConfig(f"/{name}", id_source="server" if source == "server" else "client")
        settings = SyncConfig(
            base_url=_BASE, storage=":memory:", entities={name: config}, dialect=self._dialect
        )
        return compile_entities(settings)[name]

    def _part_of(self, entity: Entity) -> Part:
        rules = self._rules
        return Part(entity, rules.page_size, any_endpoint=self._any, versions=rules.versions)

    def _part(self, name: str) -> Part:
        part = self._parts.get(name)
        if part is None and self._any:
            part = self._parts[name] = self._part_of(self._entity(name))
        if part is None:
            raise KeyError(f"there is no entity {name!r}: it has {', '.join(self._parts)}")
        return part

    def id_field(self, collection: str) -> str:
        """See ``Store``."""
        return self._part(collection).entity.id_field

    def _key_of(self, request: RecordedRequest) -> str | None:
        if request.method not in WRITES:
            return None
        matched = self._match(request)
        dialect = self._dialect if matched is None else matched[0].dialect
        return request.headers.get(dialect.idempotency.lower()) if dialect.idempotency else None

    # --- requests

    def handle(
        self, request: RecordedRequest, *, during: Callable[[], None] | None = None
    ) -> Answer:
        """See ``Store``; a batch is answered operation by operation."""
        matched = self._match(request)
        batches = None if matched is None else matched[0].batches
        if matched is None or matched[1].operation != "batch" or batches is None:
            return super().handle(request, during=during)
        if during is not None:
            during()
        endpoint = matched[1].values.get("endpoint", matched[0].entity.config.endpoint)
        return batches.answer(request, endpoint, super().handle)

    def _match(self, request: RecordedRequest) -> tuple[Part, Match] | None:
        """The entity of a request, and its match."""
        parts = [self._open] if self._open is not None else list(self._parts.values())
        for part in parts:
            match = part.match(request)
            if match is not None:
                return part, match
        return None

    def _route(self, request: RecordedRequest) -> Outcome:
        if request.method == "HEAD":
            return Answer(204), None
        matched = self._match(request)
        if matched is None:
            raise ApiError(404, f"nothing is at {request.method} {request.path}")
        part, match = matched
        if self._any:
            name = match.values.get("endpoint", "")
            known = self.rules.collections
            if known is not None and name not in known:
                raise ApiError(404, f"nothing is at {request.path}")
            part = self._part(name)
        try:
            if match.operation in ("create", "update", "delete"):
                return self._write(part, match, request)
            if match.operation == "read":
                return self._read(part, match), None
            if match.operation == "lookup":
                return self._look_up(part, match), None
            if match.operation == "pull":
                return self._list(part, match, request), None
        except ValueError as error:
            raise ApiError(400, str(error)) from None
        return Answer.of(200, {}), None

    # --- reading

    def _row(self, part: Part, key: str) -> Row:
        return self._tables[part.name].rows.get(key, ABSENT)

    def _read(self, part: Part, match: Match) -> Answer:
        row = self._row(part, match.values["id"])
        if row.record is None:
            raise part.gone(row)
        version = part.version(row.version, row.at)
        return part.shown(200, row.record, version, to_write=False)

    def _look_up(self, part: Part, match: Match) -> Answer:
        key = match.values["key"]
        ids = [
            effect.id
            for effect in self._journal
            if effect.collection == part.name
            and (effect.key == key or key in map(str, (effect.after or {}).values()))
        ]
        records = [row.record for each in ids[:1] if (row := self._row(part, each)).record]
        bodies = [part.shapes.shown(each) for each in records if each is not None]
        elements = [place({}, part.dialect.item, each) for each in bodies]
        return Answer.of(200, place({}, part.dialect.items or "", elements))

    def _list(self, part: Part, match: Match, request: RecordedRequest) -> Answer:
        requested = part.lister.request(request, match)
        since: int | None = None
        if requested.cursor is not None and not part.lister.by_value:
            since = self._position(requested.cursor)
        whole = requested.cursor is None
        rows = []
        for key, row in self._tables[part.name].rows.items():
            if since is not None and row.seq <= since:
                continue
            if row.record is not None:
                if matches(row.record, requested.filters):
                    rows.append(ListedRow(row.seq, row.record, deleted=False))
            elif not whole and part.dialect.tombstone is not None:
                rows.append(ListedRow(row.seq, self._tombstone(part, key, row), deleted=True))
        ordered = part.lister.sorted(rows, requested.cursor)

        def cursor_at(seq: int | None) -> str:
            return opaque(self._epoch, self._seq if seq is None else seq)

        return part.lister.page(request, requested, ordered, cursor_at)

    def _tombstone(self, part: Part, key: str, row: Row) -> Record:
        record = {part.entity.id_field: row.id if row.id is not None else key}
        return part.marked(part.stamped(record, row.version, row.at), row.at)

    # --- writing

    def _write(self, part: Part, match: Match, request: RecordedRequest) -> Outcome:
        data = part.shapes.written(match.operation, request.body)
        key = self._key(part, match, data)
        row = ABSENT if key is None else self._row(part, key)
        operation = part.actual_operation(
            match.operation, request, data, there=row.record is not None
        )
        expected = part.expected(operation, request, data)
        if operation == "create":
            return self._add(part, key, data, request)
        if key is None:
            raise ApiError(400, f"the request does not say which record ({part.entity.id_field})")
        revived = part.revives and operation == "update" and row.version > 0
        if row.record is None and not revived:
            raise part.gone(row)
        if expected and not expected & {"*", str(part.version(row.version, row.at))}:
            by_header = (part.dialect.version_place(operation) or "").startswith("header:")
            raise part.conflict("the record has changed", row.record, header=by_header)
        if not expected and part.requires_version(operation):
            raise part.conflict("the request names no version", row.record)
        if operation == "delete":
            return self._delete(part, key, row, request)
        effect = self._effect(part.name, key, part.update_kind, data)
        return self._answered(part, 200, effect, row), effect

    def _delete(self, part: Part, key: str, row: Row, request: RecordedRequest) -> Outcome:
        effect = self._effect(part.name, key, "delete", None)
        if request.method == "DELETE":
            return Answer(204), effect
        dead = Row(row.id, None, row.version + 1, self._seq + 1, effect.at)
        version = part.version(dead.version, dead.at)
        return part.shown(200, self._tombstone(part, key, dead), version), effect

    def _answered(self, part: Part, status: int, effect: Effect, row: Row) -> Answer:
        return part.shown(status, effect.after or {}, part.version(row.version + 1, effect.at))

    def _key(self, part: Part, match: Match, data: Record) -> str | None:
        """The id in a request."""
        if "id" in match.values:
            return match.values["id"]
        if match.operation == "create" and part.entity.server_ids:
            return None
        value = data.get(part.entity.id_field)
        is_id = isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""
        return str(value) if is_id else None

    def _add(self, part: Part, key: str | None, data: Record, request: RecordedRequest) -> Outcome:
        id_field = part.entity.id_field
        if key is None and part.entity.server_ids:
            number = self._tables[part.name].last_id + 1
            key, data = str(number), {**data, id_field: number}
        if key is None:
            raise ApiError(400, f"the record needs its {id_field}: text or a whole number")
        row = self._row(part, key)
        if row.record is not None:
            only_new = request.headers.get("if-none-match", "").strip() == "*"
            raise part.conflict(f"{part.name}/{key} exists", row.record, header=only_new)
        if part.revives and row.version:
            raise part.conflict(f"{part.name}/{key} is deleted", self._tombstone(part, key, row))
        effect = self._effect(part.name, key, "create", data)
        return self._answered(part, 201, effect, row), effect

    def _changed(self, name: str, record: Record | None, data: Record) -> Record:
        return apply_patch(record or {}, data, self._part(name).dialect.patch)

    def _stamped(self, name: str, record: Record, version: int, now: float) -> Record:
        return self._part(name).stamped(record, version, now)
