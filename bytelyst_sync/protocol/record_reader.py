"""Reads records in answers: their path, ids, versions and tombstones, as the dialect says.

The meaning of an answer is decided in ``protocol/codec.py``.
"""

from __future__ import annotations

from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.dialect_hooks import Steps
from bytelyst_sync.protocol.error_messages import mapping_mismatch
from bytelyst_sync.protocol.responses import DecodedResponse
from bytelyst_sync.rules.ids import problem_of
from bytelyst_sync.rules.paths import at
from bytelyst_sync.rules.tombstone import UNVERSIONED, is_tombstone

__all__ = ["RecordReader", "Version"]

Json = dict[str, Any]
Version = str | int | None


class RecordReader:
    """Reads the records of one entity in answers. Immutable; any thread may use it."""

    def __init__(self, entity: Entity, steps: Steps) -> None:
        self._entity = entity
        self._dialect = entity.dialect
        self._steps = steps
        self._version_sources = [tuple(each.split(":", 1)) for each in entity.dialect.version]

    # --- records

    def object_in(self, body: Any) -> Json | None:
        """The object at the record's path, with any id."""
        record = self._steps.decode(at(body, self._dialect.record))
        return record if isinstance(record, dict) else None

    def record_in(self, key: str, body: Any) -> Json | None:
        """The record with this id."""
        record = self.object_in(body)
        return record if record is not None and self.is_record(key, record) else None

    def is_whole_or_part(self, found: Json | None) -> bool:
        """Whether this value at the record's path is a record, or a part of one."""
        return found is not None and (self._dialect.partial_answer or self._has_id(found))

    def listed_in(self, body: Any) -> list[Json]:
        """The records of a listing, or the one record at the record's path."""
        listed = at(body, self._dialect.items or "")
        if not isinstance(listed, list):
            listed = body
        if not isinstance(listed, list):
            record = self.object_in(body)
            return [] if record is None else [record]
        records = [self._steps.decode(at(each, self._dialect.item)) for each in listed]
        return [each for each in records if isinstance(each, dict)]

    def lists_nothing(self, decoded: DecodedResponse) -> bool:
        """Whether the record would be in a list (``record="0"``) and the list is empty. A server
        that reads one record by a filter answers so if there is none.
        """
        outer, _, last = self._dialect.record.rpartition(".")
        return last.isdigit() and 200 <= decoded.status < 300 and at(decoded.body, outer) == []

    def current_in(self, operation: SyncOperation, key: str, body: Any) -> Json | None:
        """The current record in a refusal. After a create it may be another record, with a value
        that must be unique.
        """
        values = [self._steps.decode(at(body, path)) for path in self._dialect.current]
        records = [each for each in values if isinstance(each, dict)]
        for record in records:
            if self.is_record(key, record):
                return record
        if operation is SyncOperation.CREATE:
            for record in records:
                if self._has_id(record):
                    return record
        return None

    # --- ids

    def is_record(self, key: str, record: Json) -> bool:
        """Whether this object has the id of the record."""
        value = record.get(self._entity.id_field)
        return isinstance(value, (str, int)) and str(value) == key

    def names_another(self, key: str, record: Json) -> bool:
        """Whether this object has the id of another record."""
        return self._has_id(record) and not self.is_record(key, record)

    def id_of(self, record: Json) -> str | int | None:
        """The record's id, if it can be used as one."""
        return record[self._entity.id_field] if self._has_id(record) else None

    def server_id(self, record: Json | None, body: Any) -> tuple[Any, str | None]:
        """The id that the server assigned to a new record, and the problem with it, if any."""
        path = self._dialect.id_in_answer or self._entity.id_field
        value = _id_at(path, record, body)
        if value is None:
            mismatch = mapping_mismatch("id_in_answer", path, "the new record's id", body)
            return None, f"{mismatch}; the record was probably created{_advice(path, body)}"
        problem = problem_of(str(value))
        return value, problem and f"`id_in_answer`: the id at `{path}` {problem}"

    def _has_id(self, record: Json) -> bool:
        value = record.get(self._entity.id_field)
        is_id = isinstance(value, (str, int)) and not isinstance(value, bool)
        return is_id and problem_of(str(value)) is None

    # --- versions and tombstones

    def version_of(self, record: Json | None, decoded: DecodedResponse | None = None) -> Version:
        """The record's version, from the first source that has one."""
        for kind, name in self._version_sources:
            value: Any = None
            if kind == "header":
                value = decoded.headers.get(name.lower()) if decoded is not None else None
            elif kind == "answer":
                value = at(decoded.body, name) if decoded is not None else None
            elif record is not None:
                value = at(record, name)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                return value
        return None

    def is_tombstone(self, record: Json) -> bool:
        """Whether this record is a tombstone."""
        return is_tombstone(record, self._dialect.tombstone)

    def tombstone_version(self, record: Json, decoded: DecodedResponse | None = None) -> Version:
        """The version of a tombstone. It is never ``None`` if a create may restore the record."""
        version = self.version_of(record, decoded)
        return UNVERSIONED if version is None and self._entity.revives else version


def _advice(path: str, body: Any) -> str:
    """Says where the record is, if a member of the answer has an id."""
    members = body if isinstance(body, dict) else {}
    name = next((name for name, each in members.items() if _id_at(path, each) is not None), None)
    return "" if name is None else f", and has its id in `{name}`: say record={name!r}"


def _id_at(path: str, *places: Any) -> Any:
    for place in places:
        value = at(place, path)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value):
            return value
    return None
