"""The records of a trial: their content, their versions, and their removal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.errors import SyncError
from bytelyst_sync.inspection.trial_client import TrialAnswer, TrialClient, TrialListing
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.rules.paths import MISSING, at

__all__ = ["TrialRecords"]

Json = dict[str, Any]
_TEXT = "bytelyst-sync trial"


class TrialRecords:
    """The records that the trial of one entity creates.

    ``template``: the fields of such a record, without its id; ``None``: those of a listed record.
    """

    def __init__(self, client: TrialClient, entity: Entity, template: Json | None) -> None:
        self._client = client
        self._entity = entity
        self._template = template
        self.versions: dict[str, Any] = {}
        """The version of each record that exists and must be deleted, by id."""

    def content(self, listing: TrialListing) -> Json:
        """The fields of a new record: the template, or a listed record with another text."""
        if self._template is not None:
            return dict(self._template)
        records = (row.record for row in listing.rows.values() if row.record is not None)
        example = next(records, None)
        if example is None:
            return {"title": _TEXT}
        ignored = self._server_fields()
        data = {name: value for name, value in example.items() if name not in ignored}
        name = self.changeable(data)
        if name is not None and isinstance(data[name], str):
            data[name] = _TEXT
        return data

    def _server_fields(self) -> set[str]:
        """The fields that the server sets: id, versions, times, the mark of a deleted record."""
        entity = self._entity
        paths = (entity.tombstone_path, *entity.bookkeeping, *entity.dialect.server_fields)
        return {entity.id_field, *paths, *(path.partition(".")[0] for path in paths)}

    def changeable(self, data: Json) -> str | None:
        """A field that can be changed: a text, else a number, else a flag."""
        entity = self._entity
        kinds: tuple[type, ...] = (str, int, bool)
        names = [name for name in data if name not in entity.config.references]
        for kind in kinds:
            for name in names:
                if type(data[name]) is kind and name != entity.id_field:
                    return name
        return None

    def differing(self, sent: Json, record: Json) -> list[str]:
        """The fields whose values differ from those that were sent."""
        ignored = self._server_fields()
        return [
            name
            for name, value in sent.items()
            if name not in ignored
            and not same_value(value, record.get(name, MISSING), decimal=isinstance(value, str))
        ]

    def note_other(self, answer: TrialAnswer) -> None:
        """Notes a record with another id that a create added, so that it is deleted too."""
        record = at(answer.decoded.body, self._entity.dialect.record)
        if 200 <= answer.decoded.status < 300 and isinstance(record, Mapping):
            record_id = record.get(self._entity.id_field)
            if isinstance(record_id, (str, int)) and not isinstance(record_id, bool):
                self.versions[str(record_id)] = None

    def delete(self, key: str, state: Json, version: Any) -> TrialAnswer:
        """Deletes one record."""
        field = self._entity.id_field
        data = {field: state.get(field, key)}
        return self._client.write(SyncOperation.DELETE, key, data, state=state, version=version)

    def delete_all(self) -> list[str]:
        """Deletes all records of the trial; returns the ids of those that could not be deleted."""
        remaining = []
        for key in self.versions:
            try:
                current = self._client.read(key).result
                if current.meaning is Verdict.GONE:
                    continue
                state = current.record or {self._entity.id_field: key}
                result = self.delete(key, state, current.version).result
                if result.meaning is not Verdict.DELIVERED:
                    remaining.append(key)
            except SyncError:
                remaining.append(key)
        return remaining
