"""One entity behind a dialect's API: its routes, its bodies, and the statuses of its answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bytelyst_sync.rules.tombstone import is_tombstone
from bytelyst_sync.rules.versions import plain_version
from bytelyst_sync.testing.dialect_api.batches import Batches
from bytelyst_sync.testing.dialect_api.listing import Lister
from bytelyst_sync.testing.dialect_api.routes import Match, routes_of
from bytelyst_sync.testing.dialect_api.shapes import Shapes, place
from bytelyst_sync.testing.http_messages import Answer
from bytelyst_sync.testing.store_values import ApiError, Record, Row, iso

if TYPE_CHECKING:
    from bytelyst_sync.config.entity import Entity
    from bytelyst_sync.testing.http_messages import RecordedRequest

__all__ = ["Part"]

_TIME_ENDINGS = ("_at", "At", "_on", "time", "Time", "date", "Date")


class Part:
    """One entity. ``any_endpoint``: its routes match any text for ``{endpoint}``."""

    def __init__(
        self, entity: Entity, page_size: int, *, any_endpoint: bool, versions: bool
    ) -> None:
        self.entity = entity
        self.name = entity.name
        self.dialect = dialect = entity.dialect
        self.shapes = Shapes(entity)
        self.lister = Lister(entity, self.shapes, page_size)
        self.batches = None if dialect.batch is None else Batches(entity, dialect.batch)
        self.revives = getattr(dialect, "revive", None) == "update"
        """Whether an update restores a deleted record."""
        self.update_kind = "replace" if dialect.patch == "full" else "update"
        self._versions = versions
        self._routes = routes_of(entity, any_endpoint=any_endpoint)
        self._version_paths = _named(dialect.version, "field:")
        self._version_headers = _named(dialect.version, "header:")
        cursor = (dialect.cursor or "").partition("max:")[2]
        times = [cursor] if cursor and cursor != entity.id_field else []
        if dialect.updated_at and not {*times, *self._version_paths} & {*dialect.updated_at}:
            times.append(dialect.updated_at[0])
        self._time_paths = [each for each in times if each not in self._version_paths]
        self._counts_by_time = bool({*self._version_paths} & {cursor, *dialect.updated_at})

    def match(self, request: RecordedRequest) -> Match | None:
        """The match of a request, if it is about this entity."""
        matches = (route.match(request) for route in self._routes)
        return next((each for each in matches if each is not None), None)

    # --- fields that the server sets

    def version(self, version: int, at: float) -> int:
        """The version of a record: an increasing number, or a time if the dialect uses one."""
        return int(at * 1000) + version if self._counts_by_time else version

    def stamped(self, record: Record, version: int, at: float) -> Record:
        """The record with its version and its time."""
        stamped: Any = record
        for path in self._version_paths if self._versions else ():
            stamped = place(stamped, path, self.version(version, at))
        for path in self._time_paths:
            stamped = place(stamped, path, iso(at))
        return dict(stamped)

    def marked(self, record: Record, at: float) -> Record:
        """The record as a tombstone."""
        path, equals, value = (self.dialect.tombstone or "").partition("=")
        if not equals:
            return dict(place(record, path, iso(at) if path.endswith(_TIME_ENDINGS) else True))
        return dict(place(record, path, {"true": True, "false": False}.get(value, value)))

    # --- writes

    def actual_operation(
        self, operation: str, request: RecordedRequest, data: Record, *, there: bool
    ) -> str:
        """The actual operation: two may have the same route, or an update may delete a record."""
        if operation == "create" and self.dialect.create == self.dialect.update:
            only_new = request.headers.get("if-none-match", "").strip() == "*"
            names_version = bool(self.expected("update", request, dict(data)))
            free = there and not only_new and not self.requires_version("update")
            operation = "update" if names_version or free else "create"
        if operation == "update" and is_tombstone(data, self.dialect.tombstone):
            return "delete"
        return operation

    def expected(self, operation: str, request: RecordedRequest, data: Record) -> set[str]:
        """The versions that a write is based on, removed from the data; empty: it has none."""
        place, _, where = (self.dialect.version_place(operation) or "").partition(":")
        versions: list[Any] = []
        if place == "header":
            versions = [each for each in request.headers.get(where.lower(), "").split(",") if each]
        elif place == "query" and where in request.query:
            versions = [request.query[where]]
        elif place == "body" and where in data:
            versions = [data.pop(where)]
        texts = (plain_version(each) for each in versions)
        return {each for each in texts if each is not None} if self._versions else set()

    def requires_version(self, operation: str) -> bool:
        """Whether such a write must contain a version."""
        place = self.dialect.version_place(operation) or ""
        return self._versions and place.startswith(("body:", "query:"))

    # --- answers

    def shown(self, status: int, record: Record, version: int, *, to_write: bool = True) -> Answer:
        """An answer with a record."""
        carried = record
        if self.dialect.partial_answer and to_write:
            own = (*self._version_paths, *self._time_paths, self.entity.id_field)
            tops = {each.partition(".")[0] for each in own}
            carried = {name: each for name, each in record.items() if name in tops}
        shown_version = version if self._versions else None
        headers = (
            {}
            if shown_version is None
            else dict.fromkeys(self._version_headers, f'"{shown_version}"')
        )
        return Answer.of(
            status, self.shapes.answer(carried, shown_version, to_write=to_write), headers
        )

    def gone(self, row: Row) -> ApiError:
        """The refusal for a record that does not exist."""
        preferred = (410, 404) if row.version else (404, 410)
        status = self._status("gone", [*preferred, *self.dialect.gone], self.dialect.gone)
        return ApiError(status, f"{self.name}: there is no such record")

    def conflict(self, message: str, current: Record | None, *, header: bool = False) -> ApiError:
        """The refusal of a write on an old version; ``header``: the version was in a header."""
        preferred = (412, 409) if header else (409, 412)
        known = self.dialect.conflict
        status = self._status("conflict", [*preferred, *known], known)
        return ApiError(status, message, body=self.shapes.refusal(message, current))

    def _status(self, word: str, preferred: Iterable[int], known: Iterable[int]) -> int:
        """The status that means ``word`` for a client of this dialect."""
        rows = self.dialect.answers
        for status in preferred:
            first = next((row for row in rows if row[0] == status), None)
            if status in known and (first is None or (first[2] == word and first[1] is None)):
                return status
        plain = (row[0] for row in rows if row[2] == word and row[1] is None)
        return next(plain, next(iter(preferred)))


def _named(sources: Iterable[str], kind: str) -> list[str]:
    return [each.removeprefix(kind) for each in sources if each.startswith(kind)]
